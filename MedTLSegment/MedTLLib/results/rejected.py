"""A rejected lesion, and the tag of its segment that keeps it: JSON, saved with the segmentation. No Qt."""

import base64
import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medtl.errors import InputError, ModelError
from medtl.labels import REJECTED_TAG
from medtl.typed_json import decode
from medtl.volume import Geometry

from ..mrml.boxes import Box, start_of
from ..mrml.states import reference_to
from ..mrml.tags import tag_of
from .parts import index_at

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Rejected:
    """A lesion that was taken out of its segment: bool (Z, Y, X) in a box of the grid, and a place inside it (RAS
    mm)."""

    segmentation: Any  # a vtkWeakReference
    segment_id: str
    geometry: Geometry
    box: Box
    voxels: np.ndarray
    centre: tuple[float, float, float]

    @property
    def ml(self) -> float:
        """Its volume on the volume's grid."""
        return float(np.count_nonzero(self.voxels) * self.geometry.voxel_ml)

    def contains(self, place_ras: tuple[float, float, float]) -> bool:
        """Whether a place (RAS mm) lies inside it."""
        index = index_at(self.geometry, place_ras)[::-1]
        inside = all(part.start <= i < part.stop for part, i in zip(self.box, index))
        return inside and bool(self.voxels[tuple(i - part.start for part, i in zip(self.box, index))])


@dataclass(frozen=True)
class Record:
    """A lesion as the tag stores it: `start` (x, y, z) and `size` of its box, its voxels as packed bits, zlib and
    base64."""

    geometry: Geometry
    start: tuple[int, int, int]
    size: tuple[int, int, int]
    voxels: str
    centre: tuple[float, float, float]


@dataclass(frozen=True)
class TagContent:
    """The contents of the tag."""

    schema: int
    lesions: tuple[Record, ...]


def tag_text(segmentation: Any, segment_id: str) -> str:
    """The tag of the segment, empty where it has none."""
    return tag_of(segmentation.GetSegmentation().GetSegment(segment_id), REJECTED_TAG)


def read(segmentation: Any, segment_id: str) -> tuple[Rejected, ...]:
    """The lesions that the tag of the segment keeps; none where it is damaged or a newer MedTL wrote it."""
    try:
        content: TagContent = decode(TagContent, json.loads(tag_text(segmentation, segment_id) or "{}"), REJECTED_TAG)
        if content.schema != SCHEMA:
            return ()
        return tuple(_rejected(record, segmentation, segment_id) for record in content.lesions)
    except (ValueError, RecursionError, zlib.error, ModelError, InputError):
        return ()


def write(segmentation: Any, segment_id: str, lesions: Iterable[Rejected]) -> None:
    """Keep these lesions, and no others, in the tag of the segment."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    records = tuple(_record(each) for each in lesions)
    if records:
        segment.SetTag(REJECTED_TAG, json.dumps(asdict(TagContent(SCHEMA, records))))
    else:
        segment.RemoveTag(REJECTED_TAG)


def _record(rejected: Rejected) -> Record:
    z, y, x = rejected.voxels.shape
    packed = zlib.compress(np.packbits(rejected.voxels).tobytes(), 9)
    k, j, i = (int(n) for n in start_of(rejected.box))
    return Record(rejected.geometry, (i, j, k), (x, y, z), base64.b64encode(packed).decode("ascii"), rejected.centre)


def _rejected(record: Record, segmentation: Any, segment_id: str) -> Rejected:
    """Raises: ValueError where the record does not fit its grid."""
    ends = [start + size for start, size in zip(record.start, record.size)]
    fits = all(0 <= a < b <= n for a, b, n in zip(record.start, ends, record.geometry.size))
    if not fits or not np.isfinite(record.centre).all():
        raise ValueError
    shape = record.size[::-1]
    count = int(np.prod(shape, dtype=object))
    packed = zlib.decompressobj().decompress(base64.b64decode(record.voxels, validate=True), (count + 7) // 8)
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=count)
    voxels = bits.reshape(shape).astype(bool)
    if not voxels.any() or len(packed) != (count + 7) // 8:
        raise ValueError
    box = tuple(slice(a, b) for a, b in zip(record.start[::-1], ends[::-1]))
    return Rejected(reference_to(segmentation), segment_id, record.geometry, box, voxels, record.centre)  # type: ignore[arg-type]
