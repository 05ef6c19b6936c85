"""A model that Fine-tune made: its verdict, and what the user can do with it. Nothing happens without a click."""

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
    """Two choices: which model from now on, and whether the case's own result replaces the prediction."""

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
        """The scene goes away: the labels are of no use any more, the model is."""
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
            keeps = _("Its labels replace the prediction; slices that you edited or marked stay.")
            enable(self.ui.putButton, reason, keeps)
        parent = chosen.card.parent if chosen and chosen.card else None
        previous, shipped = self.previous(), self.shipped()
        self.ui.previousButton.visible = bool(previous)
        self.ui.shippedButton.visible = shipped not in ("", previous)
        for button, name in ((self.ui.previousButton, previous), (self.ui.shippedButton, shipped)):
            lost = "" if name in installed else _("{name} is not installed.").format(name=name)
            if button is self.ui.previousButton and parent and installed.get(name, parent.sha256) != parent.sha256:
                lost = _("The model that is called {name} now is another one.").format(name=name)
            enable(button, lost, _("Choose {name} again.").format(name=name))

    def previous(self) -> str:
        """The model that the chosen one was tuned from; empty where it was not."""
        found = self.segment.models.chosen()
        return found.card.parent.name if found and found.card and found.card.parent else ""

    def shipped(self) -> str:
        """The model that the line of the chosen one began with; empty where it is that one."""
        found = self.segment.models.chosen()
        return found.card.family if found and found.card and found.card.parent else ""

    def choose(self, name: str) -> None:
        """Make this the model from now on."""
        combo = self.ui.modelCombo
        index = combo.findData(name)
        if index < 0:
            self.showMessage(_("{name} does not fit this volume. Tick All models to choose it.").format(name=name))
            return
        combo.currentIndex = index
        self.segment.models.installed.prefer(name)
        self.showMessage(_("{name} is the model from now on.").format(name=name))
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
    """What is known of the new model, a line for each sentence."""
    text = verdictText(tuned.name, tuned.parent, tuned.record)
    return "\n".join((text, *tuned.warnings, str(_("Research use, not for diagnosis."))))
