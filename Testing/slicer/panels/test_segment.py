"""The panel, used as a user does; the engine is a fake that answers when the test says so."""

import json
import re
import shutil
import sys
import xml.etree.ElementTree as ET
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import host
import numpy as np
import pytest
import qt
import slicer
import vtk
from panel_user import LESION, MODEL, MODULE, PHANTOM, SEGMENT, User, accept_terms, agree, paint, tick, tip, voxels
from tuning_user import TUNED, bundle

from medtl.errors import Cancelled, InputError
from medtl.io.read import read_labelmap
from medtl.labels import MODEL_TAG
from medtl.model.card import METADATA
from medtl.model.store import find_model, user_store
from medtl.phantom import head
from MedTLLib import panels, samples
from MedTLLib.packages import packages
from MedTLLib.packages.packages import Package
from MedTLLib.prediction import writer

TRUTH = PHANTOM.labelmap.array > 0


# What can be chosen


def test_segment_is_grey_until_a_volume_is_there_and_the_panel_says_why(user):
    assert not user.ui.segmentButton.enabled
    assert "Expected a volume" in user.ui.reasonLabel.text
    assert tip(user.ui.segmentButton) == user.ui.reasonLabel.text
    assert user.ui.modelCombo.currentData == user.chosen.modelName == MODEL  # the list has all models until then
    user.load()
    assert user.ui.segmentButton.enabled
    assert not user.ui.reasonLabel.visible
    assert user.ui.modelCombo.currentData == MODEL


def test_the_volume_in_the_background_of_the_red_view_is_the_default(user):
    samples.volume_node(PHANTOM.volume, "other")
    in_view = samples.volume_node(PHANTOM.volume, "looked at")
    manager = slicer.app.layoutManager()
    manager.sliceWidget("Red").mrmlSliceCompositeNode().SetBackgroundVolumeID(in_view.GetID())
    user.chosen.inputVolume = None
    user.widget.enter()
    assert user.ui.inputSelector.currentNode() is in_view


def test_a_model_that_does_not_fit_is_listed_with_the_reason_on_request_only(user):
    user.load(head(1, (16, 16, 4), (2.0, 2.0, 10.0)))
    assert user.ui.modelCombo.count == 0
    assert not user.ui.segmentButton.enabled
    assert "No model fits this volume" in user.ui.reasonLabel.text
    user.ui.allModelsCheckBox.click()
    assert user.ui.modelCombo.count >= 2
    assert user.ui.modelCombo.currentIndex == -1
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData(MODEL)
    assert "field of view" in user.ui.fitLabel.text
    assert user.ui.segmentButton.enabled


def test_the_name_of_a_file_that_tells_another_sequence_is_held_against_the_model(user):
    user.load(name="patient_T1_post")
    assert [user.ui.modelCombo.itemData(k) for k in range(user.ui.modelCombo.count)] == ["tumour-t1c"]
    user.load(name="patient_DWI")
    assert user.ui.modelCombo.count == 0


def test_results_of_two_models_stand_side_by_side_in_one_segmentation(user):
    volume = user.load()
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData(MODEL)
    first = PHANTOM.labelmap.array > 0
    both = user.segment(first)
    user.ui.targetSelector.setCurrentNode(both)
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData("tumour-t1c")
    tags = (("MedTL.label", "tumour"), ("MedTL.model", "tumour-t1c"))
    user.worker.segments = (replace(SEGMENT, id="tumour-t1c.tumour", name="Tumour", tags=tags),)
    other = np.roll(first, 2, axis=2)
    assert user.segment(other) is both
    np.testing.assert_array_equal(voxels(both, volume), first)
    np.testing.assert_array_equal(voxels(both, volume, "tumour-t1c.tumour"), other)
    user.ui.tableButton.click()
    names = [row[0] for row in user.rows()]
    assert {"Glioma (FLAIR abnormality)", "Tumour"} <= set(names)


def test_the_card_is_one_click_away(user):
    user.load()
    assert not user.ui.cardBrowser.visible
    user.ui.cardButton.click()
    text = user.ui.cardBrowser.plainText
    for part in ("Research use, not for diagnosis", "TCGA-LGG", "Dice", "0.837", "18 patients", "CC BY-NC-SA"):
        assert part in text, part


HOSTILE = """# <img src="file:///etc/hostname"/> A card

![a](//attacker/share/x.png) !![b](file:///etc/hostname) [run](file:///bin/sh) [ref][r] [web](https://example.org)

[r]: file:///bin/sh

- **Bold**: the rest of the item is not
"""


def hostile_card(user: User, readme: str = HOSTILE, licence: str = "") -> Any:
    """The browser with the card of an imported model with these texts."""
    folder = bundle(TUNED)
    (folder / "docs" / "README.md").write_text(readme, encoding="utf-8")
    (folder / "LICENSE").write_text(licence, encoding="utf-8")
    user.widget.segment.readModels()
    user.load()
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData(TUNED)
    user.ui.cardButton.click()
    slicer.app.processEvents()
    return user.ui.cardBrowser


def test_a_card_opens_no_file_and_no_host_when_it_is_shown(user, monkeypatch):
    loaded = []
    monkeypatch.setattr(qt.QTextBrowser, "loadResource", lambda self, kind, url: loaded.append(url), raising=False)
    browser = hostile_card(user)
    assert "<img" not in browser.html
    assert '<img src="file:///etc/hostname"/> A card' in browser.plainText
    assert re.findall('href="([^"]*)"', browser.html) == ["https://example.org"]
    assert loaded == []


def test_an_image_that_cleaning_missed_is_shown_as_text(user):
    browser = user.ui.cardBrowser
    panels.card.showCard(browser, HOSTILE)
    assert "<img" not in browser.html
    assert "![a](//attacker/share/x.png)" in browser.plainText


@pytest.mark.parametrize(
    ("link", "opened"),
    [("https://example.org", True), ("http://example.org", False), ("file:///bin/sh", False), ("//host/share", False)],
)
def test_of_a_card_s_links_only_those_to_https_are_opened(user, monkeypatch, link, opened):
    found = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", found.append)
    browser = hostile_card(user)
    browser.anchorClicked.emit(qt.QUrl(link))
    assert [url.toString() for url in found] == ([link] if opened else [])
    assert not browser.openLinks
    assert not browser.openExternalLinks


def test_in_a_list_of_a_card_only_what_is_marked_is_bold(user):
    browser = hostile_card(user)
    cursor = browser.document.find("the rest of the item")
    assert cursor.charFormat().fontWeight() == qt.QFont.Normal


def test_licence_and_description_are_shown_letter_by_letter(user):
    text = "* 1. _a_ <b>b</b> [c](https://c.org) ![d](file:///d) `e` https://f.org\n\n    # second paragraph"
    browser = hostile_card(user, "", text)
    assert text.splitlines()[0] in browser.plainText
    assert "\n# second paragraph" in browser.plainText
    assert "<a href" not in browser.html


@pytest.mark.parametrize("name", ['<img src="file:///etc/hostname">', "T1 <b>post</b>", "a & b\n<img src=x>"])
def test_a_name_in_a_tool_tip_or_a_question_is_shown_letter_by_letter(user, name):
    user.load(name=name)
    user.chosen.allModels = True
    combo = user.ui.modelCombo
    tips = [combo.toolTip, *(combo.itemData(k, qt.Qt.ToolTipRole) for k in range(combo.count))]
    segmentation = user.segment() if user.ui.segmentButton.enabled else None
    if segmentation is not None:
        segmentation.SetName(name)
        user.chosen.resultSegmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
        tips.append(user.ui.undoButton.toolTip)
        assert "&lt;" in tips[-1]
    for each in filter(None, tips):
        document = qt.QTextDocument()
        document.setHtml(each)
        assert each.startswith("<p>")
        assert "<img" not in each
        assert "<b>" not in each
    asked = []
    host.answer(lambda dialog: asked.append(dialog.textFormat) or qt.QMessageBox.Cancel)
    assert not panels.form.confirm(name)
    assert asked == [qt.Qt.PlainText]


