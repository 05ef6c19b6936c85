"""The section Cases, used as an annotator does; the engine is a fake that answers when the test says so."""

from collections.abc import Iterator
from pathlib import Path

import host
import numpy as np
import pytest
import slicer
from case_user import TRUTH, CaseUser, saved_mask, write_cases


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CaseUser]:
    """The panel is open in an empty scene with slice views, nothing is missing."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    slicer.app.userSettings().clear()
    host.new_scene()
    host.open_views()
    user = CaseUser(tmp_path / "worker")
    yield user
    user.close()
    host.new_scene()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_cases(tmp_path / "images")


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
    for number in range(1, 11):
        assert user.name == f"case {number}"
        if not (images / f"case {number}.seg.nrrd").exists():
            user.answer()  # in the foreground
        if user.worker.jobs:
            user.answer()  # the next one, in the background
        user.next()
    assert user.states() == ["reviewed"] * 10
    assert user.progress().startswith("10 of 10 done")
    assert user.message() == "All cases are done. Well worked."
    assert len(list(images.glob("*.seg.nrrd"))) == 10
