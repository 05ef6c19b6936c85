"""Whether a segmentation was drawn or edited by hand, where that is known. No Qt."""

from typing import Any

from medtl.labels import TYPE_TAG, is_by_hand

from ..mrml.pieces import origin_of
from ..mrml.tags import tag_of
from .changes import compared, last_prediction


def edited_segments(segmentation: Any, volume: Any) -> dict[str, bool]:
    """Whether each predicted segment, by id, differs from its last prediction; segments whose prediction is not in the
    scene are absent. Lesions that were split off a segment count as that segment.

    Raises: InputError when the segmentation lies under a transform, or the volume's axes are not at right angles.
    """
    state = last_prediction(segmentation, volume)
    each = compared(state, segmentation) if state is not None else ()
    return {segment_id: bool((before != now).any()) for segment_id, _box, before, now in each}


def by_hand(segmentation: Any, volume: Any) -> str | None:
    """The names of the segments that were drawn or edited by hand, as the scene or their tags tell; empty for none,
    None where it is not known of all.

    Raises: InputError as `edited_segments` does.
    """
    edited, segments = edited_segments(segmentation, volume), segmentation.GetSegmentation()
    names: dict[str, None] = {}
    known = bool(edited) and not any(
        edited[each] for each in edited if segments.GetSegment(each) is None
    )  # none was removed
    for segment_id in segments.GetSegmentIDs():
        segment, origin = segments.GetSegment(segment_id), origin_of(segmentation, segment_id)
        owner = origin.id if origin is not None else segment_id
        if edited.get(owner) or is_by_hand(tag_of(segment, TYPE_TAG)):
            names[origin.name if origin is not None else segment.GetName()] = None
        known &= owner in edited
    return ", ".join(names) or ("" if known else None)
