"""The voxels of DICOM files: which pixel data can be read, and their values after rescaling."""

import shutil
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .dicom_file import dicom_errors, pixel_bytes, read_dataset
from .itk import quiet_stderr

if TYPE_CHECKING:
    from pydicom import Dataset

# What compressed pixel data may grow to, times the size of the file: empty slices shrink to about 1/500.
MOST_COMPRESSED = 1000
ALWAYS_ALLOWED = 64 << 20  # bytes of pixel data that a compressed file of any size may promise
MOST_PIXELS = 8192**2  # of one slice


@dataclass(frozen=True)
class Scaling:
    """The plane `frame` (0 in a file of one plane) and the scale of its stored values, used where there is no table."""

    frame: int = 0
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_whole(self) -> bool:
        """True where whole numbers stay whole."""
        return self.slope.is_integer() and self.intercept.is_integer()


def unreadable(header: "Dataset", file: Path) -> str:
    """Why the pixel data of a file cannot be read as grey values, as the text of an InputError; empty where they can.

    The pixels alone do not show any of this: what is refused here would be read as something else.
    """
    photometric = str(header.get("PhotometricInterpretation") or "MONOCHROME2")
    presentation = str(header.get("PixelPresentation") or "MONOCHROME")
    frames, groups = int(header.get("NumberOfFrames") or 1), header.get("PerFrameFunctionalGroupsSequence")
    samples = int(header.get("SamplesPerPixel") or 1)
    if not photometric.startswith("MONOCHROME"):
        return f"Expected grey DICOM images, found colour ({photometric}) in {file}. Choose the original series."
    if presentation != "MONOCHROME":
        return (
            f"Expected grey DICOM images, found some pixels in colour (PixelPresentation {presentation}) in {file}. "
            "Choose the original series."
        )
    if _is_mosaic(header):
        return (
            f"Expected one slice in each picture, found a Siemens mosaic, many slices side by side in one, in {file}. "
            "Convert the series to NIfTI with dcm2niix first."
        )
    if groups is None and frames > 1:
        return f"Expected slices with a position, found a film of {frames} frames: {file}. Export slices."
    if groups is not None and len(groups) != frames:
        return f"Expected a position of each of the {frames} frames, found {len(groups)} in {file}. Export it again."
    if samples != 1:
        return f"Expected one value for each pixel, found {samples} in {file}. Choose the original series."
    return _unreadable_bits(header, file) or _too_large(header, file)


def _is_mosaic(header: "Dataset") -> bool:
    """True for many slices in one picture, as Siemens writes functional and diffusion MR (`NumberOfImagesInMosaic`)."""
    kind = header.get("ImageType") or ()
    if "MOSAIC" in ([kind] if isinstance(kind, str) else kind):
        return True
    return bool(header.private_creators(0x0019)) and (0x0019, 0x100A) in header


def _unreadable_bits(header: "Dataset", file: Path) -> str:
    """Why the bits of a pixel cannot be read; empty where they can, and for floating-point pixel data."""
    if "BitsStored" not in header:
        return ""
    allocated, stored = int(header.get("BitsAllocated") or 16), int(header.BitsStored)
    high = int(header.get("HighBit", stored - 1))
    if allocated not in (1, 8, 16, 32, 64) or not 1 <= stored <= allocated or high != stored - 1:
        return (
            f"Expected pixels of 8, 16 or 32 bits, stored in the lowest ones, found {stored} of {allocated} bits with "
            f"the highest at {high} in {file}. Export it again."
        )
    return ""


def _too_large(header: "Dataset", file: Path) -> str:
    """Why the promised pixel data are too large, for the file or in all; empty where they are not."""
    promised, size = pixel_bytes(header), file.stat().st_size
    syntax = header.file_meta.TransferSyntaxUID
    packed = syntax.is_compressed or syntax.is_deflated
    if promised > (max(ALWAYS_ALLOWED, MOST_COMPRESSED * size) if packed else size):
        return (
            f"Expected {promised} bytes of pixel data, found a file of {size} bytes: {file} is cut off or damaged. "
            "Copy or export it again."
        )
    if header.Rows * header.Columns > MOST_PIXELS:
        return (
            f"Expected slices of at most {MOST_PIXELS} pixels, found {header.Rows} × {header.Columns} in {file}. "
            "Crop or shrink them."
        )
    return ""


def read_planes(file: Path, scalings: Sequence[Scaling]) -> list[np.ndarray]:
    """The values of planes of one file, each float64 (Y, X), larger ones brighter.

    Raises: InputError when the pixel data are damaged or compressed in a way that cannot be read here.
    """

    def damaged(reason: str) -> str:
        return f"Expected whole pixel data, found {file} cut off or damaged ({reason}). Export it again."

    with dicom_errors(damaged):
        data = read_dataset(file)
        _check_length(data, file)
        stored = _stored(data)
        inverted = data.get("PhotometricInterpretation") == "MONOCHROME1"  # the smallest stored value is white
        ends = [_sum_of_ends(data, s) if inverted else 0.0 for s in scalings]
        if stored is not None:
            planes = [_scale(stored[s.frame], data, s) for s in scalings]
        elif "NumberOfFrames" not in data and not _table(data):
            planes = [_by_gdcm(data, file)]
        else:
            _refuse(data, file)
    return [end - plane for end, plane in zip(ends, planes, strict=True)] if inverted else planes


