"""A prediction in the scene: voxel by voxel where the model put it, and nothing of the user's lost."""

import itertools
from dataclasses import replace

import host
import numpy as np
import pytest
import slicer
import vtk

from medtl.errors import InputError
from medtl.volume import Geometry, Labelmap, Segment
from MedTLLib.mrml import segments
from MedTLLib.mrml.scene import array_of, geometry_of, labelmap_image
from MedTLLib.prediction.writer import PROTECTED_TAG, Options, edited_slices, undo, write

LOGIC = slicer.vtkSlicerSegmentationsModuleLogic
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
TURN = np.array([[0.0, -1.0, 0.0], [0.96, 0.0, -0.28], [0.28, 0.0, 0.96]])
DIRECTIONS = {"oblique": TURN, "left-handed": TURN @ np.diag([1.0, 1.0, -1.0]), "flipped": np.diag([-1.0, 1.0, 1.0])}
NEOPLASM = (
    "Segmentation category and type - DICOM master list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^108369006^Neoplasm~^^"
    "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
)
TAGS = ("MedTL.model", "glioma")
EDEMA = NEOPLASM.replace("SCT^108369006^Neoplasm", "SCT^79654002^Edema")
SEGMENTS = (
    Segment(1, "glioma.core", "Core", (0.9, 0.2, 0.1), NEOPLASM, (("MedTL.label", "core"), TAGS)),
    Segment(4, "glioma.oedema", "Œdema", (0.25, 0.5, 0.75), EDEMA, (("MedTL.label", "oedema"), TAGS)),
)
CORE, OEDEMA = (segment.id for segment in SEGMENTS)


def turned(direction: np.ndarray, size=(10, 9, 8)) -> Geometry:
    return Geometry(size, (0.7, 0.9, 2.5), (-12.5, 33.25, 7.125), tuple(direction.ravel()))


GRID = turned(TURN @ np.diag([1.0, 1.0, -1.0]))


def prediction(geometry: Geometry = GRID, move: int = 0) -> Labelmap:
    """Two labels that no flip or swap of axes leaves alike; `move` shifts them along x."""
    array = np.zeros(geometry.shape, np.uint16)
    array[2:5, 2:6, 1:4] = 1
    array[3, 2, 1] = 0
    array[4:7, 5:8, 4:6] = 4
    array[2, 7, 6] = 4
    return Labelmap(np.roll(array, move, axis=2), geometry, SEGMENTS)


@pytest.fixture
def volume(scene):
    return volume_node(scene)


def volume_node(scene, geometry: Geometry = GRID, name: str = "flair"):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(LPS_TO_RAS @ geometry.affine))
    slicer.util.updateVolumeFromArray(node, np.arange(np.prod(geometry.size), dtype=np.int16).reshape(geometry.shape))
    return node


def node_of(written):
    return slicer.mrmlScene.GetNodeByID(written.segmentation_id)


def voxels(node, segment_id: str, volume) -> np.ndarray:
    """The segment by Slicer's own function, the twin of the one that the writer reads with."""
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume)
    return np.zeros(volume.GetImageData().GetDimensions()[::-1], dtype=bool) if array is None else array != 0


def paint(node, segment_id: str, where, volume, value: bool = True) -> None:
    """What a brush does: these voxels into the segment or out of it."""
    mask = voxels(node, segment_id, volume)
    mask[where] = value
    image = labelmap_image(mask, GRID)
    assert LOGIC.SetBinaryLabelmapToSegment(image, node, segment_id, LOGIC.MODE_REPLACE)


def hand_segment(node, segment_id: str, where, volume) -> None:
    node.GetSegmentation().AddEmptySegment(segment_id, f"My {segment_id}")
    paint(node, segment_id, where, volume)


def state(node, volume) -> dict:
    return {i: voxels(node, i, volume).tobytes() for i in node.GetSegmentation().GetSegmentIDs()}


def tag_of(segment, name: str) -> str | None:
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else None


# A new segmentation


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS.keys())
def test_every_voxel_lies_in_the_world_where_the_model_put_it(scene, direction):
    labelmap = prediction(turned(direction))
    written = write(labelmap, volume_node(scene, labelmap.geometry))
    for segment in SEGMENTS:
        expected = set()
        for z, y, x in np.argwhere(labelmap.array == segment.value):
            left, posterior, superior, _ = labelmap.geometry.affine @ (x, y, z, 1)
            expected.add((round(-left, 3), round(-posterior, 3), round(superior, 3)))
        image = slicer.vtkOrientedImageData()
        node_of(written).GetBinaryLabelmapRepresentation(segment.id, image)
        to_world = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(to_world)
        i0, i1, j0, j1, k0, k1 = image.GetExtent()
        found = set()
        for i, j, k in itertools.product(range(i0, i1 + 1), range(j0, j1 + 1), range(k0, k1 + 1)):
            if image.GetScalarComponentAsDouble(i, j, k, 0):
                found.add(tuple(round(c, 3) for c in to_world.MultiplyPoint((i, j, k, 1))[:3]))
        assert found == expected


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS.keys())
def test_the_overlay_on_the_volume_is_the_engines_array(scene, direction):
    labelmap = prediction(turned(direction))
    volume = volume_node(scene, labelmap.geometry)
    node = node_of(write(labelmap, volume))
    for segment in SEGMENTS:
        assert np.array_equal(voxels(node, segment.id, volume), labelmap.array == segment.value)


