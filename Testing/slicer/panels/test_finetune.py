"""Fine-tune in the panel, used as a user does; the engine is a fake that answers when the test says so."""

import itertools
import json
import shutil
from typing import Any

import host
import numpy as np
import pytest
import qt
import slicer
from panel_user import LESION, MODEL, PHANTOM, paint, tick, tip, voxels
from PySide6.QtTest import QTest
from test_module import ENGINE_PYTHON, needs_engine
from tuning_user import SLICES, TRUTH, TUNED, TuningUser, bundle, record

from medtl.finetuning.seed import read_seeds
from medtl.model.card import load_card
from medtl.model.store import find_model, user_store
from medtl.phantom import head
from MedTLLib.jobs.finetune import round_budget
from MedTLLib.jobs.worker import Worker
from MedTLLib.mrml import views
from MedTLLib.mrml.tags import tag_of
from MedTLLib.packages import packages
from MedTLLib.panels.curve import points
from MedTLLib.seeds import marks

MOVED = np.roll(TRUTH, 4, axis=2)
BUDGET = 10  # seconds, with the real engine


@pytest.fixture
def user_class() -> type[TuningUser]:
    return TuningUser


def segmentations() -> list[Any]:
    return list(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))


# What can be done


def test_the_button_is_grey_until_a_slice_is_marked_and_says_why(user):
    volume = user.load()
    segmentation = user.segment()
    user.wait()
    assert not user.ui.tuneButton.enabled
    assert "Mark at least one slice" in tip(user.ui.tuneButton)
    assert user.ui.tuneReasonLabel.text == tip(user.ui.tuneButton)
    user.mark(segmentation, volume, SLICES)
    assert user.ui.tuneButton.enabled
    assert not user.ui.tuneReasonLabel.visible
    assert user.ui.seedsUsedLabel.text == "3 SEEDs of 1 case."


def test_a_mark_whose_slice_was_edited_is_not_counted_and_that_is_shown(user):
    volume, segmentation = user.case()
    user.paint_in(segmentation, volume, SLICES[0])
    assert user.ui.seedsUsedLabel.text == "2 SEEDs of 1 case. Not used, because edited since they were marked: 1."
    for k in SLICES[1:]:
        user.paint_in(segmentation, volume, k)
    assert not user.ui.tuneButton.enabled


def test_marked_cases_of_the_whole_scene_count(user):
    user.case()
    user.case("the next patient", SLICES[:2])
    assert user.ui.seedsUsedLabel.text == "5 SEEDs of 2 cases."


def test_the_button_tells_how_long_it_takes(user):
    assert user.ui.tuneButton.text == "Fine-tune (1 min)"
    user.ui.budgetSpinBox.value = 120
    user.wait()
    assert user.ui.tuneButton.text == "Fine-tune (2 min)"
    user.ui.budgetSpinBox.value = 90
    user.wait()
    assert user.ui.tuneButton.text == "Fine-tune (90 s)"


def test_a_model_that_does_not_fit_is_not_tuned(user):
    _volume, segmentation = user.case()
    user.ui.allModelsCheckBox.click()
    user.load(name="patient_T1_post")
    user.ui.modelCombo.currentIndex = 0
    user.wait()
    assert not user.ui.tuneButton.enabled
    assert tip(user.ui.tuneButton) == user.ui.fitLabel.text
    assert segmentation.GetScene() is not None


def test_without_the_engine_s_packages_it_says_so(user, monkeypatch):
    user.case()
    user.packages.needed = packages.required()[:2]
    user.widget.enter()
    user.wait()
    assert not user.ui.tuneButton.enabled
    assert "packages are missing" in user.ui.tuneReasonLabel.text


def test_a_volume_under_a_transform_gives_a_message_instead_of_a_run(user):
    volume, _segmentation = user.case()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    user.wait()
    assert not user.ui.tuneButton.enabled
    assert "under the transform" in user.ui.tuneReasonLabel.text


def test_a_case_whose_volume_is_gone_counts_no_more(user):
    volume, _segmentation = user.case()
    slicer.mrmlScene.RemoveNode(volume)
    user.load(head(2, (56, 56, 10), (3.5, 3.5, 12.0)), "the next patient")
    user.wait()
    assert not user.ui.tuneButton.enabled


def test_a_marked_case_that_is_not_used_is_shown_beside_those_that_count(user):
    volume, _segmentation = user.case()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    user.case("the next patient")
    text = user.ui.seedsUsedLabel.text
    assert text.startswith("3 SEEDs of 1 case.")
    assert "found head under the transform shift" in text


# The run


