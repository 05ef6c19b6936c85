"""MRML nodes and the engine's files, arrays and geometry. No Qt.

Slicer's frame is RAS, the engine's is LPS: what goes to the engine is in LPS mm, arrays are (Z, Y, X).
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from medtl.errors import InputError
from medtl.gate import evidence, guessed_modality, mismatches
from medtl.io.write import write_whole
from medtl.model.card import ModelCard
from medtl.volume import Geometry

from .boxes import Box, around, box_of, pasted, shape_of, shifted, start_of, whole

NRRD_TYPES = {
    "i1": "int8",
    "u1": "uint8",
    "i2": "int16",
    "u2": "uint16",
    "i4": "int32",
    "u4": "uint32",
    "i8": "int64",
    "u8": "uint64",
    "f4": "float",
    "f8": "double",
}


@dataclass(frozen=True)
class Facts:
    """What is known about a volume: size and spacing are (x, y, z), mm; the date is YYYY-MM-DD. Unknown text is empty.

    `frame` is "frame 3 of 20" where the volume shows one frame of a sequence; `lowest` is the lowest value.
    """

    name: str
    modality: str
    description: str
    date: str
    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    frame: str
    lowest: float

    @property
    def sequence(self) -> str:
        """What tells the sequence: the description, else the name, because a file's name often contains it."""
        return self.description or self.name.replace("_", " ")


def check_volume(node: Any) -> None:
    """Return nothing when the volume can be segmented as it is.

    Raises: InputError when it is no image (see `check_image`) or lies under a transform.
    """
    check_image(node)
    if node.GetParentTransformNode() is not None:
        raise InputError(
            f"Expected a volume in its own place, found {node.GetName()} under the transform "
            f"{node.GetParentTransformNode().GetName()}. Harden the transform on a copy of the volume in the module "
            "Data, or take the volume out of it."
        )


def check_image(node: Any) -> None:
    """Return nothing when the volume can be segmented, under a transform or not.

    Raises: InputError when it is a label map, has no voxels or several values in a voxel.
    """
    if node is None or node.GetScene() is None:
        raise InputError("Expected a volume in the scene, found none. Load one, or choose another as input.")
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(
            f"Expected an image, found the label map {node.GetName()}. Choose the image that it belongs to."
        )
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
        raise InputError(f"Expected an image, found no voxels in {node.GetName()}. Load it again or choose another.")
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise InputError(
            f"Expected one value in each voxel, found {components} in {node.GetName()} (a colour picture?). "
            "Make it grey with the module Vector to Scalar Volume first."
        )


def geometry_of(node: Any) -> Geometry:
    """The grid of a volume node, LPS mm, of size 0 without voxels; parent transforms do not count.

    Raises: InputError when its axes are not at right angles.
    """
    image = node.GetImageData()
    x, y, z = (int(n) for n in image.GetDimensions()) if image else (0, 0, 0)
    sx, sy, sz = (float(s) for s in node.GetSpacing())
    right, anterior, superior = (float(o) for o in node.GetOrigin())
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASDirectionMatrix(matrix)
    sign = (-1.0, -1.0, 1.0)
    direction = tuple(sign[row] * matrix.GetElement(row, column) for row in range(3) for column in range(3))
    return Geometry((x, y, z), (sx, sy, sz), (-right, -anterior, superior), direction)


def facts_of(node: Any) -> Facts:
    """Name, kind, date and grid of a volume node.

    What DICOM says comes from Slicer's DICOM database where the volume's files are in it, else from the subject
    hierarchy, which travels with a saved scene. Where neither knows the modality, the voxels may tell it.

    Raises: InputError when the volume's axes are not at right angles.
    """
    geometry = geometry_of(node)
    modality, description, date = _dicom_values(node)
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = items.GetItemByDataNode(node) if items else 0
    if item:
        names = slicer.vtkMRMLSubjectHierarchyConstants
        modality = modality or items.GetItemAttribute(item, names.GetDICOMSeriesModalityAttributeName())
        date = date or items.GetAttributeFromItemAncestor(item, names.GetDICOMStudyDateAttributeName())
    image = node.GetImageData()
    lowest = float(image.GetScalarRange()[0]) if image is not None else 0.0
    modality = modality or guessed_modality(lowest)
    if len(date) == 8 and date.isdigit():
        date = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    return Facts(node.GetName(), modality, description, date, geometry.size, geometry.spacing, _frame_of(node), lowest)


