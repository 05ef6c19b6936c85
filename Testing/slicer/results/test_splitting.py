"""Lesions become segments of their own and one again; no voxel is lost, and no model writes meanwhile."""

from dataclasses import replace

import host
import numpy as np
import pytest
import slicer
from lesion_case import ALL, LESION, labelmap_of, make_case, mask_of, place
from panel_user import SEGMENT, paint, voxels

from medtl.errors import InputError
from medtl.labels import LABEL_TAG, MODEL_TAG, has_lesions
from medtl.model.card import load_card
from medtl.model.store import find_model
from MedTLLib.mrml.pieces import origin_of, pieces_of
from MedTLLib.mrml.tags import tag_of
from MedTLLib.prediction import masks, writer
from MedTLLib.results.rejection import Rejections
from MedTLLib.results.splitting import merge, shade, split
from MedTLLib.seeds import slices

TERMS = "Segmentation category and type - 3D Slicer General Anatomy list~SCT^49755003^Morphologically Altered Structure"
CODED = replace(SEGMENT, terminology=f"{TERMS}~SCT^4147007^Mass~^^~Anatomic codes - DICOM master list~^^~^^")


@pytest.fixture
def case():
    """A volume, and a segmentation with three lesions."""
    host.new_scene()
    yield make_case(CODED)
    host.new_scene()


def segment(segmentation, segment_id):
    return segmentation.GetSegmentation().GetSegment(segment_id)


def test_each_lesion_is_a_segment_with_its_terminology_and_a_shade_of_its_colour(case):
    volume, segmentation = case
    before = segment(segmentation, LESION).GetColor()
    pieces = split(segmentation, volume, LESION)
    assert segmentation.GetSegmentation().GetSegmentIDs() == (LESION, *pieces)
    for number, piece in enumerate(pieces, start=1):
        np.testing.assert_array_equal(voxels(segmentation, volume, piece), mask_of(number, small=False))
        there = segment(segmentation, piece)
        assert there.GetName() == f"{CODED.name} {number}"
        assert tag_of(there, there.GetTerminologyEntryTagName()) == CODED.terminology
        assert np.abs(np.subtract(there.GetColor(), before)).max() < 0.4
        assert has_lesions(piece, there.GetName())
    assert len({segment(segmentation, piece).GetColor() for piece in pieces}) == 3
    np.testing.assert_array_equal(voxels(segmentation, volume), mask_of())  # what is not listed stays


def test_merged_again_all_is_as_it_was_also_its_tags(case):
    volume, segmentation = case
    split(segmentation, volume, LESION)
    merge(segmentation, volume, LESION)
    assert segmentation.GetSegmentation().GetSegmentIDs() == (LESION,)
    np.testing.assert_array_equal(voxels(segmentation, volume), ALL)
    assert tag_of(segment(segmentation, LESION), MODEL_TAG) == "glioma-flair"
    assert writer.edited_slices(segmentation, volume, (LESION,)) == ()


def test_what_was_edited_in_a_piece_is_merged_as_it_is(case):
    volume, segmentation = case
    first, second, _third = split(segmentation, volume, LESION)
    painted = mask_of(1, small=False)
    painted[9, 40:44, 40:44] = True
    paint(segmentation, volume, painted, first)
    segmentation.GetSegmentation().RemoveSegment(second)
    merge(segmentation, volume, LESION)
    np.testing.assert_array_equal(voxels(segmentation, volume), painted | mask_of(3))


def test_what_was_rejected_before_and_after_splitting_comes_back_when_merged(case):
    volume, segmentation = case
    rejections = Rejections()
    rejections.reject(segmentation, volume, LESION, place(volume, 3))
    _first, second = split(segmentation, volume, LESION)
    assert len(rejections.of(segmentation)) == 1
    rejections.reject(segmentation, volume, second, place(volume, 2))
    merge(segmentation, volume, LESION)
    np.testing.assert_array_equal(voxels(segmentation, volume), mask_of(1))
    lesions = rejections.of(segmentation)
    assert [each.centre for each in lesions] == [pytest.approx(place(volume, number)) for number in (3, 2)]
    for lesion in lesions:
        rejections.accept(lesion)
    np.testing.assert_array_equal(voxels(segmentation, volume), ALL)
    assert rejections.of(segmentation) == ()


def test_what_was_rejected_in_a_piece_comes_back_also_where_its_segment_was_removed(case):
    volume, segmentation = case
    rejections = Rejections()
    pieces = split(segmentation, volume, LESION)
    rejections.reject(segmentation, volume, pieces[1], place(volume, 2))
    segmentation.GetSegmentation().RemoveSegment(LESION)
    merge(segmentation, volume, LESION)
    (lesion,) = rejections.of(segmentation)
    rejections.accept(lesion)
    np.testing.assert_array_equal(voxels(segmentation, volume), mask_of(1, 2, 3, small=False))


