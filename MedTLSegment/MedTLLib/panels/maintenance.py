"""Maintenance: the engine, and a log to send; `panels/storage.py` removes what MedTL stored."""

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from MedTLLib.jobs.maintenance import Maintenance
from MedTLLib.jobs.run import JobRun
from MedTLLib.packages.packages import Packages

from .form import askSavePath, enable, showText
from .storage import StoragePanel


class MaintenancePanel:
    """Shows its parts when it is opened; `onRemoved` is called when something was removed."""

    def __init__(self, ui: Any, run: JobRun, packages: Packages, onRemoved: Callable[[], None]) -> None:
        self.ui = ui
        self.maintenance = Maintenance(run, packages)
        self.storage = StoragePanel(ui, self.maintenance, onRemoved, self.showMessage)
        ui.maintenanceButton.connect("contentsCollapsed(bool)", lambda collapsed: self.update())
        ui.unloadButton.connect("clicked()", self.onUnload)
        ui.logButton.connect("clicked()", self.onLog)
        self.showMessage("")
        self.update()

    def update(self) -> None:
        """Show what is stored, and what can be done."""
        if self.ui.maintenanceButton.collapsed:
            return
        self.storage.update()
        enable(self.ui.unloadButton, self.maintenance.why_not_unload(), _("End the engine's process, free its memory."))
        enable(self.ui.logButton, "", _("Versions and what failed, in a .zip without names of patients or files."))

    def onUnload(self) -> None:
        self.showMessage(self.maintenance.unload())
        self.update()

    def onLog(self) -> None:
        """Save a log where the user chooses."""
        path = askSavePath(self.ui.logButton, _("Save log"), self.maintenance.suggested_log(), (".zip",))
        if path is not None:
            self.showMessage(self.maintenance.save_log(path))

    def showMessage(self, text: str) -> None:
        """Show a sentence below the list."""
        showText(self.ui.maintenanceLabel, text)