def mismatches_of(card: ModelCard, facts: Facts, geometry: Geometry | None) -> tuple[str, ...]:
    """The reasons why a volume with these facts does not fit the model; none where it fits.

    The sequence counts where the model has one channel: of several, any may be this volume.
    """
    return mismatches(
        card,
        modality=facts.modality,
        description=facts.sequence if len(card.input.channels) == 1 else "",
        size=facts.size,
        spacing=facts.spacing,
        direction=geometry.direction if geometry else None,
        lowest=facts.lowest,
    )


def evidence_for(card: ModelCard, facts: Facts) -> int:
    """How many of these facts speak for the model."""
    return evidence(card, modality=facts.modality, description=facts.sequence)


def _dicom_values(node: Any) -> tuple[str, str, str]:
    """Modality, series description and study date from the DICOM database, empty where it does not know."""
    database = getattr(slicer, "dicomDatabase", None)
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is None or not database.isOpen or not uids:
        return "", "", ""
    modality, description, date = (
        str(database.instanceValue(uids[0], tag) or "").strip() for tag in ("0008,0060", "0008,103e", "0008,0020")
    )
    return modality, description, date


def _frame_of(node: Any) -> str:
    scene = node.GetScene()
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(number, "vtkMRMLSequenceBrowserNode")
        if browser.GetSequenceNode(node) is not None:
            return f"frame {browser.GetSelectedItemNumber() + 1} of {browser.GetNumberOfItems()}"
    return ""


def write_volume(node: Any, path: Path) -> None:
    """Write the volume as uncompressed NRRD, every voxel and every digit of its geometry as Slicer has them.

    The file is whole or not there at all.

    Raises: InputError when the volume cannot be segmented (see `check_volume`) or the file cannot be written.
    """
    check_volume(node)
    array, geometry = values_of(node.GetImageData()), geometry_of(node)
    columns = (geometry.axes * np.array(geometry.spacing)).T
    header = "\n".join(
        (
            "NRRD0004",
            f"type: {NRRD_TYPES[array.dtype.str[1:]]}",
            "dimension: 3",
            "space: left-posterior-superior",
            f"sizes: {' '.join(str(n) for n in geometry.size)}",
            f"space directions: {' '.join(_vector(column) for column in columns)}",
            "kinds: domain domain domain",
            f"endian: {sys.byteorder}",
            "encoding: raw",
            f"space origin: {_vector(np.array(geometry.origin))}",
        )
    )

    def write(part: Path) -> None:
        with part.open("wb") as file:
            file.write(header.encode("ascii") + b"\n\n")
            file.write(array.data)

    write_whole(path, write)


def _vector(values: np.ndarray) -> str:
    return f"({','.join(repr(float(v)) for v in values)})"


def array_of(segmentation: Any, segment_id: str, volume: Any) -> np.ndarray:
    """Where the segment is, on the volume's grid: bool (Z, Y, X), a new array.

    Raises: InputError when there is no such segment or the volume cannot be segmented (see `check_volume`).
    """
    check_volume(volume)
    return array_on(segmentation, segment_id, geometry_of(volume))


def array_on(segmentation: Any, segment_id: str, geometry: Geometry, box: Box | None = None) -> np.ndarray:
    """Where the segment is, on this grid or in a box of it: bool (Z, Y, X), a new array.

    On a grid that is not the segment's own Slicer resamples it, nearest voxel.

    Raises: InputError when there is no such segment.
    """
    box = box or whole(geometry.shape)
    image = image_of(segmentation, segment_id)
    if image is None:
        return np.zeros(shape_of(box), dtype=bool)
    values_and_start = placed(image, geometry)
    if values_and_start is None:
        resampled = slicer.vtkOrientedImageData()
        resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
        if not resample(image, grid_image(geometry, box), resampled):
            raise InputError(f"Expected a segment that overlaps the volume, found {segment_id} outside it. Move it.")
        values_and_start = values_of(resampled), start_of(box)
    values, start = values_and_start
    return pasted(values != 0, start, box)


def image_of(segmentation: Any, segment_id: str) -> Any:
    """The segment as a vtkOrientedImageData in RAS mm, not 0 inside; None where the segment is empty.

    Raises: InputError when there is no such segment.
    """
    if segmentation.GetSegmentation().GetSegment(segment_id) is None:
        raise InputError(
            f"Expected the segment {segment_id} in {segmentation.GetName()}, found none. Was it deleted? Segment again."
        )
    image, logic = slicer.vtkOrientedImageData(), slicer.vtkSlicerSegmentationsModuleLogic
    if segmentation.GetSegmentation().IsSourceRepresentationImageData():
        # The logic would return the whole layer, with the segments that share it.
        segmentation.GetBinaryLabelmapRepresentation(segment_id, image)
        logic.ApplyParentTransformToOrientedImageData(segmentation, image)
    else:
        logic.GetSegmentBinaryLabelmapRepresentation(segmentation, segment_id, image)
    empty = image.GetPointData().GetScalars() is None or 0 in image.GetDimensions() or not values_of(image).any()
    return None if empty else image


