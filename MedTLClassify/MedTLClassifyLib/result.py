"""The result of a classification in the scene. No Qt.

It is a table node with a row a class. The table refers to its volume and segmentation, to a table of the slices or
features, and to the heat map. The engine's whole record is in an attribute, as JSON, so a saved scene has it.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from medtl.classification.report import write_report
from medtl.labels import tumour_segments
from medtl.model.card import ModelCard
from medtl.planes import PLANES
from medtl.volume import Volume, slice_axis
from MedTLLib.mrml import scene
from MedTLLib.mrml.tags import MODEL_TAG, described
from MedTLLib.results import save_path
from MedTLLib.results.classification import (
    OUTDATED,
    RESULT,
    SEGMENTATION_ROLE,
    VOLUME_ROLE,
    Classification,
    Slice,
    read,
    report,
)

from . import heatmaps

__all__ = ["OUTDATED", "RESULT", "SEGMENTATION_ROLE", "VOLUME_ROLE", "Classification", "Slice", "read", "report"]

DETAILS_ROLE, HEATMAP_ROLE = "MedTL.details", "MedTL.heatmap"

REPORT_FORMATS = (".csv", ".json")
REPORT_FOLDER = "MedTL/reportFolder"  # the user's setting: the one used last


def suggested_report(classification: Classification) -> Path:
    """Where the report is saved unless the user chooses another place."""
    name = f"{classification.record['input']} {classification.model}"
    return save_path.suggested(name, REPORT_FORMATS[0], slicer.app.userSettings().value(REPORT_FOLDER))


def save_report(classification: Classification, path: Path) -> None:
    """Write the report, and suggest its folder the next time.

    Raises: MedTLError when it cannot be written.
    """
    write_report(path, report(classification))
    slicer.app.userSettings().setValue(REPORT_FOLDER, str(path.parent))


# The input


def why_region(card: ModelCard, segmentation: Any) -> str:
    """Why the model needs a segment; empty when it has one or needs none."""
    if segmentation is not None or card.coefficients is None:
        return ""
    text = _("{model} measures the shape of a tumour: choose a segmentation and the segment of the tumour.")
    return str(text.format(model=card.name))


def segments_of(segmentation: Any) -> list[tuple[str, str]]:
    """Id and name of each segment, in the segmentation's order."""
    segments = segmentation.GetSegmentation() if segmentation else None
    return [(each, segments.GetSegment(each).GetName()) for each in segments.GetSegmentIDs()] if segments else []


def preferred_segment(segmentation: Any) -> str:
    """The id of the segment that is most likely the tumour: the first that is a tumour's (see `medtl.labels`), else the
    first that MedTL wrote, else the first; empty where there is none."""
    segments = [described(segmentation, each) for each, _name in segments_of(segmentation)]
    written = [one for one in segments if MODEL_TAG in dict(one.tags)]
    return next((one.id for one in (*tumour_segments(segments), *written, *segments)), "")


# The table and what belongs to it


def put(classification: Classification, card: ModelCard, volume: Any, segmentation: Any, heatmap: Volume | None) -> Any:
    """The table node of this result, beside the volume: that of an earlier run on the same input by the same model,
    filled anew, or a new one."""
    table = find(volume, segmentation, classification.segment, card)
    name = f"{classification.record['input']} {classification.model}"
    table = table or _new("vtkMRMLTableNode", name)
    details = table.GetNodeReference(DETAILS_ROLE) or _new("vtkMRMLTableNode", _("{name} details").format(name=name))
    _fill(table, class_columns(classification))
    _fill(details, detail_columns(classification))
    table.SetNodeReferenceID(VOLUME_ROLE, volume.GetID() if volume else None)
    table.SetNodeReferenceID(SEGMENTATION_ROLE, segmentation.GetID() if segmentation else None)
    table.SetNodeReferenceID(DETAILS_ROLE, details.GetID())
    table.SetAttribute(RESULT, json.dumps(dataclasses.asdict(classification)))
    table.RemoveAttribute(OUTDATED)
    old = table.GetNodeReference(HEATMAP_ROLE)
    if heatmap is not None:
        node = heatmaps.put(heatmap.array, heatmap.geometry, _("{name} heat map").format(name=name), old)
        table.SetNodeReferenceID(HEATMAP_ROLE, node.GetID())
    elif old is not None:
        slicer.mrmlScene.RemoveNode(old)
    for node in (table, details, table.GetNodeReference(HEATMAP_ROLE)):
        if node is not None and volume is not None:
            scene.place_beside(node, volume)
    return table


