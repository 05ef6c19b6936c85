"""Change over time, used as a user does; the comparison is the engine's own."""

from dataclasses import replace

import host
import numpy as np
import pytest
import slicer
from panel_user import agree, tip
from study_user import FIRST, MADE, SECOND, StudyUser, ball, segmented

from medtl.phantom import head
from MedTLLib.results import trend
from MedTLLib.results.studies import DATE, set_date

INSIDE = (20.0, 10.0, 30.0)


@pytest.fixture
def user_class() -> type[StudyUser]:
    return StudyUser


@pytest.fixture
def two(user: StudyUser) -> StudyUser:
    """Two dates of one head: the lesion grew, a second one is new. The section is unfolded."""
    segmented(FIRST, ball(FIRST, INSIDE, 12), "before", "2026-01-31")
    segmented(SECOND, ball(SECOND, INSIDE, 16) | ball(SECOND, (-25, 0, 30), 9), "after", "2026-03-02")
    user.ui.trendBox.collapsed = False
    user.tick("before labels", "after labels")
    return user


def test_the_section_says_what_is_missing(user):
    user.ui.trendBox.collapsed = False
    assert "no segmentation" in user.ui.trendLabel.text
    assert not user.ui.trendButton.enabled
    _, node = segmented(FIRST, ball(FIRST, INSIDE, 12), "before")
    user.widget.enter()
    assert user.table("studyTable") == [["before labels", "–"]]
    assert "Tick two" in user.ui.trendLabel.text
    segmented(SECOND, ball(SECOND, INSIDE, 12), "after", "2026-03-02")
    user.widget.enter()
    user.tick("before labels", "after labels")
    assert "Give before labels a date" in user.ui.trendLabel.text
    assert tip(user.ui.trendButton) == user.ui.trendLabel.text
    set_date(node, "2026-03-02")
    user.widget.enter()
    assert "Two segmentations have the date 2026-03-02" in user.ui.trendLabel.text
    set_date(node, "2026-01-31")
    user.widget.enter()
    assert user.ui.trendButton.enabled


def test_a_date_is_written_into_the_table(user):
    _, node = segmented(FIRST, ball(FIRST, INSIDE, 12), "before")
    user.ui.trendBox.collapsed = False
    user.ui.studyTable.item(0, 1).setText("2026-02-30")
    slicer.app.processEvents()
    assert "found 2026-02-30" in user.ui.trendLabel.text
    assert user.table("studyTable") == [["before labels", "–"]]
    user.ui.studyTable.item(0, 1).setText("2026-01-31")
    slicer.app.processEvents()
    assert node.GetAttribute(DATE) == "2026-01-31"
    assert user.table("studyTable") == [["before labels", "2026-01-31"]]
    user.ui.studyTable.item(0, 1).setText("")
    slicer.app.processEvents()
    assert node.GetAttribute(DATE) is None


def test_two_dates_are_compared_in_their_order(two):
    two.ui.trendButton.click()
    assert two.ui.trendCancelButton.enabled
    request = two.worker.requests[0]
    assert [one["date"] for one in request["input"]] == ["2026-01-31", "2026-03-02"]
    assert not any("image" in one for one in request["input"])  # nothing is handed over that is not needed
    two.worker.compare()
    shown = two.table("trendTable")
    assert shown[0][0] == "Glioma (FLAIR abnormality)"
    assert [row[0] for row in shown[1:3]] == ["2026-01-31", "2026-03-02"]
    before, after = (float(row[1]) for row in shown[1:3])
    assert shown[2][2:] == [f"{100 * (after - before) / before:+.0f}"] * 3
    assert len(shown) == 3  # without a registration lesions are not matched
    assert not two.ui.trendPlotLabel.pixmap.isNull()
    assert "Glioma" in two.ui.trendKeyLabel.text
    assert not two.ui.boardPicture.visible
    assert not list(two.worker.folder.glob("job-*"))


def test_lesions_are_matched_after_a_question_and_the_checkerboard_is_shown(two):
    two.ui.matchCheckBox.click()
    asked = agree(False, True)
    two.ui.trendButton.click()
    assert two.worker.requests == []
    two.ui.trendButton.click()
    assert "rigid movement" in asked[0]
    two.worker.compare()
    names = [row[0] for row in two.table("trendTable")]
    assert [name for name in names if name.startswith("–")] == ["– lesion 1", "– lesion 2"]
    assert "2026-03-02 new" in names
    assert two.ui.boardPicture.visible
    assert not two.ui.boardPicture.pixmap.isNull()
    assert "Lowest similarity" in two.ui.boardLabel.text


