"""Image files: their kind, their names and the files that belong to them."""

import contextlib
import errno
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from ..errors import InputError
from .header import data_names, read_text_header
from .limits import check_regular
from .packed import inflate

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
PAIRS = (".hdr.gz", ".hdr")  # headers of NIfTI pairs
VOLUMES = (".seg.nrrd", ".nrrd", ".nhdr", ".nii.gz", ".nii", *PAIRS, ".mha", ".mhd")
OUTPUTS = (".seg.nrrd", ".nrrd", ".nii.gz")
GZIP = b"\x1f\x8b"
NIFTI_HEADER = 544  # bytes of a NIfTI-2 header and of what follows; NIfTI-1 has 352
LONGEST_PACKED_HEADER = 1 << 16  # bytes of gzip data in which it lies


def suffix_of(path: Path) -> str:
    """The suffix of a file name in lower case; `.seg.nrrd`, `.nii.gz` and the like count as one suffix."""
    name = path.name.lower()
    return next((s for s in (*VOLUMES, *PICTURES) if name.endswith(s)), path.suffix.lower())


def starts_with_dicom_elements(head: bytes) -> bool:
    """True where the bytes begin with three elements of a DICOM dataset, in their order: a file without preamble."""
    at, last = 0, b""
    for _ in range(3):
        tag = head[at + 1 : at + 2] + head[at : at + 1] + head[at + 3 : at + 4] + head[at + 2 : at + 3]  # big endian
        if len(head) < at + 12 or tag[:2] not in (b"\0\2", b"\0\x08") or tag <= last:
            return False
        last, kind = tag, head[at + 4 : at + 6]
        if kind in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC"):
            at += 12 + int.from_bytes(head[at + 8 : at + 12], "little")
        elif kind.isalpha() and kind.isupper():
            at += 8 + int.from_bytes(head[at + 6 : at + 8], "little")
        else:  # a dataset that states no types
            at += 8 + int.from_bytes(head[at + 4 : at + 8], "little")
    return True


def stem_of(path: Path) -> str:
    """The name without its suffix; a folder's whole name."""
    with suppress(OSError):  # a name that is too long for a file
        if path.is_dir():
            return path.resolve().name
    suffix = suffix_of(path)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the file to the message of a Geometry that is refused."""
    try:
        yield
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{error} The file is {path}.") from error


def data_files(path: Path) -> tuple[Path, ...]:
    """The files an input consists of: itself with the detached data of a header, or all files below a folder."""
    try:
        if path.is_dir():
            return tuple(sorted(file for file in path.rglob("*") if file.is_file()))
        return (path, *detached_files(path))
    except (OSError, InputError):  # reading it gives the reason
        return (path,)


def identities(sources: Iterable[Path]) -> set[tuple[int, int]]:
    """Device and number of every file that the inputs consist of, which identify a file under any name or link."""
    numbers = set()
    for file in (file for source in sources for file in data_files(source)):
        with suppress(OSError):  # reading it gives the reason
            stat = file.stat()
            numbers.add((stat.st_dev, stat.st_ino))
    return numbers


KINDS = {
    **dict.fromkeys((".nrrd", ".seg.nrrd", ".nhdr"), "NRRD"),
    **dict.fromkeys((".nii.gz", ".nii", *PAIRS), "NIfTI"),
    **dict.fromkeys((".mha", ".mhd"), "MetaImage"),
}


def kind_of(path: Path) -> str:
    """NRRD, NIfTI, MetaImage, picture or DICOM, by the first bytes: a suffix can be wrong. Every folder is DICOM.

    Raises: InputError when the file cannot be read or is of another kind, or its name says another kind.
    """
    try:
        if path.is_dir():
            return "DICOM"
        head = first_bytes(path) if path.exists() else None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise not_readable(path, error) from error
        head = None
    if head is None:
        raise InputError(f"Expected a file or a DICOM folder, found nothing at {path}. Check the path.")
    if not head:
        raise InputError(f"Expected an image, found an empty file: {path}. Copy or export it again.")
    kind = sniff(head)
    if kind == "Analyze":
        raise InputError(
            f"Expected a NIfTI header, found Analyze 7.5, which does not state what is left and right: {path}. "
            "Convert it to NIfTI with the program that wrote it."
        )
    if not kind:
        advice = "Choose an image, or export this one to NRRD or NIfTI."
        if path.name.lower().endswith((".img", ".img.gz")):
            advice = "Choose the header that belongs to it, which ends in .hdr."
        raise InputError(
            "Expected an image (NRRD, NIfTI, MHA, DICOM, PNG, JPEG, TIFF, WebP), found something else: "
            f"{path}. {advice}"
        )
    if kind != "NIfTI" and is_packed(path):
        raise InputError(f"Expected a {kind} file, found one packed with gzip: {path}. Unpack it first.")
    if kind not in (KINDS.get(suffix_of(path)), "picture", "DICOM"):
        right = " or ".join(s for s, k in KINDS.items() if k == kind)
        raise InputError(f"The name of {path} does not say what it holds: {kind}. Rename it to end in {right}.")
    return kind


def not_readable(path: Path, error: OSError) -> InputError:
    """The error for a file that cannot be opened."""
    return InputError(f"Expected a readable file, found {error.strerror} for {path}. Check its rights.")


def first_bytes(path: Path) -> bytes:
    """The first bytes, unpacked where the file is gzip; empty only for an empty file.

    Raises: InputError where the path is a pipe or a device.
    """
    check_regular(path)
    with path.open("rb") as file:
        head = file.read(4096)
        if not head.startswith(GZIP):
            return head
        file.seek(0)
        start = b""
        with contextlib.suppress(EOFError, zlib.error):  # checksums come later
            for block in inflate(file, LONGEST_PACKED_HEADER, 32):
                start += block[: NIFTI_HEADER - len(start)]
                if len(start) >= NIFTI_HEADER:
                    break
        return start or head


def is_packed(path: Path) -> bool:
    """True where the file is gzip, whatever its name is.

    Raises: InputError where the path is a pipe or a device.
    """
    check_regular(path)
    with path.open("rb") as file:
        return file.read(2) == GZIP


def sniff(head: bytes) -> str:
    """The format of a file by its first bytes; empty where it is unknown."""
    if head.startswith(b"NRRD"):
        return "NRRD"
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return "NIfTI"
    if head[128:132] == b"DICM" or starts_with_dicom_elements(head):
        return "DICOM"
    starts = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM")
    if head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "picture"
    if b"NDims" in head:
        return "MetaImage"
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    order = next((each for each in orders if int.from_bytes(head[:4], each) == 348), None)
    return "Analyze" if order and len(head) >= 348 and 1 <= int.from_bytes(head[40:42], order) <= 7 else ""


def detached_files(path: Path) -> tuple[Path, ...]:
    """The other files that hold an image's voxels, as its header names them; none where the data follow the header."""
    kind = sniff(first_bytes(path))
    if kind in ("NRRD", "MetaImage"):
        return tuple(path.parent / name for name in data_names(read_text_header(path), path))
    image = image_of_pair(path) if kind == "NIfTI" and suffix_of(path) in PAIRS else None
    return () if image is None else (image,)


def image_of_pair(path: Path) -> Path | None:
    """The .img or .img.gz file beside a .hdr file, in small letters or capitals; None where there is none."""
    stem = stem_of(path)
    beside = {file.name[len(stem) :].lower(): file for file in path.parent.iterdir() if file.name.startswith(stem)}
    return beside.get(".img") or beside.get(".img.gz")
