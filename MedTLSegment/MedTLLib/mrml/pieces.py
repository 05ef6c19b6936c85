"""Segments that were split off another one, lesion by lesion: what they were split off, as a tag. No Qt."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.labels import SPLIT_TAG

from .tags import tag_of


@dataclass(frozen=True)
class Origin:
    """The segment that a piece was split off: its id, name, model and label; model and label are empty for a segment of
    the user's."""

    id: str
    name: str
    model: str
    label: str


def origin_of(segmentation: Any, segment_id: str) -> Origin | None:
    """What a segment was split off; None where it was not, or its tag is not one of ours."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    try:
        record = json.loads(tag_of(segment, SPLIT_TAG)) if segment is not None else None
        origin = Origin(**record) if isinstance(record, dict) else None
    except (TypeError, ValueError):  # a tag of another program, or of a later version
        return None
    return origin if origin and all(isinstance(text, str) for text in asdict(origin).values()) else None


def mark_piece(segmentation: Any, segment_id: str, origin: Origin) -> None:
    """State in the segment's tag what it was split off."""
    segmentation.GetSegmentation().GetSegment(segment_id).SetTag(SPLIT_TAG, json.dumps(asdict(origin)))


def pieces_of(segmentation: Any, segment_id: str) -> tuple[str, ...]:
    """Ids of the segments that were split off this one."""
    origins = {each: origin_of(segmentation, each) for each in segmentation.GetSegmentation().GetSegmentIDs()}
    return tuple(each for each, origin in origins.items() if origin is not None and origin.id == segment_id)


def check_whole(segmentation: Any, segment_ids: Iterable[str]) -> None:
    """Raise InputError where lesions of one of these segments of a model were split off: without them it is not the
    label."""
    for segment_id in segment_ids:
        pieces = pieces_of(segmentation, segment_id)
        origin = origin_of(segmentation, pieces[0]) if pieces else None
        if origin is not None and origin.model:
            text = _(
                "Expected the lesions of {name} in one segment, found {count} split off. Press Merge lesions under "
                "Results."
            )
            raise InputError(text.format(name=origin.name, count=len(pieces)))