def test_the_engine_gets_the_marked_slices_as_they_are_and_the_choices(user):
    volume, segmentation = user.case(slices=SLICES[:1])
    painted = user.paint_in(segmentation, volume, SLICES[1])
    user.mark(segmentation, volume, SLICES[1:2])
    user.ui.budgetSpinBox.value = 30
    user.ui.strengthSpinBox.value = 0.5
    user.ui.threadsSpinBox.value = 2
    user.ui.tuneButton.click()
    request = user.worker.requests[-1]
    options = request["options"]
    assert (request["job"], request["model"], request["output"]) == ("finetune", MODEL, TUNED)
    assert {k: options[k] for k in ("budget", "strength", "threads")} == {"budget": 30.0, "strength": 0.5, "threads": 2}
    assert isinstance(options["budget"], float)
    found = read_seeds(user.worker.folder / request["seeds"])
    assert [seed.index for seed in found] == list(SLICES[:2])
    for seed in found:
        np.testing.assert_array_equal(seed.mask, painted[seed.index])


def blue(colour: Any) -> bool:
    return colour.alpha() > 100 and colour.blue() > colour.red() + 60


def test_while_it_runs_the_panel_tells_how_far_it_is_and_draws_the_loss(user):
    volume, segmentation = user.case()
    user.ui.tuneButton.click()
    assert user.tuning() == "Starting the engine…"
    assert user.ui.tuneRunBox.visible
    assert "go on painting" in user.ui.frozenCaption.text
    assert not user.ui.tuneButton.enabled
    assert user.ui.tuneCancelButton.enabled
    user.worker.progress("load", 0.0)
    assert user.tuning() == "Loading the model, 60 s left"
    for seconds in (0.0, 30.0):
        user.worker.ahead = seconds
        user.worker.progress("tune", seconds / 60)
        user.worker.values(loss=1.0 - seconds / 60)
    assert user.tuning() == "Tuning, 30 s left"
    assert user.ui.tuneProgressBar.value == 50
    picture = user.ui.curveLabel.pixmap.toImage()
    drawn = [x for x in range(picture.width()) if any(blue(picture.pixelColor(x, y)) for y in range(picture.height()))]
    assert len(drawn) == pytest.approx(picture.width() / 2, abs=3)
    mask = user.paint_in(segmentation, volume, SLICES[2])
    np.testing.assert_array_equal(voxels(segmentation, volume), mask)
    assert len(read_seeds(user.worker.folder / user.worker.requests[-1]["seeds"])) == 3


def test_a_curve_runs_from_the_upper_left_to_the_lower_right_as_the_loss_falls():
    assert points([], (100, 50), 60.0, 1.0) == ()
    found = points([(0.0, 1.0), (30.0, 0.5), (30.0, 0.7), (60.0, 0.0), (90.0, 0.0)], (101, 50), 60.0, 1.0)
    assert [x for x, _ in found] == [0, 50, 100]
    assert [y for _, y in found] == [4, round(4 + 41 * 0.4), 45]


def test_one_engine_works_for_both_so_while_one_runs_the_other_waits(user):
    user.case()
    user.ui.tuneButton.click()
    assert not user.ui.segmentButton.enabled
    assert tip(user.ui.segmentButton) == "Fine-tune is running."
    user.worker.tuned()
    assert user.ui.segmentButton.enabled
    user.wait()
    assert user.ui.tuneButton.enabled
    user.ui.segmentButton.click()
    user.wait()
    assert not user.ui.tuneButton.enabled
    assert not user.ui.putButton.enabled
    assert tip(user.ui.tuneButton) == "A job is running."
    user.worker.done()
    user.wait()
    assert user.ui.tuneButton.enabled


@pytest.mark.parametrize("kind", ["InputError", "WorkerDied"])
def test_an_error_is_a_sentence_and_nothing_is_changed(user, kind):
    volume, segmentation = user.case()
    user.ui.tuneButton.click()
    user.worker.error(kind, "Expected a budget that leaves time to tune, found 10 s. Allow 30 s.")
    assert user.tuning() == "Expected a budget that leaves time to tune, found 10 s. Allow 30 s."
    assert not user.ui.verdictLabel.visible
    assert not user.ui.useButton.visible
    assert user.ui.tuneButton.enabled
    assert user.chosen.modelName == MODEL
    np.testing.assert_array_equal(voxels(segmentation, volume), TRUTH)
    user.tune()
    assert user.tuning().startswith("Done in")


# More time


def test_a_time_that_is_too_short_to_begin_is_answered_by_a_button_that_starts_with_enough(user):
    user.case()
    assert not user.ui.longerButton.visible
    user.ui.tuneButton.click()
    user.worker.error("InputError", "Expected a budget, found 60 s. Allow 1041 s.", budget=1041)
    assert user.ui.longerButton.visible
    assert user.ui.longerButton.text == "Fine-tune for 20 min"
    user.ui.longerButton.click()
    assert user.worker.requests[-1]["options"]["budget"] == 1200.0
    assert not user.ui.longerButton.visible
    assert user.ui.tuneButton.text == "Fine-tune (20 min)"
    user.worker.tuned()
    assert not user.ui.longerButton.visible


def test_after_few_steps_more_time_is_offered_beside_the_new_model(user):
    user.case()
    user.tune(advised=130)
    assert user.ui.longerButton.text == "Fine-tune for 3 min"
    assert user.ui.longerButton.visible
    assert user.ui.useButton.visible
    user.ui.longerButton.click()
    assert user.worker.requests[-1]["options"]["budget"] == 180.0
    assert user.worker.requests[-1]["model"] == MODEL


