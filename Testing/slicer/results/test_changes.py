"""What was added and taken away since an earlier state, in two colours."""

import host
import numpy as np
import pytest
import slicer
from lesion_case import ALL, LESION, labelmap_of, make_case, mask_of
from panel_user import paint, voxels

from MedTLLib.prediction import writer
from MedTLLib.results.changes import Overlay, before_prediction, changes_since, last_prediction, saved_file
from MedTLLib.results.splitting import split


@pytest.fixture
def case():
    """A volume, and a segmentation with three lesions."""
    host.new_scene()
    host.open_views()
    yield make_case()
    host.new_scene()


def edited() -> np.ndarray:
    """Without the second lesion, with another one."""
    mask = mask_of(1, 3)
    mask[9, 20:24, 20:25] = True
    return mask


def test_what_the_user_edited_since_the_prediction_is_told_voxel_by_voxel(case):
    volume, segmentation = case
    paint(segmentation, volume, edited())
    changes = changes_since(last_prediction(segmentation, volume), segmentation)
    np.testing.assert_array_equal(changes.added, edited() & ~ALL)
    np.testing.assert_array_equal(changes.removed, ALL & ~edited())
    assert [(c.index, c.added, c.removed) for c in changes.slices] == [(6, 0, 100), (7, 0, 100), (9, 20, 0)]
    assert changes.slices[2].mm2 == pytest.approx(20 * 3.5**2)


def test_the_list_follows_a_saved_scene_s_prediction(case, tmp_path):
    volume, segmentation = case
    paint(segmentation, volume, edited())
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    volume = slicer.util.getNode("head")
    (again,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    changes = changes_since(last_prediction(again, volume), again)
    np.testing.assert_array_equal(changes.removed, ALL & ~edited())


def test_what_a_new_result_changed_is_told_with_what_was_edited_before(case):
    volume, segmentation = case
    paint(segmentation, volume, edited())
    written = writer.write(labelmap_of(mask_of(1, 2)), volume, segmentation, writer.Options(replace_edits=True))
    changes = changes_since(before_prediction(segmentation, written), segmentation)
    np.testing.assert_array_equal(changes.added, mask_of(1, 2) & ~edited())
    np.testing.assert_array_equal(changes.removed, edited() & ~mask_of(1, 2))
    assert not changes_since(last_prediction(segmentation, volume), segmentation).slices


def test_a_result_that_made_its_segmentation_has_nothing_before_it(case):
    volume, segmentation = case
    written = writer.write(labelmap_of(ALL), volume)
    assert before_prediction(slicer.mrmlScene.GetNodeByID(written.segmentation_id), written) is None
    assert before_prediction(segmentation, written) is None
    assert before_prediction(segmentation, None) is None


def test_a_segment_that_is_gone_was_taken_away_and_another_one_of_the_user_s_does_not_count(case):
    volume, segmentation = case
    state = last_prediction(segmentation, volume)
    segmentation.GetSegmentation().AddEmptySegment("mine", "Mine")
    paint(segmentation, volume, edited(), "mine")
    segmentation.GetSegmentation().RemoveSegment(LESION)
    changes = changes_since(state, segmentation)
    np.testing.assert_array_equal(changes.removed, ALL)
    assert not changes.added.any()


def test_lesions_that_are_only_split_did_not_change(case):
    volume, segmentation = case
    state = last_prediction(segmentation, volume)
    split(segmentation, volume, LESION)
    assert not changes_since(state, segmentation).slices


@pytest.mark.parametrize("name", ["case.seg.nrrd", "case.nrrd"])
def test_a_reviewer_s_changes_of_a_file_are_told(case, tmp_path, name):
    volume, segmentation = case
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "case.seg.nrrd"))
    assert storage.WriteData(segmentation)
    if name == "case.nrrd":
        from medtl.io.read import read_labelmap
        from medtl.io.write import write_labelmap

        write_labelmap(tmp_path / name, read_labelmap(tmp_path / "case.seg.nrrd"))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Loaded")
    storage.SetFileName(str(tmp_path / name))
    assert storage.ReadData(node)
    node.SetAndObserveStorageNodeID(storage.GetID())
    assert last_prediction(node, volume) is None or name == "case.seg.nrrd"
    count = slicer.mrmlScene.GetNumberOfNodes()
    state = saved_file(node, volume)
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    assert not changes_since(state, node).slices
    (segment_id,) = node.GetSegmentation().GetSegmentIDs()
    paint(node, volume, edited(), segment_id)
    node.GetSegmentation().AddEmptySegment("new", "New")
    new = np.zeros_like(ALL)
    new[0, :3, :3] = True
    paint(node, volume, new, "new")
    changes = changes_since(state, node)
    np.testing.assert_array_equal(changes.added, (edited() & ~ALL) | new)
    np.testing.assert_array_equal(changes.removed, ALL & ~edited())


def test_a_file_that_is_gone_or_was_never_there_is_no_state(case, tmp_path):
    volume, segmentation = case
    assert saved_file(segmentation, volume) is None
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "gone.seg.nrrd"))
    segmentation.SetAndObserveStorageNodeID(storage.GetID())
    assert saved_file(segmentation, volume) is None
    (tmp_path / "gone.seg.nrrd").write_text("no file of segments")
    count = slicer.mrmlScene.GetNumberOfNodes()
    assert saved_file(segmentation, volume) is None
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_the_overlay_shows_both_in_their_colours_and_is_in_no_list_and_no_file(case, tmp_path):
    volume, segmentation = case
    paint(segmentation, volume, edited())
    overlay = Overlay()
    for _again in range(2):
        overlay.show(changes_since(last_prediction(segmentation, volume), segmentation))
    (node,) = (each for each in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if each is not segmentation)
    assert node.GetHideFromEditors()
    assert node.GetDisplayNode().GetVisibility2DFill()
    np.testing.assert_array_equal(voxels(node, volume, "added"), edited() & ~ALL)
    np.testing.assert_array_equal(voxels(node, volume, "removed"), ALL & ~edited())
    pixels = picture(volume, node, tmp_path, 6)
    assert orange(pixels) > 50
    assert blue(pixels) == 0
    assert blue(picture(volume, node, tmp_path, 9)) > 10
    overlay.close()
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [segmentation]


def picture(volume, node, folder, k: int) -> np.ndarray:
    """The slice k as Slicer draws it, RGB (rows, columns, 3)."""
    from lesion_case import ras
    from PIL import Image

    host.render_slice(volume, node, folder / "slice.png", centre_ras=ras(volume, (28, 28, k)), orientation="Volume")
    return np.asarray(Image.open(folder / "slice.png").convert("RGB")).astype(int)


def orange(pixels: np.ndarray) -> int:
    return int(np.count_nonzero((pixels[..., 0] > pixels[..., 2] + 60) & (pixels[..., 0] > pixels[..., 1] + 20)))


def blue(pixels: np.ndarray) -> int:
    return int(np.count_nonzero(pixels[..., 2] > pixels[..., 0] + 60))
