"""The job controls: which volume, which model, into what; Segment, progress, Cancel."""

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.errors import InputError, MedTLError
from medtl.volume import Labelmap
from MedTLLib.jobs import regions
from MedTLLib.jobs import segment as segment_job
from MedTLLib.mrml import scene, views

from .protection import ProtectionPanel
from .run import RunPanel


class SegmentPanel(RunPanel):
    """Its job is a `jobs.Job`."""

    def __init__(self, ui: Any, logic: Any, onFinished: Callable[[segment_job.Finished], None]) -> None:
        super().__init__(ui, logic, "segmentation")
        self.onFinished = onFinished
        self._volume = ""
        self.protection = ProtectionPanel(ui)
        ui.segmentButton.connect("clicked()", self.onSegment)

    # What can be chosen

    def update(self, caller: Any = None, event: Any = None) -> None:
        """Show what the parameter node says."""
        volume = self.parameters.inputVolume if self.parameters else None
        if self.parameters and self._volume and volume and volume.GetID() != self._volume:
            self.parameters.targetSegmentation = None  # it was chosen for another volume, another patient perhaps
        self._volume = volume.GetID() if volume else ""
        target = self.parameters.targetSegmentation if self.parameters else None
        self._watch(volume, target)
        problem = problemOf(volume)
        self.showVolume(volume, problem)
        self.protection.update(target)
        self.ui.replaceEditsCheckBox.visible = bool(target)
        self.showRun(self.ui.segmentButton, self._reason(problem), _("Segment the volume with the chosen model."))

    def _reason(self, problem: str) -> str:
        """Why Segment cannot be pressed; empty when it can."""
        if reason := self.busy() or problem:
            return reason
        if not self.parameters.modelName:
            return self.models.whyNone()
        target = self.parameters.targetSegmentation
        if target and target.GetParentTransformNode():
            return str(_("The chosen segmentation is under a transform. Harden it, or choose another."))
        return ""

    # The run

    def choices(self) -> segment_job.Choices:
        """What the parameter node says about the next run."""
        p = self.parameters
        return segment_job.Choices(p.modelName, p.replaceEdits, p.flip, p.device, p.threads)

    def onSegment(self) -> None:
        """Hand the volume over and start the job."""
        if self.job is not None:
            return
        self.say(_("Handing over the volume…"))
        self.ui.statusLabel.repaint()
        p, choices = self.parameters, self.choices()  # a copy as the input may change what is listed
        try:
            volume = self.inItsPlace(p.inputVolume)
            only = regions.inside(volume, redSlice(p.onlySlice), p.onlyRegion) if p.onlySlice or p.onlyRegion else None
            job = segment_job.begin(volume, p.targetSegmentation, choices, self.logic.worker.folder, only)
        except MedTLError as error:
            self.say(str(error))
            self.update()
            return
        self.submit(job)

    def onDone(self, job: segment_job.Job, result: dict[str, Any]) -> None:
        if job is not self.job:  # the scene was closed meanwhile
            return
        if self.cancelling:  # too late for the engine, not for the scene
            self.onError(job, "Cancelled", "")
            return
        self.stage = "fill"
        self.say(_("Filling the segments…"))
        self.ui.statusLabel.repaint()
        labelmap = self.attempt(lambda: segment_job.read(job))
        if labelmap is not None:  # a step in each turn of the event loop, so that Slicer answers in between
            qt.QTimer.singleShot(0, lambda: self.fill(job, labelmap, result))

    def fill(self, job: segment_job.Job, labelmap: Labelmap, result: dict[str, Any]) -> None:
        """Write the labels into the scene."""
        if job is not self.job:  # the scene was closed meanwhile
            return
        if self.cancelling:
            self.onError(job, "Cancelled", "")
            return
        finished = self.attempt(lambda: segment_job.finish(job, labelmap, result))
        if finished is not None:
            self.parameters.replaceEdits = False  # asked for this run, not for every one after it
            text = _("Done in {seconds} s.") if job.only is None else _("Done in {seconds} s, inside the region only.")
            self._end(text.format(seconds=round(finished.seconds, 1)))
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


def problemOf(volume: Any) -> str:
    """Why the volume cannot be segmented; empty when it can, in its place or as a copy."""
    try:
        scene.check_image(volume)
        scene.geometry_of(volume)
    except InputError as error:
        return str(error)
    return ""
