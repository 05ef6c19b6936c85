"""Where a prediction may be written: the slice in a view, a region of interest, outside SEED slices. No Qt."""

from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from medtl.errors import InputError, ModelError
from medtl.labels import id_of
from medtl.model.card import load_card
from medtl.model.store import find_model
from medtl.volume import Labelmap

from ..mrml.scene import geometry_of, ras_of
from ..seeds import marks
from ..seeds.slices import slices_of

TIE = 1e-6  # of the thickness: a plane half-way between two slices belongs to one of them


def inside(volume: Any, slice_node: Any = None, roi: Any = None) -> np.ndarray:
    """Voxels that the plane of a vtkMRMLSliceNode cuts and whose centres lie in a vtkMRMLMarkupsROINode.

    Bool (Z, Y, X) on the volume's grid; a slice node or a region of None does not limit it.

    Raises: InputError when no voxel is left.
    """
    geometry = geometry_of(volume)
    mask = np.ones(geometry.shape, dtype=bool)
    for plane, low, high in (*_slice(slice_node, geometry), *_box(roi)):
        i, j, k, start = plane @ ras_of(geometry)
        x, y, z = (np.arange(n) * step for n, step in zip(geometry.size, (i, j, k)))
        for number, offset in enumerate(
            z + start
        ):  # a slice at a time: the distances of a whole volume take much memory
            distance = x + (y[:, None] + offset)
            mask[number] &= (distance >= low) & (distance < high)
    if not mask.any():
        raise InputError(
            f"Expected a slice or a region that meets {volume.GetName()}, found none of its voxels there. "
            "Move it, or choose the whole volume under Advanced."
        )
    return mask


def outside_seeds(
    labelmap: Labelmap, volume: Any, segmentation: Any, model: str, only: np.ndarray | None = None
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """`only` (None is the whole volume) without the fresh SEED slices, and a warning where the model's labels differ
    from them there.
    """
    try:
        card = load_card(find_model(model))
        fresh = [mark.index for mark in marks.marks(segmentation, volume, card) if not mark.stale]
        slices = slices_of(segmentation, volume, card)
    except (InputError, ModelError):  # marks that cannot be compared protect nothing
        return only, ()
    if not fresh or not labelmap.geometry.close_to(slices.geometry):
        return only, ()
    mask = np.ones(slices.geometry.shape, dtype=bool) if only is None else only.copy()
    np.moveaxis(mask, slices.axis, 0)[fresh] = False
    predicted = np.moveaxis(labelmap.array, slices.axis, 0)
    values = {segment.id: segment.value for segment in labelmap.segments}
    wanted = {label.id: values.get(id_of(card, label.id)) for label in card.labels}
    kept = sum(any(((predicted[k] == v) != slices.mask(n, k)).any() for n, v in wanted.items()) for k in fresh)
    return mask, (_("Slices that you marked as right were kept: {count}.").format(count=kept),) if kept else ()


def _slice(slice_node: Any, geometry: Any) -> list[tuple[np.ndarray, float, float]]:
    """The plane (RAS mm, homogeneous) of the view and the distances from it, mm, of the voxels that it cuts."""
    if slice_node is None:
        return []
    to_ras = slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())
    normal = to_ras[:3, 2] / np.linalg.norm(to_ras[:3, 2])
    half = float(np.abs(normal @ ras_of(geometry)[:3, :3]).sum()) / 2
    tie = half * TIE
    return [(np.append(normal, -normal @ to_ras[:3, 3]), -half - tie, half - tie)]


def _box(roi: Any) -> list[tuple[np.ndarray, float, float]]:
    """The three pairs of sides of the region: axes (RAS mm to mm of its own, homogeneous) and their limits."""
    if roi is None:
        return []
    to_world, to_roi = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    to_world.DeepCopy(roi.GetObjectToWorldMatrix())
    vtk.vtkMatrix4x4.Invert(to_world, to_roi)
    rows = slicer.util.arrayFromVTKMatrix(to_roi)[:3]
    return [(row, -side / 2, side / 2) for row, side in zip(rows, roi.GetSize())]
