"""What Fine-tune takes from a case list."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_series import series, write_slice
from panel_user import MODEL, PHANTOM, SEGMENT, paint

from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.model.card import load_card
from medtl.model.store import find_model
from medtl.volume import Labelmap, voxels_sha256
from medtl.worklist.case import ListedCase
from medtl.worklist.case_list import CaseList, make_list, open_list
from medtl.worklist.find import find_cases
from MedTLLib.prediction import writer
from MedTLLib.seeds import marks
from MedTLLib.worklist.nodes import load_volumes
from MedTLLib.worklist.saving import save
from MedTLLib.worklist.tuning import collect, count, write_guard

TRUTH = PHANTOM.labelmap.array > 0
CARD = load_card(find_model(MODEL))


@pytest.fixture
def listed(tmp_path: Path):
    """Three heads without results."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("Doe, John", "b", "c"):
        write_image(folder / f"{name}.nrrd", PHANTOM.volume.array, PHANTOM.volume.geometry)
    opened = open_list(make_list(folder, find_cases(folder), "beside", folder))
    yield opened
    opened.close()


def work_on(cases: CaseList, name: str, *slices: int, state: str = "corrected", edit_after: int = -1) -> None:
    """Segment a case, mark these slices, edit one of them after that, save it."""
    case = cases.cases[name]
    nodes = load_volumes(case)
    volume = nodes.volume
    array = TRUTH if volume.GetImageData().GetDimensions()[2] == 10 else np.ones((3, 4, 5), bool)
    written = writer.write(Labelmap(array.astype(np.uint8), nodes.geometry, (SEGMENT,)), volume)
    segmentation = volume.GetScene().GetNodeByID(written.segmentation_id)
    for k in slices:
        marks.mark(segmentation, volume, CARD, k)
    if edit_after >= 0:
        mask = array.copy()
        mask[edit_after, :3, :3] ^= True
        paint(segmentation, volume, mask)
    saved = save(segmentation, volume, nodes.geometry, cases.result(case), None)
    cases.change(replace(case, state=state, model=saved.model, seeds=saved.seeds, result_file=saved.state))


def test_seeds_on_disk_are_those_that_were_marked(scene, listed, tmp_path):
    work_on(listed, "Doe, John", 4, 5)
    seeds, warnings = collect(listed, CARD, tmp_path)
    assert warnings == ()
    assert [(seed.case, seed.index, seed.plane) for seed in seeds] == [
        ("listed-1", 4, "axial"),
        ("listed-1", 5, "axial"),
    ]
    for seed in seeds:
        np.testing.assert_array_equal(seed.mask > 0, TRUTH[seed.index])
        assert seed.sha256 == voxels_sha256(read_volume(seed.image).array)
    assert "Doe" not in seeds[0].case


def test_a_slice_that_was_edited_since_it_was_marked_is_no_seed(scene, listed, tmp_path):
    work_on(listed, "b", 4, 5, edit_after=5)
    assert listed.cases["b"].seeds == 1
    assert [seed.index for seed in collect(listed, CARD, tmp_path)[0]] == [4]


def test_a_slice_that_another_program_edited_in_the_file_is_no_seed(scene, listed, tmp_path):
    work_on(listed, "b", 4, 5)
    path = listed.result(listed.cases["b"])
    saved = read_labelmap(path)
    array = saved.array.copy()
    array[5, :3, :3] = SEGMENT.value
    write_labelmap(path, replace(saved, array=array))
    assert [seed.index for seed in collect(listed, CARD, tmp_path)[0]] == [4]


def test_seeds_of_another_model_and_of_the_open_case_are_left_out(scene, listed, tmp_path):
    work_on(listed, "b", 4)
    work_on(listed, "c", 5)
    listed.change(replace(listed.cases["c"], model="another"))
    assert collect(listed, CARD, tmp_path, "b") == ([], ())
    assert (count(listed, CARD).seeds, count(listed, CARD, "b").seeds) == (1, 0)
    assert count(None, CARD).seeds == count(listed, None).seeds == 0


def test_a_case_that_cannot_be_read_is_said_and_the_others_are_used(scene, listed, tmp_path):
    work_on(listed, "b", 4)
    work_on(listed, "c", 5)
    listed.result(listed.cases["b"]).write_bytes(b"NRRD")
    seeds, warnings = collect(listed, CARD, tmp_path)
    assert [seed.index for seed in seeds] == [5]
    assert len(warnings) == 1
    assert warnings[0].startswith("b is not used: ")


def test_a_dicom_series_is_handed_over_as_a_file_without_its_names(scene, tmp_path):
    folder = tmp_path / "Doe^John"
    folder.mkdir()
    for k, item in enumerate(series(3, uid="1.1")):
        write_slice(folder / f"{k}.dcm", item)
    opened = open_list(make_list(tmp_path, find_cases(tmp_path), "beside", tmp_path))
    (case,) = opened.cases.values()
    work_on(opened, case.name, 1)
    handed = tmp_path / "job"
    handed.mkdir()
    (seed,), _warnings = collect(opened, CARD, handed)
    assert seed.image == handed / "listed-1.nrrd"
    assert voxels_sha256(read_volume(seed.image).array) == seed.sha256
    opened.close()


def test_the_guard_set_is_the_reviewed_cases_without_seeds_whose_files_are_there(scene, listed, tmp_path):
    work_on(listed, "Doe, John", state="reviewed")
    work_on(listed, "b", 4, state="reviewed")
    work_on(listed, "c", state="reviewed")
    assert count(listed, CARD).guard == 2
    listed.result(listed.cases["c"]).unlink()
    path = write_guard(listed, CARD, tmp_path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], Path(row["label"]).name) for row in rows] == [("guard-1", "Doe, John.seg.nrrd")]
    assert write_guard(listed, CARD, tmp_path, "Doe, John") is None


def test_a_case_of_another_number_of_channels_is_no_guard(scene, listed):
    work_on(listed, "b", state="reviewed")
    listed.cases["b"] = ListedCase(**{**vars(listed.cases["b"]), "files": ("a.nrrd", "b.nrrd")})
    assert count(listed, CARD).guard == 0
