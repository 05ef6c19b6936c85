"""Models of several channels in the panel: a volume for each, found by its name."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import host
import numpy as np
import pytest
import qt
import slicer
from panel_user import MODEL, PHANTOM, User, agree
from window_models import BRAIN, a_card, install, segments_of

from medtl.finetuning.seed import read_seeds
from medtl.io.read import read_volume
from medtl.model.card import Gate, Parent
from MedTLLib import samples
from MedTLLib.mrml import scene
from MedTLLib.seeds import marks

TRUTH = PHANTOM.labelmap.array


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """The panel is open in an empty scene with slice views, a model of the channels T1 and T2 is there."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    slicer.app.userSettings().clear()
    install(a_card())
    host.new_scene()
    host.open_views()
    user = User(tmp_path / "worker")
    user.worker.segments = segments_of(a_card())
    yield user
    user.close()
    host.new_scene()


def add(*names: str) -> list[Any]:
    """Load volumes of these names; each has its own brightness."""
    nodes = [samples.volume_node(PHANTOM.volume, name) for name in names]
    slicer.app.processEvents()
    for number, node in enumerate(nodes):
        slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(node) + np.float32(1000 * number))
    return nodes


def choose(user: User, name: str = BRAIN) -> None:
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData(name)
    assert user.chosen.modelName == name


def selectors(user: User) -> dict[str, Any]:
    """The volume selectors that are shown, by their captions: that of the input and those of further channels."""
    layout, found = user.ui.jobBox.layout(), {}
    for row in range(layout.rowCount()):
        field = layout.itemAt(row, qt.QFormLayout.FieldRole)
        if field is not None and isinstance(field.widget(), slicer.qMRMLNodeComboBox) and field.widget().visible:
            found[layout.itemAt(row, qt.QFormLayout.LabelRole).widget().text] = field.widget()
    del found["&Result in:"]
    return found


def chosen(user: User) -> list[str]:
    """The names of the volumes of the channels, "" where none is chosen."""
    return [node.GetName() if (node := each.currentNode()) is not None else "" for each in selectors(user).values()]


def test_a_model_of_one_channel_has_one_selector_and_one_input(user):
    user.load(name="p1_flair")
    add("p1_t2")
    assert list(selectors(user)) == ["&Volume:"]
    choose(user)
    assert list(selectors(user)) == ["T1:", "T2:"]
    choose(user, MODEL)
    assert list(selectors(user)) == ["&Volume:"]
    user.ui.segmentButton.click()
    assert isinstance(user.worker.requests[0]["input"], str)


def test_the_channels_are_found_by_the_names_of_the_volumes_and_sent_in_their_order(user):
    first, second = add("p1_T2w", "p1_T1w")
    choose(user)
    assert chosen(user) == ["p1_T1w", "p1_T2w"]
    user.ui.segmentButton.click()
    sent = [read_volume(user.worker.folder / path).array for path in user.worker.requests[0]["input"]]
    np.testing.assert_array_equal(sent[0], slicer.util.arrayFromVolume(second))
    np.testing.assert_array_equal(sent[1], slicer.util.arrayFromVolume(first))
    user.worker.done(np.where(TRUTH > 0, 2, 0))
    result = user.chosen.resultSegmentation
    assert np.array_equal(scene.array_of(result, f"{BRAIN}.part-2", second), TRUTH > 0)
    assert not scene.array_of(result, f"{BRAIN}.part-1", second).any()


def test_a_missing_channel_disables_segment_by_its_name_until_it_is_loaded_or_chosen(user):
    add("p1_t1")
    choose(user)
    assert not user.ui.segmentButton.enabled
    assert user.ui.reasonLabel.text == "Choose the volume of each channel. Missing: T2."
    (other,) = add("something")
    assert chosen(user) == ["p1_t1", ""]
    selectors(user)["T2:"].setCurrentNode(other)
    assert user.ui.segmentButton.enabled
    selectors(user)["T2:"].setCurrentNode(None)
    assert not user.ui.segmentButton.enabled
    add("p1_t2")
    assert chosen(user) == ["p1_t1", "p1_t2"]
    assert user.ui.segmentButton.enabled


def test_another_patient_s_volume_is_not_taken_where_the_names_tell_them_apart(user):
    nodes = add("p1_t1", "p2_t2", "p1_t2", "p2_t1")
    user.ui.inputSelector.setCurrentNode(nodes[0])
    choose(user)
    assert chosen(user) == ["p1_t1", "p1_t2"]
    user.ui.inputSelector.setCurrentNode(nodes[3])
    assert chosen(user) == ["p2_t1", "p2_t2"]


def test_of_two_studies_only_the_input_s_own_is_looked_at_and_of_two_alike_none_is_taken(user):
    first, other, far = add("a t1", "b t2", "a t2")
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = items.CreateStudyItem(items.GetSceneItemID(), "another study")
    items.SetItemParent(items.GetItemByDataNode(far), study)
    choose(user)
    for expected in ("b t2", ""):
        user.ui.inputSelector.setCurrentNode(other)
        user.ui.inputSelector.setCurrentNode(first)
        assert chosen(user) == ["a t1", expected]
        add("c t2")


