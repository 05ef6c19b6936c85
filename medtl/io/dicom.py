"""DICOM series: found, checked, sorted by position and read.

The order of file names means nothing: slices are sorted along the normal of the image plane.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..volume import Geometry, Volume
from .files import naming
from .itk import quiet_stderr

if TYPE_CHECKING:
    from pydicom import Dataset

_NO_IMAGES = {"SEG", "SR", "PR", "KO", "REG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "DOC", "FID", "AU", "RWV"}


@dataclass(frozen=True)
class Series:
    """A DICOM series: `files` sorted by position, `size` in voxels (x, y, z), `date` as YYYYMMDD or empty."""

    uid: str
    description: str
    modality: str
    date: str
    files: tuple[Path, ...]
    size: tuple[int, int, int]


@dataclass(frozen=True)
class _Slice:
    """One image plane: `row` and `column` are the unit vectors (LPS) of the x and y index axes, lengths in mm."""

    path: Path
    frame: int | None  # of a file with many frames
    size: tuple[int, int]
    position: np.ndarray | None
    row: np.ndarray
    column: np.ndarray
    spacing: tuple[float, float] | None
    thickness: float
    slope: float
    intercept: float

    @property
    def along(self) -> float:
        """Where the plane lies on its own normal, mm."""
        return 0.0 if self.position is None else float(np.cross(self.row, self.column) @ self.position)


def list_series(folder: Path) -> tuple[Series, ...]:
    """The image series below a folder, by description; localizers and objects that are no images are left out.

    Raises: InputError when an image file is damaged.
    """
    return tuple(series for series, _ in _scan(folder))


def read_dicom(path: Path, uid: str | None = None) -> Volume:
    """The volume of a series: rescaled values (HU in CT), int16 or int32 where they are whole, else float32.

    `path` is a folder or one file; `uid` chooses the series by its UID or a unique beginning of it.

    Raises: InputError when there is no series or more than one, or when slices are missing, doubled, of several
    sizes or orientations, in colour, or compressed in a way that cannot be read here.
    """
    series, slices = _choose(_scan(path), uid, path)
    geometry, notes = _geometry(slices, series, path)
    array = _voxels(slices)
    real = slices[0].spacing is not None
    return Volume(
        array,
        geometry,
        path.resolve().name if path.is_dir() else path.stem,
        series.modality,
        series.description,
        real,
        notes,
    )


def _scan(path: Path) -> list[tuple[Series, list[_Slice]]]:
    """Every image series at or below `path` with its slices sorted by position."""
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    found: dict[str, tuple[Series, list[_Slice]]] = {}
    for file in files:
        header = _header(file)
        if header is None:
            continue
        with _readable(file):
            uid = str(header.get("SeriesInstanceUID", ""))
            if uid not in found:
                date = str(header.get("SeriesDate") or header.get("StudyDate") or "")
                described = str(header.get("SeriesDescription", "")).strip()
                found[uid] = Series(uid, described, str(header.get("Modality", "")), date, (), (0, 0, 0)), []
            found[uid][1].extend(_slices(header, file))
    result = []
    for series, slices in found.values():
        slices.sort(key=lambda s: s.along)
        names = tuple(dict.fromkeys(s.path for s in slices))
        result.append((replace(series, files=names, size=(*slices[0].size, len(slices))), slices))
    return sorted(result, key=lambda pair: (pair[0].description, pair[0].uid))


def _header(file: Path) -> "Dataset | None":
    """The header of an image file; None for what is no image: other files, reports, segmentations, localizers."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.uid import UID

    by_name = file.suffix.lower() in (".dcm", ".ima")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd but readable values; what matters is checked below
            header = dcmread(file, stop_before_pixels=True, force=by_name)
            kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID", "")
            image = header.get("Modality") not in _NO_IMAGES and "LOCALIZER" not in (header.get("ImageType") or ())
            whole = "Rows" in header and "Columns" in header
            promised = "Rows" in header or "Image Storage" in UID(str(kind)).name
            if not whole and ((image and promised) or (by_name and not kind)):
                raise EOFError
    except InvalidDicomError:
        return None
    except (EOFError, ValueError, KeyError, AttributeError, OSError) as error:
        raise InputError(
            f"Expected a DICOM file, found an empty or damaged one: {file}. Copy or export it again."
        ) from error
    return header if image and whole else None


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn what odd values of a header cause, which are converted when they are asked for, into an InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd but readable values
            yield
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"Expected a DICOM image header, found {reason} in {file}. Export it again, or remove the file."
        ) from error


