"""The studies of one patient: a segmentation, its image and its date, as a command names them and as they are read."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from ..errors import InputError
from ..io import read
from ..io.isolated import Reader
from ..volume import Labelmap, Volume, on_grid_of

DATE = re.compile(r"(\d{4}-\d{2}-\d{2})=(.+)", re.ASCII | re.DOTALL)
SYNTAX = "DATE=SEGMENTATION,IMAGE, for instance 2026-01-31=tumour.seg.nrrd,flair.nrrd"


@dataclass(frozen=True)
class StudyFiles:
    """The files of a study; the date (YYYY-MM-DD) is empty where DICOM is to state it, the image None where there is
    none."""

    segmentation: Path
    image: Path | None = None
    date: str = ""


@dataclass(frozen=True)
class Study:
    """A study that was read; `date` is YYYY-MM-DD, empty where it is not known. The volume has the labelmap's grid."""

    date: str
    labelmap: Labelmap
    volume: Volume | None = None


def parse_study(text: str) -> StudyFiles:
    """The files that `[DATE=]SEGMENTATION[,IMAGE]` names. A file whose own name has a comma or begins with a date is
    taken as it is where it exists.

    Raises: InputError for another form, or a date that is none.
    """
    if os.path.lexists(text):
        return StudyFiles(Path(text))
    found = DATE.fullmatch(text)
    day, rest = (found[1], found[2]) if found else ("", text)
    if day:
        check_date(day)
    parts = [rest] if os.path.lexists(rest) else [part.strip() for part in rest.split(",")]
    if len(parts) > 2 or not all(parts):
        raise InputError(f"Expected {SYNTAX}, found {text}. Give one segmentation and at most one image.")
    return StudyFiles(Path(parts[0]), Path(parts[1]) if len(parts) == 2 else None, day)


def check_date(text: str) -> None:
    """Raise InputError where the text is no date of the form YYYY-MM-DD."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            date.fromisoformat(text)
            return
    except ValueError:
        pass
    raise InputError(f"Expected a date such as 2026-01-31, found {text}. Write year, month and day.")


def read_study(files: StudyFiles, reader: Reader = read) -> Study:
    """The study, with the date given or that of its DICOM image. Labels that state no spacing take their image's.

    Raises: InputError as reading does; where the image lies on another grid than the segmentation, or neither states
    its spacing, so that there are no mL.
    """
    labelmap = reader.read_labelmap(files.segmentation)
    volume = None if files.image is None else reader.read_volume(files.image)
    if volume is not None:
        labelmap = on_grid_of(volume, labelmap, files.segmentation, files.image)
    if not labelmap.real_spacing:
        where = f"{files.segmentation} or its image" if files.image else str(files.segmentation)
        raise InputError(
            f"Expected a grid in millimetres, found no spacing in {where}: without it there are no mL to compare. "
            "Give files that state their spacing, such as the DICOM series or a NIfTI or NRRD file made of it."
        )
    return Study(files.date or (volume.date if volume is not None else ""), labelmap, volume)


def warnings_of(study: Study) -> tuple[str, ...]:
    """The readers' warnings of a study, each after its date."""
    texts = (*study.labelmap.warnings, *(study.volume.warnings if study.volume is not None else ()))
    return tuple(f"{study.date}: {text}" if study.date else text for text in texts)


def by_date(files: Sequence[StudyFiles], reader: Reader = read) -> list[StudyFiles]:
    """The studies in the order of their dates, those that were not given read from DICOM. One study needs none.

    Raises: InputError where one of several has no date, two have one date, or reading fails.
    """
    dated = [
        one if one.date or one.image is None else replace(one, date=reader.read_volume(one.image).date) for one in files
    ]
    check_dates(dated)
    return sorted(dated, key=lambda one: one.date)


def check_dates(files: Sequence[StudyFiles]) -> None:
    """Raise InputError where one of several studies has no date, or two have one date."""
    if len(files) < 2:
        return
    dates = [one.date for one in files]
    for one in files:
        if not one.date:
            raise InputError(
                f"Expected a date for {one.segmentation}, found none: its image is no DICOM that states it. "
                f"Write {SYNTAX}."
            )
    for number, day in enumerate(dates):
        if day in dates[:number]:
            earlier = files[dates.index(day)].segmentation
            raise InputError(
                f"Expected one segmentation a date, found two of {day}: {earlier} and {files[number].segmentation}. "
                "Leave one out, or correct its date."
            )


def without_voxels(study: Study) -> Study:
    """The study without its volume, which is large and needed for registration alone."""
    return replace(study, volume=None)
