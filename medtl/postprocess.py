"""Clean-up of predicted labels: small components and holes."""

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from .model.card import Cleanup, ModelCard
from .progress import Progress
from .volume import Volume, voxel_counts


def clean(labels: np.ndarray, volume: Volume, card: ModelCard, progress: Progress) -> np.ndarray:
    """Labels after the card's clean-up, one label after the other."""
    rule = card.cleanup
    if rule == Cleanup():
        return labels
    cleaned = labels.copy()
    smallest = rule.min_ml / volume.geometry.voxel_ml if volume.real_spacing else rule.min_pixels
    for number, label in enumerate(card.labels):
        progress("clean", number / len(card.labels))
        mask = labels == label.value
        if not mask.any():
            continue
        kept = keep_components(mask, smallest, rule.min_share)
        cleaned[mask & ~kept] = 0
        if rule.fill_holes:
            filled = fill_holes(kept)
            cleaned[filled & (cleaned == 0)] = label.value
    anchors = [label.value for label in card.labels if label.id == rule.anchor]
    return keep_attached(cleaned, anchors[0]) if anchors else cleaned


def keep_components(mask: np.ndarray, min_voxels: float, min_share: float) -> np.ndarray:
    """The mask without its connected components (26) under `min_voxels` or under `min_share` of the largest one."""
    result = np.zeros_like(mask)
    for box in ndimage.find_objects(mask.view(np.uint8)):  # one box around all voxels; none where the mask is empty
        parts = sitk.ConnectedComponent(sitk.GetImageFromArray(mask[box].view(np.uint8)), True)
        numbered = sitk.GetArrayViewFromImage(parts)
        sizes = voxel_counts(numbered)
        sizes[0] = 0
        kept = sizes >= max(min_voxels, min_share * sizes.max(), 1)
        for plane, numbers in zip(result[box], numbered, strict=True):  # indexing makes eight bytes of a voxel
            plane[:] = kept[numbers]
    return result


def keep_attached(labels: np.ndarray, anchor: int) -> np.ndarray:
    """The labels without the parts, of all labels together, that have no voxel of the value `anchor`; as they are where
    nothing has it."""
    found = labels == anchor
    if not found.any():
        return labels
    parts = sitk.ConnectedComponent(sitk.GetImageFromArray((labels > 0).view(np.uint8)), True)
    numbered = sitk.GetArrayViewFromImage(parts)
    attached = np.zeros(int(numbered.max()) + 1, bool)
    attached[np.unique(numbered[found])] = True
    return np.where(attached[numbered], labels, 0).astype(labels.dtype)


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """The mask with the holes of each slice filled."""
    filled = mask.copy()
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        filled[k] = ndimage.binary_fill_holes(mask[k])
    return filled