def _numbers(name: str, value: Any, count: int) -> tuple[float, ...]:
    """The `count` finite numbers of a header entry."""
    values = [value] if isinstance(value, str | int | float) else list(value or ())
    if len(values) != count or not all(v not in (None, "") and np.isfinite(float(v)) for v in values):
        shown = ", ".join(str(v) for v in values[:9]) or "nothing"
        raise ValueError(f"{shown} where {name} has {count} number(s)")
    return tuple(float(v) for v in values)


def _slices(header: "Dataset", file: Path) -> Iterator[_Slice]:
    """The planes of a file: one, or one a frame of an enhanced file."""
    frames = header.get("PerFrameFunctionalGroupsSequence")
    if frames is None and int(header.get("NumberOfFrames") or 1) > 1:
        raise InputError(
            f"Expected slices with a position, found a film of {header.NumberOfFrames} frames: {file}. Export slices."
        )
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    for number, frame in enumerate(frames or [None]):
        yield _slice(header, [h for h in (frame, shared) if h is not None], file, number if frames else None)


def _slice(header: "Dataset", holders: "list[Dataset]", file: Path, number: int | None) -> _Slice:
    """One plane; `holders` have functional groups, which come before the entries of the file itself."""

    def numbers(name: str, group: str, count: int, default: tuple[float, ...] | None = None) -> Any:
        holder = next((h.get(group)[0] for h in holders if h.get(group)), header)
        value = holder.get(name)
        return default if value in (None, "") else _numbers(name, value, count)

    size = int(_numbers("Columns", header.Columns, 1)[0]), int(_numbers("Rows", header.Rows, 1)[0])
    if min(size) < 1:
        raise ValueError(f"a size of {size[0]} × {size[1]} pixels")
    axes = np.reshape(numbers("ImageOrientationPatient", "PlaneOrientationSequence", 6, (1, 0, 0, 0, 1, 0)), (2, 3))
    position = numbers("ImagePositionPatient", "PlanePositionSequence", 3)
    imager = header.get("ImagerPixelSpacing") or None
    spacing = numbers("PixelSpacing", "PixelMeasuresSequence", 2) or (
        imager and _numbers("ImagerPixelSpacing", imager, 2)
    )
    thickness = numbers("SliceThickness", "PixelMeasuresSequence", 1, (1.0,))
    between = numbers("SpacingBetweenSlices", "PixelMeasuresSequence", 1, thickness)
    return _Slice(
        file,
        number,
        size,
        None if position is None else np.array(position),
        axes[0] / (np.linalg.norm(axes[0]) or 1.0),
        axes[1] / (np.linalg.norm(axes[1]) or 1.0),
        None if spacing is None else (spacing[1], spacing[0]),
        abs((between[0] or thickness[0]) or 1.0),
        numbers("RescaleSlope", "PixelValueTransformationSequence", 1, (1.0,))[0],
        numbers("RescaleIntercept", "PixelValueTransformationSequence", 1, (0.0,))[0],
    )


