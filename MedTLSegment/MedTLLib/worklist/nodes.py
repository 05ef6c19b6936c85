"""The nodes of a case: its volumes and its segmentation, read from files, and taken out of the scene again. No Qt.

Images are read as the engine reads them, so a DICOM series needs no database. As Slicer does, a left-handed grid is
counted backwards along z in the scene; results are saved on the grid of the image's file.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from medtl.errors import InputError
from medtl.io.read import read_labelmap, read_volume
from medtl.volume import Geometry, Labelmap, Volume, flipped, reversed_along, reversed_axes
from medtl.worklist.case import ListedCase

from ..mrml.boxes import whole
from ..mrml.scene import free_name, geometry_of, ras_of
from ..mrml.segments import add, new_segmentation, put
from ..mrml.states import node_of, reference_to
from ..mrml.tags import MODEL_TAG
from ..mrml.views import LABEL_MAP
from ..prediction.snapshots import ROLE as SNAPSHOT_ROLE
from ..results import doubt
from ..results.diameter_lines import lines_of
from ..results.volume_table import SEGMENTATION_ROLE, SPACING, table_of

Z = 2


@dataclass(frozen=True)
class CaseNodes:
    """The volumes of a case, one a channel, as weak references, and the grid of the first one's file. `made` are those
    that were loaded for it: others were in the scene before, and stay."""

    volumes: tuple[Any, ...]
    geometry: Geometry
    real_spacing: bool
    made: tuple[bool, ...]
    warnings: tuple[str, ...]

    @property
    def volume(self) -> Any:
        """The first volume; None where it was deleted."""
        return node_of(self.volumes[0])


def load_volumes(case: ListedCase) -> CaseNodes:
    """The volumes of the case: those of the scene that were read from its files, else new ones.

    Raises: InputError when a file cannot be read; no node is left then.
    """
    nodes: list[Any] = []
    made: list[bool] = []
    read: list[Volume] = []
    try:
        for image in case.images:
            volume = read_volume(image, series=case.series or None)
            node = node_of_file(image)
            made.append(node is None)
            nodes.append(node if node is not None else volume_node(volume, _name(case, image)))
            read.append(replace(volume, array=np.zeros(0)))  # the voxels are in the scene
    except InputError:
        remove(node for node, new in zip(nodes, made) if new)
        raise
    warnings = tuple(dict.fromkeys(warning for volume in read for warning in volume.warnings))
    return CaseNodes(tuple(map(reference_to, nodes)), read[0].geometry, read[0].real_spacing, tuple(made), warnings)


def _name(case: ListedCase, image: Path) -> str:
    """What the node is called: the case; of several channels the file, whose name says which it is."""
    return case.name if len(case.files) == 1 else image.name.partition(".")[0]


def volume_node(volume: Volume, name: str) -> Any:
    """A new volume node, right-handed, with what DICOM says about its modality."""
    geometry, axes = right_handed(volume.geometry)
    array = flipped(volume.array, axes)
    node = slicer.util.addVolumeFromArray(array, ras_of(geometry), free_name(slicer.mrmlScene, name))
    if volume.modality:
        items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        item = items.GetItemByDataNode(node) or items.CreateItem(items.GetSceneItemID(), node)
        names = slicer.vtkMRMLSubjectHierarchyConstants
        items.SetItemAttribute(item, names.GetDICOMSeriesModalityAttributeName(), volume.modality)
    return node


def right_handed(geometry: Geometry) -> tuple[Geometry, tuple[int, ...]]:
    """The grid as Slicer keeps it, and the index axes along which it is counted backwards for that."""
    axes = (Z,) if np.linalg.det(geometry.axes) < 0 else ()
    return reversed_along(geometry, axes), axes


def node_of_file(image: Path) -> Any:
    """The volume of the scene that was read from this file; None where there is none."""
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        storage = node.GetStorageNode()
        if storage is None or node.IsA(LABEL_MAP) or not storage.GetFileName():
            continue
        path = Path(storage.GetFileName())
        if path == image or (path.exists() and image.exists() and path.samefile(image)):
            return node
    return None


def file_of(node: Any) -> Path | None:
    """The single file that a volume of the scene was read from; None where there is none, or several."""
    storage = node.GetStorageNode()
    if storage is None or not storage.GetFileName() or storage.GetNumberOfFileNames() > 1:
        return None
    path = Path(storage.GetFileName())
    return path if path.is_file() else None


def turned(labelmap: Labelmap, geometry: Geometry) -> Labelmap:
    """The labelmap on this grid, which is its own or its own counted backwards along some axes.

    Raises: InputError when it is another grid.
    """
    axes = reversed_axes(labelmap.geometry, geometry)
    if axes is None:
        raise InputError(
            f"Expected a segmentation on the grid of its image, found another grid of {labelmap.geometry.size} voxels "
            "(x, y, z). Segment the case again, or resample the segmentation."
        )
    shape = labelmap.array.shape
    places = list(np.unravel_index(labelmap.covered[:, 1], shape))
    for axis in axes:
        places[Z - axis] = shape[Z - axis] - 1 - places[Z - axis]
    covered = np.column_stack([labelmap.covered[:, 0], np.ravel_multi_index(places, shape)])
    return replace(labelmap, array=flipped(labelmap.array, axes), geometry=geometry, covered=covered)


def read_result(path: Path, volume: Any) -> Labelmap:
    """The saved segmentation of a case, on the grid of its volume in the scene.

    Raises: InputError when it cannot be read, or lies on another grid.
    """
    return turned(read_labelmap(path), geometry_of(volume))


def show_saved(labelmap: Labelmap, volume: Any, name: str) -> Any:
    """A new segmentation with the segments of a saved one, their names, colours and tags: SEED marks among them.

    Raises: InputError when it cannot be made; nothing is left then.
    """
    node = new_segmentation(volume, labelmap.geometry, name)
    try:
        for segment in labelmap.segments:
            add(node, segment, dict(segment.tags).get(MODEL_TAG, ""))
            box = whole(labelmap.geometry.shape)
            put(node, segment.id, labelmap.mask(segment.value), labelmap.geometry, box)
    except InputError:
        remove([node])
        raise
    return node


def mark_spacing(segmentation: Any, real_spacing: bool) -> None:
    """Keep with the segmentation that its image states no spacing, where that is so: then there are no mL."""
    if not real_spacing:
        segmentation.SetAttribute(SPACING, "unknown")


def remove(nodes: Iterable[Any]) -> None:
    """Take the nodes out of the scene, with their displays, volume tables, uncertainty, lines of diameters and stored
    predictions."""
    for node in [each for each in nodes if each is not None and each.GetScene() is not None]:
        scene = node.GetScene()
        own = []
        if node.IsA("vtkMRMLDisplayableNode"):
            own += [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        if node.IsA("vtkMRMLStorableNode"):
            own.append(node.GetStorageNode())
        if node.IsA("vtkMRMLSegmentationNode"):
            doubt.remove(node)
            remove(lines_of(node))
            own += [table_of(node), *_snapshots(node)]
        for each in (node, *own):
            if each is not None and each.GetScene() is not None:
                scene.RemoveNode(each)


def _snapshots(segmentation: Any) -> list[Any]:
    count = segmentation.GetNumberOfNodeReferences(SNAPSHOT_ROLE)
    return [segmentation.GetNthNodeReference(SNAPSHOT_ROLE, n) for n in range(count)]


def others(own: Iterable[Any], known: Iterable[str] = ()) -> list[Any]:
    """What the user may miss in the scene besides these nodes: volumes, segmentations, models, markups, transforms and
    tables that are shown in lists, without those whose ids are `known`; not the volume table of a segmentation, nor
    the uncertainty of one of these."""
    there = [node for node in own if node is not None]
    made = [doubt.volume_of(node) for node in there if node.IsA("vtkMRMLSegmentationNode")]
    mine, known = {node.GetID() for node in (*there, *made) if node is not None}, set(known)
    kinds = ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode", "vtkMRMLTransformNode")
    not_data = ("vtkMRMLAbstractViewNode", "vtkMRMLCameraNode", "vtkMRMLSliceNode", "vtkMRMLInteractionNode")
    found: dict[str, Any] = {}
    for kind in kinds:
        for node in slicer.util.getNodesByClass(kind):
            if node.GetHideFromEditors() or node.GetSingletonTag() or any(node.IsA(each) for each in not_data):
                continue
            if node.GetNodeReference(SEGMENTATION_ROLE) is not None:
                continue
            found.setdefault(node.GetID(), node)
    return [node for identity, node in found.items() if identity not in mine and identity not in known]
