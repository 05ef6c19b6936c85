"""The section Cases, used as an annotator does; the engine is a fake that answers when the test says so."""

import csv
import errno
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import host
import numpy as np
import pytest
import qt
import slicer
from case_user import TRUTH, CaseUser, names_in_scene, saved_mask, write_cases
from dicom_series import series, write_slice
from panel_user import LESION, MODEL, accept_terms, agree, paint, tip, voxels
from test_module import ENGINE_PYTHON, needs_engine
from window_models import BRAIN, a_card, install, segments_of

from medtl.cases import read_cases
from medtl.finetuning.seed import read_seeds
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.labels import SEEDS_TAG
from medtl.model.card import load_card
from medtl.model.store import find_model
from medtl.phantom import head
from medtl.volume import Geometry, Labelmap, voxels_sha256
from medtl.worklist.case_list import NAME, VERSION, open_list, read_list
from MedTLLib.jobs.worker import Worker
from MedTLLib.mrml import views
from MedTLLib.mrml.tags import tag_of
from MedTLLib.seeds import marks

KILLED = Path(__file__).resolve().parents[1] / "killed_case_user.py"


@pytest.fixture
def user_class() -> type[CaseUser]:
    return CaseUser


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_cases(tmp_path / "images")


@pytest.fixture
def begun(user: CaseUser, images: Path) -> CaseUser:
    """The first of three cases is segmented."""
    user.choose(images)
    user.answer()
    return user


def edit(user: CaseUser, k: int = 5) -> np.ndarray:
    """Paint a corner of a slice; where the lesion is then."""
    mask = voxels(user.segmentation, user.volume)
    mask[k, :6, :6] = True
    paint(user.segmentation, user.volume, mask)
    return mask


def mark(user: CaseUser, *slices: int) -> None:
    card = load_card(find_model(MODEL))
    for k in slices:
        marks.mark(user.segmentation, user.volume, card, k)


def centre_of_red() -> np.ndarray:
    node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    return slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 3]


# From case to case


def test_a_folder_becomes_a_list_and_its_first_case_is_loaded_and_segmented(user, images):
    user.choose(images)
    assert [row[:2] for row in user.table_rows()] == [[f"case {n}", "open"] for n in (1, 2, 3)]
    assert (user.name, user.volume.GetName()) == ("case 1", "case 1")
    assert user.status() == "Starting the engine…"
    user.answer()
    np.testing.assert_array_equal(saved_mask(images / "case 1.seg.nrrd"), TRUTH)
    assert user.states() == ["segmented", "open", "open"]
    assert user.progress() == "0 of 3 done."


def test_ten_cases_by_the_key_n_alone(user, tmp_path):
    images = write_cases(tmp_path / "ten", 10)
    user.choose(images)
    user.answer()
    for number in range(1, 11):
        assert user.name == f"case {number}"
        if user.worker.jobs:
            user.answer()  # the next one, in the background
        user.next()
    assert user.states() == ["reviewed"] * 10
    assert user.progress() == "10 of 10 done."
    assert user.message() == "All cases are done."
    assert len(list(images.glob("*.seg.nrrd"))) == 10
    sent = [request["input"] for request in user.worker.requests]
    assert sent[1:] == [str(images / f"case {n}.nrrd") for n in range(2, 11)]


def test_the_next_case_is_segmented_in_the_background_and_n_shows_it_at_once(begun, images):
    begun.answer()
    assert begun.states() == ["segmented", "segmented", "open"]
    requests = len(begun.worker.requests)
    begun.next()
    assert (begun.name, begun.volume.GetName()) == ("case 2", "case 2")
    np.testing.assert_array_equal(voxels(begun.segmentation, begun.volume), TRUTH)
    assert begun.rows()[0][0] == "Glioma (FLAIR abnormality)"
    inside = np.argwhere(TRUTH)[:, ::-1].mean(axis=0)
    expected = slicer.util.arrayFromVTKMatrix(ijk_to_ras(begun.volume)) @ (*inside, 1.0)
    assert np.linalg.norm(centre_of_red() - expected[:3]) < 25  # mm
    assert len(begun.worker.requests) == requests + 1  # that of the third case, in the background
    assert begun.worker.requests[-1]["input"] == str(images / "case 3.nrrd")


