"""The two diameters of a lesion as line markups that the user may move; the volume table follows them. No Qt.

A line refers to its segmentation in the role MedTL.segmentation. Its attributes say which segment and lesion it is of,
and where its ends were measured: where they are elsewhere now, the user moved them.
"""

import json
from collections.abc import Collection
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.results import Diameter

from ..mrml.scene import place_beside
from .volume_table import (
    ALL,
    LONGEST,
    PERPENDICULAR,
    SEGMENTATION_ROLE,
    Row,
    lesion_of,
    number_of,
    segment_of,
    set_number,
    table_of,
    update_table,
)

CLASS = "vtkMRMLMarkupsLineNode"
KIND = "MedTL.diameter"  # "longest" or "perpendicular"
SEGMENT, PLACE, ENDS = "MedTL.segment", "MedTL.place", "MedTL.ends"
KINDS = {"longest": LONGEST, "perpendicular": PERPENDICULAR}  # the column of the table that follows
MOVED_MM = 1e-3  # an end that is this far from where it was measured was moved


def measure(segmentation: Any, volume: Any, only: Collection[str] | None = None) -> list[Row]:
    """The rows of the segmentation's volume table, measured again as a whole or for `only` the segments with these ids
    (see `update_table`). Lines that were not moved by hand go to the lesions' diameters as they are now; the table
    takes the lengths of those that were.

    Raises: InputError as `update_table`; table and lines are then as they were.
    """
    measured = update_table(segmentation, volume, only)
    rows, table = {(row.segment_id, row.lesion): row for row in measured}, table_of(segmentation)
    for line in lines_of(segmentation):
        number = row_of(line, table, segmentation)
        row = None if number is None else rows.get((line.GetAttribute(SEGMENT), lesion_of(table, number)))
        if row is not None and row.diameters is not None:
            moved = is_moved(line)
            line.SetAttribute(PLACE, json.dumps(row.centre))
            if not moved:
                _put(line, row.diameters[tuple(KINDS).index(line.GetAttribute(KIND))])
    follow(table, segmentation)
    return measured


def draw(segmentation: Any, volume: Any, segment_id: str, lesion: str) -> list[Any]:
    """The lines of a lesion's two diameters, the lesion as the table has it ("1"; "all" for a segment without lesions).
    Lines of it that are there already are kept.

    Raises: InputError when it has no diameters, for its spacing is not real, or it is not there any more.
    """
    rows = {(row.segment_id, row.lesion): row for row in measure(segmentation, volume, [segment_id])}
    row = rows.get((segment_id, lesion))
    if row is None or row.diameters is None or row.centre is None:
        raise InputError(_("Expected a lesion that is measured in mm, found none. Press Update."))
    drawn = lines_of_row(segmentation, table_of(segmentation), segment_id, lesion)
    there = {line.GetAttribute(KIND): line for line in drawn}
    for kind, diameter in zip(KINDS, row.diameters):
        if kind not in there:
            there[kind] = _new(segmentation, volume, row, kind, diameter)
    return list(there.values())


def lines_of(segmentation: Any, segment_id: str | None = None) -> list[Any]:
    """The lines of a segmentation, or of one of its segments; also after the scene was saved and read again."""
    return [
        node
        for node in slicer.util.getNodesByClass(CLASS)
        if segmentation is not None
        and node.GetNodeReference(SEGMENTATION_ROLE) is segmentation
        and node.GetAttribute(KIND) in KINDS
        and _numbers(node, PLACE, 3) is not None
        and _numbers(node, ENDS, 6) is not None
        and segment_id in (None, node.GetAttribute(SEGMENT))
    ]


def place_of(line: Any) -> tuple[float, float, float]:
    """A place inside the lesion that the line is of, RAS mm."""
    r, a, s = (float(mm) for mm in json.loads(line.GetAttribute(PLACE)))
    return r, a, s


def middle_of(line: Any) -> tuple[float, float, float]:
    """The middle of where the line was measured, RAS mm."""
    first, last = np.array(json.loads(line.GetAttribute(ENDS))).reshape(2, 3)
    r, a, s = (float(mm) for mm in (first + last) / 2)
    return r, a, s


def lines_of_row(segmentation: Any, table: Any, segment_id: str, lesion: str) -> list[Any]:
    """The lines of a lesion, see `draw`."""
    return [
        line
        for line in lines_of(segmentation, segment_id)
        if (number := row_of(line, table, segmentation)) is not None and lesion_of(table, number) == lesion
    ]


