"""The segmentations of the scene as studies of a patient: their volumes and dates. No Qt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.trend.studies import check_date

from ..mrml.scene import facts_of
from .volume_table import has_real_spacing, volume_of

DATE = "MedTL.date"  # attribute of a segmentation: the date that the user gave, YYYY-MM-DD


@dataclass(frozen=True)
class Study:
    """A segmentation, the volume that it was made on, and its date, YYYY-MM-DD or empty. `problem` says why it cannot
    be compared; empty where it can."""

    segmentation: Any
    volume: Any
    date: str
    problem: str = ""


def studies() -> list[Study]:
    """The segmentations of the scene that are not hidden, by date, then by name."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    found = [study_of(node) for node in nodes if not node.GetHideFromEditors()]
    return sorted(found, key=lambda study: (study.date, study.segmentation.GetName()))


def study_of(segmentation: Any) -> Study:
    """The study of a segmentation: its date is what the user gave, else that of the volume's study in DICOM."""
    try:
        volume = volume_of(segmentation, None)
        date = segmentation.GetAttribute(DATE) or facts_of(volume).date
    except InputError as error:
        return Study(segmentation, None, segmentation.GetAttribute(DATE) or "", str(error))
    problem = ""
    if not has_real_spacing(segmentation):
        text = _("The image of {name} states no spacing: there are no mL to compare.")
        problem = str(text.format(name=segmentation.GetName()))
    return Study(segmentation, volume, date, problem)


def set_date(segmentation: Any, text: str) -> None:
    """Keep the date that the user gave; an empty text goes back to that of DICOM.

    Raises: InputError for a text that is no date.
    """
    text = text.strip()
    if text:
        check_date(text)
        segmentation.SetAttribute(DATE, text)
    else:
        segmentation.RemoveAttribute(DATE)


def why_not(chosen: Sequence[Study]) -> str:
    """Why these studies cannot be compared; empty where they can."""
    if problem := next((study.problem for study in chosen if study.problem), ""):
        return problem
    if len(chosen) < 2:
        return str(_("Tick two segmentations or more of one patient."))
    dates = [study.date for study in chosen]
    for study in chosen:
        if not study.date:
            text = _("Give {name} a date: double-click it and write YYYY-MM-DD.")
            return str(text.format(name=study.segmentation.GetName()))
        if dates.count(study.date) > 1:
            text = _("Two segmentations have the date {date}. Untick one, or correct its date.")
            return str(text.format(date=study.date))
    return ""
