"""Maintenance: what MedTL keeps on this computer and how to be rid of it; the engine; a log to send."""

import shutil
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.errors import InputError, ModelError
from medtl.model.card import METADATA
from medtl.model.store import delete_bundle, user_store
from MedTLLib.jobs import logbundle

from .form import confirm, enable, fillTable, say


class MaintenancePanel:
    """Lists folders with their sizes; a folder in use by a job cannot be deleted."""

    def __init__(self, ui: Any, logic: Any, segment: Any) -> None:
        self.ui, self.logic, self.segment = ui, logic, segment
        self.folders: list[tuple[str, Path]] = []
        ui.maintenanceButton.connect("contentsCollapsed(bool)", lambda collapsed: self.update())
        ui.storageTable.connect("itemSelectionChanged()", self.onSelection)
        ui.deleteButton.connect("clicked()", self.onDelete)
        ui.unloadButton.connect("clicked()", self.onUnload)
        ui.logButton.connect("clicked()", self.onLog)
        self.say("")
        self.update()

    def update(self) -> None:
        """List what is there."""
        if self.ui.maintenanceButton.collapsed:
            return
        self.folders = stored(self.logic.worker.folder)
        rows = [(kind, folder.name, f"{sizeOf(folder) / 1e6:.1f}") for kind, folder in self.folders]
        fillTable(self.ui.storageTable, (_("Kept"), _("Name"), _("MB")), rows, wide=1, numbers=2)
        self.onSelection()

    def onSelection(self) -> None:
        folder = self.selected()
        job = self.segment.job
        reason = ""
        if folder is None:
            reason = _("Choose an entry of the list.") if self.folders else _("Nothing is kept.")
        elif job is not None and folder == job.folder:
            reason = _("A job uses this folder.")
        else:
            reason = self.segment.elsewhere()  # Fine-tune uses its folder, and models at its end
        enable(self.ui.deleteButton, reason, _("Delete the chosen folder from this computer."))
        stopped = self.logic.worker.state == "stopped"
        busy = self.logic.worker.state == "busy"
        reason = _("The engine is not loaded.") if stopped else _("A job is running.") if busy else ""
        enable(self.ui.unloadButton, reason, _("End the engine's process and free its memory."))
        enable(self.ui.logButton, "", _("Versions and what failed, in a .zip without names of patients or files."))

    def selected(self) -> Path | None:
        """The folder of the chosen row."""
        row = self.ui.storageTable.currentRow()
        return self.folders[row][1] if 0 <= row < len(self.folders) else None

    def onDelete(self) -> None:
        """Delete the chosen folder, after asking."""
        folder = self.selected()
        if folder is None or not self.ask(_("Delete {name} for good?").format(name=folder.name)):
            return
        try:
            remove(folder)
            self.say(_("Deleted: {name}").format(name=folder.name))
        except ModelError as error:
            self.say(str(error))
        except OSError as error:
            reason = error.strerror or error
            self.say(_("Could not delete {name}: {reason}.").format(name=folder.name, reason=reason))
        self.segment.readModels()
        self.update()

    def ask(self, question: str) -> bool:
        return confirm(question)

    def onUnload(self) -> None:
        self.logic.worker.stop()
        self.say(_("The engine is unloaded; the next job loads it again."))
        self.update()

    def onLog(self) -> None:
        """Save what a developer needs to know, without names of patients or files."""
        path = self.askPath()
        if path is None:
            return
        try:
            logbundle.write_log(path, self.logic.worker.complaints, self.segment.failures)
            self.say(_("Saved at {path}.").format(path=path))
        except InputError as error:
            self.say(str(error))

    def askPath(self) -> Path | None:
        suggested = str(Path.home() / "MedTL-log.zip")
        chosen = qt.QFileDialog.getSaveFileName(self.ui.logButton, _("Save log"), suggested, "*.zip")
        return Path(chosen) if chosen else None

    def say(self, text: str) -> None:
        """Show a sentence below the list."""
        say(self.ui.maintenanceLabel, text)


def stored(jobFolder: Path) -> list[tuple[str, Path]]:
    """Kind and folder of what is kept: imported models, and the folders of jobs that failed or run."""
    try:
        store = user_store()
    except ModuleNotFoundError:  # a package that Set-up installs; without it nothing was imported
        store = None
    models = sorted(store.iterdir()) if store is not None and store.is_dir() else []
    jobs = sorted(jobFolder.glob("job-*")) if jobFolder.is_dir() else []
    return [(_("model"), f) for f in models if f.is_dir()] + [(_("job"), f) for f in jobs]


def remove(folder: Path) -> None:
    """Delete a folder; of a model no half stays in the list, even if this is interrupted."""
    if (folder / METADATA).is_file():
        delete_bundle(folder.name)
    else:
        shutil.rmtree(folder)


def sizeOf(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
