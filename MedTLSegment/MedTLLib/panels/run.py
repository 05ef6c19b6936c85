"""The life of a job in a panel, whatever the job is: its start, how far it is, Cancel, and how it ends."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from medtl.errors import MedTLError
from medtl.progress import STAGES, overall_fraction
from MedTLLib.jobs import logbundle
from MedTLLib.jobs import segment as segment_job
from MedTLLib.mrml import scene, views

from .form import confirm, enable, say
from .models import ModelPanel
from .texts import factsText, stageText

T = TypeVar("T")

# Of the chosen nodes: what may change whether the job can be run on them, or what is listed.
EVENTS = (
    vtk.vtkCommand.ModifiedEvent,
    slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
    slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
    slicer.vtkSegmentation.SegmentAdded,
    slicer.vtkSegmentation.SegmentRemoved,
    slicer.vtkSegmentation.SegmentModified,
)


class RunPanel(VTKObservationMixin):  # type: ignore[misc]
    """One state at a time: idle (`job` is None), running, cancelling (`cancelling` is True).

    A panel made of it has an `update`, an `onDone`, a button that starts the job, and widgets of the same names.
    """

    kind = "segment"  # of the job, in the table of stages

    def __init__(self, ui: Any, logic: Any, task: str) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.logic = ui, logic
        self._watched: tuple[Any, ...] = ()
        self._followed = ""
        self.parameters: Any = None
        self.job: Any = None
        self.jobId = 0
        self.stage = ""
        self.cancelling = False
        self.failures: list[logbundle.Failure] = []  # of this session, for the log
        self.setupNeeded = False
        self.elsewhere: Callable[[], str] = str  # why another part of the panel has the engine; empty when it has not
        self.followers: list[Callable[[], None]] = []  # parts of the panel that change when this one does
        self.models = ModelPanel(ui, logic, task)
        ui.cancelButton.connect("clicked()", self.onCancel)
        ui.importButton.connect("clicked()", self.onImport)
        say(ui.statusLabel, "")

    def update(self, caller: Any = None, event: Any = None) -> None:
        """Show what the parameter node says."""
        raise NotImplementedError

    def onDone(self, job: Any, result: dict[str, Any]) -> None:
        """Put the engine's answer into the scene."""
        raise NotImplementedError

    # What can be chosen

    def followRed(self) -> None:
        """Make the volume that the user looks at the input, unless he chose one himself: then the two differ since."""
        looked, chosen = views.volume_in_view(), self.parameters.inputVolume if self.parameters else None
        if self.job is None and self.parameters and (chosen is None or self._followed in ("", chosen.GetID())):
            self.parameters.inputVolume = looked
            self._followed = looked.GetID() if looked else ""

    def showVolume(self, volume: Any, problem: str) -> None:
        """Show what the volume is and the models that fit it; a volume with a problem tells nothing."""
        facts = scene.facts_of(volume) if volume and not problem else None
        say(self.ui.factsLabel, factsText(facts) if facts else "")
        self.models.parameters = self.parameters
        self.models.update(facts, scene.geometry_of(volume) if facts else None)

    def showRun(self, button: Any, reason: str, help: str) -> None:
        """Show whether the job can be started by this button, and if not why; and the job that runs."""
        running = self.job is not None
        enable(button, reason, help)
        say(self.ui.reasonLabel, "" if running else reason)
        idle = _("The job is being cancelled.") if self.cancelling else "" if running else _("No job is running.")
        enable(self.ui.cancelButton, idle, _("Stop the job; nothing is changed."))
        self.ui.progressBar.visible = running
        self.ui.runBox.visible = running or not self.setupNeeded
        self.ui.setupBox.visible = self.setupNeeded and not running
        for follow in self.followers:
            follow()

    def busy(self) -> str:
        """Why no job can be started now; empty when one can."""
        return str(_("A job is running.")) if self.job is not None else self.elsewhere()

    def _watch(self, *nodes: Any) -> None:
        if nodes != self._watched:
            self._watched = nodes
            self.removeObservers()  # all of them: those of one method alone would keep the nodes
            for node, event in ((node, event) for node in nodes if node for event in EVENTS):
                self.addObserver(node, event, self.update)

    def readModels(self) -> None:
        """Look again for the models that are installed."""
        self.models.read()
        self.update()

    def enter(self) -> None:
        """The module is opened: what the user looks at, and what is installed, may be other than before."""
        if self.models.changed():
            self.readModels()
        self.followRed()

    def onImport(self) -> None:
        """Import a model from a .zip or the metadata.json of a bundle folder."""
        path = self.askBundle()
        if path is not None:
            self.say(self.models.bringIn(path))
            self.update()

    def askBundle(self) -> Path | None:
        """The bundle that the user chose: a .zip, or the folder of the metadata.json that was chosen."""
        kinds = _("MedTL model ({patterns})").format(patterns="*.zip metadata.json")
        chosen = qt.QFileDialog.getOpenFileName(self.ui.importButton, _("Import model"), "", kinds)
        if not chosen:
            return None
        path = Path(chosen)
        return path.parents[1] if path.name == "metadata.json" else path

    # The run

    def submit(self, job: Any) -> None:
        """Have the engine do this job."""
        self.job, self.stage, self.cancelling = job, "start", False
        self.ui.progressBar.setRange(0, 0)
        self.say(_("Starting the engine…"))
        # Each answer says of which job it is: one of a job that was given up must not end the next one.
        answers = (partial(answer, job) for answer in (self.onProgress, self.onDone, self.onError))
        self.jobId = self.logic.worker.submit(job.request, *answers)
        if self.logic.worker.queued(self.jobId):
            self.say(_("Waiting for another job to end…"))
        self.update()

    def inItsPlace(self, volume: Any) -> Any:
        """The volume, or where it is under a transform a hardened copy, which becomes the input, if the user agrees.

        Raises: InputError when the user does not, or the transform leaves no grid that can be used.
        """
        transform = volume.GetParentTransformNode()
        if transform is not None:
            text = _("{volume} is under the transform {transform}. Use a copy that is hardened? It is the input then.")
            if not self.ask(text.format(volume=volume.GetName(), transform=transform.GetName())):
                scene.check_volume(volume)  # raises, and says what to do
            volume = self.parameters.inputVolume = segment_job.hardened_copy(volume)
        return volume

    def ask(self, question: str) -> bool:
        return confirm(question)

    def onProgress(self, job: Any, stage: str, fraction: float, secondsLeft: float | None) -> None:
        if job is not self.job or self.cancelling:
            return
        self.stage = stage
        self.ui.progressBar.setRange(0, 100)
        if stage in STAGES[self.kind]:
            self.ui.progressBar.value = round(100 * overall_fraction(self.kind, stage, fraction))
        text = stageText(self.kind, stage)
        if secondsLeft is not None and stage == "infer":
            text = _("{stage}, {seconds} s left").format(stage=text, seconds=max(1, round(secondsLeft)))
        self.say(text)

    def attempt(self, step: Callable[[], T]) -> T | None:
        """What a step of the end gives; None where it fails. Whatever happened, the panel can be used again."""
        done, kind = None, "InternalError"
        text = _("The result could not be written; the reason is in the Python console.")
        try:
            done = step()
        except MedTLError as error:
            kind, text = type(error).__name__, str(error)
        finally:
            if done is None:
                self._remember(kind)
                self._end(text)
        return done

    def onError(self, job: Any, kind: str, message: str) -> None:
        if job is not self.job:
            return
        if kind == "Cancelled":
            segment_job.discard(job)
            self._end(_("Cancelled. Nothing was changed."))
        else:
            logging.error("MedTL: %s: %s", kind, message)
            self._remember(kind)
            self._end(message)

    def onCancel(self) -> None:
        """Ask the engine to stop; it answers within two seconds, or is killed."""
        if self.job is not None and not self.cancelling:
            self.cancelling = True
            self.say(_("Cancelling…"))
            self.logic.worker.cancel(self.jobId)
            self.update()

    def abandon(self) -> None:
        """Give the job up without a word: its scene goes away."""
        if self.job is not None:
            job, self.job = self.job, None
            self.logic.worker.cancel(self.jobId)
            segment_job.discard(job)
            self._end("")

    def _remember(self, kind: str) -> None:
        if self.job is not None:
            seconds = time.monotonic() - self.job.started
            self.failures.append(logbundle.Failure(kind, self.stage, self.job.choices.device, seconds))

    def _end(self, text: str) -> None:
        self.job, self.cancelling = None, False
        self.say(text)
        self.update()

    def say(self, text: str) -> None:
        """Show a sentence below the job controls."""
        say(self.ui.statusLabel, text)
