"""From a volume to the input of a model, and exactly back.

`prepare` turns the volume so that its slices lie in the model's plane in a fixed orientation (axial: rows run to
posterior, columns to left, slices to superior), resamples in plane only where the spacing is far from the model's,
and finds the box that holds the body. `restore` undoes it: same grid, same voxel count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from .errors import ModelError
from .model.card import InputSpec
from .volume import Geometry, Volume, check_voxels

if TYPE_CHECKING:
    from torch import Tensor

# LPS axis of a plane's slice direction, rows and columns, and the sign in which each runs.
ORIENTATIONS = {
    "axial": ((2, 1), (1, 1), (0, 1)),
    "coronal": ((1, 1), (2, -1), (0, 1)),
    "sagittal": ((0, 1), (2, -1), (1, 1)),
}

# The LPS axis of the letter of an anatomical direction, and the sign in which it runs.
LPS_OF_LETTER = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}

# A picture has no spacing. A head fills most of it, so its longer side is assumed to be this long.
PICTURE_MM = 230.0

LARGEST_MM = 700.0
MOST_SMOOTHING = 5.0  # slices: all that are averaged are in memory at once
MOST_PIXELS = 4096 * 4096  # of a slice that is resampled to a model's spacing

# The input of a network with the scaling "tissue": air is AIR, deep tissue AIR + TISSUE_GAIN, all within TISSUE_CLIP.
AIR = -1.0
TISSUE_GAIN = 0.8
TISSUE_CLIP = (AIR, 2.2)

Numbers = TypeVar("Numbers", np.ndarray, "Tensor")


def to_tissue_units(image: Numbers) -> Numbers:
    """The network's input (an array or a tensor) in tissue units: air is 0, deep tissue 1."""
    return (image - AIR) / TISSUE_GAIN


def from_tissue_units(tissue: Numbers) -> Numbers:
    """Tissue units as the network's input, not clipped; the inverse of `to_tissue_units`."""
    return tissue * TISSUE_GAIN + AIR


@dataclass(frozen=True, kw_only=True)
class Turned:
    """A volume turned for a model. `axes` and `flips` tell `turn` how to orient the volume's array, `turned_shape` and
    `turned_spacing` (mm) are its grid then, axis by axis; `statistics` is for the input gate."""

    axes: tuple[int, int, int]
    flips: tuple[int, ...]
    turned_shape: tuple[int, int, int]
    turned_spacing: tuple[float, float, float]
    statistics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Prepared(Turned):
    """A volume in the model's plane.

    `array` (slices, rows, columns) keeps the volume's dtype; `value * gain + offset`, clipped to `clip`, is the input
    of the network. `box` is the part of a slice that is computed; `spacing` is (slice, row, column) in mm, after
    resampling. `slice_mm` is the distance of slices where it is known, `occupied` marks the slices that show some of
    the body.
    """

    array: np.ndarray
    gain: float
    offset: float
    clip: tuple[float, float]
    box: tuple[slice, slice]
    spacing: tuple[float, float, float]
    slice_mm: float | None
    occupied: np.ndarray

    @property
    def resampled(self) -> bool:
        """True when the model's grid is not the volume's own."""
        return self.array.shape != self.turned_shape

    @property
    def computed_pixels(self) -> int:
        """Pixels of a slice that go through the network."""
        rows, columns = self.box
        return int((rows.stop - rows.start) * (columns.stop - columns.start))


def orient(geometry: Geometry, plane: str) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """The permutation of (Z, Y, X) array axes and the axes to flip after it that bring a volume into the plane."""
    return orient_to(geometry, ORIENTATIONS[plane])


def orient_to(geometry: Geometry, wanted: Sequence[tuple[int, int]]) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """The permutation of (Z, Y, X) array axes and the axes to flip after it, so that the three axes run along the
    wanted LPS axes, each with its sign."""
    axes = geometry.axes  # columns: x, y, z index axes in LPS
    # The first axis is the one nearest its direction; the others share what is left as fits both best.
    near = [[abs(float(axes[lps, index])) for index in range(3)] for lps, _ in wanted]
    best = max(permutations(range(3)), key=lambda p: (near[0][p[0]], near[1][p[1]] + near[2][p[2]]))
    flips = tuple(
        k for k, (index, (lps, sign)) in enumerate(zip(best, wanted, strict=True)) if axes[lps, index] * sign < 0
    )
    return (2 - best[0], 2 - best[1], 2 - best[2]), flips  # array axes are (z, y, x)


def turn(array: np.ndarray, axes: Sequence[int], flips: Sequence[int]) -> np.ndarray:
    """The array in the model's plane; a view."""
    return np.flip(array.transpose(axes), tuple(flips))


def turn_back(array: np.ndarray, axes: Sequence[int], flips: Sequence[int]) -> np.ndarray:
    """The inverse of `turn`; a view."""
    return np.flip(array, tuple(flips)).transpose(np.argsort(axes))


