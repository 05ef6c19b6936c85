"""The job controls of Classify: which volume, which segment, which model; the button, progress, Cancel."""

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MedTLClassifyLib import result
from MedTLClassifyLib.job import Answer, Choices, ClassifyJob, begin, is_outdated, problem_of
from MedTLLib.jobs.run import JobRun
from MedTLLib.panels.form import showText
from MedTLLib.panels.run import RunPanel
from MedTLLib.panels.terms import termsAccepted

from .result_panel import ClassifiedPanel


class ClassifyPanel(RunPanel):
    """Shows the answer for the chosen input, or the last one."""

    def __init__(self, ui: Any, run: JobRun) -> None:
        super().__init__(ui, run, ClassifyJob, "classification")
        self.result = ClassifiedPanel(ui)
        self._volume = ""
        self._answers: dict[str, Answer] = {}  # of this session, by the ID of the table
        ui.segmentCombo.connect("currentIndexChanged(int)", self.onSegment)
        ui.classifyButton.connect("clicked()", self.onClassify)
        ui.sampleButton.connect("clicked()", self.onSample)

    # What can be chosen

    def update(self, caller: Any = None, event: Any = None) -> None:
        """Show what the parameter node says."""
        p = self.parameters
        volume = p.inputVolume if p else None
        if p and self._volume and volume and volume.GetID() != self._volume:
            p.segmentation = None  # it was chosen for another volume, perhaps of another patient
        self._volume = volume.GetID() if volume else ""
        segmentation = p.segmentation if p else None
        self._watch(volume, segmentation)
        self.ui.guideBox.visible = p is not None and volume is None
        problem = problem_of(volume)
        self.showVolume(volume, problem)
        entry = self.models.chosen()
        showText(self.ui.descriptionLabel, entry.card.description if entry and entry.card else "")
        self._listSegments(segmentation)
        self.showRun(self.ui.classifyButton, self._reason(problem), _("Classify the tumour with the chosen model."))
        self._showResult(volume, segmentation)

    def onSample(self) -> None:
        """Open the module Sample Data."""
        slicer.util.selectModule("SampleData")

    def _listSegments(self, segmentation: Any) -> None:
        combo, listed = self.ui.segmentCombo, result.segments_of(segmentation)
        blocked = combo.blockSignals(True)
        combo.clear()
        for segmentId, name in listed:
            combo.addItem(name)
            combo.setItemData(combo.count - 1, segmentId)
        wanted = combo.findData(self.parameters.segmentId) if self.parameters and listed else -1
        if wanted < 0 and listed:
            wanted = combo.findData(result.preferred_segment(segmentation))
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
        if reason := self.run.why_busy or problem:
            return reason
        entry, segmentation = self.models.chosen(), self.parameters.segmentation
        if not self.parameters.modelName or entry is None or entry.card is None:
            return self.models.whyNone()
        if segmentation is not None and not self.parameters.segmentId:
            return str(_("The chosen segmentation has no segment. Choose another, or the whole image."))
        return result.why_region(entry.card, segmentation)

    # The job

    def onClassify(self) -> None:
        """Hand the volume over and start the job."""
        p, entry = self.parameters, self.models.chosen()
        if entry is None or entry.card is None:
            return
        if not termsAccepted(entry, self.ui.classifyButton, self.showMessage):
            return
        card, segmentation, segmentId = entry.card, p.segmentation, p.segmentId

        def make(root: Path) -> ClassifyJob:
            volume = self.withoutTransform(p.inputVolume)
            p.segmentation = segmentation  # also for a hardened copy
            p.segmentId = segmentId
            job = begin(volume, segmentation, segmentId, card, Choices(p.device, p.threads), root)
            self.result.showMessage("")
            return job

        self.run.begin(ClassifyJob, make, self.onEnd)
        self.update()

    def onEnd(self, answer: Answer | None) -> None:
        """Show the answer."""
        if answer is not None:
            self._answers[answer.table.GetID()] = answer
            self.parameters.result = answer.table

    # The result

    def _showResult(self, volume: Any, segmentation: Any) -> None:
        if self.parameters is None:
            self.result.show(None, "")
            return
        p, entry = self.parameters, self.models.chosen()
        chosen = (volume, segmentation, p.segmentId, entry.card if entry else None)
        answer = result.find(*chosen)
        if answer is not None and p.result is not answer:
            p.result = answer
        table = p.result
        known = self._answers.get(table.GetID()) if table is not None else None
        if known is not None and is_outdated(known):
            result.outdate(table)
        self.result.show(table, result.why_outdated(table, *chosen) if table else "")

    def sceneClosed(self) -> None:
        """The scene goes away, and the tables with it."""
        self._answers.clear()
        self.result.showMessage("")
