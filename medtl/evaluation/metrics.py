"""How well a predicted mask fits the true mask, and intervals of means over patients.

Masks are (Z, Y, X), any dtype, True or above 0 inside; spacings are (x, y, z), in mm or, where none is known, 1 pixel.
Distances come in the unit of the spacing.

Conventions for empty masks, stated here once:

==================== =============================== ===================== ========================
truth and prediction Dice, IoU, precision, recall, F1 surface Dice          HD95
==================== =============================== ===================== ========================
both empty           1                               1                     None (no surface)
one of them empty    0                               0                     None (counted apart)
==================== =============================== ===================== ========================

A relative volume error, a lesion-wise sensitivity and an AUC are None where the truth has no lesion. F1 over voxels is
the same as Dice; both are given because papers give either.

A lesion is a 26-connected component. One of the truth is found when at least 10 % of its voxels are predicted; one of
the prediction is a false positive when it shares no voxel with the truth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

FOUND_FROM = 0.1
TOLERANCE = 2.0
BINS = 4096
OVERLAPS = ("dice", "iou", "precision", "recall", "f1")


@dataclass(frozen=True)
class Figure:
    """A figure of several cases with the 95 % interval of its mean; None where there is nothing to state."""

    mean: float | None
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class CaseError:
    """A case that could not be evaluated, with the reason."""

    case: str
    message: str


@dataclass(frozen=True)
class Counts:
    """Voxels by truth and prediction; counts of several volumes add up."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def overlaps(self) -> dict[str, float]:
        """Dice, IoU, precision, recall and F1, each 0 to 1."""
        return {name: float(value) for name, value in overlaps(self.tp, self.fp, self.fn).items()}


@dataclass(frozen=True)
class Surfaces:
    """The distance of two surfaces: HD95 in the unit of the spacing, surface Dice 0 to 1."""

    hd95: float | None
    surface_dice: float


@dataclass(frozen=True)
class Lesions:
    """The numbers of true lesions, of true lesions that were found, and of predicted lesions that are false."""

    true: int
    found: int
    false_positives: int

    @property
    def sensitivity(self) -> float | None:
        """Share of the true lesions that were found; None where there is none."""
        return self.found / self.true if self.true else None


@dataclass(frozen=True)
class Scores:
    """All figures of one truth and one prediction; volume errors are prediction minus truth."""

    counts: Counts
    dice: float
    iou: float
    precision: float
    recall: float
    f1: float
    hd95: float | None
    surface_dice: float
    volume_error_ml: float | None
    volume_error_relative: float | None
    lesions: Lesions


def score(
    truth: np.ndarray,
    prediction: np.ndarray,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    real_spacing: bool = True,
    tolerance: float = TOLERANCE,
) -> Scores:
    """All figures of a pair of masks; `tolerance` is the surface Dice's, in the spacing's unit.

    Where the spacing is not real, distances are in pixels and there is no volume error in mL.
    """
    if not real_spacing:
        spacing = (1.0, 1.0, 1.0)
    counts = count(truth, prediction)
    surface = surfaces(truth, prediction, spacing, tolerance)
    true, predicted = counts.tp + counts.fn, counts.tp + counts.fp
    return Scores(
        counts=counts,
        **counts.overlaps,
        hd95=surface.hd95,
        surface_dice=surface.surface_dice,
        volume_error_ml=(predicted - true) * float(np.prod(spacing)) / 1000 if real_spacing else None,
        volume_error_relative=(predicted - true) / true if true else None,
        lesions=lesions(truth, prediction),
    )


def count(truth: np.ndarray, prediction: np.ndarray) -> Counts:
    """The voxels of two masks of one shape, by truth and prediction."""
    truth, prediction = truth > 0, prediction > 0
    true, predicted = int(np.count_nonzero(truth)), int(np.count_nonzero(prediction))
    both = int(np.count_nonzero(truth & prediction))
    return Counts(both, predicted - both, true - both, truth.size - true - predicted + both)


