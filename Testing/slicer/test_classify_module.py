"""MedTLClassify says that it cannot classify yet, and leads to the module that works."""

from pathlib import Path

import host
import pytest
import slicer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def panel(scene):
    yield host.load_module(ROOT / "MedTLClassify" / "MedTLClassify.py")
    host.unload_module("MedTLClassify")


def test_the_panel_says_that_there_is_no_classification_yet(panel):
    assert panel.ui.noteLabel.visible
    assert panel.ui.noteLabel.text.startswith("Classification is not there yet")


def test_its_button_leads_to_medtl_segment(panel, monkeypatch):
    chosen = []
    monkeypatch.setattr(slicer.util, "selectModule", chosen.append)
    panel.ui.segmentButton.click()
    assert chosen == ["MedTLSegment"]


def test_the_self_test_of_the_module_passes(panel):
    import MedTLClassify

    MedTLClassify.MedTLClassifyTest().runTest()


def test_the_module_describes_itself_for_the_extensions_index(panel):
    module = slicer.modules.medtlclassify
    assert module.title == "MedTL Classify"
    assert module.dependencies == ["MedTLSegment"]
    assert all((module.categories, module.contributors, module.helpText, module.acknowledgementText))


def test_a_narrow_panel_wraps_its_text(panel, tmp_path):
    width, height = host.screenshot(panel.parent, tmp_path / "narrow.png", 300)
    assert width == 300
    assert height > 0