def test_the_offer_holds_for_its_model_and_for_shorter_times(user):
    user.case()
    user.ui.tuneButton.click()
    user.worker.error("InputError", "Allow 70 s.", budget=70)
    assert user.ui.longerButton.visible
    user.ui.budgetSpinBox.value = 200
    user.wait()
    assert not user.ui.longerButton.visible
    user.ui.budgetSpinBox.value = 60
    user.wait()
    assert user.ui.longerButton.visible
    bundle("another")
    user.widget.segment.readModels()
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData("another")
    user.wait()
    assert not user.ui.longerButton.visible


def test_what_only_days_would_do_is_not_offered(user):
    user.case()
    user.ui.tuneButton.click()
    user.worker.error("InputError", "Allow 200000 s.", budget=200_000)
    assert not user.ui.longerButton.visible


@pytest.mark.parametrize(
    ("seconds", "offered"),
    [(31, 60), (61, 120), (600, 600), (601, 900), (3600, 3600), (3601, 5400), (86_000, 86_400)],
)
def test_a_time_is_rounded_up_to_one_that_a_person_would_choose(seconds, offered):
    assert round_budget(seconds) == offered


def test_a_folder_that_is_gone_gives_a_message(user):
    user.case()
    user.worker.folder.rmdir()
    user.ui.tuneButton.click()
    assert "Expected to write into" in user.tuning()
    assert user.ui.tuneButton.enabled


def test_a_late_answer_of_an_earlier_run_does_not_end_the_next_one(user):
    user.case()
    user.ui.tuneButton.click()
    late = user.worker.jobs[max(user.worker.jobs)]
    user.worker.error("InternalError", "boom")
    user.ui.tuneButton.click()
    late[0]("write", 1.0, None)
    late[1]({})
    late[2]("Cancelled", "The job was cancelled.", {})
    assert user.ui.tuneCancelButton.enabled
    assert user.tuning() == "Starting the engine…"


# Cancel


def test_cancel_before_anything_was_kept_changes_nothing(user):
    volume, segmentation = user.case()
    user.ui.tuneButton.click()
    user.ui.tuneCancelButton.click()
    assert user.tuning() == "Stopped. Nothing was changed."
    assert not user.ui.useButton.visible
    assert list(user.worker.folder.iterdir()) == []
    np.testing.assert_array_equal(voxels(segmentation, volume), TRUTH)
    user.tune()
    assert user.tuning().startswith("Done in")


@pytest.mark.parametrize("who", ["the engine", "nobody"])
def test_cancel_keeps_the_best_model_so_far_whoever_gives_it_its_name(user, who):
    user.case()
    user.ui.tuneButton.click()
    user.worker.progress("tune", 0.6)
    for number in (9, 10):  # killed between writing the newer and removing the older
        last = bundle(TUNED, folder=f"{TUNED}.best-{number}")
        (last / "docs" / "README.md").write_text(f"number {number}", encoding="utf-8")
    user.ui.tuneCancelButton.click()
    assert not user.ui.tuneCancelButton.enabled
    assert not user.ui.segmentButton.enabled
    if who == "the engine":
        last.rename(user_store() / TUNED)
    host.process_until(lambda: user.ui.useButton.visible, 5.0, "The best model so far")
    assert user.tuning() == "Stopped. The best model so far is kept."
    assert f"{TUNED} was not compared with {MODEL}: Fine-tune was stopped." in user.ui.verdictLabel.text
    assert (find_model(TUNED) / "docs" / "README.md").read_text(encoding="utf-8") == "number 10"
    assert user.chosen.modelName == MODEL
    user.ui.useButton.click()
    assert user.chosen.modelName == TUNED
    assert user.ui.segmentButton.enabled


def test_a_worker_that_died_leaves_the_best_model_so_far(user):
    user.case()
    user.ui.tuneButton.click()
    bundle(TUNED, folder=f"{TUNED}.best-1")
    (user_store() / f"{TUNED}.best-2").mkdir()  # not whole
    user.worker.error("WorkerDied", "The engine ended while it worked.")
    assert user.tuning() == "The engine ended while it worked."
    user.ui.useButton.click()
    assert user.chosen.modelName == TUNED
    assert load_card(find_model(TUNED)).parent.name == MODEL


def test_a_run_that_ends_in_spite_of_cancel_is_kept_whole(user):
    user.case()
    user.ui.tuneButton.click()
    user.worker.answers_cancel = False
    user.ui.tuneCancelButton.click()
    user.worker.tuned()
    assert user.ui.useButton.enabled
    assert user.ui.tuneButton.enabled


# Afterwards


