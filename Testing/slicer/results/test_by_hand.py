"""Whether a segmentation was drawn or edited by hand is told where the scene or the tags of its segments tell it."""

from dataclasses import replace

import host
import numpy as np
import pytest
from lesion_case import ALL, LESION, labelmap_of, make_case, mask_of, place
from panel_user import SEGMENT, paint

from medtl.io.read import read_labelmap
from medtl.io.write import write_labelmap
from medtl.labels import TYPE_TAG
from MedTLLib.prediction import writer
from MedTLLib.results import export
from MedTLLib.results.by_hand import by_hand
from MedTLLib.results.rejection import Rejections
from MedTLLib.results.splitting import split
from MedTLLib.worklist import nodes

MADE = replace(SEGMENT, tags=(*SEGMENT.tags, (TYPE_TAG, "AUTOMATIC")))
NAME = SEGMENT.name


@pytest.fixture
def case():
    """A volume, and a segmentation with three lesions."""
    host.new_scene()
    yield make_case(MADE)
    host.new_scene()


def saved_and_read(segmentation, volume, path):
    """The segmentation as another session reads it from its file."""
    write_labelmap(path, export.merge(segmentation, volume).labelmap)
    return nodes.show_saved(nodes.read_result(path, volume), volume, "again")


def test_a_brush_and_a_rejection_are_edits_and_their_undo_is_none(case):
    volume, segmentation = case
    assert by_hand(segmentation, volume) == ""
    paint(segmentation, volume, mask_of(1, 2))
    assert by_hand(segmentation, volume) == NAME
    paint(segmentation, volume, ALL)
    assert by_hand(segmentation, volume) == ""
    Rejections().reject(segmentation, volume, LESION, place(volume, 2))
    assert by_hand(segmentation, volume) == NAME


def test_lesions_that_were_split_off_count_as_their_segment(case):
    volume, segmentation = case
    pieces = split(segmentation, volume, LESION)
    assert by_hand(segmentation, volume) == ""
    paint(segmentation, volume, np.zeros_like(ALL), pieces[1])
    assert by_hand(segmentation, volume) == NAME


def test_of_a_segment_of_the_user_s_and_of_one_that_was_removed_nothing_is_known(case):
    volume, segmentation = case
    segmentation.GetSegmentation().AddEmptySegment("mine", "Mine")
    assert by_hand(segmentation, volume) is None
    paint(segmentation, volume, mask_of(1))
    assert by_hand(segmentation, volume) == NAME
    segmentation.GetSegmentation().RemoveSegment("mine")
    segmentation.GetSegmentation().RemoveSegment(LESION)
    assert by_hand(segmentation, volume) is None


@pytest.mark.parametrize(("kind", "told"), [("SEMIAUTOMATIC", NAME), ("MANUAL", NAME), ("AUTOMATIC", None), ("", None)])
def test_without_a_prediction_in_the_scene_the_tag_tells(case, kind, told):
    volume, _segmentation = case
    again = nodes.show_saved(labelmap_of(ALL, replace(SEGMENT, tags=((TYPE_TAG, kind),))), volume, "again")
    assert by_hand(again, volume) == told


@pytest.mark.parametrize(("mask", "kind", "told"), [(ALL, "AUTOMATIC", None), (mask_of(1), "SEMIAUTOMATIC", NAME)])
def test_a_saved_file_says_that_it_was_edited(case, tmp_path, mask, kind, told):
    volume, segmentation = case
    paint(segmentation, volume, mask)
    again = saved_and_read(segmentation, volume, tmp_path / "a.seg.nrrd")
    assert dict(read_labelmap(tmp_path / "a.seg.nrrd").segments[0].tags)[TYPE_TAG] == kind
    assert by_hand(again, volume) == told


def test_a_new_prediction_in_place_of_the_edits_is_not_by_hand(case):
    volume, segmentation = case
    paint(segmentation, volume, mask_of(1))
    writer.write(labelmap_of(ALL, MADE), volume, segmentation)
    assert by_hand(segmentation, volume) == NAME  # the edited slices were kept
    writer.write(labelmap_of(ALL, MADE), volume, segmentation, writer.Options(replace_edits=True))
    assert by_hand(segmentation, volume) == ""


def test_the_result_of_fine_tune_has_the_user_s_slices(case):
    volume, segmentation = case
    writer.write(labelmap_of(ALL, replace(MADE, tags=(*MADE.tags, (TYPE_TAG, "SEMIAUTOMATIC")))), volume, segmentation)
    assert by_hand(segmentation, volume) == NAME
