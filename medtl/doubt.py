"""The doubt of a segmentation: the slices whose uncertainty is largest, and whether it is calibrated."""

from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .model.card import ModelCard
from .volume import Geometry

# The colours of an uncertainty from 0 to 1: dark to bright, also for colour-blind people. Source: "inferno" of
# matplotlib.
SHADES = ((87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
CLEAR = 0.1  # a lower uncertainty is transparent
APART_MM = 5.0  # between two slices that are listed: neighbours look alike
MOST = 10  # slices that are listed


@dataclass(frozen=True)
class DoubtfulSlice:
    """A slice by its 0-based index, its doubtful area in mm² (the uncertainty of its pixels, 0 to 1, times their area,
    in all) and the middle of the doubt, LPS mm."""

    index: int
    mm2: float
    centre: tuple[float, float, float]


def doubtful_slices(
    uncertainty: np.ndarray, lesion: np.ndarray, geometry: Geometry, axis: int, most: int = MOST
) -> tuple[DoubtfulSlice, ...]:
    """The most doubtful slices along an axis of the (Z, Y, X) arrays, the most doubtful first, `APART_MM` apart.

    `uncertainty` is 0 to 1. Slices count that show the lesion (bool) or lie beside one that does: its end may be
    missed.

    Source: project. How much of the errors they show (0.81 of those in the five worst slices of glioma-flair 2.0.0, by
    chance 0.60): Testing/benchmarks/uncertainty.py.
    Raises: InputError when the arrays have another shape than the grid.
    """
    if not uncertainty.shape == lesion.shape == geometry.shape:
        raise InputError(
            f"Expected an uncertainty map of {geometry.shape} voxels (Z, Y, X), found {uncertainty.shape}. "
            "Choose the map of this segmentation."
        )
    planes = np.moveaxis(uncertainty, axis, 0)
    shows = np.asarray(np.moveaxis(lesion, axis, 0).any(axis=(1, 2)))
    near = shows.copy()
    near[1:] |= shows[:-1]
    near[:-1] |= shows[1:]
    steps = geometry.spacing[::-1]
    pixel = float(np.prod([mm for n, mm in enumerate(steps) if n != axis]))
    areas = {int(k): float(planes[k].sum(dtype=np.float64)) * pixel for k in np.flatnonzero(near)}
    chosen: list[int] = []
    for k in sorted(areas, key=lambda each: (-areas[each], each)):
        if len(chosen) < most and areas[k] > 0 and all(abs(k - other) * steps[axis] >= APART_MM for other in chosen):
            chosen.append(k)
    return tuple(DoubtfulSlice(k, areas[k], _centre(planes[k], k, axis, geometry)) for k in chosen)


def _centre(plane: np.ndarray, k: int, axis: int, geometry: Geometry) -> tuple[float, float, float]:
    weights = plane.astype(np.float64)
    rows, columns = (np.average(np.arange(n), weights=weights.sum(axis=1 - d)) for d, n in enumerate(plane.shape))
    index = np.insert(np.array([rows, columns]), axis, k)[::-1]  # (x, y, z)
    x, y, z = (float(mm) for mm in (geometry.affine @ [*index, 1.0])[:3])
    return x, y, z


def coloured(values: np.ndarray) -> np.ndarray:
    """The colours of values of 0 to 1, uint8 (…, 3)."""
    places = np.linspace(0, 1, len(SHADES))
    channels = [np.interp(values, places, [shade[n] for shade in SHADES]) for n in range(3)]
    rounded: np.ndarray = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return rounded


def is_calibrated(card: ModelCard) -> bool:
    """True where the probabilities of the model were fitted to cases that it was not trained on: its card states a
    temperature, and it was not tuned since."""
    return card.calibration.temperature != 1.0 and card.parent is None and card.imported is None


def calibration_text(card: ModelCard | None) -> str:
    """What the uncertainty of a model is worth, in a sentence."""
    if card is not None and is_calibrated(card):
        return "Calibrated on held-out cases."
    if card is not None and card.parent is not None and card.calibration.temperature != 1.0:
        return "Not calibrated since the model was tuned: it ranks places, it is no probability of an error."
    return "Not calibrated: it ranks places, it is no probability of an error."
