"""The panel of Classify, used as a user does; the engine is a fake that answers when the test says so."""

import csv
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import host
import numpy as np
import pytest
import qt
import slicer
from class_user import BRAIN, MODULE, RENAL, STRANGE, UNSURE, ClassUser, card, install, renal
from panel_user import MODULE as SEGMENT_MODULE
from panel_user import PHANTOM, ROOT, accept_terms, agree, grid, tip

from medtl.io.write import store_image
from medtl.model.store import user_store
from medtl.phantom import head
from MedTLClassifyLib import heatmaps, texts
from MedTLClassifyLib import result as class_result
from MedTLClassifyLib.slice_plot import EDGE, curves
from MedTLLib import samples
from MedTLLib.jobs.worker import Worker
from MedTLLib.packages import packages

TRUTH = PHANTOM.labelmap.array > 0
ENGINE_PYTHON = os.environ.get("MEDTL_ENGINE_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
needs_engine = pytest.mark.skipif(
    not Path(ENGINE_PYTHON).exists(), reason="no interpreter with torch: make setup, or set MEDTL_ENGINE_PYTHON"
)


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClassUser]:
    """The panel is open in an empty scene with slice views; the models are those of the tests and no others."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("medtl.model.store.shipped_folders", lambda: ())
    slicer.app.userSettings().clear()
    host.new_scene()
    host.open_views()
    install(card(BRAIN), renal())
    user = ClassUser(tmp_path / "worker")
    yield user
    user.close()
    host.new_scene()


def red() -> Any:
    return slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()


# What can be chosen


def test_an_empty_scene_offers_slicer_s_sample_data(user, monkeypatch):
    opened = []
    monkeypatch.setattr(slicer.util, "selectModule", opened.append)
    assert user.ui.guideBox.visible
    assert user.ui.guideCaption.text == "Load a volume, or take a sample:"
    assert "MRBrainTumor1" in user.ui.sampleButton.toolTip
    user.ui.sampleButton.click()
    assert opened == ["SampleData"]
    user.load()
    assert not user.ui.guideBox.visible


def test_classify_is_grey_until_a_volume_is_there_and_the_panel_says_why(user):
    assert not user.ui.classifyButton.enabled
    assert "Expected a volume" in user.ui.reasonLabel.text
    user.load()
    assert user.ui.classifyButton.enabled
    assert not user.ui.reasonLabel.visible
    assert user.ui.modelCombo.currentData == BRAIN
    assert user.ui.descriptionLabel.text == card(BRAIN).description


def test_without_a_model_the_panel_says_so(user, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "another"))
    user.load()
    user.widget.enter()
    assert user.ui.modelCombo.count == 0
    assert user.ui.reasonLabel.text == "No model for classification is installed. Import one under Advanced."
    assert not user.ui.classifyButton.enabled


def test_each_module_lists_the_models_of_its_task_alone(user, monkeypatch):
    monkeypatch.setattr("medtl.model.store.shipped_folders", lambda: (ROOT / "Resources" / "Models",))
    user.load()
    user.widget.enter()
    here = {user.ui.modelCombo.itemData(row) for row in range(user.ui.modelCombo.count)}
    other = host.load_module(SEGMENT_MODULE)
    other.ui.allModelsCheckBox.checked = True
    there = {other.ui.modelCombo.itemData(row) for row in range(other.ui.modelCombo.count)}
    host.unload_module("MedTLSegment")
    assert {BRAIN, RENAL} <= here
    assert "glioma-flair" in there
    assert here & there == set()


def test_a_model_of_the_other_task_is_imported_and_the_panel_says_where_it_is(user):
    host.answer(str(ROOT / "Resources" / "Models" / "glioma-flair" / "configs" / "metadata.json"))
    user.ui.importButton.click()
    user.worker.imports()
    assert user.status() == "Imported: glioma-flair. It is for the other MedTL module."


def test_a_model_that_was_imported_in_the_other_module_is_listed_when_the_module_is_opened(user):
    user.load()
    assert user.ui.modelCombo.findData("new") == -1
    install(card("new"))
    user.widget.enter()
    assert user.ui.modelCombo.findData("new") >= 0


def test_the_card_is_one_click_away(user):
    user.load()
    user.ui.cardButton.click()
    assert "Accuracy 0.93 on 40 patients" in user.ui.cardBrowser.plainText
    assert "Research use, not for diagnosis" in user.ui.cardBrowser.plainText


def test_a_model_of_plain_numbers_waits_for_a_segment(user):
    volume = user.load()
    user.choose(RENAL)
    assert not user.ui.classifyButton.enabled
    assert "measures the shape" in tip(user.ui.classifyButton)
    node = user.segmentation(volume)
    assert "has no segment" in user.ui.reasonLabel.text
    node.GetSegmentation().AddEmptySegment("tumour", "Tumour")
    assert user.ui.classifyButton.enabled
    user.ui.segmentationSelector.setCurrentNode(None)
    assert not user.ui.classifyButton.enabled


def test_the_segment_of_the_tumour_is_proposed_and_the_user_s_choice_stays(user):
    volume = user.load()
    assert not user.ui.segmentCombo.visible
    node = user.segmentation(volume, "kidney", "tumour")
    assert user.ui.segmentCombo.visible
    assert user.chosen.segmentId == "tumour"
    user.ui.segmentCombo.currentIndex = 0
    assert user.chosen.segmentId == "kidney"
    node.GetSegmentation().AddEmptySegment("cyst", "Cyst")
    assert [user.ui.segmentCombo.itemText(row) for row in range(3)] == ["Kidney", "Tumour", "Cyst"]
    assert user.chosen.segmentId == "kidney"
    user.load(name="another patient")
    assert user.chosen.segmentation is None


def test_pictures_in_colour_and_heat_maps_are_refused_with_what_to_do(user):
    grey = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    picture = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "picture")
    slicer.util.updateVolumeFromArray(picture, np.stack([grey, grey, grey + 1], axis=-1))
    user.ui.inputSelector.setCurrentNode(picture)
    assert "Vector to Scalar Volume" in user.ui.reasonLabel.text
    slicer.util.updateVolumeFromArray(picture, np.stack([grey, grey, grey], axis=-1))
    assert user.ui.classifyButton.enabled
    heat = heatmaps.put(TRUTH.astype(np.float32), PHANTOM.volume.geometry, "heat")
    user.ui.inputSelector.setCurrentNode(heat)
    assert "heat map heat" in user.ui.reasonLabel.text


# The run


def test_the_answer_is_a_class_a_probability_and_a_bar_for_each(user):
    user.load()
    user.ui.classifyButton.click()
    assert user.worker.requests[0]["job"] == "classify"
    assert user.worker.requests[0]["model"] == BRAIN
    assert user.status() == "Starting the engine…"
    assert user.ui.progressBar.visible
    assert user.ui.cancelButton.enabled
    assert not user.ui.classifyButton.enabled
    user.worker.progress("infer", 0.5, 12.0)
    assert user.status() == "Classifying the slices, 12 s left"
    user.worker.progress("heat", 0.5)
    assert user.status() == "Computing the heat map"
    user.worker.classified()
    assert user.status().startswith("Done in")
    assert user.ui.classLabel.text == "Glioma, 91 %"
    assert user.ui.aboutLabel.text == f"head · {BRAIN} 1.0.0"
    assert user.bars() == [
        ("Glioma", 910, "91 %"),
        ("Meningioma", 50, "5 %"),
        ("Pituitary tumour", 30, "3 %"),
        ("No tumour", 10, "1 %"),
    ]
    assert all(bar.enabled for _name, bar in user.widget.classify.result._bars)
    assert user.ui.votesLabel.text.startswith(
        "5 of 10 slices say glioma, 5 no tumour. The mean of the probabilities of 10 slices"
    )
    for label in (user.ui.reasonsLabel, user.ui.intervalLabel, user.ui.warningsLabel, user.ui.staleLabel):
        assert not label.visible
    assert not user.ui.featureTable.visible
    assert not user.ui.progressBar.visible
    assert list(user.worker.folder.iterdir()) == []


def test_a_model_that_does_not_know_says_so_with_its_reasons(user):
    user.load()
    user.classify(probabilities=UNSURE, reasons=(STRANGE,), warnings=("3 voxels were NaN.",))
    assert user.ui.classLabel.text == "Uncertain: review"
    assert user.ui.reasonsLabel.text == STRANGE
    assert user.ui.warningsLabel.text == "3 voxels were NaN."
    assert not any(bar.enabled for _name, bar in user.widget.classify.result._bars)
    assert user.bars()[0] == ("Glioma", 410, "41 %")
    user.classify()
    assert all(bar.enabled for _name, bar in user.widget.classify.result._bars)
    assert not user.ui.reasonsLabel.visible


def test_a_model_of_plain_numbers_shows_what_spoke_for_it_and_how_sure_it_is(user):
    volume = user.load()
    user.classify()
    user.choose(RENAL)
    user.segmentation(volume, "tumour")
    user.ui.classifyButton.click()
    np.testing.assert_array_equal(user.worker.region(), TRUTH)
    user.worker.shape()
    table = user.ui.featureTable
    rows = [[table.item(r, c).text() for c in range(3)] for r in range(table.rowCount)]
    assert user.ui.classLabel.text == "Malignant, 81 %"
    assert user.ui.aboutLabel.text == f"head, segment Tumour · {RENAL} 1.0.0"
    assert [name for name, _length, _text in user.bars()] == ["Benign", "Malignant"]
    assert user.ui.intervalLabel.text.startswith("Malignant: between 62 % and 93 % (95 % interval).")
    assert table.horizontalHeaderItem(2).text() == "Malignant"
    assert rows == [["Volume, mL", "61.3", "for"], ["Sphericity", "0.71", "against"]]
    assert not user.ui.votesLabel.visible
    assert not user.ui.votesButton.visible
    assert not user.ui.heatmapCheckBox.enabled
    assert "has no heat map" in tip(user.ui.heatmapCheckBox)


def test_features_speak_for_the_class_that_is_shown(user):
    volume = user.load()
    user.choose(RENAL)
    user.segmentation(volume, "tumour")
    user.ui.classifyButton.click()
    user.worker.shape(malignant=0.3, interval=(0.001, 0.999))
    assert user.ui.classLabel.text == "Benign, 70 %"
    assert user.ui.featureTable.item(0, 2).text() == "against"
    assert user.ui.intervalLabel.text.startswith("Malignant: between <1 % and >99 %")


def test_a_probability_is_read_against_the_share_that_all_such_tumours_have(user):
    user.segmentation(user.load(), "tumour")
    user.choose(RENAL)
    user.ui.classifyButton.click()
    user.worker.shape(0.97, (0.93, 0.98), prevalence=0.913)
    assert [text for _name, _length, text in user.bars()] == ["3 % (usual: 9 %)", "97 % (usual: 91 %)"]
    assert user.ui.classLabel.text == "Malignant, 97 %"


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.0, "<1 %"), (0.004, "<1 %"), (0.006, "1 %"), (0.5, "50 %"), (0.994, "99 %"), (1, ">99 %")],
)
def test_nothing_is_ever_quite_certain(probability, text):
    assert texts.percent(probability) == text


def test_cancel_in_the_middle_changes_nothing(user):
    user.load()
    user.ui.classifyButton.click()
    user.worker.progress("infer", 0.3)
    user.ui.cancelButton.click()
    assert user.status() == "Cancelled. Nothing was changed."
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    assert list(user.worker.folder.iterdir()) == []
    user.classify()
    assert user.ui.classLabel.text == "Glioma, 91 %"


def test_an_answer_that_comes_after_cancel_or_of_a_closed_scene_is_dropped(user):
    user.load()
    user.ui.classifyButton.click()
    user.worker.answers_cancel = False
    user.ui.cancelButton.click()
    user.worker.classified()
    assert user.status() == "Cancelled. Nothing was changed."
    user.ui.classifyButton.click()
    on_done = user.worker.jobs[2][1]
    slicer.mrmlScene.Clear()
    on_done({"results": [], "errors": []})
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    assert user.ui.aboutLabel.text.startswith("There is no result yet")


def test_an_error_gives_a_message_in_the_panel_and_the_next_job_runs(user):
    user.load()
    user.ui.classifyButton.click()
    user.worker.error("InputError", "Expected slices that show a head, found none. Choose another volume.")
    assert user.status() == "Expected slices that show a head, found none. Choose another volume."
    assert user.ui.classifyButton.enabled
    user.ui.classifyButton.click()
    user.worker.answer()
    assert user.status() == "The engine gave no result. Try again."
    user.classify()
    assert user.status().startswith("Done")


def test_the_panel_is_free_again_even_after_an_error_of_our_own(user):
    user.load()
    user.ui.classifyButton.click()
    with pytest.raises(KeyError):  # which the event loop prints
        user.worker.answer({"no": "record"})
    assert "Python console" in user.status()
    assert user.ui.classifyButton.enabled


def test_an_empty_segment_gives_a_message_before_the_engine_is_asked(user):
    volume = user.load()
    node = user.segmentation(volume)
    node.GetSegmentation().AddEmptySegment("tumour", "Tumour")
    user.ui.classifyButton.click()
    assert "Expected the segment Tumour to lie on head" in user.status()
    assert user.worker.requests == []


def test_a_volume_under_a_transform_is_classified_as_a_hardened_copy_with_its_segment(user):
    volume = user.load()
    node = user.segmentation(volume, "tumour")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = np.eye(4)
    matrix[:3, 3] = 20.0
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    for each in (volume, node):
        each.SetAndObserveTransformNodeID(transform.GetID())
    asked = agree(True)
    user.ui.classifyButton.click()
    assert "moved" in asked[0]
    np.testing.assert_array_equal(user.worker.region(), TRUTH)
    user.worker.classified()
    assert user.ui.inputSelector.currentNode() is not volume
    assert user.chosen.segmentation is node
    assert not user.ui.staleLabel.visible


def test_the_choices_under_advanced_reach_the_engine(user):
    user.load()
    user.ui.threadsSpinBox.value = 3
    user.ui.deviceCombo.currentText = "cpu"
    user.ui.classifyButton.click()
    options = user.worker.requests[0]["options"]
    assert (options["device"], options["threads"]) == ("cpu", 3)


def test_without_packages_the_panel_offers_the_set_up_and_then_goes_on(user):
    user.load()
    user.packages.needed = packages.required()[:2]
    user.widget.enter()
    assert user.ui.setupBox.visible
    assert not user.ui.runBox.visible
    user.ui.setupButton.click()
    slicer.app.processEvents()
    assert user.worker.requests[0]["job"] == "classify"


# Old answers


@pytest.mark.parametrize("what", ["volume", "segmentation", "segment", "model", "pixels", "paint", "deleted"])
def test_an_answer_to_another_question_is_visibly_stale(user, what):
    volume = user.load()
    node = user.segmentation(volume, "kidney", "tumour")
    user.classify()
    assert not user.ui.staleLabel.visible
    change = {
        "volume": lambda: user.load(name="other"),
        "segmentation": lambda: user.ui.segmentationSelector.setCurrentNode(None),
        "segment": lambda: setattr(user.ui.segmentCombo, "currentIndex", 0),
        "model": lambda: user.choose(RENAL),
        "pixels": lambda: slicer.util.updateVolumeFromArray(volume, PHANTOM.volume.array + 1),
        "paint": lambda: slicer.util.updateSegmentBinaryLabelmapFromArray(
            (~TRUTH).astype(np.uint8), node, "tumour", volume
        ),
        "deleted": lambda: slicer.mrmlScene.RemoveNode(volume),
    }[what]
    change()
    assert user.ui.staleLabel.visible
    assert user.ui.staleLabel.text.startswith("Out of date. ")
    assert not user.ui.answerBox.enabled
    assert not any(bar.enabled for _name, bar in user.widget.classify.result._bars)
    assert not user.ui.heatmapCheckBox.enabled
    assert tip(user.ui.heatmapCheckBox)


def test_the_answer_to_the_question_that_is_asked_again_is_shown_again(user):
    first = user.load()
    user.classify()
    user.load(name="second")
    user.classify(probabilities=UNSURE, reasons=(STRANGE,))
    user.ui.inputSelector.setCurrentNode(first)
    assert user.ui.classLabel.text == "Glioma, 91 %"
    assert not user.ui.staleLabel.visible
    user.choose(RENAL)
    assert user.ui.staleLabel.visible
    user.choose(BRAIN)
    assert not user.ui.staleLabel.visible


def test_a_paint_stroke_makes_stale_for_good_and_a_new_run_makes_fresh(user):
    volume = user.load()
    node = user.segmentation(volume, "tumour")
    user.classify()
    slicer.util.updateSegmentBinaryLabelmapFromArray((~TRUTH).astype(np.uint8), node, "tumour", volume)
    user.widget.enter()
    assert "changed since" in user.ui.staleLabel.text
    user.classify()
    assert not user.ui.staleLabel.visible


def test_a_volume_that_is_edited_while_the_model_runs_makes_the_answer_stale(user):
    volume = user.load()
    user.ui.classifyButton.click()
    slicer.util.updateVolumeFromArray(volume, PHANTOM.volume.array + 1)
    user.worker.classified()
    assert "changed since" in user.ui.staleLabel.text


# Where it looked


def test_the_heat_map_is_laid_over_the_slices_and_taken_away(user):
    volume = user.load()
    front = samples.volume_node(PHANTOM.volume, "front")
    red().SetForegroundVolumeID(front.GetID())
    red().SetForegroundOpacity(0.3)
    table = user.classify(heat=TRUTH.astype(np.float32))
    node = table.GetNodeReference(class_result.HEATMAP_ROLE)
    assert red().GetForegroundVolumeID() == front.GetID()
    user.ui.heatmapCheckBox.click()
    assert red().GetBackgroundVolumeID() == volume.GetID()
    assert red().GetForegroundVolumeID() == node.GetID()
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), TRUTH)
    user.ui.heatmapCheckBox.click()
    assert red().GetForegroundVolumeID() == front.GetID()
    assert red().GetForegroundOpacity() == 0.3


def test_an_answer_that_becomes_stale_takes_its_heat_map_away(user):
    user.load()
    user.classify()
    user.ui.heatmapCheckBox.click()
    user.choose(RENAL)
    assert red().GetForegroundVolumeID() is None
    assert not user.ui.heatmapCheckBox.checked
    user.choose(BRAIN)
    assert user.ui.heatmapCheckBox.enabled
    assert not user.ui.heatmapCheckBox.checked


# The votes


def test_the_votes_are_behind_a_fold_and_the_slider_goes_to_a_slice(user):
    volume = user.load()
    user.classify()
    assert user.ui.votesButton.collapsed
    user.ui.votesButton.collapsed = False
    assert (user.ui.sliceSlider.minimum, user.ui.sliceSlider.maximum) == (0, 9)
    user.ui.sliceSlider.value = 7
    assert user.ui.sliceLabel.text == "Slice 7: Glioma, 48 %. Its weight in the answer is 5 %."
    place, _axis = class_result.place_of(volume, "axial", 7)
    to_ras = slicer.util.arrayFromVTKMatrix(
        slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetSliceToRAS()
    )
    assert to_ras[:3, 2] @ (np.array(place) - to_ras[:3, 3]) == pytest.approx(0, abs=0.01)
    user.ui.sliceSlider.value = 9
    assert user.ui.sliceLabel.text.endswith("Its weight in the answer is 1 %.")


def test_the_plot_shows_every_class_in_its_colour(user):
    user.load()
    user.classify()
    user.ui.votesButton.collapsed = False
    slicer.app.processEvents()
    user.widget.classify.result.votes.draw()
    image = user.ui.plotLabel.grab().toImage()
    seen = {image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())}
    for colour in re.findall(r"#\w{6}", user.ui.legendLabel.text):
        assert colour in seen, colour
    for name in ("Glioma", "Meningioma", "Pituitary tumour", "No tumour"):
        assert name.replace(" ", "&nbsp;") in user.ui.legendLabel.text


def test_the_plot_is_drawn_again_when_the_panel_gets_another_width(user, tmp_path):
    user.load()
    user.classify()
    user.ui.votesButton.collapsed = False
    for width in (480, 300):
        host.screenshot(user.widget.parent, tmp_path / "panel.png", width)
        slicer.app.processEvents()
        assert user.ui.plotLabel.pixmap.width() == user.ui.plotLabel.width


def test_the_plot_of_an_answer_without_slices_stays_empty(user):
    volume = user.load()
    user.choose(RENAL)
    user.segmentation(volume, "tumour")
    user.ui.classifyButton.click()
    user.worker.shape()
    user.ui.votesButton.collapsed = False  # hidden for such an answer, but a script may open it
    slicer.app.processEvents()
    user.ui.sliceSlider.value = 3
    assert user.ui.sliceLabel.text == ""


def test_a_curve_runs_from_left_to_right_with_0_at_the_bottom():
    slices = [class_result.Slice(k, {"a": p}, True) for k, p in ((4, 0.0), (5, 1.0), (8, 0.5))]
    size = (100 + 2 * EDGE + 1, 50 + 2 * EDGE + 1)
    assert curves(slices, "a", size) == [(EDGE, EDGE + 50), (EDGE + 25, EDGE), (EDGE + 100, EDGE + 25)]


def test_without_views_the_slider_says_what_is_missing(user):
    user.load()
    user.classify()
    user.ui.votesButton.collapsed = False
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        node.SetMappedInLayout(0)
    user.ui.sliceSlider.value = 3
    assert "Expected a view of axial slices" in user.ui.sliceLabel.text


# The report


def test_the_report_says_result_model_image_and_settings(user, tmp_path):
    volume = user.load()
    user.segmentation(volume, "tumour")
    assert not user.ui.reportButton.enabled
    user.classify()
    host.answer(str(tmp_path / "report.json"))
    user.ui.reportButton.click()
    assert user.ui.resultLabel.text == f"Saved at {tmp_path / 'report.json'}."
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert (report["model"], report["version"], report["sha256"]) == (BRAIN, "1.0.0", card(BRAIN).sha256)
    assert "not for diagnosis" in report["note"]
    assert report["settings"] == {"device": "auto", "threads": "all"}
    (one,) = report["results"]
    assert (one["input"], one["segmentation"], one["segment"]) == ("head", "tumours", "Tumour")
    assert (one["class"], len(one["slices"]), len(one["image"]["sha256"])) == ("glioma", 10, 64)
    host.answer(str(tmp_path / "report"))  # without a suffix
    user.ui.reportButton.click()
    with (tmp_path / "report.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["input"], row["name"], row["p_glioma"]) == ("head", "Glioma", "0.91")
    host.answer("")
    user.ui.reportButton.click()
    assert str(tmp_path) in host.dialogs.shown[-1]


def test_a_report_that_cannot_be_written_gives_a_message_and_none_is_replaced_unasked(user, tmp_path):
    user.load(name="2: ax/t1")
    user.classify()
    host.answer(str(tmp_path / "none" / "report.csv"))
    user.ui.reportButton.click()
    assert "does not exist" in user.ui.resultLabel.text
    (tmp_path / "report.csv").write_text("precious")
    host.answer(str(tmp_path / "report"))
    agree(False)
    user.ui.reportButton.click()
    assert (tmp_path / "report.csv").read_text() == "precious"
    assert "2_ ax_t1" in host.dialogs.shown[-2]


# Nothing is lost


def test_a_reloaded_module_knows_what_was_chosen_and_said(user):
    volume = user.load()
    node = user.segmentation(volume, "kidney", "tumour")
    user.ui.segmentCombo.currentIndex = 0
    user.classify()
    host.unload_module("MedTLClassify")
    user.open()
    assert user.ui.inputSelector.currentNode() is volume
    assert user.chosen.segmentation is node
    assert user.ui.segmentCombo.currentText == "Kidney"
    assert user.ui.classLabel.text == "Glioma, 91 %"
    assert not user.ui.staleLabel.visible


def test_a_saved_scene_opens_with_what_was_chosen_and_said(user, tmp_path):
    user.load()
    user.classify(probabilities=UNSURE, reasons=(STRANGE,))
    path = tmp_path / "scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path))
    slicer.mrmlScene.Clear()
    assert not user.ui.answerBox.visible
    slicer.mrmlScene.ReadFromMRB(str(path), True)
    assert user.ui.classLabel.text == "Uncertain: review"
    assert not user.ui.staleLabel.visible
    assert user.ui.heatmapCheckBox.enabled


def test_a_result_that_was_deleted_is_gone(user):
    user.load()
    table = user.classify()
    slicer.mrmlScene.RemoveNode(table)
    user.widget.enter()
    assert user.ui.aboutLabel.text.startswith("There is no result yet")
    assert not user.ui.reportButton.enabled


def test_text_from_a_file_is_shown_as_it_is(user):
    user.load(name="<b>bold</b>")
    user.classify()
    marked = {"noticeLabel", "legendLabel", "plotLabel"}  # our own words, names that are escaped, a picture
    labels = [w.get("name") for w in form().iter("widget") if w.get("class") == "QLabel"]
    assert {name for name in labels if getattr(user.ui, name).textFormat != qt.Qt.PlainText} == marked
    assert "<b>bold</b>" in user.ui.aboutLabel.text


# With the real engine


@pytest.fixture
def served(user: ClassUser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClassUser]:
    """The panel, served by the real engine in its own Python."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "engine"
    folder.mkdir()
    user.close()
    user = ClassUser(folder, Worker([ENGINE_PYTHON, "-u", "-P", "-m", "medtl.worker"], folder))
    yield user
    user.close()


