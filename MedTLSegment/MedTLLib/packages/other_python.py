"""Another Python as the engine, in place of Slicer's: which one the user chose, whether it fits, and what it lacks.

A native arm64 Python on a Mac, an environment of conda with CUDA, or one that was made for the user. It runs this
MedTL's own code, so only the packages have to be there; it says itself what is missing: `medtl/other_python.py`.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

import medtl

from .programs import engine_environment

VARIABLE, SETTING = "MEDTL_ENGINE_PYTHON", "MedTL/enginePython"
SCRIPT = Path(medtl.__file__).with_name("other_python.py")
PLACES = ("bin/python", "bin/python3", "python.exe", "Scripts/python.exe")  # in the folder of an environment
CHECK_MS = 60_000  # for a Python to say whether it fits; the first start after a boot is slow


def other_python() -> Path | None:
    """The Python that was chosen, by the environment variable or else by the setting; None for Slicer's own."""
    given = os.environ.get(VARIABLE) or str(slicer.app.userSettings().value(SETTING) or "")
    return python_at(given) if given else None


def choose(given: str) -> None:
    """Use this Python from now on; empty for Slicer's own."""
    slicer.app.userSettings().setValue(SETTING, str(python_at(given)) if given else "")


def python_at(given: str) -> Path:
    """The Python that a path names: its own, or that of the folder of an environment."""
    path = Path(given.strip().strip('"')).expanduser()
    return next((path / place for place in PLACES if (path / place).is_file()), path)


def command_of(python: Path) -> list[str]:
    """The command that runs the engine in it."""
    return [str(python), "-u", str(SCRIPT)]


def environment_of_user() -> Any:
    """The environment without what Slicer's launcher added, so that no library of Slicer is found; a
    QProcessEnvironment."""
    return engine_environment(slicer.app.startupEnvironment())


def why_not_run(python: Path) -> str:
    """Why nothing can be started there; empty where something can."""
    if python.is_absolute() and python.is_file() and os.access(python, os.X_OK):
        return ""
    return _with_advice(_("Expected a Python for the engine at {path}, found none.").format(path=python))


def unfit_text(python: Path, record: Mapping[Any, Any]) -> str:
    """What a Python lacks, from its own record."""
    lacking = [str(each) for each in record.get("lacking") or ()]
    if lacking:
        text = _("Expected the packages of the engine in {path}, found these missing or too old: {names}.")
        return _with_advice(text.format(path=python, names=", ".join(lacking)))
    text = _("Expected Python 3.11 or newer for the engine, found {version} at {path}.")
    return _with_advice(text.format(path=python, version=record.get("python")))


def no_python_text(python: Path, reason: str) -> str:
    """What is said of a program that ends, or never answers, before it is ready."""
    text = _("Expected a Python for the engine at {path}, found a program that does not run it ({reason}).")
    return _with_advice(text.format(path=python, reason=reason))


def _with_advice(text: str) -> str:
    if os.environ.get(VARIABLE):
        advice = _("The variable {name} names it: change it, or remove it for Slicer's own, and restart Slicer.")
        return f"{text} {advice.format(name=VARIABLE)}"
    advice = _("Choose another one under Advanced, or none there for Slicer's own.")
    return f"{text} {advice}"


class Check:
    """Asks a Python whether it fits; `on_end(text)` is called once, from the event loop, with "" or what it lacks."""

    def __init__(self, python: Path, on_end: Callable[[str], None]) -> None:
        self._python, self._on_end = python, on_end
        self._ended = self._was_late = False
        self._process = qt.QProcess()
        self._process.setProcessEnvironment(environment_of_user())
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._failed)
        self._process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: self._finished(code))
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._late)
        reason = why_not_run(python)
        if reason:
            qt.QTimer.singleShot(0, lambda: self._end(reason))
            return
        command = [*command_of(python), "--check"]
        self._process.start(command[0], command[1:])
        self._process.closeWriteChannel()
        self._timer.start(CHECK_MS)

    def _failed(self, error: Any) -> None:
        if error == qt.QProcess.FailedToStart:
            self._end(no_python_text(self._python, self._process.errorString()))

    def _late(self) -> None:
        self._was_late = True
        self._process.kill()  # "finished" follows

    def _finished(self, code: int) -> None:
        record: object = None
        lines = bytes(self._process.readAllStandardOutput().data()).splitlines()
        for line in lines[-1:]:
            try:
                record = json.loads(line)
            except ValueError:
                record = None
        match record:
            case {"event": "fit"}:
                self._end("")
            case {"event": "unfit", **rest}:
                self._end(unfit_text(self._python, rest))
            case _:
                errors = bytes(self._process.readAllStandardError().data()).decode("utf-8", "replace").split("\n")
                if self._was_late:
                    errors = [_("no answer within {seconds} s").format(seconds=CHECK_MS // 1000)]
                reason = next((line.strip()[:200] for line in reversed(errors) if line.strip()), f"exit status {code}")
                self._end(no_python_text(self._python, reason))

    def _end(self, text: str) -> None:
        if not self._ended:
            self._ended = True
            self._timer.stop()
            self._process.deleteLater()
            self._on_end(text)
