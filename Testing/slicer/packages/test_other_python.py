"""Another Python as the engine: one that fits, and every kind that does not, each in one sentence."""

import os
import re
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import host
import pytest
import qt
import slicer
from test_module import ENGINE_PYTHON, needs_engine

from MedTLLib.jobs.worker import Worker
from MedTLLib.packages import needed, other_python
from MedTLLib.packages.other_python import Check

PATIENCE = 120.0  # seconds until a wait is given up, on a loaded machine
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the programs of these tests are shell scripts")


@pytest.fixture(autouse=True)
def setting():
    """No choice of one test stays for the next."""
    yield
    other_python.choose("")


def program(folder: Path, text: str) -> Path:
    """A program that does this."""
    path = folder / "python"
    path.write_text(text)
    path.chmod(0o755)
    return path


def bare(folder: Path) -> Path:
    venv.create(folder / "bare", with_pip=False, symlinks=True)
    return folder / "bare" / "bin" / "python"


def directory(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


OLD = """#!/bin/sh
echo '{"event": "unfit", "python": "3.8.10", "lacking": []}'
"""
UNFIT = {
    "gone": (lambda folder: folder / "gone", "Expected a Python for the engine at .*gone, found none"),
    "a folder": (directory, "Expected a Python for the engine at .*empty, found none"),
    "relative": (lambda folder: Path("python3"), "Expected a Python for the engine at python3, found none"),
    "no program": (lambda folder: program(folder, "hello"), "a program that does not run it"),
    "another program": (lambda folder: program(folder, "#!/bin/sh\necho no >&2; exit 3"), r"does not run it \(no\)"),
    "a silent program": (lambda folder: program(folder, "#!/bin/sh\nexit 3"), r"does not run it \(exit status 3\)"),
    "too old": (lambda folder: program(folder, OLD), "Expected Python 3.11 or newer for the engine, found 3.8.10 at"),
    "without packages": (bare, "found these missing or too old: torch>=2.8, torchvision"),
}


@pytest.mark.parametrize(("make", "words"), UNFIT.values(), ids=UNFIT)
def test_a_python_that_does_not_fit_is_refused_in_one_sentence(
    make: Callable[[Path], Path], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python, found = make(tmp_path), []
    check = Check(python, found.append)
    host.process_until(lambda: found, PATIENCE, "The check")
    assert len(found) == 1
    assert_sentence(found[0], words, "Choose another one under Advanced")
    del check
    monkeypatch.setenv(other_python.VARIABLE, str(python))
    worker, errors = Worker(None, tmp_path), []
    worker.submit({"job": "segment"}, lambda *_: None, print, lambda *error: errors.append(error))
    host.process_until(lambda: errors, PATIENCE, "The answer")
    kind, message, _ = errors[0]
    assert kind in ("WorkerMissing", "WorkerRefused")
    assert_sentence(message, words, "The variable MEDTL_ENGINE_PYTHON names it")
    assert worker.state == "stopped"
    worker.stop()


def assert_sentence(text: str, words: str, advice: str) -> None:
    assert re.search(words, text), text
    assert advice in text
    assert "\n" not in text


def test_a_program_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_python, "CHECK_MS", 50)
    found: list[str] = []
    check = Check(program(tmp_path, "#!/bin/sh\nexec sleep 1000"), found.append)
    host.process_until(lambda: found, PATIENCE, "The check")
    assert "no answer within" in found[0]
    del check


@needs_engine
def test_a_python_that_fits_runs_the_engine_with_this_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    check = Check(Path(ENGINE_PYTHON), found.append)
    host.process_until(lambda: found, PATIENCE, "The check")
    assert found == [""]
    del check
    monkeypatch.setenv("PATH", str(tmp_path))  # no PythonSlicer is there
    monkeypatch.setenv("PYTHONHOME", "/nowhere")  # as Slicer's launcher sets it for its own Python
    monkeypatch.setattr(type(slicer.app), "startupEnvironment", lambda self: startup())
    other_python.choose(ENGINE_PYTHON)
    worker, errors = Worker(None, tmp_path), []
    worker.submit({"job": "no such job"}, lambda *_: None, print, lambda *error: errors.append(error))
    host.process_until(lambda: errors, PATIENCE, "The answer of the engine")
    assert "one of the jobs" in errors[0][1]
    worker.stop()


def startup():
    """The environment in which Slicer was started."""
    environment = qt.QProcessEnvironment.systemEnvironment()
    environment.remove("PYTHONHOME")
    return environment


def test_a_python_that_is_gone_later_is_a_sentence_and_the_next_job_is_served(tmp_path: Path) -> None:
    python = program(tmp_path, "#!/bin/sh\nexit 3")
    other_python.choose(str(python))
    python.unlink()
    worker, errors = Worker(None, tmp_path), []
    for number in (1, 2):
        worker.submit({"job": "segment"}, lambda *_: None, print, lambda *error: errors.append(error))
        host.process_until(lambda n=number: len(errors) == n, PATIENCE, "The answer")
    assert all(f"at {python}, found none" in message for _, message, _ in errors)


def test_with_another_python_nothing_is_missing_in_slicer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert needed.missing() != ()
    monkeypatch.setenv(other_python.VARIABLE, sys.executable)
    assert (needed.missing(), needed.broken()) == ((), {})


@pytest.mark.parametrize("place", other_python.PLACES)
def test_the_folder_of_an_environment_names_its_python(place: str, tmp_path: Path) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).touch()
    assert other_python.python_at(f' "{tmp_path}" ') == tmp_path / place
    assert other_python.python_at(str(tmp_path / place)) == tmp_path / place


def test_the_variable_goes_before_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert other_python.other_python() is None
    other_python.choose("/opt/engine/bin/python")
    assert other_python.other_python() == Path("/opt/engine/bin/python")
    monkeypatch.setenv(other_python.VARIABLE, "/opt/other/bin/python")
    assert other_python.other_python() == Path("/opt/other/bin/python")
