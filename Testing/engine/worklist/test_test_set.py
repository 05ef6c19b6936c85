"""The reviewed cases of a list as labelled cases."""

from dataclasses import replace

import pytest

from medtl.cases import read_cases
from medtl.errors import InputError
from medtl.worklist.case_list import make_list, open_list
from medtl.worklist.find import find_cases
from medtl.worklist.test_set import labelled_cases


@pytest.fixture
def folder(tmp_path):
    for name in ("sub-1_ses-1_T1w", "sub-1_ses-2_T1w", "c", "d", "e"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"x")
        (tmp_path / f"{name}.seg.nrrd").write_bytes(b"x")
    listed = open_list(make_list(tmp_path, find_cases(tmp_path), "beside", tmp_path))
    states = {"sub-1_ses-1_T1w": "reviewed", "sub-1_ses-2_T1w": "reviewed", "c": "corrected", "d": "reviewed"}
    for name, state in states.items():
        listed.change(replace(listed.cases[name], state=state, seeds=2 if name == "d" else 0))
    listed.close()
    return tmp_path


def test_they_are_the_reviewed_ones_that_nothing_was_trained_on(folder):
    cases = labelled_cases(folder)
    assert [(case.case, case.patient, case.label.name) for case in cases] == [
        ("sub-1_ses-1_T1w", "sub-1", "sub-1_ses-1_T1w.seg.nrrd"),
        ("sub-1_ses-2_T1w", "sub-1", "sub-1_ses-2_T1w.seg.nrrd"),
    ]


def test_a_result_that_was_deleted_is_an_error(folder):
    (folder / "sub-1_ses-2_T1w.seg.nrrd").unlink()
    with pytest.raises(InputError, match=r"sub-1_ses-2_T1w\.seg\.nrrd missing"):
        labelled_cases(folder)


def test_a_model_of_several_channels_is_refused(folder):
    with pytest.raises(InputError, match="Expected 2 images of each case"):
        labelled_cases(folder, ("T2", "FLAIR"))


def test_without_a_reviewed_case_it_says_so(folder):
    listed = open_list(folder)
    for case in tuple(listed.cases.values()):
        listed.change(replace(case, state="open"))
    listed.close()
    with pytest.raises(InputError, match="Review cases first"):
        labelled_cases(folder)


def test_everything_else_is_read_as_before(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"x")
    (tmp_path / "cases.csv").write_text("image,label\na.nrrd,a.nrrd\n")
    assert labelled_cases(tmp_path / "cases.csv") == read_cases(tmp_path / "cases.csv")
