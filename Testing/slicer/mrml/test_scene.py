"""Volume and segmentation nodes against the engine's files, arrays and geometry."""

from types import SimpleNamespace

import numpy as np
import pytest
import slicer
import vtk

from medtl.errors import InputError
from medtl.io.read import read_volume
from medtl.volume import Geometry
from MedTLLib.mrml.scene import (
    add_hidden,
    array_of,
    check_volume,
    facts_of,
    geometry_of,
    labelmap_image,
    place_beside,
    write_volume,
)

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
TURN = np.array([[0.0, -1.0, 0.0], [0.96, 0.0, -0.28], [0.28, 0.0, 0.96]])
DIRECTIONS = {
    "axial": np.eye(3),
    "oblique": TURN,
    "left-handed": TURN @ np.diag([1.0, 1.0, -1.0]),
    "flipped": np.diag([-1.0, 1.0, 1.0]),
    "sagittal": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
}


@pytest.fixture(params=DIRECTIONS.values(), ids=DIRECTIONS.keys())
def geometry(request) -> Geometry:
    return Geometry((7, 6, 5), (0.7, 0.9, 2.5), (-12.5, 33.25, 7.125), tuple(request.param.ravel()))


def volume_node(scene, geometry: Geometry, array: np.ndarray | None = None, name: str = "ct"):
    """A volume made by Slicer's own functions, its matrix from LPS to RAS by hand."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(LPS_TO_RAS @ geometry.affine))
    if array is None:
        array = np.arange(np.prod(geometry.size), dtype=np.int16).reshape(geometry.shape)
    slicer.util.updateVolumeFromArray(node, array)
    return node


def segment_with(scene, mask: np.ndarray, geometry: Geometry):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand")
    node.GetSegmentation().AddEmptySegment("a")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(labelmap_image(mask, geometry), node, "a", logic.MODE_REPLACE)
    return node


def test_the_grid_of_a_node_is_the_engines(scene, geometry):
    assert geometry_of(volume_node(scene, geometry)).distance(geometry) < 1e-9


def test_the_engine_reads_the_volume_that_was_written_voxel_by_voxel(scene, geometry, tmp_path):
    node = volume_node(scene, geometry)
    write_volume(node, tmp_path / "in.nrrd")
    found = read_volume(tmp_path / "in.nrrd")
    assert found.geometry.distance(geometry) < 1e-9
    assert np.array_equal(found.array, slicer.util.arrayFromVolume(node))


def test_slicer_reads_the_volume_that_was_written_in_the_same_place(scene, geometry, tmp_path):
    node = volume_node(scene, geometry)
    write_volume(node, tmp_path / "in.nrrd")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(tmp_path / "in.nrrd"))
    again = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert storage.ReadData(again)
    voxels = {tuple(p.round(4)): v for p, v in zip(*points_and_values(node), strict=True)}
    assert {tuple(p.round(4)): v for p, v in zip(*points_and_values(again), strict=True)} == voxels


def points_and_values(node) -> tuple[np.ndarray, np.ndarray]:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    array = slicer.util.arrayFromVolume(node)
    k, j, i = (index.ravel() for index in np.indices(array.shape))
    points = np.stack([i, j, k, np.ones_like(i)], axis=1) @ slicer.util.arrayFromVTKMatrix(matrix).T
    return points[:, :3] + 0.0, array.ravel()


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_voxels_keep_their_type(scene, kind, tmp_path):
    geometry = Geometry((4, 3, 2), (1.0, 1.0, 3.0))
    array = np.random.default_rng(1).uniform(0, 100, geometry.shape).astype(kind)
    write_volume(volume_node(scene, geometry, array), tmp_path / "in.nrrd")
    found = read_volume(tmp_path / "in.nrrd").array
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


def test_a_file_that_cannot_be_written_is_reported_and_nothing_is_left(scene, tmp_path):
    node = volume_node(scene, Geometry((4, 3, 2)))
    with pytest.raises(InputError, match="does not exist"):
        write_volume(node, tmp_path / "missing" / "in.nrrd")
    assert not list(tmp_path.iterdir())


def test_a_volume_without_voxels_is_refused(scene):
    with pytest.raises(InputError, match="no voxels in empty"):
        check_volume(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    with pytest.raises(InputError, match="found none"):
        check_volume(None)
    deleted = volume_node(scene, Geometry((4, 3, 2)))
    scene.RemoveNode(deleted)
    with pytest.raises(InputError, match="found none"):
        check_volume(deleted)


def test_a_label_map_is_refused_with_what_to_do(scene):
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "mask")
    slicer.util.updateVolumeFromArray(node, np.ones((2, 3, 4), np.uint8))
    with pytest.raises(InputError, match=r"found the label map mask\. Choose the image"):
        check_volume(node)


def test_a_colour_volume_is_refused_with_what_to_do(scene, tmp_path):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 3, 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    with pytest.raises(InputError, match=r"found 3 in photo.*Vector to Scalar Volume"):
        write_volume(node, tmp_path / "in.nrrd")


def test_a_volume_under_a_transform_is_refused_with_what_to_do(scene):
    node = volume_node(scene, Geometry((4, 3, 2)))
    node.SetAndObserveTransformNodeID(scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift").GetID())
    with pytest.raises(InputError, match=r"ct under the transform shift\. Harden"):
        check_volume(node)


def test_facts_without_dicom_are_name_and_grid(scene, geometry):
    facts = facts_of(volume_node(scene, geometry, name="head"))
    assert (facts.name, facts.size, facts.spacing) == ("head", geometry.size, pytest.approx(geometry.spacing))
    assert (facts.modality, facts.description, facts.date, facts.frame) == ("", "", "", "")


def test_a_volume_without_voxels_has_facts_too(scene):
    facts = facts_of(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    assert (facts.name, facts.size) == ("empty", (0, 0, 0))


def test_facts_come_from_the_dicom_database(scene, monkeypatch):
    header = {"0008,0060": "MR", "0008,103e": "t2 flair tra ", "0008,0020": "20210304"}
    asked = []

    def instance_value(uid, tag):
        asked.append(uid)
        return header[tag]

    database = SimpleNamespace(isOpen=True, instanceValue=instance_value)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    node = volume_node(scene, Geometry((4, 3, 2)))
    assert facts_of(node).modality == ""
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    facts = facts_of(node)
    assert (facts.modality, facts.description, facts.date) == ("MR", "t2 flair tra", "2021-03-04")
    assert set(asked) == {"1.2.3"}


def test_without_the_database_modality_and_date_come_from_the_subject_hierarchy(scene):
    node = volume_node(scene, Geometry((4, 3, 2)))
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = items.CreateSubjectItem(items.GetSceneItemID(), "Anon")
    study = items.CreateStudyItem(patient, "Study")
    items.SetItemAttribute(study, "DICOM.StudyDate", "20210304")
    item = items.GetItemByDataNode(node) or items.CreateItem(study, node)
    items.SetItemParent(item, study)
    items.SetItemAttribute(item, "DICOM.Modality", "CT")
    facts = facts_of(node)
    assert (facts.modality, facts.date) == ("CT", "2021-03-04")


def test_the_frame_of_a_sequence_is_named(scene):
    for name in ("vtkMRMLSequenceNode", "vtkMRMLSequenceBrowserNode"):
        scene.RegisterNodeClass(getattr(slicer, name)())
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    sequence.SetIndexType(sequence.NumericIndex)
    frame = slicer.vtkMRMLScalarVolumeNode()
    for time in range(3):
        sequence.SetDataNodeAtValue(frame, str(time))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    shown = volume_node(scene, Geometry((4, 3, 2)), name="shown")
    browser.AddProxyNode(shown, sequence, False)
    browser.SetSelectedItemNumber(1)
    proxy = browser.GetProxyNode(sequence)
    slicer.util.updateVolumeFromArray(proxy, np.zeros((2, 3, 4), np.int16))
    assert facts_of(proxy).frame == "frame 2 of 3"
    assert facts_of(volume_node(scene, Geometry((4, 3, 2)), name="other")).frame == ""


def test_a_segments_array_is_that_of_slicers_own_function(scene, geometry):
    volume = volume_node(scene, geometry)
    mask = np.random.default_rng(2).random(geometry.shape) < 0.3
    node = segment_with(scene, mask, geometry)
    found = array_of(node, "a", volume)
    assert np.array_equal(found, mask)
    assert np.array_equal(found, slicer.util.arrayFromSegmentBinaryLabelmap(node, "a", volume) != 0)


def test_an_empty_segment_is_an_empty_array(scene, geometry):
    node = segment_with(scene, np.zeros(geometry.shape, dtype=bool), geometry)
    assert array_of(node, "a", volume_node(scene, geometry)).sum() == 0
    node.GetSegmentation().AddEmptySegment("b")
    assert array_of(node, "b", volume_node(scene, geometry)).sum() == 0


@pytest.mark.parametrize("shift", [(2, -1, 3), (-3, 4, 0), (40, 0, 0)])
def test_a_segment_that_reaches_beyond_the_volume_is_cut_where_the_volume_ends(scene, geometry, shift):
    start = tuple(geometry.affine @ (*shift, 1.0))[:3]
    moved = Geometry(geometry.size, geometry.spacing, start, geometry.direction)
    mask = np.random.default_rng(3).random(geometry.shape) < 0.5
    expected = np.zeros_like(mask)
    for z, y, x in np.argwhere(mask):
        place = (z + shift[2], y + shift[1], x + shift[0])
        if all(0 <= p < n for p, n in zip(place, mask.shape, strict=True)):
            expected[place] = True
    found = array_of(segment_with(scene, mask, moved), "a", volume_node(scene, geometry))
    assert np.array_equal(found, expected)


def test_a_segment_on_another_grid_is_resampled_as_slicer_does(scene, geometry):
    fine = Geometry(
        tuple(2 * n for n in geometry.size),
        tuple(s / 2 for s in geometry.spacing),
        tuple((geometry.affine @ (-0.25, -0.25, -0.25, 1.0))[:3]),
        geometry.direction,
    )
    mask = np.zeros(geometry.shape, dtype=bool)
    mask[1:4, 2:5, 1:6] = True
    volume = volume_node(scene, geometry)
    node = segment_with(scene, mask.repeat(2, 0).repeat(2, 1).repeat(2, 2), fine)
    found = array_of(node, "a", volume)
    assert np.array_equal(found, slicer.util.arrayFromSegmentBinaryLabelmap(node, "a", volume) != 0)
    assert np.array_equal(found, mask)


def test_segments_that_share_a_layer_are_kept_apart(scene, geometry):
    volume, mask = volume_node(scene, geometry), np.zeros(geometry.shape, dtype=bool)
    mask[1:3, 1:3, 1:3] = True
    node = segment_with(scene, mask, geometry)
    other = np.roll(mask, 2, axis=2)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    node.GetSegmentation().AddEmptySegment("b")
    assert logic.SetBinaryLabelmapToSegment(labelmap_image(other, geometry), node, "b", logic.MODE_REPLACE)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    assert np.array_equal(array_of(node, "a", volume), mask)
    assert np.array_equal(array_of(node, "b", volume), other)


def test_a_segmentation_of_surfaces_is_read_as_slicer_converts_it(scene):
    geometry = Geometry((24, 22, 20), (1.0, 1.1, 1.2), (5.0, 6.0, 7.0), tuple(TURN.ravel()))
    volume, (z, y, x) = volume_node(scene, geometry), np.indices(geometry.shape)
    mask = (x - 12) ** 2 + (y - 11) ** 2 + (z - 9) ** 2 < 49
    node = segment_with(scene, mask, geometry)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.GetSegmentation().RemoveRepresentation("Binary labelmap")
    found = array_of(node, "a", volume)
    assert np.count_nonzero(found ^ mask) < 0.1 * np.count_nonzero(mask)


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
def test_a_segment_whose_axes_run_the_other_way_is_read_exactly(scene, geometry, axes):
    mask = np.random.default_rng(4).random(geometry.shape) < 0.4
    way = np.array([-1.0 if 2 - axis in axes else 1.0 for axis in range(3)])
    corner = [n - 1 if w < 0 else 0 for n, w in zip(geometry.size, way, strict=True)]
    start = tuple((geometry.affine @ (*corner, 1.0))[:3])
    other = Geometry(geometry.size, geometry.spacing, start, tuple((geometry.axes * way).ravel()))
    node = segment_with(scene, np.flip(mask, axes), other)
    assert np.array_equal(array_of(node, "a", volume_node(scene, geometry)), mask)


def test_a_segmentation_under_a_transform_is_read_where_it_is_shown(scene, geometry):
    volume, mask = volume_node(scene, geometry), np.zeros(geometry.shape, dtype=bool)
    mask[1:3, 2:4, 1:4] = True
    node = segment_with(scene, mask, geometry)
    step = (LPS_TO_RAS @ geometry.affine)[:3, 0]  # one voxel along x
    matrix = np.eye(4)
    matrix[:3, 3] = step
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    assert np.array_equal(array_of(node, "a", volume), np.roll(mask, 1, axis=2))


def test_an_unknown_segment_is_named(scene, geometry):
    node = segment_with(scene, np.ones(geometry.shape, dtype=bool), geometry)
    with pytest.raises(InputError, match="segment gone in hand"):
        array_of(node, "gone", volume_node(scene, geometry))


def test_a_node_is_placed_under_the_study_of_the_volume(scene, geometry):
    volume, node = volume_node(scene, geometry), scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = items.CreateStudyItem(items.GetSceneItemID(), "Study")
    items.SetItemParent(items.GetItemByDataNode(volume) or items.CreateItem(study, volume), study)
    place_beside(node, volume)
    assert items.GetItemParent(items.GetItemByDataNode(node)) == study


def test_a_node_is_placed_at_the_top_where_the_volume_is(scene, geometry):
    volume, node = volume_node(scene, geometry), scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    place_beside(node, volume)
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert items.GetItemParent(items.GetItemByDataNode(node)) == items.GetSceneItemID()


def test_a_hidden_node_has_an_item_that_no_tree_shows(scene):
    node = slicer.vtkMRMLSegmentationNode()
    add_hidden(scene, node)
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = items.GetItemByDataNode(node)
    excluded = slicer.vtkMRMLSubjectHierarchyConstants.GetSubjectHierarchyExcludeFromTreeAttributeName()
    assert node.GetHideFromEditors()
    assert items.GetItemAttribute(item, excluded) == "1"
    node.GetSegmentation().AddEmptySegment("a", "a")  # without an item Slicer reports an error: see Testing/host


def test_a_hidden_node_of_a_saved_scene_still_has_its_item(scene, tmp_path):
    node = slicer.vtkMRMLLabelMapVolumeNode()
    slicer.util.updateVolumeFromArray(node, np.ones((2, 3, 4), np.uint8))
    add_hidden(scene, node)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    again = slicer.util.getNodesByClass("vtkMRMLLabelMapVolumeNode")[0]
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    excluded = slicer.vtkMRMLSubjectHierarchyConstants.GetSubjectHierarchyExcludeFromTreeAttributeName()
    assert items.GetItemAttribute(items.GetItemByDataNode(again), excluded) == "1"
