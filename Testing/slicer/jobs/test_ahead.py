"""Segmenting the next case in the background."""

from pathlib import Path

import pytest
import slicer
from panel_user import FakeWorker

from medtl.worklist.case import ListedCase
from MedTLLib.jobs.ahead import Ahead
from MedTLLib.jobs.segment import Choices

CHOICES = Choices("glioma-flair", flip=True, device="cpu", threads=2)


class Background:
    """An engine, and what was told at the end of each case."""

    def __init__(self, folder: Path) -> None:
        self.worker = FakeWorker(folder / "engine")
        self.told: list[tuple[str, str, bool | None]] = []
        self.ahead = Ahead(self.worker, lambda *told: self.told.append(told))
        self.folder = folder

    def start(self, name: str = "a", **facts: str) -> None:
        case = ListedCase(name, (str(self.folder / f"{name}.nrrd"),), **facts)
        self.ahead.start(case, self.folder / "results" / f"{name}.seg.nrrd", CHOICES, "family")

    def settle(self) -> None:
        for _turn in range(4):
            slicer.app.processEvents()


@pytest.fixture
def background(scene, tmp_path):
    return Background(tmp_path)


def test_the_engine_reads_the_image_itself_and_writes_the_result_in_its_place(background, tmp_path):
    background.start(series="1.2.3")
    (request,) = background.worker.requests
    assert request == {
        "job": "segment",
        "model": "glioma-flair",
        "input": str(tmp_path / "a.nrrd"),
        "output": str(tmp_path / "results" / "a.seg.nrrd"),
        "options": {"flip": True, "device": "cpu", "threads": 2, "series": "1.2.3"},
    }
    assert background.ahead.name == "a"
    background.worker.answer({"warnings": [], "segments": []})
    assert background.told == [("a", "family", True)]
    assert background.ahead.name == ""
    assert list(background.worker.folder.iterdir()) == []


def test_nothing_is_started_where_there_is_a_result_or_another_case_is_at_work(background, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.seg.nrrd").write_text("there")
    background.start("a")
    background.start("b")
    background.start("c")
    assert [request["input"] for request in background.worker.requests] == [str(tmp_path / "b.nrrd")]


def test_a_case_that_failed_is_not_tried_again(background):
    background.start()
    background.worker.error("InputError", "Expected a volume.")
    background.settle()
    background.start()
    assert background.told == [("a", "family", False)]
    assert len(background.worker.requests) == 1


def test_a_case_that_was_stopped_is_tried_again(background):
    background.start()
    background.ahead.stop()
    background.settle()
    assert background.told == [("a", "family", None)]
    background.start()
    assert len(background.worker.requests) == 2


def test_closing_the_scene_does_not_stop_it_and_closing_the_panel_does(background):
    background.start()
    background.ahead.run.scene_closed()
    assert background.ahead.name == "a"
    background.ahead.close()
    assert background.worker.cancelled == [1]
    assert background.told == []
