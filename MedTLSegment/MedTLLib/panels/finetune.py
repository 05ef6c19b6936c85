"""Fine-tune: a new model from the slices that were marked as right."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from medtl.errors import MedTLError
from MedTLLib.jobs import finetune as finetune_job
from MedTLLib.jobs import logbundle
from MedTLLib.jobs import segment as segment_job

from .curve import draw
from .form import enable, say
from .seeds import EVENTS, PAUSE_MS
from .texts import budgetText, seedsText, stageText
from .tuned import TunedPanel

POLL_MS, POLLS = 100, 20  # how long the engine may take to name the best model so far
Point = tuple[float, float]


class FinetunePanel(VTKObservationMixin):  # type: ignore[misc]
    """One state at a time: idle (`job` is None), running, cancelling (`cancelling` is True).

    Shares model, volume and worker with the panel of Segment; while one of both runs the other waits.
    """

    def __init__(self, ui: Any, logic: Any, segment: Any, onFinished: Callable[[segment_job.Finished], None]) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.logic, self.segment = ui, logic, segment
        self.census = finetune_job.Census()
        self.after = TunedPanel(ui, segment, onFinished)
        self.job: finetune_job.Job | None = None
        self.jobId = 0
        self.stage = ""
        self.cancelling = self.entered = False
        self._began = 0.0  # when the engine began
        self._curves: dict[str, list[Point]] = {}  # of the loss, by the stage of the engine
        self._watched: list[Any] = []
        self._soon = qt.QTimer(ui.finetuneBox)
        self._soon.setSingleShot(True)
        self._soon.connect("timeout()", self.update)
        segment.elsewhere = lambda: _("Fine-tune is running.") if self.job else ""
        segment.followers.append(self.updateSoon)
        ui.finetuneBox.connect("contentsCollapsed(bool)", self.updateSoon)
        ui.tuneButton.connect("clicked()", self.onTune)
        ui.tuneCancelButton.connect("clicked()", self.onCancel)
        self.say("")

    @property
    def parameters(self) -> Any:
        return self.segment.parameters

    # What can be done

    def updateSoon(self, caller: Any = None, event: Any = None) -> None:
        """Update after the last of many events, while anybody looks."""
        if self.entered and not self.ui.finetuneBox.collapsed:
            self._soon.start(PAUSE_MS)

    def update(self) -> None:
        """Show what the scene and the parameter node say."""
        self._watch()
        cases = self.cases()
        running, p = self.job is not None, self.parameters
        seconds = p.tuneBudget if p else 60
        self.ui.tuneButton.text = _("Fine-tune ({time})").format(time=budgetText(seconds))
        reason = self._reason(cases)
        enable(self.ui.tuneButton, reason, _("Make a new model from the slices that you marked as right."))
        say(self.ui.tuneReasonLabel, "" if running else reason)
        say(self.ui.seedsUsedLabel, seedsText(cases))
        idle = _("The run is being stopped.") if self.cancelling else "" if running else _("Fine-tune is not running.")
        enable(self.ui.tuneCancelButton, idle, _("Stop; the best model so far is kept."))
        self.ui.tuneRunBox.visible = running
        self.after.update(running or self.segment.job is not None)

    def cases(self) -> tuple[finetune_job.Case, ...]:
        """The marked cases of the scene, for the chosen model."""
        found = self.segment.models.chosen() if self.parameters else None
        return self.census.cases(found.card, self.parameters.inputVolume) if found and found.card else ()

    def _reason(self, cases: tuple[finetune_job.Case, ...]) -> str:
        """Why Fine-tune cannot be pressed; empty when it can."""
        models = self.segment.models
        if self.job is not None or self.segment.job is not None:
            return str(_("A job is running."))
        if self.segment.setupNeeded:
            return str(_("Python packages are missing. Install them above."))
        if not self.parameters or not self.parameters.modelName:
            return str(models.whyNone())
        if misfit := models.reason(self.ui.modelCombo.currentIndex):
            return str(misfit)
        if not any(case.fresh for case in cases):
            notes = " ".join(dict.fromkeys(note for case in cases for note in case.notes))
            return f"{_('Mark at least one slice as right first.')} {notes}".strip()
        return ""

    def _watch(self) -> None:
        """Hear of marks and edits in every segmentation, and of nodes that come and go."""
        shown = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if not n.GetHideFromEditors()]
        watched = [slicer.mrmlScene, *shown, *(volume for node in shown for volume in finetune_job.volumes_of(node))]
        if watched != self._watched:
            self._watched = watched
            self.removeObservers()  # all of them: those of one method alone would keep the nodes
            for event in (slicer.vtkMRMLScene.NodeAddedEvent, slicer.vtkMRMLScene.NodeRemovedEvent):
                self.addObserver(slicer.mrmlScene, event, self.updateSoon)
            for node in dict.fromkeys(watched[1:]):
                for event in EVENTS:
                    self.addObserver(node, event, self.updateSoon)

    # The run

    def onTune(self) -> None:
        """Hand the marked slices over and start the run."""
        p, found = self.parameters, self.segment.models.chosen()
        if self.job is not None or not found or not found.card:
            return
        self.say(_("Handing over the SEED slices…"))
        self.ui.tuneStatusLabel.repaint()
        choices = finetune_job.Choices(p.modelName, float(p.tuneBudget), p.tuneStrength, p.device, p.threads)
        try:
            job = finetune_job.begin(self.cases(), found.card, choices, self.logic.worker.folder)
        except MedTLError as error:
            self.say(str(error))
            self.update()
            return
        self.after.show(None)
        self.job, self.stage, self.cancelling = job, "start", False
        self._began, self._curves = 0.0, {}
        self.ui.tuneProgressBar.setRange(0, 0)
        self.ui.curveLabel.clear()
        self.say(_("Starting the engine…"))
        answers = (partial(answer, job) for answer in (self.onProgress, self.onDone, self.onError, self.onValues))
        self.jobId = self.logic.worker.submit(job.request, *answers)
        if self.logic.worker.queued(self.jobId):
            self.say(_("Waiting for another job to end…"))
        self.segment.update()
        self.update()

    def onProgress(self, job: finetune_job.Job, stage: str, fraction: float, secondsLeft: float | None) -> None:
        if job is not self.job or self.cancelling:
            return
        self._began = self._began or time.monotonic()
        self.stage = stage
        left = job.choices.budget - (time.monotonic() - self._began)
        self.ui.tuneProgressBar.setRange(0, 100)
        self.ui.tuneProgressBar.value = round(100 * min(1 - left / job.choices.budget, 0.99))
        text = _("{stage}, {seconds} s left") if left >= 1 else _("{stage}, nearly done")
        self.say(text.format(stage=stageText("finetune", stage), seconds=round(left)))

    def onValues(self, job: finetune_job.Job, values: dict[str, float]) -> None:
        if job is self.job and self._began and "loss" in values:
            point = (time.monotonic() - self._began, values["loss"])
            self._curves.setdefault(self.stage, []).append(point)
            text = _("Loss {value}").format(value=f"{values['loss']:.3f}")
            draw(self.ui.curveLabel, tuple(self._curves.values()), job.choices.budget, text)

    def onDone(self, job: finetune_job.Job, record: dict[str, Any]) -> None:
        if job is not self.job:
            return
        self._end(_("Done in {seconds} s.").format(seconds=round(time.monotonic() - job.started)))
        self.after.show(finetune_job.finish(job, record))

    def onError(self, job: finetune_job.Job, kind: str, message: str) -> None:
        if job is not self.job:
            return
        if kind == "Cancelled":
            self._settle(job, POLLS)
            return
        logging.error("MedTL: %s: %s", kind, message)
        seconds = time.monotonic() - job.started
        self.segment.failures.append(logbundle.Failure(kind, self.stage, job.choices.device, seconds))
        self._end(message)
        self.after.show(finetune_job.rescue(job, at_once=True))

    def onCancel(self) -> None:
        """Ask the engine to stop; the best model so far is kept."""
        if self.job is not None and not self.cancelling:
            self.cancelling = True
            self.say(_("Stopping…"))
            self.logic.worker.cancel(self.jobId)
            self.update()

    def _settle(self, job: finetune_job.Job, polls: int) -> None:
        """The end of a run that was stopped: the engine has answered, and names what it kept as it unwinds."""
        if job is not self.job:
            return
        if polls and finetune_job.unwinding(job):
            qt.QTimer.singleShot(POLL_MS, lambda: self._settle(job, polls - 1))
            return
        best = finetune_job.rescue(job, at_once=True)
        finetune_job.discard(job)
        self._end(_("Stopped. The best model so far is kept.") if best else _("Stopped. Nothing was changed."))
        self.after.show(best)

    def _end(self, text: str) -> None:
        self.job, self.cancelling = None, False
        self.say(text)
        self.segment.update()
        self.update()

    # The module

    def enter(self) -> None:
        """The module is opened: the key C is ours."""
        self.entered = True
        self.after.compare.listen(True)
        self.update()

    def exit(self) -> None:
        """Another module is opened: the key is not ours any more."""
        self.entered = False
        self.after.compare.listen(False)

    def close(self) -> None:
        """The panel goes away; as it ends, the engine keeps the best model so far."""
        self.exit()
        self.after.compare.end()
        self._forget()
        self.job = None

    def abandon(self) -> None:
        """The scene goes away, and with it what a result could be put into; a run goes on, for its model is kept."""
        self.after.forget()
        self._forget()

    def _forget(self) -> None:
        """Hold no node, and hear of none: volumes of a closed scene would stay in memory."""
        self._soon.stop()
        self.removeObservers()
        self._watched, self.census = [], finetune_job.Census()

    def say(self, text: str) -> None:
        """Show a sentence below the button."""
        say(self.ui.tuneStatusLabel, text)
