"""A comparison of several dates in the scene: a table node that has the engine's record. No Qt."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from medtl.errors import ModelError
from medtl.results import Trend, TrendRow, TrendValue
from medtl.trend.table import lesion_name, percent_text
from medtl.typed_json import decode

from ..mrml.scene import place_beside
from .studies import Study

TREND = "MedTL.trend"  # attribute of the table: a `Trend` as JSON
STUDY_ROLE = "MedTL.study"  # of the references to the segmentations, by date
COLUMNS = ("Segment", "Lesion", "Date", "Volume mL", "To first %", "To previous %", "To smallest %", "Events")


def put(record: Mapping[str, Any], chosen: Sequence[Study]) -> Any:
    """The table node of a comparison of these studies, by date: that of an earlier one of the same segmentations,
    filled anew, or a new one.

    Raises: ModelError when the engine's record is not one.
    """
    trend = decode(Trend, dict(record), "trend")
    nodes = [study.segmentation for study in chosen]
    table = next((each for each in _tables() if segmentations_of(each) == nodes), None)
    if table is None:
        scene = slicer.mrmlScene
        table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(_("Change over time")))
        for number, node in enumerate(nodes):
            table.SetNthNodeReferenceID(STUDY_ROLE, number, node.GetID())
        place_beside(table, chosen[-1].volume)
    modifying = table.StartModify()
    try:
        table.SetAttribute(TREND, json.dumps(dict(record)))
        table.RemoveAllColumns()
        lines = [(row, value) for row in trend.rows for value in row.values]
        for number, name in enumerate(COLUMNS):
            text = number in (0, 1, 2, 7)
            column = vtk.vtkStringArray() if text else vtk.vtkDoubleArray()
            column.SetName(name)
            for row, value in lines:
                column.InsertNextValue(_cells(row, value)[number])
            table.AddColumn(column)
        table.SetLocked(True)
    finally:
        table.EndModify(modifying)
    return table


def _cells(row: TrendRow, value: TrendValue) -> tuple[Any, ...]:
    numbers = (value.volume_ml, value.change_to_first, value.change_to_previous, value.change_to_smallest)
    known = [float("nan") if number is None else float(f"{number:.6g}") for number in numbers]
    return row.name, str(row.lesion or "all"), value.date, *known, " ".join(value.events)


def read(table: Any) -> Trend | None:
    """The comparison in a table; None where it has none that this MedTL can read."""
    text = table.GetAttribute(TREND) if table is not None else None
    try:
        return decode(Trend, json.loads(text), "trend") if text else None
    except (ValueError, ModelError):  # written by another version of MedTL
        return None


def segmentations_of(table: Any) -> list[Any]:
    """The segmentations of a comparison, by date; None for one that was deleted."""
    count = table.GetNumberOfNodeReferences(STUDY_ROLE)
    return [table.GetNthNodeReference(STUDY_ROLE, number) for number in range(count)]


def of_segmentation(segmentation: Any) -> Any:
    """The table of the last comparison whose newest segmentation this is; None where there is none."""
    tables = [each for each in _tables() if segmentation is not None and segmentations_of(each)[-1:] == [segmentation]]
    return max(tables, key=lambda each: each.GetMTime(), default=None)


def _tables() -> list[Any]:
    return [each for each in slicer.util.getNodesByClass("vtkMRMLTableNode") if each.GetAttribute(TREND)]


def row_texts(trend: Trend) -> list[tuple[str, ...]]:
    """What the panel shows: a line with the name of each label or lesion, below it one a date with mL and the changes
    to the first, the previous and the smallest volume in per cent."""
    lines: list[tuple[str, ...]] = []
    for row in trend.rows:
        lines.append((f"– {lesion_text(row)}" if row.lesion else row.name, "", "", "", ""))
        for value in row.values:
            changes = (value.change_to_first, value.change_to_previous, value.change_to_smallest)
            ml = "–" if value.volume_ml is None else f"{value.volume_ml:.2f}"
            date = " ".join(filter(None, (value.date, *map(event_text, value.events))))
            lines.append((date, ml, *(percent_text(change).removesuffix(" %") for change in changes)))
    return lines


def lesion_text(row: TrendRow) -> str:
    """The name of a lesion, as the table of results numbers it."""
    return str(_(lesion_name(row)))


def event_text(event: str) -> str:
    """What happened to a lesion."""
    words = {"new": _("new"), "vanished": _("vanished"), "merged": _("merged"), "split": _("split")}
    return str(words.get(event, event))