def test_a_frame_of_a_sequence_gives_a_message(user):
    for name in ("vtkMRMLSequenceNode", "vtkMRMLSequenceBrowserNode"):
        slicer.mrmlScene.RegisterNodeClass(getattr(slicer, name)())
    volume = user.load()
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "frames")
    for time in ("0", "1"):
        sequence.SetDataNodeAtValue(volume, time)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(volume, sequence, False)
    user.widget.enter()
    assert "frame 1 of 2" in user.ui.factsLabel.text


def test_a_folder_that_is_gone_gives_a_message(user):
    user.load()
    user.worker.folder.rmdir()
    user.ui.segmentButton.click()
    assert "Expected to write into" in user.status()
    assert user.ui.segmentButton.enabled


def test_a_colour_picture_and_an_empty_volume_are_refused_with_what_to_do(user):
    colour = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "picture")
    slicer.util.updateVolumeFromArray(colour, np.zeros((2, 8, 8, 3), np.uint8))
    user.ui.inputSelector.setCurrentNode(colour)
    assert "Vector to Scalar Volume" in user.ui.reasonLabel.text
    user.ui.inputSelector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing"))
    assert "no voxels" in user.ui.reasonLabel.text
    assert not user.ui.segmentButton.enabled


def under_a_transform(user: User, matrix: np.ndarray) -> Any:
    volume = user.load()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    return volume


def test_a_volume_under_a_transform_is_segmented_as_a_hardened_copy_after_asking(user):
    angle = np.deg2rad(20.0)
    matrix = np.array(
        [[np.cos(angle), -np.sin(angle), 0, 5.0], [np.sin(angle), np.cos(angle), 0, -7.0], [0, 0, 1, 3.0], [0, 0, 0, 1]]
    )
    volume = under_a_transform(user, matrix)
    before = slicer.util.arrayFromVTKMatrix(ijk_to_ras(volume))
    questions = agree(True)
    user.ui.segmentButton.click()
    copy = user.ui.inputSelector.currentNode()
    assert "moved" in questions[0]
    assert copy is not volume
    assert copy.GetParentTransformNode() is None
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(ijk_to_ras(copy)), matrix @ before, atol=1e-6)
    user.worker.done()
    np.testing.assert_array_equal(voxels(user.chosen.resultSegmentation, copy), TRUTH)
    assert volume.GetParentTransformNode() is not None
    np.testing.assert_array_equal(slicer.util.arrayFromVTKMatrix(ijk_to_ras(volume)), before)


def test_the_model_that_was_chosen_runs_on_the_copy_even_where_it_does_not_fit_it(user):
    under_a_transform(user, np.diag([0.2, 0.2, 0.2, 1.0]))
    agree(True)
    user.ui.segmentButton.click()
    assert user.ui.modelCombo.count == 0
    assert user.worker.requests[0]["model"] == MODEL


def test_who_wants_no_copy_reads_what_to_do_and_nothing_is_changed(user):
    volume = under_a_transform(user, np.diag([1.0, 1.0, 1.0, 1.0]))
    agree(False)
    count = slicer.mrmlScene.GetNumberOfNodes()
    user.ui.segmentButton.click()
    assert "Harden the transform" in user.status()
    assert user.worker.requests == []
    assert user.ui.inputSelector.currentNode() is volume
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_a_transform_that_leaves_no_right_angles_gives_a_message_and_leaves_no_copy(user):
    shear = np.eye(4)
    shear[0, 1] = 0.5
    under_a_transform(user, shear)
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    agree(True)
    user.ui.segmentButton.click()
    assert "sheared" in user.status()
    assert user.worker.requests == []
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == count


def ijk_to_ras(volume: Any) -> Any:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


# The run


def test_segmenting_puts_the_result_where_the_labels_are_and_shows_it(user):
    volume = user.load()
    user.ui.segmentButton.click()
    assert user.worker.requests[0]["model"] == MODEL
    assert user.status() == "Starting the engine…"
    assert user.ui.progressBar.visible
    assert user.ui.cancelButton.enabled
    assert not user.ui.segmentButton.enabled
    user.worker.progress("load", 0.5)
    before = user.ui.progressBar.value
    user.worker.progress("infer", 0.5, 12.0)
    assert before < user.ui.progressBar.value < 100
    assert "12 s left" in user.status()
    user.worker.done()
    segmentation = user.chosen.resultSegmentation
    np.testing.assert_array_equal(voxels(segmentation, volume), TRUTH)
    assert user.status().startswith("Done in")
    assert user.ui.segmentButton.enabled
    assert not user.ui.cancelButton.enabled
    assert not user.ui.progressBar.visible
    assert [row[0] for row in user.rows()] == ["Glioma (FLAIR abnormality)", "Lesion 1"]
    assert float(user.rows()[0][1]) == pytest.approx(PHANTOM.lesion_ml, abs=0.01)
    display = segmentation.GetDisplayNode()
    assert not (display.GetSegmentVisibility2DFill(LESION) and display.GetVisibility2DFill())
    assert display.GetSegmentVisibility2DOutline(LESION)
    assert display.GetVisibility2DOutline()
    assert list(user.worker.folder.iterdir()) == []


def test_cancel_in_the_middle_changes_nothing(user):
    user.load()
    user.ui.segmentButton.click()
    user.worker.progress("infer", 0.3)
    user.ui.cancelButton.click()
    assert user.status() == "Cancelled. Nothing was changed."
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert list(user.worker.folder.iterdir()) == []
    assert user.ui.segmentButton.enabled
    user.segment()
    assert user.status().startswith("Done")


def test_cancel_before_the_engine_is_ready_is_a_cancel_too(user):
    user.load()
    user.ui.segmentButton.click()
    assert user.worker.state == "starting"
    user.ui.cancelButton.click()
    assert user.status() == "Cancelled. Nothing was changed."
    assert user.ui.segmentButton.enabled


def test_cancel_can_be_pressed_once_and_progress_that_comes_late_is_not_shown(user):
    user.load()
    user.ui.segmentButton.click()
    user.worker.answers_cancel = False
    user.ui.cancelButton.click()
    assert not user.ui.cancelButton.enabled
    user.worker.progress("infer", 0.9)
    assert user.status() == "Cancelling…"
    assert user.worker.cancelled == [1]


def test_a_result_that_comes_after_cancel_is_dropped(user):
    user.load()
    user.ui.segmentButton.click()
    user.worker.answers_cancel = False
    user.ui.cancelButton.click()
    user.worker.done()
    assert user.status() == "Cancelled. Nothing was changed."
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert list(user.worker.folder.iterdir()) == []


@pytest.mark.parametrize("what", ["cancelled", "closed"])
def test_between_reading_and_filling_a_job_can_still_be_cancelled_and_the_scene_closed(user, what):
    user.worker.between = slicer.mrmlScene.Clear if what == "closed" else user.ui.cancelButton.click
    user.load()
    user.segment()
    assert user.status() == ("" if what == "closed" else "Cancelled. Nothing was changed.")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert list(user.worker.folder.iterdir()) == []
    assert not user.ui.cancelButton.enabled


def test_a_scene_closed_before_the_result_was_shown_is_left_in_peace(user):
    def on_node(caller: Any, event: Any) -> None:
        if caller.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") and not closing:
            closing.append(True)
            qt.QTimer.singleShot(0, slicer.mrmlScene.Clear)

    user.load()
    user.ui.segmentButton.click()
    closing: list[bool] = []
    observer = slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, on_node)
    user.worker.done()
    slicer.mrmlScene.RemoveObserver(observer)
    assert closing
    assert user.rows() == []
    assert user.result() == ""


