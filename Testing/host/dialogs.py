"""Modal dialogs in a test: each one needs an answer that the test has prepared, else it raises instead of waiting."""

from collections import deque
from typing import Any

from PySide6 import QtWidgets

answers: deque[Any] = deque()
shown: list[str] = []

MESSAGES = ("about", "critical", "information", "question", "warning")
PATHS = ("getExistingDirectory", "getOpenFileName", "getOpenFileNames", "getSaveFileName")
INPUTS = ("getDouble", "getInt", "getItem", "getText")


def prepare() -> None:
    """Replaces what waits for a user in Qt's dialogs."""
    for cls, names in (
        (QtWidgets.QMessageBox, MESSAGES),
        (QtWidgets.QFileDialog, PATHS),
        (QtWidgets.QInputDialog, INPUTS),
    ):
        for name in names:
            setattr(cls, name, staticmethod(_static(f"{cls.__name__}.{name}")))
    for cls in (QtWidgets.QDialog, QtWidgets.QMessageBox, QtWidgets.QFileDialog, QtWidgets.QMenu):
        cls.exec = cls.exec_ = _execute


def _static(name: str) -> Any:
    # As in PythonQt, a file dialog gives the path alone, where PySide6 gives a pair.
    def ask(parent: Any = None, *texts: Any, **named: Any) -> Any:
        return _answer(f"{name}: {' '.join(str(text) for text in texts)}", None)

    return ask


def _execute(dialog: Any, *arguments: Any) -> Any:
    text = getattr(dialog, "text", None) or dialog.windowTitle
    return _answer(f"{type(dialog).__name__}: {text}", dialog)


def _answer(text: str, dialog: Any) -> Any:
    shown.append(text)
    if not answers:
        raise AssertionError(f"A dialog would wait for an answer, and the test has prepared none: {text}")
    answer = answers.popleft()
    return answer(dialog) if callable(answer) else answer