def test_the_verdict_is_shown_with_figures_and_nothing_happens_by_itself(user):
    volume, segmentation = user.case()
    user.tune(mask=MOVED)
    text = user.ui.verdictLabel.text
    assert text.splitlines() == [
        f"{TUNED} is better than {MODEL}.",
        "On 2 held-out SEED slices: Dice 0.71 → 0.83 (+0.12 ± 0.02).",
        "On 6 synthetic heads: unchanged, Dice 0.93 → 0.93 (± 0.00).",
        "The guard set is synthetic heads.",
        "Research use, not for diagnosis.",
    ]
    assert user.chosen.modelName == MODEL
    np.testing.assert_array_equal(voxels(segmentation, volume), TRUTH)
    assert user.ui.modelCombo.findData(TUNED) >= 0
    assert list(user.worker.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("facts", "part"),
    [
        ({"verdict": "same"}, f"{TUNED} is about as good as {MODEL}."),
        ({"verdict": "worse"}, f"{TUNED} is worse than {MODEL}, so {MODEL} stays selected.\n"),
        ({"verdict": "worse"}, "On 2 held-out SEED slices: Dice 0.71 → 0.41 (−0.30 ± 0.02)."),
        ({"verdict": "better", "seeds_n": 0}, f"{TUNED} is better than {MODEL}.\nOn 6 synthetic heads"),
        ({"verdict": "better", "guard": "cases"}, "On 6 cases that you accepted: unchanged, Dice 0.93"),
        ({"verdict": "better", "guard_n": 1}, "On 1 synthetic head: unchanged, Dice 0.93"),
        ({"verdict": "better", "guard": "cases", "guard_n": 1}, "On 1 case that you accepted: unchanged, Dice 0.93"),
        ({"verdict": "better", "seeds_n": 1}, "On 1 held-out SEED slice: Dice 0.71"),
        ({"verdict": "better", "guard": "none"}, "(+0.12 ± 0.02).\nThe guard set"),
    ],
)
def test_every_verdict_has_its_words(user, facts, part):
    user.case()
    user.tune(**facts)
    assert part in user.ui.verdictLabel.text


def test_use_makes_it_the_model_and_back_brings_the_old_one(user):
    user.case()
    assert not user.ui.previousButton.visible
    user.tune()
    user.ui.useButton.click()
    assert user.ui.modelCombo.currentData == TUNED
    assert not user.ui.useButton.enabled
    assert tip(user.ui.useButton) == "This model is in use."
    user.ui.segmentButton.click()
    assert user.worker.requests[-1]["model"] == TUNED
    user.worker.done()
    user.wait()
    user.tune()
    second = f"{MODEL}-tuned-2"
    assert user.worker.requests[-1]["model"] == TUNED
    assert user.worker.requests[-1]["output"] == second
    user.ui.useButton.click()
    assert user.ui.previousButton.visible
    assert user.ui.shippedButton.visible
    user.ui.previousButton.click()
    assert user.chosen.modelName == TUNED
    assert user.ui.useButton.enabled
    user.ui.useButton.click()
    user.ui.shippedButton.click()
    assert user.chosen.modelName == MODEL
    assert not user.ui.previousButton.visible


def test_from_now_on_means_the_next_scene_and_the_next_session_too(user):
    user.case()
    user.tune()
    user.ui.useButton.click()
    slicer.mrmlScene.Clear()
    user.load(name="the next patient")
    assert user.chosen.modelName == TUNED
    host.unload_module("MedTLSegment")
    host.new_scene()
    host.open_views()
    user.open()
    user.load(name="one more")
    assert user.ui.modelCombo.currentData == TUNED
    user.ui.shippedButton.click()
    slicer.mrmlScene.Clear()
    user.load(name="the last one")
    assert user.chosen.modelName == MODEL


def test_what_is_preferred_and_gone_is_not_chosen(user):
    user.case()
    user.tune()
    user.ui.useButton.click()
    shutil.rmtree(user_store() / TUNED)
    user.widget.segment.readModels()
    slicer.mrmlScene.Clear()
    user.load(name="the next patient")
    assert user.chosen.modelName == MODEL


def test_back_to_another_model_of_the_same_name_is_grey(user):
    user.case()
    user.tune()
    user.ui.useButton.click()
    user.wait()
    user.tune()
    user.ui.useButton.click()
    shutil.rmtree(user_store() / TUNED)
    bundle("stranger").rename(user_store() / TUNED)
    user.widget.segment.readModels()
    user.wait()
    assert not user.ui.previousButton.enabled
    assert tip(user.ui.previousButton) == f"{TUNED} is now another model of the same name."


def test_back_to_a_model_that_was_deleted_is_grey(user):
    user.case()
    user.tune()
    user.ui.useButton.click()
    user.wait()
    user.tune()
    user.ui.useButton.click()
    shutil.rmtree(user_store() / TUNED)
    user.widget.segment.readModels()
    user.wait()
    assert not user.ui.previousButton.enabled
    assert tip(user.ui.previousButton) == f"{TUNED} is not installed."
    assert user.ui.shippedButton.enabled


