"""Shape features of a region in a labelmap, and the prediction of a model of plain numbers (`Coefficients`).

The surface of a mask depends far more on the thickness of its slices than on the tumour. So form is measured on a
common grid (see `on_common_grid`), size on the mask as it was drawn.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy.special import expit

from ..errors import InputError, ModelError
from ..measurement import components, part_warning
from ..model.card import Coefficients
from ..results import Feature
from ..volume import Geometry, to_sitk

# Names of the features, and how they are shown. A model's term `log_NAME` takes the natural logarithm of NAME.
FEATURES = {
    "volume": "Volume (mL)",
    "long_axis": "Long axis (mm)",
    "sphericity": "Roundness (a ball is 1)",
    "elongation": "Longest to middle axis",
    "flatness": "Middle to shortest axis",
    "extent": "Share of its box that it fills",
}
LOG = "log_"
SPACING_MM = 1.0
SMOOTHING_MM = 2.0
LARGEST_MM = 400.0
# A feature this many standard deviations from the mean of the training cases is unusual.
UNUSUAL = 4.0


@dataclass(frozen=True)
class Shape:
    """The features of a region by name (those of FEATURES), and warnings about the region."""

    values: Mapping[str, float]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """The second class's probability, its 95 % interval (None without resamples), and the features, the largest
    contribution first."""

    probability: float
    interval: tuple[float, float] | None
    features: tuple[Feature, ...]
    warnings: tuple[str, ...] = ()


def shape_features(mask: np.ndarray, geometry: Geometry) -> Shape:
    """The shape of the largest connected part (26 neighbours) of a mask (Z, Y, X), 0 outside.

    Volume is that of its voxels; the rest is measured on the common grid: roundness against a ball of the same volume,
    the long axis and the ratios of axes of the ellipsoid with the same second moments, and the share that is filled of
    the box along these axes.

    Source: SimpleITK, LabelShapeStatisticsImageFilter (Lehmann, Insight Journal 2008): `GetRoundness`,
    `GetEquivalentEllipsoidDiameter`, `GetElongation`, `GetFlatness`, `GetOrientedBoundingBoxSize`.

    Raises: InputError when the mask is empty, lies in a single slice, or is too small or too large for a tumour.
    """
    parts = components(mask)
    if not parts:
        raise InputError("Expected a region in the segmentation, found no voxel of it. Draw or choose another segment.")
    indices = parts[0]
    check_extent(indices, geometry)
    ml = len(indices) * geometry.voxel_ml
    region = on_common_grid(indices, geometry.spacing)
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.ComputeOrientedBoundingBoxOn()
    statistics.Execute(region)
    if not statistics.HasLabel(1) or min(statistics.GetBoundingBox(1)[3:]) < 2:
        raise InputError(
            f"Expected a region whose shape can be measured, found one of {len(indices)} voxels ({ml:.2g} mL). "
            "Segment the whole tumour."
        )
    values = {
        "volume": ml,
        "long_axis": max(statistics.GetEquivalentEllipsoidDiameter(1)),
        "sphericity": statistics.GetRoundness(1),
        "elongation": statistics.GetElongation(1),
        "flatness": statistics.GetFlatness(1),
        "extent": statistics.GetPhysicalSize(1) / float(np.prod(statistics.GetOrientedBoundingBoxSize(1))),
    }
    return Shape(values, shape_warnings(parts, geometry))


def check_extent(indices: np.ndarray, geometry: Geometry) -> None:
    """Raise InputError when the region of these voxels (n, 3), (x, y, z), is flat or too long for a tumour."""
    voxels = np.ptp(indices, axis=0) + 1
    extent_mm = voxels * np.array(geometry.spacing)
    if voxels.min() < 2:
        raise InputError(
            f"Expected a region in three dimensions, found one of {' × '.join(map(str, voxels))} voxels. "
            "Segment the tumour on all its slices."
        )
    if extent_mm.max() > LARGEST_MM:
        raise InputError(
            f"Expected a tumour, found a region {extent_mm.max():.0f} mm long (at most {LARGEST_MM:.0f} mm). "
            "Choose the tumour's segment."
        )


def shape_warnings(parts: list[np.ndarray], geometry: Geometry) -> tuple[str, ...]:
    """Warnings about a region's parts (voxel indices (n, 3), (x, y, z), the largest first)."""
    warnings = [*part_warning(parts)]
    largest = parts[0]
    if (largest.min(axis=0) == 0).any() or (largest.max(axis=0) == np.array(geometry.size) - 1).any():
        warnings.append("The region reaches the edge of the volume: it may be cut off there.")
    return tuple(warnings)