def test_the_panel_is_free_again_even_after_an_error_of_our_own(user):
    user.load()
    user.ui.segmentButton.click()
    user.worker.write(TRUTH)
    user.worker.answer({"no": "record"})
    assert "KeyError" in host.errors.pop()
    assert "Python console" in user.status()
    assert user.ui.segmentButton.enabled
    user.segment()
    assert user.status().startswith("Done")


def test_an_error_of_the_engine_is_shown_its_files_stay_and_the_next_job_runs(user):
    user.load()
    user.ui.segmentButton.click()
    user.worker.error("DeviceError", "Not enough memory on cuda. Choose the device cpu.")
    assert user.status() == "Not enough memory on cuda. Choose the device cpu."
    assert len(list(user.worker.folder.iterdir())) == 1
    user.segment()
    assert user.status().startswith("Done")


def test_a_result_that_cannot_be_read_is_an_error_not_a_result(user):
    user.load()
    user.ui.segmentButton.click()
    user.worker.answer()
    assert "result.seg.nrrd" in user.status()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert user.ui.segmentButton.enabled


def test_a_second_run_makes_a_second_segmentation(user):
    volume = user.load()
    first = user.segment()
    second = user.segment(np.roll(TRUTH, 2, axis=2))
    assert first is not second
    np.testing.assert_array_equal(voxels(first, volume), TRUTH)
    np.testing.assert_array_equal(voxels(second, volume), np.roll(TRUTH, 2, axis=2))


def test_into_a_chosen_segmentation_protected_voxels_and_the_editors_mask_are_respected(user):
    volume = user.load()
    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    mine.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name in ("vessel", "field"):
        mine.GetSegmentation().AddEmptySegment(name, name)
    rows = np.flatnonzero(TRUTH.any(axis=(0, 2)))
    vessel, field = np.zeros_like(TRUTH), np.zeros_like(TRUTH)
    vessel[:, rows[0] : rows[2], :] = True
    field[:, : rows[-2], :] = True
    paint(mine, volume, vessel, "vessel")
    paint(mine, volume, field, "field")
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(mine)
    editor.setSourceVolumeNode(volume)
    node = editor.mrmlSegmentEditorNode()
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    node.SetMaskSegmentID("field")

    user.ui.targetSelector.setCurrentNode(mine)
    item = user.ui.protectList.item(0)
    assert item.text() == "vessel"
    item.setCheckState(qt.Qt.Checked)
    assert user.segment() is mine
    np.testing.assert_array_equal(voxels(mine, volume), TRUTH & field & ~vessel)
    np.testing.assert_array_equal(voxels(mine, volume, "vessel"), vessel)
    assert "protected" in user.result()


def test_hand_edits_survive_a_second_run_unless_replace_is_ticked(user):
    volume = user.load()
    segmentation = user.segment()
    user.ui.targetSelector.setCurrentNode(segmentation)
    edited = TRUTH.copy()
    k = int(np.flatnonzero(TRUTH.any(axis=(1, 2)))[0])
    edited[k, :4, :4] = True
    paint(segmentation, volume, edited)
    other = np.roll(TRUTH, 3, axis=1)
    user.segment(other)
    now = voxels(segmentation, volume)
    np.testing.assert_array_equal(now[k], edited[k])
    np.testing.assert_array_equal(np.delete(now, k, 0), np.delete(other, k, 0))
    user.ui.replaceEditsCheckBox.click()
    user.segment(other)
    np.testing.assert_array_equal(voxels(segmentation, volume), other)


# Meanwhile


def test_the_volume_deleted_in_the_middle_leaves_the_result_in_a_new_segmentation(user):
    volume = user.load()
    user.ui.segmentButton.click()
    slicer.mrmlScene.RemoveNode(volume)
    user.worker.done()
    assert "deleted while the model ran" in user.result()
    again = samples.volume_node(PHANTOM.volume)
    np.testing.assert_array_equal(voxels(user.chosen.resultSegmentation, again), TRUTH)
    assert slicer.mrmlScene.GetFirstNodeByName("MedTL grid") is None


def test_a_volume_moved_in_the_middle_leaves_the_result_where_the_volume_was(user):
    volume = user.load()
    user.ui.segmentButton.click()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    user.worker.done()
    assert "changed or moved while the model ran" in user.result()
    volume.SetAndObserveTransformNodeID(None)
    np.testing.assert_array_equal(voxels(user.chosen.resultSegmentation, volume), TRUTH)


@pytest.mark.parametrize("what", ["edited", "deleted"])
def test_a_target_touched_in_the_middle_is_left_alone(user, what):
    volume = user.load()
    target = user.segment()
    user.ui.targetSelector.setCurrentNode(target)
    user.ui.segmentButton.click()
    mine = np.roll(TRUTH, 5, axis=0)
    if what == "edited":
        paint(target, volume, mine)
    else:
        slicer.mrmlScene.RemoveNode(target)
    user.worker.done()
    assert f"{what} while the model ran" in user.result()
    result = user.chosen.resultSegmentation
    np.testing.assert_array_equal(voxels(result, volume), TRUTH)
    if what == "edited":
        assert result is not target
        np.testing.assert_array_equal(voxels(target, volume), mine)


def test_a_target_that_does_not_take_the_result_does_not_lose_it(user):
    volume = user.load()
    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    mine.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    mine.GetSegmentation().AddEmptySegment(LESION, "my own")
    user.ui.targetSelector.setCurrentNode(mine)
    result = user.segment()
    assert result is not mine
    assert "The result is in a new segmentation." in user.result()
    np.testing.assert_array_equal(voxels(result, volume), TRUTH)


def test_closing_the_scene_in_the_middle_ends_the_job_in_peace(user):
    user.load()
    user.ui.segmentButton.click()
    slicer.mrmlScene.Clear()
    assert user.worker.jobs == {}
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert list(user.worker.folder.iterdir()) == []
    user.load()
    user.segment()
    assert user.status().startswith("Done")


def test_a_target_under_a_transform_is_refused_before_the_run(user):
    user.load()
    target = user.segment()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    target.SetAndObserveTransformNodeID(transform.GetID())
    user.ui.targetSelector.setCurrentNode(target)
    assert "under a transform" in user.ui.reasonLabel.text
    assert not user.ui.segmentButton.enabled
    target.SetAndObserveTransformNodeID(None)
    assert user.ui.segmentButton.enabled


def test_the_choices_under_advanced_reach_the_engine(user):
    user.load()
    user.ui.flipCheckBox.click()
    user.ui.keepDoubtCheckBox.click()
    user.ui.threadsSpinBox.value = 3
    user.ui.deviceCombo.currentText = "cpu"
    user.ui.segmentButton.click()
    assert user.worker.requests[0]["options"] == {"flip": True, "device": "cpu", "threads": 3}


# A part of the volume


def test_only_the_slice_in_the_red_view_is_written_and_undone(user):
    volume = user.load()
    segmentation = user.segment()
    user.ui.targetSelector.setCurrentNode(segmentation)
    k = int(np.flatnonzero(TRUTH.any(axis=(1, 2)))[1])
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    red.RotateToVolumePlane(volume)
    red.JumpSliceByCentering(*centre_ras(volume, (28, 28, k)))
    user.ui.advancedButton.collapsed = False
    user.ui.onlySliceCheckBox.click()
    other = np.roll(TRUTH, 4, axis=2)
    user.ui.segmentButton.click()
    red.JumpSliceByCentering(*centre_ras(volume, (28, 28, 0)))  # the slice is that of the click
    user.worker.done(other)
    assert "inside the region only" in user.status()
    expected = TRUTH.copy()
    expected[k] = other[k]
    np.testing.assert_array_equal(voxels(segmentation, volume), expected)
    user.ui.undoButton.click()
    np.testing.assert_array_equal(voxels(segmentation, volume), TRUTH)


