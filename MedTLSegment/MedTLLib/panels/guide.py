"""What a new user can do next: take a sample in an empty scene, and what follows the first result."""

from typing import Any

import slicer
from slicer.i18n import tr as _

from MedTLLib import samples
from MedTLLib.results.next_steps import next_steps

from .form import showText


class GuidePanel:
    """Shown while the scene has no volume, and below a result."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.parameters: Any = None
        ui.sampleButton.connect("clicked()", self.onSample)
        showText(ui.guideLabel, _("Load a volume, or take a sample:"))

    def update(self) -> None:
        """Show what the parameter node says."""
        p = self.parameters
        self.ui.guideBox.visible = p is not None and p.inputVolume is None
        showText(self.ui.nextLabel, next_steps(p.resultSegmentation if p is not None else None))

    def onSample(self) -> None:
        """Make the sample, show it and choose it."""
        with slicer.util.WaitCursor():
            self.parameters.inputVolume = samples.load()