def test_put_writes_the_result_keeps_what_was_edited_and_can_be_undone(user):
    volume, segmentation = user.case()
    user.ui.tuneButton.click()
    painted = user.paint_in(segmentation, volume, SLICES[1])  # while it runs
    user.worker.tuned(mask=MOVED)
    user.ui.putButton.click()
    expected = MOVED.copy()
    expected[list(SLICES)] = painted[list(SLICES)]  # two marked as right, one edited since
    np.testing.assert_array_equal(voxels(segmentation, volume), expected)
    assert segmentation.GetName() in user.tuning()
    assert "Slices that you edited were kept: 1." in user.result()
    assert user.chosen.modelName == MODEL
    assert segmentations() == [segmentation]
    assert not user.ui.compareBox.visible
    assert not user.ui.putButton.enabled
    user.ui.undoButton.click()
    np.testing.assert_array_equal(voxels(segmentation, volume), painted)


def test_put_keeps_a_slice_that_was_marked_unchanged_while_it_ran(user):
    volume, segmentation = user.case(slices=SLICES[:2])
    user.ui.tuneButton.click()
    user.mark(segmentation, volume, SLICES[2:])
    user.worker.tuned(mask=MOVED)
    user.ui.putButton.click()
    expected = MOVED.copy()
    expected[list(SLICES)] = TRUTH[list(SLICES)]
    np.testing.assert_array_equal(voxels(segmentation, volume), expected)
    assert "Slices that you marked as right were kept: 3." in user.result()
    user.wait()
    assert user.ui.seedsUsedLabel.text == "3 SEEDs of 1 case."


def test_marks_stay_good_when_the_result_holds_the_slices_as_they_were_drawn(user):
    user.case()
    result = MOVED.copy()
    result[list(SLICES)] = TRUTH[list(SLICES)]
    user.tune(mask=result)
    user.ui.putButton.click()
    user.wait()
    assert user.ui.seedsUsedLabel.text == "3 SEEDs of 1 case."


def test_several_cases_have_no_result_and_the_button_says_what_to_do(user):
    user.case()
    user.case("the next patient")
    user.ui.tuneButton.click()
    assert "result" not in user.worker.requests[-1]["options"]
    user.worker.tuned()
    assert user.ui.useButton.enabled
    assert not user.ui.putButton.enabled
    assert "press Segment" in tip(user.ui.putButton)
    assert not user.ui.compareBox.visible


def test_a_result_that_cannot_be_read_leaves_the_model_and_says_so(user):
    user.case()
    user.ui.tuneButton.click()
    bundle(TUNED)
    user.worker.jobs.pop(max(user.worker.jobs))[1]({**record(TUNED), "result": "gone"})
    assert "result.seg.nrrd" in user.ui.verdictLabel.text
    assert user.ui.useButton.enabled
    assert not user.ui.putButton.visible


# Meanwhile


@pytest.mark.parametrize("what", ["volume deleted", "volume changed", "segmentation deleted", "under a transform"])
def test_what_does_not_fit_any_more_gets_no_result_and_the_model_is_kept(user, what):
    volume, segmentation = user.case()
    user.ui.tuneButton.click()
    if what == "volume changed":
        slicer.util.updateVolumeFromArray(volume, slicer.util.arrayFromVolume(volume) + 1)
    elif what == "under a transform":
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
        segmentation.SetAndObserveTransformNodeID(transform.GetID())
    else:
        slicer.mrmlScene.RemoveNode(volume if what == "volume deleted" else segmentation)
    user.worker.tuned(mask=MOVED)
    assert not user.ui.putButton.enabled
    assert what.split()[-1] in tip(user.ui.putButton)
    assert not user.ui.compareBox.visible
    if what in ("volume changed", "under a transform"):
        segmentation.SetAndObserveTransformNodeID(None)
        np.testing.assert_array_equal(voxels(segmentation, volume), TRUTH)
    user.load(name="again")
    assert load_card(find_model(TUNED)).family == MODEL
    user.ui.useButton.click()
    assert user.chosen.modelName == TUNED


def test_a_segmentation_that_is_deleted_afterwards_gives_a_message_when_put_is_pressed(user):
    _volume, segmentation = user.case()
    user.tune(mask=MOVED)
    assert user.ui.putButton.enabled
    slicer.mrmlScene.RemoveNode(segmentation)
    user.ui.putButton.click()
    assert "The segmentation was deleted" in user.tuning()
    assert not user.ui.putButton.enabled
    assert segmentations() == []


def test_closing_the_scene_in_the_middle_keeps_the_model_and_drops_the_result(user):
    user.case()
    user.ui.tuneButton.click()
    slicer.mrmlScene.Clear()
    other = user.load(name="the next patient")
    user.worker.tuned(mask=MOVED)
    assert user.ui.useButton.enabled
    assert not user.ui.putButton.enabled
    assert segmentations() == []
    user.ui.useButton.click()
    assert user.chosen.modelName == TUNED
    assert user.chosen.inputVolume is other