def test_the_new_segmentation_has_names_colours_terminology_and_tags(scene, volume):
    written = write(prediction(), volume)
    found = node_of(written).GetSegmentation()
    assert written.segment_ids == tuple(found.GetSegmentIDs()) == (CORE, OEDEMA)
    for expected in SEGMENTS:
        segment = found.GetSegment(expected.id)
        assert segment.GetName() == expected.name
        assert segment.GetColor() == pytest.approx(expected.colour)
        assert tag_of(segment, segment.GetTerminologyEntryTagName()) == expected.terminology
        assert all(tag_of(segment, name) == value for name, value in expected.tags)


def test_the_new_segmentation_shows_outlines_and_lies_beside_the_volume(scene, volume):
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = items.CreateStudyItem(items.GetSceneItemID(), "Study")
    items.SetItemParent(items.GetItemByDataNode(volume) or items.CreateItem(study, volume), study)
    node = node_of(write(prediction(), volume))
    assert not node.GetDisplayNode().GetVisibility2DFill()
    assert node.GetDisplayNode().GetVisibility2DOutline()
    assert items.GetItemParent(items.GetItemByDataNode(node)) == study
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume


def test_each_run_without_a_target_makes_a_segmentation_of_its_own(scene, volume):
    first, second = write(prediction(), volume), write(prediction(move=1), volume, name="again")
    assert first.segmentation_id != second.segmentation_id
    assert node_of(second).GetName() == "again"
    assert np.array_equal(voxels(node_of(first), CORE, volume), prediction().array == 1)


def test_a_tuned_model_writes_the_segments_of_its_family_and_says_that_it_did(scene, volume):
    by = "DICOM.SegmentAlgorithmName"
    older, newer = (
        replace(
            prediction(move=move),
            segments=tuple(replace(segment, tags=(*segment.tags, (by, name))) for segment in SEGMENTS),
        )
        for move, name in ((0, "glioma 1.0"), (1, "glioma-tuned-1 1.0"))
    )
    node = node_of(write(older, volume))
    write(newer, volume, node)
    segmentation = node.GetSegmentation()
    assert tuple(segmentation.GetSegmentIDs()) == (CORE, OEDEMA)
    assert {tag_of(segmentation.GetSegment(each), by) for each in (CORE, OEDEMA)} == {"glioma-tuned-1 1.0"}
    assert np.array_equal(voxels(node, CORE, volume), newer.array == 1)


def test_a_label_that_was_not_found_is_an_empty_segment(scene, volume):
    labelmap = prediction()
    labelmap.array[labelmap.array == 4] = 0
    node = node_of(write(labelmap, volume))
    assert node.GetSegmentation().GetSegment(OEDEMA).GetName() == "Œdema"
    assert not voxels(node, OEDEMA, volume).any()


def test_the_closed_surface_has_the_volume_of_a_ball(scene):
    geometry = Geometry((60, 56, 30), (0.7, 0.75, 1.4), (5.0, 6.0, 7.0), tuple(TURN.ravel()))
    z, y, x = np.indices(geometry.shape)
    ball = ((x - 29.3) * 0.7) ** 2 + ((y - 27.6) * 0.75) ** 2 + ((z - 14.5) * 1.4) ** 2 < 15.0**2
    labelmap = Labelmap(ball.astype(np.uint16), geometry, SEGMENTS[:1])
    node = node_of(write(labelmap, volume_node(scene, geometry)))
    assert node.CreateClosedSurfaceRepresentation()
    surface = vtk.vtkPolyData()
    assert node.GetClosedSurfaceRepresentation(CORE, surface)
    mass = vtk.vtkMassProperties()
    mass.SetInputData(surface)
    assert mass.GetVolume() == pytest.approx(4 / 3 * np.pi * 15.0**3, rel=0.02)


def test_a_surface_that_is_shown_follows_the_next_prediction(scene, volume):
    node = node_of(write(prediction(), volume))
    node.CreateClosedSurfaceRepresentation()
    write(prediction(move=3), volume, node)
    surface, centre = vtk.vtkPolyData(), np.argwhere(prediction(move=3).array == 1).mean(axis=0)[::-1]
    assert node.GetClosedSurfaceRepresentation(CORE, surface)
    expected = LPS_TO_RAS @ GRID.affine @ (*centre, 1)
    assert np.allclose(surface.GetCenter(), expected[:3], atol=1.0)


# What does not fit is refused


def test_a_transformed_volume_is_refused_and_nothing_is_made(scene, volume):
    volume.SetAndObserveTransformNodeID(scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift").GetID())
    with pytest.raises(InputError, match="under the transform"):
        write(prediction(), volume)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_colour_volume_is_refused(scene):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    image = vtk.vtkImageData()
    image.SetDimensions(10, 9, 8)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    with pytest.raises(InputError, match="one value in each voxel"):
        write(prediction(), node)


def test_labels_of_a_volume_that_moved_meanwhile_are_refused(scene, volume):
    volume.SetOrigin(*(o + 0.5 for o in volume.GetOrigin()))
    with pytest.raises(InputError, match="changed or moved"):
        write(prediction(), volume)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS.keys())
def test_labels_of_a_volume_that_is_gone_get_a_segmentation_where_they_are(scene, direction):
    labelmap = prediction(turned(direction))
    written = write(labelmap, None, name="rescued")
    node = node_of(written)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    volume = volume_node(scene, labelmap.geometry)
    for segment in SEGMENTS:
        assert np.array_equal(voxels(node, segment.id, volume), labelmap.array == segment.value)
    assert edited_slices(node, volume, (CORE, OEDEMA)) == ()
    reference = slicer.vtkOrientedImageData()
    text = node.GetSegmentation().GetConversionParameter("Reference image geometry")
    assert slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, reference, False)
    assert reference.GetDimensions() == labelmap.geometry.size
    assert undo(written)[1] == 0


