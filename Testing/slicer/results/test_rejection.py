"""A rejected lesion is gone as by a brush, and comes back voxel by voxel."""

import host
import numpy as np
import pytest
import slicer
from lesion_case import ALL, LESION, labelmap_of, make_case, mask_of, place, ras
from panel_user import paint, voxels

from medtl.errors import InputError
from MedTLLib.prediction import masks, writer
from MedTLLib.results.rejection import Rejections, rejected_at, segment_at


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