def test_outside_a_region_of_interest_no_voxel_is_touched(user):
    volume = user.load()
    segmentation = user.segment()
    user.ui.targetSelector.setCurrentNode(segmentation)
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "around")
    user.ui.regionSelector.setCurrentNode(roi)
    user.ui.segmentButton.click()
    assert "none of its voxels" in user.status()  # the region has no size yet
    matrix = slicer.util.arrayFromVTKMatrix(ijk_to_ras(volume))
    matrix[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)
    middle = np.argwhere(TRUTH).mean(axis=0)[::-1].round()
    matrix[:3, 3] = centre_ras(volume, tuple(middle))
    roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
    roi.SetSize(35.0, 700.0, 700.0)  # ten voxels of 3.5 mm
    user.segment(np.zeros_like(TRUTH))
    expected = TRUTH.copy()
    expected[:, :, int(middle[0]) - 5 : int(middle[0]) + 5] = False
    np.testing.assert_array_equal(voxels(segmentation, volume), expected)
    user.ui.regionSelector.setCurrentNode(None)
    user.segment(np.zeros_like(TRUTH))  # what was left outside counts as predicted, not as edited
    assert not voxels(segmentation, volume).any()


def test_without_a_red_view_its_slice_cannot_be_chosen(user):
    user.load()
    user.ui.onlySliceCheckBox.click()
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        if node.GetLayoutName() == "Red":
            slicer.mrmlScene.RemoveNode(node)
    user.ui.segmentButton.click()
    assert "Expected a Red slice view" in user.status()
    assert user.worker.requests == []


# Undo


def test_undo_takes_the_prediction_and_leaves_the_paint(user):
    volume = user.load()
    assert not user.ui.undoButton.enabled
    assert "no prediction" in tip(user.ui.undoButton)
    segmentation = user.segment()
    paint_mask = np.zeros_like(TRUTH)
    paint_mask[0, :3, :3] = True
    paint(segmentation, volume, TRUTH | paint_mask)
    user.ui.undoButton.click()
    np.testing.assert_array_equal(voxels(segmentation, volume), paint_mask)
    assert f"{int(TRUTH.sum())} voxels" in user.result()
    assert not user.ui.undoButton.enabled


def test_undo_of_a_first_prediction_leaves_nothing_behind(user):
    user.load()
    user.segment()
    user.ui.undoButton.click()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    assert user.rows() == []


def test_z_in_the_editor_takes_back_exactly_the_prediction(user):
    volume = user.load()
    segmentation = user.segment()
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(segmentation)
    editor.setSourceVolumeNode(volume)
    user.ui.targetSelector.setCurrentNode(segmentation)
    painted = TRUTH.copy()
    painted[0, :3, :3] = True
    paint(segmentation, volume, painted)
    moved = np.roll(TRUTH, 4, axis=2)
    moved[0] = painted[0]  # a slice that was edited keeps every voxel
    user.segment(np.roll(TRUTH, 4, axis=2))
    np.testing.assert_array_equal(voxels(segmentation, volume), moved)
    editor.undo()
    np.testing.assert_array_equal(voxels(segmentation, volume), painted)
    editor.redo()
    np.testing.assert_array_equal(voxels(segmentation, volume), moved)


# Results


def test_a_click_on_a_row_centres_every_view_on_the_lesion(user):
    volume = user.load()
    two = np.zeros_like(TRUTH)
    two[2, 10:20, 10:20], two[7, 40:45, 40:45] = True, True
    user.segment(two)
    assert [row[0] for row in user.rows()] == ["Glioma (FLAIR abnormality)", "Lesion 1", "Lesion 2"]
    user.ui.resultTable.cellClicked.emit(2, 0)
    for name in ("Red", "Green", "Yellow"):
        node = slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()
        to_ras = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
        np.testing.assert_allclose(to_ras[:3, 3], centre_ras(volume, (42, 42, 7)), atol=0.01)


def centre_ras(volume: Any, ijk: tuple[int, int, int]) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.array(matrix.MultiplyPoint((*ijk, 1)))[:3]


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nrrd", ".nii.gz"])
def test_export_is_read_back_and_its_folder_and_kind_are_remembered(user, tmp_path, suffix):
    user.load()
    user.segment()
    path = tmp_path / f"result{suffix}"
    host.answer(str(path))
    user.ui.exportButton.click()
    assert user.result().startswith(f"Saved at {path}, read back, identical.")
    np.testing.assert_array_equal(read_labelmap(path).array, TRUTH)
    host.answer("")
    user.ui.exportButton.click()
    asked = host.dialogs.shown[-1]
    assert str(tmp_path) in asked
    assert asked.split(";;")[0].endswith(f"*{suffix}")


def test_export_into_a_folder_that_is_not_there_gives_a_message(user, tmp_path):
    user.load()
    user.segment()
    host.answer(str(tmp_path / "none" / "result.nrrd"))
    user.ui.exportButton.click()
    assert "does not exist" in user.result()


def test_the_surface_is_made_on_demand(user):
    user.load()
    segmentation = user.segment()
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    assert not segmentation.GetSegmentation().ContainsRepresentation(surface)
    user.ui.show3DButton.click()
    assert segmentation.GetSegmentation().ContainsRepresentation(surface)
    assert segmentation.GetDisplayNode().GetVisibility3D()
    user.ui.show3DButton.click()
    assert not segmentation.GetDisplayNode().GetVisibility3D()


@pytest.mark.parametrize(("lesions", "shown"), [(1, 2), (4, 5), (20, 10)])
def test_the_table_is_as_high_as_its_rows_up_to_ten(user, lesions, shown):
    user.load()
    mask = np.zeros_like(TRUTH)
    for number in range(lesions):
        row, column = divmod(number, 5)
        mask[4:6, 4 + 10 * row : 8 + 10 * row, 4 + 10 * column : 8 + 10 * column] = True
    user.segment(mask)
    table = user.ui.resultTable
    slicer.app.processEvents()
    assert table.rowCount == lesions + 1
    assert table.viewport().height == sum(table.rowHeight(row) for row in range(shown))


def test_at_300_pixels_no_row_of_the_table_is_cut(user, tmp_path):
    user.load()
    user.segment()
    host.screenshot(user.widget.parent, tmp_path / "panel.png", 300)
    table = user.ui.resultTable
    for row in range(table.rowCount):
        for column in range(3):
            item = table.item(row, column)
            room = qt.QRect(0, 0, table.columnWidth(column) - 6, 1000)
            needed = table.fontMetrics().boundingRect(room, qt.Qt.TextWordWrap, item.text())
            assert needed.width() <= room.width()
            assert needed.height() <= table.rowHeight(row)
        assert table.item(row, 0).text() in table.item(row, 0).toolTip()


def test_show_3d_brings_the_surface_into_view(user):
    user.load()
    user.segment()
    user.ui.show3DButton.click()
    assert slicer.app.layoutManager()._host_resets == 1
    user.ui.show3DButton.click()
    assert slicer.app.layoutManager()._host_resets == 1


def test_show_3d_works_without_views(user):
    user.load()
    segmentation = user.segment()
    slicer.app._host_layout = None
    user.ui.show3DButton.click()
    assert segmentation.GetDisplayNode().GetVisibility3D()


def test_an_empty_result_gives_a_message(user):
    user.load()
    user.segment(np.zeros_like(TRUTH))
    assert user.result() == "Nothing was found."


