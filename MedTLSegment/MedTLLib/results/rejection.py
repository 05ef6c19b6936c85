"""Lesions that the user rejects: they leave their segment, and come back where the user accepts them again. No Qt.

A rejection changes voxels as a brush does, so it is a hand edit: the next prediction keeps these slices, and an open
segment editor's Undo takes it back.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.labels import has_lesions
from medtl.volume import Geometry

from ..mrml.boxes import Box, around, within
from ..mrml.editors import open_editor
from ..mrml.scene import array_on, check_segmentation, check_volume, geometry_of, labelmap_image
from ..mrml.segments import bounds, check_place, put, replace
from ..mrml.states import node_of, reference_to, segmentation_state
from . import rejected
from .parts import check_free, index_at, parts_of
from .rejected import Rejected


class Rejections:
    """The lesions that were rejected, in this session or an earlier one, and can be accepted again. The tags of the
    segments keep them: here is what was read of these."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[Any, str, tuple[Rejected, ...]]] = {}  # by segment: its segmentation and its tag
        self._looked: tuple[object, ...] = ()  # what was listed, and the segmentation, when voxels were looked at last
        self._gone: tuple[Rejected, ...] = ()  # those of them that were not there

    def of(self, segmentation: Any) -> tuple[Rejected, ...]:
        """Those of a segmentation, in their order, but for those that are there again: an editor's Undo, or a later
        prediction, brings them back."""
        ids = segmentation.GetSegmentation().GetSegmentIDs() if segmentation is not None else ()
        listed = tuple(each for segment_id in ids for each in self._listed(segmentation, segment_id))
        state = (listed, segmentation_state(segmentation))
        if state != self._looked:
            self._looked, self._gone = state, tuple(each for each in listed if not _is_there(each))
        return self._gone

    def _listed(self, segmentation: Any, segment_id: str) -> tuple[Rejected, ...]:
        """What the tag of the segment keeps."""
        text = rejected.tag_text(segmentation, segment_id)
        reference, before, lesions = self._read.get(segment_id, (None, "", ()))
        if node_of(reference) is not segmentation or text != before:
            lesions = rejected.read(segmentation, segment_id)
            self._read[segment_id] = (reference_to(segmentation), text, lesions)
        return lesions

    def _keep(self, segmentation: Any, segment_id: str, lesions: Iterable[Rejected]) -> None:
        """Write the tag of the segment."""
        lesions = tuple(lesions)
        rejected.write(segmentation, segment_id, lesions)
        text = rejected.tag_text(segmentation, segment_id)
        self._read[segment_id] = (reference_to(segmentation), text, lesions)

    def reject(
        self, segmentation: Any, volume: Any, segment_id: str, place_ras: tuple[float, float, float]
    ) -> Rejected:
        """Take the part of the segment at the place (RAS mm) out of it.

        Raises: InputError when there is none, the segment is protected, or it cannot be written; all is as it was.
        """
        found = parts_of(segmentation, segment_id, volume)
        check_free(segmentation, [segment_id])
        part = found.at(place_ras)
        if part is None:
            raise InputError(_("There is no lesion at this place any more. Press Update."))
        voxels = found.masked([part])
        box = around([_box_of(part)], found.geometry.shape)
        lesion = Rejected(
            reference_to(segmentation), segment_id, found.geometry, box, voxels[within(box, found.box)], place_ras
        )
        others = [each for each in self.of(segmentation) if each.segment_id == segment_id]
        open_editor(segmentation)
        _write(segmentation, segment_id, found.mask & ~voxels, found.mask, found.geometry, found.box)
        self._keep(segmentation, segment_id, [*others, lesion])
        return lesion

    def accept(self, lesion: Rejected) -> None:
        """Put a lesion back into its segment.

        Raises: InputError when the segment is gone or protected, or cannot be written; all is as it was.
        """
        segmentation, segment_id, geometry = node_of(lesion.segmentation), lesion.segment_id, lesion.geometry
        check_segmentation(segmentation)
        before_box = around([lesion.box, bounds(segmentation, segment_id, geometry)], geometry.shape)
        before = array_on(segmentation, segment_id, geometry, before_box)
        check_place(segmentation, [segment_id], geometry)
        check_free(segmentation, [segment_id])
        open_editor(segmentation)
        after = before.copy()
        after[within(lesion.box, before_box)] |= lesion.voxels
        _write(segmentation, segment_id, after, before, geometry, before_box)
        listed = self._listed(segmentation, segment_id)
        self._keep(segmentation, segment_id, [each for each in listed if each is not lesion])

    def clear(self) -> None:
        """Forget all: the scene is closed."""
        self._read, self._looked, self._gone = {}, (), ()


def segment_at(segmentation: Any, volume: Any, place_ras: tuple[float, float, float]) -> str | None:
    """The id of the first segment with lesions (`medtl.labels.has_lesions`) that contains the place (RAS mm).

    Raises: InputError when a node lies under a transform or the volume cannot be segmented.
    """
    check_segmentation(segmentation)
    check_volume(volume)
    geometry, segments = geometry_of(volume), segmentation.GetSegmentation()
    z, y, x = (int(n) for n in index_at(geometry, place_ras)[::-1])
    box = (slice(z, z + 1), slice(y, y + 1), slice(x, x + 1))
    if not all(0 <= n < count for n, count in zip((z, y, x), geometry.shape)):
        return None
    return next(
        (
            each
            for each in segments.GetSegmentIDs()
            if has_lesions(each, segments.GetSegment(each).GetName())
            and array_on(segmentation, each, geometry, box).any()
        ),
        None,
    )


def rejected_at(lesions: Iterable[Rejected], place_ras: tuple[float, float, float]) -> Rejected | None:
    """The first of these lesions that contains the place (RAS mm)."""
    return next((each for each in lesions if each.contains(place_ras)), None)


def _is_there(lesion: Rejected) -> bool:
    now = array_on(node_of(lesion.segmentation), lesion.segment_id, lesion.geometry, lesion.box)
    return bool(now[lesion.voxels].all())


def _box_of(voxels: np.ndarray) -> Box:
    (x, y, z), (right, back, up) = voxels.min(axis=0), voxels.max(axis=0) + 1
    return slice(int(z), int(up)), slice(int(y), int(back)), slice(int(x), int(right))


def _write(
    segmentation: Any, segment_id: str, mask: np.ndarray, before: np.ndarray, geometry: Geometry, box: Box
) -> None:
    """Make the mask of a box the segment; where that fails, the one before."""
    modified = segmentation.StartModify()
    try:
        put(segmentation, segment_id, mask, geometry, box)
    except BaseException:  # also KeyboardInterrupt: the user's voxels are restored first
        replace(segmentation, segment_id, labelmap_image(before, geometry, box))
        raise
    finally:
        segmentation.EndModify(modified)