def test_a_segment_that_was_removed_meanwhile_is_made_again(case):
    volume, segmentation = case
    split(segmentation, volume, LESION)
    segmentation.GetSegmentation().RemoveSegment(LESION)
    merge(segmentation, volume, LESION)
    np.testing.assert_array_equal(voxels(segmentation, volume), mask_of(1, 2, 3, small=False))
    again = segment(segmentation, LESION)
    assert again.GetName() == CODED.name
    assert tag_of(again, again.GetTerminologyEntryTagName()) == CODED.terminology
    assert (tag_of(again, MODEL_TAG), tag_of(again, LABEL_TAG)) == ("glioma-flair", "lesion")
    writer.write(labelmap_of(mask_of(1, 2)), volume, segmentation)  # and its model writes into it


def test_while_split_no_model_writes_and_no_slice_is_a_seed(case):
    volume, segmentation = case
    pieces = split(segmentation, volume, LESION)
    for action in (
        lambda: writer.write(labelmap_of(mask_of(1)), volume, segmentation),
        lambda: slices.check_labels(segmentation, volume, load_card(find_model("glioma-flair"))),
    ):
        with pytest.raises(InputError, match=r"found 3 split off\. Press Merge lesions"):
            action()
    np.testing.assert_array_equal(voxels(segmentation, volume, pieces[0]), mask_of(1, small=False))
    merge(segmentation, volume, LESION)
    writer.write(labelmap_of(mask_of(1)), volume, segmentation)
    np.testing.assert_array_equal(voxels(segmentation, volume), mask_of(1))


def test_a_saved_scene_knows_what_belongs_together(case, tmp_path):
    _volume, segmentation = case
    pieces = split(segmentation, _volume, LESION)
    path = tmp_path / "s.seg.nrrd"
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.WriteData(segmentation)
    again = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(again)
    assert pieces_of(again, LESION) == pieces
    assert origin_of(again, pieces[0]).name == CODED.name


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 1, "name": "", "model": "", "label": ""}', '{"id": "x"}'])
def test_a_tag_that_is_not_ours_is_no_piece(case, text):
    _volume, segmentation = case
    segment(segmentation, LESION).SetTag("MedTL.split", text)
    assert origin_of(segmentation, LESION) is None
    assert pieces_of(segmentation, LESION) == ()


def test_one_lesion_too_many_or_a_protected_segment_is_refused(case, monkeypatch):
    volume, segmentation = case
    masks.protect(segmentation, LESION, True)
    with pytest.raises(InputError, match="is protected"):
        split(segmentation, volume, LESION)
    masks.protect(segmentation, LESION, False)
    monkeypatch.setattr("MedTLLib.results.splitting.MOST", 2)
    with pytest.raises(InputError, match=r"Expected from 2 to 2 lesions in .*, found 3"):
        split(segmentation, volume, LESION)
    paint(segmentation, volume, mask_of(1))
    with pytest.raises(InputError, match="found 1"):
        split(segmentation, volume, LESION)
    with pytest.raises(InputError, match="No lesions were split off"):
        merge(segmentation, volume, LESION)
    assert segmentation.GetSegmentation().GetSegmentIDs() == (LESION,)


@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_write_that_fails_in_the_middle_leaves_all_as_it_was(case, monkeypatch, at):
    from MedTLLib.mrml import segments

    volume, segmentation = case
    calls = []

    def fails(*given):
        calls.append(given)
        if len(calls) == at:
            raise InputError("full")
        segments.put(*given)

    monkeypatch.setattr("MedTLLib.results.splitting.put", fails)
    with pytest.raises(InputError, match="full"):
        split(segmentation, volume, LESION)
    assert segmentation.GetSegmentation().GetSegmentIDs() == (LESION,)
    np.testing.assert_array_equal(voxels(segmentation, volume), ALL)


def test_merging_that_fails_keeps_the_pieces(case, monkeypatch):
    volume, segmentation = case
    pieces = split(segmentation, volume, LESION)

    def fails(*_):
        raise InputError("full")

    monkeypatch.setattr("MedTLLib.results.splitting.put", fails)
    with pytest.raises(InputError, match="full"):
        merge(segmentation, volume, LESION)
    np.testing.assert_array_equal(voxels(segmentation, volume), mask_of())
    for number, piece in enumerate(pieces, start=1):
        np.testing.assert_array_equal(voxels(segmentation, volume, piece), mask_of(number, small=False))


def test_neighbouring_shades_differ_and_stay_in_the_family():
    import colorsys

    red = (0.95, 0.25, 0.2)
    shades = [shade(red, number) for number in range(15)]
    assert shades[0] == pytest.approx(red)
    assert len(set(shades)) == 15
    hues = [colorsys.rgb_to_hsv(*each)[0] for each in shades]
    home = colorsys.rgb_to_hsv(*red)[0]
    assert all(min(abs(hue - home), 1 - abs(hue - home)) < 0.07 for hue in hues)
