"""Models of many labels in the panel: search, ticks, and what is written."""

from collections.abc import Iterator
from pathlib import Path

import host
import numpy as np
import pytest
import qt
import slicer
from panel_user import MODEL, PHANTOM, User
from window_models import BRAIN, a_card, install, segments_of

from MedTLLib.jobs import labels
from MedTLLib.mrml import scene

CARD = a_card(("T1",), 100)
TRUTH = np.zeros(PHANTOM.labelmap.array.shape, np.uint8)
TRUTH[2:8].ravel()[: 100 * 100] = np.repeat(np.arange(1, 101), 100)


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """The panel is open, a model of 100 labels is chosen, and its engine finds them all."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    slicer.app.userSettings().clear()
    install(CARD)
    host.new_scene()
    user = User(tmp_path / "worker")
    user.worker.segments = segments_of(CARD)
    user.load(name="t1")
    choose(user, BRAIN)
    user.ui.labelsBox.collapsed = False
    yield user
    user.close()
    host.new_scene()
    slicer.app.userSettings().clear()


def choose(user: User, name: str) -> None:
    if user.ui.modelCombo.findData(name) < 0:
        user.ui.allModelsCheckBox.click()
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData(name)
    assert user.chosen.modelName == name


def items(user: User, hidden: bool = True) -> list[qt.QListWidgetItem]:
    """The labels of the list, with those that the search hides."""
    all_items = [user.ui.labelList.item(row) for row in range(user.ui.labelList.count)]
    return [item for item in all_items if hidden or not item.isHidden()]


def search(user: User, text: str) -> list[str]:
    user.ui.labelSearch.text = text
    return [item.text() for item in items(user, hidden=False)]


def written(user: User) -> set[str]:
    """The names of the segments of the result."""
    segments = user.chosen.resultSegmentation.GetSegmentation()
    return {segments.GetSegment(each).GetName() for each in segments.GetSegmentIDs()}


def test_a_search_shows_the_labels_with_all_words(user):
    assert len(search(user, "")) == 100
    assert search(user, "7 PART") == [f"Part {n}" for n in range(1, 101) if "7" in str(n)]
    assert search(user, "nothing") == []
    assert search(user, "part-100") == ["Part 100"]


def test_only_ticked_labels_are_written_and_the_choice_is_remembered_for_the_model(user):
    user.ui.noLabelsButton.click()
    assert not user.ui.segmentButton.enabled
    assert "No label is ticked" in user.ui.reasonLabel.text
    for text in ("part-12", "part-99"):
        assert len(search(user, text)) == 1
        user.ui.allLabelsButton.click()
    assert user.ui.labelsBox.text == "Labels: 2 of 100"
    assert user.ui.segmentButton.enabled
    segmentation = user.segment(TRUTH)
    assert written(user) == {"Part 12", "Part 99"}
    volume = user.chosen.inputVolume
    for n in (12, 99):
        assert np.array_equal(scene.array_of(segmentation, f"{BRAIN}.part-{n}", volume), n == TRUTH)
    assert segmentation.GetSegmentation().GetSegment(f"{BRAIN}.part-12").GetColor() == pytest.approx(
        CARD.labels[11].colour, abs=0.01
    )
    user.close()
    user.open()
    assert labels.wanted_labels(CARD) == ("part-12", "part-99")
    assert user.ui.labelsBox.text == "Labels: 2 of 100"
    assert labels.wanted_labels(a_card(labels=3, name="another")) == ("part-1", "part-2", "part-3")


def test_results_have_a_row_for_each_label_under_its_name(user):
    scattered = TRUTH.copy()
    scattered[0, 0, 0] = 1  # a second part of the first label
    user.segment(scattered)
    assert [row[0] for row in user.rows()] == [f"Part {n}" for n in range(1, 101)]


def test_all_are_written_unless_the_user_chose_and_one_click_unticks_one(user):
    assert user.ui.labelsBox.text == "Labels: 100 of 100"
    items(user)[4].setCheckState(qt.Qt.Unchecked)
    user.segment(TRUTH)
    assert written(user) == {f"Part {n}" for n in range(1, 101) if n != 5}
    items(user)[4].setCheckState(qt.Qt.Checked)
    user.segment(TRUTH)
    assert len(written(user)) == 100


def test_segments_that_are_not_ticked_any_more_stay_as_they_were(user):
    segmentation = user.segment(TRUTH)
    user.ui.targetSelector.setCurrentNode(segmentation)
    user.ui.noLabelsButton.click()
    items(user)[0].setCheckState(qt.Qt.Checked)
    volume = user.chosen.inputVolume
    user.segment(np.where(TRUTH <= 2, 0, TRUTH))
    assert user.chosen.resultSegmentation is segmentation
    assert not scene.array_of(segmentation, f"{BRAIN}.part-1", volume).any()
    assert np.array_equal(scene.array_of(segmentation, f"{BRAIN}.part-2", volume), TRUTH == 2)


def test_a_model_of_one_label_has_no_list(user):
    assert user.ui.labelsBox.visible
    choose(user, MODEL)
    assert not user.ui.labelsBox.visible
    choose(user, BRAIN)
    assert [item.checkState() for item in items(user)] == [qt.Qt.Checked] * 100


def test_each_label_shows_the_colour_of_the_card(user):
    colour = items(user)[6].icon().pixmap(8, 8).toImage().pixelColor(4, 4)
    assert (colour.redF(), colour.greenF(), colour.blueF()) == pytest.approx(CARD.labels[6].colour, abs=0.01)


def test_a_setting_that_is_no_list_counts_as_none(user):
    slicer.app.userSettings().setValue(f"{labels.UNWANTED}/{BRAIN}", "[")
    assert len(labels.wanted_labels(CARD)) == 100


def test_the_list_fits_into_a_narrow_panel(user, tmp_path):
    for width in (300, 500):
        assert host.screenshot(user.widget.parent, tmp_path / "panel.png", width)[0] == width


def test_averaging_with_the_mirrored_image_is_offered_where_it_has_an_effect(user):
    """Models of windows average mirrored windows by themselves."""
    choose(user, MODEL)
    user.ui.flipCheckBox.click()
    assert "Takes twice the time" in user.ui.flipCheckBox.toolTip
    choose(user, BRAIN)
    assert not user.ui.flipCheckBox.enabled
    assert "by itself" in user.ui.flipCheckBox.toolTip
    user.segment(TRUTH)
    assert user.worker.requests[-1]["options"]["flip"] is False
    choose(user, MODEL)
    assert user.ui.flipCheckBox.enabled
    assert user.ui.flipCheckBox.checked
    user.ui.segmentButton.click()
    assert user.worker.requests[-1]["options"]["flip"] is True