def ijk_to_ras(volume: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def test_n_before_the_background_is_ready_waits_for_it_and_says_so(begun):
    begun.next()
    assert (begun.name, begun.segmentation) == ("case 2", None)
    assert begun.message().startswith("In the background: ")
    begun.worker.progress("infer", 0.5, 7.0)
    assert begun.message() == "In the background: Segmenting, 7 s left"
    begun.answer()
    np.testing.assert_array_equal(voxels(begun.segmentation, begun.volume), TRUTH)
    assert begun.states() == ["reviewed", "segmented", "open"]


def test_a_background_that_fails_is_tried_in_front_and_the_reason_is_shown(begun):
    begun.next()
    begun.worker.error("DeviceError", "Not enough memory.")
    begun.settle()
    begun.worker.error("DeviceError", "Not enough memory.")
    begun.settle()
    assert begun.status() == "Not enough memory."
    begun.next()
    assert begun.name == "case 3"


def test_segment_by_hand_stops_the_background(begun):
    assert begun.cases.background.ahead.name == "case 2"
    begun.ui.segmentButton.click()
    assert begun.worker.cancelled
    begun.settle()
    assert begun.cases.background.ahead.name == ""
    begun.answer()
    assert begun.cases.background.ahead.name == "case 2"


def test_n_while_a_job_runs_is_refused_and_says_so(user, images):
    user.choose(images)
    user.next()
    assert user.name == "case 1"
    assert user.message() == "A job is running. Wait for its end, or cancel it."
    assert not user.ui.nextCaseButton.enabled
    assert "A job is running." in tip(user.ui.nextCaseButton)


def test_a_case_is_opened_by_a_double_click_and_the_open_one_is_saved(begun, images):
    mask = edit(begun)
    begun.ui.caseTable.cellDoubleClicked.emit(2, 0)
    assert begun.name == "case 3"
    np.testing.assert_array_equal(saved_mask(images / "case 1.seg.nrrd"), mask)
    assert begun.states()[0] == "corrected"


def test_only_the_case_that_is_open_is_in_the_scene(begun):
    begun.answer()
    assert names_in_scene() == ["case 1", f"case 1 {MODEL}"]
    before = slicer.mrmlScene.GetNumberOfNodes()
    begun.next()
    begun.answer()
    assert names_in_scene() == ["case 2", "case 2 segmentation"]
    begun.next()
    assert slicer.mrmlScene.GetNumberOfNodes() <= before


def test_a_case_that_is_opened_again_has_its_name_and_no_number(begun):
    begun.answer()
    begun.next()
    begun.answer()
    for _turn in range(2):
        begun.cases.moves.go("case 1")
        assert names_in_scene() == ["case 1", "case 1 segmentation"]
        begun.cases.moves.go("case 2")
        assert names_in_scene() == ["case 2", "case 2 segmentation"]


# States


def test_a_case_that_was_not_changed_is_reviewed_and_one_that_was_is_corrected(begun, images):
    begun.answer()
    begun.next()
    mask = edit(begun)
    begun.next()
    assert begun.states()[:2] == ["reviewed", "corrected"]
    np.testing.assert_array_equal(saved_mask(images / "case 2.seg.nrrd"), mask)


def test_shift_n_saves_a_corrected_case_as_reviewed(begun):
    edit(begun)
    begun.press(qt.Qt.Key_N, qt.Qt.ShiftModifier, "N")
    assert (begun.name, begun.states()[0]) == ("case 2", "reviewed")


def test_a_state_chosen_by_hand_stays(begun):
    edit(begun)
    combo = begun.ui.caseStateCombo
    combo.currentIndex = combo.findData("rejected")
    combo.activated.emit(combo.currentIndex)
    begun.next()
    assert begun.states()[0] == "rejected"
    assert begun.progress().startswith("1 of 3 done")


def test_a_case_without_a_segmentation_stays_open(user, images):
    user.choose(images)
    user.worker.error("DeviceError", "Not enough memory.")
    user.settle()
    user.next()
    assert (user.name, user.states()[0]) == ("case 2", "open")


def test_ratings_by_key_a_note_and_who_did_it(begun):
    begun.press(qt.Qt.Key_4, qt.Qt.AltModifier)
    begun.ui.noteEdit.text = "motion, é"
    begun.ui.noteEdit.editingFinished.emit()
    case = begun.on_disk().cases["case 1"]
    assert (case.rating, case.note) == (4, "motion, é")
    assert case.user
    assert case.time.endswith("Z")
    assert begun.table_rows()[0][1:] == ["segmented", "4", "motion, é"]
    begun.press(qt.Qt.Key_0, qt.Qt.AltModifier)
    assert begun.on_disk().cases["case 1"].rating is None


def test_the_time_left_follows_the_pace(begun):
    begun.worker.ahead += 90.0
    begun.next()
    assert begun.progress() == "1 of 3 done, about 3 min left."
    assert begun.on_disk().cases["case 1"].seconds == pytest.approx(90.0, abs=20.0)


# Keys


def test_n_and_ratings_do_nothing_while_the_user_types(begun):
    for field in (begun.ui.noteEdit, begun.ui.caseSearch):
        field.setFocus()
        slicer.app.processEvents()
        begun.press(qt.Qt.Key_N, text="n", to=field)
        begun.press(qt.Qt.Key_3, qt.Qt.AltModifier, to=field)
        assert str(field.text) == "n"
        field.text = ""
    assert begun.name == "case 1"
    assert begun.on_disk().cases["case 1"].rating is None


def test_a_list_names_at_opening_the_cases_whose_files_are_not_what_they_were(begun, images):
    begun.next()
    begun.answer()
    begun.next()
    begun.answer()
    begun.ui.closeListButton.click()
    begun.settle()
    begun.choose(images)
    assert "another size or time" not in begun.message()
    begun.ui.closeListButton.click()
    begun.settle()
    (images / "case 1.seg.nrrd").unlink()
    os.utime(images / "case 2.nrrd", ns=(1, 1))
    begun.choose(images)
    assert "last, or are gone: case 1, case 2." in begun.message()


def test_a_case_that_is_opened_has_a_robust_window_before_it_is_segmented_and_the_user_s_stays(begun):
    display = begun.volume.GetDisplayNode()
    low, high = views.robust_window(slicer.util.arrayFromVolume(begun.volume))
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == pytest.approx((low, high))
    display.SetWindowLevelMinMax(1.0, 2.0)
    begun.answer()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (1.0, 2.0)


def test_the_keys_are_released_when_another_module_is_opened_or_the_section_folded(begun):
    begun.widget.exit()
    begun.next()
    assert begun.name == "case 1"
    begun.widget.enter()
    begun.ui.casesBox.collapsed = True
    begun.next()
    assert begun.name == "case 1"
    begun.ui.casesBox.collapsed = False
    begun.next()
    assert begun.name == "case 2"


# What is saved


def test_a_reloaded_case_is_again_a_segmentation_of_the_model_with_its_seeds(begun, images):
    edit(begun)
    mark(begun, 4, 5)
    begun.next()
    assert begun.on_disk().cases["case 1"].seeds == 2
    begun.cases.moves.go("case 1")
    segmentation = begun.segmentation
    assert segmentation.GetSegmentation().GetSegmentIDs() == (LESION,)
    assert tag_of(segmentation.GetSegmentation().GetSegment(LESION), SEEDS_TAG)
    card = load_card(find_model(MODEL))
    assert [(m.index, m.stale) for m in marks.marks(segmentation, begun.volume, card)] == [(4, False), (5, False)]


def test_the_result_is_readable_by_other_programs_and_lies_on_the_image(begun, images):
    import SimpleITK as sitk

    image, result = (sitk.ReadImage(str(images / name)) for name in ("case 1.nrrd", "case 1.seg.nrrd"))
    assert image.GetSize() == result.GetSize()
    np.testing.assert_allclose(image.GetDirection(), result.GetDirection(), atol=1e-9)
    np.testing.assert_allclose(image.GetOrigin(), result.GetOrigin(), atol=1e-6)
    assert (sitk.GetArrayFromImage(result) > 0).sum() == TRUTH.sum()


def test_a_left_handed_image_has_its_result_on_its_own_grid(user, tmp_path):
    made = head(1, (20, 24, 6), (4.0, 4.0, 12.0))
    direction = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    left = Geometry((20, 24, 6), (4.0, 4.0, 12.0), (5.0, 6.0, 7.0), direction)
    folder = tmp_path / "left"
    folder.mkdir()
    write_image(folder / "a.nrrd", made.volume.array, left)
    user.ui.allModelsCheckBox.click()
    user.choose(folder)
    image = user.worker.folder / user.worker.requests[0]["input"]
    np.testing.assert_array_equal(read_volume(image).array, made.volume.array[::-1])
    mask = made.labelmap.array > 0
    user.answer(mask[::-1])
    result = read_labelmap(folder / "a.seg.nrrd")
    assert result.geometry.close_to(left, 1e-6)
    np.testing.assert_array_equal(result.array > 0, mask)
    user.ui.closeListButton.click()
    user.ui.continueButton.click()
    np.testing.assert_array_equal(voxels(user.segmentation, user.volume), mask[::-1])


def test_segments_that_overlap_are_saved_whole(begun, images):
    mine = np.zeros_like(TRUTH)
    mine[:, 20:40, 20:40] = True
    segments = begun.segmentation.GetSegmentation()
    segments.AddEmptySegment("mine", "Mine", (0.1, 0.2, 0.3))
    paint(begun.segmentation, begun.volume, mine, "mine")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    from MedTLLib.mrml.scene import geometry_of as grid_of
    from MedTLLib.mrml.scene import labelmap_image

    image = labelmap_image(mine, grid_of(begun.volume))
    logic.SetBinaryLabelmapToSegment(image, begun.segmentation, "mine", logic.MODE_REPLACE)
    assert (mine & TRUTH).any()
    begun.next()
    begun.cases.moves.go("case 1")
    np.testing.assert_array_equal(voxels(begun.segmentation, begun.volume, "mine"), mine)
    np.testing.assert_array_equal(voxels(begun.segmentation, begun.volume), TRUTH)


def test_results_in_one_folder(user, images, tmp_path):
    results = tmp_path / "results é"
    results.mkdir()
    user.choose(images, "folder", str(results))
    user.answer()
    assert sorted(path.name for path in results.iterdir()) == ["case 1.seg.nrrd", NAME]
    assert sorted(path.suffix for path in images.iterdir()) == [".nrrd"] * 3


def test_bids_derivatives_have_what_bids_tools_read(user, tmp_path):
    write_cases(tmp_path / "bids/sub-01/anat", 2, lambda n: f"sub-01_run-{n}_FLAIR")
    user.choose(tmp_path / "bids", "bids")
    user.answer()
    folder = tmp_path / "bids/derivatives/medtl/sub-01/anat"
    stem = "sub-01_run-1_desc-FLAIR_dseg"
    assert {path.name for path in folder.iterdir()} == {f"{stem}.seg.nrrd", f"{stem}.nii.gz", f"{stem}.tsv"}
    np.testing.assert_array_equal(read_labelmap(folder / f"{stem}.nii.gz").array > 0, TRUTH)
    rows = (folder / f"{stem}.tsv").read_text(encoding="utf-8").splitlines()
    assert rows == ["index\tname", "1\tGlioma (FLAIR abnormality)"]
    user.answer()  # the second one, in the background
    user.next()
    user.next()
    assert (folder / "sub-01_run-2_desc-FLAIR_dseg.nii.gz").is_file()


def test_an_edit_is_saved_some_seconds_later_without_a_key(begun, images):
    begun.cases.saving.quiet.pause = 1
    mask = edit(begun)
    host.process_until(lambda: begun.states()[0] == "corrected", 10.0, "The quiet save")
    np.testing.assert_array_equal(saved_mask(images / "case 1.seg.nrrd"), mask)


# Killed, closed, resumed


def test_killed_in_the_middle_of_ten_cases_it_opens_there_with_segmentation_and_seeds(user, tmp_path):
    images = write_cases(tmp_path / "ten", 10)
    killed = subprocess.run(
        [sys.executable, str(KILLED), str(images), str(tmp_path / "other-worker"), "5"],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert killed.returncode == -9, killed.stderr[-2000:]
    assert read_list(images).holder is not None
    user.choose(images)
    assert user.name == "case 5"
    assert user.states()[:6] == ["reviewed"] * 4 + ["corrected", "open"]
    mask = TRUTH.copy()
    mask[5, :6, :6] = True
    np.testing.assert_array_equal(voxels(user.segmentation, user.volume), mask)
    card = load_card(find_model(MODEL))
    assert [(m.index, m.stale) for m in marks.marks(user.segmentation, user.volume, card)] == [(4, False), (5, False)]
    assert user.progress().startswith("5 of 10 done")


def test_a_list_is_continued_with_one_button(begun, images):
    begun.next()
    begun.ui.closeListButton.click()
    assert begun.ui.casesSourceFrame.visible
    assert str(images) in tip(begun.ui.continueButton)
    assert begun.message() == ""
    begun.ui.continueButton.click()
    assert begun.name == "case 2"


def test_closing_the_panel_saves_and_unlocks(begun, images):
    mask = edit(begun)
    begun.close()
    assert read_list(images).holder is None
    np.testing.assert_array_equal(saved_mask(images / "case 1.seg.nrrd"), mask)


def test_closing_the_scene_saves_the_case_and_n_goes_on(begun, images):
    mask = edit(begun)
    slicer.mrmlScene.Clear()
    np.testing.assert_array_equal(saved_mask(images / "case 1.seg.nrrd"), mask)
    assert "The scene was closed" in begun.message()
    begun.next()
    assert (begun.name, begun.states()[0]) == ("case 2", "corrected")
    assert begun.volume.GetName() == "case 2"


# Other nodes


def test_other_nodes_are_asked_about_and_stay(begun):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "My points")
    asked = agree(False)
    begun.next()
    assert asked == ["The scene also has: My points. Take it out of the scene? What is not saved is lost."]
    assert node.GetScene() is not None
    begun.answer()
    begun.next()  # it is not asked about again
    assert begun.name == "case 3"
    assert node.GetScene() is not None


def test_other_nodes_are_taken_out_where_the_user_says_so(begun):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "My points")
    agree(True)
    begun.next()
    assert node.GetScene() is None


