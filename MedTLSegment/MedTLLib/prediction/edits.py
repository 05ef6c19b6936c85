"""The slices that the user edited since the prediction. No Qt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medtl.volume import Geometry

from ..mrml.boxes import Box, around, shape_of
from ..mrml.scene import array_on, check_volume, geometry_of
from ..mrml.segments import bounds
from ..mrml.tags import MODEL_TAG, tag_of
from . import snapshots
from .snapshots import Snapshot


@dataclass(frozen=True)
class Part:
    """A segment as it is: bool (Z, Y, X) in a box of the grid that holds it, and its older predictions."""

    array: np.ndarray
    box: Box


def edited_slices(segmentation: Any, volume: Any, segment_ids: Sequence[str]) -> tuple[int, ...]:
    """The slices k in which the user changed these segments since the prediction; absent segments do not count.

    Where the last prediction was lost or lies on another grid, all slices with voxels of the segment count.

    Raises: InputError when the volume cannot be segmented.
    """
    check_volume(volume)
    geometry, slices = geometry_of(volume), set()
    models: dict[str, list[str]] = {}
    for segment_id in segment_ids:
        segment = segmentation.GetSegmentation().GetSegment(segment_id)
        if segment is not None:
            models.setdefault(tag_of(segment, MODEL_TAG), []).append(segment_id)
    for model, ids in models.items():
        past = snapshots.history(segmentation, model, geometry)
        boxes = boxes_around(segmentation, ids, geometry, past)
        box = around(boxes.values(), geometry.shape)
        now = segments_in(segmentation, boxes, geometry)
        edited = closest_prediction(past or [snapshots.empty(geometry)], now, box)[1]
        slices |= {*indices(edited, box)}
    return tuple(sorted(slices))


def boxes_around(
    segmentation: Any,
    ids: Sequence[str],
    geometry: Geometry,
    past: Sequence[Snapshot],
    more: Mapping[str, Box | None] = {},
) -> dict[str, Box]:
    """The box of the grid that holds each of these segments as it is, was predicted, and will be (`more`), by id."""
    return {
        each: around(
            [bounds(segmentation, each, geometry), more.get(each), *(one.boxes.get(each) for one in past)],
            geometry.shape,
        )
        for each in ids
    }


def segments_in(segmentation: Any, boxes: Mapping[str, Box], geometry: Geometry) -> dict[str, Part]:
    """The segments that exist, each in its box, by id."""
    there = [each for each in boxes if segmentation.GetSegmentation().GetSegment(each) is not None]
    return {each: Part(array_on(segmentation, each, geometry, boxes[each]), boxes[each]) for each in there}


def closest_prediction(past: list[Snapshot], now: Mapping[str, Part], box: Box) -> tuple[Snapshot, np.ndarray]:
    """The prediction most similar to the segments as they are now, and the slices of the box, which holds them all, in
    which they differ.

    `past` is not empty, the last one first. The Segment Editor's Undo restores a prediction as a whole, so a single
    slice that equals an older prediction may still be an edit of the last one.
    """
    candidates: list[tuple[Snapshot, np.ndarray]] = []
    for snapshot in past:
        edited = np.zeros(shape_of(box)[0], dtype=bool)
        for segment_id, part in now.items():
            first = part.box[0].start - box[0].start
            changed = (part.array ^ snapshot.mask(segment_id, part.box)).any(axis=(1, 2))
            edited[first : first + len(changed)] |= changed
        candidates.append((snapshot, edited))
        if not edited.any():
            break
    return min(candidates, key=lambda each: np.count_nonzero(each[1]))  # the last one of several that differ as little


def indices(edited: np.ndarray, box: Box) -> tuple[int, ...]:
    """The slices of the box that are set as slices of the grid."""
    return tuple(int(k) + box[0].start for k in np.flatnonzero(edited))
