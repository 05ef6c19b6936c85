"""Advanced: another Python as the engine, in place of Slicer's."""

import os
from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from MedTLLib.jobs.run import Engine
from MedTLLib.packages import other_python
from MedTLLib.packages.other_python import Check, python_at

from .form import enable, showText


class EnginePythonPanel:
    """A path to a Python or to the folder of an environment. It is tried, and kept only where it fits; `onChosen` is
    called then."""

    def __init__(self, ui: Any, engine: Engine, onChosen: Callable[[], None]) -> None:
        self.ui, self.engine, self.onChosen = ui, engine, onChosen
        self._check: Check | None = None
        ui.enginePythonEdit.connect("editingFinished()", self.onEdited)
        ui.enginePythonButton.connect("clicked()", self.onBrowse)
        self.showMessage("")
        self.update()

    def update(self) -> None:
        """Show the Python that is used."""
        python = other_python.other_python()
        self.ui.enginePythonEdit.text = str(python or "")
        variable = other_python.VARIABLE
        reason = _("The variable {name} sets it.").format(name=variable) if os.environ.get(variable) else ""
        help = _("A Python that has the engine's packages, or the folder of its environment; empty for Slicer's own.")
        enable(self.ui.enginePythonEdit, reason, help)
        enable(self.ui.enginePythonButton, reason, _("Choose the folder of an environment."))

    def onBrowse(self) -> None:
        """Choose the folder of an environment."""
        folder = qt.QFileDialog.getExistingDirectory(self.ui.enginePythonButton, _("Folder of an environment"))
        if folder:
            self.ui.enginePythonEdit.text = folder
            self.onEdited()

    def onEdited(self) -> None:
        """Try what was entered, and use it where it fits."""
        given = str(self.ui.enginePythonEdit.text).strip()
        current = other_python.other_python()
        if self._check is not None or (python_at(given) if given else None) == current:
            return
        if self.engine.state == "busy":
            self.showMessage(_("A job is running: choose another Python when it is done."))
            self.update()
        elif given:
            self.showMessage(_("Trying this Python…"))
            self._check = Check(python_at(given), lambda text: self.onChecked(given, text))
        else:
            self.onChecked("", "")

    def onChecked(self, given: str, text: str) -> None:
        """Use the Python, unless the text says what it lacks."""
        self._check = None
        if text:
            self.showMessage(text)
        else:
            other_python.choose(given)
            self.engine.stop()
            self.showMessage(_("The next job uses this Python.") if given else _("The next job uses Slicer's Python."))
            self.onChosen()
        self.update()

    def showMessage(self, text: str) -> None:
        """Show a sentence below the path."""
        showText(self.ui.enginePythonLabel, text)
