"""The tag that holds SEED marks: JSON in each of the model's segments, the first readable one counts. No Qt."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from medtl.errors import InputError, ModelError
from medtl.model.card import ModelCard
from medtl.typed_json import decode
from medtl.volume import Geometry, slice_axis

from ..mrml.tags import SEEDS_TAG, own_ids, tag_of

TAG = SEEDS_TAG
SCHEMA = 1
LIMIT_MM = 1e6  # larger than any scanner


@dataclass(frozen=True)
class Record:
    """A mark as the tag stores it; `centre` is the middle of the slice, LPS mm. `index` is for people who read it."""

    plane: str
    index: int
    centre: tuple[float, float, float]
    time: str
    sha256: str


@dataclass(frozen=True)
class TagContent:
    """The contents of the tag."""

    schema: int
    marks: tuple[Record, ...]


def centre_of(geometry: Geometry, plane: str, k: int) -> tuple[float, float, float]:
    """The middle of slice k, LPS mm."""
    index = (np.array(geometry.size) - 1) / 2
    index[slice_axis(plane, geometry.direction)] = k
    x, y, z = (float(c) for c in (geometry.affine @ (*index, 1.0))[:3])
    return x, y, z


def placed(
    records: Iterable[Record], geometry: Geometry, card: ModelCard
) -> tuple[dict[int, Record], tuple[Record, ...]]:
    """The records on slices of this volume, by slice, and those that are on none."""
    axis, here, elsewhere = slice_axis(card.input.plane, geometry.direction), {}, []
    to_index = np.linalg.inv(geometry.affine)
    for record in records:
        off = (to_index @ (*record.centre, 1.0))[:3] - (np.array(geometry.size) - 1) / 2
        k = round(float(off[axis] + (geometry.size[axis] - 1) / 2))
        off[axis] += (geometry.size[axis] - 1) / 2 - k
        if record.plane == card.input.plane and np.abs(off).max() < 0.1 and 0 <= k < geometry.size[axis]:
            here[k] = record
        else:
            elsewhere.append(record)
    return here, tuple(elsewhere)


def read(segmentation: Any, card: ModelCard) -> tuple[tuple[Record, ...], str]:
    """What the first readable tag lists, and a warning where there are only damaged ones.

    Raises: InputError when a newer MedTL wrote it: it must not be replaced.
    """
    ids = own_ids(segmentation, card)
    tags = [tag_of(segmentation.GetSegmentation().GetSegment(segment_id), TAG) for segment_id in ids]
    return parse(tags, segmentation.GetName() if tags else "")


def parse(tags: Iterable[str], name: str) -> tuple[tuple[Record, ...], str]:
    """What the first readable of the tags lists, and a warning where there are only damaged ones; `name` is that of
    their segmentation.

    Raises: InputError as `read` does.
    """
    warning = ""
    for text in tags:
        if not text:
            continue
        try:
            content = json.loads(text)
            if isinstance(content, dict) and type(content.get("schema")) is int and content["schema"] > SCHEMA:
                raise InputError(
                    _(
                        "A newer version of MedTL wrote the SEED marks of {name}. Update MedTL to use or change them."
                    ).format(name=name)
                )
            listed: TagContent = decode(TagContent, content, TAG)
        except (ValueError, RecursionError, ModelError):
            listed = TagContent(0, ())
        if listed.schema == SCHEMA and all(_is_sound(record) for record in listed.marks):
            return listed.marks, ""
        warning = _("The SEED marks of {name} are damaged and are not used. Mark the slices again.").format(name=name)
    return (), warning


def _is_sound(record: Record) -> bool:
    within = all(abs(c) < LIMIT_MM for c in record.centre)  # not so for NaN
    return within and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record.time, re.ASCII) is not None


def write(segmentation: Any, card: ModelCard, records: tuple[Record, ...]) -> None:
    """Make these the marks, in the tag of each of the model's segments."""
    for segment_id in own_ids(segmentation, card):
        segment = segmentation.GetSegmentation().GetSegment(segment_id)
        if records:
            segment.SetTag(TAG, json.dumps(asdict(TagContent(SCHEMA, records))))
        else:
            segment.RemoveTag(TAG)
