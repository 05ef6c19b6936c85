"""Fine-tune: a new model from the SEED slices."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from MedTLLib.jobs.finetune import (
    Case,
    Choices,
    FinetuneJob,
    MarkedCases,
    TooShort,
    Tuned,
    begin,
    round_budget,
    volumes_of,
    why_no_channel,
    why_not_tunable,
    why_nothing_to_learn,
)
from MedTLLib.jobs.run import JobRun
from MedTLLib.jobs.segment import Finished

from .cases import CasesPanel
from .curve import draw
from .form import enable, showText
from .run import RunProgress
from .seeds import EVENTS, PAUSE_MS
from .segment import SegmentPanel
from .terms import termsAccepted
from .texts import budgetText, listedText, seedsText
from .tuned import TunedPanel


class FinetunePanel(VTKObservationMixin):  # type: ignore[misc]
    """Shares model, volume and the job run with the panel of Segment: one job runs at a time."""

    def __init__(
        self,
        ui: Any,
        run: JobRun,
        segment: SegmentPanel,
        onFinished: Callable[[Finished], None],
        worklist: CasesPanel,
    ) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.run, self.segment, self.worklist = ui, run, segment, worklist
        self.markedCases = MarkedCases()
        self.after = TunedPanel(ui, segment, onFinished)
        self.entered = False
        self._offer = ("", 0)  # a model, and the seconds with which it can be tuned better
        self._watched: list[Any] = []
        self._soon = qt.QTimer(ui.finetuneBox)
        self._soon.setSingleShot(True)
        self._soon.connect("timeout()", self.update)
        self.progress = RunProgress(run, (FinetuneJob,), ui.tuneStatusLabel, ui.tuneProgressBar, self.onState)
        run.observe(self.showCurve)
        segment.followers.append(self.updateSoon)
        ui.finetuneBox.connect("contentsCollapsed(bool)", self.updateSoon)
        ui.tuneButton.connect("clicked()", self.onTune)
        ui.longerButton.connect("clicked()", self.onLonger)
        ui.tuneCancelButton.connect("clicked()", run.cancel)

    @property
    def parameters(self) -> Any:
        return self.segment.parameters

    # What is shown

    def updateSoon(self, caller: Any = None, event: Any = None) -> None:
        """Update after the last of many events, while this section is open."""
        if self.entered and not self.ui.finetuneBox.collapsed:
            self._soon.start(PAUSE_MS)

    def onState(self) -> None:
        """A job began or ended, of this panel or of Segment."""
        if self.run.kind is FinetuneJob:
            self.update()
        else:
            self.updateSoon()

    def update(self) -> None:
        """Show what the scene and the parameter node say."""
        cases = self.cases()
        self._watch(cases)
        running, p = self.progress.running, self.parameters
        seconds = p.tuneBudget if p else 60
        self.ui.tuneButton.text = _("Fine-tune ({time})").format(time=budgetText(seconds))
        reason = self._reason(cases)
        enable(self.ui.tuneButton, reason, _("Make a new model from the slices that you marked as right."))
        model, longer = self._offer
        offered = p is not None and p.modelName == model and p.tuneBudget < longer <= self.ui.budgetSpinBox.maximum
        self.ui.longerButton.visible = offered and not running
        self.ui.longerButton.text = _("Fine-tune for {time}").format(time=budgetText(longer))
        enable(self.ui.longerButton, reason, _("Start again with the time that this model needs on this computer."))
        showText(self.ui.tuneReasonLabel, "" if running else reason)
        showText(self.ui.seedsUsedLabel, " ".join(filter(None, (seedsText(cases), listedText(self.worklist.listed())))))
        idle = "" if running else _("Fine-tune is not running.")
        idle = _("Fine-tune is being stopped.") if self.progress.cancelling else idle
        enable(self.ui.tuneCancelButton, idle, _("Stop; the best model so far is kept."))
        self.ui.tuneRunBox.visible = running
        self.after.update()

    def showCurve(self) -> None:
        """Draw the loss over the time budget."""
        job, curves = self.run.job, tuple(self.run.losses.values())
        if not isinstance(job, FinetuneJob):
            return
        self.ui.curveLabel.visible = bool(curves)
        if curves:
            text = _("Loss {value}").format(value=f"{curves[-1][-1][1]:.3f}")
            draw(self.ui.curveLabel, curves, job.choices.budget, text)
        else:
            self.ui.curveLabel.clear()

    def cases(self) -> tuple[Case, ...]:
        """The marked cases of the scene, for the chosen model."""
        entry = self.segment.models.chosen() if self.parameters else None
        if entry is None or entry.card is None or why_not_tunable(entry.card):
            return ()
        return self.markedCases.cases(entry.card, self.segment.channels.volumes())

    def _reason(self, cases: tuple[Case, ...]) -> str:
        """Why Fine-tune cannot be pressed; empty when it can."""
        models = self.segment.models
        if reason := self.run.why_busy:
            return reason
        if self.segment.setupNeeded:
            return str(_("Python packages are missing. Install them above."))
        if not self.parameters or not self.parameters.modelName:
            return str(models.whyNone())
        entry = models.chosen()
        card = entry.card if entry else None
        if card and (reason := why_not_tunable(card)):
            return reason
        listed = self.worklist.listed().seeds
        if reason := models.reason(self.ui.modelCombo.currentIndex) or why_nothing_to_learn(cases, listed):
            return reason
        return why_no_channel(cases, card, self.parameters.inputVolume) if card else ""

    def _watch(self, cases: tuple[Case, ...]) -> None:
        """Observe marks and edits in every segmentation, and nodes that come and go."""
        shown = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if not n.GetHideFromEditors()]
        watched = [slicer.mrmlScene, *shown, *(volume for node in shown for volume in volumes_of(node))]
        watched += [volume for case in cases for volume in case.further if volume is not None]
        if watched != self._watched:
            self._watched = watched
            self.removeObservers()  # all of them: removing those of one method would keep the nodes
            for event in (slicer.vtkMRMLScene.NodeAddedEvent, slicer.vtkMRMLScene.NodeRemovedEvent):
                self.addObserver(slicer.mrmlScene, event, self.updateSoon)
            for node in dict.fromkeys(watched[1:]):
                for event in EVENTS:
                    self.addObserver(node, event, self.updateSoon)

    # The job

    def onTune(self) -> None:
        """Hand the marked slices over and start the job."""
        p, entry = self.parameters, self.segment.models.chosen()
        if not entry or not entry.card:
            return
        if not termsAccepted(entry, self.ui.tuneButton, self.progress.showMessage):
            return
        card, choices = entry.card, Choices(p.modelName, float(p.tuneBudget), p.tuneStrength, p.device, p.threads)

        self.worklist.saving.saveQuietly()
        listed, opened = self.worklist.session.list, self.worklist.openName()

        def make(root: Path) -> FinetuneJob:
            job = begin(self.cases(), card, choices, root, listed, opened)
            self.after.show(None)
            return job

        def onEnd(outcome: Tuned | TooShort | None) -> None:
            self._offer = (choices.model, round_budget((outcome and outcome.advised_budget) or 0))
            self.after.show(outcome if isinstance(outcome, Tuned) else None)

        self.run.begin(FinetuneJob, make, onEnd)
        self.update()

    def onLonger(self) -> None:
        """Allow the time that is offered from now on, and start."""
        self.parameters.tuneBudget = self._offer[1]
        self.onTune()

    # The module

    def enter(self) -> None:
        """The module is opened: take the key C."""
        self.entered = True
        self.after.compare.listen(True)
        self.update()

    def exit(self) -> None:
        """Another module is opened: release the key C."""
        self.entered = False
        self.after.compare.listen(False)

    def close(self) -> None:
        """The panel is destroyed."""
        self.exit()
        self.after.compare.end()
        self._release()

    def sceneClosed(self) -> None:
        """The scene is closed, with the segmentation for the result; a job goes on, because its model is kept."""
        self.after.sceneClosed()
        self._release()

    def _release(self) -> None:
        """Release all nodes: volumes of a closed scene would stay in memory."""
        self._soon.stop()
        self.removeObservers()
        self._watched, self.markedCases = [], MarkedCases()
