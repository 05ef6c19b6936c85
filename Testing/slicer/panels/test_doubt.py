"""The doubt of a result, used as a user does: over the slices, with a legend, slice by slice."""

from dataclasses import replace

import host
import numpy as np
import pytest
import qt
import slicer
from panel_user import tip
from study_user import FIRST, MADE, StudyUser, ball

from medtl.doubt import doubtful_slices
from medtl.labels import SHA256_TAG
from MedTLLib.mrml import overlays, views
from MedTLLib.results import doubt

INSIDE = (20.0, 10.0, 30.0)
LESION = ball(FIRST, INSIDE, 14)
UNSURE = np.where(LESION, 0.2, 0.0) + np.where(ball(FIRST, (20.0, 10.0, 40.0), 10), 0.6, 0.0)


@pytest.fixture
def user_class() -> type[StudyUser]:
    return StudyUser


@pytest.fixture
def user(user: StudyUser) -> StudyUser:
    """The panel is open in an empty scene with slice views; the engine writes an uncertainty map."""
    user.widget.enter()
    user.worker.segments, user.worker.doubt = (MADE,), UNSURE
    user.load(FIRST)
    return user


def foreground() -> str:
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    return red.GetForegroundVolumeID() or ""


def press(user: StudyUser, letter: str) -> None:
    """A key that Slicer's main window gets."""
    keys = {"D": 0, "Shift+D": 1}
    key = user.widget.results.doubt._keys[keys[letter]]._shortcut
    assert key.key.toString() == letter
    if key.enabled:
        key.activated.emit()


def rows(user: StudyUser) -> list[str]:
    return [user.ui.doubtList.item(row).text() for row in range(user.ui.doubtList.count)]


def test_without_a_result_or_a_map_the_button_says_why(user):
    assert "no result yet" in tip(user.ui.doubtButton)
    user.worker.doubt = None
    user.segment(LESION)
    assert not user.ui.doubtButton.enabled
    assert "not kept" in tip(user.ui.doubtButton)


def test_one_toggle_shows_the_uncertainty_and_hides_it_again(user):
    node = user.segment(LESION)
    map_node = doubt.volume_of(node)
    kept = slicer.util.arrayFromVolume(map_node)
    assert kept.dtype == np.uint8
    np.testing.assert_allclose(kept / 100, UNSURE, atol=0.005)
    assert foreground() == ""
    user.ui.doubtButton.click()
    assert foreground() == map_node.GetID()
    assert user.ui.doubtBox.visible
    user.ui.doubtButton.click()
    assert foreground() == ""
    assert not user.ui.doubtBox.visible


def test_the_legend_says_whether_it_is_calibrated(user, monkeypatch):
    user.segment(LESION)
    user.ui.doubtButton.click()
    assert "Not calibrated" in user.ui.doubtLabel.text
    user.ui.doubtButton.click()
    from medtl.model.card import Calibration, load_card
    from MedTLLib.jobs import segment as job

    monkeypatch.setattr(job, "load_card", lambda folder: replace(load_card(folder), calibration=Calibration(1.3)))
    user.segment(LESION)
    user.ui.doubtButton.click()
    assert "Calibrated on held-out cases" in user.ui.doubtLabel.text


def test_the_most_doubtful_slices_are_listed_and_each_key_goes_one_way(user):
    node = user.segment(LESION)
    user.ui.doubtButton.click()
    kept = slicer.util.arrayFromVolume(doubt.volume_of(node)) / 100
    found = doubtful_slices(kept.astype(np.float32), LESION, FIRST.volume.geometry, 0)
    assert rows(user) == [f"Slice {one.index}: {round(one.mm2)} mm²" for one in found]
    assert len(found) > 2

    def at() -> int:
        middle = views.middle_of(views.slice_node("Red"))
        return next(n for n, one in enumerate(found) if np.allclose(doubt.ras_of(one), middle, atol=1e-3))

    places = []
    for letter in ("D", "D", "Shift+D", "D", "Shift+D"):
        press(user, letter)
        places.append(at())
    assert places == [0, 1, 0, 1, 0]
    press(user, "Shift+D")
    assert at() == len(found) - 1  # round the end
    user.ui.doubtList.itemClicked.emit(user.ui.doubtList.item(1))
    assert at() == 1
    assert user.ui.doubtList.currentRow == 1


