"""NRRD, NIfTI and MetaImage files, read with SimpleITK."""

import contextlib
import os
import re
import struct
import textwrap
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..volume import Geometry
from .files import detached_files, first_bytes, header_fields


def chosen(path: Path, option: str, given: int | None, count: int) -> int:
    """The index to take of `count` frames or components."""
    if given is None and count > 1:
        raise InputError(
            f"Expected one {option} (3D, one value a voxel), found {count} {option}s in {path}. "
            f"Choose one with --{option} N, N from 0 to {count - 1}."
        )
    index = given or 0
    if not 0 <= index < count:
        raise InputError(f"Expected --{option} from 0 to {count - 1}, found {index}: {path} has {count} {option}(s).")
    return index


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what ITK's C and C++ libraries print to nowhere: the reason travels in the exception."""
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


def read_itk(path: Path, kind: str, frame: int | None, *, layers: bool = False) -> sitk.Image:
    """One frame of the file as a 3D image, its components kept; of a 4D file only that frame is read.

    With `layers` a 4D NRRD file (a segmentation of overlapping segments) comes as it is.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with quiet_stderr():
        try:
            unpacked = _check_packed(path, kind)
            reader.ReadImageInformation()
            if kind == "NIfTI":
                _check_nifti(path, reader, unpacked)
            size = list(reader.GetSize())
            whole = layers and kind == "NRRD" and len(size) == 4
            index = 0 if whole else chosen(path, "frame", frame, int(np.prod(size[3:], dtype=np.int64)))
            if len(size) > 3 and not whole:
                where = np.unravel_index(index, size[3:], order="F")
                reader.SetExtractSize([*size[:3], *(0 for _ in where)])
                reader.SetExtractIndex([0, 0, 0, *(int(n) for n in where)])
            image: sitk.Image = reader.Execute()
        except RuntimeError as error:
            raise InputError(reason_of(path, kind, str(error))) from error
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"Expected real values, found complex ones in {path}. Export the magnitude.")
    if image.GetDimension() == 2:
        image = sitk.JoinSeries(image)
    return image


def _check_nifti(path: Path, reader: sitk.ImageFileReader, found: int) -> None:
    """Refuse what ITK passes over in silence: a file that is cut off, and a spacing of zero or NaN (read as 1)."""
    dims = [int(reader.GetMetaData(f"dim[{i}]")) for i in range(1, int(reader.GetMetaData("dim[0]")) + 1)]
    bits = int(np.prod(dims, dtype=np.int64)) * int(reader.GetMetaData("bitpix"))
    expected = int(float(reader.GetMetaData("vox_offset"))) + bits // 8
    if found < expected:
        raise InputError(f"Expected {expected} bytes in {path}, found fewer: it is cut off. Copy or export it again.")
    spacings = _nifti_field(path, ("3f", 80), ("3d", 112))  # pixdim[1] to pixdim[3]
    for axis, (size, spacing) in enumerate(zip(dims[:3], spacings, strict=False), start=1):
        if size > 1 and (spacing == 0 or not np.isfinite(spacing)):
            raise InputError(
                f"Expected spacings above 0 mm, found {spacing:g} on axis {axis} of {path}. Correct the header."
            )


def _nifti_field(path: Path, first: tuple[str, int], second: tuple[str, int]) -> tuple[Any, ...]:
    """Numbers as the header has them, by their struct code and offset in NIfTI-1 and in NIfTI-2."""
    head = first_bytes(path)
    order = "<" if int.from_bytes(head[:4], "little") in (348, 540) else ">"
    code, offset = second if head[4:7] in (b"n+2", b"ni2") else first
    return struct.unpack_from(order + code, head, offset)


def _check_packed(path: Path, kind: str) -> int:
    """Unpack packed data once, for ITK does not look at their checksums; gives the bytes that they or the file hold."""
    try:
        count = 0
        for file, offset in _packed_data(path, kind):
            with file.open("rb") as stream:
                stream.seek(offset)
                count += _unpacked_size(stream)
        return count or path.stat().st_size
    except (EOFError, OSError, zlib.error) as error:
        text = "its packed data are cut off or changed" if not isinstance(error, OSError) else error.strerror
        raise InputError(reason_of(path, kind, text or "")) from error


def _packed_data(path: Path, kind: str) -> list[tuple[Path, int]]:
    """The files that hold gzip or zlib data, and where in them these begin; none where the data are not packed."""
    with path.open("rb") as file:
        if kind == "NIfTI":
            return [(path, 0)] if file.read(2) == b"\x1f\x8b" else []
        fields, offset = header_fields(file), file.tell()
    packed = fields.get("encoding", "").lower() in ("gzip", "gz") or fields.get("compresseddata", "")[:1] in (
        "T",
        "t",
        "1",
    )
    skips = any(fields.get(key, "0") != "0" for key in ("lineskip", "byteskip", "headersize"))  # rare, left to ITK
    if skips or not packed:
        return []
    return [(data, 0) for data in detached_files(path)] or [(path, offset)]


def _unpacked_size(stream: BinaryIO) -> int:
    """The bytes that gzip or zlib data hold.

    Raises: zlib.error where a checksum is wrong, EOFError where the data are cut off.
    """
    count, unpacker = 0, zlib.decompressobj(47)  # 47: gzip or zlib, 32 KiB window
    while block := unpacker.unconsumed_tail or unpacker.unused_data or stream.read(1 << 20):
        if unpacker.eof:
            if block[0] != 0x1F:  # no further gzip member: padding
                break
            unpacker = zlib.decompressobj(47)
        count += len(unpacker.decompress(block, 1 << 20))
    if not unpacker.eof:
        raise EOFError
    return count


def plain_reason(text: str) -> str:
    """The last line of ITK's message in one line, without addresses, class names and the errno it guesses at."""
    lines = [line for line in text.strip().splitlines() if not line.startswith("Reason:")]
    last = re.sub(
        r"(ITK |sitk::)ERROR:|\[nrrd\]|\w*ImageIO\(0x[0-9a-fA-F]+\):|\(0x[0-9a-fA-F]+\)", " ", (lines or [""])[-1]
    )
    last = re.sub(r"^\s*_?nrrd\w*:", "", last)
    return textwrap.shorten(last, 300, placeholder=" …").rstrip(".:") or "no reason given"


