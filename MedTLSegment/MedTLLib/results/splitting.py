"""A segment's lesions as segments of their own, and merged again. No Qt."""

import colorsys
from typing import Any

from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.labels import LABEL_TAG
from medtl.measurement import listed
from medtl.volume import Segment

from ..mrml.boxes import Box, around, within
from ..mrml.editors import open_editor
from ..mrml.pieces import Origin, mark_piece, origin_of, pieces_of
from ..mrml.scene import array_on, check_segmentation, check_volume, geometry_of, labelmap_image
from ..mrml.segments import add, bounds, check_place, put, replace
from ..mrml.tags import MODEL_TAG, tag_of
from . import rejected
from .parts import check_free, parts_of

MOST = 100  # lesions that become segments: with more, Slicer's list of segments is slow


def split(segmentation: Any, volume: Any, segment_id: str, real_spacing: bool = True) -> tuple[str, ...]:
    """Make each listed lesion of a segment a segment of its own, the largest first; their ids.

    They have the segment's terminology and shades of its colour. The segment stays, with the parts that are too small
    to be listed; no model writes into it until `merge`.

    Raises: InputError when it has less than two lesions or too many, or cannot be changed; all is as it was then.
    """
    found = parts_of(segmentation, segment_id, volume)
    check_free(segmentation, [segment_id])
    segments = segmentation.GetSegmentation()
    segment, name = segments.GetSegment(segment_id), segments.GetSegment(segment_id).GetName()
    lesions = listed(found.parts, found.geometry, real_spacing)
    if not 2 <= len(lesions) <= MOST or origin_of(segmentation, segment_id):
        text = _("Expected from 2 to {most} lesions in {name}, found {count}.")
        raise InputError(text.format(most=MOST, name=name, count=len(lesions)))
    origin = Origin(segment_id, name, tag_of(segment, MODEL_TAG), tag_of(segment, LABEL_TAG))
    terminology = tag_of(segment, segment.GetTerminologyEntryTagName())
    open_editor(segmentation)
    added: list[str] = []
    modified = segmentation.StartModify()
    try:
        put(segmentation, segment_id, found.mask & ~found.masked(lesions), found.geometry, found.box)
        for number, lesion in enumerate(lesions, start=1):
            piece = segments.GenerateUniqueSegmentID(f"{segment_id}-{number}")
            colour = shade(segment.GetColor(), number - 1)
            add(segmentation, Segment(1, piece, f"{name} {number}", colour, terminology), "")
            added.append(piece)
            segments.GetSegment(piece).RemoveTag(MODEL_TAG)
            mark_piece(segmentation, piece, origin)
            put(segmentation, piece, found.masked([lesion]), found.geometry, found.box)
            segments.SetSegmentIndex(piece, segments.GetSegmentIndex(segment_id) + number)
    except BaseException:  # also KeyboardInterrupt: the user's voxels are restored first
        for piece in added:
            segments.RemoveSegment(piece)
        replace(segmentation, segment_id, labelmap_image(found.mask, found.geometry, found.box))
        raise
    finally:
        segmentation.EndModify(modified)
    return tuple(added)


def merge(segmentation: Any, volume: Any, segment_id: str) -> None:
    """Put the lesions that were split off a segment back into it, as they are now, with what was rejected in them.
    Where it was removed it is made again.

    Raises: InputError when there are none, or they cannot be changed; all is as it was then.
    """
    check_segmentation(segmentation)
    check_volume(volume)
    pieces, geometry, segments = (
        pieces_of(segmentation, segment_id),
        geometry_of(volume),
        segmentation.GetSegmentation(),
    )
    origin = origin_of(segmentation, pieces[0]) if pieces else None
    if origin is None:
        raise InputError(_("No lesions were split off this segment."))
    there = segments.GetSegment(segment_id) is not None
    check_place(segmentation, (*pieces, segment_id), geometry)
    check_free(segmentation, (*pieces, *([segment_id] if there else [])))
    boxes: list[Box | None] = [bounds(segmentation, each, geometry) for each in (*pieces, segment_id)]
    box = around(boxes, geometry.shape)
    before = array_on(segmentation, segment_id, geometry, box) if there else None
    union = array_on(segmentation, pieces[0], geometry, box) if before is None else before.copy()
    for piece, own in zip(pieces, boxes):
        if own is not None:
            union[within(own, box)] |= array_on(segmentation, piece, geometry, own)
    open_editor(segmentation)
    modified = segmentation.StartModify()
    try:
        if not there:
            _add_again(segmentation, origin, pieces[0])
        put(segmentation, segment_id, union, geometry, box)
    except BaseException:  # as in `split`
        if before is None:
            segments.RemoveSegment(segment_id)
        else:
            replace(segmentation, segment_id, labelmap_image(before, geometry, box))
        raise
    finally:
        segmentation.EndModify(modified)
    lesions = [lesion for each in (segment_id, *pieces) for lesion in rejected.read(segmentation, each)]
    rejected.write(segmentation, segment_id, lesions)
    for piece in pieces:  # not before the union is written and read back
        segments.RemoveSegment(piece)


def _add_again(segmentation: Any, origin: Origin, piece: str) -> None:
    """Add the segment that pieces were split off, with the looks of one of them."""
    like = segmentation.GetSegmentation().GetSegment(piece)
    terminology = tag_of(like, like.GetTerminologyEntryTagName())
    tags = tuple((name, tag) for name, tag in ((MODEL_TAG, origin.model), (LABEL_TAG, origin.label)) if tag)
    add(segmentation, Segment(1, origin.id, origin.name, like.GetColor(), terminology, tags), origin.model)


def shade(colour: tuple[float, float, float], number: int) -> tuple[float, float, float]:
    """A shade of a colour: the first is the colour itself, those that follow differ from their neighbours in hue and
    brightness and stay near it."""
    hue, saturation, value = colorsys.rgb_to_hsv(*colour)
    turn = (0.0, 0.06, -0.06, 0.03, -0.03)[number % 5]
    light = (1.0, 0.75, 0.55)[number // 5 % 3]
    red, green, blue = colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value * light)
    return red, green, blue
