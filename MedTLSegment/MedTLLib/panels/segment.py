"""The job controls: which volume, which model, into what; Segment, progress, Cancel."""

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

from medtl.errors import InputError, MedTLError
from medtl.volume import Labelmap
from MedTLLib import jobs, logbundle, regions, scene, views

from .form import enable, say
from .models import ModelPanel
from .protection import ProtectionPanel
from .texts import factsText, stageText

T = TypeVar("T")

# The share of the progress bar at which each stage of the engine begins.
BEGIN = {"load": 0, "read": 10, "prepare": 12, "infer": 20, "clean": 90, "write": 96, "": 100}

# Of the volume and of the chosen segmentation: what may change whether they can be segmented, or what is listed.
EVENTS = (
    vtk.vtkCommand.ModifiedEvent,
    slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
    slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
    slicer.vtkSegmentation.SegmentAdded,
    slicer.vtkSegmentation.SegmentRemoved,
    slicer.vtkSegmentation.SegmentModified,
)


class SegmentPanel(VTKObservationMixin):  # type: ignore[misc]
    """One state at a time: idle (`job` is None), running, cancelling (`cancelling` is True)."""

    def __init__(self, ui: Any, logic: Any, onFinished: Callable[[jobs.Finished], None]) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.logic, self.onFinished = ui, logic, onFinished
        self._watched: tuple[Any, ...] = ()
        self._volume = self._followed = ""
        self.parameters: Any = None
        self.job: jobs.Job | None = None
        self.jobId = 0
        self.stage = ""
        self.cancelling = False
        self.failures: list[logbundle.Failure] = []  # of this session, for the log
        self.setupNeeded = False
        self.elsewhere: Callable[[], str] = str  # why another part of the panel has the engine; empty when it has not
        self.followers: list[Callable[[], None]] = []  # parts of the panel that change when this one does
        self.models, self.protection = ModelPanel(ui, logic), ProtectionPanel(ui)
        ui.segmentButton.connect("clicked()", self.onSegment)
        ui.cancelButton.connect("clicked()", self.onCancel)
        ui.importButton.connect("clicked()", self.onImport)
        say(ui.statusLabel, "")

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
        facts = scene.facts_of(volume) if volume and not problem else None
        say(self.ui.factsLabel, factsText(facts) if facts else "")
        self.models.parameters = self.parameters
        self.models.update(facts, scene.geometry_of(volume) if facts else None)
        self.protection.update(target)
        self.ui.replaceEditsCheckBox.visible = bool(target)
        reason = self._reason(problem)
        running = self.job is not None
        enable(self.ui.segmentButton, reason, _("Segment the volume with the chosen model."))
        say(self.ui.reasonLabel, "" if running else reason)
        idle = _("The job is being cancelled.") if self.cancelling else "" if running else _("No job is running.")
        enable(self.ui.cancelButton, idle, _("Stop the job; nothing is changed."))
        self.ui.progressBar.visible = running
        self.ui.runBox.visible = running or not self.setupNeeded
        self.ui.setupBox.visible = self.setupNeeded and not running
        for follow in self.followers:
            follow()

    def followRed(self) -> None:
        """Make the volume that the user looks at the input, unless he chose one himself: then the two differ since."""
        looked, chosen = views.volume_in_view(), self.parameters.inputVolume if self.parameters else None
        if self.job is None and self.parameters and (chosen is None or self._followed in ("", chosen.GetID())):
            self.parameters.inputVolume = looked
            self._followed = looked.GetID() if looked else ""

    def _watch(self, *nodes: Any) -> None:
        if nodes != self._watched:
            self._watched = nodes
            self.removeObservers()  # all of them: those of one method alone would keep the nodes
            for node, event in ((node, event) for node in nodes if node for event in EVENTS):
                self.addObserver(node, event, self.update)

    def _reason(self, problem: str) -> str:
        """Why Segment cannot be pressed; empty when it can."""
        if self.job is not None:
            return str(_("A job is running."))
        if reason := self.elsewhere():
            return reason
        if problem:
            return problem
        if not self.parameters.modelName:
            return self.models.whyNone()
        target = self.parameters.targetSegmentation
        if target and target.GetParentTransformNode():
            return str(_("The chosen segmentation is under a transform. Harden it, or choose another."))
        return ""

    def readModels(self) -> None:
        """Look again for the models that are installed."""
        self.models.read()
        self.update()

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

    def choices(self) -> jobs.Choices:
        """What the parameter node says about the next run."""
        p = self.parameters
        return jobs.Choices(p.modelName, p.replaceEdits, p.flip, p.device, p.threads)

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
            job = jobs.begin(volume, p.targetSegmentation, choices, self.logic.worker.folder, only)
        except MedTLError as error:
            self.say(str(error))
            self.update()
            return
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

        Raises: InputError when the user does not, or the transform leaves no grid that can be segmented.
        """
        transform = volume.GetParentTransformNode()
        if transform is not None:
            text = _(
                "{volume} is under the transform {transform}. Segment a copy that is hardened? It is the input then."
            )
            if not self.ask(text.format(volume=volume.GetName(), transform=transform.GetName())):
                scene.check_volume(volume)  # raises, and says what to do
            volume = self.parameters.inputVolume = jobs.hardened_copy(volume)
        return volume

    def ask(self, question: str) -> bool:
        return bool(slicer.util.confirmOkCancelDisplay(question, _("MedTL")))

    def onProgress(self, job: jobs.Job, stage: str, fraction: float, secondsLeft: float | None) -> None:
        if job is not self.job or self.cancelling:
            return
        self.stage = stage
        names = list(BEGIN)
        begin = BEGIN.get(stage, 0)
        end = BEGIN[names[names.index(stage) + 1]] if stage in BEGIN else 100
        self.ui.progressBar.setRange(0, 100)
        self.ui.progressBar.value = round(begin + (end - begin) * fraction)
        text = stageText(stage)
        if secondsLeft is not None and stage == "infer":
            text = _("{stage}, {seconds} s left").format(stage=text, seconds=max(1, round(secondsLeft)))
        self.say(text)

    def onDone(self, job: jobs.Job, result: dict[str, Any]) -> None:
        if job is not self.job:  # the scene was closed meanwhile
            return
        if self.cancelling:  # too late for the engine, not for the scene
            self.onError(job, "Cancelled", "")
            return
        self.stage = "fill"
        self.say(_("Filling the segments…"))
        self.ui.statusLabel.repaint()
        labelmap = self.attempt(lambda: jobs.read(job))
        if labelmap is not None:  # a step in each turn of the event loop, so that Slicer answers in between
            qt.QTimer.singleShot(0, lambda: self.fill(job, labelmap, result))

    def fill(self, job: jobs.Job, labelmap: Labelmap, result: dict[str, Any]) -> None:
        """Write the labels into the scene."""
        if job is not self.job:  # the scene was closed meanwhile
            return
        if self.cancelling:
            self.onError(job, "Cancelled", "")
            return
        finished = self.attempt(lambda: jobs.finish(job, labelmap, result))
        if finished is not None:
            self.parameters.replaceEdits = False  # asked for this run, not for every one after it
            text = _("Done in {seconds} s.") if job.only is None else _("Done in {seconds} s, inside the region only.")
            self._end(text.format(seconds=round(finished.seconds, 1)))
            qt.QTimer.singleShot(0, lambda: self.onFinished(finished))

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

    def onError(self, job: jobs.Job, kind: str, message: str) -> None:
        if job is not self.job:
            return
        if kind == "Cancelled":
            jobs.discard(job)
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
            jobs.discard(job)
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