def overlaps(tp: Any, fp: Any, fn: Any) -> dict[str, np.ndarray]:
    """Dice, IoU, precision, recall and F1 of counts: numbers, or arrays of one shape."""
    tp, fp, fn = (np.asarray(v, dtype=np.float64) for v in (tp, fp, fn))
    empty = tp + fp + fn == 0

    def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.where(empty, 1.0, part / np.where(whole > 0, whole, 1.0))

    dice = share(2 * tp, 2 * tp + fp + fn)
    return {
        "dice": dice,
        "iou": share(tp, tp + fp + fn),
        "precision": share(tp, tp + fp),
        "recall": share(tp, tp + fn),
        "f1": dice,
    }


def dice(truth: np.ndarray, prediction: np.ndarray) -> float:
    """The Dice of two masks of one shape; 1 where both are empty."""
    return count(truth, prediction).overlaps["dice"]


def label_dice(
    prediction: np.ndarray, truth: np.ndarray, labels: int, ignore: int | None = None, by_slice: bool = False
) -> np.ndarray:
    """The Dice of labelmaps (slices, rows, columns), the mean over labels 1 to `labels`, float64: of all slices
    together (), or of each, (slices,). 1 for a label that is in neither; voxels whose truth is `ignore` do not count.
    """
    axes = (1, 2) if by_slice else None
    counted = np.ones(truth.shape, dtype=bool) if ignore is None else truth != ignore
    scores = []
    for label in range(1, labels + 1):
        predicted, true = (prediction == label) & counted, truth == label
        both = np.count_nonzero(predicted & true, axes)
        totals = np.count_nonzero(predicted, axes), np.count_nonzero(true, axes)
        scores.append(overlaps(both, totals[0] - both, totals[1] - both)["dice"])
    return np.asarray(np.mean(scores, axis=0))


def surfaces(
    truth: np.ndarray,
    prediction: np.ndarray,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    tolerance: float = TOLERANCE,
) -> Surfaces:
    """HD95 and surface Dice between the surface voxels of two masks.

    A surface voxel has a face neighbour outside the mask or lies at the border of the array (an axis of one voxel has
    no border: a picture's surface is its outline). HD95 is the larger of the two directed 95th percentiles; surface
    Dice is the share of the surface voxels of both that lie within `tolerance` of the other surface.

    Source: monai.metrics, `compute_hausdorff_distance` (percentile 95) and `compute_surface_dice`.
    """
    truth, prediction = truth > 0, prediction > 0
    if not (truth.any() and prediction.any()):
        return Surfaces(None, 0.0 if truth.any() or prediction.any() else 1.0)
    box = _box(truth | prediction)
    axes = [axis for axis in range(3) if truth.shape[axis] > 1]
    edges = [_surface(mask[box], axes) for mask in (truth, prediction)]
    there, back = (_distance(edges[1 - i], spacing)[edges[i]] for i in (0, 1))
    hd95 = max(float(np.percentile(there, 95)), float(np.percentile(back, 95)))
    near = np.count_nonzero(there <= tolerance) + np.count_nonzero(back <= tolerance)
    return Surfaces(hd95, float(near / (there.size + back.size)))


def lesions(truth: np.ndarray, prediction: np.ndarray) -> Lesions:
    """The lesions of the truth and of the prediction, matched as the module's conventions say."""
    truth, prediction = truth > 0, prediction > 0
    parts, predicted_parts = _components(truth), _components(prediction)
    sizes = np.bincount(parts[truth])[1:]
    hit = np.bincount(parts[truth & prediction], minlength=len(sizes) + 1)[1:]
    predicted = int(predicted_parts.max(initial=0))
    touching = len(np.unique(predicted_parts[truth & prediction]))
    return Lesions(len(sizes), int(np.count_nonzero(hit >= FOUND_FROM * sizes)), predicted - touching)


