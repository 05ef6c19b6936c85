"""Image files: what kind they are, what they are called and which files belong to them."""

import contextlib
import errno
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
VOLUMES = (".seg.nrrd", ".nrrd", ".nhdr", ".nii.gz", ".nii", ".mha", ".mhd")
OUTPUTS = (".seg.nrrd", ".nrrd", ".nii.gz")


def suffix_of(path: Path) -> str:
    """The known suffix of a file name, `.seg.nrrd` and `.nii.gz` included; else the plain one, in lower case."""
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
    if path.is_dir():
        return path.resolve().name
    suffix = suffix_of(path)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the file to the message of a Geometry that cannot be."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error} The file is {path}.") from error


def data_files(path: Path) -> tuple[Path, ...]:
    """The files an input consists of: itself with the detached data of a header, or all files below a folder."""
    try:
        if path.is_dir():
            return tuple(sorted(file for file in path.rglob("*") if file.is_file()))
        return (path, *detached_files(path))
    except OSError:  # nothing there, or not to be read
        return (path,)


def identities(sources: Iterable[Path]) -> set[tuple[int, int]]:
    """Device and number of every file that the inputs consist of: no other name, link or spelling hides one."""
    found = set()
    for file in (file for source in sources for file in data_files(source)):
        with suppress(OSError):  # reading it will say what is wrong
            stat = file.stat()
            found.add((stat.st_dev, stat.st_ino))
    return found


KINDS = {
    **dict.fromkeys((".nrrd", ".seg.nrrd", ".nhdr"), "NRRD"),
    **dict.fromkeys((".nii.gz", ".nii"), "NIfTI"),
    **dict.fromkeys((".mha", ".mhd"), "MetaImage"),
}


def kind_of(path: Path) -> str:
    """NRRD, NIfTI, MetaImage, picture or DICOM by the first bytes, for a suffix can lie; every folder is DICOM."""
    try:
        if path.is_dir():
            return "DICOM"
        head = first_bytes(path) if path.exists() else None
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
    kind = sniff(head)
    by_name = KINDS.get(suffix_of(path), "")
    if not kind:
        raise InputError(
            f"Expected an image (NRRD, NIfTI, MHA, DICOM, PNG, JPEG, TIFF, WebP), found something else: {path}. "
            "Choose an image, or export this one to NRRD or NIfTI."
        )
    if kind not in (by_name, "picture", "DICOM"):
        right = " or ".join(s for s, k in KINDS.items() if k == kind)
        raise InputError(f"The name of {path} does not say what it holds: {kind}. Rename it to end in {right}.")
    return kind


def first_bytes(path: Path) -> bytes:
    """The first bytes, unpacked where the file is gzip; empty only for an empty file."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"\x1f\x8b"):
        with contextlib.suppress(zlib.error):
            return zlib.decompressobj(31).decompress(head, 352) or head  # a NIfTI header; checksums come later
    return head


def sniff(head: bytes) -> str:
    if head.startswith(b"NRRD"):
        return "NRRD"
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return "NIfTI"
    if head[128:132] == b"DICM" or starts_with_dicom_elements(head):
        return "DICOM"
    starts = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM")
    if head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "picture"
    return "MetaImage" if b"NDims" in head else ""


def header_fields(file: BinaryIO) -> dict[str, str]:
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
    if sniff(first_bytes(path)) not in ("NRRD", "MetaImage"):
        return ()
    with path.open("rb") as file:
        first, *listed = header_fields(file).get("datafile", "").splitlines() or ["LOCAL"]
    if first == "LOCAL" or first.startswith("LIST"):
        return tuple(path.parent / name for name in listed)
    pattern = re.fullmatch(r"(.*)%0?(\d?)d(\S*)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(?:\s+\d+)?", first)
    if not pattern:
        return (path.parent / first,)
    before, width, after = pattern[1], int(pattern[2] or 0), pattern[3]
    begin, end, step = (int(n) for n in pattern.groups()[3:])
    numbers = range(begin, end + (1 if step >= 0 else -1), step or 1)[:65536]
    return tuple(path.parent / f"{before}{n:0{width}d}{after}" for n in numbers)
