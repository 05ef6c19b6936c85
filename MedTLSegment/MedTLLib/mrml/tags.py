"""The tags and ids that MedTL reads of segments in the scene. Their names and the rule are in `medtl.labels`."""

from typing import Any

import vtk

from medtl.errors import ModelError
from medtl.labels import LABEL_TAG, MODEL_TAG, PROTECTED_TAG, SEEDS_TAG, id_of, is_own
from medtl.model.card import ModelCard, load_card
from medtl.model.store import find_model
from medtl.volume import Segment

__all__ = ["LABEL_TAG", "MODEL_TAG", "PROTECTED_TAG", "SEEDS_TAG", "card_of", "described", "own_ids", "tag_of"]


def tag_of(segment: Any, name: str) -> str:
    """The segment's tag, empty where it has none."""
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


def described(segmentation: Any, segment_id: str) -> Segment:
    """The segment as `medtl.labels` takes it: its id, name and MedTL's tags."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    tags = tuple((name, tag) for name in (MODEL_TAG, LABEL_TAG) if (tag := tag_of(segment, name)))
    return Segment(1, segment_id, segment.GetName() or segment_id, tags=tags)


def card_of(segmentation: Any) -> ModelCard | None:
    """The card of the model that made the first predicted segment; None where there is none or it is not installed."""
    segments = segmentation.GetSegmentation()
    names = (tag_of(segments.GetSegment(segment_id), MODEL_TAG) for segment_id in segments.GetSegmentIDs())
    name = next(filter(None, names), "")
    try:
        return load_card(find_model(name)) if name else None
    except ModelError:
        return None


def own_ids(segmentation: Any, card: ModelCard) -> tuple[str, ...]:
    """The ids of the segments that the model wrote and may write again, in the order of its labels."""
    if segmentation is None:
        return ()
    ids = (id_of(card, label.id) for label in card.labels)
    there = (each for each in ids if segmentation.GetSegmentation().GetSegment(each) is not None)
    return tuple(each for each in there if is_own(described(segmentation, each), card.family))
