"""DICOM series: the files of a folder, sorted by position, checked and read as a volume.

Slices are sorted along the normal of the image plane, whatever their file names are.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..counted import counted
from ..errors import InputError
from ..volume import Geometry, Volume
from .dicom_file import dicom_errors, is_dicom, read_header, series_uid, visible_files
from .dicom_pixels import Scaling, read_planes, unreadable
from .files import PICTURES, VOLUMES, naming, suffix_of
from .header import NO_THICKNESS
from .limits import check_memory

if TYPE_CHECKING:
    from pydicom import Dataset

CROSS_SECTIONAL = ("CT", "MR", "PT")
MOST_MM = 1e6  # positions and sizes beyond a kilometre are damage
INT32 = np.iinfo(np.int32)
LARGEST = float(np.finfo(np.float32).max)


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
    size: tuple[int, int]
    position: np.ndarray | None
    row: np.ndarray
    column: np.ndarray
    spacing: tuple[float, float] | None
    thickness: float | None
    scaling: Scaling
    belongs_to: tuple[str, str, str]  # patient, study and modality, which a series has one of
    has_axes: bool  # the file states an orientation
    unreadable: str  # why the pixels cannot be read; empty where they can

    @property
    def along(self) -> float:
        """The position of the plane along its own normal, mm."""
        return 0.0 if self.position is None else float(np.cross(self.row, self.column) @ self.position)


def list_series(folder: Path) -> tuple[Series, ...]:
    """The image series below a folder, by description, without localizers and objects that are no images.

    Raises: InputError when an image file is damaged.
    """
    return series_among(visible_files(folder))


def series_among(files: Iterable[Path]) -> tuple[Series, ...]:
    """The image series among the files, which may be of other kinds, too; see `list_series`.

    Raises: InputError when an image file is damaged.
    """
    return tuple(series for series, _ in _scan([file for file in files if is_dicom(file)]))


def read_dicom(path: Path, uid: str | None = None) -> Volume:
    """The volume of a series: rescaled values (HU in CT), int16 or int32 where they are whole and fit, else float32.

    `path` is a folder or one file; `uid` chooses the series by its UID or a unique beginning of it. Hidden files are
    skipped; `warnings` names other images in the folder, and says when one file of a series is read alone.

    Raises: InputError when there is no series or more than one, or when slices are missing, doubled, of several
    sizes or orientations, in colour, or compressed in a way that cannot be read here.
    """
    files = visible_files(path) if path.is_dir() else [path]
    slice_files = {file for file in files if file == path or is_dicom(file)}
    others = [file for file in files if file not in slice_files and suffix_of(file) in (*PICTURES, *VOLUMES)]
    series, slices = _choose(_scan(sorted(slice_files)), uid, path, others)
    if reason := next((s.unreadable for s in slices if s.unreadable), ""):
        raise InputError(reason)
    geometry, uneven = _geometry(slices, series, path)
    check_memory(4 * int(np.prod(geometry.size)), path)
    return Volume(
        _voxels(slices),
        geometry,
        path.resolve().name if path.is_dir() else path.stem,
        series.modality,
        series.description,
        slices[0].spacing is not None,
        (
            *uneven,
            *_missing_axes(slices, series),
            *_missing_thickness(slices, series),
            *_missing_neighbours(series, path),
            *_not_read(others),
        ),
        iso_date(series.date),
    )


def iso_date(text: str) -> str:
    """The date YYYY-MM-DD of DICOM's YYYYMMDD; empty for anything else."""
    try:
        return date.fromisoformat(text).isoformat() if len(text) == 8 and text.isdecimal() else ""
    except ValueError:
        return ""


def _missing_axes(slices: list[_Slice], series: Series) -> tuple[str, ...]:
    if series.modality not in CROSS_SECTIONAL or all(s.has_axes for s in slices):
        return ()
    return ("The files state no orientation (0020,0037): the slices count as axial.",)


def _missing_thickness(slices: list[_Slice], series: Series) -> tuple[str, ...]:
    one = series.modality in CROSS_SECTIONAL and len(slices) == 1
    return (NO_THICKNESS,) if one and slices[0].thickness is None and slices[0].spacing is not None else ()


def _missing_neighbours(series: Series, path: Path) -> tuple[str, ...]:
    """A warning where one slice of a series is read alone."""
    if series.size[2] > 1 or series.modality not in CROSS_SECTIONAL:
        return ()
    other = None
    with suppress(OSError):  # a folder that cannot be listed
        beside = [f for f in sorted(path.parent.iterdir()) if f.is_file() and f != path] if path.is_file() else []
        other = next((f for f in beside if not f.name.startswith(".") and series_uid(f) == series.uid), None)
    if other is not None:
        return (
            f"Only one slice of the series is read: its neighbours, {other.name} for one, are missing. "
            "Give the folder to read them all.",
        )
    return ("Only one slice of the series was found: if it has more, they are missing.",)


def _not_read(others: list[Path]) -> tuple[str, ...]:
    if not others:
        return ()
    return (f"The folder holds other images, which are not read: {_names(others)}.",)


def _names(files: list[Path]) -> str:
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return ", ".join(file.name for file in files[:3]) + more