def classified(user: ClassUser) -> class_result.Classification:
    """Press Classify and wait for what the real engine says."""
    user.ui.classifyButton.click()
    host.process_until(lambda: user.ui.classifyButton.enabled, 240.0, "The answer")
    assert user.status().startswith("Done in"), user.status()
    return class_result.read(user.chosen.result)


@needs_engine
def test_from_the_button_to_the_answer_with_a_network_in_the_real_engine(served, monkeypatch, tmp_path):
    """With the model that ships; the command line says the same of the same file, and neither believes a phantom."""
    monkeypatch.setattr("medtl.model.store.shipped_folders", lambda: (ROOT / "Resources" / "Models",))
    shutil.rmtree(user_store() / BRAIN)
    user = served
    accept_terms()
    user.widget.enter()
    phantom = head(1, (96, 96, 12), (2.0, 2.0, 10.0))
    volume = user.load(phantom)
    user.choose(BRAIN)
    found = classified(user)
    assert sum(found.probabilities.values()) == pytest.approx(1.0, abs=0.01)
    assert len(user.bars()) == 4
    assert user.ui.classLabel.text == "Uncertain: review"
    assert "unlike those of training" in user.ui.reasonsLabel.text
    node = user.chosen.result.GetNodeReference(class_result.HEATMAP_ROLE)
    heat = slicer.util.arrayFromVolume(node)
    assert heat.shape == phantom.volume.array.shape
    assert heat.max() == pytest.approx(1.0, abs=0.1)
    places = [each.index for each in found.slices]
    assert not np.delete(heat, places, axis=0).any()
    assert grid(node).close_to(grid(volume))
    assert list(user.worker.folder.iterdir()) == []
    assert not user.ui.staleLabel.visible
    store_image(tmp_path / "head.nrrd", phantom.volume.array, phantom.volume.geometry)
    command = [ENGINE_PYTHON, "-m", "medtl", "classify", str(tmp_path / "head.nrrd"), "--model", BRAIN, "--json"]
    report = subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    (record,) = json.loads(report.stdout)["results"]
    assert record["abstained"]
    assert record["probabilities"] == pytest.approx(dict(found.probabilities), abs=0.02)  # bfloat16 or not


