"""Writing files whole or not at all."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..volume import Geometry, Labelmap, to_sitk
from .files import OUTPUTS, identities, kind_of, suffix_of
from .formats import read_header
from .into_place import already_exists, check_parent, move_into_place, temporary_folder
from .itk import plain_reason, write_itk
from .seg_nrrd import segment_keys, split_layers
from .voxels import read_voxels

T = TypeVar("T")


def check_different(paths: Sequence[Path]) -> None:
    """Raise InputError when two outputs, the first of them the main one, are the same file."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"Two outputs have the same name, {paths[0]}. Give each a file of its own.")


def check_suffix(path: Path) -> None:
    """Raise InputError when the file name's suffix is of no format that can be written."""
    if suffix_of(path) not in (*OUTPUTS, ".nii", ".mha"):
        raise InputError(f"Expected an output that ends in {', '.join(OUTPUTS)}, found {path.name}. Rename it.")


def check_output(file: Path, inputs: set[tuple[int, int]], replace: bool) -> None:
    """Raise InputError when the output has a suffix that cannot be written, or as `check_place` does."""
    check_suffix(file)
    check_place(file, inputs, replace)


def check_place(file: Path, inputs: set[tuple[int, int]], replace: bool) -> None:
    """Raise InputError when the output belongs to an input (`identities` of them), exists and may not be replaced, or
    has no folder to lie in that can be written."""
    if file.is_file() and identities([file]) & inputs:
        raise InputError(f"The output {file} is an input or a part of one. Choose another output.")
    if file.is_dir():
        raise InputError(f"Expected a file name for the output, found the folder {file}. Choose a file.")
    if os.path.lexists(file) and not replace:
        raise already_exists(file, "The output")
    check_parent(file)
    if not os.access(file.parent, os.W_OK):
        raise InputError(f"The folder {file.parent} is read-only. Choose a folder that you may write to.")


def write_whole(path: Path, write: Callable[[Path], T], replace: bool = True) -> T:
    """The result of `write`, which gets a temporary path that is renamed afterwards: a whole file or none.

    Without `replace` nothing is overwritten, not even a file that appears while `write` runs.

    Raises: InputError when the folder is missing or cannot be written, the disk is full, or a file is in the way.
    """
    with ExitStack() as stack:
        part = stack.enter_context(_temporary_file(path))
        with _write_errors(part, path):
            result = write(part)
            move_into_place(part, path, replace)
    return result


@contextmanager
def _temporary_file(path: Path) -> Iterator[Path]:
    """A path for the file while it is unfinished, of the same name, in a temporary folder beside it."""
    check_parent(path)
    with ExitStack() as stack:
        with _write_errors(path, path):
            folder = stack.enter_context(temporary_folder(path.parent))
        yield folder / path.name


@contextmanager
def _write_errors(part: Path, path: Path) -> Iterator[None]:
    """Turn what writing `part` raises into an InputError about `path`."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        reason = reason or plain_reason(str(error).replace(str(part), str(path)))
        full = "" if isinstance(error, OSError) else "; the disk may be full"
        raise InputError(
            f"Could not write {path}: {reason}{full}. Choose a folder with space that you may write to."
        ) from error


def write_labelmap(path: Path, labelmap: Labelmap, replace: bool = True) -> tuple[str, ...]:
    """Warnings of writing a labelmap whole or not at all (see `store_labelmap`).

    Raises: InputError when the suffix is unknown or the file cannot be written, or without `replace` exists.
    """
    return write_whole(path, lambda part: store_labelmap(part, labelmap), replace)


def write_image(path: Path, array: np.ndarray, geometry: Geometry) -> tuple[str, ...]:
    """Warnings of writing an image whole or not at all (see `store_image`).

    Raises: InputError when the suffix is unknown or the file cannot be written.
    """
    return write_whole(path, lambda part: store_image(part, array, geometry))


def store_labelmap(path: Path, labelmap: Labelmap) -> tuple[str, ...]:
    """Warnings of writing a labelmap, `.seg.nrrd` with names, colours, terminology and tags, inside a `write_whole`.

    Where segments overlap (`Labelmap.covered`), a `.seg.nrrd` has further layers and loses nothing; other formats have
    the voxels of the array. Voxels are uint8 where the labels fit, else uint16. NRRD keeps every voxel's place to 1e-9
    mm. NIfTI stores geometry as float32: the origin is kept to 2e-5 mm and the far corner of a 512³ grid to 3e-4 mm
    (measured).
    A place that is off by more than `Geometry.tolerance` is a warning.

    Raises: InputError when the suffix is unknown; OSError or RuntimeError when writing fails.
    """
    small = labelmap.array.size == 0 or max(labelmap.array.max(), labelmap.covered[:, 0].max(initial=0)) < 256
    array = labelmap.array.astype(np.uint8 if small else np.uint16, copy=False)
    if suffix_of(path) == ".seg.nrrd":
        layers, below = split_layers(replace(labelmap, array=array))
        images = [to_sitk(layer, labelmap.geometry) for layer in layers]
        image = images[0] if len(images) == 1 else sitk.Compose(images)
        for key, value in segment_keys(labelmap, below).items():
            image.SetMetaData(key, value)
    else:
        image = to_sitk(array, labelmap.geometry)
    return _store(path, image, labelmap.geometry)


def store_image(path: Path, array: np.ndarray, geometry: Geometry) -> tuple[str, ...]:
    """Warnings of writing a scalar array (Z, Y, X), or channels (C, Z, Y, X) as a vector image, inside a `write_whole`.

    Raises: as `store_labelmap` does.
    """
    image = to_sitk(array, geometry) if array.ndim == 3 else sitk.Compose([to_sitk(a, geometry) for a in array])
    return _store(path, image, geometry)


def _store(path: Path, image: sitk.Image, geometry: Geometry) -> tuple[str, ...]:
    check_suffix(path)
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


@dataclass(frozen=True)
class Write:
    """A file to write: `write` gets a temporary path and returns warnings."""

    path: Path
    write: Callable[[Path], tuple[str, ...]]


def write_together(writes: Sequence[Write], ready: Callable[[], None], replace: bool) -> tuple[str, ...]:
    """Warnings of writing several files. None is renamed into place before all are whole and `ready` has returned.
    Without `replace` nothing is overwritten, and where one of the files exists none is written.

    Raises: InputError as `write_whole` does; what `ready` raises.
    """
    warnings: list[str] = []
    moved: list[Path] = []
    with ExitStack() as stack:
        parts = [stack.enter_context(_temporary_file(output.path)) for output in writes]
        for output, part in zip(writes, parts, strict=True):
            with _write_errors(part, output.path):
                warnings += output.write(part)
        ready()
        try:
            for output, part in zip(writes, parts, strict=True):
                with _write_errors(part, output.path):
                    move_into_place(part, output.path, replace)
                moved.append(output.path)
        except BaseException:
            if not replace:  # these are new; replaced files cannot be brought back
                for path in moved:
                    path.unlink(missing_ok=True)
            raise
    return tuple(warnings)
