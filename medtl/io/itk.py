"""Image files: what they are, whether they are whole, and their voxels (through SimpleITK, pictures through Pillow)."""

import contextlib
import errno
import os
import re
import struct
import textwrap
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..volume import Geometry, suffix_of

_GREY_LEVELS = 2  # grey pictures come back from JPEG and WebP with channels that differ by a level or two
_KINDS = {
    **dict.fromkeys((".nrrd", ".seg.nrrd", ".nhdr"), "NRRD"),
    **dict.fromkeys((".nii.gz", ".nii"), "NIfTI"),
    **dict.fromkeys((".mha", ".mhd"), "MetaImage"),
}


def kind_of(path: Path) -> str:
    """NRRD, NIfTI, MetaImage, picture or DICOM by the first bytes, for a suffix can lie; every folder is DICOM."""
    try:
        if path.is_dir():
            return "DICOM"
        head = _head(path) if path.exists() else None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise InputError(
                f"Expected a readable file, found {error.strerror} for {path}. Check its rights."
            ) from error
        head = None
    if head is None:
        raise InputError(f"Expected a file or a DICOM folder, found nothing at {path}. Check the path.")
    if not head:
        raise InputError(f"Expected an image, found an empty file: {path}. Copy or export it again.")
    kind = _sniff(head)
    by_name = _KINDS.get(suffix_of(path), "")
    if not kind:
        raise InputError(
            f"Expected an image (NRRD, NIfTI, MHA, DICOM, PNG, JPEG, TIFF, WebP), found something else: {path}. "
            "Choose an image, or export this one to NRRD or NIfTI."
        )
    if kind not in (by_name, "picture", "DICOM"):
        right = " or ".join(s for s, k in _KINDS.items() if k == kind)
        raise InputError(f"The name of {path} does not say what it holds: {kind}. Rename it to end in {right}.")
    return kind


def _head(path: Path) -> bytes:
    """The first bytes, unpacked where the file is gzip; empty only for an empty file."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"\x1f\x8b"):
        with contextlib.suppress(zlib.error):
            return zlib.decompressobj(31).decompress(head, 352) or head  # a NIfTI header; checksums come later
    return head


def _sniff(head: bytes) -> str:
    if head.startswith(b"NRRD"):
        return "NRRD"
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return "NIfTI"
    if head[128:132] == b"DICM":
        return "DICOM"
    starts = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM")
    if head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "picture"
    return "MetaImage" if b"NDims" in head else ""


def _header(file: BinaryIO) -> dict[str, str]:
    """The fields of a NRRD or MetaImage header, their names in lower case and without spaces.

    The names of a list of data files follow LIST in `datafile`. The file is left where attached data begin.
    """
    fields: dict[str, str] = {}
    while line := file.readline(1 << 16).decode("utf-8", "surrogateescape").strip():
        found = re.match(r"([\w ]+?)\s*(?::(?!=)|=)\s*(.*)", line)
        if fields.get("datafile", "").startswith("LIST"):
            fields["datafile"] += "\n" + line
        elif found:
            fields[found[1].replace(" ", "").lower().removeprefix("element")] = found[2]
        if fields.get("datafile") == "LOCAL":
            break
    return fields


def detached_files(path: Path) -> tuple[Path, ...]:
    """The data files that a NRRD or MetaImage header names; none where the data follow the header."""
    if _sniff(_head(path)) not in ("NRRD", "MetaImage"):
        return ()
    with path.open("rb") as file:
        first, *listed = _header(file).get("datafile", "").splitlines() or ["LOCAL"]
    if first == "LOCAL" or first.startswith("LIST"):
        return tuple(path.parent / name for name in listed)
    pattern = re.fullmatch(r"(.*)%0?(\d?)d(\S*)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(?:\s+\d+)?", first)
    if not pattern:
        return (path.parent / first,)
    before, width, after = pattern[1], int(pattern[2] or 0), pattern[3]
    begin, end, step = (int(n) for n in pattern.groups()[3:])
    numbers = range(begin, end + (1 if step >= 0 else -1), step or 1)[:65536]
    return tuple(path.parent / f"{before}{n:0{width}d}{after}" for n in numbers)


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
            raise InputError(_reason(path, kind, str(error))) from error
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
    head = _head(path)
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
        raise InputError(_reason(path, kind, text or "")) from error


def _packed_data(path: Path, kind: str) -> list[tuple[Path, int]]:
    """The files that hold gzip or zlib data, and where in them these begin; none where the data are not packed."""
    with path.open("rb") as file:
        if kind == "NIfTI":
            return [(path, 0)] if file.read(2) == b"\x1f\x8b" else []
        fields, offset = _header(file), file.tell()
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


def _reason(path: Path, kind: str, text: str) -> str:
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


def read_picture(path: Path, frame: int | None, component: int | None) -> tuple[np.ndarray, Geometry]:
    """A PNG, JPEG, TIFF, WebP or BMP as an array (1, Y, X); colour without colours counts as grey."""
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter("ignore")  # oversized or oddly tagged pictures: the pixels decide
            picture.seek(chosen(path, "frame", frame, getattr(picture, "n_frames", 1)))
            plain = picture.mode in ("L", "I", "F", "RGB") or picture.mode.startswith("I;16")
            grey = picture.mode in ("1", "LA", "La")
            pixels = np.asarray(picture if plain else picture.convert("L" if grey else "RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(_reason(path, "picture", str(error))) from error
    if pixels.ndim == 3:
        same = int((pixels.max(axis=-1) - pixels.min(axis=-1)).max()) <= _GREY_LEVELS
        pixels = pixels[..., chosen(path, "component", 0 if same and component is None else component, 3)]
    else:
        chosen(path, "component", component, 1)
    pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    return pixels[None], Geometry((pixels.shape[1], pixels.shape[0], 1))


def states_spacing(path: Path, kind: str, geometry: Geometry) -> bool:
    """False where the header gives no spacing, or the 1 mm that writers leave when they know none."""
    if kind == "NIfTI":  # qform_code and sform_code
        return geometry.spacing != (1.0, 1.0, 1.0) or any(_nifti_field(path, ("2h", 252), ("2i", 344)))
    if geometry == Geometry(geometry.size):
        return False
    if kind != "NRRD":
        return True
    with path.open("rb") as file:
        fields = _header(file)
    stated = re.findall(r"(?<!\S)[-+.\d]\S*|\(", fields.get("spacings") or fields.get("spacedirections", ""))
    return len(stated) >= sum(n > 1 for n in geometry.size)