@pytest.mark.parametrize("how", ["folded", "left"])
def test_no_node_of_a_closed_scene_is_held_while_nobody_looks(user, how):
    user.case()
    panel = user.widget.finetune
    assert panel._watched
    if how == "folded":
        user.ui.finetuneBox.collapsed = True
    else:
        user.widget.parent.exit()
    nodes = [*segmentations(), *slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
    slicer.mrmlScene.Clear()
    assert panel.Observations == []
    assert panel._watched == []
    assert panel.markedCases._read == {}
    for part in (panel, user.widget.segment, user.widget.seeds):
        assert not {*nodes} & {*part._VTKObservationMixin__observations}
    user.ui.finetuneBox.collapsed = False
    user.widget.parent.enter()
    user.case("the next patient")
    assert user.ui.seedsUsedLabel.text == "3 SEEDs of 1 case."


def test_a_closed_panel_hears_nothing_any_more(user):
    user.case()
    panel = user.widget.finetune
    panel.updateSoon()
    host.unload_module("MedTLSegment")
    user.widget = None
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "later")
    assert not panel._soon.active
    assert panel.Observations == []
    user.open()


def test_closing_the_scene_afterwards_keeps_the_model_and_drops_the_result(user):
    user.case()
    user.tune(mask=MOVED)
    user.ui.holdButton.pressed.emit()
    slicer.mrmlScene.Clear()
    user.load(name="the next patient")
    assert segmentations() == []
    assert not user.ui.compareBox.visible
    assert not user.ui.putButton.enabled
    user.ui.useButton.click()
    assert user.chosen.modelName == TUNED


def test_a_run_that_ends_after_the_scene_was_closed_and_the_module_left_is_kept_as_well(user):
    user.case()
    user.ui.tuneButton.click()
    user.widget.parent.exit()
    slicer.mrmlScene.Clear()
    user.worker.tuned(mask=MOVED)
    user.widget.parent.enter()
    user.load(name="the next patient")
    user.ui.useButton.click()
    assert user.chosen.modelName == TUNED


def test_unloading_the_module_in_the_middle_of_a_run_stops_the_engine_and_leaves_no_hidden_node(user):
    _volume, segmentation = user.case()
    user.tune(mask=MOVED)
    user.widget.finetune.after.compare.key._shortcut.activated.emit()
    host.unload_module("MedTLSegment")
    assert segmentations() == [segmentation]
    assert shown(segmentation) == "old"
    user.open()
    user.wait()
    user.ui.tuneButton.click()
    bundle(f"{MODEL}-tuned-2", folder=f"{MODEL}-tuned-2.best-1")
    host.unload_module("MedTLSegment")
    assert user.worker.state == "stopped"
    user.open()


def test_what_a_run_uses_cannot_be_deleted_meanwhile(user):
    bundle("old")
    user.case()
    user.ui.tuneButton.click()
    user.ui.maintenanceButton.collapsed = False
    for row in range(user.ui.storageTable.rowCount - 1):  # the last one is the terms
        tick(user, row)
        assert not user.ui.deleteButton.enabled
        assert tip(user.ui.deleteButton) == "Fine-tune is running."
    user.worker.tuned()
    tick(user, 0)
    assert user.ui.deleteButton.enabled


def test_a_reloaded_module_lists_the_new_model(user):
    user.case()
    user.tune()
    user.ui.useButton.click()
    host.unload_module("MedTLSegment")
    user.open()
    assert user.ui.modelCombo.currentData == TUNED
    assert user.ui.previousButton.visible
    assert not user.ui.useButton.visible


# Compare


def shown(segmentation: Any) -> str:
    """Which outlines are seen."""
    names = [
        "old" if node is segmentation else "new" for node in segmentations() if node.GetDisplayNode().GetVisibility()
    ]
    return " and ".join(names)


def press(user: TuningUser, kind: Any, again: bool = False) -> None:
    """The key C goes down or up while the panel has the focus, as Qt sends it."""
    event = qt.QKeyEvent(kind, qt.Qt.Key_C, qt.Qt.NoModifier, "c", again)
    qt.QApplication.sendEvent(user.ui.finetuneBox, event)


@pytest.fixture
def compared(user):
    """A run has ended; its result is another one than the segmentation."""
    user.case()
    user.tune(mask=MOVED)
    return user


def test_while_the_button_is_held_the_new_result_is_shown_in_place_of_the_old_one(compared):
    segmentation = compared.chosen.resultSegmentation
    assert shown(segmentation) == "old"
    compared.ui.holdButton.pressed.emit()
    assert shown(segmentation) == "new"
    compared.ui.holdButton.released.emit()
    assert shown(segmentation) == "old"


def test_while_the_key_is_held_the_new_result_is_shown_and_does_not_flicker(compared):
    segmentation = compared.chosen.resultSegmentation
    panel = compared.widget.finetune.after.compare
    seen = [True]
    display = segmentation.GetDisplayNode()
    modified = display.AddObserver("ModifiedEvent", lambda *_: seen.append(bool(display.GetVisibility())))
    panel.key._shortcut.activated.emit()
    assert shown(segmentation) == "new"
    for _again in range(5):
        press(compared, qt.QEvent.KeyRelease, again=True)  # as some systems repeat a key
        press(compared, qt.QEvent.KeyRelease)  # and as some remote desktops do
        panel.key._shortcut.activated.emit()
    slicer.app.processEvents()
    assert shown(segmentation) == "new"
    press(compared, qt.QEvent.KeyRelease)
    host.process_until(lambda: shown(segmentation) == "old", 2.0, "The old outlines")
    display.RemoveObserver(modified)
    assert [visible for before, visible in itertools.pairwise(seen) if visible != before] == [False, True]
    press(compared, qt.QEvent.KeyRelease)
    panel.key._shortcut.activated.emit()
    assert shown(segmentation) == "new"