def row_of(line: Any, table: Any, segmentation: Any) -> int | None:
    """The row (from 0) of the lesion that a line is of: the nearest one of its segment, no farther away than that is
    long. None where there is none any more."""
    place, rows = np.array(place_of(line)), []
    for row in range(table.GetNumberOfRows()):
        centre = [number_of(table, row, name) for name in "RAS"]
        if np.isfinite(centre).all() and segment_of(table, row, segmentation) == line.GetAttribute(SEGMENT):
            away = float(np.linalg.norm(centre - place))
            if away <= number_of(table, row, LONGEST) + 1.0:
                rows.append((lesion_of(table, row) == ALL, away, row))
    return min(rows)[2] if rows else None


def remove(lines: list[Any]) -> None:
    """Take the lines out of the scene, with their display."""
    for line in lines:
        scene = line.GetScene()
        for number in reversed(range(line.GetNumberOfDisplayNodes())):
            scene.RemoveNode(line.GetNthDisplayNode(number))
        scene.RemoveNode(line)


def is_moved(line: Any) -> bool:
    """Whether an end of the line was moved by hand since it was measured."""
    ends, measured = _ends(line), _numbers(line, ENDS, 6)
    return ends is None or measured is None or bool(np.abs(ends.ravel() - measured).max() > MOVED_MM)


def follow(table: Any, segmentation: Any) -> None:
    """The diameters in the table become the lengths of the lines; those of a segment are of its lesion with the longest
    one."""
    changed = set()
    for line in lines_of(segmentation):
        row, ends, name = row_of(line, table, segmentation), _ends(line), KINDS[line.GetAttribute(KIND)]
        if row is not None and ends is not None:
            changed.add(line.GetAttribute(SEGMENT))
            _set(table, row, name, float(np.linalg.norm(ends[1] - ends[0])))
    for segment_id in changed:
        rows = [n for n in range(table.GetNumberOfRows()) if segment_of(table, n, segmentation) == segment_id]
        lesions = [n for n in rows if number_of(table, n, LONGEST) > 0 and lesion_of(table, n) != ALL]
        for whole in (n for n in rows if lesions and lesion_of(table, n) == ALL):
            longest = max(lesions, key=lambda n: number_of(table, n, LONGEST))
            for name in KINDS.values():
                _set(table, whole, name, number_of(table, longest, name))


def _set(table: Any, row: int, name: str, number: float) -> None:
    if abs(number_of(table, row, name) - number) > MOVED_MM / 10:  # an unchanged table is not drawn again
        set_number(table, row, name, number)


def _new(segmentation: Any, volume: Any, row: Row, kind: str, diameter: Diameter) -> Any:
    scene = segmentation.GetScene()
    names = {"longest": _("{lesion} longest diameter"), "perpendicular": _("{lesion} perpendicular")}
    lesion = row.segment if row.lesion == ALL else f"{row.segment} {row.lesion}"
    line = scene.AddNewNodeByClass(CLASS, scene.GenerateUniqueName(names[kind].format(lesion=lesion)))
    line.CreateDefaultDisplayNodes()
    for name, text in ((KIND, kind), (SEGMENT, row.segment_id), (PLACE, json.dumps(row.centre))):
        line.SetAttribute(name, text)
    _put(line, diameter)
    line.SetNodeReferenceID(SEGMENTATION_ROLE, segmentation.GetID())
    place_beside(line, volume)
    return line


def _put(line: Any, diameter: Diameter) -> None:
    """Put the line where the diameter was measured."""
    ends = np.array(diameter.ends) * (-1, -1, 1)  # RAS
    line.SetAttribute(ENDS, json.dumps(ends.ravel().tolist()))
    modified = line.StartModify()
    line.SetLineStartPositionWorld(ends[0])
    line.SetLineEndPositionWorld(ends[1])
    line.EndModify(modified)


def _ends(line: Any) -> np.ndarray | None:
    """Both ends, RAS mm, (2, 3); None while one is missing."""
    placed = [
        line.GetNthControlPointPositionWorld(n)
        for n in range(line.GetNumberOfControlPoints())
        if line.GetNthControlPointPositionStatus(n) == line.PositionDefined
    ]
    return np.array(placed) if len(placed) == 2 else None


def _numbers(line: Any, name: str, count: int) -> np.ndarray | None:
    """The numbers of an attribute; None where it does not hold so many, for the scene may be another program's."""
    try:
        numbers = np.array(json.loads(line.GetAttribute(name) or "null"), dtype=float)
    except (TypeError, ValueError):
        return None
    return numbers if numbers.shape == (count,) and np.isfinite(numbers).all() else None