def reason_of(path: Path, kind: str, text: str) -> str:
    """ITK's message in one line, in the user's words where the cause is known."""
    if re.search("orthonormal|determinant is 0", text):
        return (
            f"Expected orthonormal axes, found a sheared or singular direction in the header of {path}. "
            "Resample it onto a regular grid first."
        )
    if re.search("Zero-valued spacing|spacings info|space vector", text):
        return f"Expected spacings above 0 mm, found zero or no number in the header of {path}. Correct the header."
    if "llocate memory" in text:
        return f"Expected a volume that fits into memory, found a larger one: {path}. Crop it, or check its header."
    return (
        f"Expected a whole {kind} file, found one that is cut off, damaged or without its data file: {path} "
        f"({plain_reason(text)}). Copy or export it again."
    )


def states_spacing(path: Path, kind: str, geometry: Geometry) -> bool:
    """False where the header gives no spacing, or the 1 mm that writers leave when they know none."""
    if kind == "NIfTI":  # qform_code and sform_code
        return geometry.spacing != (1.0, 1.0, 1.0) or any(_nifti_field(path, ("2h", 252), ("2i", 344)))
    if geometry == Geometry(geometry.size):
        return False
    if kind != "NRRD":
        return True
    with path.open("rb") as file:
        fields = header_fields(file)
    stated = re.findall(r"(?<!\S)[-+.\d]\S*|\(", fields.get("spacings") or fields.get("spacedirections", ""))
    return len(stated) >= sum(n > 1 for n in geometry.size)
