"""A `.seg.nrrd` of ours, read by Slicer's own code, is the segmentation that was written."""

import numpy as np
import pytest
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from medtl.io.write import write_image, write_labelmap
from medtl.volume import Geometry, Labelmap, Segment

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
NEOPLASM = (
    "Segmentation category and type - DICOM master list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^108369006^Neoplasm~^^"
    "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
)
EDEMA = (
    "Segmentation category and type - DICOM master list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^79654002^Edema~^^"
    "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
)
SEGMENTS = (
    Segment(1, "model.tumour", "Tumour (whole)", (0.9, 0.2, 0.1), NEOPLASM, (("MedTL.label", "tumour"),)),
    Segment(
        3,
        "model.oedema",
        "Œdème, left",
        (0.25, 0.5, 0.75),
        EDEMA,
        (("MedTL.label", "oedema"), ("MedTL.model", "model 1.0 sha256:0a1b")),
    ),
)


def turned(x: float, y: float, z: float) -> np.ndarray:
    """A rotation by these angles (radians) about the three axes."""
    cx, cy, cz, sx, sy, sz = *np.cos([x, y, z]), *np.sin([x, y, z])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


GEOMETRIES = {
    "oblique and anisotropic": turned(0.3, -0.2, 0.5),
    "left-handed": turned(0.3, -0.2, 0.5) @ np.diag([1.0, 1.0, -1.0]),
    "sagittal": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
}


@pytest.fixture(params=GEOMETRIES.values(), ids=GEOMETRIES.keys())
def labelmap(request) -> Labelmap:
    """Two labels, values 1 and 3, that no flip or swap of axes leaves alike; they touch no border of the grid."""
    geometry = Geometry((17, 13, 11), (0.7, 0.9, 2.5), (-12.5, 33.25, 7.125), tuple(request.param.ravel()))
    array = np.zeros(geometry.shape, np.uint8)
    array[2:5, 3:7, 4:9] = 1
    array[4, 3, 4:6] = 0
    array[5:9, 8:11, 9:15] = 3
    array[5, 8, 9] = 0
    return Labelmap(array, geometry, SEGMENTS)


@pytest.fixture
def segmentation_node(scene, labelmap, tmp_path):
    """The labelmap written by the engine and read by Slicer."""
    path = tmp_path / "case.seg.nrrd"
    write_labelmap(path, labelmap)
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(node)
    return node


def segments_of(node) -> list:
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]


def tag_of(segment, name: str) -> str | None:
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else None


def label_of(segment: Segment) -> str:
    return dict(segment.tags)["MedTL.label"]


def world_points_of(node, segment_id: str) -> np.ndarray:
    """Where Slicer has the segment's voxels: RAS mm, (n, 3)."""
    image = node.GetBinaryLabelmapInternalRepresentation(segment_id)
    to_world = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(to_world)
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
    k, j, i = np.nonzero(values == node.GetSegmentation().GetSegment(segment_id).GetLabelValue())
    return world_points(slicer.util.arrayFromVTKMatrix(to_world), i + i0, j + j0, k + k0)


def world_points(matrix: np.ndarray, i: np.ndarray, j: np.ndarray, k: np.ndarray) -> np.ndarray:
    return (np.stack([i, j, k, np.ones_like(i)], axis=1) @ matrix.T)[:, :3]


def in_one_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(points.round(3).T)]


def test_slicer_finds_the_segments_by_their_ids_in_the_order_written(segmentation_node):
    assert list(segmentation_node.GetSegmentation().GetSegmentIDs()) == [s.id for s in SEGMENTS]


def test_slicer_shows_the_names_and_colours(segmentation_node):
    for segment, written in zip(segments_of(segmentation_node), SEGMENTS, strict=True):
        assert segment.GetName() == written.name
        assert segment.GetColor() == pytest.approx(written.colour, abs=1e-3)


def test_slicer_reads_the_terminology(segmentation_node):
    for segment, written in zip(segments_of(segmentation_node), SEGMENTS, strict=True):
        found = tag_of(segment, slicer.vtkSegment.GetTerminologyEntryTagName())
        assert found == written.terminology
        entry = slicer.vtkSlicerTerminologyEntry()
        assert slicer.vtkSlicerTerminologiesModuleLogic().DeserializeTerminologyEntry(found, entry)
        assert entry.GetTypeObject().GetCodeMeaning() == {"tumour": "Neoplasm", "oedema": "Edema"}[label_of(written)]


def test_slicer_keeps_every_tag(segmentation_node):
    for segment, written in zip(segments_of(segmentation_node), SEGMENTS, strict=True):
        for name, value in written.tags:
            assert tag_of(segment, name) == value


def test_every_voxel_lies_where_the_volume_has_it(segmentation_node, labelmap):
    for segment in SEGMENTS:
        k, j, i = np.nonzero(labelmap.array == segment.value)
        expected = world_points(LPS_TO_RAS @ labelmap.geometry.affine, i, j, k)
        found = world_points_of(segmentation_node, segment.id)
        assert len(found) == len(expected)
        np.testing.assert_allclose(in_one_order(found), in_one_order(expected), atol=1e-4)


def test_slicer_overlays_the_segments_on_the_volume_voxel_by_voxel(scene, segmentation_node, labelmap, tmp_path):
    path = tmp_path / "image.nrrd"
    numbered = np.arange(labelmap.array.size, dtype=np.int16).reshape(labelmap.array.shape)
    write_image(path, numbered, labelmap.geometry)
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    volume_node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert storage.ReadData(volume_node)
    image = slicer.util.arrayFromVolume(volume_node)
    for segment in SEGMENTS:
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, segment.id, volume_node) != 0
        # Every voxel has its number, so the order in which Slicer keeps slices does not matter.
        assert set(image[mask]) == set(numbered[labelmap.array == segment.value])


def test_slicer_writes_the_segmentation_again_without_loss(scene, segmentation_node, labelmap, tmp_path):
    path = tmp_path / "saved.seg.nrrd"
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.WriteData(segmentation_node)
    again = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(again)
    for segment, written in zip(segments_of(again), SEGMENTS, strict=True):
        assert segment.GetName() == written.name
        assert all(tag_of(segment, name) == value for name, value in written.tags)
        points = world_points_of(again, written.id)
        assert len(points) == np.count_nonzero(labelmap.array == written.value)
