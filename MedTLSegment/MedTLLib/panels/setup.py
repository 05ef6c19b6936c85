"""The set-up page: what is missing, its size, and one button; it replaces the button of the job."""

from typing import Any

import slicer
from slicer.i18n import tr as _

from medtl.errors import MedTLError
from MedTLLib.jobs.packages import Packages

from .form import showText
from .run import RunPanel


class SetupPanel:
    """Shown while packages are missing. Pressing its button is the consent to what the page says.

    `panel` has the job that needs them, `button` starts that job.
    """

    def __init__(self, ui: Any, panel: RunPanel, button: Any, packages: Packages) -> None:
        self.ui, self.panel, self.button, self.packages = ui, panel, button, packages
        ui.setupButton.connect("clicked()", self.onInstall)
        self.showMessage("")
        self.check()

    def check(self) -> None:
        """Show the page when packages are missing; none is imported for that."""
        needed = self.packages.missing()
        self.panel.setupNeeded = bool(needed)
        self.ui.setupTextLabel.text = self.packages.plan(needed) if needed else ""
        self.panel.update()

    def onInstall(self) -> None:
        """Install, then start the job."""
        self.showMessage(_("Installing…"))
        self.ui.setupStatusLabel.repaint()
        try:
            with slicer.util.WaitCursor():
                changed = self.packages.install(lambda plan: True, self.panel.run.engine.stop)
        except MedTLError as error:
            self.showMessage(str(error))
            self.check()
            return
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

    def showMessage(self, text: str) -> None:
        """Show a sentence on the page."""
        showText(self.ui.setupStatusLabel, text)
