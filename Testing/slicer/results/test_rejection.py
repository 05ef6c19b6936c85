"""A rejected lesion is gone as by a brush, and comes back voxel by voxel."""

import base64
import json
import zlib

import host
import numpy as np
import pytest
import slicer
from lesion_case import ALL, LESION, labelmap_of, make_case, mask_of, place, ras
from panel_user import paint, voxels

from medtl.errors import InputError
from medtl.io.write import write_labelmap
from medtl.labels import REJECTED_TAG
from MedTLLib.prediction import masks, writer
from MedTLLib.results import export
from MedTLLib.results.rejected import tag_text
from MedTLLib.results.rejection import Rejections, rejected_at, segment_at
from MedTLLib.results.volume_table import volume_of
from MedTLLib.worklist import nodes


@pytest.fixture
def case():
    """A volume, and a segmentation with three lesions."""
    host.new_scene()
    yield make_case()
    host.new_scene()


@pytest.mark.parametrize(("number", "left"), [(1, (2, 3)), (2, (1, 3)), (3, (1, 2))])
def test_only_the_lesion_at_the_place_is_gone_and_comes_back_as_it_was(case, number, left):
    volume, segmentation = case
    rejections = Rejections()
    rejected = rejections.reject(segmentation, volume, LESION, place(volume, number))
    np.testing.assert_array_equal(voxels(segmentation, volume), mask_of(*left))
    assert rejections.of(segmentation) == (rejected,)
    assert rejected.ml == pytest.approx(mask_of(number, small=False).sum() * 3.5 * 3.5 * 12 / 1000)
    rejections.accept(rejected)
    np.testing.assert_array_equal(voxels(segmentation, volume), ALL)
    assert rejections.of(segmentation) == ()


def test_it_counts_as_an_edit_by_hand_that_the_next_prediction_keeps(case):
    volume, segmentation = case
    Rejections().reject(segmentation, volume, LESION, place(volume, 2))
    assert writer.edited_slices(segmentation, volume, (LESION,)) == (6, 7)
    written = writer.write(labelmap_of(ALL), volume, segmentation)
    assert written.kept_slices == (6, 7)
    np.testing.assert_array_equal(voxels(segmentation, volume), mask_of(1, 3))


def test_accepted_again_it_is_no_edit(case):
    volume, segmentation = case
    rejections = Rejections()
    rejections.accept(rejections.reject(segmentation, volume, LESION, place(volume, 2)))
    assert writer.edited_slices(segmentation, volume, (LESION,)) == ()


def test_what_was_painted_meanwhile_stays_when_the_lesion_is_accepted(case):
    volume, segmentation = case
    rejections = Rejections()
    rejected = rejections.reject(segmentation, volume, LESION, place(volume, 3))
    painted = mask_of(1)
    painted[0, 20:30, 50:54] = True
    paint(segmentation, volume, painted)
    rejections.accept(rejected)
    np.testing.assert_array_equal(voxels(segmentation, volume), painted | mask_of(3, small=False))


def test_the_editor_s_undo_brings_it_back_and_it_is_not_rejected_any_more(case):
    volume, segmentation = case
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(segmentation)
    editor.setSourceVolumeNode(volume)
    rejections = Rejections()
    rejections.reject(segmentation, volume, LESION, place(volume, 1))
    editor.undo()
    np.testing.assert_array_equal(voxels(segmentation, volume), ALL)
    assert rejections.of(segmentation) == ()


def test_undo_of_the_prediction_leaves_a_rejected_lesion_out():
    host.new_scene()
    volume, segmentation = make_case()
    written = writer.write(labelmap_of(mask_of(1, 2, 3)), volume, segmentation, writer.Options(replace_edits=True))
    Rejections().reject(segmentation, volume, LESION, place(volume, 2))
    writer.undo(written)
    assert not voxels(segmentation, volume)[mask_of(2, small=False)].any()
    host.new_scene()


def test_a_place_tells_its_segment_and_the_rejected_lesion(case):
    volume, segmentation = case
    inside, outside = place(volume, 2), ras(volume, (0, 0, 0))
    segmentation.GetSegmentation().AddEmptySegment("organ", "Brain")
    paint(segmentation, volume, np.ones_like(ALL), "organ")
    assert segment_at(segmentation, volume, inside) == LESION
    assert segment_at(segmentation, volume, outside) is None  # an organ has no lesions
    assert segment_at(segmentation, volume, ras(volume, (-3, 5, 99))) is None
    rejections = Rejections()
    rejected = rejections.reject(segmentation, volume, LESION, inside)
    assert segment_at(segmentation, volume, inside) is None
    assert rejected_at(rejections.of(segmentation), inside) is rejected
    assert rejected_at(rejections.of(segmentation), place(volume, 1)) is None
    assert rejected_at(rejections.of(segmentation), ras(volume, (-3, 5, 99))) is None


def test_a_place_without_a_lesion_is_refused_and_nothing_changes(case):
    volume, segmentation = case
    with pytest.raises(InputError, match="no lesion at this place"):
        Rejections().reject(segmentation, volume, LESION, ras(volume, (0, 0, 0)))
    np.testing.assert_array_equal(voxels(segmentation, volume), ALL)


