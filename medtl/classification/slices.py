"""The slices of a volume that are classified, and the weight of each in the result."""

import numpy as np

from ..errors import InputError
from ..model.card import ModelCard
from ..progress import Progress
from .frames import Framed, frame_slice, resample_from_frame, resample_to_frame

# Slices that show less of the head than this share of the largest are its top and bottom.
LEAST_AREA = 0.5
# Slices that show less of the region than this share of its largest cut are its ends.
LEAST_REGION = 0.25
NO_TUMOUR = "notumor"  # the class of a healthy head, where a model has one
LEAST_TUMOUR = 1e-3  # added to the probability, so that the weights of a healthy head are not all 0


def frame_slices(
    turned: np.ndarray, inside: np.ndarray | None, side: int, pixel: tuple[float, float], progress: Progress
) -> dict[int, Framed]:
    """The slices to classify, in their frames: those of the region, else those that show enough of the head.

    Raises: InputError when the region is empty or no slice shows anything.
    """
    wanted = list(range(len(turned)))
    if inside is not None:
        areas = inside.sum(axis=(1, 2))
        if not areas.any():
            raise InputError("Expected a segment with voxels, found it empty. Segment the tumour, or leave it out.")
        wanted = [int(k) for k in np.flatnonzero(areas >= LEAST_REGION * areas.max())]
    frames = {}
    for k in wanted:
        progress("prepare", k / len(turned))
        frame = frame_slice(turned[k], side, pixel)
        if frame is not None:
            frames[k] = frame
    if not frames:
        raise InputError("Expected slices that show a head, found none that shows anything. Choose another volume.")
    largest = max(frame.area for frame in frames.values())
    return {k: frame for k, frame in frames.items() if inside is not None or frame.area >= LEAST_AREA * largest}


def frames_with_region(frames: dict[int, Framed], inside: np.ndarray) -> tuple[dict[int, Framed], list[np.ndarray]]:
    """The frames that show a part of the region, and the region's mask (side, side) in each.

    Raises: InputError when none does.
    """
    masks = {k: resample_to_frame(inside[k], frame) for k, frame in frames.items()}
    kept = {k: frame for k, frame in frames.items() if masks[k].any()}
    if not kept:
        raise InputError(
            "Expected a segment within the head, found it beside everything that the image shows. Choose another."
        )
    return kept, [masks[k] for k in kept]


def tumour_probability(probabilities: np.ndarray, card: ModelCard) -> np.ndarray:
    """The probability of a tumour of any class in each slice, (n,)."""
    ids = [tumour_class.id for tumour_class in card.classes]
    if NO_TUMOUR not in ids:
        return np.ones(len(probabilities))
    return np.asarray(1 - probabilities[:, ids.index(NO_TUMOUR)])


def slice_weights(attention: np.ndarray, tumour: np.ndarray, segmented: bool) -> np.ndarray:
    """The weight of each slice in the mean, (n,), sum 1. Slices of a segment have equal weights. Else a weight is the
    slice's share of the attention over all positions of all slices, times the probability of a `tumour`."""
    if segmented:
        return np.full(len(attention), 1 / len(attention))
    raised = np.exp(attention.astype(np.float64) - attention.max()) * (tumour + LEAST_TUMOUR)
    return np.asarray(raised / raised.sum())


def describe_mean(count: int, segmented: bool, card: ModelCard) -> str:
    """A sentence that says how the probabilities of `count` slices became those of the volume."""
    if count == 1:
        return "The probabilities of one slice."
    if segmented:
        return f"The mean of the probabilities of {count} slices of the segment."
    tumours = NO_TUMOUR in [tumour_class.id for tumour_class in card.classes]
    by = "attention and by how probable a tumour is" if tumours else "attention"
    return f"The mean of the probabilities of {count} slices, weighed by {by}."


def place_on_slices(maps: np.ndarray, frames: dict[int, Framed], shape: tuple[int, ...]) -> np.ndarray:
    """The maps on their slices, float32 `shape`, scaled to a maximum of 1; 0 on slices without a map."""
    heat = np.zeros(shape, np.float32)
    highest = max(float(maps.max()), np.finfo(np.float32).tiny)
    for heat_map, (k, frame) in zip(maps, frames.items(), strict=True):
        heat[k] = resample_from_frame(heat_map / highest, frame, (shape[1], shape[2]))
    return heat
