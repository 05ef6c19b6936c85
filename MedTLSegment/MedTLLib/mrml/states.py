"""Whether nodes were changed while the engine worked. No Qt."""

from typing import Any

import slicer
import vtk


def volume_state(volume: Any) -> tuple[object, ...]:
    """A value that changes with the voxels and the place of a volume, not with its name or display."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    place = tuple(matrix.GetElement(i, j) for i in range(3) for j in range(4))
    return volume.GetImageData().GetMTime() if volume.GetImageData() else 0, place, *_transform_state(volume)


def segmentation_state(node: Any) -> tuple[object, ...]:
    """A value that changes with the voxels, the list of segments and the place of a segmentation, not with names or
    colours."""
    if node is None:
        return ()
    segmentation = node.GetSegmentation()
    kind = segmentation.GetSourceRepresentationName()
    ids = tuple(segmentation.GetSegmentIDs())
    parts = (segmentation.GetSegment(each).GetRepresentation(kind) for each in ids)
    return ids, tuple(part.GetMTime() if part else 0 for part in parts), *_transform_state(node)


def _transform_state(node: Any) -> tuple[object, ...]:
    transform = node.GetParentTransformNode()
    return (transform.GetID(), transform.GetTransformToWorldMTime()) if transform else ()


def reference_to(node: Any) -> Any:
    """A vtkWeakReference to the node: in another scene its ID may belong to another node."""
    reference = vtk.vtkWeakReference()
    reference.Set(node)
    return reference


def node_of(reference: Any) -> Any:
    """The node itself where it is still in the scene, else None."""
    node = reference.Get() if reference else None
    return node if node is not None and node.GetScene() is slicer.mrmlScene else None