def values_of(image: Any) -> np.ndarray:
    """The voxels (Z, Y, X) of a vtkImageData: a view, not a copy."""
    array: np.ndarray = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    return array


def placed(image: Any, geometry: Geometry) -> tuple[np.ndarray, tuple[int, int, int]] | None:
    """The voxels (Z, Y, X) of a vtkOrientedImageData along the grid's axes, and the grid index (z, y, x) of the first.

    None where its voxels do not coincide with the grid's. Axes may be reversed: Slicer opens a left-handed volume with
    its slices in reverse order, but not a segmentation.
    """
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_grid = np.linalg.inv(ras_of(geometry)) @ slicer.util.arrayFromVTKMatrix(matrix)
    way = np.where(np.diag(to_grid)[:3] < 0, -1, 1)
    extent = np.array(image.GetExtent()).reshape(3, 2)
    first = to_grid @ (*np.where(way < 0, extent[:, 1], extent[:, 0]), 1.0)
    bent = np.abs(to_grid[:3, :3] - np.diag(way)).max() * max(geometry.size)
    if bent > 0.01 or np.abs(first - np.rint(first)).max() > 0.01:
        return None
    x, y, z = (int(n) for n in np.rint(first[:3]))
    return values_of(image)[:: way[2], :: way[1], :: way[0]], (z, y, x)


def ras_of(geometry: Geometry) -> np.ndarray:
    """Index (x, y, z, 1) to RAS mm, float64 (4, 4)."""
    matrix: np.ndarray = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine
    return matrix


def grid_image(geometry: Geometry, box: Box | None = None) -> Any:
    """A vtkOrientedImageData of the grid or a box of it, its voxels not allocated."""
    image = slicer.vtkOrientedImageData()
    z, y, x = box or whole(geometry.shape)
    image.SetExtent(x.start, x.stop - 1, y.start, y.stop - 1, z.start, z.stop - 1)
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(ras_of(geometry)))
    return image


def labelmap_image(mask: np.ndarray, geometry: Geometry, box: Box | None = None) -> Any:
    """The mask (Z, Y, X) of a grid or a box of it as a vtkOrientedImageData, cut to the box around what is set."""
    start = start_of(box) if box else (0, 0, 0)
    used = around([box_of(mask)], mask.shape)  # an empty mask keeps its first voxel: Slicer takes no empty image
    image = grid_image(geometry, shifted(used, start))
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    values_of(image)[:] = mask[used]
    return image


def free_name(scene: Any, name: str) -> str:
    """The name where no node of the scene has it, else a new one made from it; the scene's own way also counts nodes
    that were removed."""
    return name if scene.GetFirstNodeByName(name) is None else str(scene.GenerateUniqueName(name))


def place_beside(node: Any, volume: Any) -> None:
    """Put the node under the volume's parent in the subject hierarchy: its study, or the folder it lies in."""
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    root = items.GetSceneItemID()
    # Slicer's plugins make the items; without a main window there are none.
    volume_item = items.GetItemByDataNode(volume) or items.CreateItem(root, volume)
    item = items.GetItemByDataNode(node) or items.CreateItem(root, node)
    items.SetItemParent(item, items.GetItemParent(volume_item))


def add_hidden(scene: Any, node: Any) -> None:
    """Add the node to the scene, hidden from lists and trees.

    Slicer makes no subject hierarchy item for a node that is hidden, and its plugins report an error for each segment
    without one. So the item is made here and excluded from the tree.
    """
    node.SetHideFromEditors(True)  # before it is added, so that no selector ever lists it
    scene.AddNode(node)
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = items.GetItemByDataNode(node) or items.CreateItem(items.GetSceneItemID(), node)
    names = slicer.vtkMRMLSubjectHierarchyConstants
    items.SetItemAttribute(item, names.GetSubjectHierarchyExcludeFromTreeAttributeName(), "1")


def check_segmentation(node: Any) -> None:
    """Return nothing when the segmentation can be measured on a volume.

    Raises: InputError when there is none, or it lies under a transform.
    """
    if node is None:
        raise InputError("Expected a segmentation, found none. Segment the volume first, or choose one.")
    if node.GetParentTransformNode() is not None:
        raise InputError(
            f"Expected a segmentation in its own place, found {node.GetName()} under the transform "
            f"{node.GetParentTransformNode().GetName()}. Harden the transform in the module Data, or take it out of it."
        )