def test_the_key_is_a_shortcut_that_qt_hears(compared):
    segmentation = compared.chosen.resultSegmentation
    compared.widget.parent.activateWindow()
    slicer.app.processEvents()
    QTest.keyPress(compared.ui.modelCombo, qt.Qt.Key_C)
    assert shown(segmentation) == "new"
    QTest.keyRelease(compared.ui.modelCombo, qt.Qt.Key_C)
    host.process_until(lambda: shown(segmentation) == "old", 2.0, "The old outlines")


def test_a_c_that_is_typed_into_a_field_is_a_letter(compared):
    segmentation = compared.chosen.resultSegmentation
    compared.widget.parent.activateWindow()
    field = qt.QLineEdit(compared.ui.finetuneFrame)
    field.show()
    field.setFocus()
    slicer.app.processEvents()
    QTest.keyClick(field, qt.Qt.Key_C)
    assert field.text == "c"
    assert shown(segmentation) == "old"


@pytest.mark.parametrize("how", ["left", "lost the focus"])
def test_who_leaves_with_the_key_down_finds_the_old_outlines(compared, how):
    segmentation = compared.chosen.resultSegmentation
    key = compared.widget.finetune.after.compare.key
    key._shortcut.activated.emit()
    if how == "left":
        compared.widget.parent.exit()
    else:
        qt.QApplication.sendEvent(compared.ui.finetuneBox, qt.QEvent(qt.QEvent.WindowDeactivate))
    host.process_until(lambda: shown(segmentation) == "old", 2.0, "The old outlines")
    assert not key.down


def test_the_key_is_taken_only_while_the_module_is_open_and_there_is_something_to_compare(user):
    key = user.widget.finetune.after.compare.key
    user.case()
    assert not key._shortcut.enabled
    user.tune(mask=MOVED)
    assert key._shortcut.enabled
    user.widget.parent.exit()
    assert not key._shortcut.enabled
    user.widget.parent.enter()
    assert key._shortcut.enabled
    user.ui.putButton.click()
    assert not key._shortcut.enabled


def test_a_run_that_ends_while_another_module_is_open_takes_no_key(user):
    user.case()
    user.ui.tuneButton.click()
    user.widget.parent.exit()
    user.worker.tuned(mask=MOVED)
    assert not user.widget.finetune.after.compare.key._shortcut.enabled


def test_the_slices_that_change_most_are_listed_and_a_click_goes_there(compared):
    counts = (TRUTH ^ MOVED).sum(axis=(1, 2))
    area = 3.5 * 3.5
    shown = compared.ui.changedList
    texts = [shown.item(row).text() for row in range(shown.count)]
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    assert texts == [f"Slice {k}: {round(counts[k] * area)} mm²" for k in order]
    shown.itemClicked.emit(shown.item(1))
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    at = slicer.util.arrayFromVTKMatrix(red.GetSliceToRAS())[:3, 3]
    j, i = np.argwhere((TRUTH ^ MOVED)[order[1]]).mean(axis=0)
    geometry = PHANTOM.volume.geometry
    x, y, z = (geometry.affine @ (i, j, order[1], 1.0))[:3]
    np.testing.assert_allclose(at, (-x, -y, z), atol=0.01)


def test_a_slice_that_is_called_right_while_the_new_result_is_shown_is_not_marked(compared):
    compared.ui.seedsBox.collapsed = False
    segmentation = compared.chosen.resultSegmentation
    volume, card = compared.chosen.inputVolume, load_card(find_model(MODEL))
    x, y, z = (PHANTOM.volume.geometry.affine @ (28.0, 28.0, 0.0, 1.0))[:3]
    views.jump((-x, -y, z))  # to a slice that is not marked
    before = [mark.index for mark in marks.marks(segmentation, volume, card)]
    compared.widget.finetune.after.compare.key._shortcut.activated.emit()
    assert shown(segmentation) == "new"
    compared.widget.seeds._key._shortcut.activated.emit()
    assert [mark.index for mark in marks.marks(segmentation, volume, card)] == before
    assert "is hidden" in compared.ui.seedsMessageLabel.text
    compared.widget.finetune.after.compare.key.release()
    compared.widget.seeds._key._shortcut.activated.emit()
    assert len(marks.marks(segmentation, volume, card)) == len(before) + 1


def test_the_slices_listed_are_those_of_the_tuned_model_s_plane(user):
    user.case()
    user.ui.tuneButton.click()
    models = user.widget.segment.models
    path = bundle("sagittal") / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["medtl"]["input"]["plane"] = "sagittal"
    path.write_text(json.dumps(metadata), encoding="utf-8")
    user.ui.allModelsCheckBox.click()
    user.widget.segment.readModels()
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData("sagittal")
    assert models.chosen().card.input.plane == "sagittal"
    user.worker.tuned(mask=MOVED)
    counts = (TRUTH ^ MOVED).sum(axis=(1, 2))
    assert user.ui.changedList.item(0).text().startswith(f"Slice {counts.argmax()}: ")