@needs_engine
def test_from_the_button_to_the_answer_with_plain_numbers_in_the_real_engine(served, monkeypatch):
    """With the model that ships, which the engine finds by its name."""
    monkeypatch.setattr("medtl.model.store.shipped_folders", lambda: (ROOT / "Resources" / "Models",))
    shutil.rmtree(user_store() / RENAL)
    user = served
    accept_terms()
    user.widget.enter()
    phantom = head(1, (96, 96, 12), (2.0, 2.0, 10.0))
    volume = user.load(phantom)
    assert user.ui.modelCombo.findData(RENAL) < 0, "not offered for a head"
    user.ui.allModelsCheckBox.checked = True
    user.choose(RENAL)
    segmentation = user.segmentation(volume)
    segmentation.GetSegmentation().AddEmptySegment("tumour", "Tumour")
    mask = (phantom.labelmap.array > 0).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "tumour", volume)
    found = classified(user)
    volume_ml = next(one["value"] for one in found.features if one["name"] == "volume")
    assert volume_ml == pytest.approx(phantom.lesion_ml, abs=0.01)
    assert user.ui.featureTable.rowCount == 5
    assert user.ui.classLabel.text == "Uncertain: review"
    assert "91% of the training tumours are Malignant" in user.ui.reasonsLabel.text


