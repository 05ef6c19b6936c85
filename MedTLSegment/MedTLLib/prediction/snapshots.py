"""The last predictions of each model, stored in the scene to find what the user edited since. No Qt.

They are hidden labelmap nodes to which the segmentation refers by a node-reference role, the last one first, so they
are saved with the scene. Without them everything counts as edited, so that no edit is lost.

Several are stored, because the Segment Editor's Undo restores older predictions, and those are not edits.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import slicer

from medtl.volume import Geometry, label_boxes

from ..mrml.boxes import Box, around, box_of, pasted, shape_of, shifted, start_of, whole, within
from ..mrml.scene import add_hidden, geometry_of, ras_of, values_of
from ..mrml.tags import MODEL_TAG

ROLE = "MedTL.snapshot"
OWNER_ROLE = "MedTL.segmentation"
SEGMENTS_ATTRIBUTE = "MedTL.segments"
RUN_ATTRIBUTE = "MedTL.run"
GRID_ATTRIBUTE = "MedTL.grid"
NOTHING = "none"  # the run of a snapshot without a prediction
KEPT = 6  # the last one, and one for each state of the Segment Editor's Undo


@dataclass(frozen=True)
class Snapshot:
    """What a model wrote: labels (Z, Y, X), uint8 or uint16, where value n + 1 is the segment `segment_ids[n]`.

    `part` lies in the `box` of the grid; outside all is 0. `run` names the prediction that wrote it.
    """

    part: np.ndarray
    box: Box
    geometry: Geometry
    segment_ids: tuple[str, ...]
    run: str

    @property
    def labels(self) -> np.ndarray:
        """The labels on the whole grid, a new array."""
        labels = np.zeros(self.geometry.shape, self.part.dtype)
        labels[self.box] = self.part
        return labels

    @cached_property
    def boxes(self) -> dict[str, Box]:
        """The box of the grid around each segment that was not empty, by id."""
        boxes = label_boxes(self.part)
        return {self.segment_ids[value - 1]: shifted(box, start_of(self.box)) for value, box in boxes.items()}

    def mask(self, segment_id: str, box: Box | None = None) -> np.ndarray:
        """Where the segment was, on the grid or in a box of it: bool (Z, Y, X)."""
        box, own = box or whole(self.geometry.shape), self.boxes.get(segment_id)
        if own is None:
            return np.zeros(shape_of(box), dtype=bool)
        value = self.segment_ids.index(segment_id) + 1
        return pasted(self.part[within(own, self.box)] == value, start_of(own), box)


def empty(geometry: Geometry, segment_ids: Iterable[str] = ()) -> Snapshot:
    """A snapshot of the state before any prediction: no label."""
    box = around((), geometry.shape)
    return Snapshot(np.zeros(shape_of(box), np.uint8), box, geometry, tuple(segment_ids), NOTHING)


def history(segmentation: Any, model: str, geometry: Geometry) -> list[Snapshot]:
    """The model's predictions in this segmentation on this grid, the last one first; none where they were lost."""
    predictions = map(_snapshot, _nodes(segmentation, model))
    return [each for each in predictions if each.geometry.close_to(geometry)]


def read(segmentation: Any, model: str) -> Snapshot | None:
    """The model's last prediction in this segmentation, None where there is none or it was lost."""
    last = next(map(_snapshot, _nodes(segmentation, model)), None)
    return last if last is None or last.run != NOTHING else None


def store(segmentation: Any, model: str, snapshot: Snapshot) -> None:
    """Make this the model's last prediction in the segmentation."""
    scene = segmentation.GetScene()
    used = around([box_of(snapshot.part)], snapshot.part.shape)
    box = shifted(used, start_of(snapshot.box))
    node = slicer.vtkMRMLLabelMapVolumeNode()
    node.SetName(scene.GenerateUniqueName(f"{segmentation.GetName()} last prediction"))
    node.SetAttribute(MODEL_TAG, model)
    node.SetAttribute(SEGMENTS_ATTRIBUTE, json.dumps(snapshot.segment_ids))
    node.SetAttribute(RUN_ATTRIBUTE, snapshot.run)
    node.SetAttribute(GRID_ATTRIBUTE, json.dumps((snapshot.geometry.size, _centre(snapshot.geometry))))
    to_ras = ras_of(snapshot.geometry)
    to_ras[:, 3] = to_ras @ (*start_of(box)[::-1], 1.0)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(to_ras))
    slicer.util.updateVolumeFromArray(node, snapshot.part[used])
    add_hidden(scene, node)
    node.SetNodeReferenceID(OWNER_ROLE, segmentation.GetID())
    old = [each for each in _nodes(segmentation, model) if each.GetAttribute(RUN_ATTRIBUTE) != NOTHING]
    _set_references(segmentation, model, [node, *old[: KEPT - 1]])