def _stored(data: "Dataset") -> np.ndarray | None:
    """The stored values (frames, Y, X); None where no plugin of pydicom can decompress them."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = data.file_meta.TransferSyntaxUID
    if syntax.is_compressed:
        try:
            if not get_decoder(syntax).is_available:
                return None
        except NotImplementedError:
            return None
    try:
        pixels = data.pixel_array
    except RuntimeError as error:
        if type(error) is not RuntimeError:  # a damaged header
            raise
        return None  # all of the plugins that are there failed
    return np.asarray(pixels).reshape(-1, int(data.Rows), int(data.Columns))


def _check_length(data: "Dataset", file: Path) -> None:
    """Raise InputError where uncompressed pixel data are longer than the header says by a row or a column of pixels or
    more: then Rows or Columns are wrong. Less is padding."""
    promised, found = pixel_bytes(data), len(data.get("PixelData") or b"")
    row_or_column = promised // max(int(data.Rows), int(data.Columns))
    if not data.file_meta.TransferSyntaxUID.is_compressed and found >= promised + max(row_or_column, 2):
        raise InputError(
            f"Expected {promised} bytes of pixel data for {data.Rows} × {data.Columns} pixels, found {found} in "
            f"{file}: header and data do not belong together. Export it again."
        )


def _table(data: "Dataset") -> "Dataset | None":
    """The table of a Modality LUT Sequence, which then replaces slope and intercept."""
    tables = data.get("ModalityLUTSequence")
    return tables[0] if tables else None


def _scale(stored: np.ndarray, data: "Dataset", scaling: Scaling) -> np.ndarray:
    """The values of a plane's stored values, float64 (Y, X)."""
    from pydicom.pixels.processing import apply_modality_lut

    if table := _table(data):
        if table.LUTDescriptor[2] not in (8, 16):  # the only ones that pydicom knows
            table.LUTDescriptor[2] = 16
        return np.asarray(apply_modality_lut(stored, data), dtype=np.float64)
    return np.asarray(stored.astype(np.float64) * scaling.slope + scaling.intercept)


def _sum_of_ends(data: "Dataset", scaling: Scaling) -> float:
    """The sum of the values of the smallest and the largest number that can be stored."""
    if table := _table(data):
        return float(2 ** int(table.LUTDescriptor[2]) - 1)
    ends = -1 if data.PixelRepresentation else 2 ** int(data.BitsStored) - 1
    return ends * scaling.slope + 2 * scaling.intercept


def _by_gdcm(data: "Dataset", file: Path) -> np.ndarray:
    """The values as SimpleITK's GDCM, which knows more compressions, reads and rescales them, float64 (Y, X)."""
    from pydicom.encaps import get_frame

    first = get_frame(data.PixelData, 0, number_of_frames=1)
    if _codestream_size(first) not in (
        None,
        (int(data.Rows), int(data.Columns)),
    ):  # GDCM would follow it, however large
        _refuse(data, file)
    with tempfile.TemporaryDirectory(prefix="medtl-") as folder, quiet_stderr():
        plain = shutil.copyfile(file, Path(folder, "slice.dcm"))  # SimpleITK ends the process on names out of UTF-8
        try:
            image = sitk.ReadImage(str(plain), imageIO="GDCMImageIO")
        except RuntimeError:
            _refuse(data, file)
    return np.asarray(sitk.GetArrayFromImage(image), dtype=np.float64).reshape(int(data.Rows), int(data.Columns))


def _codestream_size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG 2000, JPEG or JPEG-LS stream states itself; None where they are not found.

    Source: ITU-T T.800 A.5.1 (SIZ), T.81 B.2.2 and T.87 C.2.2 (the frame header).
    """
    if stream.startswith(b"\xff\x4f\xff\x51") and len(stream) >= 24:
        right, bottom, left, top = struct.unpack_from(">4I", stream, 8)
        return bottom - top, right - left
    at = 2
    while stream.startswith(b"\xff\xd8") and at + 9 <= len(stream):
        _, marker, length, _, rows, columns = struct.unpack_from(">BBHBHH", stream, at)
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return rows, columns
        at += 2 + length
    return None


def _refuse(data: "Dataset", file: Path) -> NoReturn:
    raise InputError(
        f"Expected pixel data that can be decompressed here, found {data.file_meta.TransferSyntaxUID.name} in {file}, "
        "damaged or of a kind that is not read. Install pylibjpeg with pylibjpeg-libjpeg and pylibjpeg-openjpeg, or "
        "export the series uncompressed."
    )
