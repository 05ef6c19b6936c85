"""What changed in a segmentation since an earlier state: voxels that were added and taken away, shown over the slice
views in two colours. No Qt."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from medtl.diameters import measuring_axis
from medtl.model.card import ModelCard
from medtl.volume import Geometry, Segment, array_axis

from ..mrml.boxes import Box, around, shape_of, whole, within
from ..mrml.pieces import origin_of
from ..mrml.scene import array_on, check_segmentation, geometry_of
from ..mrml.segments import add, bounds, mask_of, put
from ..mrml.states import node_of, reference_to
from ..mrml.tags import MODEL_TAG, tag_of
from ..prediction import snapshots, writer
from ..prediction.edits import Part
from .compare import ChangedSlice, hidden_segmentation, remove_hidden, slices_of

# Blue and orange: told apart by colour-blind people, and seen on grey and beside the models' colours.
ADDED, REMOVED = (0.1, 0.55, 1.0), (1.0, 0.55, 0.0)
OPACITY = 0.6


@dataclass(frozen=True)
class State:
    """Segments as they were at some time, by id, each in a box of the grid. Where `whole`, the segmentation had no
    others; else others are not compared."""

    geometry: Geometry
    parts: Mapping[str, Part]
    whole: bool = False


@dataclass(frozen=True)
class Changes:
    """What came into a segment and what left one: bool (Z, Y, X) on the grid. A voxel that changed its segment did
    both. `slices` are those with a change, the most first."""

    geometry: Geometry
    added: np.ndarray
    removed: np.ndarray
    slices: tuple[ChangedSlice, ...]


def before_prediction(segmentation: Any, written: writer.Written | None) -> State | None:
    """The state before the last result of this session was written; None where it made the segmentation, or is
    another's."""
    if segmentation is None or written is None or written.segmentation_id != segmentation.GetID():
        return None
    before = writer.state_before(written)
    return State(*before) if before else None


def last_prediction(segmentation: Any, volume: Any) -> State | None:
    """The last predictions of all models in the segmentation, on the volume's grid: what differs was edited by hand.
    None where there are none. They are saved with the scene."""
    segments, geometry, parts = segmentation.GetSegmentation(), geometry_of(volume), {}
    models = {tag_of(segments.GetSegment(each), MODEL_TAG) for each in segments.GetSegmentIDs()}
    for model in sorted(models - {""}):
        snapshot = snapshots.read(segmentation, model)
        if snapshot is None or not snapshot.geometry.close_to(geometry):
            continue
        for segment_id in snapshot.segment_ids:
            box = snapshot.boxes.get(segment_id) or around((), geometry.shape)
            parts[segment_id] = Part(snapshot.mask(segment_id, box), box)
    return State(geometry, parts) if parts else None


def saved_file(segmentation: Any, volume: Any) -> State | None:
    """The segmentation as its file has it: what differs was changed since it was read or saved. None where it has no
    file that can be read. The file is read by Slicer, into a node of its own.

    Raises: InputError when the volume's axes are not at right angles.
    """
    storage = segmentation.GetStorageNode()
    if storage is None or not Path(storage.GetFileName() or "").is_file():
        return None
    geometry = geometry_of(volume)
    node = hidden_segmentation(_("Changes"), geometry)
    reader = slicer.vtkMRMLSegmentationStorageNode()
    reader.SetFileName(storage.GetFileName())
    try:
        if not reader.ReadData(node):
            return None
        ids = node.GetSegmentation().GetSegmentIDs()
        return State(geometry, {each: Part(*mask_of(node, each, geometry)) for each in ids}, whole=True)
    finally:
        remove_hidden(node)


def changes_since(state: State, segmentation: Any, card: ModelCard | None = None) -> Changes:
    """What changed since that state. Lesions that were split off a segment count as that segment. Slices lie in the
    plane of the model, without one in that of the image (`medtl.diameters.measuring_axis`).

    Raises: InputError when the segmentation lies under a transform.
    """
    geometry = state.geometry
    added, removed = np.zeros((2, *geometry.shape), dtype=bool)
    for _owner, box, before, now in compared(state, segmentation):
        added[box] |= now & ~before
        removed[box] |= before & ~now
    axis = array_axis(geometry, card.input.plane) if card else 2 - measuring_axis(geometry)
    return Changes(geometry, added, removed, slices_of(added, removed, geometry, axis))


def compared(state: State, segmentation: Any) -> Iterator[tuple[str, Box, np.ndarray, np.ndarray]]:
    """Each segment that counts (see `changes_since`): its id, a box of the grid that holds it, and there bool (Z, Y, X)
    as it was and as it is.

    Raises: InputError when the segmentation lies under a transform.
    """
    check_segmentation(segmentation)
    geometry = state.geometry
    owners: dict[str, list[str]] = {each: [] for each in state.parts}  # the segments that count as one
    for segment_id in segmentation.GetSegmentation().GetSegmentIDs():
        origin = origin_of(segmentation, segment_id)
        owner = origin.id if origin is not None else segment_id
        if owner in owners or state.whole:
            owners.setdefault(owner, []).append(segment_id)
    for owner, segment_ids in owners.items():
        old = state.parts.get(owner)
        boxes = [bounds(segmentation, each, geometry) for each in segment_ids]
        box = around([*boxes, *([old.box] if old else [])], geometry.shape)
        before, now = np.zeros((2, *shape_of(box)), dtype=bool)
        if old is not None:
            before[within(old.box, box)] = old.array
        for each in segment_ids:
            now |= array_on(segmentation, each, geometry, box)
        yield owner, box, before, now


class Overlay:
    """A hidden segmentation of what changed, filled, over the slice views."""

    def __init__(self) -> None:
        self._node: Any = None

    def show(self, changes: Changes) -> None:
        """Show these changes, and no others."""
        self.close()
        node = hidden_segmentation(_("Changes"), changes.geometry)
        self._node = reference_to(node)
        for segment_id, name, colour, mask in (
            ("added", _("Added"), ADDED, changes.added),
            ("removed", _("Taken away"), REMOVED, changes.removed),
        ):
            add(node, Segment(1, segment_id, str(name), colour), "")
            put(node, segment_id, mask, changes.geometry, whole(changes.geometry.shape))
        display = node.GetDisplayNode()
        display.SetVisibility2DFill(True)
        display.SetOpacity2DFill(OPACITY)
        display.SetVisibility3D(False)
        display.SetVisibility(True)

    def close(self) -> None:
        """Show nothing."""
        remove_hidden(node_of(self._node))
        self._node = None