def _choose(found: list[tuple[Series, list[_Slice]]], uid: str | None, path: Path) -> tuple[Series, list[_Slice]]:
    if not found:
        raise InputError(
            f"Expected a DICOM series of images, found none at {path}. Choose the folder that holds the slices."
        )
    fitting = [pair for pair in found if uid is None or pair[0].uid == uid]
    fitting = fitting or [pair for pair in found if uid and pair[0].uid.startswith(uid)]
    if len(fitting) == 1:
        return fitting[0]
    shown = [
        f"{s.uid} ({s.description or 'no description'}, {s.modality}, {s.size[2]} slices)" for s, _ in fitting or found
    ]
    more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
    what = f"{len(shown)} series" if uid is None else f"{len(fitting)} that begin with {uid!r} among {len(found)}"
    raise InputError(
        f"Expected one DICOM series, found {what} at {path}: {'; '.join(shown[:10])}{more}. "
        "Choose one with --series UID (a unique beginning of it is enough)."
    )


def _geometry(slices: list[_Slice], series: Series, path: Path) -> tuple[Geometry, tuple[str, ...]]:
    """The grid of sorted slices, and what is odd about it."""
    name = f"the series {series.description or series.uid} at {path}"
    _check_alike(slices, name)
    step, notes = _step(slices, name)
    first = slices[0]
    normal = np.cross(first.row, first.column)
    origin = np.zeros(3) if first.position is None else first.position
    with naming(first.path):
        geometry = Geometry(
            (*first.size, len(slices)),
            (*(first.spacing or (1.0, 1.0)), step),
            (float(origin[0]), float(origin[1]), float(origin[2])),
            tuple(float(v) for v in np.stack([first.row, first.column, normal], axis=1).ravel()),
        )
    return geometry, notes


def _check_alike(slices: list[_Slice], name: str) -> None:
    """Refuse slices that differ in size, orientation or spacing, and a stack without positions."""
    first = slices[0]
    for other in slices[1:]:
        turned = max(np.abs(other.row - first.row).max(), np.abs(other.column - first.column).max()) > 1e-3
        found = ""
        if other.size != first.size:
            found = f"sizes {first.size} and {other.size}"
        elif turned:
            found = "two orientations"
        elif not np.allclose(other.spacing or 0, first.spacing or 0, rtol=1e-3):
            found = f"pixel spacings {first.spacing} and {other.spacing}"
        elif first.position is None or other.position is None:
            found = "no position (0020,0032)"
        if found:
            raise InputError(
                f"Expected slices of one size, orientation and spacing, each with a position, found {found} in {name}: "
                f"{first.path.name} and {other.path.name}. Remove the odd files."
            )


def _step(slices: list[_Slice], name: str) -> tuple[float, tuple[str, ...]]:
    """The distance of neighbouring slices in mm, where there are no gaps, doubles or tilt."""
    if len(slices) == 1:
        return slices[0].thickness, ()
    steps = np.diff([s.along for s in slices])
    usual = float(np.median(steps))

    def pair(at: int) -> str:
        return f"{slices[at].path.name} and {slices[at + 1].path.name} (slices {at + 1} and {at + 2})"

    doubles = int((steps < max(1e-3, 0.01 * usual)).sum())
    if doubles:
        raise InputError(
            f"Expected one slice at each position, found {doubles} doubled in {name}, first "
            f"{pair(int(np.argmin(steps)))}. Separate the phases or echoes, or remove the copies."
        )
    gaps = np.flatnonzero(steps > 1.5 * usual)
    if len(gaps):
        raise InputError(
            f"Expected a slice every {usual:.3g} mm, found {len(gaps)} gap(s) in {name}: "
            f"{steps[gaps[0]]:.3g} mm between {pair(int(gaps[0]))}. Export the missing slices."
        )
    _check_tilt(slices, name)
    uneven = steps.max() - steps.min() > 0.1 * usual
    notes = (f"Slices lie {steps.min():.3g} to {steps.max():.3g} mm apart; the mean is used.",) if uneven else ()
    return float(steps.mean()), notes