def test_a_segmentation_that_was_deleted_meanwhile_is_refused(scene, volume):
    node = node_of(write(prediction(), volume))
    scene.RemoveNode(node)
    with pytest.raises(InputError, match="found it deleted"):
        write(prediction(), volume, node)
    with pytest.raises(InputError, match="Expected a volume in the scene"):
        write(prediction(), None, scene.AddNewNodeByClass("vtkMRMLSegmentationNode"))


def test_a_segmentation_of_surfaces_is_refused(scene, volume):
    node = node_of(write(prediction(), volume))
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    with pytest.raises(InputError, match="found surfaces"):
        write(prediction(), volume, node)


def test_a_segmentation_under_a_transform_is_refused(scene, volume):
    node = node_of(write(prediction(), volume))
    node.SetAndObserveTransformNodeID(scene.AddNewNodeByClass("vtkMRMLLinearTransformNode").GetID())
    with pytest.raises(InputError, match="under a transform"):
        write(prediction(), volume, node)


def test_a_label_without_a_segment_is_refused(scene, volume):
    labelmap = prediction()
    labelmap.array[0, 0, 0] = 9
    with pytest.raises(InputError, match="a name for every label"):
        write(labelmap, volume)


@pytest.mark.parametrize("model", [None, "another model"])
def test_a_segment_of_the_same_id_that_is_not_the_models_is_never_written(scene, volume, model):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand")
    hand_segment(node, CORE, np.s_[1:3, 1:3, 1:3], volume)
    if model:
        node.GetSegmentation().GetSegment(CORE).SetTag("MedTL.model", model)
    before = state(node, volume)
    with pytest.raises(InputError, match="not the model's in hand"):
        write(prediction(), volume, node)
    assert state(node, volume) == before


def test_a_segment_of_ours_that_reaches_beyond_the_volume_is_not_cut(scene, volume):
    node = node_of(write(prediction(), volume))
    large = turned(TURN @ np.diag([1.0, 1.0, -1.0]), size=(14, 9, 8))
    mask = np.zeros(large.shape, dtype=bool)
    mask[2, 2, 8:13] = True
    assert LOGIC.SetBinaryLabelmapToSegment(labelmap_image(mask, large), node, CORE, LOGIC.MODE_REPLACE)
    with pytest.raises(InputError, match="reaching beyond it"):
        write(prediction(move=1), volume, node, Options(replace_edits=True))
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(CORE, image)
    assert image.GetDimensions() == (5, 1, 1)


# The user's own segments


