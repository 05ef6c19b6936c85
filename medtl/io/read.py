"""Reading volumes and labelmaps of every format."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..counted import counted
from ..errors import InputError
from ..volume import LARGEST_VALUE, Labelmap, Volume, voxel_counts
from .choice import choose
from .files import kind_of, stem_of
from .formats import read_header
from .pictures import read_picture
from .seg_nrrd import merge_layers, segments_of
from .voxels import read_voxels

# An image has so many values, and less than this share of the voxels of its middle value has a neighbour alike: 0.13 at
# most in 250 images, 0.6 and more in labelmaps.
GREY_VALUES, ALIKE = 64, 0.3


def read_volume(
    path: Path, *, frame: int | None = None, component: int | None = None, series: str | None = None
) -> Volume:
    """The volume of a file or DICOM folder, its array (Z, Y, X) in the dtype of the file, native byte order.

    `frame` chooses from a 4D file, `component` from a colour one (both 0-based), `series` the DICOM series (the
    UID or a unique beginning of it). Pictures have depth 1. Voxels that are NaN or infinite become the smallest
    finite value, with a warning, where they are under 1 %.

    Raises: InputError naming what was expected, what was found and what to do.
    """
    kind = kind_of(path)
    if kind == "DICOM":
        from .dicom import read_dicom

        choose(path, "frame", frame or 0, 1)
        choose(path, "component", component or 0, 1)
        return _check(read_dicom(path, series), path)
    if series is not None:
        raise InputError(f"Expected a DICOM folder to choose a series from, found the {kind} file {path}. Choose none.")
    if kind == "picture":
        array, geometry, warnings = read_picture(path, frame, component)
        return _check(Volume(array, geometry, stem_of(path), real_spacing=False, warnings=warnings), path)
    header = read_header(path, kind)
    frame_index = choose(path, "frame", frame, header.frames)
    index = choose(path, "component", component, header.components)
    array = np.ascontiguousarray(read_voxels(header, frame_index)[index])
    volume = Volume(array, header.geometry, stem_of(path), real_spacing=header.states_spacing, warnings=header.warnings)
    return _check(volume, path)


def _check(volume: Volume, path: Path) -> Volume:
    """The volume with finite voxels that are not all alike and that 32-bit floats can hold."""
    array = volume.array
    bad = ~np.isfinite(array) if array.dtype.kind == "f" else np.zeros(1, dtype=bool)
    count = int(bad.sum())
    if count >= 0.01 * array.size and count:
        raise InputError(
            f"Expected finite voxels, found {count} of {array.size} that are NaN or infinite in {path}. "
            "Replace them in the program that wrote it."
        )
    if count:
        array = np.where(bad, array[~bad].min(), array)
        warning = counted(
            count, "1 voxel was NaN or infinite and counts", "{count} voxels were NaN or infinite and count"
        )
        warning += f" as {array.min():g}."
        volume = replace(volume, array=array, warnings=(*volume.warnings, warning))
    if array.min() == array.max():
        raise InputError(
            f"Expected an image or a labelmap that shows something, found the value {array.flat[0]:g} in every voxel "
            f"of {path}. Choose another."
        )
    largest = max(abs(float(array.min())), abs(float(array.max())))
    if not 1e-30 <= largest <= LARGEST_VALUE:
        raise InputError(
            f"Expected values that 32-bit numbers can hold, found magnitudes up to {largest:g} in {path}. "
            "Scale them in the program that wrote it."
        )
    return volume


def read_labelmap(path: Path) -> Labelmap:
    """The labels of a file, uint16 (Z, Y, X), with the segments that a `.seg.nrrd` names.

    Overlapping segments (layers of a `.seg.nrrd`) are merged: the later one counts, `warnings` has what the others
    lose, and `Labelmap.mask` still gives each segment whole. Where several segments have the same value, they are
    numbered from 1 in their order.

    Raises: InputError, also where a value is not a whole number from 0 to 65535, and for an image.
    """
    kind = kind_of(path)
    if kind == "DICOM":
        raise InputError(
            f"Expected a labelmap file (.seg.nrrd, .nrrd, .nii.gz), found DICOM: {path}. Convert it first."
        )
    if kind == "picture":
        array, geometry, warnings = read_picture(path, None, None)
        _check_no_image(array, path)
        return Labelmap(_as_labels(array, path), geometry, warnings=warnings, real_spacing=False)
    header = read_header(path, kind)
    if kind != "NRRD":  # a segmentation of overlapping segments may have four axes
        choose(path, "frame", None, header.frames)
    layers = header.frames * header.components
    segments = segments_of(dict(header.entries), layers, path)
    array = _as_labels(read_voxels(header, None), path)
    if not segments:
        choose(path, "layer", None, layers)
        _check_no_image(array, path)
    distinct = len({segment.value for segment, _ in segments}) == len(segments)
    if layers == 1 and distinct:
        labelmap = Labelmap(array[0], header.geometry, tuple(segment for segment, _ in segments))
    else:
        labelmap = merge_layers(array, header.geometry, segments)
    warnings = (*header.warnings, *labelmap.warnings)
    return replace(labelmap, warnings=warnings, real_spacing=header.states_spacing)


def _as_labels(array: np.ndarray, path: Path) -> np.ndarray:
    right = (array >= 0) & (array <= 65535)
    if array.dtype.kind == "f":
        right &= array == np.rint(array)
    if not right.all():
        others = array[~right]
        raise InputError(
            f"Expected whole numbers from 0 to 65535 as labels, found other values in {others.size} voxel(s), as "
            f"{others[0]:.8g}, in {path}. Choose the labelmap, not the image."
        )
    return array.astype(np.uint16)


def _check_no_image(array: np.ndarray, path: Path) -> None:
    """Raise InputError for an image: it has many values, and hardly any voxel has that of its neighbour. Of half of
    the labels in a labelmap six in ten or more have."""
    values = np.count_nonzero(voxel_counts(array))
    if values < GREY_VALUES:
        return
    left, right = array[..., :-1], array[..., 1:]
    counts, alike = voxel_counts(left), voxel_counts(left[left == right])
    there = np.flatnonzero(counts[: len(alike)])
    shares = np.zeros(np.count_nonzero(counts))  # a value that no two neighbours have is not in `alike`
    shares[: len(there)] = alike[there] / counts[there]
    if np.median(shares) < ALIKE:
        raise InputError(
            f"Expected a segmentation, found an image with {values} values in {path}. Choose the segmentation; "
            "the image goes where an image is asked for."
        )
