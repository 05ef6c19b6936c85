"""Where a file is saved."""

from pathlib import Path

import pytest

from MedTLLib.results.save_path import chosen_path, suggested

FORMATS = (".seg.nrrd", ".nrrd", ".nii.gz")


@pytest.mark.parametrize(
    ("chosen", "name", "added"),
    [
        ("a.seg.nrrd", "a.seg.nrrd", False),
        ("a.NRRD", "a.NRRD", False),
        ("a.nii.gz", "a.nii.gz", False),
        ("a", "a.seg.nrrd", True),
        ("a.nii", "a.nii.seg.nrrd", True),
    ],
)
def test_a_chosen_name_without_a_known_ending_gets_the_first_one(tmp_path, chosen, name, added):
    assert chosen_path(str(tmp_path / chosen), FORMATS) == (tmp_path / name, False)
    (tmp_path / name).touch()
    assert chosen_path(str(tmp_path / chosen), FORMATS) == (tmp_path / name, added)


def test_a_suggested_name_has_no_character_that_a_system_forbids(tmp_path):
    assert suggested('2: ax/"flair"?', ".nrrd", str(tmp_path)) == tmp_path / "2_ ax__flair__.nrrd"
    assert suggested("a", ".zip") == Path.home() / "a.zip"
