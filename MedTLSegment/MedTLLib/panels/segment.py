"""The job controls of Segment: which volume, which model, into which segmentation; progress, Cancel."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.model.card import ModelCard
from MedTLLib.jobs import regions
from MedTLLib.jobs.run import JobRun
from MedTLLib.jobs.segment import Choices, Finished, SegmentJob, begin, problem_of, why_not_target
from MedTLLib.mrml import views
from MedTLLib.results import doubt

from .channels import ChannelsPanel
from .labels import LabelsPanel
from .protection import ProtectionPanel
from .run import RunPanel
from .terms import termsAccepted


class SegmentPanel(RunPanel):
    """`onFinished` is called with each result, in its own turn of the event loop."""

    def __init__(self, ui: Any, run: JobRun, onFinished: Callable[[Finished], None]) -> None:
        super().__init__(ui, run, SegmentJob, "segmentation")
        self.onFinished = onFinished
        self._volume = ""
        self.protection = ProtectionPanel(ui)
        self.channels = ChannelsPanel(ui, self.update)
        self.labels = LabelsPanel(ui, self.update)
        ui.segmentButton.connect("clicked()", self.onSegment)

    # What can be chosen

    def update(self, caller: Any = None, event: Any = None) -> None:
        """Show what the parameter node says."""
        volume = self.parameters.inputVolume if self.parameters else None
        if self.parameters and self._volume and volume and volume.GetID() != self._volume:
            self.parameters.targetSegmentation = None  # it was chosen for another volume, perhaps of another patient
        self._volume = volume.GetID() if volume else ""
        target = self.parameters.targetSegmentation if self.parameters else None
        problem = problem_of(volume)
        self.showVolume(volume, problem)
        entry = self.models.chosen()
        self.labels.update(entry.card if entry else None)
        self.channels.update(self.parameters, entry.card if entry else None)
        self._showFlip(entry.card if entry else None)
        if self.parameters and self.parameters.inputVolume is not volume:
            return  # another volume was found for the first channel, and is shown
        self._watch(*(self.channels.volumes() if self.parameters else ()), target)
        self.protection.update(target)
        self.ui.replaceEditsCheckBox.visible = bool(target)
        self.showRun(self.ui.segmentButton, self._reason(problem), _("Segment the volume with the chosen model."))

    def _showFlip(self, card: ModelCard | None) -> None:
        """Offer mirrored averaging where it has an effect."""
        byItself = card is not None and card.windows is not None
        self.ui.flipCheckBox.enabled = not byItself
        self.ui.flipCheckBox.toolTip = (
            _("This model averages mirrored windows by itself, where its card says so.")
            if byItself
            else _("Takes twice the time and is sometimes a little better.")
        )

    @property
    def flip(self) -> bool:
        """Whether the chosen model averages with the mirrored image: the user's choice, where it has an effect."""
        entry = self.models.chosen()
        return bool(self.parameters.flip and entry and entry.card and entry.card.windows is None)

    def _reason(self, problem: str) -> str:
        """Why Segment cannot be pressed; empty when it can."""
        if reason := self.run.why_busy or problem:
            return reason
        if not self.parameters.modelName:
            return self.models.whyNone()
        return self.channels.whyNot() or self.labels.whyNot() or why_not_target(self.parameters.targetSegmentation)

    def followRed(self) -> None:
        """Make the volume in the Red view the input, unless the user chose another one or it is another channel's."""
        if not self.parameters or views.volume_in_view() not in self.channels.volumes()[1:]:
            super().followRed()

    # The job

    def onSegment(self) -> None:
        """Hand the volume over and start the job."""
        p = self.parameters
        if not termsAccepted(self.models.chosen(), self.ui.segmentButton, self.showMessage):
            return
        # A hardened copy may change the list of models.
        entry = self.models.chosen()
        kept = p.keepDoubt and doubt.affordable(p.inputVolume, entry.card if entry else None)
        choices = Choices(p.modelName, p.replaceEdits, self.flip, p.device, p.threads, self.labels.wanted(), kept)
        further = self.channels.volumes()[1:]

        def make(root: Path) -> SegmentJob:
            volume = self.withoutTransform(p.inputVolume)
            self.channels.choose(further)  # also for a hardened copy
            only = regions.inside(volume, redSlice(p.onlySlice), p.onlyRegion) if p.onlySlice or p.onlyRegion else None
            return begin(volume, p.targetSegmentation, choices, root, only, further)

        self.run.begin(SegmentJob, make, self.onEnd)
        self.update()

    def onEnd(self, finished: Finished | None) -> None:
        """Show the result."""
        if finished is not None:
            self.parameters.replaceEdits = False  # chosen for this job only
            qt.QTimer.singleShot(0, lambda: self.onFinished(finished))


def redSlice(wanted: bool) -> Any:
    """The slice in the Red view; None where it is not wanted.

    Raises: InputError when there is no such view.
    """
    if wanted and (node := views.slice_node("Red")) is not None:
        return node
    if wanted:
        raise InputError(_("Expected a Red slice view, found none. Choose a layout with one, or the whole volume."))
    return None
