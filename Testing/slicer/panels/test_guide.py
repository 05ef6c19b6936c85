"""What the panel tells a new user: a sample in an empty scene, and what follows the first result."""

from dataclasses import replace

import host
import numpy as np
import pytest
import slicer
from panel_user import SEGMENT

from medtl.phantom import head
from MedTLLib import samples


def test_an_empty_scene_offers_a_sample_and_the_button_makes_it_the_input(user):
    assert user.ui.guideBox.visible
    assert user.ui.guideLabel.text == "Load a volume, or take a sample:"
    user.ui.sampleButton.click()
    volume = user.chosen.inputVolume
    assert volume.GetName() == samples.NAME
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), head(1).volume.array)
    assert not user.ui.guideBox.visible
    assert user.ui.segmentButton.enabled


def test_the_offer_goes_with_a_volume_of_one_s_own_and_comes_back_with_an_empty_scene(user):
    user.load()
    assert not user.ui.guideBox.visible
    slicer.mrmlScene.Clear()
    user.widget.enter()
    assert user.ui.guideBox.visible


def test_after_the_first_result_one_line_says_what_can_be_done_next(user):
    assert not user.ui.nextLabel.visible
    user.load()
    assert not user.ui.nextLabel.visible
    user.segment()
    assert user.ui.nextLabel.visible
    for word in ("SEED slices", "Fine-tune", "MedTL Classify", "Export…"):
        assert word in user.ui.nextLabel.text
    assert user.ui.seedsBox.text == "SEED slices"
    assert user.ui.finetuneBox.text == "Fine-tune"
    assert "Export" in user.ui.exportButton.text.replace("&", "")


def test_for_an_organ_no_class_of_a_tumour_is_offered(user):
    user.load()
    user.worker.segments = (replace(SEGMENT, id="liver-ct.liver", name="Liver"),)
    segmentation = user.segment()
    assert "Export…" in user.ui.nextLabel.text
    assert "tumour" not in user.ui.nextLabel.text
    segmentation.GetSegmentation().AddEmptySegment("mine", "Metastasis")
    user.widget.enter()
    assert "class of the tumour (MedTL Classify)" in user.ui.nextLabel.text


@pytest.mark.parametrize("width", [500, 300])
def test_the_guide_fits_into_the_panel(user, tmp_path, width):
    assert host.screenshot(user.widget.parent, tmp_path / "empty.png", width)[0] == width
    label = user.ui.guideLabel
    assert label.height >= label.heightForWidth(label.width)
    user.load()
    user.segment()
    assert host.screenshot(user.widget.parent, tmp_path / "result.png", width)[0] == width
    label = user.ui.nextLabel
    assert label.height >= label.heightForWidth(label.width)
