"""The connected parts of a segment in the scene: the one at a place. No Qt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.measurement import components
from medtl.volume import Geometry

from ..mrml.boxes import Box, start_of
from ..mrml.scene import check_segmentation, check_volume, geometry_of
from ..mrml.segments import check_place, mask_of
from ..prediction.masks import protected_segments


@dataclass(frozen=True)
class Parts:
    """A segment as it is: bool (Z, Y, X) in the box of the grid around it, and the voxels (x, y, z) of each connected
    part, int (n, 3), the largest first."""

    geometry: Geometry
    box: Box
    mask: np.ndarray
    parts: tuple[np.ndarray, ...]

    def masked(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Where these parts are in the box: bool (Z, Y, X)."""
        mask = np.zeros_like(self.mask)
        for part in parts:
            mask[tuple((part - start_of(self.box)[::-1]).T[::-1])] = True
        return mask

    def at(self, place_ras: tuple[float, float, float]) -> np.ndarray | None:
        """The part that contains the place (RAS mm); None where there is none."""
        index = index_at(self.geometry, place_ras)
        return next((part for part in self.parts if (part == index).all(axis=1).any()), None)


def index_at(geometry: Geometry, place_ras: tuple[float, float, float]) -> np.ndarray:
    """The index (x, y, z) of the voxel of the grid that contains the place (RAS mm); it may lie outside."""
    right, anterior, superior = place_ras
    index = np.linalg.inv(geometry.affine) @ (-right, -anterior, superior, 1.0)
    return np.rint(index[:3]).astype(int)


def parts_of(segmentation: Any, segment_id: str, volume: Any) -> Parts:
    """The parts of a segment on the volume's grid.

    Raises: InputError when there is no such segment, it lies on another grid, or a node lies under a transform.
    """
    check_segmentation(segmentation)
    check_volume(volume)
    geometry = geometry_of(volume)
    check_place(segmentation, [segment_id], geometry)
    mask, box = mask_of(segmentation, segment_id, geometry)
    return Parts(geometry, box, mask, tuple(components(mask, start_of(box))))


def check_free(segmentation: Any, segment_ids: Sequence[str]) -> None:
    """Raise InputError when one of these segments is protected: no action of ours changes it then."""
    protected = protected_segments(segmentation)
    for segment_id in segment_ids:
        if segment_id in protected:
            name = segmentation.GetSegmentation().GetSegment(segment_id).GetName()
            text = _("{name} is protected. Untick it under Advanced, Protected, or change its status Completed.")
            raise InputError(text.format(name=name))