def on_common_grid(indices: np.ndarray, spacing: tuple[float, float, float]) -> sitk.Image:
    """The region of these voxels (n, 3), (x, y, z), as a mask of 1 mm voxels: resampled linearly, smoothed by a
    Gaussian of 2 mm, and kept where at least half remains.

    Both numbers were chosen without any diagnosis, for agreement between thin slices and the same masks at
    5 mm: roundness moves by 0.1 standard deviations, on the voxels as drawn by 1.8 (`Testing/benchmarks/renal.py`).
    """
    margin = np.ceil(4 * SMOOTHING_MM / np.array(spacing)).astype(int) + 1
    shifted = indices - indices.min(axis=0) + margin
    size = np.ptp(indices, axis=0) + 1 + 2 * margin
    array = np.zeros(size[::-1], dtype=np.float32)
    array[tuple(shifted.T[::-1])] = 1
    x, y, z = (int(n) for n in size)
    image = to_sitk(array, Geometry((x, y, z), spacing))
    wanted = [int(n * s / SPACING_MM) for n, s in zip(size, spacing)]
    fine = sitk.Resample(image, wanted, sitk.Transform(), sitk.sitkLinear, (0.0,) * 3, (SPACING_MM,) * 3)
    kept: sitk.Image = sitk.SmoothingRecursiveGaussian(fine, SMOOTHING_MM) >= 0.5
    return kept


def predict(values: Mapping[str, float], model: Coefficients) -> Prediction:
    """The model's prediction for the features of a region.

    Raises: ModelError when it needs a feature that is not there, or the probability is not finite.
    """
    names = [term.feature.removeprefix(LOG) for term in model.terms]
    if unknown := [name for name in names if name not in values]:
        raise ModelError(
            f"The model needs the feature {unknown[0]!r}; this MedTL measures {', '.join(values)}. Update MedTL."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.array([(feature_value(values, term.feature) - term.mean) / term.deviation for term in model.terms])
        parts = scaled * [term.weight for term in model.terms]
        probability = float(expit(model.intercept + parts.sum()))
        limits = probability_interval(scaled, model, probability)
    if not np.isfinite([probability, *parts, *(limits or ())]).all():
        raise ModelError(
            "Expected finite numbers from the model's coefficients, found NaN or infinity: the model is damaged, or "
            "does not fit this shape. Import the model again or choose another."
        )
    features = [
        Feature(name, FEATURES.get(name, name), float(values[name]), float(part)) for name, part in zip(names, parts)
    ]
    warnings = tuple(
        f"{feature.label}: {feature.value:.3g} is far from that of the tumours that the model was fitted to."
        for feature, far in zip(features, np.abs(scaled))
        if far > UNUSUAL
    )
    ordered = tuple(sorted(features, key=lambda feature: -abs(feature.contribution)))
    return Prediction(probability, limits, ordered, warnings)


def feature_value(values: Mapping[str, float], feature: str) -> float:
    """The value of a model's feature, its natural logarithm where the feature's name begins with `log_`."""
    return math.log(values[feature.removeprefix(LOG)]) if feature.startswith(LOG) else values[feature]


def probability_interval(scaled: np.ndarray, model: Coefficients, probability: float) -> tuple[float, float] | None:
    """The 95 % interval of the probability: percentiles over the stored resamples, widened to hold the probability
    itself; None where none are stored.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    if not model.resamples:
        return None
    table = np.array(model.resamples, dtype=np.float64)
    low, high = np.percentile(expit(table[:, 0] + table[:, 1:] @ scaled), (2.5, 97.5))
    return min(float(low), probability), max(float(high), probability)
