"""Advanced: another Python as the engine, as the user chooses it."""

import os
from pathlib import Path

import host
import pytest
from panel_user import User, tip

from MedTLLib.packages import other_python

PATIENCE = 120.0  # seconds until a wait is given up, on a loaded machine
FITS = """#!/bin/sh
echo '{"event": "fit"}'
"""
OLD = """#!/bin/sh
echo '{"event": "unfit", "python": "3.8.10", "lacking": []}'
"""
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the programs of these tests are shell scripts")


@pytest.fixture
def user(scene, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    user = User(tmp_path)
    user.ui.advancedButton.collapsed = False
    yield user
    user.close()
    other_python.choose("")


def environment(folder: Path, text: str) -> Path:
    """The folder of an environment whose Python says this."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text(text)
    (folder / "bin" / "python").chmod(0o755)
    return folder


def enter(user: User, text: object) -> str:
    """Enter a path and wait for the answer."""
    user.ui.enginePythonEdit.text = str(text)
    user.widget.enginePython.onEdited()
    host.process_until(lambda: not user.ui.enginePythonLabel.text.startswith("Trying"), PATIENCE, "The check")
    return str(user.ui.enginePythonLabel.text)


def test_a_python_that_fits_is_used_from_the_next_job_on(user, tmp_path):
    folder = environment(tmp_path / "engine", FITS)
    assert enter(user, folder) == "The next job uses this Python."
    assert user.ui.enginePythonEdit.text == str(folder / "bin" / "python")
    assert other_python.other_python() == folder / "bin" / "python"
    assert user.worker.state == "stopped"
    user.close()
    user.open()  # another day
    assert user.ui.enginePythonEdit.text == str(folder / "bin" / "python")
    assert enter(user, "") == "The next job uses Slicer's Python."
    assert other_python.other_python() is None


def test_the_folder_is_chosen_in_a_dialog(user, tmp_path):
    host.answer(str(environment(tmp_path / "engine", FITS)))
    user.ui.enginePythonButton.click()
    host.process_until(lambda: "next job" in user.ui.enginePythonLabel.text, PATIENCE, "The check")
    assert other_python.other_python() == tmp_path / "engine" / "bin" / "python"


def test_a_python_that_does_not_fit_is_not_used_and_the_reason_is_shown(user, tmp_path):
    text = enter(user, environment(tmp_path / "engine", OLD))
    assert "Expected Python 3.11 or newer for the engine, found 3.8.10" in text
    assert user.ui.enginePythonEdit.text == ""
    assert other_python.other_python() is None
    assert "found none" in enter(user, tmp_path / "nothing")
    other_python.choose(str(tmp_path / "engine"))
    user.widget.enginePython.update()
    assert "found none" in enter(user, tmp_path / "nothing")
    assert user.ui.enginePythonEdit.text == str(tmp_path / "engine" / "bin" / "python")  # what is used stays


def test_while_a_job_runs_the_python_stays(user, tmp_path):
    user.load()
    user.ui.segmentButton.click()
    user.worker.state = "busy"
    text = enter(user, environment(tmp_path / "engine", FITS))
    assert text == "A job is running: choose another Python when it is done."
    assert user.ui.enginePythonEdit.text == ""
    assert other_python.other_python() is None


def test_what_a_variable_sets_cannot_be_changed_here(user, monkeypatch):
    monkeypatch.setenv(other_python.VARIABLE, "/opt/engine/bin/python")
    user.widget.enginePython.update()
    assert user.ui.enginePythonEdit.text == "/opt/engine/bin/python"
    assert not user.ui.enginePythonEdit.enabled
    assert tip(user.ui.enginePythonButton) == "The variable MEDTL_ENGINE_PYTHON sets it."


@pytest.mark.parametrize("width", [500, 300])
def test_the_text_fits(user, tmp_path, width):
    enter(user, environment(tmp_path / "engine", OLD))
    assert host.screenshot(user.widget.parent, tmp_path / "panel.png", width)[0] == width