def test_a_volume_of_another_sequence_or_modality_gets_a_remark_and_a_volume_chosen_twice_a_reason(user):
    first, second = add("p1_t1", "p1_flair")
    choose(user)
    selectors(user)["T2:"].setCurrentNode(second)
    assert user.ui.channelsLabel.text == "T2: p1_flair is FLAIR by its name."
    assert user.ui.segmentButton.enabled
    selectors(user)["T2:"].setCurrentNode(first)
    assert "p1_t1 is chosen for T1 and for T2" in user.ui.reasonLabel.text
    assert not user.ui.segmentButton.enabled


def test_a_channel_of_another_modality_is_not_found_and_gets_a_remark_where_it_is_chosen(user):
    install(a_card(("CT", "PET"), name="tumours", gate=Gate(modality="CT")))
    user.widget.segment.readModels()
    ct, pet = add("ct", "pet")
    slicer.util.updateVolumeFromArray(ct, slicer.util.arrayFromVolume(ct) - np.float32(1000))  # HU
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    items.SetItemAttribute(items.GetItemByDataNode(ct), "DICOM.Modality", "CT")
    items.SetItemAttribute(items.GetItemByDataNode(pet), "DICOM.Modality", "PT")
    choose(user, "tumours")
    assert chosen(user) == ["ct", ""]
    selectors(user)["PET:"].setCurrentNode(pet)
    assert user.ui.channelsLabel.text == "PET: tumours was trained on CT, this volume is PT"


def test_a_modality_that_is_not_the_channel_s_is_not_found_and_gets_a_remark(user):
    first, second = add("p1_t1", "p1_t2")
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    for node, modality in ((first, "MR"), (second, "CT")):
        items.SetItemAttribute(items.GetItemByDataNode(node), "DICOM.Modality", modality)
    choose(user)
    user.ui.inputSelector.setCurrentNode(second)
    user.ui.inputSelector.setCurrentNode(first)
    assert chosen(user) == ["p1_t1", ""]
    selectors(user)["T2:"].setCurrentNode(second)
    assert user.ui.channelsLabel.text == "T2: p1_t2 is CT by its header."


def test_an_imported_model_of_one_channel_gets_the_remark_too(user):
    install(a_card(("CT",), name="organs"))
    user.widget.segment.readModels()
    add("p1_t1")
    choose(user, "organs")
    assert user.ui.channelsLabel.text == "CT: p1_t1 is T1 by its name."
    user.ui.allModelsCheckBox.click()
    choose(user, MODEL)
    assert not user.ui.channelsLabel.visible


def test_the_choice_comes_back_with_the_scene(user, tmp_path):
    add("first", "second")
    choose(user)
    selectors(user)["T2:"].setCurrentNode(slicer.util.getNode("second"))
    user.close()
    user.open()
    assert chosen(user) == ["first", "second"]


def test_a_hardened_copy_keeps_the_other_channels(user):
    first, second = add("first", "second")
    choose(user)
    selectors(user)["T2:"].setCurrentNode(second)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    first.SetAndObserveTransformNodeID(transform.GetID())
    agree(True)
    user.ui.segmentButton.click()
    assert chosen(user)[0].startswith("first hardened")
    assert chosen(user)[1] == "second"
    assert len(user.worker.requests[0]["input"]) == 2


def test_a_channel_under_a_transform_is_refused_with_the_reason(user):
    _first, second = add("p1_t1", "p1_t2")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    second.SetAndObserveTransformNodeID(transform.GetID())
    choose(user)
    assert "p1_t2 under the transform shift" in user.ui.reasonLabel.text


