"""A segmentation and a new result for it: one is shown instead of the other; the slices that differ. No Qt."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from medtl.errors import InputError
from medtl.volume import Geometry, Labelmap

from ..mrml.boxes import whole
from ..mrml.scene import add_hidden, array_on, grid_image, ras_of
from ..mrml.segments import add, put
from ..mrml.states import node_of, reference_to


@dataclass(frozen=True)
class ChangedSlice:
    """A slice that the result changes: its 0-based `index`, how many voxels, their area in it in mm² and their middle,
    RAS mm. Of the voxels, `added` came into a segment and `removed` left one; one that changed its segment did both."""

    index: int
    voxels: int
    mm2: float
    centre_ras: tuple[float, float, float]
    added: int
    removed: int


def changed(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], geometry: Geometry, axis: int
) -> tuple[ChangedSlice, ...]:
    """The slices along this axis of the (Z, Y, X) arrays that differ, the most different first.

    Masks bool (Z, Y, X) by segment id; a segment that only one of them has counts as empty in the other.
    """
    added, removed = added_and_removed(before, after, geometry)
    return slices_of(added, removed, geometry, axis)


def added_and_removed(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], geometry: Geometry
) -> tuple[np.ndarray, np.ndarray]:
    """The voxels that came into a segment, and those that left one: bool (Z, Y, X); masks as in `changed`."""
    added, removed, nothing = np.zeros((3, *geometry.shape), dtype=bool)
    for segment_id in {*before, *after}:
        old, new = before.get(segment_id, nothing), after.get(segment_id, nothing)
        added |= new & ~old
        removed |= old & ~new
    return added, removed


def slices_of(added: np.ndarray, removed: np.ndarray, geometry: Geometry, axis: int) -> tuple[ChangedSlice, ...]:
    """The slices along this axis of the (Z, Y, X) arrays in which a voxel was added or removed, those with most
    first."""
    planes = np.moveaxis(added | removed, axis, 0)
    counts = planes.sum(axis=(1, 2))
    others = tuple(other for other in range(3) if other != axis)
    came, left = added.sum(axis=others), removed.sum(axis=others)
    rows, columns = (mm for i, mm in enumerate(reversed(geometry.spacing)) if i != axis)
    slices = []
    for k in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]:
        index = np.insert(np.argwhere(planes[k]).mean(axis=0), axis, k)[::-1]  # (x, y, z)
        x, y, z = (float(mm) for mm in (ras_of(geometry) @ (*index, 1.0))[:3])
        mm2 = float(counts[k] * rows * columns)
        slices.append(ChangedSlice(int(k), int(counts[k]), mm2, (x, y, z), int(came[k]), int(left[k])))
    return tuple(slices)


class Comparison:
    """A segmentation, and a hidden one with the new result, as outlines; one of them is visible at a time."""

    def __init__(self, segmentation: Any, labelmap: Labelmap) -> None:
        """Raises: InputError when the result cannot be made a segmentation."""
        self._old, self._geometry = reference_to(segmentation), labelmap.geometry
        self._shown = self._hid = False  # the new one is visible; the old one was hidden for it
        node = hidden_segmentation(f"{segmentation.GetName()} new result", labelmap.geometry)
        self._new = reference_to(node)
        try:
            _fill(node, labelmap)
        except InputError:
            self.close()
            raise

    def changed(self, axis: int) -> tuple[ChangedSlice, ...]:
        """The slices that differ now, the most different first; see `changed`.

        Raises: InputError when the segmentation does not fit any more.
        """
        old, new = node_of(self._old), node_of(self._new)
        if old is None or new is None:
            return ()
        ids = new.GetSegmentation().GetSegmentIDs()
        there = [i for i in ids if old.GetSegmentation().GetSegment(i) is not None]
        before = {i: array_on(old, i, self._geometry) for i in there}
        return changed(before, {i: array_on(new, i, self._geometry) for i in ids}, self._geometry, axis)

    def show(self, new: bool) -> None:
        """Show the new result instead of the old segmentation, or the old one again."""
        node, old = node_of(self._new), node_of(self._old)
        if node is None or new == self._shown:
            return
        self._shown = new
        display = old.GetDisplayNode() if old is not None else None
        if display is not None and new:
            self._hid = bool(display.GetVisibility())
            display.SetVisibility(False)
        elif display is not None and self._hid:
            display.SetVisibility(True)
        node.GetDisplayNode().SetVisibility(new)

    def close(self) -> None:
        """Show the old segmentation again and take the new one out of the scene."""
        self.show(False)
        remove_hidden(node_of(self._new))


def hidden_segmentation(name: str, geometry: Geometry) -> Any:
    """A new segmentation node on this grid that no list shows, no scene saves and no view shows yet, as outlines."""
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(slicer.mrmlScene.GenerateUniqueName(name))
    node.SetSaveWithScene(False)
    add_hidden(slicer.mrmlScene, node)
    converter = slicer.vtkSegmentationConverter
    node.GetSegmentation().SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(), converter.SerializeImageGeometry(grid_image(geometry))
    )
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetVisibility(False)
    display.SetVisibility2DFill(False)
    return node


def remove_hidden(node: Any) -> None:
    """Take the node out of the scene, with its display; nothing happens where it is None."""
    if node is not None:
        for number in reversed(range(node.GetNumberOfDisplayNodes())):
            slicer.mrmlScene.RemoveNode(node.GetNthDisplayNode(number))
        slicer.mrmlScene.RemoveNode(node)


def _fill(node: Any, labelmap: Labelmap) -> None:
    geometry, box = labelmap.geometry, whole(labelmap.geometry.shape)
    for segment in labelmap.segments:
        add(node, segment, "")
        put(node, segment.id, labelmap.array == segment.value, geometry, box)
