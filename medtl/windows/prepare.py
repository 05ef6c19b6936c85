"""From volumes to the grid of a network that sees windows: oriented, cropped, scaled, resampled (see `WindowSpec`)."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..channels import check_volumes
from ..errors import InputError, ModelError
from ..io.limits import free_memory
from ..model.card import STORED, ModelCard, Normalisation, WindowSpec
from ..preprocess import LPS_OF_LETTER, Turned, in_order, orient_to, turn
from ..volume import Geometry, Volume, check_voxels, to_sitk
from .resampling import (
    Taps,
    new_shape,
    point_taps,
    points_of,
    resample,
    resample_points,
    taps,
    thick_axis,
)

SMALLEST_DEVIATION = 1e-8  # of an image: a constant one is not divided by 0
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, kw_only=True)
class WindowInput(Turned):
    """Volumes on the network's grid, whose shape is `grid`: `array` float32 (channels, D, H, W) is its part `inner`;
    `box` is the part of the turned volume that is computed. `taps` interpolate the outputs from the network's grid back
    onto the box, axis by axis."""

    array: np.ndarray
    grid: tuple[int, ...]
    inner: Box
    box: Box
    taps: tuple[Taps, Taps, Taps]


def prepare_windows(
    volumes: Sequence[Volume], card: ModelCard, spec: WindowSpec, region: Box | None = None
) -> WindowInput:
    """The volumes, one a channel and all on the first one's grid, on the network's grid. `region`: only this part of
    the turned volume is computed.

    Raises: InputError when a voxel is not finite; ModelError when the network's grid does not fit into memory.
    """
    for volume in volumes:
        check_voxels(volume)
    geometry = volumes[0].geometry
    axes, flips = axes_of(geometry, spec)
    spacing = in_order(geometry.spacing[::-1], axes)
    turned = [turn(volume.array, axes, flips) for volume in volumes]
    box = region or box_of((array != 0 for array in turned) if spec.crop else (), turned[0].shape)
    parts = [array[box] for array in turned]
    resampling = resampling_of(parts[0].shape, spacing, turned_affine(geometry, axes, flips), card, spec)
    body = body_of(parts, spec) if spec.normalise_first else np.zeros(0, bool)

    def on_grid(part: np.ndarray, first: Normalisation) -> np.ndarray:
        channel = part.astype(np.float32, order="C")
        if spec.normalise_first:
            scale_channel(channel, first, spec, body)
        return resampling.apply(channel)

    # One channel at a time is held in float32.
    channels = [on_grid(*each) for each in zip(parts, spec.normalisation, strict=True)]
    if not spec.normalise_first:
        body = body_of(channels, spec)
        for channel, first in zip(channels, spec.normalisation, strict=True):
            scale_channel(channel, first, spec, body)
    inner = box_of((channel > 0 for channel in channels) if spec.foreground else (), resampling.grid)
    sizes = (turned[0].shape[0], turned[0].shape[1], turned[0].shape[2])
    return WindowInput(
        axes=axes,
        flips=flips,
        turned_shape=sizes,
        turned_spacing=spacing,
        statistics={},
        array=channels[0][inner][None] if len(channels) == 1 else np.stack([channel[inner] for channel in channels]),
        grid=resampling.grid,
        inner=inner,
        box=box,
        taps=resampling.back,
    )


def turned_affine(geometry: Geometry, axes: Sequence[int], flips: Sequence[int]) -> np.ndarray:
    """The affine of a turned volume: indices along its axes to RAS mm, float64 (4, 4)."""
    columns = [2 - axis for axis in axes]  # of x, y and z; array axes are (z, y, x)
    affine: np.ndarray = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine[:, [*columns, 3]]
    for axis in flips:
        affine[:, 3] += affine[:, axis] * (geometry.size[columns[axis]] - 1)
        affine[:, axis] *= -1
    return affine


@dataclass(frozen=True)
class Resampling:
    """The way onto the network's grid, whose shape is `grid`: `apply` gives a channel on it, float32; `back` are the
    taps of the way back, axis by axis."""

    grid: tuple[int, ...]
    apply: Callable[[np.ndarray], np.ndarray]
    back: tuple[Taps, Taps, Taps]


def resampling_of(
    shape: tuple[int, ...],
    spacing: tuple[float, float, float],
    affine: np.ndarray,
    card: ModelCard,
    spec: WindowSpec,
) -> Resampling:
    """How channels of this shape, spacing (mm) and affine (indices to RAS mm) are resampled.

    Raises: ModelError when the network's grid does not fit into memory.
    """
    wanted = spec.spacing if len(spec.spacing) == 3 else (spacing[0], *(spec.spacing or spacing[1:]))
    if spec.resampling == "points":
        points = points_of(shape, affine, wanted)
        check_grid(shape, points.shape, card, spec)
        first, second, third = (
            point_taps(new, old, -start / step, 1 / step, spec.logits_order)
            for old, new, start, step in zip(shape, points.shape, points.starts, points.steps, strict=True)
        )
        return Resampling(
            points.shape, lambda channel: resample_points(channel, affine, wanted), (first, second, third)
        )
    grid, thick = new_shape(shape, spacing, wanted), thick_axis(spacing, wanted, spec.thick_ratio)
    check_grid(shape, grid, card, spec)
    orders = [spec.thick_order if axis == thick else spec.logits_order for axis in range(3)]
    first, second, third = (
        taps(grid[axis], shape[axis], orders[axis], axis == thick and shape != grid) for axis in range(3)
    )
    return Resampling(
        grid,
        lambda channel: resample(channel, grid, spec.order, thick, spec.thick_order),
        (first, second, third),
    )


def axes_of(geometry: Geometry, spec: WindowSpec) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """The permutation of (Z, Y, X) array axes and the axes to flip after it that bring a volume onto the network's
    axes."""
    if spec.orientation == STORED:
        return spec.axes, ()
    wanted = tuple(LPS_OF_LETTER[letter] for letter in reversed(spec.orientation))
    oriented, flips = orient_to(geometry, wanted)
    first, second, third = (oriented[axis] for axis in spec.axes)
    return (first, second, third), tuple(spec.axes.index(axis) for axis in flips)


def box_of(masks: Iterable[np.ndarray], shape: Sequence[int]) -> Box:
    """The box around all voxels of the masks of this shape; all of it where they have none."""
    inside = np.zeros(shape, bool)
    for mask in masks:
        inside |= mask
    sides = []
    for axis, size in enumerate(shape):
        hit = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        sides.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, size))
    return sides[0], sides[1], sides[2]


def body_of(channels: Sequence[np.ndarray], spec: WindowSpec) -> np.ndarray:
    """The body as `body_mask` finds it; empty where no scaling of the channels needs it."""
    needed = any(one.masked and one.filled for one in (*spec.normalisation, *spec.rescaling))
    return body_mask(channels) if needed else np.zeros(0, bool)


def scale_channel(channel: np.ndarray, first: Normalisation, spec: WindowSpec, body: np.ndarray) -> None:
    """Scale the channel, float32, in place: by its own normalisation, then by those of all channels."""
    for scaling in (first, *spec.rescaling):
        normalise(channel, scaling, body if scaling.filled or not scaling.masked else channel != 0)


def body_mask(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """What is not 0 in any of the arrays, with its holes."""
    nonzero = arrays[0] != 0
    for array in arrays[1:]:
        nonzero |= array != 0
    filled = sitk.BinaryFillhole(sitk.GetImageFromArray(np.ascontiguousarray(nonzero).view(np.uint8)))
    return np.asarray(sitk.GetArrayFromImage(filled), bool)


def normalise(channel: np.ndarray, scaling: Normalisation, body: np.ndarray) -> None:
    """Scale the channel, float32, in place."""
    if scaling.limits is not None:
        np.clip(channel, *scaling.limits, out=channel)
    counted = channel[body] if scaling.masked and body.any() else channel
    shift, scale = scaling.shift, scaling.scale
    if scaling.scheme == "zscore":
        shift, deviation = moments(counted, counted if counted is not channel else np.empty_like(channel))
        scale = max(deviation, SMALLEST_DEVIATION)
    elif scaling.scheme == "range":
        shift = float(counted.min())
        scale = max(float(counted.max()) - shift, SMALLEST_DEVIATION)
    where = body if scaling.masked else True
    np.subtract(channel, np.float32(shift), out=channel, where=where)
    np.divide(channel, np.float32(scale), out=channel, where=where)


def moments(values: np.ndarray, spare: np.ndarray) -> tuple[float, float]:
    """The mean and the standard deviation of the values, float32, to the last bit those of numpy, which would take
    memory for a copy of the values: here `spare` is overwritten, which may be the values themselves."""
    mean = values.mean()
    np.subtract(values, mean, out=spare)
    np.multiply(spare, spare, out=spare)
    return float(mean), float(np.sqrt(spare.mean()))


def check_grid(shape: Sequence[int], grid: Sequence[int], card: ModelCard, spec: WindowSpec) -> None:
    """Raise ModelError where the network's grid of a volume of this shape does not fit into memory, with the logits of
    one window's depth or what its resampling takes."""
    padded = [max(n, side) for n, side in zip(grid, (1,) * (3 - len(spec.patch)) + spec.patch, strict=True)]
    depth = spec.patch[0] if len(spec.patch) == 3 else 1
    outputs = 1 + len(card.labels)
    voxels = float(np.prod([float(n) for n in padded]))
    needed = 4 * voxels * (len(card.input.channels) + outputs * depth / padded[0])
    if spec.resampling == "points":
        needed = max(needed, 8 * math.prod(shape) + 32 * math.prod(grid))
    free = free_memory()
    if free is not None and needed > free:
        raise ModelError(
            f"Expected {needed / 1e9:.1f} GB of free memory for a grid of {' x '.join(map(str, grid))} voxels at the "
            f"{' x '.join(f'{mm:g}' for mm in spec.spacing) or 'own'} mm of {card.name}, found {free / 1e9:.1f} GB. "
            "Close other programs, crop the volume, or choose another model."
        )