def resize(array: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Slices (Z, Y, X) linearly resampled in plane to rows × columns, areas aligned, smoothed before shrinking."""
    z, y, x = array.shape
    steps = (x / columns, y / rows)
    image = sitk.GetImageFromArray(array.astype(np.float32, copy=False))
    for direction, (size, step) in enumerate(zip((x, y), steps, strict=True)):
        if step > 1.2 and size >= 4:  # the filter takes no fewer
            image = sitk.RecursiveGaussian(image, 0.45 * step, direction=direction)
    origin = [0.5 * step - 0.5 for step in steps]
    grid = sitk.Image([columns, rows, z], sitk.sitkFloat32)
    grid.SetSpacing((*steps, 1.0))
    grid.SetOrigin((*origin, 0.0))
    nearest_outside = sitk.ResampleImageFilter()
    nearest_outside.SetReferenceImage(grid)
    nearest_outside.SetInterpolator(sitk.sitkLinear)
    nearest_outside.UseNearestNeighborExtrapolatorOn()
    return np.asarray(sitk.GetArrayFromImage(nearest_outside.Execute(image)))


def air_level(coarse: np.ndarray) -> float:
    """The value of air: 0, or the least value where an image was shifted below 0 (as z-scores are). A single value
    below 0 is padding, not air."""
    negative = coarse[coarse < 0]
    if negative.size == 0 or np.ptp(negative) == 0:
        return 0.0
    return float(np.percentile(coarse, 0.1))


def body_depth(coarse: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the outside of the body, slice by slice, 0 outside; float32, in pixels of `coarse`."""
    lit = coarse[coarse > 0.02 * float(coarse.max())]
    if lit.size == 0:
        return np.zeros(coarse.shape, np.float32)
    body = coarse > 0.12 * float(np.percentile(lit, 99.5))
    depth = np.zeros(coarse.shape, np.float32)
    for k, plane in enumerate(body):
        if plane.any():
            filled = np.pad(ndimage.binary_fill_holes(plane), 1)
            depth[k] = ndimage.distance_transform_edt(filled)[1:-1, 1:-1]
    return depth


def tissue_level(coarse: np.ndarray, depth: np.ndarray) -> tuple[float, Mapping[str, float]]:
    """The median of what lies deep inside the body (brain in a head, with or without its skull) and the statistics
    that the input gate checks: the 2nd and 98th percentile there ("dark" and "bright"), as shares of that median.

    Percentiles of the whole image would depend on whether the scalp, with its bright fat, was removed.
    Source: project.
    """
    deep = depth > 0.35 * np.percentile(depth.max(axis=(1, 2)), 90)
    values = coarse[deep & (coarse > 0)]
    if values.size == 0:
        return 1.0, {}
    dark, level, bright = (float(v) for v in np.percentile(values, (2, 50, 98)))
    return level, {"dark": dark / level, "bright": bright / level}


@dataclass(frozen=True)
class Scaling:
    """`value * gain + offset`, clipped, is the network's input; `depth` of the body, on a grid coarser by `step`."""

    gain: float
    offset: float
    clip: tuple[float, float]
    depth: np.ndarray
    step: int
    statistics: Mapping[str, float]


def prepare(volume: Volume, spec: InputSpec, multiple: int = 32) -> Prepared:
    """The volume prepared for the model; the sides of the box are multiples of `multiple`.

    Raises: InputError when a voxel is not finite; ModelError as `to_spacing` does.
    """
    check_voxels(volume)
    axes, flips = orient(volume.geometry, spec.plane)
    turned = turn(volume.array, axes, flips)
    own = in_order(volume.geometry.spacing[::-1], axes)
    array, spacing = to_spacing(turned, own, spec, volume.real_spacing)
    scaling = scale(array, spec)
    depth = scaling.depth
    # Specks of noise and ghosts around the head are thin everywhere, the head only at its edge.
    parts, _ = ndimage.label(depth > 0)
    body = np.isin(parts, np.unique(parts[depth >= min(3.0, 0.5 * float(depth.max()))]))
    box = covering_box(body, scaling.step, (array.shape[1], array.shape[2]), multiple)
    return Prepared(
        axes=axes,
        flips=flips,
        turned_shape=(turned.shape[0], turned.shape[1], turned.shape[2]),
        turned_spacing=own,
        statistics=scaling.statistics,
        array=array,
        gain=scaling.gain,
        offset=scaling.offset,
        clip=scaling.clip,
        box=box,
        spacing=spacing,
        slice_mm=own[0] if volume.real_spacing else None,
        occupied=depth.max(axis=(1, 2)) >= min(1.0, float(depth.max())),
    )


def in_order(values: Sequence[float], axes: tuple[int, int, int]) -> tuple[float, float, float]:
    """The three values in the order of the axes."""
    return values[axes[0]], values[axes[1]], values[axes[2]]


def to_spacing(
    turned: np.ndarray, own: tuple[float, float, float], spec: InputSpec, real: bool
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """The slices at the model's in-plane spacing where theirs is far from it, and the spacing they then have.

    Raises: ModelError when they would have more than MOST_PIXELS pixels.
    """
    if spec.spacing is None:
        return turned, own
    shape = turned.shape[1:]
    mm = [own[1], own[2]]
    if not real and max(shape) * spec.spacing > 1.5 * PICTURE_MM:
        mm = [PICTURE_MM / max(shape)] * 2
    # A larger extent is a wrong unit or no body part; its grid would not fit in memory.
    if max(n * m for n, m in zip(shape, mm, strict=True)) > LARGEST_MM:
        return turned, (own[0], mm[0], mm[1])
    near = [1 / spec.spacing_tolerance <= m / spec.spacing <= spec.spacing_tolerance for m in mm]
    rows, columns = (n if ok else max(round(n * m / spec.spacing), 1) for n, m, ok in zip(shape, mm, near, strict=True))
    if (rows, columns) == shape:
        return turned, (own[0], mm[0], mm[1])
    if rows * columns > MOST_PIXELS:
        raise ModelError(
            f"Expected slices of at most {MOST_PIXELS / 1e6:.0f} million pixels at the model's {spec.spacing:g} mm, "
            f"found {rows} x {columns}. Choose another model."
        )
    return resize(turned, rows, columns), (own[0], mm[0] * shape[0] / rows, mm[1] * shape[1] / columns)


def scale(array: np.ndarray, spec: InputSpec) -> Scaling:
    """The scaling of these slices to the network's range, from a coarse sample of them."""
    step = max(1, min(array.shape[1:]) // 64)
    coarse = array[:, ::step, ::step].astype(np.float32)
    if spec.window is not None:
        low, high = spec.window
        gain = 2.0 / (high - low)
        return Scaling(gain, -low * gain - 1.0, (-1.0, 1.0), np.ones(coarse.shape, np.float32), step, {})
    # A burned-in mark or a hot pixel must not set the scale.
    low, high = np.percentile(coarse, (0.1, 99.9))
    floor = air_level(coarse)
    coarse = np.clip(coarse, max(float(low), floor), high) - floor
    depth = body_depth(coarse)
    level, statistics = tissue_level(coarse, depth)
    return Scaling(TISSUE_GAIN / level, -TISSUE_GAIN * floor / level + AIR, TISSUE_CLIP, depth, step, statistics)


def covering_box(body: np.ndarray, step: int, shape: tuple[int, int], multiple: int) -> tuple[slice, slice]:
    """The part of a slice that holds the body in all slices, its sides multiples of `multiple` and inside the slice
    where that is possible (a smaller slice is padded later)."""
    sides = []
    margin = 2 * step
    for axis, size in enumerate(shape):
        hit = np.flatnonzero(body.any(axis=(0, 2 - axis)))
        low, high = (int(hit[0]) * step, (int(hit[-1]) + 1) * step) if hit.size else (0, size)
        low, high = max(low - margin, 0), min(high + margin, size)
        length = -(-(high - low) // multiple) * multiple
        start = min(max((low + high - length) // 2, 0), max(size - length, 0))
        sides.append(slice(start, min(start + length, size)))
    return sides[0], sides[1]


def neighbour_steps(spec: InputSpec, slice_mm: float | None) -> list[int]:
    """Offsets in slices of the channels of one input, e.g. [-3, 0, 3] for neighbours at 3 mm in 1 mm slices; the next
    slices where their distance (None) is not known."""
    step = 1 if slice_mm is None or spec.neighbour_mm <= 0 else max(1, round(spec.neighbour_mm / slice_mm))
    return [step * n for n in range(-spec.neighbours, spec.neighbours + 1)]


def smoothing_slices(spec: InputSpec, slice_mm: float | None) -> float:
    """The card's `smoothing_mm` in slices, at most MOST_SMOOTHING; 0 where their distance (None) is not known."""
    return 0.0 if slice_mm is None else min(spec.smoothing_mm / slice_mm, MOST_SMOOTHING)


def batch(prepared: Prepared, indices: Sequence[int] | np.ndarray, steps: Sequence[int], multiple: int) -> np.ndarray:
    """The network's input for these slices, float32 (n, channels, h, w), padded to multiples with background."""
    last = prepared.array.shape[0] - 1
    rows, columns = prepared.box
    wanted = np.clip(np.add.outer(np.asarray(indices), np.asarray(steps)), 0, last)
    part = prepared.array[:, rows, columns][wanted].astype(np.float32)
    part *= prepared.gain
    part += prepared.offset
    np.clip(part, *prepared.clip, out=part)
    pad = [-n % multiple for n in part.shape[2:]]
    if any(pad):
        part = np.pad(part, ((0, 0), (0, 0), (0, pad[0]), (0, pad[1])), constant_values=prepared.clip[0])
    return np.asarray(part)


def restore(labels: np.ndarray, prepared: Turned) -> np.ndarray:
    """Labels on the turned grid (axes as in `Turned`) on the volume's own (Z, Y, X), contiguous."""
    return np.ascontiguousarray(turn_back(labels, prepared.axes, prepared.flips))
