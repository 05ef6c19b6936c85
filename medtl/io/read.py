"""Reading volumes and labelmaps of every format."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..volume import Labelmap, Volume, geometry_of
from .files import kind_of, naming, stem_of
from .itk import chosen, read_itk, states_spacing
from .pictures import read_picture
from .seg_nrrd import merge_layers, segments_of


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

        chosen(path, "frame", frame or 0, 1)
        chosen(path, "component", component or 0, 1)
        return _checked(read_dicom(path, series), path)
    if series is not None:
        raise InputError(f"Expected a DICOM folder for --series, found the {kind} file {path}. Leave --series out.")
    if kind == "picture":
        array, geometry = read_picture(path, frame, component)
        return _checked(Volume(array, geometry, stem_of(path), real_spacing=False), path)
    image = read_itk(path, kind, frame)
    components = image.GetNumberOfComponentsPerPixel()
    index = chosen(path, "component", component, components)
    if components > 1:
        image = sitk.VectorIndexSelectionCast(image, index)
    with naming(path):
        geometry = geometry_of(image)
    real = states_spacing(path, kind, geometry)
    return _checked(Volume(sitk.GetArrayFromImage(image), geometry, stem_of(path), real_spacing=real), path)


def _checked(volume: Volume, path: Path) -> Volume:
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
        note = f"{count} voxels were NaN or infinite and count as {array.min():g}."
        volume = replace(volume, array=array, warnings=(*volume.warnings, note))
    if array.min() == array.max():
        raise InputError(
            f"Expected an image or a labelmap that shows something, found the value {array.flat[0]:g} in every voxel "
            f"of {path}. Choose another."
        )
    largest = max(abs(float(array.min())), abs(float(array.max())))
    if not 1e-30 <= largest <= 3e38:
        raise InputError(
            f"Expected values that 32-bit numbers can hold, found magnitudes up to {largest:g} in {path}. "
            "Scale them in the program that wrote it."
        )
    return volume


def read_labelmap(path: Path) -> Labelmap:
    """The labels of a file, uint16 (Z, Y, X), with the segments that a `.seg.nrrd` names.

    Overlapping segments (layers of a `.seg.nrrd`) are merged: the later one counts, `warnings` says what the others
    lose, and `Labelmap.mask` still gives each segment whole. Where several segments have the same value, they are
    numbered from 1 in their order.

    Raises: InputError, also where a value is not a whole number from 0 to 65535.
    """
    kind = kind_of(path)
    if kind == "DICOM":
        raise InputError(
            f"Expected a labelmap file (.seg.nrrd, .nrrd, .nii.gz), found DICOM: {path}. Convert it first."
        )
    if kind == "picture":
        array, geometry = read_picture(path, None, None)
        return Labelmap(_as_labels(array, path), geometry)
    image = read_itk(path, kind, None, layers=True)
    segments = segments_of({key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}, path)
    array = _as_labels(sitk.GetArrayFromImage(image), path)
    with naming(path):
        geometry = geometry_of(image)
    if array.ndim == 3:
        if len({segment.value for segment, _ in segments}) == len(segments):
            return Labelmap(array, geometry, tuple(segment for segment, _ in segments))
        return merge_layers(array[None], geometry, [(segment, 0) for segment, _ in segments], path)
    layers = array if image.GetDimension() == 4 else np.moveaxis(array, -1, 0)
    if not segments:
        chosen(path, "layer", None, len(layers))
    return merge_layers(layers, geometry, segments, path)


def _as_labels(array: np.ndarray, path: Path) -> np.ndarray:
    whole = array.dtype.kind in "iu" or bool((np.isfinite(array) & (array == np.rint(array))).all())
    if not whole or array.min() < 0 or array.max() > 65535:
        raise InputError(
            f"Expected whole numbers from 0 to 65535 as labels, found values from {array.min():g} to {array.max():g} "
            f"in {path}. Choose the labelmap, not the image."
        )
    return array.astype(np.uint16)
