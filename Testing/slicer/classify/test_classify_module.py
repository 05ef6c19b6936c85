"""The module MedTL Classify as Slicer meets it: file, self-test, logic from the console."""

import sys
from collections.abc import Iterator
from pathlib import Path

import host
import pytest
import slicer
from class_user import BRAIN, MODULE, ClassUser, card, install, renal
from panel_user import MODULE as SEGMENT_MODULE
from panel_user import PHANTOM

from MedTLLib import samples


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClassUser]:
    """The panel is open in an empty scene without views, and no model for classification is installed."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("medtl.model.store.shipped_folders", lambda: ())
    host.new_scene()
    user = ClassUser(tmp_path / "worker")
    yield user
    user.close()
    host.new_scene()


def test_the_module_describes_itself_for_the_extensions_index(user):
    module = slicer.modules.medtlclassify
    assert module.title == "MedTL Classify (brain tumours, MRI; renal tumours, CT)"
    assert module.dependencies == ["MedTLSegment"]
    assert "not for diagnosis" in module.helpText
    assert all((module.categories, module.contributors, module.acknowledgementText))


def test_the_module_s_file_is_short():
    assert len(MODULE.read_text(encoding="utf-8").splitlines()) <= 250


def test_opening_the_panel_starts_no_process_and_asks_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path))
    host.new_scene()
    widget = host.load_module(MODULE)
    assert widget.logic.engine.state == "stopped"
    assert host.dialogs.shown == []
    widget.parent.setMRMLScene(slicer.vtkMRMLScene())  # what Slicer's generic tests do
    host.unload_module("MedTLClassify")
    assert "torch" not in sys.modules


@pytest.mark.parametrize(
    ("models", "why"), [((), "no model for classification is installed, so none"), ((card(BRAIN), renal()), "no model")]
)
def test_the_self_test_of_the_module_passes_with_and_without_a_model(user, models, why, monkeypatch):
    install(*models)
    user.widget.enter()
    selfTest, said = sys.modules["MedTLClassify"].MedTLClassifyTest, []
    monkeypatch.setattr(selfTest, "delayDisplay", lambda self, text: said.append(text))
    before = len(host.dialogs.shown)
    selfTest().runTest()
    assert said == [f"Test passed; {why} was tried"]
    assert len(host.dialogs.shown) == before


def test_both_modules_share_one_engine_that_ends_with_the_last_of_them(user):
    other = host.load_module(SEGMENT_MODULE)
    again = host.load_module(MODULE)
    assert again.logic.engine is other.logic.engine is user.worker
    user.worker.state = "ready"
    host.unload_module("MedTLSegment")
    assert user.worker.state == "ready"
    host.unload_module("MedTLClassify")
    assert user.worker.state == "stopped"


def test_leaving_the_module_ends_its_job_and_not_that_of_the_other_module(user):
    install(card(BRAIN))
    other = host.load_module(SEGMENT_MODULE)
    user.widget.enter()
    user.load()
    ended: list[str] = []
    other.logic.engine.submit({"job": "segment"}, print, print, lambda kind, message, advice: ended.append(kind))
    user.ui.classifyButton.click()
    assert "Waiting for another job" in user.status()
    host.unload_module("MedTLClassify")
    assert list(user.worker.jobs) == [1]
    assert ended == []
    host.unload_module("MedTLSegment")


def test_process_says_what_the_command_says_and_keeps_the_table(user):
    install(card(BRAIN))
    volume = samples.volume_node(PHANTOM.volume, "head")
    user.worker.then = user.worker.classified
    answer = user.widget.logic.process(volume, BRAIN)
    assert (answer["model"], answer["sha256"]) == (BRAIN, card(BRAIN).sha256)
    assert answer["results"][0]["class"] == "glioma"
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 2
    with pytest.raises(ValueError, match="Expected a volume"):
        user.widget.logic.process(None, BRAIN)
