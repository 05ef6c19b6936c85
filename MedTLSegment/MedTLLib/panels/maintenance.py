"""Maintenance: the folders that MedTL stores on this computer; the engine; a log to send."""

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from MedTLLib.jobs.maintenance import Maintenance, StoredFolder
from MedTLLib.jobs.run import JobRun

from .form import askSavePath, confirm, enable, fillTable, showText


class MaintenancePanel:
    """Shows the list of folders; `onDeleted` is called when one was deleted."""

    def __init__(self, ui: Any, run: JobRun, onDeleted: Callable[[], None]) -> None:
        self.ui, self.onDeleted = ui, onDeleted
        self.maintenance = Maintenance(run)
        self.listed: tuple[StoredFolder, ...] = ()
        ui.maintenanceButton.connect("contentsCollapsed(bool)", lambda collapsed: self.update())
        ui.storageTable.connect("itemSelectionChanged()", self.onSelection)
        ui.deleteButton.connect("clicked()", self.onDelete)
        ui.unloadButton.connect("clicked()", self.onUnload)
        ui.logButton.connect("clicked()", self.onLog)
        self.showMessage("")
        self.update()

    def update(self) -> None:
        """List the folders."""
        if self.ui.maintenanceButton.collapsed:
            return
        self.listed = self.maintenance.folders()
        rows = [(folder.kind, folder.name, f"{folder.size / 1e6:.1f}") for folder in self.listed]
        fillTable(self.ui.storageTable, (_("Kind"), _("Name"), _("MB")), rows, wide=1, numbers=2)
        self.onSelection()

    def onSelection(self) -> None:
        folder = self.selected()
        if folder is not None:
            reason = self.maintenance.why_not_delete(folder)
        else:
            reason = _("Choose an entry of the list.") if self.listed else _("Nothing is stored.")
        enable(self.ui.deleteButton, reason, _("Delete the chosen folder from this computer."))
        enable(self.ui.unloadButton, self.maintenance.why_not_unload(), _("End the engine's process, free its memory."))
        enable(self.ui.logButton, "", _("Versions and what failed, in a .zip without names of patients or files."))

    def selected(self) -> StoredFolder | None:
        """The folder of the chosen row."""
        row = self.ui.storageTable.currentRow()
        return self.listed[row] if 0 <= row < len(self.listed) else None

    def onDelete(self) -> None:
        """Delete the chosen folder, after asking."""
        folder = self.selected()
        if folder is not None and confirm(_("Delete {name} for good?").format(name=folder.name)):
            self.showMessage(self.maintenance.delete(folder))
            self.onDeleted()
            self.update()

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
