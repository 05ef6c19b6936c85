"""Writing files whole or not at all."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..volume import Geometry, Labelmap, to_sitk
from .files import OUTPUTS, identities, kind_of, suffix_of
from .formats import read_header
from .itk import plain_reason, write_itk
from .seg_nrrd import segment_keys
from .voxels import read_voxels

T = TypeVar("T")


def check_output(file: Path, inputs: set[tuple[int, int]], force: bool) -> None:
    """Raise InputError when the output belongs to an input (`identities` of them), exists and may not be replaced, has
    no folder to lie in that can be written, or a suffix that cannot be written."""
    if suffix_of(file) not in (*OUTPUTS, ".nii", ".mha"):
        raise InputError(f"Expected an output that ends in {', '.join(OUTPUTS)}, found {file.name}. Rename it.")
    if file.is_file() and identities([file]) & inputs:
        raise InputError(f"The output {file} is an input or a part of one. Choose another output.")
    if file.is_dir():
        raise InputError(f"Expected a file name for the output, found the folder {file}. Choose a file.")
    if file.exists() and not force:
        raise InputError(f"The output {file} exists already. Use --force to replace it, or choose another name.")
    if not file.parent.is_dir():
        raise InputError(f"The folder {file.parent} does not exist. Create it or choose another output.")
    if not os.access(file.parent, os.W_OK):
        raise InputError(f"The folder {file.parent} is read-only. Choose a folder that you may write to.")


def write_whole(path: Path, write: Callable[[Path], T]) -> T:
    """What `write` returns, called with a temporary path that is then renamed: the file is whole or not there at all.

    Raises: InputError when the folder is missing or cannot be written, or the disk is full.
    """
    part = path
    try:
        if not path.parent.is_dir():
            raise InputError(f"The folder {path.parent} does not exist. Create it or choose another output.")
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".medtl-") as folder:
            part = Path(folder) / path.name
            result = write(part)
            part.replace(path)
        return result
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        reason = reason or plain_reason(str(error).replace(str(part), str(path)))
        full = "" if isinstance(error, OSError) else "; the disk may be full"
        raise InputError(
            f"Could not write {path}: {reason}{full}. Choose a folder with space that you may write to."
        ) from error


def write_labelmap(path: Path, labelmap: Labelmap) -> tuple[str, ...]:
    """Write the labelmap whole or not at all and return warnings (see `store_labelmap`).

    Raises: InputError when the suffix is unknown or the file cannot be written.
    """
    return write_whole(path, lambda part: store_labelmap(part, labelmap))


def write_image(path: Path, array: np.ndarray, geometry: Geometry) -> tuple[str, ...]:
    """Write an image whole or not at all and return warnings (see `store_image`).

    Raises: InputError when the suffix is unknown or the file cannot be written.
    """
    return write_whole(path, lambda part: store_image(part, array, geometry))


def store_labelmap(path: Path, labelmap: Labelmap) -> tuple[str, ...]:
    """Write the labelmap, `.seg.nrrd` with names, colours, terminology and tags, inside a `write_whole`.

    Voxels are uint8 where the labels fit, else uint16. NRRD keeps every voxel's place to 1e-9 mm. NIfTI stores
    geometry as float32: the origin is kept to 2e-5 mm and the far corner of a 512³ grid to 3e-4 mm (measured).
    A place that is off by more than `Geometry.tolerance` is a warning.

    Raises: InputError when the suffix is unknown; OSError or RuntimeError when writing fails.
    """
    small = labelmap.array.size == 0 or labelmap.array.max() < 256
    image = to_sitk(labelmap.array.astype(np.uint8 if small else np.uint16), labelmap.geometry)
    if suffix_of(path) == ".seg.nrrd":
        for key, value in segment_keys(labelmap).items():
            image.SetMetaData(key, value)
    return _store(path, image, labelmap.geometry)


def store_image(path: Path, array: np.ndarray, geometry: Geometry) -> tuple[str, ...]:
    """Write a scalar array (Z, Y, X), or several channels (C, Z, Y, X) as a vector image, inside a `write_whole`.

    Returns warnings and raises as `store_labelmap` does.
    """
    image = to_sitk(array, geometry) if array.ndim == 3 else sitk.Compose([to_sitk(a, geometry) for a in array])
    return _store(path, image, geometry)


def _store(path: Path, image: sitk.Image, geometry: Geometry) -> tuple[str, ...]:
    if suffix_of(path) not in (*OUTPUTS, ".nii", ".mha"):
        raise InputError(f"Expected an output that ends in {', '.join(OUTPUTS)}, found {path.name}. Rename it.")
    write_itk(image, path)
    try:  # ITK notices a full disk only sometimes
        header = read_header(path, kind_of(path))
        read_voxels(header, None)
    except InputError as error:
        raise OSError("what was written is not whole, the disk may be full") from error
    if geometry.close_to(header.geometry):
        return ()
    moved = geometry.distance(header.geometry)
    return (
        f"Voxels in {path.name} lie up to {moved:.1g} mm beside those of the image, for the format stores positions "
        "with fewer digits. Write .seg.nrrd or .nrrd where that matters.",
    )


# A file and what writes it; warnings come back.
Write = tuple[Path, Callable[[Path], tuple[str, ...]]]


def write_together(writes: Sequence[Write], ready: Callable[[], None]) -> tuple[str, ...]:
    """Write several files; none is renamed into place before all are whole and `ready` has returned. Their warnings."""
    if not writes:
        ready()
        return ()
    path, write = writes[0]
    return write_whole(path, lambda part: (*write(part), *write_together(writes[1:], ready)))
