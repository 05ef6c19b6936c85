"""SimpleITK: writing files with it, and making its messages readable."""

import contextlib
import gzip
import os
import re
import shutil
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .files import suffix_of
from .into_place import temporary_folder

SFORM_OFFSET = 280  # bytes into a NIfTI-1 header
PACKING = 3  # of gzip: twice as fast as its usual 6, for a few per cent more bytes


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hide what ITK's C and C++ libraries print: the exception has the reason."""
    try:
        kept = os.dup(2)
    except OSError:  # a windowed process has no standard error
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def write_itk(image: sitk.Image, path: Path) -> None:
    """Write a 3D image, compressed, under any name: ITK gets a name in small letters that every system can encode.

    Raises: RuntimeError or OSError when writing fails.
    """
    suffix = suffix_of(path)
    nifti = suffix in (".nii", ".nii.gz")
    with temporary_folder(Path(tempfile.gettempdir()) if _is_not_utf8(path.parent) else path.parent) as folder:
        part = folder / ("image.nii" if nifti else f"image{suffix}")
        try:
            with quiet_stderr():
                sitk.WriteImage(image, str(part), not nifti)
        except RuntimeError as error:
            raise RuntimeError(str(error).replace(str(part), str(path))) from error
        if nifti:
            _write_sform(part, image)
        if suffix == ".nii.gz":
            plain, part = part, part.with_suffix(".nii.gz")
            with (
                plain.open("rb") as source,
                part.open("wb") as target,
                gzip.GzipFile("", "wb", PACKING, target, 0) as packed,
            ):
                shutil.copyfileobj(source, packed, 1 << 20)
        shutil.move(part, path)


def _write_sform(path: Path, image: sitk.Image) -> None:
    """Put the image's own axes into a NIfTI-1 header: ITK makes them orthonormal, which moves voxels where a header
    has directions of three or four decimals."""
    columns = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    rows = np.column_stack([columns, image.GetOrigin()]) * [[-1.0], [-1.0], [1.0]]
    with path.open("r+b") as file:
        file.seek(SFORM_OFFSET)
        file.write(rows.astype("<f4").tobytes())


def _is_not_utf8(path: Path) -> bool:
    """True where the path has bytes that are not UTF-8: SimpleITK ends the process on them."""
    try:
        str(path.absolute()).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def plain_reason(text: str) -> str:
    """The last line of ITK's message in one line, without addresses, class names and the errno it guesses at."""
    lines = [line for line in text.strip().splitlines() if not line.startswith("Reason:")]
    last = re.sub(
        r"(ITK |sitk::)ERROR:|\[nrrd\]|\w*ImageIO\(0x[0-9a-fA-F]+\):|\(0x[0-9a-fA-F]+\)", " ", (lines or [""])[-1]
    )
    last = re.sub(r"^\s*_?nrrd\w*:", "", last)
    return textwrap.shorten(last, 300, placeholder=" …").rstrip(".:") or "no reason given"


def reason_of(path: Path, kind: str, text: str) -> str:
    """A library's message about a file that it cannot read, in one line."""
    reason = plain_reason(text)
    return f"Expected a whole {kind} file, found one that cannot be read: {path} ({reason}). Copy or export it again."