def test_a_warning_of_the_engine_is_shown(user):
    user.load()
    user.ui.segmentButton.click()
    user.worker.done(warnings=("Unlike the training images: no body was found in the image. Check the result.",))
    assert "Unlike the training images" in user.result()


def test_where_the_image_states_no_spacing_no_figure_is_shown(user):
    user.load()
    user.ui.segmentButton.click()
    user.worker.done(ml=None)
    assert [row[1:] for row in user.rows()] == [["–", "–", "–"]] * 2
    user.ui.tableButton.click()
    assert [row[1:] for row in user.rows()] == [["–", "–", "–"]] * 2


def test_the_table_is_measured_again_after_painting(user):
    volume = user.load()
    segmentation = user.segment()
    paint(segmentation, volume, np.zeros_like(TRUTH))
    user.ui.tableButton.click()
    assert user.rows() == [["Glioma (FLAIR abnormality)", "0.00", "–", "0.0"]]
    user.ui.resultTable.cellActivated.emit(0, 0)
    assert user.result() == "This segment is empty."


# Nothing is lost


def test_a_reloaded_module_knows_what_was_chosen_and_found(user):
    volume = user.load()
    segmentation = user.segment()
    user.ui.flipCheckBox.click()
    host.unload_module("MedTLSegment")
    user.open()
    assert user.ui.inputSelector.currentNode() is volume
    assert user.chosen.resultSegmentation is segmentation
    assert user.ui.flipCheckBox.checked
    assert len(user.rows()) == 2
    assert user.ui.exportButton.enabled


def test_a_saved_scene_opens_with_what_was_chosen_and_found(user, tmp_path):
    user.load()
    segmentation = user.segment()
    user.ui.targetSelector.setCurrentNode(segmentation)
    path = tmp_path / "scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path))
    slicer.mrmlScene.Clear()
    assert user.rows() == []
    slicer.mrmlScene.ReadFromMRB(str(path), True)
    user.widget.enter()
    assert user.ui.inputSelector.currentNode().GetName() == "head"
    assert user.ui.targetSelector.currentNode().GetName() == segmentation.GetName()
    assert len(user.rows()) == 2
    volume = user.ui.inputSelector.currentNode()
    edited = voxels(user.chosen.targetSegmentation, volume)
    np.testing.assert_array_equal(edited, TRUTH)
    user.segment(np.roll(TRUTH, 1, axis=1))
    np.testing.assert_array_equal(voxels(user.chosen.targetSegmentation, volume), np.roll(TRUTH, 1, axis=1))


# Set-up and maintenance


def test_without_torch_the_panel_explains_itself_and_offers_the_set_up(user):
    user.load()
    user.packages.needed = packages.required()[:2]
    user.widget.enter()
    assert user.ui.setupBox.visible
    assert not user.ui.runBox.visible
    for part in ("torch", "download.pytorch.org", "MB", "minutes"):
        assert part in user.ui.setupTextLabel.text
    user.packages.failure = InputError("Nothing is installed while Slicer runs in testing mode.")
    user.ui.setupButton.click()
    assert "testing mode" in user.ui.setupStatusLabel.text
    assert user.worker.requests == []


