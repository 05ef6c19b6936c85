"""Lesions that the user rejects: they leave their segment, and come back where the user accepts them again. No Qt.

A rejection changes voxels as a brush does, so it is a hand edit: the next prediction keeps these slices, and an open
segment editor's Undo takes it back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
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
from .parts import check_free, index_at, parts_of


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


class Rejections:
    """The lesions that were rejected in this session and can be accepted again."""

    def __init__(self) -> None:
        self._all: list[Rejected] = []
        self._looked: tuple[object, ...] = ()  # the state of the segmentation when its voxels were looked at last

    def of(self, segmentation: Any) -> tuple[Rejected, ...]:
        """Those of a segmentation, in their order, but for those that are there again: an editor's Undo, or a later
        prediction, brings them back."""
        state = (self._all, segmentation_state(segmentation))
        if state != self._looked:
            self._all = [each for each in self._all if node_of(each.segmentation) is not None and not _is_there(each)]
            self._looked = (self._all, segmentation_state(segmentation))
        return tuple(each for each in self._all if node_of(each.segmentation) is segmentation)

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
        rejected = Rejected(
            reference_to(segmentation), segment_id, found.geometry, box, voxels[within(box, found.box)], place_ras
        )
        open_editor(segmentation)
        _write(segmentation, segment_id, found.mask & ~voxels, found.mask, found.geometry, found.box)
        self._all = [*self._all, rejected]
        return rejected

    def accept(self, rejected: Rejected) -> None:
        """Put a lesion back into its segment.

        Raises: InputError when the segment is gone or protected, or cannot be written; all is as it was.
        """
        segmentation, segment_id, geometry = node_of(rejected.segmentation), rejected.segment_id, rejected.geometry
        check_segmentation(segmentation)
        before_box = around([rejected.box, bounds(segmentation, segment_id, geometry)], geometry.shape)
        before = array_on(segmentation, segment_id, geometry, before_box)
        check_place(segmentation, [segment_id], geometry)
        check_free(segmentation, [segment_id])
        open_editor(segmentation)
        after = before.copy()
        after[within(rejected.box, before_box)] |= rejected.voxels
        _write(segmentation, segment_id, after, before, geometry, before_box)
        self._all = [each for each in self._all if each is not rejected]

    def clear(self) -> None:
        """Forget all: the scene is closed."""
        self._all = []


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


def rejected_at(rejected: Iterable[Rejected], place_ras: tuple[float, float, float]) -> Rejected | None:
    """The first of these lesions that contains the place (RAS mm)."""
    return next((each for each in rejected if each.contains(place_ras)), None)


def _is_there(rejected: Rejected) -> bool:
    segmentation, segment_id = node_of(rejected.segmentation), rejected.segment_id
    if segmentation.GetSegmentation().GetSegment(segment_id) is None:
        return True  # with its segment it is gone for good
    now = array_on(segmentation, segment_id, rejected.geometry, rejected.box)
    return bool(now[rejected.voxels].all())


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