def _check_tilt(slices: list[_Slice], name: str) -> None:
    """Refuse a stack that leans: its axes would not be at right angles."""
    offsets = np.stack([s.position for s in slices if s.position is not None])
    offsets = offsets - offsets[0]
    lean = np.abs(offsets @ np.stack([slices[0].row, slices[0].column], axis=1)).max()
    if lean > 0.5 * min(slices[0].spacing or (1.0, 1.0)):
        raise InputError(
            f"Expected slices stacked at right angles, found one that leans by {lean:.3g} mm (gantry tilt) in "
            f"{name}. Resample it onto a regular grid first."
        )


def _voxels(slices: list[_Slice]) -> np.ndarray:
    """Rescaled values (Z, Y, X)."""
    whole = all(s.slope.is_integer() and s.intercept.is_integer() for s in slices)
    x, y = slices[0].size
    array = np.empty((len(slices), y, x), dtype=np.int32 if whole else np.float32)
    for file in dict.fromkeys(s.path for s in slices):
        here = [n for n, s in enumerate(slices) if s.path == file]
        for n, values in zip(here, _values(file, [slices[n] for n in here]), strict=True):
            array[n] = values
    small = whole and array.min() >= -32768 and array.max() <= 32767
    return array.astype(np.int16) if small else array


def _values(file: Path, planes: list[_Slice]) -> list[np.ndarray]:
    """The rescaled values of the planes that lie in one file, each float64 (Y, X)."""
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # padded or oddly tagged pixel data: a length that does not fit raises
        try:
            data = dcmread(file, force=True)
            _check_grey(data, file)
            stored = _stored(data)
        except (EOFError, ValueError, KeyError, AttributeError, OSError) as error:
            raise InputError(
                f"Expected whole pixel data, found {file} cut off or damaged. Copy or export it again."
            ) from error
    if stored is None:
        rescaled = [_by_gdcm(data, file)] if len(planes) == 1 and planes[0].frame is None else _refuse(data, file)
    else:
        rescaled = [stored[p.frame or 0] * p.slope + p.intercept for p in planes]
    if data.PhotometricInterpretation == "MONOCHROME1":  # white is the smallest stored value
        ends = -1 if data.PixelRepresentation else 2 ** int(data.BitsStored) - 1
        rescaled = [ends * p.slope + 2 * p.intercept - v for p, v in zip(planes, rescaled, strict=True)]
    return rescaled


def _check_grey(data: "Dataset", file: Path) -> None:
    kind = str(data.get("PhotometricInterpretation", "MONOCHROME2"))
    if not kind.startswith("MONOCHROME"):
        raise InputError(f"Expected grey DICOM images, found colour ({kind}) in {file}. Choose the original series.")


def _stored(data: "Dataset") -> np.ndarray | None:
    """The stored values, float64 (frames, Y, X); None where no plugin of pydicom can decompress them."""
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
    except RuntimeError:  # all of the plugins that are there failed
        return None
    return np.asarray(pixels, dtype=np.float64).reshape(-1, int(data.Rows), int(data.Columns))


def _by_gdcm(data: "Dataset", file: Path) -> np.ndarray:
    """The rescaled values as SimpleITK's GDCM, which knows more compressions, reads them, float64 (Y, X)."""
    with quiet_stderr():
        try:
            image = sitk.ReadImage(str(file), imageIO="GDCMImageIO")
        except RuntimeError:
            return _refuse(data, file)
    return np.asarray(sitk.GetArrayFromImage(image), dtype=np.float64).reshape(int(data.Rows), int(data.Columns))


def _refuse(data: "Dataset", file: Path) -> NoReturn:
    raise InputError(
        f"Expected pixel data that can be decompressed here, found {data.file_meta.TransferSyntaxUID.name} in {file}. "
        "Install pylibjpeg with pylibjpeg-libjpeg and pylibjpeg-openjpeg, or export the series uncompressed."
    )
