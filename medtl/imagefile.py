"""Image files: what they are, whether they are whole, and their voxels (through SimpleITK, pictures through Pillow)."""

import contextlib
import gzip
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .errors import InputError
from .volume import Geometry, suffix_of

_GREY_LEVELS = 2  # grey pictures come back from JPEG and WebP with channels that differ by a level or two
_KINDS = {
    **dict.fromkeys((".nrrd", ".seg.nrrd", ".nhdr"), "NRRD"),
    **dict.fromkeys((".nii.gz", ".nii"), "NIfTI"),
    **dict.fromkeys((".mha", ".mhd"), "MetaImage"),
}


def kind_of(path: Path) -> str:
    """NRRD, NIfTI, MetaImage, picture or DICOM by the first bytes, for a suffix can lie; every folder is DICOM."""
    if path.is_dir():
        return "DICOM"
    if not path.exists():
        raise InputError(f"Expected a file or a DICOM folder, found nothing at {path}. Check the path.")
    try:
        head = _head(path)
    except OSError as error:
        raise InputError(f"Expected a readable file, found {error.strerror} for {path}. Check its rights.") from error
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
            return zlib.decompressobj(31).decompress(head) or head
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
            reader.ReadImageInformation()
            if kind == "NIfTI":
                _check_nifti(path, reader)
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


def _check_nifti(path: Path, reader: sitk.ImageFileReader) -> None:
    """Refuse what ITK passes over in silence: a file that is cut off, and a spacing of zero (read as 1)."""
    dims = [int(reader.GetMetaData(f"dim[{i}]")) for i in range(1, int(reader.GetMetaData("dim[0]")) + 1)]
    bits = int(np.prod(dims, dtype=np.int64)) * int(reader.GetMetaData("bitpix"))
    expected = int(float(reader.GetMetaData("vox_offset"))) + bits // 8
    if _unpacked_size(path, expected) < expected:
        raise InputError(f"Expected {expected} bytes in {path}, found fewer: it is cut off. Copy or export it again.")
    for axis, (size, spacing) in enumerate(zip(dims[:3], _nifti_spacing(path), strict=False), start=1):
        if size > 1 and spacing == 0:
            raise InputError(f"Expected spacings above 0 mm, found 0 on axis {axis} of {path}. Correct the header.")


def _nifti_spacing(path: Path) -> tuple[float, ...]:
    """pixdim[1] to pixdim[3] as the header has them, NIfTI-1 (float32) or NIfTI-2 (float64)."""
    head = _head(path)
    order = "<" if int.from_bytes(head[:4], "little") in (348, 540) else ">"
    first = head[4:7] not in (b"n+2", b"ni2")
    return struct.unpack_from(f"{order}3{'f' if first else 'd'}", head, 80 if first else 112)


def _unpacked_size(path: Path, expected: int) -> int:
    """Bytes that the file, unpacked where it is gzip, holds; counted only where its last four bytes disagree."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(-4, os.SEEK_END)
        if not packed:
            return file.seek(0, os.SEEK_END)
        if int.from_bytes(file.read(4), "little") == expected % 2**32:
            return expected
    count = 0
    try:
        with gzip.open(path) as stream:
            while block := stream.read(1 << 20):
                count += len(block)
    except (EOFError, OSError, zlib.error):
        pass  # cut off or damaged: what could be unpacked is the answer
    return count


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
    last = re.sub(r"\s+", " ", text.strip().splitlines()[-1])[:160] if text.strip() else "no reason given"
    return (
        f"Expected a whole {kind} file, found one that is cut off, damaged or without its data file: {path} "
        f"({last}). Copy or export it again."
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


def is_bare(geometry: Geometry, kind: str) -> bool:
    """True for the header that writers leave when they know no spacing (RAS identity in a NIfTI file)."""
    flipped = Geometry(geometry.size, direction=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0))
    return geometry == Geometry(geometry.size) or (kind == "NIfTI" and geometry == flipped)