def test_other_segments_keep_every_voxel_name_and_order(scene, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand")
    hand_segment(node, "mine", np.s_[2:6, 2:8, 1:6], volume)
    before = state(node, volume)
    written = write(prediction(), volume, node)
    assert written.segmentation_id == node.GetID()
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["mine", CORE, OEDEMA]
    assert state(node, volume)["mine"] == before["mine"]
    assert np.array_equal(voxels(node, CORE, volume), prediction().array == 1)


def test_segments_that_share_a_layer_with_ours_keep_every_voxel(scene, volume):
    node = node_of(write(prediction(), volume))
    hand_segment(node, "mine", np.s_[0:8, 0, 0:10], volume)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    before = state(node, volume)["mine"]
    moved = prediction()
    moved.array[...] = np.roll(moved.array, -2, axis=1)
    write(moved, volume, node)
    assert state(node, volume)["mine"] == before
    for segment in SEGMENTS:
        assert np.array_equal(voxels(node, segment.id, volume), moved.array == segment.value)


def test_a_segment_renamed_and_recoloured_by_the_user_stays_so(scene, volume):
    node = node_of(write(prediction(), volume))
    node.GetSegmentation().GetSegment(CORE).SetName("Tumour of Mrs X")
    node.GetSegmentation().GetSegment(CORE).SetColor(0, 1, 0)
    write(prediction(move=1), volume, node)
    assert node.GetSegmentation().GetSegment(CORE).GetName() == "Tumour of Mrs X"
    assert node.GetSegmentation().GetSegment(CORE).GetColor() == (0, 1, 0)


def completed(segment) -> None:
    LOGIC.SetSegmentStatus(segment, LOGIC.Completed)


def locked(segment) -> None:
    segment.SetTag(PROTECTED_TAG, "1")


@pytest.mark.parametrize("protect", [completed, locked])
def test_voxels_of_a_protected_segment_are_left_to_it(scene, volume, protect):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand")
    hand_segment(node, "mine", np.s_[2:5, 2:8, 1:3], volume)
    protect(node.GetSegmentation().GetSegment("mine"))
    mine = voxels(node, "mine", volume)
    written = write(prediction(), volume, node)
    assert np.array_equal(voxels(node, "mine", volume), mine)
    for segment in SEGMENTS:
        assert np.array_equal(voxels(node, segment.id, volume), (prediction().array == segment.value) & ~mine)
    assert written.protected_voxels == np.count_nonzero((prediction().array > 0) & mine) > 0
    assert f"Voxels kept by protected segments: {written.protected_voxels}." in written.warnings


def test_a_segment_that_is_no_longer_protected_is_overlapped(scene, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand")
    hand_segment(node, "mine", np.s_[2:5, 2:8, 1:3], volume)
    node.GetSegmentation().GetSegment("mine").SetTag(PROTECTED_TAG, "0")
    assert write(prediction(), volume, node).protected_voxels == 0


def test_a_protected_segment_of_the_model_is_left_as_it_is(scene, volume):
    node = node_of(write(prediction(), volume))
    completed(node.GetSegmentation().GetSegment(CORE))
    before = state(node, volume)[CORE]
    core = voxels(node, CORE, volume)
    written = write(prediction(move=2), volume, node)
    assert written.segment_ids == (OEDEMA,)
    assert state(node, volume)[CORE] == before
    assert np.array_equal(voxels(node, OEDEMA, volume), (prediction(move=2).array == 4) & ~core)
    assert "Protected segments were left as they are: Core." in written.warnings
    LOGIC.SetSegmentStatus(node.GetSegmentation().GetSegment(CORE), LOGIC.InProgress)
    assert edited_slices(node, volume, (CORE, OEDEMA)) == ()


# The Segment Editor's masks


@pytest.fixture
def masked(scene, volume):
    """A segmentation with a prediction and two segments of the user, one hidden, and the editor's node on it."""
    node = node_of(write(prediction(), volume))
    hand_segment(node, "mine", np.s_[2:5, 0:4, 0:5], volume)
    hand_segment(node, "hidden", np.s_[4:8, 4:9, 3:10], volume)
    node.GetDisplayNode().SetSegmentVisibility("hidden", False)
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetAndObserveSegmentationNode(node)
    editor.SetAndObserveSourceVolumeNode(volume)
    return node, editor


MODES = [name for name in dir(slicer.vtkMRMLSegmentationNode) if name.startswith("EditAllowed") and "_" not in name]


@pytest.mark.parametrize("mode", MODES)
def test_the_editable_area_is_slicers(scene, volume, masked, mode):
    node, editor = masked
    value = getattr(slicer.vtkMRMLSegmentationNode, mode)
    editor.SetMaskMode(value)
    editor.SetMaskSegmentID("mine")
    only = Labelmap(np.where(prediction(move=2).array == 1, 1, 0).astype(np.uint16), GRID, SEGMENTS[:1])
    old = voxels(node, CORE, volume)
    # Slicer's own mask, not 0 where nothing may be edited.
    image = labelmap_image(np.ones(GRID.shape, dtype=bool), GRID)
    mask = slicer.vtkOrientedImageData()
    node.GenerateEditMask(mask, value, image, CORE, "mine")
    assert mask.GetDimensions() == GRID.size
    barred = vtk.util.numpy_support.vtk_to_numpy(mask.GetPointData().GetScalars()).reshape(GRID.shape) != 0
    others = {i: s for i, s in state(node, volume).items() if i != CORE}
    written = write(only, volume, node, Options(editor_node=editor))
    assert np.array_equal(voxels(node, CORE, volume), np.where(barred, old, only.array == 1))
    assert {i: s for i, s in state(node, volume).items() if i != CORE} == others
    assert any("masks" in warning for warning in written.warnings) == bool(((only.array == 1) != old)[barred].any())


def test_segments_of_one_prediction_do_not_bar_each_other(scene, volume, masked):
    node, editor = masked
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    for name in ("mine", "hidden"):
        node.GetSegmentation().RemoveSegment(name)
    swapped = prediction()
    swapped.array[...] = np.array([0, 4, 0, 0, 1])[swapped.array]
    write(swapped, volume, node, Options(editor_node=editor))
    for segment in SEGMENTS:
        assert np.array_equal(voxels(node, segment.id, volume), swapped.array == segment.value)


def test_the_intensity_mask_bars_what_lies_outside_its_range(scene, volume, masked):
    node, editor = masked
    editor.SetSourceVolumeIntensityMask(True)
    intensity = slicer.util.arrayFromVolume(volume)
    lowest, highest = np.sort(intensity[(prediction(move=2).array == 1) & (prediction().array == 0)])[[3, -4]]
    editor.SetSourceVolumeIntensityMaskRange(lowest, highest)  # both ends belong to it
    barred = (intensity < lowest) | (intensity > highest)
    old = {segment.id: voxels(node, segment.id, volume) for segment in SEGMENTS}
    written = write(prediction(move=2), volume, node, Options(editor_node=editor))
    for segment in SEGMENTS:
        expected = np.where(barred, old[segment.id], prediction(move=2).array == segment.value)
        assert np.array_equal(voxels(node, segment.id, volume), expected)
    assert any("masks" in warning for warning in written.warnings)


def test_voxels_of_a_kept_slice_are_not_said_to_be_masked(scene, volume, masked):
    node, editor = masked
    paint(node, CORE, np.s_[2, 0, 0], volume)
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(3 * 90, 8 * 90)  # from slice 3 on; there is nothing below slice 2
    written = write(prediction(move=2), volume, node, Options(editor_node=editor))
    assert written.warnings == ("Slices that you edited were kept: 1.",)


def test_an_intensity_mask_on_another_grid_is_refused_and_nothing_changes(scene, volume, masked):
    node, editor = masked
    editor.SetAndObserveSourceVolumeNode(volume_node(scene, turned(np.eye(3)), "t1"))
    editor.SetSourceVolumeIntensityMask(True)
    before = state(node, volume)
    with pytest.raises(InputError, match="found it on t1"):
        write(prediction(move=2), volume, node, Options(editor_node=editor))
    assert state(node, volume) == before


def test_masks_of_an_editor_that_edits_another_segmentation_do_not_count(scene, volume, masked):
    _, editor = masked
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    node = node_of(write(prediction(), volume, options=Options(editor_node=editor)))
    assert np.array_equal(voxels(node, CORE, volume), prediction().array == 1)


# Hand edits


def test_nothing_counts_as_edited_after_a_prediction(scene, volume):
    written = write(prediction(), volume)
    assert edited_slices(node_of(written), volume, written.segment_ids) == ()


def test_painted_and_erased_slices_are_found(scene, volume):
    written = write(prediction(), volume)
    node = node_of(written)
    paint(node, CORE, np.s_[0, 0, 0], volume)
    paint(node, OEDEMA, np.s_[6, 5, 4], volume, value=False)
    hand_segment(node, "mine", np.s_[7, 0, 0], volume)
    assert edited_slices(node, volume, written.segment_ids) == (0, 6)
    assert edited_slices(node, volume, (OEDEMA, "gone")) == (6,)


def test_edited_slices_keep_every_voxel_in_the_second_run_and_in_the_third(scene, volume):
    node = node_of(write(prediction(), volume))
    paint(node, CORE, np.s_[3, 0:2, 7:9], volume)
    paint(node, CORE, np.s_[4, 2:5, :], volume, value=False)
    for move in (1, 2):
        mine = {segment.id: voxels(node, segment.id, volume) for segment in SEGMENTS}
        written = write(prediction(move=move), volume, node)
        assert written.kept_slices == (3, 4)
        assert "Slices that you edited were kept: 2." in written.warnings
        for segment in SEGMENTS:
            expected = prediction(move=move).array == segment.value
            expected[[3, 4]] = mine[segment.id][[3, 4]]
            assert np.array_equal(voxels(node, segment.id, volume), expected)
        assert edited_slices(node, volume, written.segment_ids) == (3, 4)


def test_edits_are_replaced_when_the_user_wants_it(scene, volume):
    node = node_of(write(prediction(), volume))
    paint(node, CORE, np.s_[3, 0:2, 7:9], volume)
    written = write(prediction(move=1), volume, node, Options(replace_edits=True))
    assert written.kept_slices == ()
    assert np.array_equal(voxels(node, CORE, volume), prediction(move=1).array == 1)
    assert edited_slices(node, volume, written.segment_ids) == ()


def test_edits_that_a_mask_spared_still_count_when_the_mask_is_gone(scene, volume):
    node = node_of(write(prediction(), volume))
    paint(node, CORE, np.s_[7, 0, 0], volume)
    hand_segment(node, "mine", np.s_[7, 0, 0], volume)
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetAndObserveSegmentationNode(node)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    write(prediction(), volume, node, Options(replace_edits=True, editor_node=editor))
    assert edited_slices(node, volume, (CORE,)) == (7,)


def test_when_the_last_prediction_is_lost_everything_counts_as_edited(scene, volume):
    node = node_of(write(prediction(), volume))
    for snapshot in snapshots(scene):
        scene.RemoveNode(snapshot)
    before = state(node, volume)
    written = write(prediction(move=1), volume, node)
    assert written.kept_slices == (2, 3, 4, 5, 6)
    assert any("The last prediction is no longer in this scene" in warning for warning in written.warnings)
    assert state(node, volume) == before
    assert edited_slices(node, volume, (CORE, OEDEMA)) == (2, 3, 4, 5, 6)


def test_a_last_prediction_on_another_grid_counts_as_lost(scene, volume):
    node = node_of(write(prediction(), volume))
    (snapshot,) = snapshots(scene)
    snapshot.SetOrigin(0, 0, 0)
    assert edited_slices(node, volume, (CORE,)) == (2, 3, 4)


def test_each_model_has_its_own_last_prediction(scene, volume):
    other = Segment(1, "other.core", "Core 2", tags=(("MedTL.model", "other"),))
    node = node_of(write(prediction(), volume))
    write(Labelmap(np.where(prediction(move=1).array > 0, 1, 0).astype(np.uint16), GRID, (other,)), volume, node)
    assert edited_slices(node, volume, (CORE, OEDEMA, "other.core")) == ()
    paint(node, CORE, np.s_[0, 0, 0], volume)
    assert edited_slices(node, volume, (OEDEMA, "other.core")) == ()
    assert edited_slices(node, volume, (CORE,)) == (0,)


def test_the_last_predictions_are_hidden_small_and_few(scene, volume):
    node = node_of(write(prediction(), volume))
    for move in range(9):
        write(prediction(move=move % 2), volume, node)
    assert len(snapshots(scene)) == 6
    for snapshot in snapshots(scene):
        assert snapshot.GetHideFromEditors()
        assert snapshot.GetImageData().GetDimensions() == (6, 6, 5)  # not the whole grid: there may be many


def test_a_copied_segmentation_does_not_disturb_the_original(scene, volume):
    node = node_of(write(prediction(), volume))
    copy = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "copy")
    copy.Copy(node)
    write(prediction(move=1), volume, copy)
    assert edited_slices(node, volume, (CORE, OEDEMA)) == ()
    assert edited_slices(copy, volume, (CORE, OEDEMA)) == ()


def test_what_a_deleted_segmentation_left_goes_with_the_next_prediction(scene, volume):
    scene.RemoveNode(node_of(write(prediction(), volume)))
    write(prediction(), volume)
    assert len(snapshots(scene)) == 1


def snapshots(scene) -> list:
    count = scene.GetNumberOfNodesByClass("vtkMRMLLabelMapVolumeNode")
    return [scene.GetNthNodeByClass(n, "vtkMRMLLabelMapVolumeNode") for n in range(count)]


@pytest.mark.parametrize("seed", range(8))
def test_any_sequence_of_predictions_paint_and_undo_is_that_of_the_rule_voxel_by_voxel(scene, seed):
    random = np.random.default_rng(seed)
    grid = turned(TURN, size=(4, 3, 5))
    volume = volume_node(scene, grid)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand")
    node.GetSegmentation().AddEmptySegment("locked")
    locked(node.GetSegmentation().GetSegment("locked"))
    now = {name: np.zeros(grid.shape, dtype=bool) for name in ("locked", CORE, OEDEMA)}
    snap = {CORE: now[CORE].copy(), OEDEMA: now[OEDEMA].copy()}
    done = []
    for _ in range(8):
        for name in random.choice(list(now), size=2):
            if node.GetSegmentation().GetSegment(name):
                brush = random.random(grid.shape) < 0.02
                now[name] ^= brush
                image = labelmap_image(now[name], grid)
                assert LOGIC.SetBinaryLabelmapToSegment(image, node, name, LOGIC.MODE_REPLACE)
        if done and random.random() < 0.4:
            written, changed, snap = done.pop()
            counts = [0, 0]
            for name, z, y, x, value in changed:
                touched = bool(now[name][z, y, x] != value)
                counts[touched] += 1
                if not touched:
                    now[name][z, y, x] = not value
            assert undo(written) == tuple(counts)
        else:
            labels = random.choice([0, 0, 0, 1, 4], size=grid.shape).astype(np.uint16)
            edited = [k for k in range(5) if any((now[name][k] != snap[name][k]).any() for name in snap)]
            before, changed = {name: array.copy() for name, array in snap.items()}, []
            for (z, y, x), (value, name) in itertools.product(np.ndindex(labels.shape), [(1, CORE), (4, OEDEMA)]):
                wanted = bool(labels[z, y, x] == value and not now["locked"][z, y, x])
                if z not in edited:
                    if now[name][z, y, x] != wanted:
                        changed.append((name, z, y, x, wanted))
                    now[name][z, y, x] = snap[name][z, y, x] = wanted
            written = write(Labelmap(labels, grid, SEGMENTS), volume, node)
            assert written.kept_slices == tuple(edited)
            done.append((written, changed, before))
        for name, array in now.items():
            there = node.GetSegmentation().GetSegment(name) is not None
            assert np.array_equal(voxels(node, name, volume) if there else np.zeros(grid.shape, dtype=bool), array)


# Reading back


@pytest.fixture
def broken_writer(monkeypatch):
    """Slicer writes one voxel too many into the segment named last, and says nothing."""

    def break_at(segment_id):
        plain, calls = segments.replace, []

        def replace(segmentation, written_id, image):
            plain(segmentation, written_id, image)
            if written_id == segment_id and not calls:
                calls.append(written_id)
                paint(segmentation, written_id, np.s_[7, 8, 9], volume_node(slicer.mrmlScene, name="other"))

        monkeypatch.setattr(segments, "replace", replace)

    return break_at


def test_a_mismatch_after_writing_is_an_error_and_everything_is_as_before(scene, volume, broken_writer):
    node = node_of(write(prediction(), volume))
    hand_segment(node, "mine", np.s_[2:5, 2:8, 1:3], volume)
    paint(node, CORE, np.s_[0, 0, 0], volume)
    before, snapshot = state(node, volume), snapshots(scene)
    broken_writer(OEDEMA)
    with pytest.raises(InputError, match=rf"{OEDEMA} as it was written, found 1 other voxels"):
        write(prediction(move=1), volume, node)
    assert state(node, volume) == before
    assert snapshots(scene) == snapshot
    assert edited_slices(node, volume, (CORE, OEDEMA)) == (0,)


def test_segments_that_were_added_go_after_a_mismatch(scene, volume, broken_writer):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand")
    hand_segment(node, "mine", np.s_[2:5, 2:8, 1:3], volume)
    before = state(node, volume)
    broken_writer(OEDEMA)
    with pytest.raises(InputError, match="other voxels"):
        write(prediction(), volume, node)
    assert state(node, volume) == before


def test_a_new_segmentation_goes_after_a_mismatch(scene, volume, broken_writer):
    broken_writer(CORE)
    with pytest.raises(InputError, match="other voxels"):
        write(prediction(), volume)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode") == 0


# Undo


def test_undo_takes_the_prediction_away_and_leaves_the_paint(scene, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand")
    hand_segment(node, "mine", np.s_[2:5, 2:8, 1:3], volume)
    mine = state(node, volume)["mine"]
    written = write(prediction(), volume, node)
    paint(node, CORE, np.s_[0, 0, 0:3], volume)
    paint(node, CORE, np.s_[2, 2, 1], volume, value=False)
    size = np.count_nonzero(prediction().array)
    assert undo(written) == (size - 1, 1)
    expected = np.zeros(GRID.shape, dtype=bool)
    expected[0, 0, 0:3] = True
    assert np.array_equal(voxels(node, CORE, volume), expected)
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["mine", CORE]  # what is empty again is gone
    assert state(node, volume)["mine"] == mine


def test_undo_of_the_second_prediction_brings_back_the_first_with_its_edits(scene, volume):
    first = write(prediction(), volume)
    node = node_of(first)
    paint(node, CORE, np.s_[3, 0:2, 7:9], volume)
    before = state(node, volume)
    second = write(prediction(move=1), volume, node)
    with pytest.raises(InputError, match="Undo that one first"):
        undo(first)
    assert undo(second)[1] == 0
    assert state(node, volume) == before
    assert edited_slices(node, volume, (CORE, OEDEMA)) == (3,)
    undo(first)
    assert list(node.GetSegmentation().GetSegmentIDs()) == [CORE]
    assert np.argwhere(voxels(node, CORE, volume)).tolist() == [[3, 0, 7], [3, 0, 8], [3, 1, 7], [3, 1, 8]]


def test_undo_of_a_prediction_that_made_the_segmentation_leaves_nothing(scene, volume):
    written = write(prediction(), volume)
    assert undo(written) == (np.count_nonzero(prediction().array), 0)
    for name in ("Segmentation", "SegmentationDisplay", "LabelMapVolume"):
        assert scene.GetNumberOfNodesByClass(f"vtkMRML{name}Node") == 0
    with pytest.raises(InputError, match="nothing to undo"):
        undo(written)


def test_undo_works_when_the_volume_is_gone(scene, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand")
    hand_segment(node, "mine", np.s_[2:5, 2:8, 1:3], volume)
    written = write(prediction(), volume, node)
    scene.RemoveNode(volume)
    assert undo(written)[1] == 0
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["mine"]


def test_undo_says_why_when_a_segment_was_deleted(scene, volume):
    written = write(prediction(), volume)
    node_of(written).GetSegmentation().RemoveSegment(OEDEMA)
    before = state(node_of(written), volume)
    with pytest.raises(InputError, match=rf"the segment {OEDEMA}.*found it deleted"):
        undo(written)
    assert state(node_of(written), volume) == before


def test_undo_says_why_when_the_scene_was_closed(scene, volume):
    written = write(prediction(), volume)
    scene.Clear(True)
    with pytest.raises(InputError, match="found it deleted"):
        undo(written)


@pytest.mark.parametrize("segment_id", [CORE, OEDEMA])
def test_an_undo_that_is_read_back_wrong_is_an_error_and_changes_nothing(scene, volume, broken_writer, segment_id):
    written = write(prediction(), volume)
    before = state(node_of(written), volume)
    broken_writer(segment_id)
    with pytest.raises(InputError, match="found 1 other voxels"):
        undo(written)
    assert state(node_of(written), volume) == before
    assert undo(written)[1] == 0


def test_undo_leaves_a_segment_that_was_completed_since(scene, volume):
    written = write(prediction(), volume)
    node = node_of(written)
    completed(node.GetSegmentation().GetSegment(CORE))
    core = state(node, volume)[CORE]
    assert undo(written)[1] == np.count_nonzero(prediction().array == 1)
    assert state(node, volume) == {CORE: core}


def test_the_segment_editors_own_undo_takes_away_exactly_the_prediction(scene, volume):
    node = node_of(write(prediction(), volume))
    hand_segment(node, "mine", np.s_[2:5, 2:8, 1:3], volume)
    paint(node, CORE, np.s_[0, 0, 0:3], volume)
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(node.GetSegmentation())
    before = state(node, volume)
    assert history.SaveState()
    write(prediction(move=1), volume, node)
    after = state(node, volume)
    assert history.RestorePreviousState()
    assert state(node, volume) == before
    assert history.RestoreNextState()
    assert state(node, volume) == after


@pytest.fixture
def editor(scene, volume):
    """A segmentation with a prediction and the history of the Segment Editor that has it open."""
    node = node_of(write(prediction(), volume, name="result"))
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(node.GetSegmentation())
    return node, history


def assert_written(written, node, volume, labelmap, kept=()):
    assert written.kept_slices == kept
    rest = [k for k in range(GRID.size[2]) if k not in kept]
    for segment in SEGMENTS:
        assert np.array_equal(voxels(node, segment.id, volume)[rest], (labelmap.array == segment.value)[rest])


def test_what_the_segment_editors_undo_brings_back_is_no_edit(volume, editor):
    node, history = editor
    history.SaveState()
    write(prediction(move=1), volume, node)
    assert history.RestorePreviousState()
    assert edited_slices(node, volume, (CORE, OEDEMA)) == ()
    assert_written(write(prediction(move=3), volume, node), node, volume, prediction(move=3))


def test_paint_counts_before_and_after_the_segment_editors_undo(volume, editor):
    node, history = editor
    paint(node, CORE, np.s_[0, 0, 0], volume)
    history.SaveState()
    write(prediction(move=1), volume, node)
    assert history.RestorePreviousState()
    paint(node, CORE, np.s_[4, 0, 0], volume)
    before = voxels(node, CORE, volume)
    written = write(prediction(move=3), volume, node)
    assert_written(written, node, volume, prediction(move=3), kept=(0, 4))
    assert np.array_equal(voxels(node, CORE, volume)[[0, 4]], before[[0, 4]])
    assert edited_slices(node, volume, (CORE, OEDEMA)) == (0, 4)


def test_a_slice_made_as_an_older_prediction_had_it_is_an_edit(volume, editor):
    node, _ = editor
    write(prediction(move=1), volume, node)
    for segment in SEGMENTS:
        paint(node, segment.id, 3, volume, value=False)
        paint(
            node,
            segment.id,
            prediction().array == np.where(np.arange(8) == 3, segment.value, 99)[:, None, None],
            volume,
        )
    assert edited_slices(node, volume, (CORE, OEDEMA)) == (3,)


def test_what_our_undo_took_back_and_the_editors_brings_again_is_no_edit(volume, editor):
    node, history = editor
    written = write(prediction(move=1), volume, node)
    history.SaveState()
    undo(written)
    assert edited_slices(node, volume, (CORE, OEDEMA)) == ()
    assert history.RestorePreviousState()
    assert edited_slices(node, volume, (CORE, OEDEMA)) == ()
    assert_written(write(prediction(move=3), volume, node), node, volume, prediction(move=3))


def test_the_first_prediction_taken_back_and_brought_again_is_no_edit(scene, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand")
    hand_segment(node, "mine", np.s_[0, 0, 0], volume)
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(node.GetSegmentation())
    written = write(prediction(), volume, node)
    paint(node, CORE, np.s_[7, 0, 0], volume)
    history.SaveState()
    undo(written)
    assert edited_slices(node, volume, (CORE, OEDEMA)) == (7,)
    assert history.RestorePreviousState()
    assert edited_slices(node, volume, (CORE, OEDEMA)) == (7,)
    assert_written(write(prediction(move=3), volume, node), node, volume, prediction(move=3), kept=(7,))


def test_after_the_first_prediction_was_taken_back_an_emptied_slice_is_an_edit_again(scene, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand")
    hand_segment(node, "mine", np.s_[0, 0, 0], volume)
    undo(write(prediction(), volume, node))
    write(prediction(move=1), volume, node)
    for segment in SEGMENTS:
        paint(node, segment.id, np.s_[:], volume, value=False)
    assert edited_slices(node, volume, (CORE, OEDEMA)) == (2, 3, 4, 5, 6)


@pytest.mark.parametrize("direction", [TURN, TURN @ np.diag([1.0, 1.0, -1.0])])
def test_older_predictions_are_known_when_the_scene_is_opened_again(scene, tmp_path, direction):
    geometry = turned(direction)
    volume = volume_node(scene, geometry)
    node = node_of(write(prediction(geometry), volume, name="result"))
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(node.GetSegmentation())
    history.SaveState()
    write(prediction(geometry, move=1), volume, node)
    assert history.RestorePreviousState()
    assert scene.WriteToMRB(str(tmp_path / "case.mrb"))
    opened = host.new_scene()
    assert opened.ReadFromMRB(str(tmp_path / "case.mrb"), True)
    node, volume = (opened.GetFirstNodeByName(name) for name in ("result", "flair"))
    again = prediction(geometry_of(volume), move=3)
    assert_written(write(again, volume, node), node, volume, again)


def test_undo_finds_its_voxels_when_something_was_painted_beyond_them(scene, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand")
    written = write(prediction(), volume, node)
    for corner in (np.s_[0, 0, 0], np.s_[7, 8, 9]):
        paint(node, CORE, corner, volume)
    assert undo(written) == (np.count_nonzero(prediction().array), 0)
    assert np.argwhere(voxels(node, CORE, volume)).tolist() == [[0, 0, 0], [7, 8, 9]]


# Saving


def test_names_colours_terminology_and_voxels_survive_a_seg_nrrd(scene, volume, tmp_path):
    node = node_of(write(prediction(), volume))
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "case.seg.nrrd"))
    assert storage.WriteData(node)
    again = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "again")
    assert storage.ReadData(again)
    check_segments(again, volume, prediction().array)
    assert edited_slices(again, volume, (CORE,)) == (2, 3, 4)  # without the scene the last prediction is lost
    written = write(prediction(move=1), volume, again, Options(replace_edits=True))
    assert written.segment_ids == (CORE, OEDEMA)


def check_segments(node, volume, array) -> None:
    for expected in SEGMENTS:
        segment = node.GetSegmentation().GetSegment(expected.id)
        assert segment.GetName() == expected.name
        assert segment.GetColor() == pytest.approx(expected.colour, abs=1e-3)
        assert tag_of(segment, segment.GetTerminologyEntryTagName()) == expected.terminology
        assert all(tag_of(segment, name) == value for name, value in expected.tags)
        assert np.array_equal(voxels(node, expected.id, volume), array == expected.value)


@pytest.mark.parametrize(("direction", "slice_then"), [(TURN, 1), (TURN @ np.diag([1.0, 1.0, -1.0]), 6)])
def test_a_saved_scene_knows_the_edits_when_it_is_opened_again(scene, tmp_path, direction, slice_then):
    geometry = turned(direction)
    volume = volume_node(scene, geometry)
    node = node_of(write(prediction(geometry), volume, name="result"))
    mask = voxels(node, CORE, volume)
    mask[1, 0, 0] = True
    assert LOGIC.SetBinaryLabelmapToSegment(labelmap_image(mask, geometry), node, CORE, LOGIC.MODE_REPLACE)
    assert scene.WriteToMRB(str(tmp_path / "case.mrb"))
    opened = host.new_scene()
    assert opened.ReadFromMRB(str(tmp_path / "case.mrb"), True)
    node, volume = (opened.GetFirstNodeByName(name) for name in ("result", "flair"))
    before = voxels(node, CORE, volume)
    # Slicer opens a left-handed volume with its slices in reverse order.
    assert np.array_equal(before, mask if slice_then == 1 else mask[::-1])
    assert np.array_equal(array_of(node, CORE, volume), before)
    assert edited_slices(node, volume, (CORE, OEDEMA)) == (slice_then,)
    again = prediction(geometry_of(volume), move=1)
    written = write(again, volume, node)
    assert written.kept_slices == (slice_then,)
    expected = again.array == 1
    expected[slice_then] = before[slice_then]
    assert np.array_equal(voxels(node, CORE, volume), expected)
    assert undo(written)[1] == 0
    assert np.array_equal(voxels(node, CORE, volume), before)


def test_names_colours_and_terminology_survive_a_saved_scene(scene, volume, tmp_path):
    write(prediction(), volume, name="result")
    assert scene.WriteToMRB(str(tmp_path / "case.mrb"))
    opened = host.new_scene()
    assert opened.ReadFromMRB(str(tmp_path / "case.mrb"), True)
    check_segments(opened.GetFirstNodeByName("result"), opened.GetFirstNodeByName("flair"), prediction().array[::-1])


def test_the_contracts_reader_agrees_with_slicers(scene, volume):
    node = node_of(write(prediction(), volume))
    assert np.array_equal(array_of(node, CORE, volume), voxels(node, CORE, volume))
