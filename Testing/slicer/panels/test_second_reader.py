"""The second reader in the section Cases, compared by the engine's own code."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import host
import numpy as np
import pytest
import slicer
from case_user import TRUTH, CaseUser, write_cases
from panel_user import LESION, tip
from study_user import StudyWorker

from medtl import worker_jobs
from medtl.io.read import read_labelmap
from medtl.io.write import write_labelmap
from medtl.progress import no_progress
from medtl.typed_json import encode


class Reader(CaseUser):
    """An annotator whose engine compares, too."""

    make_worker = StudyWorker

    def compare(self, folder: Path) -> None:
        """Press Second reader, choose the folder, and let the engine do it."""
        host.answer(str(folder))
        self.ui.agreeButton.click()
        request = self.worker.requests[min(self.worker.jobs) - 1]
        request["options"]["csv"] = str(self.worker.folder / request["options"]["csv"])
        self.worker.finish(encode(worker_jobs.run_agree(request, no_progress)))

    def rows(self) -> list[list[str]]:
        table = self.ui.agreeTable
        return [[table.item(r, c).text() for c in range(table.columnCount)] for r in range(table.rowCount)]


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Two cases are segmented; the panel is at the second."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    slicer.app.userSettings().clear()
    host.new_scene()
    host.open_views()
    user = Reader(tmp_path / "worker")
    user.choose(write_cases(tmp_path / "images", 2))
    user.answer()
    user.next()
    user.answer()
    yield user
    user.close()
    host.new_scene()


@pytest.fixture
def other(user: Reader, tmp_path: Path) -> Path:
    """The results of another reader, who saw less of the lesion of the second case."""
    folder = tmp_path / "other"
    folder.mkdir()
    for name in ("case 1", "case 2"):
        shutil.copy(tmp_path / "images" / f"{name}.seg.nrrd", folder)
    path = folder / "case 2.seg.nrrd"
    labelmap = read_labelmap(path)
    labelmap.array[: np.nonzero(TRUTH)[0].mean().astype(int)] = 0
    write_labelmap(path, labelmap)
    return folder


def test_each_case_and_label_is_a_row_those_that_agree_least_first(user, other, tmp_path):
    user.compare(other)
    assert [row[0] for row in user.rows()] == ["case 2", "case 1"]
    first, second = (read_labelmap(each / "case 2.seg.nrrd") for each in (tmp_path / "images", other))
    one, two = (each.mask(next(s.value for s in each.segments if s.id == LESION)) for each in (first, second))
    dice = 2 * (one & two).sum() / (one.sum() + two.sum())
    assert user.rows()[0][2] == f"{dice:.3f}"
    assert user.rows()[0][4] == f"{(two.sum() - one.sum()) * 3.5 * 3.5 * 12 / 1000:+.2f}"
    assert user.rows()[1][2:] == ["1.000", "0.0", "+0.00"]
    assert user.ui.agreeLabel.text.startswith("2 cases that both have.\nGlioma")


def test_a_row_opens_its_case_and_the_table_is_saved_as_csv(user, other, tmp_path):
    user.compare(other)
    user.ui.agreeTable.cellDoubleClicked.emit(1, 0)
    assert user.name == "case 1"
    host.answer(str(tmp_path / "out.csv"))
    user.ui.agreeCsvButton.click()
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["case 1", "case 2"]
    assert "Saved" in user.message()


def test_its_own_results_are_refused_and_another_list_shows_nothing_of_it(user, other, tmp_path):
    host.answer(str(tmp_path / "images"))
    user.ui.agreeButton.click()
    assert "another reader" in user.message()
    assert user.worker.jobs == {}
    user.compare(other)
    assert user.ui.agreeTable.visible
    user.ui.closeListButton.click()
    assert user.rows() == []
    assert not user.ui.agreeCsvButton.visible


def test_while_it_runs_the_button_cancels_it(user, other):
    host.answer(str(other))
    user.ui.agreeButton.click()
    assert user.ui.agreeButton.text == "Cancel comparing"
    assert "Stop" in tip(user.ui.agreeButton)
    user.ui.agreeButton.click()
    user.settle()
    assert user.ui.agreeButton.text == "Second reader…"
    assert user.rows() == []


@pytest.mark.parametrize("width", [500, 300])
def test_the_whole_panel_fits_with_a_list_open_and_the_table_cuts_no_text(user, other, tmp_path, width):
    user.compare(other)
    assert host.screenshot(user.widget.parent, tmp_path / "panel.png", width)[0] == width
    table = user.ui.agreeTable
    assert table.isColumnHidden(4) == table.isColumnHidden(3) == (width == 300)
    shown = sum(table.columnWidth(column) for column in range(5) if not table.isColumnHidden(column))
    assert shown <= table.viewport().width


def test_a_folder_without_results_gives_a_message(user, tmp_path):
    (tmp_path / "empty").mkdir()
    host.answer(str(tmp_path / "empty"))
    user.ui.agreeButton.click()
    user.worker.error("InputError", "Expected results, found none.")
    user.settle()
    assert "found none" in user.message()
    assert not user.ui.agreeTable.visible
