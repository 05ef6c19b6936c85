"""The set-up page: what is missing, what it costs, and one button; it stands where the button of the job would."""

from typing import Any

import slicer
from slicer.i18n import tr as _

from medtl.errors import MedTLError
from MedTLLib.jobs import packages

from .form import say


class SetupPanel:
    """Shown while packages are missing. Pressing its button is the consent to what the page says.

    `run` is the `RunPanel` whose job needs them, `button` the one that starts it.
    """

    def __init__(self, ui: Any, logic: Any, run: Any, button: Any) -> None:
        self.ui, self.logic, self.run, self.button = ui, logic, run, button
        ui.setupButton.connect("clicked()", self.onInstall)
        self.say("")
        self.check()

    def check(self) -> None:
        """Look what is missing, by the packages' metadata alone."""
        needed = packages.missing()
        self.run.setupNeeded = bool(needed)
        self.ui.setupTextLabel.text = packages.plan(needed) if needed else ""
        self.run.update()

    def onInstall(self) -> None:
        """Install, then go on with the job that the user had chosen."""
        self.say(_("Installing…"))
        self.ui.setupStatusLabel.repaint()
        try:
            with slicer.util.WaitCursor():
                changed = packages.install(lambda plan: True, self.logic.worker.stop)
        except MedTLError as error:
            self.say(str(error))
            self.check()
            return
        self.say("")
        self.check()
        self.run.readModels()
        wanted = self.button.enabled
        if wanted:  # the engine is a process of its own and needs no restart
            self.button.click()
        if changed:
            text = _("Installed. Restart Slicer when it suits you, for these are in use: {names}.")
            self.run.say(text.format(names=", ".join(changed)))
        elif not wanted:
            self.run.say(_("Installed."))

    def say(self, text: str) -> None:
        """Show a sentence on the page."""
        say(self.ui.setupStatusLabel, text)
