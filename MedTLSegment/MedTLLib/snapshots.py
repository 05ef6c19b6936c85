"""The last prediction of each model, kept in the scene to tell what the user edited since. No Qt.

It is a hidden labelmap node that the segmentation refers to by a node-reference role, so it travels with a saved scene.
It may be lost without losing the user's work: then everything counts as edited.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from medtl.volume import Geometry

from .scene import array_on, geometry_of, ras_of, values_of

ROLE = "MedTL.snapshot"
OWNER_ROLE = "MedTL.segmentation"
MODEL_TAG = "MedTL.model"
SEGMENTS_ATTRIBUTE = "MedTL.segments"
RUN_ATTRIBUTE = "MedTL.run"


@dataclass(frozen=True)
class Snapshot:
    """What a model wrote: in `labels` (Z, Y, X), uint8 or uint16, value n + 1 is the segment `segment_ids[n]`.

    `run` names the prediction that wrote it.
    """

    labels: np.ndarray
    geometry: Geometry
    segment_ids: tuple[str, ...]
    run: str

    def mask(self, segment_id: str) -> np.ndarray:
        """Where the segment was: bool (Z, Y, X)."""
        if segment_id not in self.segment_ids:
            return np.zeros(self.labels.shape, dtype=bool)
        found: np.ndarray = self.labels == self.segment_ids.index(segment_id) + 1
        return found


def read(segmentation: Any, model: str) -> Snapshot | None:
    """The model's last prediction in this segmentation, None where there is none or it was lost."""
    for node in _nodes(segmentation):
        image = node.GetImageData()
        if node.GetAttribute(MODEL_TAG) == model and image is not None and image.GetPointData().GetScalars():
            ids = tuple(json.loads(node.GetAttribute(SEGMENTS_ATTRIBUTE)))
            return Snapshot(values_of(image), geometry_of(node), ids, node.GetAttribute(RUN_ATTRIBUTE))
    return None


def keep(segmentation: Any, model: str, snapshot: Snapshot | None) -> None:
    """Make this the model's last prediction in the segmentation; with None there is none."""
    scene = segmentation.GetScene()
    stay = [node for node in _nodes(segmentation) if node.GetAttribute(MODEL_TAG) != model]
    if snapshot is not None:
        node = slicer.vtkMRMLLabelMapVolumeNode()
        node.SetName(scene.GenerateUniqueName(f"{segmentation.GetName()} last prediction"))
        node.SetHideFromEditors(True)
        node.SetAttribute(MODEL_TAG, model)
        node.SetAttribute(SEGMENTS_ATTRIBUTE, json.dumps(snapshot.segment_ids))
        node.SetAttribute(RUN_ATTRIBUTE, snapshot.run)
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ras_of(snapshot.geometry)))
        slicer.util.updateVolumeFromArray(node, snapshot.labels)
        scene.AddNode(node)
        node.SetNodeReferenceID(OWNER_ROLE, segmentation.GetID())
        stay.append(node)
    segmentation.RemoveNodeReferenceIDs(ROLE)
    for node in stay:
        segmentation.AddNodeReferenceID(ROLE, node.GetID())
    _sweep(segmentation, {node.GetID() for node in stay})


def edited_slices(segmentation: Any, geometry: Geometry, segment_ids: tuple[str, ...]) -> tuple[tuple[int, ...], bool]:
    """Slices k where these segments differ from their last prediction, and whether that was lost for one of them.

    Where it was lost, or lies on another grid, every slice with voxels of the segment counts. Absent segments do not.
    """
    edited, lost = np.zeros(geometry.size[2], dtype=bool), False
    for segment_id in segment_ids:
        segment = segmentation.GetSegmentation().GetSegment(segment_id)
        if segment is None:
            continue
        now = array_on(segmentation, segment_id, geometry)
        snapshot = read(segmentation, tag_of(segment, MODEL_TAG))
        if snapshot and segment_id in snapshot.segment_ids and snapshot.geometry.close_to(geometry):
            now ^= snapshot.mask(segment_id)
        else:
            lost = lost or bool(now.any())
        edited |= now.any(axis=(1, 2))
    return tuple(int(k) for k in np.flatnonzero(edited)), lost


def tag_of(segment: Any, name: str) -> str:
    """The segment's tag, empty where it has none."""
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


def _nodes(segmentation: Any) -> list[Any]:
    count = segmentation.GetNumberOfNodeReferences(ROLE)
    nodes = (segmentation.GetNthNodeReference(ROLE, n) for n in range(count))
    return [node for node in nodes if node is not None]


def _sweep(segmentation: Any, current: set[str]) -> None:
    """Remove what this segmentation no longer needs and what deleted ones left behind: nobody sees hidden nodes.

    A copied segmentation refers to the snapshot of its original, which stays.
    """
    scene = segmentation.GetScene()
    count = scene.GetNumberOfNodesByClass("vtkMRMLLabelMapVolumeNode")
    for node in [scene.GetNthNodeByClass(n, "vtkMRMLLabelMapVolumeNode") for n in range(count)]:
        owner = node.GetNodeReference(OWNER_ROLE)
        ours = owner is segmentation and node.GetID() not in current
        if node.GetAttribute(RUN_ATTRIBUTE) and (owner is None or ours):
            scene.RemoveNode(node)