def test_a_result_that_changes_nothing_says_so(user):
    user.case()
    user.tune(mask=TRUTH)
    assert user.ui.changedCaption.text == "No slice changes."
    assert not user.ui.changedList.visible


def test_a_new_run_drops_what_was_compared(compared):
    segmentation = compared.chosen.resultSegmentation
    compared.ui.holdButton.pressed.emit()
    compared.ui.tuneButton.click()
    assert segmentations() == [segmentation]
    assert shown(segmentation) == "old"
    assert not compared.ui.compareBox.visible
    assert not compared.ui.useButton.visible


# With the real engine


@needs_engine
def test_the_whole_way_with_the_real_engine(user, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "engine"
    folder.mkdir()
    engine = Worker([ENGINE_PYTHON, "-u", "-P", "-m", "medtl.worker"], folder)
    user.close()
    user = TuningUser(folder, engine)

    def segmented() -> bool:
        return user.status().startswith("Done in") and bool(user.ui.segmentButton.enabled) and bool(user.rows())

    try:
        phantom = head(1, (96, 96, 12), (2.0, 2.0, 10.0))
        truth = phantom.labelmap.array > 0
        volume = user.load(phantom)
        user.ui.segmentButton.click()
        host.process_until(segmented, 120.0, "The segmentation")
        segmentation = user.chosen.resultSegmentation

        slices = tuple(int(k) for k in np.flatnonzero(truth.any(axis=(1, 2)))[:3])
        corrected = voxels(segmentation, volume)
        corrected[list(slices)] = np.roll(truth, 2, axis=2)[list(slices)]
        paint(segmentation, volume, corrected)
        user.mark(segmentation, volume, slices)
        user.ui.budgetSpinBox.value = BUDGET
        user.ui.tuneButton.click()
        host.process_until(lambda: user.ui.tuneButton.enabled, 120.0 + BUDGET, "The tuned model")
        assert user.tuning().startswith("Done in"), user.tuning()
        assert not user.ui.curveLabel.pixmap.isNull()
        assert "Dice" in user.ui.verdictLabel.text
        assert user.chosen.modelName == MODEL
        np.testing.assert_array_equal(voxels(segmentation, volume), corrected)

        user.ui.holdButton.pressed.emit()
        assert shown(segmentation) == "new"
        (new,) = (node for node in segmentations() if node is not segmentation)
        np.testing.assert_array_equal(voxels(new, volume)[list(slices)], corrected[list(slices)])
        user.ui.holdButton.released.emit()
        user.ui.putButton.click()
        np.testing.assert_array_equal(voxels(segmentation, volume)[list(slices)], corrected[list(slices)])

        user.ui.useButton.click()
        assert user.ui.modelCombo.currentData == TUNED
        user.ui.cardButton.click()
        assert MODEL in user.ui.cardBrowser.plainText
        user.ui.targetSelector.setCurrentNode(segmentation)
        user.ui.segmentButton.click()
        assert user.status() == "Starting the engine…"
        host.process_until(segmented, 120.0, "The next segmentation")
        for _turn in range(3):
            slicer.app.processEvents()
        segment = segmentation.GetSegmentation().GetSegment(LESION)
        assert TUNED in tag_of(segment, "DICOM.SegmentAlgorithmName")
        np.testing.assert_array_equal(voxels(segmentation, volume)[list(slices)], corrected[list(slices)])
        assert load_card(find_model(TUNED)).parent.name == MODEL
    finally:
        user.close()


# The form


def cut_off(user: TuningUser) -> list[str]:
    """The labels of this part whose text does not fit into them."""
    slicer.app.processEvents()
    labels = [w for w in vars(user.ui).values() if type(w) is qt.QLabel]
    return [w.name for w in labels if w.visible and w.height < w.heightForWidth(w.width)]


@pytest.mark.parametrize("width", [480, 300])
def test_the_part_fits_into_its_width(user, tmp_path, width):
    def fits(name: str) -> None:
        assert host.screenshot(user.widget.parent, tmp_path / f"{name}.png", width)[0] == width
        assert cut_off(user) == []
        user.widget.parent.resize(width, 2000)

    fits("nothing")
    user.case()
    fits("marked")
    user.ui.tuneAdvancedButton.collapsed = False
    user.ui.tuneButton.click()
    user.worker.progress("load", 0.0)
    for stage, began in (("check", 6.0), ("tune", 22.0)):
        user.worker.ahead = began
        user.worker.progress(stage, 0.5)
        for step in range(140):
            user.worker.ahead = began + step / 10
            user.worker.values(loss=0.1 + 0.6 * 0.97**step)
    fits("running")
    user.worker.tuned(mask=MOVED)
    fits("done")
    user.ui.useButton.click()
    user.ui.tuneAdvancedButton.collapsed = True
    fits("used")
