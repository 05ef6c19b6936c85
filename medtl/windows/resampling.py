"""Resampling between grids: splines where their outer borders coincide, linear where their points do.

The former's values are those of nnU-Net's resampling (skimage's `resize` with mode "edge", and `map_coordinates` along
an axis of thick slices), by one small matrix an axis. The latter is MONAI's `Spacing`; its inverse, which would take
the logits of the whole volume, is by axis, too. Source: Isensee et al. 2021; project for the matrices.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy import ndimage


def new_shape(shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]) -> tuple[int, ...]:
    """The number of voxels along each axis when the spacing (mm) becomes the wanted one; at least 1."""
    return tuple(max(1, round(old / new * n)) for n, old, new in zip(shape, spacing, wanted, strict=True))


def thick_axis(spacing: Sequence[float], wanted: Sequence[float], ratio: float | None) -> int | None:
    """The axis of thick slices: that of the longest spacing, where it is more than `ratio` times the shortest, in the
    first of both spacings in which any is. None where there is none, or two axes are as long."""
    for mm in (spacing, wanted):
        if ratio is not None and max(mm) / min(mm) > ratio:
            longest = [axis for axis, one in enumerate(mm) if one == max(mm)]
            return longest[0] if len(longest) == 1 else None
    return None


@lru_cache(maxsize=32)
def spline_matrix(old: int, new: int, order: int, thick: bool = False) -> np.ndarray:
    """The matrix, float64 (new, old), that resamples an axis with a spline of this degree."""
    if old == new:
        return np.eye(old)
    if thick:  # without the spline's border of `zoom`
        places = (np.arange(new) + 0.5) * (old / new) - 0.5
        columns = [ndimage.map_coordinates(unit, places[None], order=order, mode="nearest") for unit in np.eye(old)]
        return np.stack(columns, 1)
    matrix: np.ndarray = ndimage.zoom(np.eye(old), (new / old, 1), order=order, mode="nearest", grid_mode=True)
    return matrix


def resample(array: np.ndarray, shape: Sequence[int], order: int, thick: int | None, thick_order: int) -> np.ndarray:
    """The array (Z, Y, X) on a grid of this shape, float32.

    Splines overshoot: values are clipped to the range of the array, and where there is an axis of thick slices, to the
    range of each of these.
    """
    result = np.ascontiguousarray(array, np.float32)
    axes = [axis for axis in range(3) if axis != thick and array.shape[axis] != shape[axis]]
    over = tuple(axis for axis in range(3) if axis != thick)
    low, high = result.min(axis=over, keepdims=True), result.max(axis=over, keepdims=True)
    for axis in sorted(axes, key=lambda axis: shape[axis] / array.shape[axis]):
        result = along(spline_matrix(array.shape[axis], shape[axis], order), result, axis)
    if order > 1 and axes:
        result = np.clip(result, low, high, out=result)
    if thick is not None and array.shape[thick] != shape[thick]:
        result = along(spline_matrix(array.shape[thick], shape[thick], thick_order, True), result, thick)
    return result


def along(matrix: np.ndarray, array: np.ndarray, axis: int) -> np.ndarray:
    """The product of the matrix (new, old) with each line of the contiguous array along the axis, float32."""
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    small = matrix.astype(np.float32)
    # Neither way copies the array in another order, which would double the memory of a large volume.
    lines = array.reshape(math.prod(before), array.shape[axis], math.prod(after))
    product: np.ndarray = np.matmul(small, lines) if after else np.matmul(array, small.T)
    return product.reshape(*before, len(matrix), *after)


@dataclass(frozen=True)
class Taps:
    """Linear interpolation along an axis: voxel i is `low[i]` and `high[i]` of the other grid, these mixed by the
    weight of the latter."""

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray

    def matrix(self, size: int) -> np.ndarray:
        """The matrix, float32 (new, size), that interpolates."""
        matrix = np.zeros((len(self.low), size), np.float32)
        rows = np.arange(len(self.low))
        matrix[rows, self.low] = 1 - self.weight
        matrix[rows, self.high] += self.weight
        return matrix


def taps(old: int, new: int, order: int, thick: bool = False) -> Taps:
    """The taps of a spline of degree 0 or 1."""
    matrix = spline_matrix(old, new, order, thick)
    used = matrix > 1e-9
    low = used.argmax(1)
    high = old - 1 - used[:, ::-1].argmax(1)
    weight = np.where(low == high, 0.0, matrix[np.arange(new), high]).astype(np.float32)
    return Taps(low, high, weight)


def point_taps(old: int, new: int, start: float, step: float, order: int) -> Taps:
    """The taps of degree 0 or 1 where voxel 0 of the new grid lies at voxel `start` of the old one, and the others
    `step` voxels of that apart; beyond its first and last voxel, these count."""
    places = np.clip(start + np.arange(new) * step, 0, old - 1)
    whole = np.rint(places)
    places = np.where((order == 0) | (np.abs(places - whole) < 1e-6), whole, places)
    low, weight = np.floor(places).astype(np.int64), (places - np.floor(places)).astype(np.float32)
    return Taps(low, np.where(weight > 0, low + 1, low), weight)


@dataclass(frozen=True)
class Points:
    """A grid beside an old one: its shape, and along each axis where its voxel 0 lies and how far apart its voxels are,
    in voxels of the old one."""

    shape: tuple[int, ...]
    starts: tuple[float, ...]
    steps: tuple[float, ...]


def points_of(shape: Sequence[int], affine: np.ndarray, wanted: Sequence[float]) -> Points:
    """The grid of MONAI's `Spacing` for an array of this shape, affine (indices to RAS mm) and wanted spacing (mm).

    Its voxel 0 is that of the old grid. Where rounded numbers make axes that are not quite orthogonal, as those of
    oblique volumes in files are, the middles of both grids coincide instead.
    """
    from monai.data.meta_tensor import MetaTensor  # here, because MONAI takes seconds to import
    from monai.data.utils import AFFINE_TOL
    from monai.transforms.spatial.array import Spacing

    nothing = MetaTensor(torch.zeros(1).expand(1, *shape), affine=torch.from_numpy(affine))
    planned: Any = Spacing(tuple(wanted), lazy=True)(nothing)
    new = tuple(int(n) for n in planned.peek_pending_shape())
    way = np.linalg.solve(affine, np.asarray(planned.peek_pending_affine(), np.float64))
    if new == tuple(shape) and np.allclose(way, np.eye(4), atol=AFFINE_TOL):  # it does not resample then
        way = np.eye(4)
    return Points(new, tuple(way[:3, 3].tolist()), tuple(np.diag(way)[:3].tolist()))


def resample_points(array: np.ndarray, affine: np.ndarray, wanted: Sequence[float]) -> np.ndarray:
    """The array (Z, Y, X), float32, on the grid of `points_of`, by MONAI's `Spacing`: a normalisation that leaves 0
    as it is tells 0 from the rounding of another way. Takes 8 bytes a voxel of the array, and 32 of the grid."""
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.spatial.array import Spacing

    resampled: Any = Spacing(tuple(wanted))(MetaTensor(torch.from_numpy(array)[None], affine=torch.from_numpy(affine)))
    return np.ascontiguousarray(resampled[0].numpy())