def _scan(files: list[Path]) -> list[tuple[Series, list[_Slice]]]:
    """Every image series among the files, with its slices sorted by position."""
    by_uid: dict[str, tuple[Series, list[_Slice]]] = {}
    for file in files:
        header = read_header(file)
        if header is None:
            continue
        with dicom_errors(_bad_header(file)):
            uid = str(header.get("SeriesInstanceUID", ""))
            if uid not in by_uid:
                date = str(header.get("StudyDate") or header.get("SeriesDate") or "")
                description = str(header.get("SeriesDescription", "")).strip()
                by_uid[uid] = Series(uid, description, str(header.get("Modality", "")), date, (), (0, 0, 0)), []
            by_uid[uid][1].extend(_slices(header, file))
    result = []
    for series, slices in by_uid.values():
        slices.sort(key=lambda s: s.along)
        names = tuple(dict.fromkeys(s.path for s in slices))
        result.append((replace(series, files=names, size=(*slices[0].size, len(slices))), slices))
    return sorted(result, key=lambda pair: (pair[0].description, pair[0].uid))


def _bad_header(file: Path) -> Callable[[str], str]:
    return lambda reason: (
        f"Expected a DICOM image header, found {reason} in {file}. Export it again, or remove the file."
    )


def _numbers(name: str, value: Any, count: int) -> tuple[float, ...]:
    """The `count` finite numbers of a header entry."""
    values = [value] if isinstance(value, str | int | float) else list(value or ())
    if len(values) != count or not all(v not in (None, "") and np.isfinite(float(v)) for v in values):
        shown = ", ".join(str(v) for v in values[:9]) or "nothing"
        raise ValueError(f"{shown} where {name} has {count} number(s)")
    return tuple(float(v) for v in values)


def _slices(header: "Dataset", file: Path) -> Iterator[_Slice]:
    """The planes of a file: one, or one for each frame of an enhanced file."""
    size = int(_numbers("Columns", header.Columns, 1)[0]), int(_numbers("Rows", header.Rows, 1)[0])
    if min(size) < 1:
        raise ValueError(f"a size of {size[0]} × {size[1]} pixels")
    reason = unreadable(header, file)
    frames = [None] if reason else header.get("PerFrameFunctionalGroupsSequence") or [None]
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    for number, frame in enumerate(frames):
        yield _slice(header, [h for h in (frame, shared) if h is not None], file, number, reason)


def _slice(header: "Dataset", holders: "list[Dataset]", file: Path, number: int, reason: str) -> _Slice:
    """One plane; `holders` have functional groups, which come before the entries of the file itself."""

    def numbers(name: str, group: str, count: int, default: tuple[float, ...] | None = None) -> Any:
        holder = next((h.get(group)[0] for h in holders if h.get(group)), header)
        value = holder.get(name)
        return default if value in (None, "") else _numbers(name, value, count)

    def lengths(name: str, group: str, count: int, default: tuple[float, ...] | None = None) -> Any:
        values = numbers(name, group, count, default)
        if values is not None and max(map(abs, values)) > MOST_MM:
            raise ValueError(f"{max(values, key=abs):g} mm as {name}")
        return values

    axes = numbers("ImageOrientationPatient", "PlaneOrientationSequence", 6)
    row, column = np.reshape(axes or (1, 0, 0, 0, 1, 0), (2, 3))
    position = lengths("ImagePositionPatient", "PlanePositionSequence", 3)
    imager = header.get("ImagerPixelSpacing") or None
    spacing = lengths("PixelSpacing", "PixelMeasuresSequence", 2) or (
        imager and _numbers("ImagerPixelSpacing", imager, 2)
    )
    (thickness,) = lengths("SliceThickness", "PixelMeasuresSequence", 1, (0.0,))
    (between,) = lengths("SpacingBetweenSlices", "PixelMeasuresSequence", 1, (0.0,))
    (slope,) = numbers("RescaleSlope", "PixelValueTransformationSequence", 1, (1.0,))
    (intercept,) = numbers("RescaleIntercept", "PixelValueTransformationSequence", 1, (0.0,))
    if slope == 0:
        raise ValueError("a RescaleSlope of 0")
    if spacing is not None and min(spacing) <= 0:
        raise ValueError(f"{min(spacing):g} mm as PixelSpacing")
    if not all(0.99 < np.linalg.norm(axis) < 1.01 for axis in (row, column)):
        raise ValueError("an ImageOrientationPatient that is no pair of unit vectors")
    return _Slice(
        file,
        (int(header.Columns), int(header.Rows)),
        None if position is None else np.array(position),
        row / np.linalg.norm(row),
        column / np.linalg.norm(column),
        None if spacing is None else (spacing[1], spacing[0]),
        abs(between or thickness) or None,
        Scaling(number, slope, intercept),
        (str(header.get("PatientID", "")), str(header.get("StudyInstanceUID", "")), str(header.get("Modality", ""))),
        axes is not None,
        reason,
    )


