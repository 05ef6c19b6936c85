"""The job controls of Classify: which volume, which segment, which model; the button, progress, Cancel."""

import time
from typing import Any

from slicer.i18n import tr as _

from medtl.errors import InputError, MedTLError
from MedTLClassifyLib import job as classify_job
from MedTLClassifyLib import result as class_result
from MedTLLib.mrml.states import segmentation_state, volume_state
from MedTLLib.panels.form import say
from MedTLLib.panels.run import RunPanel

from .result_panel import ClassifiedPanel


class ClassifyPanel(RunPanel):
    """Its job is a `classifying.Job`."""

    kind = "classify"

    def __init__(self, ui: Any, logic: Any) -> None:
        super().__init__(ui, logic, "classification")
        self.result = ClassifiedPanel(ui)
        self._volume = ""
        self._states: dict[str, tuple[object, ...]] = {}  # of the nodes of a table of this session
        ui.segmentCombo.connect("currentIndexChanged(int)", self.onSegment)
        ui.classifyButton.connect("clicked()", self.onClassify)

    # What can be chosen

    def update(self, caller: Any = None, event: Any = None) -> None:
        """Show what the parameter node says."""
        p = self.parameters
        volume = p.inputVolume if p else None
        if p and self._volume and volume and volume.GetID() != self._volume:
            p.segmentation = None  # it was chosen for another volume, another patient perhaps
        self._volume = volume.GetID() if volume else ""
        segmentation = p.segmentation if p else None
        self._watch(volume, segmentation)
        problem = problemOf(volume)
        self.showVolume(volume, problem)
        found = self.models.chosen()
        say(self.ui.descriptionLabel, found.card.description if found and found.card else "")
        self._listSegments(segmentation)
        self.showRun(self.ui.classifyButton, self._reason(problem), _("Ask the model for the class of the tumour."))
        self._showResult(volume, segmentation)

    def _listSegments(self, segmentation: Any) -> None:
        combo, listed = self.ui.segmentCombo, class_result.segments_of(segmentation)
        blocked = combo.blockSignals(True)
        combo.clear()
        for segmentId, name in listed:
            combo.addItem(name)
            combo.setItemData(combo.count - 1, segmentId)
        wanted = combo.findData(self.parameters.segmentId) if self.parameters and listed else -1
        if wanted < 0 and listed:
            wanted = combo.findData(class_result.preferred_segment(segmentation))
        combo.currentIndex = wanted
        combo.blockSignals(blocked)
        combo.visible = self.ui.segmentCaption.visible = segmentation is not None
        if segmentation is not None:
            self.onSegment(wanted)

    def onSegment(self, index: int) -> None:
        """Keep the choice in the parameter node."""
        segmentId = str(self.ui.segmentCombo.currentData or "")
        if self.parameters and self.parameters.segmentId != segmentId:
            self.parameters.segmentId = segmentId

    def _reason(self, problem: str) -> str:
        """Why Classify cannot be pressed; empty when it can."""
        if reason := self.busy() or problem:
            return reason
        found, segmentation = self.models.chosen(), self.parameters.segmentation
        if not self.parameters.modelName or found is None or found.card is None:
            return self.models.whyNone()
        if segmentation is not None and not self.parameters.segmentId:
            return str(_("The chosen segmentation has no segment. Choose another, or the whole image."))
        return class_result.why_region(found.card, segmentation)

    # The run

    def onClassify(self) -> None:
        """Hand the volume over and start the job."""
        found = self.models.chosen()
        if self.job is not None or found is None or found.card is None:
            return
        self.say(_("Handing over the volume…"))
        self.ui.statusLabel.repaint()
        p = self.parameters
        segmentation, segmentId = p.segmentation, p.segmentId
        choices = classify_job.Choices(p.device, p.threads)
        try:
            volume = self.inItsPlace(p.inputVolume)
            p.segmentation = segmentation  # also for a hardened copy
            p.segmentId = segmentId
            job = classify_job.begin(volume, segmentation, segmentId, found.card, choices, self.logic.worker.folder)
        except MedTLError as error:
            self.say(str(error))
            self.update()
            return
        self.result.say("")
        self.submit(job)

    def onDone(self, job: Any, result: dict[str, Any]) -> None:
        """Put the answer into the scene and show it."""
        if job is not self.job:  # the scene was closed meanwhile
            return
        if self.cancelling:  # too late for the engine, not for the scene
            self.onError(job, "Cancelled", "")
            return
        self.stage = "fill"
        table = self.attempt(lambda: classify_job.finish(job, result))
        if table is not None:
            self._states[table.GetID()] = (job.volume_state, job.segmentation_state)
            self.parameters.result = table
            self._end(_("Done in {seconds} s.").format(seconds=round(time.monotonic() - job.started, 1)))

    # The result

    def _showResult(self, volume: Any, segmentation: Any) -> None:
        if self.parameters is None:
            self.result.show(None, "")
            return
        p, found = self.parameters, self.models.chosen()
        question = (volume, segmentation, p.segmentId, found.card if found else None)
        answer = class_result.find(*question)
        if answer is not None and p.result is not answer:
            p.result = answer
        table = p.result
        if table is not None and self._changed(table):
            class_result.outdate(table)
        self.result.show(table, class_result.why_stale(table, *question) if table else "")

    def _changed(self, table: Any) -> bool:
        """Whether the nodes that a table of this session is about are not what they were any more."""
        volume = table.GetNodeReference(class_result.VOLUME_ROLE)
        segmentation = table.GetNodeReference(class_result.SEGMENTATION_ROLE)
        before = self._states.get(table.GetID())
        if before is None or volume is None:
            return False
        return before != (volume_state(volume), segmentation_state(segmentation))

    def forget(self) -> None:
        """The scene goes away, and the tables with it."""
        self.abandon()
        self._states.clear()
        self.result.say("")


def problemOf(volume: Any) -> str:
    """Why the volume cannot be classified; empty when it can, in its place or as a copy."""
    try:
        classify_job.check(volume)
    except InputError as error:
        return str(error)
    return ""