@pytest.mark.parametrize("number", [0, 1])
def test_a_volume_whose_axes_are_not_at_right_angles_is_refused_with_the_reason(user, number):
    nodes = add("p1_t1", "p1_t2")
    choose(user)
    matrix = slicer.util.vtkMatrixFromArray(np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    nodes[number].SetIJKToRASMatrix(matrix)
    assert not user.ui.segmentButton.enabled
    assert "ngles" in user.ui.reasonLabel.text or "orthonormal" in user.ui.reasonLabel.text
    add("p1_another_t2")


def test_the_red_view_is_not_followed_to_another_channel(user):
    _first, second = add("p1_t1", "p1_t2")
    user.chosen.inputVolume = None
    user.widget.enter()
    choose(user)
    manager = slicer.app.layoutManager()
    manager.sliceWidget("Red").mrmlSliceCompositeNode().SetBackgroundVolumeID(second.GetID())
    user.widget.enter()
    assert chosen(user) == ["p1_t1", "p1_t2"]


def test_closing_the_scene_empties_the_selectors(user):
    add("p1_t1", "p1_t2")
    choose(user)
    slicer.mrmlScene.Clear()
    assert set(chosen(user)) <= {""}
    add("p3_t1", "p3_t2")
    choose(user)
    assert chosen(user) == ["p3_t1", "p3_t2"]


def test_in_the_next_scene_the_channels_are_found_again_for_a_volume_of_the_same_id(user):
    first, _second = add("p1_t1", "p1_t2")
    choose(user)
    before = first.GetID()
    slicer.mrmlScene.Clear()
    user.ui.allModelsCheckBox.click()
    (first,) = add("p3_t1")
    choose(user, MODEL)
    add("p3_t2")
    choose(user)
    assert first.GetID() == before
    assert chosen(user) == ["p3_t1", "p3_t2"]


# Fine-tune


def marked(user: User, *patients: str) -> list[tuple[Any, Any]]:
    """Segment the volumes "<patient>_t1" and "<patient>_t2" of each patient and mark a slice; the nodes of each."""
    card, pairs = a_card(), []
    for patient in patients:
        first, second = slicer.util.getNode(f"{patient}_t1"), slicer.util.getNode(f"{patient}_t2")
        user.ui.inputSelector.setCurrentNode(first)
        choose(user)
        selectors(user)["T2:"].setCurrentNode(second)
        marks.mark(user.segment(), first, card, 4)
        pairs.append((first, second))
    user.ui.finetuneBox.collapsed = False
    wait(user)
    return pairs


def wait(user: User) -> None:
    timer = user.widget.finetune._soon
    host.process_until(lambda: not timer.active, 5.0, "The panel's look at the scene")


def test_fine_tune_gets_the_volumes_of_all_channels_of_each_case(user):
    add("p1_t1", "p1_t2", "p2_t1", "p2_t2")
    pairs = marked(user, "p1", "p2")
    pairs[0][1].SetName("a name that tells nothing")
    user.ui.tuneButton.click()
    (request,) = [one for one in user.worker.requests if one["job"] == "finetune"]
    found = read_seeds(user.worker.folder / request["seeds"])
    assert len(found) == 2
    for seed, (first, second) in zip(found, pairs, strict=True):
        assert len(seed.channels) == 1
        for path, volume in ((seed.image, first), (seed.channels[0], second)):
            np.testing.assert_array_equal(read_volume(path).array, slicer.util.arrayFromVolume(volume))


def test_fine_tune_names_the_channel_that_a_case_lacks(user):
    add("p1_t1", "p1_t2", "p2_t1", "p2_t2")
    pairs = marked(user, "p1", "p2")
    assert user.ui.tuneButton.enabled
    selectors(user)["T2:"].setCurrentNode(None)
    wait(user)
    assert not user.ui.tuneButton.enabled
    assert user.ui.tuneReasonLabel.text == "p2_t1: Choose the volume of each channel. Missing: T2."
    selectors(user)["T2:"].setCurrentNode(pairs[1][1])
    slicer.mrmlScene.RemoveNode(pairs[0][1])
    wait(user)
    # The only T2 that is left is another patient's.
    assert user.ui.tuneReasonLabel.text.startswith("p1_t1: Choose the volume of each channel. Missing: T2. Select this")
    user.ui.inputSelector.setCurrentNode(pairs[0][0])
    (other,) = add("something")
    selectors(user)["T2:"].setCurrentNode(other)
    wait(user)
    assert user.ui.tuneButton.enabled


def test_a_channel_that_is_lost_before_the_panel_sees_it_starts_no_run(user):
    add("p1_t1", "p1_t2")
    ((_first, second),) = marked(user, "p1")
    slicer.mrmlScene.RemoveNode(second)
    user.ui.tuneButton.click()
    assert [one["job"] for one in user.worker.requests] == ["segment"]
    assert "Missing: T2" in user.ui.tuneStatusLabel.text


def test_a_relative_of_the_model_keeps_the_chosen_channels(user):
    add("first", "second", "third")
    choose(user)
    selectors(user)["T2:"].setCurrentNode(slicer.util.getNode("third"))
    card = a_card()
    install(replace(card, name=f"{BRAIN}-tuned-1", parent=Parent(BRAIN, card.sha256, BRAIN)))
    user.widget.segment.readModels()
    choose(user, f"{BRAIN}-tuned-1")
    assert chosen(user) == ["first", "third"]


# In a script


def test_process_takes_a_list_of_volumes(user):
    volumes = add("p1_t1", "p1_t2")
    user.worker.then = lambda: user.worker.done(np.where(TRUTH > 0, 2, 0))
    result = user.widget.logic.process(volumes, BRAIN)
    assert np.array_equal(scene.array_of(result, f"{BRAIN}.part-2", volumes[0]), TRUTH > 0)
    with pytest.raises(ValueError, match="Expected a volume"):
        user.widget.logic.process([], BRAIN)
    with pytest.raises(ValueError, match="Expected a volume"):
        user.widget.logic.process([volumes[0], None], BRAIN)
    assert len(user.worker.requests) == 1


def test_the_selectors_fit_into_a_narrow_panel(user, tmp_path):
    add("Patient with a long name T1 weighted axial", "Patient with a long name T2 weighted axial")
    choose(user)
    for width in (300, 500):
        assert host.screenshot(user.widget.parent, tmp_path / "panel.png", width)[0] == width
