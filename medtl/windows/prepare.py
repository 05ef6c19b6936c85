"""From volumes to the grid of a network that sees windows: oriented, cropped, scaled, resampled (see `WindowSpec`)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..errors import InputError, ModelError
from ..io.limits import free_memory
from ..model.card import STORED, ModelCard, Normalisation, WindowSpec
from ..preprocess import LPS_OF_LETTER, Turned, in_order, orient_to, turn
from ..volume import Geometry, Volume, check_voxels, to_sitk
from .resampling import Taps, new_shape, resample, taps, thick_axis

SMALLEST_DEVIATION = 1e-8  # of an image: a constant one is not divided by 0


@dataclass(frozen=True, kw_only=True)
class WindowInput(Turned):
    """Volumes on the network's grid: `array` float32 (channels, D, H, W), `box` the part of the turned volume that is
    computed. `taps` interpolate the logits from the network's grid back onto the box, axis by axis."""

    array: np.ndarray
    box: tuple[slice, slice, slice]
    taps: tuple[Taps, Taps, Taps]


def prepare_windows(volumes: Sequence[Volume], card: ModelCard, spec: WindowSpec) -> WindowInput:
    """The volumes, one a channel and all on the first one's grid, on the network's grid.

    Raises: InputError when a voxel is not finite; ModelError when the network's grid does not fit into memory.
    """
    for volume in volumes:
        check_voxels(volume)
    geometry = volumes[0].geometry
    axes, flips = axes_of(geometry, spec)
    spacing = in_order(geometry.spacing[::-1], axes)
    turned = [turn(volume.array, axes, flips) for volume in volumes]
    box = nonzero_box(turned) if spec.crop else (slice(None), slice(None), slice(None))
    box = tuple(slice(*part.indices(n)) for part, n in zip(box, turned[0].shape, strict=True))  # type: ignore[assignment]
    cropped = [array[box] for array in turned]
    shape = cropped[0].shape
    wanted = spec.spacing if len(spec.spacing) == 3 else (spacing[0], *spec.spacing)
    grid = new_shape(shape, spacing, wanted)
    check_grid(grid, card, spec)
    masked = any(one.masked for one in spec.normalisation)
    body = body_mask(cropped) if masked else np.zeros(0, bool)
    thick = thick_axis(spacing, wanted, spec.thick_ratio)

    def on_grid(values: np.ndarray, scaling: Normalisation) -> np.ndarray:
        channel = values.astype(np.float32, order="C")  # one channel at a time, for memory
        normalise(channel, scaling, body)
        return resample(channel, grid, spec.order, thick, spec.thick_order)

    array = np.stack([on_grid(*each) for each in zip(cropped, spec.normalisation, strict=True)])
    orders = [spec.thick_order if axis == thick else spec.logits_order for axis in range(3)]
    first, second, third = (
        taps(grid[axis], shape[axis], orders[axis], axis == thick and shape != grid) for axis in range(3)
    )
    sizes = (turned[0].shape[0], turned[0].shape[1], turned[0].shape[2])
    return WindowInput(
        axes=axes,
        flips=flips,
        turned_shape=sizes,
        turned_spacing=spacing,
        statistics={},
        array=array,
        box=box,
        taps=(first, second, third),
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


def nonzero_box(arrays: Sequence[np.ndarray]) -> tuple[slice, slice, slice]:
    """The box around what is not 0 in any of the arrays; all of it where everything is 0."""
    nonzero = arrays[0] != 0
    for array in arrays[1:]:
        nonzero |= array != 0
    sides = []
    for axis in range(3):
        hit = np.flatnonzero(nonzero.any(axis=tuple(other for other in range(3) if other != axis)))
        sides.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(None))
    return sides[0], sides[1], sides[2]


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
        shift, scale = float(counted.mean()), max(float(counted.std()), SMALLEST_DEVIATION)
    elif scaling.scheme == "range":
        shift = float(counted.min())
        scale = max(float(counted.max()) - shift, SMALLEST_DEVIATION)
    where = body if scaling.masked else True
    np.subtract(channel, np.float32(shift), out=channel, where=where)
    np.divide(channel, np.float32(scale), out=channel, where=where)


def check_grid(grid: Sequence[int], card: ModelCard, spec: WindowSpec) -> None:
    """Raise ModelError where the network's grid, with the logits of one window's depth, does not fit into memory."""
    padded = [max(n, side) for n, side in zip(grid, (1,) * (3 - len(spec.patch)) + spec.patch, strict=True)]
    depth = spec.patch[0] if len(spec.patch) == 3 else 1
    outputs = 1 + len(card.labels)
    voxels = float(np.prod([float(n) for n in padded]))
    needed = 4 * voxels * (len(card.input.channels) + outputs * depth / padded[0])
    free = free_memory()
    if free is not None and needed > free:
        raise ModelError(
            f"Expected {needed / 1e9:.1f} GB of free memory for a grid of {' x '.join(map(str, grid))} voxels at the "
            f"{' x '.join(f'{mm:g}' for mm in spec.spacing)} mm of {card.name}, found {free / 1e9:.1f} GB. Close "
            "other programs, crop the volume, or choose another model."
        )


def channels_of(volumes: Sequence[Volume], card: ModelCard) -> tuple[tuple[Volume, ...], tuple[str, ...]]:
    """The volumes on the first one's grid, one a channel of the model, and a warning for each that was resampled.

    Raises: InputError for another number of volumes than the model has channels.
    """
    names = card.input.channels
    if len(volumes) != len(names):
        missing = f"; missing: {', '.join(names[len(volumes) :])}" if len(volumes) < len(names) else ""
        raise InputError(
            f"Expected {len(names)} {'volume' if len(names) == 1 else 'volumes'} for {card.name} "
            f"({', '.join(names)}), found {len(volumes)}{missing}."
        )
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
