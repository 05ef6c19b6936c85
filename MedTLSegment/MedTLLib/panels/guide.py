"""What a new user can do next: take a sample in an empty scene, and what follows the first result."""

from typing import Any

import slicer
from slicer.i18n import tr as _

from MedTLLib import samples

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
        text = _(
            "Next: correct slices (SEED slices), improve the model on them (Fine-tune), find the class of the tumour "
            "(MedTL Classify), save the result (Export…)."
        )
        showText(self.ui.nextLabel, text if p is not None and p.resultSegmentation is not None else "")

    def onSample(self) -> None:
        """Make the sample, show it and choose it."""
        with slicer.util.WaitCursor():
            self.parameters.inputVolume = samples.load()