# The form


def form() -> ET.Element:
    return ET.parse(MODULE.parent / "Resources/UI/MedTLClassify.ui").getroot()


def test_every_name_of_the_form_is_used_and_every_name_used_is_in_the_form():
    shared = [SEGMENT_MODULE.parent / f"MedTLLib/panels/{name}.py" for name in ("run", "models", "setup", "form")]
    files = (MODULE, *MODULE.parent.glob("MedTLClassifyLib/*.py"), *shared)
    used = set(re.findall(r"\bui\.(\w+)", "".join(path.read_text(encoding="utf-8") for path in files)))
    widgets = {w.get("name", ""): w for w in form().iter("widget")}
    assert used - set(widgets) == set()
    bound = {
        n for n, w in widgets.items() if any(p.get("name") == "SlicerParameterName" for p in w.findall("property"))
    }
    frames = {n for n, w in widgets.items() if w.find("layout") is not None}
    captions = {n for n in widgets if n.endswith("Caption")}
    assert set(widgets) - used - bound - frames - captions == {"noticeLabel"}


def test_every_parameter_that_the_form_names_exists(user):
    named = [p.findtext("string") for p in form().iter("property") if p.get("name") == "SlicerParameterName"]
    assert sorted(named) == sorted(set(named))
    for name in named:
        getattr(user.chosen, name)