def test_the_keys_are_left_to_others_while_nothing_is_shown_or_another_module_is_open(user):
    keys = [key._shortcut for key in user.widget.results.doubt._keys]
    user.segment(LESION)
    assert not any(key.enabled for key in keys)
    user.ui.doubtButton.click()
    assert all(key.enabled for key in keys)
    user.widget.exit()
    assert not any(key.enabled for key in keys)
    user.widget.enter()
    assert all(key.enabled for key in keys)
    user.ui.doubtButton.click()
    assert not any(key.enabled for key in keys)


def test_it_is_not_computed_where_the_user_does_not_want_it(user):
    user.ui.keepDoubtCheckBox.click()
    node = user.segment(LESION)
    assert "uncertainty" not in user.worker.requests[-1]["options"]
    assert doubt.volume_of(node) is None


def test_it_is_not_computed_where_it_would_take_much_memory(user, monkeypatch):
    monkeypatch.setattr(doubt, "LARGEST", UNSURE.size)
    user.segment(LESION)
    assert "uncertainty" not in user.worker.requests[-1]["options"]


def test_a_new_result_replaces_the_old_map(user):
    user.segment(LESION)
    user.worker.doubt = UNSURE / 2
    user.ui.targetSelector.setCurrentNode(user.chosen.resultSegmentation)
    node = user.segment(LESION)
    volumes = [v for v in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if overlays.is_overlay(v)]
    assert volumes == [doubt.volume_of(node)]
    np.testing.assert_allclose(doubt.values_of(node)[0], UNSURE / 2, atol=0.005)


def test_segments_of_another_model_outdate_the_map(user):
    node = user.segment(LESION)
    assert user.ui.doubtButton.enabled
    node.GetSegmentation().GetNthSegment(0).SetTag(SHA256_TAG, "another")
    user.widget.results.update()
    assert "Another model wrote the segments since" in tip(user.ui.doubtButton)


def test_undo_takes_the_map_away(user):
    user.segment(LESION)
    user.ui.doubtButton.click()
    user.ui.undoButton.click()
    assert not [v for v in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if overlays.is_overlay(v)]
    assert foreground() == ""
    assert not user.ui.doubtButton.checked


def test_a_map_that_was_deleted_is_said(user):
    node = user.segment(LESION)
    user.ui.doubtButton.click()
    slicer.mrmlScene.RemoveNode(doubt.volume_of(node))
    user.widget.results.update()
    assert not user.ui.doubtButton.checked
    assert "not kept" in tip(user.ui.doubtButton)


def test_the_colours_are_transparent_where_the_model_is_sure(user):
    node = user.segment(LESION)
    colours = doubt.volume_of(node).GetDisplayNode().GetColorNode()
    opacity = [colours.GetLookupTable().GetTableValue(percent)[3] for percent in range(101)]
    assert opacity == [0.0] * 10 + [1.0] * 91
    low, high = (sum(colours.GetLookupTable().GetTableValue(percent)[:3]) for percent in (20, 100))
    assert low < high


@pytest.mark.parametrize("width", [300, 500])
def test_everything_fits(user, tmp_path, width):
    user.segment(LESION)
    user.ui.doubtButton.click()
    host.screenshot(user.widget.parent, tmp_path / "doubt.png", width)
    assert host.screenshot(user.widget.parent, tmp_path / "doubt.png", width)[0] == width
    picture = user.ui.doubtScaleLabel.pixmap.toImage()
    left, right = (picture.pixelColor(x, 2) for x in (2, picture.width() - 3))
    assert qt.QColor(left).lightness() < qt.QColor(right).lightness()
