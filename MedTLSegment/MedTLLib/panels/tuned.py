"""A model that Fine-tune made: its verdict, and the choices of the user."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from slicer.i18n import tr as _

from medtl.errors import InputError
from MedTLLib.jobs.finetune import Tuned, problem, put
from MedTLLib.jobs.segment import Finished

from .compare import ComparePanel
from .form import enable, showText
from .segment import SegmentPanel
from .texts import verdictText


class TunedPanel:
    """Two choices: which model to use from now on, and whether the result on the case replaces the prediction."""

    def __init__(self, ui: Any, segment: SegmentPanel, onFinished: Callable[[Finished], None]) -> None:
        self.ui, self.segment, self.onFinished = ui, segment, onFinished
        self.compare = ComparePanel(ui)
        self.tuned: Tuned | None = None
        ui.useButton.connect("clicked()", lambda: self.choose(self.tuned.name if self.tuned else ""))
        ui.previousButton.connect("clicked()", lambda: self.choose(self.previous()))
        ui.shippedButton.connect("clicked()", lambda: self.choose(self.shipped()))
        ui.putButton.connect("clicked()", self.onPut)

    def show(self, tuned: Tuned | None) -> None:
        """List the new model and offer what can be done with it; None for none."""
        self.tuned = tuned
        self.compare.end()
        if tuned is not None:
            self.segment.readModels()
            if not problem(tuned):
                self.compare.begin(tuned, self.segment.models.installed.entry(tuned.name))
        self.update()

    def sceneClosed(self) -> None:
        """The scene is closed: the labels are of no use any more, but the model is."""
        self.compare.end()
        if self.tuned is not None:
            self.tuned = replace(self.tuned, labelmap=None)
        self.update()

    def update(self) -> None:
        """Show what can be done."""
        done, chosen = self.tuned, self.segment.models.chosen()
        installed = {entry.name: entry.card.sha256 for entry in self.segment.models.installed.entries if entry.card}
        showText(self.ui.verdictLabel, verdict(done) if done else "")
        self.ui.useButton.visible = done is not None
        # A job on several cases has no result: there the button is shown with the reason.
        self.ui.putButton.visible = done is not None and (done.labelmap is not None or len(done.used) > 1)
        if done is not None:
            used = _("This model is in use.") if chosen and chosen.name == done.name else ""
            gone = "" if done.name in installed else _("The model was deleted.")
            enable(self.ui.useButton, gone or used, _("Segment and Fine-tune with {name}.").format(name=done.name))
            reason = problem(done)
            if reason:
                self.compare.end()
            reason = self.segment.run.why_busy or reason
            keeps = _("Its labels replace the prediction. Slices that you edited or marked as right stay.")
            enable(self.ui.putButton, reason, keeps)
        parent = chosen.card.parent if chosen and chosen.card else None
        previous, shipped = self.previous(), self.shipped()
        self.ui.previousButton.visible = bool(previous)
        self.ui.shippedButton.visible = shipped not in ("", previous)
        for button, name in ((self.ui.previousButton, previous), (self.ui.shippedButton, shipped)):
            lost = "" if name in installed else _("{name} is not installed.").format(name=name)
            if button is self.ui.previousButton and parent and installed.get(name, parent.sha256) != parent.sha256:
                lost = _("{name} is now another model of the same name.").format(name=name)
            enable(button, lost, _("Choose {name} again.").format(name=name))

    def previous(self) -> str:
        """The parent of the chosen model; empty where it has none."""
        entry = self.segment.models.chosen()
        return entry.card.parent.name if entry and entry.card and entry.card.parent else ""

    def shipped(self) -> str:
        """The first ancestor of the chosen model; empty where it has none."""
        entry = self.segment.models.chosen()
        return entry.card.family if entry and entry.card and entry.card.parent else ""

    def choose(self, name: str) -> None:
        """Make this the model from now on."""
        combo = self.ui.modelCombo
        index = combo.findData(name)
        if index < 0:
            self.showMessage(_("{name} does not fit this volume. Tick All models to choose it.").format(name=name))
            return
        combo.currentIndex = index
        self.segment.models.installed.prefer(name)
        self.showMessage(_("{name} is used from now on.").format(name=name))
        self.update()

    def onPut(self) -> None:
        """Write the labels of the run into the segmentation that was marked."""
        done = self.tuned
        if done is None:
            return
        self.compare.show(False)
        try:
            finished = put(done)
        except InputError as error:
            self.showMessage(str(error))
            self.update()
            return
        self.compare.end()
        self.tuned = replace(done, labelmap=None)
        self.showMessage(
            _("The result is in {name}. Undo is under Results.").format(name=finished.segmentation.GetName())
        )
        self.onFinished(finished)
        self.update()

    def showMessage(self, text: str) -> None:
        """Show a sentence below the button of Fine-tune."""
        showText(self.ui.tuneStatusLabel, text)


def verdict(tuned: Tuned) -> str:
    """The verdict on the new model and its warnings, one sentence a line."""
    text = verdictText(tuned.name, tuned.parent, tuned.record)
    return "\n".join((text, *tuned.warnings, str(_("Research use, not for diagnosis."))))