def _choose(
    candidates: list[tuple[Series, list[_Slice]]], uid: str | None, path: Path, others: list[Path]
) -> tuple[Series, list[_Slice]]:
    """The only series, or the one that `uid` names; `others` are images in the folder that are not DICOM."""
    if not candidates and others:
        raise InputError(
            f"Expected a DICOM series of images, found none at {path} but {_names(others)}. "
            "Give such a file itself in place of the folder."
        )
    if not candidates:
        raise InputError(
            f"Expected a DICOM series of images, found none at {path}. Choose the folder that holds the slices."
        )
    matching = [pair for pair in candidates if uid is None or pair[0].uid == uid]
    matching = matching or [pair for pair in candidates if uid and pair[0].uid.startswith(uid)]
    if len(matching) == 1:
        return matching[0]
    shown = [
        f"{s.uid} ({s.description or 'no description'}, {s.modality}, "
        f"{counted(s.size[2], '1 slice', '{count} slices')})"
        for s, _ in matching or candidates
    ]
    more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
    what = f"{len(shown)} series" if uid is None else f"{len(matching)} that begin with {uid!r} among {len(candidates)}"
    raise InputError(
        f"Expected one DICOM series, found {what} at {path}: {'; '.join(shown[:10])}{more}. "
        "Choose one of them; a unique beginning of its UID is enough.",
        option="series",
    )


def _geometry(slices: list[_Slice], series: Series, path: Path) -> tuple[Geometry, tuple[str, ...]]:
    """The grid of sorted slices, and warnings about it."""
    name = f"the series {series.description or series.uid} at {path}"
    _check_alike(slices, name)
    step, uneven = _step(slices, name)
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
    return geometry, uneven


def _check_alike(slices: list[_Slice], name: str) -> None:
    """Refuse slices that differ in size, orientation or spacing, and a stack without positions."""
    first = slices[0]
    for other in slices[1:]:
        turned = max(np.abs(other.row - first.row).max(), np.abs(other.column - first.column).max()) > 1e-3
        difference = ""
        if other.size != first.size:
            difference = f"sizes {first.size} and {other.size}"
        elif turned:
            difference = "two orientations"
        elif not np.allclose(other.spacing or 0, first.spacing or 0, rtol=1e-3):
            difference = f"pixel spacings {first.spacing} and {other.spacing}"
        elif first.position is None or other.position is None:
            difference = "no position (0020,0032)"
        elif other.belongs_to != first.belongs_to:
            difference = "two patients, studies or modalities"
        if difference:
            raise InputError(
                f"Expected slices of one size, orientation and spacing, each with a position, found {difference} in "
                f"{name}: {first.path.name} and {other.path.name}. Remove the files that do not belong."
            )


def _step(slices: list[_Slice], name: str) -> tuple[float, tuple[str, ...]]:
    """The distance of neighbouring slices in mm, and a warning where it varies. Gaps, doubles and tilt are refused."""
    if len(slices) == 1:
        return slices[0].thickness or 1.0, ()
    steps = np.diff([s.along for s in slices])
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])  # the lower median: half of the steps may be gaps

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
    if steps.max() - steps.min() <= 0.1 * usual:
        return float(steps.mean()), ()
    return float(steps.mean()), (f"Slices lie {steps.min():.3g} to {steps.max():.3g} mm apart; the mean is used.",)


def _check_tilt(slices: list[_Slice], name: str) -> None:
    """Refuse a tilted stack: its axes would not be at right angles."""
    offsets = np.stack([s.position for s in slices if s.position is not None])
    offsets = offsets - offsets[0]
    lean = np.abs(offsets @ np.stack([slices[0].row, slices[0].column], axis=1)).max()
    if lean > 0.5 * min(slices[0].spacing or (1.0, 1.0)):
        raise InputError(
            f"Expected slices stacked at right angles, found one that leans by {lean:.3g} mm (gantry tilt) in "
            f"{name}. Resample it onto a regular grid first."
        )


def _voxels(slices: list[_Slice]) -> np.ndarray:
    """The values (Z, Y, X): int16 or int32 where they are whole and fit, else float32."""
    is_whole = all(s.scaling.is_whole for s in slices)  # and so are the values, unless pixel data are floating-point
    x, y = slices[0].size
    array = np.empty((len(slices), y, x), dtype=np.int32 if is_whole else np.float32)
    for file in dict.fromkeys(s.path for s in slices):
        here = [n for n, s in enumerate(slices) if s.path == file]
        for n, values in zip(here, read_planes(file, [slices[n].scaling for n in here]), strict=True):
            finite = values[np.isfinite(values)]  # floating-point pixel data may lack values, which the caller checks
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
            if max(abs(low), abs(high)) > LARGEST:
                raise InputError(
                    f"Expected values that 32-bit numbers can hold, found {low:g} to {high:g} in {file}. "
                    "Correct its RescaleSlope and RescaleIntercept."
                )
            fits = INT32.min <= low <= high <= INT32.max and finite.size == values.size
            if array.dtype == np.int32 and not (fits and (values == np.rint(values)).all()):
                array = array.astype(np.float32)
            array[n] = values
    small = array.dtype == np.int32 and array.min() >= -32768 and array.max() <= 32767
    return array.astype(np.int16) if small else array
