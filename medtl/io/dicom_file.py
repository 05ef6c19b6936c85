"""One DICOM file: whether it is one, and its dataset, read within bounds."""

import io
import os
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, MedTLError
from .files import first_bytes, not_readable, sniff

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = (".dcm", ".ima")
MAX_HEADER = 32 << 20  # bytes before the pixel data of a deflated file, which states no size
NOT_IMAGES = {"SEG", "SR", "PR", "KO", "REG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "DOC", "FID", "AU", "RWV"}


def visible_files(folder: Path) -> list[Path]:
    """The files below a folder, sorted, without hidden ones such as `._NAME`, `.git` or macOS's `__MACOSX`.

    Raises: InputError when a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise InputError(
            f"Expected a readable folder, found {error.strerror} for {error.filename}. Check its rights."
        ) from error

    files = []
    for top, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        files += [Path(top, name) for name in names if not _is_hidden(name)]
    return sorted(file for file in files if file.is_file())


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def is_dicom(file: Path) -> bool:
    """True where the first bytes are those of a DICOM file, with or without preamble, or the suffix says so.

    Raises: InputError when the file cannot be opened.
    """
    try:
        return sniff(first_bytes(file)) == "DICOM" or file.suffix.lower() in SUFFIXES
    except OSError as error:
        raise not_readable(file, error) from error


@contextmanager
def dicom_errors(message: Callable[[str], str]) -> Iterator[None]:
    """Turn whatever pydicom raises about a bad file into an InputError; `message` makes its text from the reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unusual but readable values; the caller checks what it uses
            yield
    except (MedTLError, MemoryError):
        raise
    except Exception as error:  # pydicom's errors have no common base but this, and come when a value is first used
        raise InputError(message(" ".join(str(error).split())[:200] or type(error).__name__)) from error


def read_header(file: Path) -> "Dataset | None":
    """The dataset of an image file up to its pixel data; None for files without an image (reports, segmentations) and
    for localizers.

    Raises: InputError when the file is empty or damaged.
    """
    from pydicom.uid import UID

    def damaged(reason: str) -> str:
        return f"Expected a DICOM file, found an empty or damaged one: {file}. Copy or export it again."

    with dicom_errors(damaged):
        header = _read(file, with_pixels=False)
        kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID", "")
        image = header.get("Modality") not in NOT_IMAGES and "LOCALIZER" not in (header.get("ImageType") or ())
        has_size = "Rows" in header and "Columns" in header
        promised = "Rows" in header or "Image Storage" in UID(str(kind)).name
        if not has_size and ((image and promised) or (file.suffix.lower() in SUFFIXES and not kind)):
            raise EOFError
    return header if image and has_size else None


def series_uid(file: Path) -> str:
    """The UID of the series that an image file belongs to; empty where it is none or cannot be read."""
    try:
        header = read_header(file) if is_dicom(file) else None
    except InputError:
        return ""
    return "" if header is None else str(header.get("SeriesInstanceUID", ""))


def read_dataset(file: Path) -> "Dataset":
    """The whole dataset of a file.

    Raises: InputError when deflated data go on far beyond what the header promises; and as pydicom does (see
    `dicom_errors`).
    """
    return _read(file, with_pixels=True)


def pixel_bytes(header: "Dataset") -> int:
    """The bytes of uncompressed pixel data that a header promises."""
    frames, samples = int(header.get("NumberOfFrames") or 1), int(header.get("SamplesPerPixel") or 1)
    bits = int(header.Rows) * int(header.Columns) * frames * samples * int(header.get("BitsAllocated") or 16)
    return (bits + 7) // 8


class _Deflated(Exception):
    """pydicom is about to inflate the rest of a file, which it does without a limit."""


class _BoundedFile(io.BufferedReader):
    """A file from which no more than its size is read, whatever length an element states."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            raise _Deflated
        return super().read(min(size, max(0, self.size - self.tell())) if size > 4096 else size)


def _read(file: Path, *, with_pixels: bool) -> "Dataset":
    """The dataset of a file, up to its pixel data or whole, with a transfer syntax also where the file states none."""
    from pydicom import dcmread, uid
    from pydicom.dataset import FileMetaDataset

    with _BoundedFile(file) as stream:
        try:
            dataset: Dataset = dcmread(stream, stop_before_pixels=not with_pixels, force=True)
        except _Deflated:
            dataset = _read_deflated(stream.read(stream.size), file, with_pixels=with_pixels)
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    if "TransferSyntaxUID" not in dataset.file_meta:  # a file without preamble
        implicit, little = dataset.original_encoding
        explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _read_deflated(packed: bytes, file: Path, *, with_pixels: bool) -> "Dataset":
    """The dataset in deflated bytes. No more is inflated than the header and the pixel data that it promises."""
    from pydicom.filereader import read_dataset as parse

    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    data = unpacker.decompress(packed, MAX_HEADER)
    if len(data) < MAX_HEADER and not unpacker.eof:
        raise EOFError("deflated data that are cut off")
    header = parse(io.BytesIO(data), False, True, stop_when=_at_pixel_data)
    if not with_pixels:
        return header
    limit = MAX_HEADER + pixel_bytes(header)
    data += unpacker.decompress(unpacker.unconsumed_tail, limit)
    if len(data) >= limit and not unpacker.eof:
        raise InputError(
            f"Expected {pixel_bytes(header)} bytes of pixel data, found deflated data that go on, in {file}. "
            "Export it again, uncompressed."
        )
    return parse(io.BytesIO(data), False, True)


def _at_pixel_data(tag: int, vr: str | None, length: int) -> bool:
    return tag in (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double and whole numbers
