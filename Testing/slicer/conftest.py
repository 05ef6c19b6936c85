"""Slicer's side runs on real MRML and a stand-in for the application: Testing/host."""

import sys
from pathlib import Path

import pytest

TESTING = Path(__file__).resolve().parents[1]
sys.path += [str(TESTING), str(TESTING / "slicer"), str(TESTING / "engine")]
for module in ("MedTLSegment", "MedTLClassify"):
    sys.path.append(str(TESTING.parent / module))  # as Slicer does with the folder of every module

import host  # noqa: E402

host.start()  # before a test imports slicer


@pytest.fixture(autouse=True)
def slicers_own_python(monkeypatch):
    """The panel is tested with Slicer's Python; the variable is for the tests that start a real engine."""
    monkeypatch.delenv("MEDTL_ENGINE_PYTHON", raising=False)


@pytest.fixture
def scene():
    """An empty MRML scene in which segmentation and volume nodes work; slicer.util finds it."""
    yield host.new_scene()
    host.new_scene()


@pytest.fixture(autouse=True)
def no_error_in_a_slot():
    """An exception in a slot or an observer fails the test: Qt and VTK only print it."""
    host.errors.clear()
    host.dialogs.answers.clear()
    host.dialogs.shown.clear()
    yield
    errors = host.errors[:]
    host.errors.clear()
    if errors:
        pytest.fail("An error in a slot or an observer:\n" + "\n".join(errors))