def histogram(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Voxels by truth (0, 1) and bin of their probability, int64 (2, 4096); of several volumes they add up."""
    table = np.zeros((2, BINS), dtype=np.int64)
    for true_slice, slice_probability in zip(truth > 0, probability, strict=True):
        bins = np.clip((slice_probability * BINS).astype(np.int64), 0, BINS - 1)
        table[0] += np.bincount(bins[~true_slice], minlength=BINS)
        table[1] += np.bincount(bins[true_slice], minlength=BINS)
    return table


def value_table(positive: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Cases by truth (0, 1) and value, lowest value first, int64 (2, different values): a `histogram` without loss."""
    distinct, place = np.unique(values, return_inverse=True)
    return np.stack([np.bincount(place[side], minlength=len(distinct)) for side in (~positive, positive)])


def ranked_pairs(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of pairs of an inside and an outside value in which the inside value is higher, ties counting half,
    and of all pairs; float64 (…) for tables (…, 2, bins) as `histogram` and `value_table` give them."""
    outside, inside = table[..., 0, :].astype(np.float64), table[..., 1, :].astype(np.float64)
    below = np.cumsum(outside, axis=-1) - outside / 2
    return np.asarray((inside * below).sum(-1)), np.asarray(outside.sum(-1) * inside.sum(-1))


def auc(table: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of tables (…, 2, bins), float64 (…); NaN where a class is empty.

    It is how often a voxel inside has a higher probability than one outside (Mann and Whitney), ties counting half.
    """
    right, pairs = ranked_pairs(table)
    area: np.ndarray = np.where(pairs > 0, right / np.where(pairs > 0, pairs, 1.0), np.nan)
    return area


def by_patient(values: Sequence[float | None], patients: Sequence[str]) -> list[float]:
    """The mean of each patient's values, in the order in which they appear, without patients of None alone."""
    groups: dict[str, list[float]] = {}
    for value, patient in zip(values, patients, strict=True):
        if value is not None:
            groups.setdefault(patient, []).append(value)
    return [float(np.mean(group)) for group in groups.values()]


def rows_by_patient(patients: Sequence[str] | np.ndarray) -> list[np.ndarray]:
    """The row numbers of each patient, patients in alphabetical order."""
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    return [np.flatnonzero(owner == number) for number in range(len(names))]


def draw_patients(groups: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """The rows of patients drawn with replacement, as many as there are groups of rows."""
    return np.concatenate([groups[number] for number in rng.integers(0, len(groups), len(groups))])


def bootstrap_ci(values: Sequence[float], seed: int = 0, n: int = 10000) -> tuple[float, float]:
    """The 95 % interval of the mean of `values`, one a patient (see `by_patient`): percentiles of `n` resamples.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    table = np.asarray(values, dtype=np.float64)
    return pooled_ci(lambda total: total / len(table), table, seed, n)


def pooled_ci(
    figure: Callable[[np.ndarray], np.ndarray], patients: np.ndarray, seed: int = 0, n: int = 10000
) -> tuple[float, float]:
    """The 95 % interval of a figure of pooled counts: patients are drawn with replacement, `n` times.

    `patients` (patients, …) are each patient's counts; `figure` turns pooled counts (resamples, …) into (resamples,).
    Resamples without a figure (NaN) are left out.
    """
    rng = np.random.default_rng(seed)
    probability = np.full(len(patients), 1 / len(patients))
    figures = []
    for start in range(0, n, 250):
        times_drawn = rng.multinomial(len(patients), probability, min(250, n - start))
        figures.append(figure(np.tensordot(times_drawn.astype(np.float64), patients, 1)))
    lo, hi = np.nanpercentile(np.concatenate(figures), (2.5, 97.5))
    return float(lo), float(hi)


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around the mask."""
    spans = []
    for axis in range(mask.ndim):
        inside = np.flatnonzero(mask.any(tuple(a for a in range(mask.ndim) if a != axis)))
        spans.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(spans)


def _surface(mask: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The voxels of a mask with a neighbour along one of `axes` outside it; the array's border is outside."""
    inner = mask.copy()
    padded = np.pad(mask, 1)
    for axis in axes:
        for step in (-1, 1):
            inner &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
    surface: np.ndarray = mask & ~inner
    return surface


def _distance(surface: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Distance of every voxel's centre to the nearest centre of a surface voxel."""
    # A margin, because a voxel counts as the object's border only beside one that is outside.
    image = sitk.GetImageFromArray(np.pad(surface.astype(np.uint8), 1))
    image.SetSpacing(spacing)
    distance: np.ndarray = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, False, False, True))
    return distance[1:-1, 1:-1, 1:-1]


def _components(mask: np.ndarray) -> np.ndarray:
    """26-connected components, numbered from 1."""
    parts: np.ndarray = sitk.GetArrayFromImage(
        sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)
    )
    return parts
