"""The set-up page: what is missing, what it costs, and one button; it stands where Segment would."""

from typing import Any

import slicer
from slicer.i18n import tr as _

from medtl.errors import MedTLError
from MedTLLib import packages

from .form import say


class SetupPanel:
    """Shown while packages are missing. Pressing its button is the consent to what the page says."""

    def __init__(self, ui: Any, logic: Any, segment: Any) -> None:
        self.ui, self.logic, self.segment = ui, logic, segment
        ui.setupButton.connect("clicked()", self.onInstall)
        self.say("")
        self.check()

    def check(self) -> None:
        """Look what is missing, by the packages' metadata alone."""
        needed = packages.missing()
        self.segment.setupNeeded = bool(needed)
        self.ui.setupTextLabel.text = packages.plan(needed) if needed else ""
        self.segment.update()

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
        self.segment.readModels()
        wanted = self.ui.segmentButton.enabled
        if wanted:  # the engine is a process of its own and needs no restart
            self.segment.onSegment()
        if changed:
            text = _("Installed. Restart Slicer when it suits you, for these are in use: {names}.")
            self.segment.say(text.format(names=", ".join(changed)))
        elif not wanted:
            self.segment.say(_("Installed."))

    def say(self, text: str) -> None:
        """Show a sentence on the page."""
        say(self.ui.setupStatusLabel, text)
