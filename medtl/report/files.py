"""A report from files: the newest study is reported, the others are its history."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError, ModelError
from ..io import read
from ..io.isolated import Reader
from ..progress import Progress, no_progress
from ..results import Trend
from ..trend.files import trend_files
from ..trend.studies import Study, StudyFiles, by_date, read_study, warnings_of
from ..typed_json import decode
from ..volume import check_same_grid
from .classification import read_classification
from .content import report_of
from .html import write_html


@dataclass(frozen=True)
class ReportFiles:
    """The studies of a patient, in any order; the classification (.json) and the uncertainty map of the newest one; the
    HTML file to write. `register` matches the lesions of the studies. `trend` (.json) is what `medtl trend --json` gave
    before, in place of the older studies. `by_hand` is that of `medtl.report.content.report_of`."""

    studies: tuple[StudyFiles, ...]
    output: Path
    classification: Path | None = None
    uncertainty: Path | None = None
    trend: Path | None = None
    register: bool = False
    force: bool = False
    by_hand: str | None = None


@dataclass(frozen=True)
class ReportedFile:
    """The object that `medtl report --json` prints."""

    output: str
    date: str
    warnings: tuple[str, ...]


def report_files(files: ReportFiles, progress: Progress = no_progress, reader: Reader = read) -> ReportedFile:
    """Write the report of the newest study.

    Raises: InputError as reading, comparing and writing do; where the newest study has no image but an uncertainty map.
    """
    progress("read", 0.0)
    dated = by_date(files.studies, reader)
    classified = None if files.classification is None else read_classification(files.classification)
    trend = None if files.trend is None else read_trend(files.trend)
    if len(dated) > 1:
        trend = trend_files(dated, files.register, progress, reader)
    study = read_study(dated[-1], reader)
    uncertainty = None if files.uncertainty is None else read_uncertainty(files.uncertainty, study, dated[-1], reader)
    progress("draw", 0.0)
    warnings = trend.warnings if trend is not None else warnings_of(study)
    report = report_of(study, trend, classified, uncertainty, warnings, files.by_hand)
    progress("write", 1.0)
    write_html(files.output, report, files.force)
    return ReportedFile(str(files.output), study.date, report.warnings)


def read_trend(path: Path) -> Trend:
    """The trend in a file. Raises: InputError when it cannot be read or is another file."""
    try:
        trend: Trend = decode(Trend, json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError, RecursionError, ModelError) as error:
        raise InputError(f"Expected what medtl trend --json printed, found another file at {path}. {error}") from error
    return trend


def read_uncertainty(path: Path, study: Study, files: StudyFiles, reader: Reader) -> np.ndarray:
    """The uncertainty map (Z, Y, X), 0 to 1, of a study.

    Raises: InputError where it lies on another grid, has other values, or the study has no image.
    """
    if study.volume is None:
        raise InputError(
            f"Expected the image of {files.segmentation} to show its uncertainty on, found none. Write "
            "SEGMENTATION,IMAGE."
        )
    volume = reader.read_volume(path)
    check_same_grid(volume.geometry, study.labelmap.geometry, path, files.segmentation)
    low, high = float(volume.array.min()), float(volume.array.max())
    if low < 0 or high > 1:
        raise InputError(
            f"Expected an uncertainty of 0 to 1, found values from {low:g} to {high:g} in {path}. Choose the file that "
            "medtl segment --uncertainty wrote."
        )
    return volume.array
