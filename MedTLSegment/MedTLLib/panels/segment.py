"""The job controls: which volume, which model, into what; Segment, progress, Cancel."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from medtl.errors import InputError, MedTLError
from MedTLLib import jobs, predictions, scene

from .form import enable, say
from .models import ModelPanel

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
        self._protected: list[tuple[str, str, bool]] | None = None
        self.parameters: Any = None
        self.job: jobs.Job | None = None
        self.jobId = 0
        self.cancelling = False
        self.setupNeeded = False
        self.models = ModelPanel(ui)
        ui.segmentButton.connect("clicked()", self.onSegment)
        ui.cancelButton.connect("clicked()", self.onCancel)
        ui.importButton.connect("clicked()", self.onImport)
        say(ui.statusLabel, "")
        ui.protectList.connect("itemChanged(QListWidgetItem*)", self.onProtect)

    # What can be chosen

    def update(self, caller: Any = None, event: Any = None) -> None:
        """Show what the parameter node says."""
        volume = self.parameters.inputVolume if self.parameters else None
        self._watch(volume, self.parameters.targetSegmentation if self.parameters else None)
        problem = problemOf(volume)
        facts = scene.facts_of(volume) if volume and not problem else None
        say(self.ui.factsLabel, factsText(facts) if facts else "")
        self.models.parameters = self.parameters
        self.models.update(facts, scene.geometry_of(volume) if facts else None)
        self._listSegments()
        self.ui.replaceEditsCheckBox.visible = bool(self.parameters and self.parameters.targetSegmentation)
        reason = self._reason(problem)
        running = self.job is not None
        enable(self.ui.segmentButton, reason, _("Segment the volume with the chosen model."))
        say(self.ui.reasonLabel, "" if running else reason)
        idle = _("The job is being cancelled.") if self.cancelling else "" if running else _("No job is running.")
        enable(self.ui.cancelButton, idle, _("Stop the job; nothing is changed."))
        self.ui.progressBar.visible = running
        self.ui.runBox.visible = running or not self.setupNeeded
        self.ui.setupBox.visible = self.setupNeeded and not running

    def _watch(self, *nodes: Any) -> None:
        if nodes != self._watched:
            self._watched = nodes
            self.removeObservers(self.update)
            for node, event in ((node, event) for node in nodes if node for event in EVENTS):
                self.addObserver(node, event, self.update)

    def _reason(self, problem: str) -> str:
        """Why Segment cannot be pressed; empty when it can."""
        if self.job is not None:
            return str(_("A job is running."))
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

    # Protected segments

    def _listSegments(self) -> None:
        target = self.parameters.targetSegmentation if self.parameters else None
        rows = protectedRows(target)
        shown = self.ui.protectList
        if rows == self._protected:
            return
        self._protected = rows
        blocked = shown.blockSignals(True)
        shown.clear()
        for segmentId, name, protected in rows:
            item = qt.QListWidgetItem(name)
            item.setData(qt.Qt.UserRole, segmentId)
            item.setCheckState(qt.Qt.Checked if protected else qt.Qt.Unchecked)
            shown.addItem(item)
        shown.blockSignals(blocked)
        none = "" if rows else _("Choose a segmentation under Result in: its segments are listed here.")
        enable(shown, none, _("Ticked segments lose no voxel to a prediction, as those whose status is Completed."))

    def onProtect(self, item: Any) -> None:
        """Mark the segment as protected from MedTL, or no longer."""
        segment = self.parameters.targetSegmentation.GetSegmentation().GetSegment(item.data(qt.Qt.UserRole))
        if item.checkState() == qt.Qt.Checked:
            segment.SetTag(predictions.PROTECTED_TAG, "1")
        else:
            segment.RemoveTag(predictions.PROTECTED_TAG)

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
        try:
            job = jobs.begin(
                self.parameters.inputVolume,
                self.parameters.targetSegmentation,
                self.choices(),
                self.logic.worker.folder,
            )
        except MedTLError as error:
            self.say(str(error))
            self.update()
            return
        self.job, self.cancelling = job, False
        self.ui.progressBar.setRange(0, 0)
        self.say(_("Starting the engine…"))
        self.jobId = self.logic.worker.submit(job.request, self.onProgress, self.onDone, self.onError)
        if self.logic.worker.queued(self.jobId):
            self.say(_("Waiting for another job to end…"))
        self.update()

    def onProgress(self, stage: str, fraction: float, secondsLeft: float | None) -> None:
        if self.job is None or self.cancelling:
            return
        names = list(BEGIN)
        begin = BEGIN.get(stage, 0)
        end = BEGIN[names[names.index(stage) + 1]] if stage in BEGIN else 100
        self.ui.progressBar.setRange(0, 100)
        self.ui.progressBar.value = round(begin + (end - begin) * fraction)
        text = stageText(stage)
        if secondsLeft is not None and stage == "infer":
            text = _("{stage}, {seconds} s left").format(stage=text, seconds=max(1, round(secondsLeft)))
        self.say(text)

    def onDone(self, result: dict[str, Any]) -> None:
        if self.job is None:  # the scene was closed meanwhile
            return
        if self.cancelling:  # too late for the engine, not for the scene
            self.onError("Cancelled", "")
            return
        job, finished = self.job, None
        self.say(_("Filling the segments…"))
        self.ui.statusLabel.repaint()
        text = _("The result could not be written; the reason is in the Python console.")
        try:
            finished = jobs.finish(job, result)
            text = _("Done in {seconds} s.").format(seconds=round(finished.seconds, 1))
        except MedTLError as error:
            text = str(error)
        finally:  # whatever happened, the panel can be used again
            self._end(text)
        if finished is not None:
            self.onFinished(finished)

    def onError(self, kind: str, message: str) -> None:
        job = self.job
        if job is None:
            return
        if kind == "Cancelled":
            jobs.discard(job)
            self._end(_("Cancelled. Nothing was changed."))
        else:
            logging.error("MedTL: %s: %s", kind, message)
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

    def _end(self, text: str) -> None:
        self.job, self.cancelling = None, False
        self.say(text)
        self.update()

    def say(self, text: str) -> None:
        """Show a sentence below the job controls."""
        say(self.ui.statusLabel, text)


def problemOf(volume: Any) -> str:
    """Why the volume cannot be segmented; empty when it can."""
    try:
        scene.check_volume(volume)
        scene.geometry_of(volume)
    except InputError as error:
        return str(error)
    return ""


def factsText(facts: scene.Facts) -> str:
    """Sequence, date and size of a volume in a line."""
    size = "×".join(str(n) for n in facts.size)
    spacing = "×".join(f"{mm:.3g}" for mm in facts.spacing)
    grid = _("{size} voxels of {spacing} mm").format(size=size, spacing=spacing)
    kind = " ".join(part for part in (facts.modality, facts.description) if part)
    return " · ".join(part for part in (kind, facts.date, grid, facts.frame) if part)


def stageText(stage: str) -> str:
    """What the engine does in a stage, for the user."""
    texts = {
        "load": _("Loading the model"),
        "read": _("Reading the volume"),
        "prepare": _("Preparing the volume"),
        "infer": _("Segmenting"),
        "clean": _("Cleaning up"),
        "write": _("Writing the result"),
    }
    return str(texts.get(stage, stage))


def protectedRows(segmentation: Any) -> list[tuple[str, str, bool]]:
    """Id, name and protection of each segment."""
    if segmentation is None:
        return []
    rows = []
    for segmentId in segmentation.GetSegmentation().GetSegmentIDs():
        segment = segmentation.GetSegmentation().GetSegment(segmentId)
        rows.append((segmentId, segment.GetName(), segment.HasTag(predictions.PROTECTED_TAG)))
    return rows