def channels_of(volumes: Sequence[Volume], card: ModelCard) -> tuple[tuple[Volume, ...], tuple[str, ...]]:
    """The volumes on the first one's grid, one a channel of the model, and a warning for each that was resampled.

    Raises: InputError for another number of volumes than the model has channels.
    """
    check_volumes(card, len(volumes))
    names = card.input.channels
    first, aligned, warnings = volumes[0], [volumes[0]], []
    for name, volume in zip(names[1:], volumes[1:], strict=True):
        if volume.geometry.close_to(first.geometry):
            aligned.append(volume)
            continue
        off = volume.geometry.distance(first.geometry)
        how = "has another size" if np.isinf(off) else f"lies up to {off:.3g} mm beside it"
        warnings.append(f"{name} was resampled onto the grid of {names[0]}: it {how}. Check that both show one scan.")
        aligned.append(onto_grid(volume, first.geometry))
    return tuple(aligned), tuple(warnings)


def onto_grid(volume: Volume, geometry: Geometry) -> Volume:
    """The volume linearly resampled onto a grid, float32, 0 outside.

    Raises: InputError where they do not overlap.
    """
    image = to_sitk(volume.array.astype(np.float32), volume.geometry)
    reference = sitk.Image(list(geometry.size), sitk.sitkUInt8)
    reference.SetSpacing(geometry.spacing)
    reference.SetOrigin(geometry.origin)
    reference.SetDirection(geometry.direction)
    resampled = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, float("nan"))
    array = np.asarray(sitk.GetArrayFromImage(resampled))
    outside = np.isnan(array)
    if outside.all():
        raise InputError(f"Expected volumes that overlap, found {volume.name} elsewhere. Choose images of one scan.")
    array = np.where(outside, np.float32(0), array)
    return Volume(array, geometry, volume.name, volume.modality, volume.description, volume.real_spacing)