def step_back(segmentation: Any, model: str) -> None:
    """Make the prediction before the last one the last. The last one is kept, for the editor may restore it."""
    first, *others = _nodes(segmentation, model)
    _set_references(segmentation, model, [*others, first])


def drop_all(segmentation: Any, model: str) -> None:
    """Drop all predictions of the model in the segmentation."""
    _set_references(segmentation, model, [])


def _nodes(segmentation: Any, model: str) -> list[Any]:
    """The model's nodes that can be read."""
    count = segmentation.GetNumberOfNodeReferences(ROLE)
    nodes = (segmentation.GetNthNodeReference(ROLE, n) for n in range(count))
    return [
        node
        for node in nodes
        if node is not None
        and node.GetAttribute(MODEL_TAG) == model
        and node.GetAttribute(GRID_ATTRIBUTE)
        and node.GetImageData() is not None
        and node.GetImageData().GetPointData().GetScalars()
    ]


def _snapshot(node: Any) -> Snapshot:
    labels, part = values_of(node.GetImageData()), geometry_of(node)
    # The grid is located by its middle, not by an index: Slicer opens a left-handed volume with its slices in reverse
    # order.
    size, centre = json.loads(node.GetAttribute(GRID_ATTRIBUTE))
    start = np.rint((np.array(size) - 1) / 2 - (np.linalg.inv(part.affine) @ (*centre, 1.0))[:3])
    x, y, z = (int(n) for n in start)
    right, back, up = (float(mm) for mm in (part.affine @ (*-start, 1.0))[:3])
    geometry = replace(part, size=tuple(size), origin=(right, back, up))
    box = shifted(whole(labels.shape), (z, y, x))
    return Snapshot(
        labels,
        box,
        geometry,
        tuple(json.loads(node.GetAttribute(SEGMENTS_ATTRIBUTE))),
        node.GetAttribute(RUN_ATTRIBUTE),
    )


def _centre(geometry: Geometry) -> tuple[float, float, float]:
    """The middle of the grid, LPS mm."""
    x, y, z = (float(mm) for mm in (geometry.affine @ (*(np.array(geometry.size) - 1) / 2, 1.0))[:3])
    return x, y, z


def _set_references(segmentation: Any, model: str, nodes: list[Any]) -> None:
    """Make these the model's nodes, in this order."""
    count = segmentation.GetNumberOfNodeReferences(ROLE)
    others = [segmentation.GetNthNodeReference(ROLE, n) for n in range(count)]
    stay = [*(each for each in others if each is not None and each.GetAttribute(MODEL_TAG) != model), *nodes]
    segmentation.RemoveNodeReferenceIDs(ROLE)
    for node in stay:
        segmentation.AddNodeReferenceID(ROLE, node.GetID())
    _remove_unused(segmentation, {node.GetID() for node in stay})


def _remove_unused(segmentation: Any, current: set[str]) -> None:
    """Remove the snapshots that this segmentation no longer needs and those of deleted segmentations.

    A copied segmentation refers to the snapshot of its original, which stays.
    """
    scene = segmentation.GetScene()
    count = scene.GetNumberOfNodesByClass("vtkMRMLLabelMapVolumeNode")
    for node in [scene.GetNthNodeByClass(n, "vtkMRMLLabelMapVolumeNode") for n in range(count)]:
        owner = node.GetNodeReference(OWNER_ROLE)
        ours = owner is segmentation and node.GetID() not in current
        if node.GetAttribute(RUN_ATTRIBUTE) and (owner is None or ours):
            scene.RemoveNode(node)


def remove_segmentation(segmentation: Any, model: str) -> None:
    """Take a segmentation out of the scene, with its display and the model's predictions."""
    drop_all(segmentation, model)
    scene = segmentation.GetScene()
    for number in reversed(range(segmentation.GetNumberOfDisplayNodes())):
        scene.RemoveNode(segmentation.GetNthDisplayNode(number))
    scene.RemoveNode(segmentation)