def test_controls_have_accessible_names_and_grey_buttons_a_reason(user):
    kinds = (qt.QAbstractButton, qt.QComboBox, qt.QSpinBox, qt.QSlider, qt.QTableWidget, qt.QTextBrowser)
    for name in [w.get("name") for w in form().iter("widget")]:
        control = getattr(user.ui, name, None)
        if isinstance(control, kinds):
            assert control.accessibleName or getattr(control, "text", ""), name
            assert control.focusPolicy != qt.Qt.NoFocus, name
        if isinstance(control, qt.QAbstractButton) and not control.enabled:
            assert control.toolTip, name


def test_no_key_is_taken_twice(user):
    texts = [p.findtext("string") or "" for p in form().iter("property") if p.get("name") == "text"]
    keys = [key.upper() for text in texts for key in re.findall(r"&(\w)", text)]
    assert len(keys) >= 10
    assert sorted(keys) == sorted(set(keys))


def test_that_it_is_no_diagnosis_is_said_whatever_is_shown(user):
    for step in (lambda: None, user.load, user.classify, lambda: user.choose(RENAL)):
        step()
        assert user.ui.noticeLabel.visible
        assert "Research use, not for diagnosis" in user.ui.noticeLabel.text


@pytest.mark.parametrize("width", [480, 300])
def test_the_panel_fits_into_its_width(user, tmp_path, width):
    def fits(name: str) -> None:
        assert host.screenshot(user.widget.parent, tmp_path / f"{name}.png", width)[0] == width
        slicer.app.processEvents()
        labels = [w for w in vars(user.ui).values() if type(w) is qt.QLabel]
        assert [w.name for w in labels if w.visible and w.height < w.heightForWidth(w.width)] == []
        user.widget.parent.resize(width, 2000)

    fits("empty")
    volume = user.load()
    user.ui.classifyButton.click()
    user.worker.progress("infer", 0.4, 12.0)
    fits("running")
    user.worker.classified()
    user.ui.votesButton.collapsed = False
    user.ui.sliceSlider.value = 4
    fits("result")
    user.ui.votesButton.collapsed = True
    user.classify(probabilities=UNSURE, reasons=(STRANGE, STRANGE), warnings=(STRANGE,))
    fits("uncertain")
    user.choose(RENAL)
    fits("stale")
    user.segmentation(volume, "tumour")
    user.measure()
    user.ui.advancedButton.collapsed = False
    user.ui.cardButton.click()
    fits("numbers")
