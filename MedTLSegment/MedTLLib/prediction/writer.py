"""Writes a model's labels into a segmentation without changing what the user drew. No Qt.

Only the model's own segments are written: those with its ids and its name in the tag `MedTL.model`. A segment with such
an id but without that tag is the user's: `write` raises before it changes anything. Other segments keep all their
voxels and may overlap with the model's, whatever overwrite mode the Segment Editor has; only protected ones may not.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import vtk

from medtl.errors import InputError
from medtl.labels import family_of
from medtl.volume import Geometry, Labelmap, label_boxes

from ..mrml.boxes import Box, around, shape_of, within
from ..mrml.scene import array_on, check_volume, geometry_of, image_of, labelmap_image
from ..mrml.segments import add, bounds, check_place, check_target, new_segmentation, put, replace, stamp
from ..mrml.tags import PROTECTED_TAG
from . import snapshots
from .edits import Part, boxes_around, closest_prediction, edited_slices, indices, segments_in
from .masks import outside_editor_masks, protected_segments, union
from .snapshots import Snapshot, empty, remove_segmentation

__all__ = ["PROTECTED_TAG", "Options", "Written", "edited_slices", "undo", "write"]


@dataclass(frozen=True)
class Options:
    """`editor_node`: the vtkMRMLSegmentEditorNode whose masks are respected where it edits the same segmentation.

    `only`: bool (Z, Y, X), voxels outside stay as they are; None for the whole volume.
    """

    replace_edits: bool = False
    editor_node: Any | None = None
    only: np.ndarray | None = None


@dataclass(frozen=True)
class Written:
    """What `write` did: `kept_slices` are the k that the user edited.

    `protected_voxels` were predicted but lie in protected segments and were left to them.
    `warnings` are sentences for the user; `undo` is only for `undo()`.
    """

    segmentation_id: str
    segment_ids: tuple[str, ...]
    kept_slices: tuple[int, ...]
    protected_voxels: int
    warnings: tuple[str, ...]
    undo: object


@dataclass
class Change:
    """What one prediction changed: for `undo`, and to restore it where `write` fails."""

    segmentation: Any  # a vtkWeakReference, so that an undo does not keep a deleted node alive
    geometry: Geometry
    model: str
    run: str
    made: bool  # the prediction made the segmentation
    first: bool  # there was no prediction before
    added: list[str] = field(default_factory=list)  # the segments that the prediction added
    parts: dict[str, "Changed"] = field(default_factory=dict)  # by segment id


@dataclass(frozen=True)
class Changed:
    """What a prediction did to a segment in a box of the grid: bool (Z, Y, X), the voxels that it changed, and the
    segment since."""

    box: Box
    voxels: np.ndarray
    since: np.ndarray


def write(
    labelmap: Labelmap, volume: Any, segmentation: Any | None = None, options: Options | None = None, name: str = ""
) -> Written:
    """Write the labels into the model's segments, read them back, and return what was done.

    Without a segmentation a new one is made beside the volume, shown as outlines; without a volume too (it was deleted
    or moved meanwhile) it is made where the labels are. Not changed are: slices edited since
    the last prediction (unless `replace_edits`), what the Segment Editor's masks exclude, what lies outside `only`, the
    voxels of protected segments (status Completed or the tag `MedTL.locked`), and protected segments of the model.

    Raises: InputError when volume, labels and segmentation do not fit each other, a segment of the same id is the
    user's, or what is read back differs from what was written; then all is as it was before.
    """
    geometry = labelmap.geometry
    if volume is not None or segmentation is not None:
        check_volume(volume)
        geometry = geometry_of(volume)
    used = label_boxes(labelmap.array)
    model = _check_labels(labelmap, used, geometry, volume)
    ids = tuple(segment.id for segment in labelmap.segments)
    made = segmentation is None
    if segmentation is None:
        segmentation = new_segmentation(
            volume, geometry, name or f"{volume.GetName() if volume else ''} {model}".strip()
        )
    else:
        check_target(segmentation, ids, model, geometry, volume)
    first = snapshots.read(segmentation, model) is None
    past = snapshots.history(segmentation, model, geometry)
    predicted = {segment.id: used.get(segment.value) for segment in labelmap.segments}
    boxes = boxes_around(segmentation, ids, geometry, past, predicted)
    reference = vtk.vtkWeakReference()
    reference.Set(segmentation)
    change = Change(reference, geometry, model, uuid.uuid4().hex, made, first)
    before: dict[str, Any] = {}
    modified = segmentation.StartModify()
    try:
        return _write(labelmap, volume, segmentation, options or Options(), change, past, boxes, before)
    except BaseException:  # also KeyboardInterrupt: the user's voxels are restored first
        _restore(segmentation, change, before)
        raise
    finally:
        segmentation.EndModify(modified)


def _write(
    labelmap: Labelmap,
    volume: Any,
    segmentation: Any,
    options: Options,
    change: Change,
    past: list[Snapshot],
    boxes: Mapping[str, Box],
    before: dict[str, Any],
) -> Written:
    """`boxes` hold each segment before and after; each is written in its own, for there may be a hundred."""
    geometry = change.geometry
    ids = tuple(segment.id for segment in labelmap.segments)
    box = around([*boxes.values(), *(one.box for one in past)], geometry.shape)
    now = segments_in(segmentation, boxes, geometry)
    last, edited = closest_prediction(past or [empty(geometry)], now, box)
    lost = any(name not in last.segment_ids and part.array.any() for name, part in now.items())
    if options.replace_edits:
        edited, lost = np.zeros_like(edited), False
    kept = indices(edited, box)
    masked = outside_editor_masks(segmentation, options.editor_node, ids, geometry, box, volume)
    masked[edited] = False
    frozen = masked.copy()
    frozen[edited] = True
    if options.only is not None:
        masked &= options.only[box]
        frozen |= ~options.only[box]
    spared = protected_segments(segmentation)
    protected = union(segmentation, spared, geometry, box)
    all_ids = tuple(dict.fromkeys((*last.segment_ids, *ids)))
    labels = np.zeros(masked.shape, np.uint8 if len(all_ids) < 256 else np.uint16)
    for segment_id in last.segment_ids:
        if (segment_id not in ids or segment_id in spared) and (own := last.boxes.get(segment_id)):
            part = labels[within(own, box)]
            np.copyto(part, all_ids.index(segment_id) + 1, where=last.mask(segment_id, own))
    protected_voxels = masked_voxels = 0
    some_frozen, free = bool(frozen.any()), ~(frozen | protected)
    for segment in labelmap.segments:
        if segment.id in spared:
            continue
        own, number = boxes[segment.id], all_ids.index(segment.id) + 1
        here = within(own, box)
        old = now[segment.id].array if segment.id in now else np.zeros(shape_of(own), dtype=bool)
        predicted = labelmap.array[own] == segment.value
        wanted = predicted & free[here]
        # Voxels that are not written keep their snapshot, so that an edit stays an edit. The model's segments
        # overlap only where the user edited them, so that counts as edited, too.
        np.copyto(labels[here], number, where=wanted)
        if some_frozen:
            wanted |= old & frozen[here]
            masked_voxels += int(np.count_nonzero((predicted != old) & masked[here]))
            np.copyto(labels[here], number, where=last.mask(segment.id, own) & frozen[here])
        if spared:
            protected_voxels += int(np.count_nonzero(predicted & protected[here] & ~frozen[here]))
        if segment.id in now:
            before[segment.id] = labelmap_image(old, geometry, own)
        else:
            change.added.append(segment.id)
            add(segmentation, segment, change.model)
        put(segmentation, segment.id, wanted, geometry, own)
        change.parts[segment.id] = Changed(own, old ^ wanted, wanted)
    for segment in labelmap.segments:
        if segment.id not in spared:
            stamp(segmentation, segment)
    snapshots.store(segmentation, change.model, Snapshot(labels, box, geometry, all_ids, change.run))
    names = [segment.name for segment in labelmap.segments if segment.id in spared]
    warnings = tuple(_warnings(kept, lost, names, protected_voxels, masked_voxels))
    return Written(segmentation.GetID(), tuple(change.parts), kept, protected_voxels, warnings, change)


def _warnings(kept: Sequence[int], lost: bool, spared: list[str], protected: int, masked: int) -> list[str]:
    warnings = []
    if lost:
        warnings.append("The last prediction is no longer in this scene, so every slice that was not empty was kept.")
    elif kept:
        warnings.append(f"Slices that you edited were kept: {len(kept)}.")
    if spared:
        warnings.append(f"Protected segments were left as they are: {', '.join(spared)}.")
    if protected:
        warnings.append(f"Voxels kept by protected segments: {protected}.")
    if masked:
        warnings.append(f"Voxels kept because of the Segment Editor's masks: {masked}.")
    return warnings


def undo(written: Written) -> tuple[int, int]:
    """Revert the voxels that the prediction changed and nobody changed since; returns how many were reverted and kept.

    Segments that the prediction added are removed when they are empty, and so is a segmentation that it made. A
    segment that was protected since is not changed.

    Raises: InputError when the segmentation or one of the segments is gone, or a later prediction was written.
    """
    change = written.undo
    assert isinstance(change, Change)
    segmentation = change.segmentation.Get()
    if segmentation is None or segmentation.GetScene() is None:
        raise InputError("Expected the segmentation of this prediction, found it deleted. There is nothing to undo.")
    segments = segmentation.GetSegmentation()
    for segment_id in change.parts:
        if segments.GetSegment(segment_id) is None:
            raise InputError(
                f"Expected the segment {segment_id} in {segmentation.GetName()}, found it deleted. "
                "Undo is possible only while all segments of the prediction are there."
            )
    check_place(segmentation, list(change.parts), change.geometry)
    last = snapshots.read(segmentation, change.model)
    if last is not None and last.run != change.run:
        raise InputError(
            f"Expected the last prediction, found a later one in {segmentation.GetName()}. Undo that one first."
        )
    spared = protected_segments(segmentation)
    reverted = left = 0
    before: dict[str, Any] = {}
    try:
        for segment_id, part in change.parts.items():
            box = around([part.box, bounds(segmentation, segment_id, change.geometry)], change.geometry.shape)
            array = array_on(segmentation, segment_id, change.geometry, box)
            before[segment_id] = labelmap_image(array, change.geometry, box)
            there = array[within(part.box, box)]
            mine = part.voxels & (there == part.since) & (segment_id not in spared)
            there ^= mine
            reverted += int(np.count_nonzero(mine))
            left += int(np.count_nonzero(part.voxels & ~mine))
            put(segmentation, segment_id, array, change.geometry, box)
    except BaseException:  # as in `write`
        for segment_id, image in before.items():
            replace(segmentation, segment_id, image)
        raise
    for segment_id in change.added:
        if segment_id not in spared and image_of(segmentation, segment_id) is None:
            segments.RemoveSegment(segment_id)
    if change.first:
        snapshots.store(segmentation, change.model, empty(change.geometry, change.parts))
    elif last is not None:
        snapshots.step_back(segmentation, change.model)
    if change.made and segments.GetNumberOfSegments() == 0:
        remove_segmentation(segmentation, change.model)
    return reverted, left


def state_before(written: Written) -> tuple[Geometry, dict[str, Part]] | None:
    """The grid, and the segments of the prediction as they were before it, by id; None where it made the
    segmentation."""
    change = written.undo
    assert isinstance(change, Change)
    if change.made:
        return None
    return change.geometry, {each: Part(part.since ^ part.voxels, part.box) for each, part in change.parts.items()}


def _check_labels(labelmap: Labelmap, used: Iterable[int], geometry: Geometry, volume: Any) -> str:
    """The model that the labels are of; `used` are the values of the voxels."""
    if not labelmap.geometry.close_to(geometry):
        raise InputError(
            f"Expected labels on the grid of {volume.GetName()}, found another grid: the volume was changed or moved "
            "meanwhile. Segment it again."
        )
    if not labelmap.segments or not set(used) <= {segment.value for segment in labelmap.segments}:
        raise InputError("Expected a name for every label, found labels without. Segment the volume again.")
    models = {family_of(segment) for segment in labelmap.segments}
    if len(models) != 1:
        raise InputError(f"Expected labels of one model, found {', '.join(sorted(models))}. Write them one by one.")
    return models.pop()


def _restore(segmentation: Any, change: Change, before: dict[str, Any]) -> None:
    if change.made:
        remove_segmentation(segmentation, change.model)
        return
    for segment_id in change.added:
        segmentation.GetSegmentation().RemoveSegment(segment_id)
    for segment_id, image in before.items():
        replace(segmentation, segment_id, image)