def test_a_registration_that_is_refused_shows_why(user):
    other = head(9, (40, 40, 12), (5.0, 5.0, 12.0))
    noise = np.kron(np.random.default_rng(0).integers(0, 300, (3, 5, 5)), np.ones((4, 8, 8))).astype(np.int16)
    segmented(FIRST, ball(FIRST, INSIDE, 12), "before", "2026-01-31")
    volume, _ = segmented(other, ball(other, INSIDE, 12), "stranger", "2026-03-02")
    slicer.util.updateVolumeFromArray(volume, noise)
    user.ui.trendBox.collapsed = False
    user.tick("before labels", "stranger labels")
    user.ui.matchCheckBox.click()
    agree(True)
    user.ui.trendButton.click()
    user.worker.compare()
    assert "another patient" in user.ui.trendStatusLabel.text
    assert user.ui.boardPicture.visible
    assert not user.ui.trendTable.visible
    assert slicer.util.getNodesByClass("vtkMRMLTableNode") == []


def test_cancel_changes_nothing(two):
    two.ui.trendButton.click()
    two.ui.trendCancelButton.click()
    slicer.app.processEvents()
    assert "Cancelled" in two.ui.trendStatusLabel.text
    assert slicer.util.getNodesByClass("vtkMRMLTableNode") == []
    assert two.ui.trendButton.enabled
    assert not list(two.worker.folder.glob("job-*"))


def test_a_segmentation_that_changed_meanwhile_is_not_compared(two):
    two.ui.trendButton.click()
    node = slicer.util.getNode("after labels")
    node.GetSegmentation().RemoveAllSegments()
    two.worker.compare()
    assert "changed or deleted meanwhile" in two.ui.trendStatusLabel.text
    assert slicer.util.getNodesByClass("vtkMRMLTableNode") == []


def test_the_comparison_is_there_again_after_the_scene_was_saved(two, tmp_path):
    two.ui.trendButton.click()
    two.worker.compare()
    shown = two.table("trendTable")
    slicer.mrmlScene.SetRootDirectory(str(tmp_path))
    suffixes = {"vtkMRMLSegmentationNode": ".seg.nrrd", "vtkMRMLTableNode": ".tsv", "vtkMRMLScalarVolumeNode": ".nrrd"}
    for kind, suffix in suffixes.items():
        for node in slicer.util.getNodesByClass(kind):
            slicer.util.saveNode(node, str(tmp_path / f"{node.GetID()}{suffix}"))
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Commit()
    two.widget.onSceneStartClose(None, None)
    slicer.mrmlScene.Clear()
    slicer.mrmlScene.Connect()
    two.widget.enter()
    two.chosen.resultSegmentation = slicer.util.getNode("after labels")
    slicer.app.processEvents()
    assert two.table("trendTable") == shown
    assert trend.of_segmentation(slicer.util.getNode("before labels")) is None  # it is not the newest


def test_names_are_no_markup(user):
    bad = replace(MADE, name="<img src=x>Tumour")
    segmented(FIRST, ball(FIRST, INSIDE, 12), "a", "2026-01-31", bad)
    segmented(SECOND, ball(SECOND, INSIDE, 12), "b", "2026-02-28", bad)
    user.ui.trendBox.collapsed = False
    user.tick("a labels", "b labels")
    user.ui.trendButton.click()
    user.worker.compare()
    assert "&lt;img src=x&gt;Tumour" in user.ui.trendKeyLabel.text
    assert "<img" not in user.ui.trendKeyLabel.text


@pytest.mark.parametrize("width", [300, 500])
def test_everything_fits(two, tmp_path, width):
    two.ui.matchCheckBox.click()
    agree(True)
    two.ui.trendButton.click()
    two.worker.compare()
    for name in ("resultsButton", "finetuneBox", "advancedButton", "maintenanceButton", "seedsBox"):
        getattr(two.ui, name).collapsed = True
    host.screenshot(two.widget.parent, tmp_path / "trend.png", width)  # the pictures grow to this width
    assert host.screenshot(two.widget.parent, tmp_path / "trend.png", width)[0] == width
