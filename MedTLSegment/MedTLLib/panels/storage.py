"""What MedTL put on this computer, with sizes; what is ticked is removed."""

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.errors import MedTLError
from MedTLLib.jobs.maintenance import Maintenance, Stored
from MedTLLib.packages.packages import Cancellable

from .form import confirm, enable, fillTable


class StoragePanel:
    """A table of packages, models and folders of jobs; `onRemoved` is called when something of it was removed."""

    def __init__(
        self, ui: Any, maintenance: Maintenance, onRemoved: Callable[[], None], showMessage: Callable[[str], None]
    ) -> None:
        self.ui, self.maintenance, self.onRemoved, self.showMessage = ui, maintenance, onRemoved, showMessage
        self.listed: tuple[Stored, ...] = ()
        self.removal: Cancellable | None = None
        ui.storageTable.connect("itemChanged(QTableWidgetItem*)", lambda item: self.onTicked())
        ui.tickPackagesButton.connect("clicked()", self.onTickPackages)
        ui.deleteButton.connect("clicked()", self.onDelete)
        ui.removalCancelButton.connect("clicked()", self.onCancel)

    def update(self) -> None:
        """List what is stored, nothing ticked."""
        self.listed = self.maintenance.stored()
        rows = [(each.kind, each.name, f"{each.size / 1e6:.1f}") for each in self.listed]
        self.ui.storageTable.blockSignals(True)
        fillTable(self.ui.storageTable, (_("Kind"), _("Name"), _("MB")), rows, wide=1, numbers=2)
        for row in range(len(rows)):
            self.ui.storageTable.item(row, 0).setCheckState(qt.Qt.Unchecked)
        self.ui.storageTable.blockSignals(False)
        self.onTicked()

    def ticked(self) -> list[Stored]:
        """What is ticked."""
        table = self.ui.storageTable
        return [each for row, each in enumerate(self.listed) if table.item(row, 0).checkState() == qt.Qt.Checked]

    def onTicked(self) -> None:
        """Say what the buttons can do now."""
        self.ui.removalCancelButton.visible = self.removal is not None
        ticked = self.ticked()
        packages = [each for each in self.listed if each.path is None]
        reason = "" if ticked else _("Tick what is to be removed.") if self.listed else _("Nothing is stored.")
        reason = next(filter(None, map(self.maintenance.why_not_delete, ticked)), reason)
        busy = _("Packages are being removed.") if self.removal is not None else ""
        size = sum(each.size for each in ticked) / 1e6
        help = _("Remove what is ticked from this computer: {size} MB.").format(size=f"{size:.1f}")
        enable(self.ui.deleteButton, busy or reason, help)
        nothing = "" if packages else _("MedTL installed no package that nothing else needs.")
        help = _("Tick the packages that MedTL installed. Those that other extensions need are not listed.")
        enable(self.ui.tickPackagesButton, busy or nothing, help)

    def onTickPackages(self) -> None:
        """Tick every package."""
        for row, each in enumerate(self.listed):
            if each.path is None:
                self.ui.storageTable.item(row, 0).setCheckState(qt.Qt.Checked)

    def onDelete(self) -> None:
        """Remove what is ticked, after asking."""
        ticked = self.ticked()
        names, size = ", ".join(each.name for each in ticked), sum(each.size for each in ticked) / 1e6
        question = _("Remove for good, {size} MB: {names}?").format(size=f"{size:.1f}", names=names)
        if not ticked or not confirm(question):
            return
        told = [self.maintenance.delete(each) for each in ticked if each.path is not None]
        self.showMessage(" ".join(told))
        packages = [each.name for each in ticked if each.path is None]
        if packages:
            self.removePackages(packages)
        self.onRemoved()
        self.update()

    def onCancel(self) -> None:
        """Stop removing packages, after the one that is being removed."""
        if self.removal is not None:
            self.ui.removalCancelButton.enabled = False
            self.showMessage(_("The removal is being cancelled…"))
            self.removal.cancel()

    def removePackages(self, names: list[str]) -> None:
        """Start to remove packages."""

        def onEnd(text: str) -> None:
            self.removal = None
            self.showMessage(text)
            self.onRemoved()
            self.update()

        def onError(error: MedTLError) -> None:
            onEnd(str(error))

        def onDone() -> None:
            onEnd(_("Removed: {names}. Restart Slicer if other modules use them.").format(names=", ".join(names)))

        def onProgress(text: str, fraction: float | None) -> None:
            self.showMessage(text)

        self.ui.removalCancelButton.enabled = True
        try:
            self.removal = self.maintenance.remove_packages(names, onProgress, onDone, onError)
        except MedTLError as error:
            self.showMessage(str(error))