def test_a_protected_segment_is_neither_reduced_nor_enlarged(case):
    volume, segmentation = case
    rejections = Rejections()
    rejected = rejections.reject(segmentation, volume, LESION, place(volume, 2))
    masks.protect(segmentation, LESION, True)
    with pytest.raises(InputError, match="is protected"):
        rejections.reject(segmentation, volume, LESION, place(volume, 1))
    with pytest.raises(InputError, match="is protected"):
        rejections.accept(rejected)
    np.testing.assert_array_equal(voxels(segmentation, volume), mask_of(1, 3))
    masks.protect(segmentation, LESION, False)
    rejections.accept(rejected)
    np.testing.assert_array_equal(voxels(segmentation, volume), ALL)


def test_with_its_segment_or_segmentation_a_rejected_lesion_is_forgotten(case):
    volume, segmentation = case
    rejections = Rejections()
    rejected = rejections.reject(segmentation, volume, LESION, place(volume, 2))
    segmentation.GetSegmentation().RemoveSegment(LESION)
    assert rejections.of(segmentation) == ()
    slicer.mrmlScene.RemoveNode(segmentation)
    with pytest.raises(InputError, match="Expected a segmentation"):
        rejections.accept(rejected)


def test_a_lesion_that_cannot_be_written_stays(case, monkeypatch):
    volume, segmentation = case

    def fails(*_):
        raise InputError("full")

    monkeypatch.setattr("MedTLLib.results.rejection.put", fails)
    rejections = Rejections()
    with pytest.raises(InputError, match="full"):
        rejections.reject(segmentation, volume, LESION, place(volume, 2))
    np.testing.assert_array_equal(voxels(segmentation, volume), ALL)
    assert rejections.of(segmentation) == ()


def saved_and_read(segmentation, path):
    """The segmentation as another session reads it from its file."""
    volume = volume_of(segmentation, None)
    write_labelmap(path, export.merge(segmentation, volume, None).labelmap)
    return nodes.show_saved(nodes.read_result(path, volume), volume, "again")


def test_in_a_later_session_it_comes_back_as_it_was(case, tmp_path):
    volume, segmentation = case
    rejections = Rejections()
    rejections.reject(segmentation, volume, LESION, place(volume, 2))
    rejections.reject(segmentation, volume, LESION, place(volume, 3))
    again = saved_and_read(segmentation, tmp_path / "a.seg.nrrd")
    later = Rejections()
    second, third = later.of(again)
    assert second.centre == pytest.approx(place(volume, 2))
    later.accept(third)
    np.testing.assert_array_equal(voxels(again, volume), mask_of(1, 3))
    assert later.of(again) == (second,)
    later.accept(second)
    np.testing.assert_array_equal(voxels(again, volume), ALL)
    assert tag_text(again, LESION) == ""


@pytest.mark.parametrize("kind", ["mrb", "seg.nrrd"])
def test_slicer_s_own_files_keep_it(case, tmp_path, kind):
    volume, segmentation = case
    Rejections().reject(segmentation, volume, LESION, place(volume, 2))
    text = tag_text(segmentation, LESION)
    if kind == "mrb":
        assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "a.mrb"), None)
        host.new_scene()
        assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "a.mrb"))
    else:
        storage = slicer.vtkMRMLSegmentationStorageNode()
        slicer.mrmlScene.AddNode(storage)
        storage.SetFileName(str(tmp_path / "a.seg.nrrd"))
        assert storage.WriteData(segmentation)
        host.new_scene()
        slicer.util.loadSegmentation(str(tmp_path / "a.seg.nrrd"))
    again = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert tag_text(again, LESION) == text
    (only,) = Rejections().of(again)
    assert only.voxels.sum() == mask_of(2, small=False).sum()


DAMAGED = {
    "no json": "{",
    "another schema": json.dumps({"schema": 2, "lesions": []}),
    "nothing in it": json.dumps({"schema": 1}),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_tag_lists_nothing(case, text):
    _volume, segmentation = case
    segmentation.GetSegmentation().GetSegment(LESION).SetTag(REJECTED_TAG, text)
    assert Rejections().of(segmentation) == ()


WRONG = {
    "outside the grid": {"start": [60, 0, 0]},
    "before the grid": {"start": [-1, 0, 0]},
    "too large": {"size": [10**9, 10**9, 10**9]},
    "too few voxels": {"voxels": base64.b64encode(zlib.compress(b"\xff")).decode()},
    "no base64": {"voxels": "?"},
    "no zlib": {"voxels": "AAAA"},
    "empty": {"voxels": base64.b64encode(zlib.compress(bytes(25))).decode()},
    "no place": {"centre": [float("nan"), 0.0, 0.0]},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_a_record_that_does_not_fit_lists_nothing(case, change):
    volume, segmentation = case
    Rejections().reject(segmentation, volume, LESION, place(volume, 2))
    content = json.loads(tag_text(segmentation, LESION))
    content["lesions"][0] |= change
    segmentation.GetSegmentation().GetSegment(LESION).SetTag(REJECTED_TAG, json.dumps(content))
    assert Rejections().of(segmentation) == ()
