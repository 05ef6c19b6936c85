"""Where a prediction may not write: protected segments and the masks of the Segment Editor. No Qt."""

from typing import Any

import numpy as np
import slicer

from medtl.errors import InputError
from medtl.volume import Geometry

from ..mrml.boxes import Box, shape_of
from ..mrml.scene import array_on, check_volume, geometry_of, values_of
from ..mrml.tags import PROTECTED_TAG, tag_of


def protected_segments(segmentation: Any) -> tuple[str, ...]:
    """Ids of the segments with the status Completed or the tag `MedTL.locked` (any value but "" and "0")."""
    segments = segmentation.GetSegmentation()
    return tuple(
        segment_id
        for segment_id in segments.GetSegmentIDs()
        if is_completed(segmentation, segment_id)
        or tag_of(segments.GetSegment(segment_id), PROTECTED_TAG) not in ("", "0")
    )


def is_completed(segmentation: Any, segment_id: str) -> bool:
    """Whether the segment's status is Completed, which only the Segment Editor changes."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    return bool(logic.GetSegmentStatus(segmentation.GetSegmentation().GetSegment(segment_id)) == logic.Completed)


def protect(segmentation: Any, segment_id: str, wanted: bool) -> None:
    """Protect the segment from MedTL by its tag, or no longer."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    if wanted:
        segment.SetTag(PROTECTED_TAG, "1")
    else:
        segment.RemoveTag(PROTECTED_TAG)


def union(segmentation: Any, segment_ids: tuple[str, ...], geometry: Geometry, box: Box) -> np.ndarray:
    """Where any of these segments is in a box of the grid: bool (Z, Y, X)."""
    mask = np.zeros(shape_of(box), dtype=bool)
    for segment_id in segment_ids:
        mask |= array_on(segmentation, segment_id, geometry, box)
    return mask


def outside_editor_masks(
    segmentation: Any, editor: Any | None, own_ids: tuple[str, ...], geometry: Geometry, box: Box, volume: Any
) -> np.ndarray:
    """Voxels in a box of the grid that the masks of the Segment Editor exclude: bool (Z, Y, X).

    No voxel where the editor edits another segmentation.

    As in Slicer, an "outside" area does not exclude the segment that is edited; here these are all of `own_ids`,
    because a prediction writes them together.

    Raises: InputError when the intensity mask is on a volume with another grid.
    """
    blocked = np.zeros(shape_of(box), dtype=bool)
    if editor is None or editor.GetSegmentationNode() is not segmentation:
        return blocked
    nodes, mode = slicer.vtkMRMLSegmentationNode, editor.GetMaskMode()
    everything = tuple(segmentation.GetSegmentation().GetSegmentIDs())
    display = segmentation.GetDisplayNode()
    visible = tuple(i for i in everything if display is not None and display.GetSegmentVisibility(i))
    chosen = tuple(i for i in everything if i == editor.GetMaskSegmentID())
    inside = {
        nodes.EditAllowedInsideAllSegments: everything,
        nodes.EditAllowedInsideVisibleSegments: visible,
        nodes.EditAllowedInsideSingleSegment: chosen,
    }
    outside = {nodes.EditAllowedOutsideAllSegments: everything, nodes.EditAllowedOutsideVisibleSegments: visible}
    if mode in inside:
        blocked = ~union(segmentation, inside[mode], geometry, box)
    elif mode in outside:
        blocked = union(segmentation, tuple(i for i in outside[mode] if i not in own_ids), geometry, box)
    if editor.GetSourceVolumeIntensityMask():
        source = editor.GetSourceVolumeNode() or volume
        check_volume(source)
        if not geometry_of(source).close_to(geometry):
            raise InputError(
                f"Expected the Segment Editor's intensity mask on {volume.GetName()}, found it on {source.GetName()}, "
                "which has another grid. Choose that volume there, or switch the mask off."
            )
        lowest, highest = editor.GetSourceVolumeIntensityMaskRange()
        values = values_of(source.GetImageData())[box]
        blocked |= (values < lowest) | (values > highest)
    return blocked