def test_without_the_engine_s_packages_the_panel_opens_with_the_models_that_come_with_it_and_their_cards(
    user, monkeypatch, tmp_path
):
    volume = user.load()
    segmentation = user.segment()
    for name in ("safetensors", "torch", "timm", "monai", "segmentation_models_pytorch"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    monkeypatch.delenv("MEDTL_HOME")
    user.packages.needed = packages.required()[:2]
    host.unload_module("MedTLSegment")
    user.open()
    user.ui.maintenanceButton.collapsed = False
    assert user.ui.setupBox.visible
    assert user.ui.inputSelector.currentNode() is volume
    assert user.ui.modelCombo.currentData == MODEL
    user.ui.cardButton.click()
    assert "Dice" in user.ui.cardBrowser.plainText
    host.answer(str(tmp_path / "result.nrrd"))
    assert user.chosen.resultSegmentation is segmentation
    user.ui.exportButton.click()
    assert "identical" in user.result()


def test_after_the_set_up_the_job_goes_on(user):
    user.load()
    user.packages.needed, user.packages.changed = packages.required()[:2], ("numpy",)
    user.widget.enter()
    user.ui.setupButton.click()
    slicer.app.processEvents()
    assert not user.ui.setupBox.visible
    assert user.worker.requests[0]["model"] == MODEL
    assert "Restart Slicer when it suits you" in user.status()


def test_a_set_up_that_fails_says_so(user):
    user.packages.needed, user.packages.failure = packages.required()[:2], InputError("The disk is full.")
    user.widget.enter()
    user.ui.setupButton.click()
    assert user.ui.setupStatusLabel.text == "The disk is full."
    assert user.ui.setupBox.visible
    assert user.ui.setupButton.enabled


def test_a_set_up_shows_how_far_it_is_and_can_be_cancelled(user):
    user.packages.needed, user.packages.waits = packages.required()[:2], True
    user.widget.enter()
    assert not user.ui.setupCancelButton.visible
    user.ui.setupButton.click()
    user.packages.progress("Downloading torch…", 0.25)
    assert user.ui.setupStatusLabel.text == "Downloading torch…"
    assert (user.ui.setupProgressBar.value, user.ui.setupProgressBar.maximum) == (25, 100)
    assert not user.ui.setupButton.enabled
    user.widget.enter()  # the page of a running installation stays
    user.ui.setupCancelButton.click()
    assert user.ui.setupStatusLabel.text == "The installation was cancelled."
    assert user.ui.setupButton.enabled
    assert not user.ui.setupCancelButton.visible
    assert user.worker.requests == []


def test_what_is_installed_by_halves_is_repaired(user):
    user.packages.needed, user.packages.halves = packages.required()[:1], {"torch": "version 2.14.1 is there in part"}
    user.widget.enter()
    assert user.ui.setupButton.text == "Repair"
    user.packages.halves = {}
    user.widget.enter()
    assert user.ui.setupButton.text == "&Install"


def test_after_an_engine_that_failed_the_packages_are_tried(user):
    user.load()
    user.ui.segmentButton.click()
    user.worker.error("InputError", "The volume is empty.")
    assert user.packages.tried == 0
    user.ui.segmentButton.click()
    user.packages.needed, user.packages.halves = packages.required()[:1], {"torch": "DLL load failed"}
    user.worker.error("WorkerDied", "The engine ended while it worked.")
    assert user.packages.tried == 1
    assert user.ui.setupBox.visible
    assert user.ui.setupButton.text == "Repair"


def test_slicer_s_own_packages_change_only_after_a_question_of_its_own(user):
    user.load()
    user.packages.needed, user.packages.own = packages.required()[:2], "numpy 2.1 becomes numpy<2."
    user.widget.enter()
    asked = agree(False, True)
    user.ui.setupButton.click()
    assert user.ui.setupStatusLabel.text == "Nothing was installed."
    user.ui.setupButton.click()
    slicer.app.processEvents()
    assert asked == ["numpy 2.1 becomes numpy<2. Install?"] * 2
    assert not user.ui.setupBox.visible


def test_packages_that_medtl_installed_are_listed_and_those_that_are_ticked_removed(user):
    user.packages.ours = (Package("timm", "1.0.9", 3_000_000), Package("torch", "2.14.1", 900_000_000))
    user.ui.maintenanceButton.collapsed = False
    table = user.ui.storageTable
    shown = [[table.item(row, column).text() for column in range(3)] for row in range(2)]
    assert shown == [["package", "timm", "3.0"], ["package", "torch", "900.0"]]
    assert not user.ui.deleteButton.enabled
    user.ui.tickPackagesButton.click()
    assert "903.0 MB" in tip(user.ui.deleteButton)
    tick(user, 1)
    asked = agree(True)
    user.packages.waits = True
    user.ui.deleteButton.click()
    assert asked == ["Remove for good, 900.0 MB: torch?"]
    user.packages.progress("Removing torch… Cancel waits for its end.", None)
    assert "Removing torch" in user.ui.maintenanceLabel.text
    assert tip(user.ui.deleteButton) == "Packages are being removed."
    user.packages.needed = packages.required()[:1]
    user.packages.done()
    assert user.packages.removed == ["torch"]
    assert user.ui.maintenanceLabel.text == "Removed: torch. Restart Slicer if other modules use them."
    assert kinds(user) == ["package", "terms"]
    assert user.ui.setupBox.visible


def test_a_removal_of_packages_is_cancelled_and_says_what_is_gone(user):
    user.packages.ours = (Package("timm", "1.0.9", 3_000_000), Package("torch", "2.14.1", 900_000_000))
    user.ui.maintenanceButton.collapsed = False
    assert not user.ui.removalCancelButton.visible
    user.ui.tickPackagesButton.click()
    agree(True)
    user.packages.waits = user.packages.hangs = True
    user.ui.deleteButton.click()
    assert user.ui.removalCancelButton.visible
    user.ui.removalCancelButton.click()
    assert user.ui.maintenanceLabel.text == "The removal is being cancelled…"
    assert not user.ui.removalCancelButton.enabled
    user.packages.ours, user.packages.needed = user.packages.ours[1:], packages.required()[-1:]
    user.packages.error(Cancelled("The removal was cancelled. Removed before: timm."))
    assert user.ui.maintenanceLabel.text == "The removal was cancelled. Removed before: timm."
    assert not user.ui.removalCancelButton.visible
    assert kinds(user) == ["package", "terms"]
    assert user.ui.setupBox.visible
    tick(user, 0)
    assert user.ui.deleteButton.enabled
    agree(True)
    user.ui.deleteButton.click()
    assert user.ui.removalCancelButton.visible
    assert user.ui.removalCancelButton.enabled


def test_packages_that_cannot_be_removed_stay_in_the_list_with_the_reason(user):
    user.packages.ours = (Package("torch", "2.14.1", 900_000_000),)
    user.ui.maintenanceButton.collapsed = False
    user.packages.failure = InputError("timm needs torch: tick timm, too, or leave torch.")
    tick(user, 0)
    agree(True)
    user.ui.deleteButton.click()
    assert user.ui.maintenanceLabel.text == "timm needs torch: tick timm, too, or leave torch."
    user.packages.failure, user.packages.waits = None, True
    tick(user, 0)
    agree(True)
    user.ui.deleteButton.click()
    user.packages.error(InputError("torch could not be removed (busy)."))
    assert user.ui.maintenanceLabel.text == "torch could not be removed (busy)."
    assert kinds(user) == ["package", "terms"]
    user.worker.state = "busy"
    tick(user, 0)
    assert tip(user.ui.deleteButton) == "A job is running."


def test_what_a_failed_job_left_is_listed_and_deleted_after_asking(user):
    user.load()
    user.ui.segmentButton.click()
    user.worker.error("InternalError", "boom")
    user.ui.maintenanceButton.collapsed = False
    assert kinds(user) == ["job", "terms"]
    assert not user.ui.deleteButton.enabled
    assert tip(user.ui.deleteButton) == "Tick what is to be removed."
    tick(user, 0)
    agree(False, True)
    user.ui.deleteButton.click()
    assert len(list(user.worker.folder.iterdir())) == 1
    user.ui.deleteButton.click()
    assert list(user.worker.folder.iterdir()) == []
    assert kinds(user) == ["terms"]


def test_terms_that_were_accepted_are_listed_and_asked_for_again_once_they_are_removed(user):
    user.load()
    user.ui.maintenanceButton.collapsed = False
    assert kinds(user) == ["terms"]
    tick(user, 0)
    agree(True)
    user.ui.deleteButton.click()
    assert user.ui.maintenanceLabel.text == "Deleted: accepted-terms"
    assert kinds(user) == []
    host.answer(lambda dialog: qt.QDialog.Rejected)
    user.ui.segmentButton.click()
    assert user.status() == "Nothing was started: the terms of glioma-flair were not accepted."


def kinds(user: User) -> list[str]:
    """The kinds of what is listed as stored."""
    table = user.ui.storageTable
    return [table.item(row, 0).text() for row in range(table.rowCount)]


def test_the_log_tells_what_failed_and_where_and_nothing_of_the_patient(user, tmp_path):
    engine = MODULE.parents[1] / "medtl"
    user.load(name="Doe^Jane")
    user.ui.segmentButton.click()
    user.worker.progress("infer", 0.5)
    user.worker.stderr = f"""Reading /data/Doe_Jane/1.2.840.113619.nrrd
Traceback (most recent call last):
  File "{engine}/worker.py", line 129, in outcome
    open("/data/Doe_Jane.nrrd")
  File "/home/Doe/lib/torch/nn/modules/module.py", line 7, in Doe
  File "/data/medtl/Doe_Jane.py", line 1, in Doe
  File "/data/medtl/../Doe.py", line 2, in Doe
Doe_Jane: a patient
torch.OutOfMemoryError: no room for Doe_Jane
"""
    user.worker.error("InternalError", "MemoryError('/data/Doe_Jane/head.nrrd')")
    user.ui.segmentButton.click()
    user.worker.progress("Doe_Jane", 0.5)
    user.worker.error("Doe_Jane", "Doe_Jane")
    path = tmp_path / "log.zip"
    host.answer(str(path))
    user.ui.maintenanceButton.collapsed = False
    user.ui.logButton.click()
    with zipfile.ZipFile(path) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    for part in ("Doe", "Jane", "1.2.840", "/data", "head"):
        assert part not in "".join(texts.values()), part
    assert "MedTL " in texts["versions.txt"]
    assert f"numpy {np.__version__}" in texts["versions.txt"]
    first, second = texts["jobs.txt"].splitlines()
    assert first.startswith("InternalError, stage infer, device auto, after 0 s")
    assert second.startswith("other, stage other, device auto")
    assert texts["engine.txt"].splitlines() == ["medtl/worker.py, line 129", "torch, line 7", "OutOfMemoryError"]


def test_an_imported_model_that_is_none_is_refused_with_the_reason(user, tmp_path):
    path = tmp_path / "photo.zip"
    path.write_bytes(b"no zip")
    host.answer(str(path))
    user.ui.importButton.click()
    assert user.worker.requests == []
    assert "neither" in user.status()


def imported(user: User, name: str, parent: str = "") -> Path:
    """A copy of the shipped model under another name, in the user's store and listed."""
    folder = user_store() / name
    shutil.copytree(find_model(MODEL), folder)
    metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    metadata["medtl"] |= {"name": name, "parent": {"name": parent, "sha256": "00"} if parent else None}
    (folder / METADATA).write_text(json.dumps(metadata), encoding="utf-8")
    user.widget.segment.readModels()
    return folder


def choose(user: User, name: str) -> None:
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData(name)
    assert user.chosen.modelName == name


def delete(user: User, yes: bool = True) -> list[str]:
    """Press Delete model… and answer; what was asked."""
    asked = agree(yes)
    user.ui.deleteModelButton.click()
    return asked


def test_a_model_goes_out_as_a_zip_is_deleted_and_comes_back(user, tmp_path):
    folder = imported(user, "tuned")
    user.load()
    choose(user, "tuned")
    host.answer(str(tmp_path / "tuned"))  # without a suffix
    user.ui.exportModelButton.click()
    assert user.status() == f"Exported: {tmp_path / 'tuned.zip'}."
    assert len(delete(user)) == 1
    assert (user.status(), folder.exists()) == ("Deleted: tuned.", False)
    assert user.ui.modelCombo.findData("tuned") == -1
    host.answer(str(tmp_path / "tuned.zip"))
    user.ui.importButton.click()
    user.worker.imports()
    assert user.status() == "Imported: tuned."
    choose(user, "tuned")


def test_deleting_asks_once_and_names_the_model(user):
    folder = imported(user, "tuned")
    user.load()
    choose(user, "tuned")
    assert delete(user, False) == ["Delete the model tuned from this computer? This cannot be undone."]
    assert folder.is_dir()
    assert user.chosen.modelName == "tuned"


@pytest.mark.parametrize(("parent", "then"), [("b-parent", "b-parent"), ("gone", MODEL), ("", MODEL)])
def test_after_deleting_the_parent_is_chosen_or_the_first_that_fits(parent, then, user):
    imported(user, "a-first")
    imported(user, "b-parent")
    imported(user, "c-tuned", parent)
    user.load()
    choose(user, "c-tuned")
    assert len(delete(user)) == 1
    assert user.chosen.modelName == user.ui.modelCombo.currentData == then
    assert user.ui.segmentButton.enabled


def test_what_cannot_be_deleted_or_exported_is_grey_with_the_reason(user):
    export, remove = user.ui.exportModelButton, user.ui.deleteModelButton
    user.load(name="t1_head")  # no model fits
    assert (export.enabled, tip(export)) == (False, "No model is chosen.")
    assert (remove.enabled, tip(remove)) == (False, "No model is chosen.")
    user.load()
    assert export.enabled
    assert (remove.enabled, tip(remove)) == (False, f"{MODEL} comes with MedTL and cannot be deleted.")
    imported(user, "tuned")
    accept_terms()
    choose(user, "tuned")
    assert remove.enabled
    user.worker.state = "busy"  # with the job of another module, of which this panel hears nothing
    remove.click()
    assert user.status() == "A job is running."
    assert find_model("tuned")
    user.worker.state = "ready"
    user.ui.segmentButton.click()
    assert (remove.enabled, tip(remove)) == (False, "A job is running.")
    user.worker.done()
    assert remove.enabled


def test_an_export_or_a_deletion_that_fails_says_why(user, tmp_path):
    folder = imported(user, "tuned")
    user.load()
    choose(user, "tuned")
    host.answer(str(tmp_path / "none" / "tuned.zip"))
    user.ui.exportModelButton.click()
    assert "does not exist" in user.status()
    shutil.rmtree(folder)  # by another program
    assert len(delete(user)) == 1
    assert "found 'tuned'" in user.status()


def test_maintenance_deletes_a_model_and_the_list_knows(user):
    folder = imported(user, "tuned")
    user.load()
    choose(user, "tuned")
    user.ui.maintenanceButton.collapsed = False
    tick(user, 0)
    agree(True)
    user.ui.deleteButton.click()
    assert not folder.exists()
    assert list(user_store().iterdir()) == []
    assert user.chosen.modelName == MODEL


# The form


def form() -> ET.Element:
    return ET.parse(MODULE.parent / "Resources/UI/MedTLSegment.ui").getroot()


def test_every_name_of_the_form_is_used_and_every_name_used_is_in_the_form():
    code = "".join(path.read_text(encoding="utf-8") for path in (MODULE, *MODULE.parent.glob("MedTLLib/panels/*.py")))
    used = set(re.findall(r"\bui\.(\w+)", code))
    widgets = {w.get("name", ""): w for w in form().iter("widget")}
    assert used - set(widgets) == set()
    bound = {
        n for n, w in widgets.items() if any(p.get("name") == "SlicerParameterName" for p in w.findall("property"))
    }
    frames = {n for n, w in widgets.items() if w.find("layout") is not None}
    captions = {n for n in widgets if n.endswith("Caption")}
    assert set(widgets) - used - bound - frames - captions == set()


def test_every_parameter_that_the_form_names_exists(user):
    named = [p.findtext("string") for p in form().iter("property") if p.get("name") == "SlicerParameterName"]
    assert sorted(named) == sorted(set(named))
    for name in named:
        getattr(user.chosen, name)


def test_controls_have_accessible_names_and_grey_buttons_a_reason(user):
    kinds = (qt.QAbstractButton, qt.QComboBox, qt.QSpinBox, qt.QTableWidget, qt.QListWidget, qt.QTextBrowser)
    names = [w.get("name") for w in form().iter("widget")]
    for name in names:
        control = getattr(user.ui, name, None)
        if isinstance(control, kinds):
            assert control.accessibleName or getattr(control, "text", ""), name
            assert control.focusPolicy != qt.Qt.NoFocus, name
    user.ui.maintenanceButton.collapsed = False
    for name in names:
        control = getattr(user.ui, name, None)
        if isinstance(control, qt.QAbstractButton) and not control.enabled:
            assert control.toolTip, name


def test_no_key_is_taken_twice(user):
    texts = [p.findtext("string") or "" for p in form().iter("property") if p.get("name") == "text"]
    keys = [key.upper() for text in texts for key in re.findall(r"&(\w)", text)]
    assert len(keys) >= 10
    assert sorted(keys) == sorted(set(keys))


def cut_off(user: User) -> list[str]:
    """The labels whose text does not fit into them."""
    slicer.app.processEvents()
    labels = (getattr(user.ui, w.get("name")) for w in form().iter("widget") if w.get("class") == "QLabel")
    return [each.name for each in labels if each.visible and each.height < each.heightForWidth(each.width)]


@pytest.mark.parametrize("width", [480, 300])
def test_the_panel_fits_into_its_width(user, tmp_path, width, monkeypatch):
    def fits() -> None:
        assert host.screenshot(user.widget.parent, tmp_path / "panel.png", width)[0] == width
        assert cut_off(user) == []
        user.widget.parent.resize(width, 2000)  # from now on there is room enough for what comes

    user.load(head(1, (16, 16, 4), (2.0, 2.0, 10.0)))
    fits()
    user.load()
    user.ui.segmentButton.click()
    user.worker.progress("infer", 0.4, 12.0)
    fits()
    user.worker.done()
    for button in (user.ui.advancedButton, user.ui.maintenanceButton):
        button.collapsed = False
    user.ui.cardButton.click()
    fits()
    for button in (user.ui.advancedButton, user.ui.maintenanceButton):
        button.collapsed = True
    user.ui.cardButton.click()
    fits()
    user.packages.needed = packages.required()[:2]
    user.widget.enter()
    user.packages.waits = True
    user.ui.setupButton.click()
    fits()
    user.ui.setupCancelButton.click()


def test_what_is_protected_is_a_tag_of_the_segment(user):
    user.load()
    segmentation = user.segment()
    user.ui.targetSelector.setCurrentNode(segmentation)
    segment = segmentation.GetSegmentation().GetSegment(LESION)
    user.ui.protectList.item(0).setCheckState(qt.Qt.Checked)
    assert segment.HasTag(writer.PROTECTED_TAG)
    user.ui.protectList.item(0).setCheckState(qt.Qt.Unchecked)
    assert not segment.HasTag(writer.PROTECTED_TAG)


# Answers that come late, and choices that were meant for something else


def test_a_late_answer_of_a_job_that_was_given_up_does_not_end_the_next_one(user):
    user.load()
    user.ui.segmentButton.click()
    user.worker.answers_cancel = False  # it answers later
    slicer.mrmlScene.Clear()
    late = user.worker.jobs.pop(1)
    user.widget.enter()
    user.load(name="the next patient")
    user.ui.segmentButton.click()
    on_progress, on_done, on_error, _on_values = late
    on_progress("clean", 1.0, None)
    on_done({})
    on_error("Cancelled", "The job was cancelled.", {})
    assert "Cancelled" not in user.status()
    assert user.ui.cancelButton.enabled
    user.worker.done()
    host.process_until(lambda: "Done" in user.status(), 10, "The result of the next patient")


def test_replacing_hand_edits_holds_for_one_run(user):
    user.load()
    segmentation = user.segment()
    user.ui.targetSelector.setCurrentNode(segmentation)
    user.ui.replaceEditsCheckBox.checked = True
    user.segment()
    assert not user.ui.replaceEditsCheckBox.checked


def test_a_target_does_not_stay_chosen_for_another_volume(user):
    user.load()
    segmentation = user.segment()
    user.ui.targetSelector.setCurrentNode(segmentation)
    user.load(name="another patient")
    assert user.chosen.targetSegmentation is None


def test_an_undo_that_was_refused_can_be_had_later(user):
    volume = user.load()
    segmentation = user.segment()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    user.ui.undoButton.click()
    assert "under a transform" in user.result()
    segmentation.SetAndObserveTransformNodeID(None)
    np.testing.assert_array_equal(voxels(segmentation, volume), TRUTH)
    user.ui.undoButton.click()
    assert f"{int(TRUTH.sum())} voxels" in user.result()


def test_undo_is_grey_while_another_segmentation_is_shown(user):
    user.load()
    segmentation = user.segment()
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    user.ui.targetSelector.setCurrentNode(other)
    assert not user.ui.undoButton.enabled
    assert segmentation.GetName() in tip(user.ui.undoButton)


def test_figures_are_never_measured_on_the_grid_of_another_volume(user, tmp_path):
    volume = user.load()
    segmentation = user.segment()
    user.load(head(2, (48, 48, 9), (4.0, 4.0, 14.0)), "another patient")
    slicer.mrmlScene.RemoveNode(volume)
    user.ui.tableButton.click()
    assert "found none of its grid" in user.result()
    assert user.rows() == []
    host.answer(str(tmp_path / "x.nrrd"))
    user.ui.exportButton.click()
    assert "found none of its grid" in user.result()
    assert not (tmp_path / "x.nrrd").exists()
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1


def test_a_file_name_without_an_ending_gets_one_and_asks_before_it_replaces(user, tmp_path, monkeypatch):
    user.load(name="2: ax/flair")
    user.segment()
    answers, questions = [False, True], []
    monkeypatch.setattr(
        slicer.util, "confirmOkCancelDisplay", lambda text, *_, **__: questions.append(text) or answers.pop(0)
    )
    written = tmp_path / "result.seg.nrrd"
    written.write_text("precious")
    host.answer(str(tmp_path / "result"))
    user.ui.exportButton.click()
    assert "2_ ax_flair" in host.dialogs.shown[-1]
    assert written.read_text() == "precious"
    host.answer(str(tmp_path / "result"))
    user.ui.exportButton.click()
    assert str(written) in questions[1]
    np.testing.assert_array_equal(read_labelmap(written).array, TRUTH)


def test_what_was_deleted_beside_the_segmentation_breaks_nothing(user):
    user.load()
    segmentation = user.segment()
    slicer.mrmlScene.RemoveNode(segmentation.GetDisplayNode())
    user.ui.show3DButton.checked = True
    assert segmentation.GetDisplayNode().GetVisibility3D()
    for table in slicer.util.getNodesByClass("vtkMRMLTableNode"):
        slicer.mrmlScene.RemoveNode(table)
    user.ui.resultTable.cellClicked.emit(0, 0)
    assert user.rows() == []


def test_the_panel_follows_the_red_view_until_the_user_chooses_himself(user):
    first, second, third = (samples.volume_node(PHANTOM.volume, name) for name in ("first", "second", "third"))
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    for looked in (first, second):
        composite.SetBackgroundVolumeID(looked.GetID())
        user.widget.enter()
        assert user.chosen.inputVolume is looked
    user.ui.inputSelector.setCurrentNode(third)
    composite.SetBackgroundVolumeID(first.GetID())
    user.widget.enter()
    assert user.chosen.inputVolume is third


def test_every_label_shows_text_from_a_file_as_it_is(user):
    user.load(name="<b>bold</b>")
    # Pictures, and a key whose names are escaped.
    drawn = {"curveLabel", "boardPicture", "trendPlotLabel", "doubtScaleLabel", "trendKeyLabel"}
    labels = [w.get("name") for w in form().iter("widget") if w.get("class") == "QLabel"]
    rich = [name for name in labels if getattr(user.ui, name).textFormat != qt.Qt.PlainText]
    assert set(rich) == drawn


def test_the_list_of_protected_segments_says_what_the_writer_does(user):
    user.load()
    segmentation = user.segment()
    segments = segmentation.GetSegmentation()
    for name in ("tagged", "tagged 0", "completed"):
        segments.AddEmptySegment(name, name)
    segments.GetSegment("tagged").SetTag(writer.PROTECTED_TAG, "1")
    segments.GetSegment("tagged 0").SetTag(writer.PROTECTED_TAG, "0")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(segments.GetSegment("completed"), logic.Completed)
    user.ui.targetSelector.setCurrentNode(segmentation)
    user.widget.segment.update()
    shown = user.ui.protectList
    items = {shown.item(row).text(): shown.item(row) for row in range(shown.count)}
    ticked = {name for name, item in items.items() if item.checkState() == qt.Qt.Checked}
    assert ticked == {"tagged", "completed"}
    assert not items["completed"].flags() & qt.Qt.ItemIsUserCheckable
    assert items["tagged"].flags() & qt.Qt.ItemIsUserCheckable


# What the module leaves behind, and what it hears of


def test_unloading_the_module_in_the_middle_of_a_job_stops_the_engine(user):
    user.load()
    user.ui.segmentButton.click()
    host.unload_module("MedTLSegment")
    assert user.worker.state == "stopped"
    user.open()


def test_a_closed_scene_takes_its_undo_along(user):
    user.load()
    user.segment()
    slicer.mrmlScene.Clear()
    user.widget.enter()
    user.load()
    assert not user.ui.undoButton.enabled


def test_a_job_that_waits_behind_another_says_so(user):
    user.load()
    user.worker.submit({}, print, print, print)
    user.ui.segmentButton.click()
    assert "Waiting for another job" in user.status()


def test_a_scene_that_is_read_while_the_panel_is_open_is_shown_at_once(user, tmp_path):
    user.load()
    user.segment()
    path = tmp_path / "scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path))
    slicer.mrmlScene.Clear()
    user.widget.enter()
    slicer.mrmlScene.ReadFromMRB(str(path), True)
    assert user.ui.inputSelector.currentNode().GetName() == "head"
    assert len(user.rows()) == 2


def test_the_editor_s_undo_brings_back_what_the_panel_s_undo_took(user):
    volume = user.load()
    segmentation = user.segment()
    paint_mask = np.zeros_like(TRUTH)
    paint_mask[0, :3, :3] = True
    paint(segmentation, volume, TRUTH | paint_mask)
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(segmentation)
    editor.setSourceVolumeNode(volume)
    user.ui.undoButton.click()
    np.testing.assert_array_equal(voxels(segmentation, volume), paint_mask)
    editor.undo()
    np.testing.assert_array_equal(voxels(segmentation, volume), TRUTH | paint_mask)


def test_the_window_of_the_card_is_the_window_of_the_volume(user):
    path = bundle("ct-lesion") / METADATA
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["medtl"]["input"] |= {"scaling": "window", "window": [-160.0, 240.0]}
    del metadata["medtl"]["parent"]
    path.write_text(json.dumps(metadata), encoding="utf-8")
    user.worker.segments = (replace(SEGMENT, tags=((MODEL_TAG, "ct-lesion"),)),)
    volume = user.load()
    user.segment()
    display = volume.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-160.0, 240.0)