def test_a_volume_of_the_user_stays_in_the_scene(user, images):
    mine = user.load(name="mine")
    user.choose(images)
    user.answer()
    agree(False)
    user.next()
    assert mine.GetScene() is not None
    assert "case 1" not in names_in_scene()


# Bad input


def test_a_full_disk_loses_nothing_and_the_case_stays_open(begun, images, monkeypatch):
    before = (images / "case 1.seg.nrrd").read_bytes()
    mask = edit(begun)

    def full(*arguments: object, **keywords: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("medtl.io.write.write_itk", full)
        begun.next()
    assert begun.name == "case 1"
    assert "Not saved, and not left" in begun.message()
    assert "No space left on device" in begun.message()
    assert (images / "case 1.seg.nrrd").read_bytes() == before
    np.testing.assert_array_equal(voxels(begun.segmentation, begun.volume), mask)
    assert {path.name for path in images.iterdir() if path.name.startswith(".")} == set()
    begun.next()
    assert begun.name == "case 2"
    np.testing.assert_array_equal(saved_mask(images / "case 1.seg.nrrd"), mask)


@pytest.mark.parametrize("content", ["nothing", "a text"])
def test_a_folder_without_images_is_a_sentence(content, user, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    if content == "a text":
        (folder / "readme.txt").write_text("hello")
    user.choose(folder)
    assert user.message().startswith("Expected images (NRRD, NIfTI, MetaImage, DICOM) below ")
    assert user.ui.casesSourceFrame.visible
    assert not (folder / NAME).exists()


def test_two_cases_of_one_name_are_told_apart(user, tmp_path):
    for part in ("p1", "p2"):
        write_cases(tmp_path / "names" / part, 1, lambda n: "flair")
    user.choose(tmp_path / "names")
    assert [row[0] for row in user.table_rows()] == ["p1_flair", "p2_flair"]
    user.answer()
    assert (tmp_path / "names/p1/p1_flair.seg.nrrd").is_file()


def test_names_with_spaces_and_letters_of_any_language(user, tmp_path):
    images = write_cases(tmp_path / "Bilder für é 日本", 2, lambda n: f"Müller {n} 日本")
    user.choose(images)
    user.answer()
    user.answer()
    user.next()
    assert user.name == "Müller 2 日本"
    assert len(list(images.glob("*.seg.nrrd"))) == 2


def test_a_dicom_folder_with_three_series_is_three_cases(user, tmp_path):
    folder = tmp_path / "dicom" / "patient"
    folder.mkdir(parents=True)
    number = 0
    for uid in ("1.1", "1.2", "1.3"):
        noise = np.random.default_rng(number).integers(0, 900, (8, 24, 24)).astype(np.int16)
        for k, item in enumerate(series(8, 6.0, uid=uid, description=f"FLAIR {uid}")):
            number += 1
            write_slice(folder / f"{number}.dcm", replace(item, array=noise[k]))
    user.ui.allModelsCheckBox.click()
    user.choose(tmp_path / "dicom")
    names = [row[0] for row in user.table_rows()]
    assert names == ["patient_FLAIR_1_1", "patient_FLAIR_1_2", "patient_FLAIR_1_3"]
    mask = np.zeros((8, 24, 24), bool)
    mask[3:5, 4:9, 4:9] = True
    sent = read_volume(user.worker.folder / user.worker.requests[0]["input"])
    user.answer(mask)
    np.testing.assert_array_equal(sent.array, read_volume(folder, series="1.1").array)
    assert user.worker.requests[1]["input"] == str(folder)
    assert user.worker.requests[1]["options"]["series"] == "1.2"
    assert read_labelmap(tmp_path / "dicom" / f"{names[0]}.seg.nrrd").geometry.close_to(sent.geometry)


def test_a_list_of_a_newer_version_is_a_sentence_and_stays_as_it_is(begun, images):
    begun.ui.closeListButton.click()
    database = sqlite3.connect(images / NAME)
    database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()
    before = (images / NAME).read_bytes()
    begun.choose(images)
    assert "A newer MedTL wrote it" in begun.message()
    assert (images / NAME).read_bytes() == before


def hold(path: Path) -> None:
    """Somebody else opens the list."""
    database = sqlite3.connect(path)
    database.execute("DELETE FROM holder")
    database.execute("INSERT INTO holder VALUES ('Erika', 'station-2', 'other', 17, '2026-01-02T03:04:05Z')")
    database.commit()
    database.close()


def test_a_list_that_another_user_has_open_says_who_where_and_since_when(begun, images):
    begun.ui.closeListButton.click()
    hold(images / NAME)
    host.answer(str(images))
    asked = agree(False)
    begun.ui.folderButton.click()
    assert "in use: Erika on station-2 since 2026-01-02 03:04:05 UTC" in begun.message()
    assert "Take it over" in asked[0]
    assert begun.cases.session.list is None


def test_a_list_can_be_taken_over_when_nobody_works_on_it_any_more(begun, images):
    begun.ui.closeListButton.click()
    hold(images / NAME)
    host.answer(str(images))
    agree(True)
    begun.ui.folderButton.click()
    assert begun.name == "case 1"
    assert read_list(images).holder.user != "Erika"


def test_a_list_that_is_taken_over_meanwhile_is_not_written_any_more(begun, images):
    hold(images / NAME)
    edit(begun)
    begun.next()
    assert begun.name == "case 1"
    assert "taken over by Erika on station-2" in begun.message()
    assert read_list(images).cases["case 1"].state == "segmented"


def test_a_read_only_folder_is_a_sentence(user, images, monkeypatch):
    def refuse(*arguments: object, **keywords: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkdtemp", refuse)
        user.choose(images)
    assert "Read-only file system" in user.message()
    assert user.ui.casesSourceFrame.visible


def test_an_image_that_was_deleted_meanwhile_is_skipped_with_the_reason(begun, images):
    (images / "case 2.nrrd").unlink()
    begun.worker.error("InputError", "Expected a file.")
    begun.settle()
    begun.next()
    assert begun.name == "case 2"
    assert begun.message().startswith("case 2 cannot be opened: Expected a file")
    assert names_in_scene() == []
    begun.next()
    assert begun.name == "case 3"
    assert begun.states()[1] == "open"


def test_an_image_that_was_changed_meanwhile_is_noticed(begun, images):
    begun.next()
    begun.answer()
    other = head(9, (56, 56, 10), (3.5, 3.5, 12.0)).volume
    write_image(images / "case 1.nrrd", other.array, other.geometry)
    begun.cases.moves.go("case 1")
    assert "The image was changed on disk" in begun.message()
    os.utime(images / "case 2.nrrd", (1e9, 1e9))  # another time alone is no change
    begun.cases.moves.go("case 2")
    assert "changed" not in begun.message()


def test_a_result_that_was_deleted_meanwhile_is_made_again(begun, images):
    begun.answer()
    begun.next()
    (images / "case 1.seg.nrrd").unlink()
    begun.cases.moves.go("case 1")
    assert begun.status() == "Waiting for another job to end…"
    assert begun.states()[0] == "open"


def test_a_result_that_somebody_else_changed_is_kept_beside_the_users_own(begun, images):
    theirs = np.zeros(TRUTH.shape, np.uint8)
    theirs[0, :3, :3] = 1
    result = images / "case 1.seg.nrrd"
    before = read_labelmap(result)
    write_labelmap(result, Labelmap(theirs, before.geometry, before.segments))
    mask = edit(begun)
    begun.next()
    np.testing.assert_array_equal(saved_mask(result), mask)
    np.testing.assert_array_equal(saved_mask(images / "case 1.others-1.seg.nrrd"), theirs > 0)
    assert "Theirs is kept as case 1.others-1.seg.nrrd" in begun.message()


def test_a_damaged_result_is_a_sentence_and_not_replaced_by_looking(begun, images):
    begun.answer()
    (images / "case 2.seg.nrrd").write_bytes(b"NRRD0004\n")
    begun.next()
    assert begun.name == "case 2"
    assert "case 2.seg.nrrd" in begun.message()
    assert (images / "case 2.seg.nrrd").read_bytes() == b"NRRD0004\n"
    begun.answer()
    assert (images / "case 2.others-1.seg.nrrd").read_bytes() == b"NRRD0004\n"
    np.testing.assert_array_equal(saved_mask(images / "case 2.seg.nrrd"), TRUTH)


def test_a_model_that_does_not_fit_a_case_does_not_segment_it_and_is_kept_for_the_others(user, tmp_path):
    images = write_cases(tmp_path / "mixed", 3, lambda n: f"{n}_T1_post" if n == 2 else f"{n}_FLAIR")
    user.choose(images)
    user.answer()
    requests = len(user.worker.requests)
    user.next()
    assert user.name == "2_T1_post"
    assert user.chosen.modelName != MODEL or f"{MODEL} does not fit this case" in user.message()
    user.next()
    assert (user.name, user.chosen.modelName) == ("3_FLAIR", MODEL)
    assert len(user.worker.requests) > requests


def test_the_model_that_fits_the_first_case_is_taken_and_one_that_the_user_chooses_stays(user, tmp_path):
    images = write_cases(tmp_path / "t1", 3, "{}_T1_post".format)
    user.choose(images)
    first = user.chosen.modelName
    assert first != MODEL
    assert user.worker.requests[0]["model"] == first
    user.answer()
    user.ui.allModelsCheckBox.click()
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData(MODEL)
    user.next()
    assert (user.name, user.chosen.modelName) == ("2_T1_post", MODEL)


def test_without_the_packages_the_cases_can_still_be_opened(user, images):
    from MedTLLib.packages import packages

    user.packages.needed = packages.required()[:2]
    user.widget.enter()
    user.choose(images)
    assert user.volume.GetName() == "case 1"
    assert user.worker.requests == []
    user.next()
    assert user.name == "case 2"


# The list


def test_the_table_shows_what_is_searched_and_n_goes_through_that(user, tmp_path):
    images = write_cases(tmp_path / "many", 6, lambda n: f"p{n}_{'FLAIR' if n % 2 else 'T2'}")
    user.choose(images)
    user.answer()
    user.ui.caseSearch.text = "flair"
    host.process_until(lambda: len(user.table_rows()) == 3, 5.0, "The search")
    assert [row[0] for row in user.table_rows()] == ["p1_FLAIR", "p3_FLAIR", "p5_FLAIR"]
    user.next()
    assert user.name == "p3_FLAIR"


def test_a_heading_sorts_and_the_third_click_restores_the_order(begun):
    for rating, name in ((2, "case 1"), (5, "case 2"), (4, "case 3")):
        begun.cases.session.list.change(replace(begun.on_disk().cases[name], rating=rating))
    begun.cases.update()
    orders = []
    for _click in range(3):
        begun.cases.table.onHeader(2)
        orders.append([row[0][-1] for row in begun.table_rows()])
    assert orders == [["1", "3", "2"], ["2", "3", "1"], ["1", "2", "3"]]


def test_states_are_filtered(begun):
    begun.answer()
    begun.next()
    combo = begun.ui.stateFilterCombo
    combo.currentIndex = combo.findData("reviewed")
    assert [row[0] for row in begun.table_rows()] == ["case 1"]


def test_ten_thousand_cases_are_filled_where_the_user_looks(user, tmp_path):
    from medtl.worklist.case_list import make_list
    from medtl.worklist.find import Found

    write_cases(tmp_path / "big", 1, lambda n: "case 0")
    found = [Found((tmp_path / "big" / f"case {n}.nrrd",), f"case {n}") for n in range(10_000)]
    make_list(tmp_path / "big", found, "beside")
    user.choose(tmp_path / "big")
    table = user.ui.caseTable
    assert table.rowCount == 10_000
    assert len(user.table_rows()) < 50
    table.scrollToBottom()
    user.settle()
    assert table.item(9_999, 0).text() == "case 9999"
    assert len(user.table_rows()) < 100


def test_the_list_goes_out_as_csv_and_comes_back_changed(begun, tmp_path):
    host.answer(str(tmp_path / "out.csv"))
    begun.ui.exportListButton.click()
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == ["case 1", "case 2", "case 3"]
    (tmp_path / "in.csv").write_text("case,state,rating\ncase 3,rejected,1\n", encoding="utf-8")
    host.answer(str(tmp_path / "in.csv"))
    begun.ui.importListButton.click()
    assert begun.table_rows()[2][1:3] == ["rejected", "1"]
    (tmp_path / "bad.csv").write_text("case,state\nnobody,open\n", encoding="utf-8")
    host.answer(str(tmp_path / "bad.csv"))
    begun.ui.importListButton.click()
    assert "found 'nobody'" in begun.message()


def test_images_that_came_later_are_added(begun, images):
    volume = head(7, (56, 56, 10), (3.5, 3.5, 12.0)).volume
    write_image(images / "case 10.nrrd", volume.array, volume.geometry)
    begun.ui.updateListButton.click()
    assert begun.message() == "New cases: 1."
    assert [row[0] for row in begun.table_rows()][-1] == "case 10"


def test_a_csv_file_gives_the_cases(user, images, tmp_path):
    (tmp_path / "cases.csv").write_text("case,image\np 1,images/case 3.nrrd\n", encoding="utf-8")
    host.answer(str(tmp_path / "cases.csv"))
    user.ui.csvButton.click()
    assert user.name == "p 1"
    user.answer()
    assert (images / "p 1.seg.nrrd").is_file()
    (tmp_path / "wrong.csv").write_text("picture\n1\n", encoding="utf-8")
    user.ui.closeListButton.click()
    host.answer(str(tmp_path / "wrong.csv"))
    user.ui.csvButton.click()
    assert "Expected the columns image" in user.message()


def test_the_loaded_volumes_become_cases_and_stay_loaded(user, images, tmp_path):
    nodes = [slicer.util.loadVolume(str(images / f"case {n}.nrrd")) for n in (1, 2)]
    mine = user.load(name="without a file")
    results = tmp_path / "results"
    results.mkdir()
    user.ui.placesCombo.currentIndex = user.ui.placesCombo.findData("folder")
    asked = agree(True)
    host.answer(str(results))
    user.ui.loadedButton.click()
    assert "without a file" in asked[0]
    assert user.volume is nodes[0]
    user.answer()
    result = read_labelmap(results / "case 1.seg.nrrd")
    assert result.geometry.close_to(read_volume(images / "case 1.nrrd").geometry)
    agree(False)
    user.next()
    assert user.volume is nodes[1]
    assert all(node.GetScene() is not None for node in (*nodes, mine))


def test_only_one_list_is_open_at_a_time(begun, images, tmp_path):
    other = write_cases(tmp_path / "other", 1)
    begun.ui.closeListButton.click()
    assert read_list(images).holder is None
    begun.choose(other)
    assert read_list(other).holder is not None
    listed = open_list(images)
    listed.close()


def test_the_panel_fits_into_a_narrow_and_a_wide_column(begun, tmp_path):
    box = begun.ui.casesBox
    for width in (300, 500):
        assert host.screenshot(box, tmp_path / f"{width}.png", width)[0] == width
        assert begun.ui.caseTable.isColumnHidden(3) == (width == 300)
    begun.ui.closeListButton.click()
    begun.settle()
    for width in (300, 500):
        assert host.screenshot(box, tmp_path / f"{width}.png", width)[0] == width


# Fine-tune


def prepare_for_tuning(user: CaseUser) -> None:
    """Case 1 is reviewed, case 2 has two SEEDs, case 3 one."""
    user.answer()
    user.next()
    edit(user, 4)
    mark(user, 4, 5)
    user.answer()
    user.next()
    mark(user, 5)
    user.ui.finetuneBox.collapsed = False
    host.process_until(lambda: not user.widget.finetune._soon.active, 5.0, "The panel's look at the scene")


def test_fine_tune_learns_from_the_seeds_of_all_cases_and_guards_with_the_reviewed_ones(begun, images):
    prepare_for_tuning(begun)
    assert begun.ui.seedsUsedLabel.text == (
        "1 SEED of 1 case. Other cases of the list add 2 SEEDs. "
        "Guard set, never learned from: 1 reviewed without SEEDs."
    )
    begun.ui.tuneButton.click()
    request = begun.worker.requests[-1]
    seeds = read_seeds(begun.worker.folder / request["seeds"])
    assert sorted((seed.case, seed.index) for seed in seeds) == [("image-0", 5), ("listed-1", 4), ("listed-1", 5)]
    for seed in seeds:
        image = read_volume(seed.image)
        assert voxels_sha256(image.array) == seed.sha256
    listed = {seed.index: seed.mask > 0 for seed in seeds if seed.case == "listed-1"}
    expected = TRUTH.copy()
    expected[4, :6, :6] = True
    for k, mask in listed.items():
        np.testing.assert_array_equal(mask, expected[k])
    guard = read_cases(begun.worker.folder / request["options"]["guard"])
    assert [(case.case, case.image, case.label) for case in guard] == [
        ("guard-1", images / "case 1.nrrd", images / "case 1.seg.nrrd")
    ]
    assert "result" not in request["options"]
    assert "case 1" not in str([seed.case for seed in seeds])


def test_a_case_with_seeds_is_never_in_the_guard_set(begun):
    prepare_for_tuning(begun)
    begun.cases.moves.go("case 2")
    begun.press(qt.Qt.Key_N, qt.Qt.ShiftModifier, "N")
    assert begun.on_disk().cases["case 2"].state == "reviewed"
    assert begun.cases.listed().guard == 1


def test_seeds_of_cases_on_disk_alone_are_enough(begun):
    edit(begun, 4)
    mark(begun, 4)
    begun.answer()
    begun.next()
    begun.ui.finetuneBox.collapsed = False
    host.process_until(lambda: not begun.widget.finetune._soon.active, 5.0, "The panel's look at the scene")
    assert begun.ui.tuneButton.enabled, begun.ui.tuneReasonLabel.text
    begun.ui.tuneButton.click()
    seeds = read_seeds(begun.worker.folder / begun.worker.requests[-1]["seeds"])
    assert [(seed.case, seed.index) for seed in seeds] == [("listed-1", 4)]


def test_a_case_whose_files_are_gone_is_left_out_with_the_reason(begun, images):
    prepare_for_tuning(begun)
    (images / "case 2.nrrd").unlink()
    (images / "case 1.seg.nrrd").unlink()
    begun.ui.tuneButton.click()
    request = begun.worker.requests[-1]
    assert [seed.case for seed in read_seeds(begun.worker.folder / request["seeds"])] == ["image-0"]
    assert "guard" not in request["options"]
    assert "case 2 is not used" in begun.widget.logic.run.job.notes[0]


# Several channels


def test_a_case_of_several_channels_is_loaded_and_sent_in_their_order(user, tmp_path):
    card = a_card()
    install(card)
    user.widget.segment.readModels()
    user.ui.allModelsCheckBox.click()
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData(BRAIN)
    user.worker.segments = segments_of(card)
    accept_terms()
    folder = tmp_path / "channels"
    folder.mkdir()
    for number in (1, 2):
        for channel in (0, 1):
            volume = head(10 * number + channel, (24, 24, 8), (6.0, 6.0, 12.0)).volume
            write_image(folder / f"p{number}_000{channel}.nrrd", volume.array, volume.geometry)
    user.choose(folder)
    assert [row[0] for row in user.table_rows()] == ["p1", "p2"]
    sent = [read_volume(user.worker.folder / path).array for path in user.worker.requests[0]["input"]]
    for channel, array in enumerate(sent):
        np.testing.assert_array_equal(array, read_volume(folder / f"p1_000{channel}.nrrd").array)
    mask = np.zeros((8, 24, 24), np.uint8)
    mask[2:4, 4:8, 4:8], mask[4:6, 4:8, 4:8] = 1, 2
    user.answer(mask)
    assert user.worker.requests[1]["input"] == [str(folder / f"p2_000{channel}.nrrd") for channel in (0, 1)]
    user.answer(mask)
    user.next()
    assert names_in_scene() == ["p2 segmentation", "p2_0000", "p2_0001"]
    np.testing.assert_array_equal(voxels(user.segmentation, user.volume, f"{BRAIN}.part-2"), mask == 2)


# The real engine


@needs_engine
def test_three_cases_with_the_real_engine_and_its_background(user, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    user.close()
    folder = tmp_path / "engine"
    folder.mkdir()
    worker = Worker([ENGINE_PYTHON, "-u", "-P", "-m", "medtl.worker"], folder)
    user = CaseUser(folder, worker)
    images = write_cases(tmp_path / "real é", 3)
    user.choose(images)
    result = images / "case {}.seg.nrrd"
    for number in (1, 2, 3):
        path = Path(str(result).format(number))
        host.process_until(path.exists, 120.0, f"The result of case {number}")
        host.process_until(lambda n=number: user.states()[n - 1] != "open", 30.0, "Its state")
        assert user.name == f"case {number}"
        host.process_until(lambda: user.segmentation is not None, 30.0, "Its segmentation")
        host.process_until(lambda: user.widget.logic.run.job is None, 30.0, "The end of the job")
        assert voxels(user.segmentation, user.volume).any()
        assert read_labelmap(path).geometry.close_to(read_volume(images / f"case {number}.nrrd").geometry)
        user.next()
    assert user.states() == ["reviewed"] * 3
    assert "torch" not in sys.modules
    user.close()
    worker.stop()


def test_a_second_segmentation_replaces_a_corrected_one_only_at_n_and_keeps_it_beside(begun, images):
    result = images / "case 1.seg.nrrd"
    mask = edit(begun)
    begun.cases.saving.saveQuietly()
    begun.ui.segmentButton.click()  # into a new segmentation
    begun.settle()
    other = np.roll(TRUTH, 3, axis=2)
    begun.answer(other)
    np.testing.assert_array_equal(saved_mask(result), mask)
    assert "has your corrected segmentation until you press N" in begun.message()
    agree(True)
    begun.next()
    np.testing.assert_array_equal(saved_mask(result), other)
    np.testing.assert_array_equal(saved_mask(images / "case 1.earlier-1.seg.nrrd"), mask)
    assert "is kept as case 1.earlier-1.seg.nrrd" in begun.message()
