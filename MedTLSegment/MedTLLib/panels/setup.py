"""The set-up page: what is missing, its size, and one button; it replaces the button of the job."""

from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.errors import MedTLError
from MedTLLib.packages.offline import source_of
from MedTLLib.packages.packages import Cancellable, Packages

from .form import confirm, enable, showText
from .run import RunPanel


class SetupPanel:
    """Shown while packages are missing. Pressing its button is the consent to what the page says.

    `panel` has the job that needs them, `button` starts that job.
    """

    def __init__(self, ui: Any, panel: RunPanel, button: Any, packages: Packages) -> None:
        self.ui, self.panel, self.button, self.packages = ui, panel, button, packages
        self.installation: Cancellable | None = None
        self._failures = len(panel.run.failures)
        panel.run.observe(self.onJob)
        ui.setupButton.connect("clicked()", self.onInstall)
        ui.setupPackButton.connect("clicked()", self.onPack)
        ui.setupCancelButton.connect("clicked()", self.onCancel)
        self.showMessage("")
        self.check()

    def check(self) -> None:
        """Show the page when packages are missing; none is imported for that."""
        if self.installation is None:
            needed = self.packages.missing()
            self.panel.setupNeeded = bool(needed)
            self.ui.setupTextLabel.text = self.packages.plan(needed) if needed else ""
            self.ui.setupButton.text = _("Repair") if self.packages.broken() else _("&Install")
            self.panel.update()
        self.update()

    def update(self) -> None:
        """Show whether packages are being installed."""
        running = self.installation is not None
        reason = _("Packages are being installed.") if running else ""
        enable(self.ui.setupButton, reason, _("Install what is missing."))
        enable(self.ui.setupPackButton, reason, _("Without network: install from what the command medtl pack made."))
        self.ui.setupCancelButton.visible = self.ui.setupProgressBar.visible = running
        self.ui.setupCancelButton.enabled = running

    def onJob(self) -> None:
        """After a job that failed as an engine does that lacks something: find out whether a package is broken."""
        failures = self.panel.run.failures
        if len(failures) > self._failures and failures[-1].kind in ("InternalError", "WorkerDied"):
            self.packages.try_imports(self.check)
        self._failures = len(failures)

    def onPack(self) -> None:
        """Install from the pack that the user chooses, a .zip or the pack.json of its folder, after asking."""
        kinds = _("Pack ({patterns})").format(patterns="*.zip pack.json")
        chosen = qt.QFileDialog.getOpenFileName(self.ui.setupPackButton, _("Install from folder or zip"), "", kinds)
        if not chosen:
            return
        pack = source_of(chosen)
        try:
            question = self.packages.plan(self.packages.missing(), pack)
        except MedTLError as error:
            self.showMessage(str(error))
            return
        if confirm(question):
            self.install(pack)

    def onInstall(self) -> None:
        """Install from the network. Slicer's own packages change only after a question of its own."""
        own = self.packages.own_changes(self.packages.missing())
        if own and not confirm(own + " " + _("Install?")):
            self.showMessage(_("Nothing was installed."))
            return
        self.install(None)

    def install(self, pack: Path | None) -> None:
        """Start to install, from a pack or from the network."""
        self.showProgress(_("Installing…"), None)
        stop = self.panel.run.engine.stop
        try:
            self.installation = self.packages.install(self.showProgress, self.onDone, self.onError, stop, pack)
        except MedTLError as error:
            self.onError(error)
            return
        if self.installation is None:  # installed meanwhile by someone else
            self.onDone(())
        self.update()

    def onCancel(self) -> None:
        """Stop the installation."""
        if self.installation is not None:
            self.ui.setupCancelButton.enabled = False
            self.showMessage(_("The installation is being cancelled…"))
            self.installation.cancel()

    def onDone(self, changed: tuple[str, ...]) -> None:
        """Start the job that needed the packages."""
        self.installation = None
        self.showMessage("")
        self.check()
        self.panel.readModels()
        wanted = self.button.enabled
        if wanted:  # the engine is a process of its own and needs no restart
            self.button.click()
        if changed:
            text = _("Installed. Restart Slicer when it suits you, because it still uses the old versions of: {names}.")
            self.panel.showMessage(text.format(names=", ".join(changed)))
        elif not wanted:
            self.panel.showMessage(_("Installed."))

    def onError(self, error: MedTLError) -> None:
        """Say why it was not installed."""
        self.installation = None
        self.showMessage(str(error))
        self.check()

    def showProgress(self, text: str, fraction: float | None) -> None:
        """Show what is being done."""
        self.showMessage(text)
        self.ui.setupProgressBar.setRange(0, 0 if fraction is None else 100)
        self.ui.setupProgressBar.value = round(100 * (fraction or 0))

    def showMessage(self, text: str) -> None:
        """Show a sentence on the page."""
        showText(self.ui.setupStatusLabel, text)
