"""The job controls that the panels of Segment and Classify share: volume, model, button, progress, Cancel."""

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from medtl.errors import MedTLError
from MedTLLib.jobs import imports
from MedTLLib.jobs.imports import ImportJob
from MedTLLib.jobs.job import Job
from MedTLLib.jobs.run import JobRun
from MedTLLib.jobs.segment import hardened_copy
from MedTLLib.mrml import scene, views

from .choice import askChoice
from .form import confirm, enable, showText
from .models import ModelPanel
from .texts import factsText

# Events of the chosen nodes that may change whether the job can run on them, or what is listed.
NODE_EVENTS = (
    vtk.vtkCommand.ModifiedEvent,
    slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
    slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
    slicer.vtkSegmentation.SegmentAdded,
    slicer.vtkSegmentation.SegmentRemoved,
    slicer.vtkSegmentation.SegmentModified,
)


class RunProgress:
    """Shows the jobs of some kinds: a sentence, a bar. `onState` is called when a job of any kind begins or ends."""

    def __init__(
        self, run: JobRun, kinds: tuple[type[Job], ...], label: Any, bar: Any, onState: Callable[[], None]
    ) -> None:
        self.run, self.kinds, self.label, self.bar, self.onState = run, kinds, label, bar, onState
        self._state: tuple[object, ...] = ()
        self.showMessage("")
        run.observe(self.update)

    @property
    def running(self) -> bool:
        """Whether a job of these kinds runs."""
        return self.run.job is not None and self.run.kind in self.kinds

    @property
    def cancelling(self) -> bool:
        return self.running and self.run.state == "cancelling"

    def update(self) -> None:
        """Show the progress of the job."""
        if self.run.kind in self.kinds:
            self.showMessage(self.run.text)
            self.label.repaint()  # the next step may block the event loop for a while
            self.bar.setRange(0, 0 if self.run.fraction is None else 100)
            self.bar.value = round(100 * (self.run.fraction or 0))
        state = (self.run.job, self.run.state)
        if state != self._state:
            self._state = state
            self.onState()

    def showMessage(self, text: str) -> None:
        """Show a sentence in place of the last one."""
        showText(self.label, text)


class RunPanel(VTKObservationMixin):  # type: ignore[misc]
    """The base of both panels: a subclass has an `update`, a button that starts the job, and the widgets named here."""

    def __init__(self, ui: Any, run: JobRun, kind: type[Job], task: str) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.run, self.task = ui, run, task
        self._watched: tuple[Any, ...] = ()
        self._followed = ""
        self.parameters: Any = None
        self.setupNeeded = False
        self.followers: list[Callable[[], None]] = []  # called after each update
        self.models = ModelPanel(ui, run, task)
        self.progress = RunProgress(run, (kind, ImportJob), ui.statusLabel, ui.progressBar, self.update)
        self.showMessage = self.progress.showMessage
        ui.cancelButton.connect("clicked()", run.cancel)
        ui.importButton.connect("clicked()", self.onImport)

    def update(self, caller: Any = None, event: Any = None) -> None:
        """Show what the parameter node says."""
        raise NotImplementedError

    # What can be chosen

    def followRed(self) -> None:
        """Make the volume in the Red view the input, unless the user chose another one."""
        inRed, chosen = views.volume_in_view(), self.parameters.inputVolume if self.parameters else None
        if not self.progress.running and self.parameters and (chosen is None or self._followed in ("", chosen.GetID())):
            self.parameters.inputVolume = inRed
            self._followed = inRed.GetID() if inRed else ""

    def showVolume(self, volume: Any, problem: str) -> None:
        """Show the facts of the volume and the models that fit it; for a volume with a problem no facts."""
        facts = scene.facts_of(volume) if volume and not problem else None
        showText(self.ui.factsLabel, factsText(facts) if facts else "")
        self.models.parameters = self.parameters
        self.models.update(facts, scene.geometry_of(volume) if facts else None)

    def showRun(self, button: Any, reason: str, help: str) -> None:
        """Show whether this button can start the job, why not, and the running job."""
        running = self.progress.running
        enable(button, reason, help)
        showText(self.ui.reasonLabel, "" if running else reason)
        idle = "" if running else _("No job is running.")
        idle = _("The job is being cancelled.") if self.progress.cancelling else idle
        enable(self.ui.cancelButton, idle, _("Stop the job. Nothing is changed."))
        missing = _("Python packages are missing. Install them above.") if self.setupNeeded else ""
        what = _("A model of MedTL (folder or .zip), or what nnU-Net 2 trained: plans.json of its results, or a .zip.")
        enable(self.ui.importButton, self.run.why_busy or missing, what)
        self.ui.progressBar.visible = running
        self.ui.runBox.visible = running or not self.setupNeeded
        self.ui.setupBox.visible = self.setupNeeded and not running
        for follow in self.followers:
            follow()

    def _watch(self, *nodes: Any) -> None:
        watched = tuple(dict.fromkeys(nodes))
        if watched != self._watched:
            self._watched = watched
            self.removeObservers()  # all of them: removing those of one method would keep the nodes
            for node, event in ((node, event) for node in watched if node for event in NODE_EVENTS):
                self.addObserver(node, event, self.update)

    def readModels(self) -> None:
        """Read the list of installed models again."""
        self.models.installed.read()
        self.update()

    def enter(self) -> None:
        """The module is opened: the volume in view and the installed models may have changed."""
        if self.models.installed.changed():
            self.readModels()
        self.followRed()

    def onImport(self) -> None:
        """Import a model from a .zip, the metadata.json of a bundle folder, or the plans.json of nnU-Net's results."""
        kinds = _("Model ({patterns})").format(patterns="*.zip metadata.json plans.json")
        chosen = qt.QFileDialog.getOpenFileName(self.ui.importButton, _("Import model"), "", kinds)
        if not chosen:
            return
        source = imports.source_of(chosen)
        try:
            offers = imports.offers(source)
        except MedTLError as error:
            self.showMessage(str(error))
            return
        question = _("Which part of {name} shall be imported?").format(name=source.name)
        number = askChoice(self.ui.importButton, question, [text for text, _choices in offers])
        if number is not None:
            choices = offers[number][1]
            self.run.begin(ImportJob, lambda root: imports.begin(source, choices, self.task, root), self.onImported)
            self.update()

    def onImported(self, name: str | None) -> None:
        """List the new model."""
        if name is not None:
            self.readModels()

    # The input of a job

    def withoutTransform(self, volume: Any) -> Any:
        """The volume; under a transform a hardened copy, which becomes the input, if the user agrees.

        Raises: InputError when the user does not agree, or the transform leaves no grid that can be used.
        """
        transform = volume.GetParentTransformNode()
        if transform is not None:
            text = _("{volume} is under the transform {transform}. Use a hardened copy as the input?")
            if not confirm(text.format(volume=volume.GetName(), transform=transform.GetName())):
                scene.check_volume(volume)  # raises, and says what to do
            volume = self.parameters.inputVolume = hardened_copy(volume)
        return volume