def _new(kind: str, name: str) -> Any:
    return slicer.mrmlScene.AddNewNodeByClass(kind, slicer.mrmlScene.GenerateUniqueName(name))


def class_columns(classification: Classification) -> list[tuple[str, Sequence[Any]]]:
    """Name and values of each column of the table of classes."""
    columns: list[tuple[str, Sequence[Any]]] = [
        (_("Class"), [classification.name(each) for each in classification.probabilities]),
        (_("Probability"), list(classification.probabilities.values())),
    ]
    if classification.votes:
        columns.append((_("Slices"), [classification.votes.get(each, 0) for each in classification.probabilities]))
    return columns


def detail_columns(classification: Classification) -> list[tuple[str, Sequence[Any]]]:
    """Name and values of each column of the table of slices, or of features for a model of features."""
    if classification.slices:
        columns: list[tuple[str, Sequence[Any]]] = [(_("Slice"), [one.index for one in classification.slices])]
        return columns + [
            (classification.name(each), [float(one.probabilities[each]) for one in classification.slices])
            for each in classification.probabilities
        ]
    return [
        (_("Feature"), [str(one["label"]) for one in classification.features]),
        (_("Value"), [float(one["value"]) for one in classification.features]),
        (_("Contribution"), [float(one["contribution"]) for one in classification.features]),
    ]


def _fill(table: Any, columns: Sequence[tuple[str, Sequence[Any]]]) -> None:
    modifying = table.StartModify()
    table.RemoveAllColumns()
    for name, values in columns:
        text = bool(values) and isinstance(values[0], str)
        whole = bool(values) and isinstance(values[0], int)
        column = vtk.vtkStringArray() if text else vtk.vtkIntArray() if whole else vtk.vtkDoubleArray()
        column.SetName(name)
        for value in values:
            column.InsertNextValue(value)
        table.AddColumn(column)
    table.SetLocked(True)  # a result must not be edited by hand
    table.EndModify(modifying)


def find(volume: Any, segmentation: Any, segment_id: str, card: ModelCard | None) -> Any:
    """The table of this model's result for this volume, or for this segment on it; None where there is none."""
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode") if volume is not None else []
    return next((each for each in tables if is_about(each, volume, segmentation, segment_id, card)), None)


def is_about(table: Any, volume: Any, segmentation: Any, segment_id: str, card: ModelCard | None) -> bool:
    """Whether the table is the result of this model for this volume and segment."""
    classification = read(table)
    if (
        classification is None
        or card is None
        or (classification.model, classification.sha256) != (card.name, card.sha256)
    ):
        return False
    nodes = table.GetNodeReference(VOLUME_ROLE), table.GetNodeReference(SEGMENTATION_ROLE)
    return (*nodes, classification.segment) == (volume, segmentation, segment_id if segmentation else "")


def outdate(table: Any) -> None:
    """Mark the table: its volume or segmentation was changed since."""
    table.SetAttribute(OUTDATED, "1")


def why_outdated(table: Any, volume: Any, segmentation: Any, segment_id: str, card: ModelCard | None) -> str:
    """Why the table is not the result for this input; empty when it is."""
    classification = read(table)
    if classification is None:
        return ""
    if table.GetNodeReference(VOLUME_ROLE) is not volume or volume is None:
        return str(_("This result is for the volume {name}.").format(name=classification.record["input"]))
    if card is None or (classification.model, classification.sha256) != (card.name, card.sha256):
        text = _("This result is by the model {name} {version}.")
        return str(text.format(name=classification.model, version=classification.version))
    if not is_about(table, volume, segmentation, segment_id, card):
        if not classification.segment:
            return str(_("This result is for the whole image."))
        return str(_("This result is for the segment {name}.").format(name=classification.record["segment"]))
    if table.GetAttribute(OUTDATED):
        return str(_("The image or the segment was changed since this result."))
    return ""


def place_of(volume: Any, plane: str, index: int) -> tuple[tuple[float, float, float], int]:
    """The middle of a slice (RAS mm), and the index axis (0 is x) along which slices of that plane follow each other.
    A picture has no plane: its axis is z."""
    geometry = scene.geometry_of(volume)
    axis = slice_axis(plane, geometry.direction) if plane in PLANES else 2
    middle = [(n - 1) / 2 for n in geometry.size]
    middle[axis] = index
    r, a, s = (float(c) for c in (scene.ras_of(geometry) @ np.array([*middle, 1.0]))[:3])
    return (r, a, s), axis
