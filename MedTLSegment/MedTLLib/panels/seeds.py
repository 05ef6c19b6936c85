"""SEED slices: the user corrects a slice, then marks the whole slice as right."""

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from medtl.errors import InputError
from medtl.model.card import ModelCard
from MedTLLib.mrml import editors, views
from MedTLLib.seeds import marks, slice_view, slices

from .correct import CorrectPanel
from .form import enable, fitList, showText
from .keys import Key
from .models import ModelPanel
from .results import ResultsPanel
from .run import NODE_EVENTS
from .shortcuts import HOLD_TO_COMPARE, SLICE_IS_RIGHT, withKeys
from .texts import sliceText, stateText

SEEDS = 5  # proposed; the user may mark more
PAUSE_MS = 600  # after the last change: reading 512×512×300 voxels takes 0.3 s, which would delay a brush

# Events of the segmentation and its volume that may change marks and edits.
EVENTS = (*NODE_EVENTS, slicer.vtkSegmentation.SourceRepresentationModified)

MARK = _("Mark the slice in view as a SEED: all of it is right. Then go to the next one.")
TURNED = _("The views were turned to the slices of the volume. Look at the whole slice, then mark it again.")
AWAY = _("No slice of the volume is in view. Press Next slice.")
HIDDEN = _("{name} is hidden. Show it (release the key {key}), then mark the slice again.")

Case = tuple[Any, Any, ModelCard]  # the segmentation, its volume, the chosen model's card


class SeedsPanel(VTKObservationMixin):  # type: ignore[misc]
    """Works on the segmentation of Results and the chosen model. Does nothing while it is folded or hidden."""

    def __init__(self, ui: Any, models: ModelPanel, results: ResultsPanel) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.models, self.results = ui, models, results
        self.correct = CorrectPanel(ui)
        self.entered = False
        self.case: Case | None = None
        self.marked, self.edited = marks.Marks(()), tuple[int, ...]()
        self.hint = ""  # the message of the last action
        self._reason = ""  # why there is no case
        self._watched: tuple[Any, ...] = ()
        self._rows: list[tuple[int, str]] | None = None
        self._corner = ""  # the name of the view whose corner has our text
        ui.seedsBox.connect("contentsCollapsed(bool)", self.onFold)
        ui.markButton.connect("clicked()", self.onMark)
        ui.unmarkButton.connect("clicked()", self.onUnmark)
        ui.nextSliceButton.connect("clicked()", self.onNext)
        ui.correctButton.connect("toggled(bool)", self.onCorrect)
        ui.seedsList.connect("itemClicked(QListWidgetItem*)", self.onItem)
        ui.seedsList.connect("itemActivated(QListWidgetItem*)", self.onItem)
        self._key = Key(SLICE_IS_RIGHT, ui.seedsBox, self.onMark)
        self._pause = qt.QTimer(ui.seedsBox)
        self._pause.setSingleShot(True)
        self._pause.connect("timeout()", self.refresh)

    # Active or not

    @property
    def active(self) -> bool:
        """Whether the module is open and this section unfolded."""
        return self.entered and not self.ui.seedsBox.collapsed

    def enter(self) -> None:
        """The module is opened."""
        self.entered = True
        self.onFold()

    def exit(self) -> None:
        """Another module is opened: release the key, the text in a view and the observers."""
        self.entered = False
        self.onFold()

    def onFold(self) -> None:
        """Start, or stop where this section is folded or the module is left."""
        self._key.listen(self.active)
        if self.active:
            self.refresh()
        else:
            self._stop()

    def sceneClosed(self) -> None:
        """The scene goes away: stop."""
        self.ui.correctButton.checked = False
        self._stop()

    def _stop(self) -> None:
        self._pause.stop()
        self.correct.close()
        self.case, self._reason, self.hint = None, "", ""
        self._watch()
        self._write("", "")

    def update(self) -> None:
        """Follow the choice of volume, model and segmentation."""
        if self.active and self._findCase() != (self.case, self._reason):
            self.refresh()

    # The case

    def _findCase(self) -> tuple[Case | None, str]:
        """The case, and an empty text; or None, and why there is none."""
        segmentation, entry = self.results.segmentation(), self.models.chosen()
        if segmentation is None:
            return None, _("There is no result yet. Press Segment, or choose a segmentation.")
        if entry is None or entry.card is None:
            return None, _("No model is chosen.")
        try:
            volume = self.results.volume()
            slices.check_labels(segmentation, volume, entry.card)
        except InputError as error:
            return None, str(error)
        return (segmentation, volume, entry.card), ""

    def refresh(self) -> None:
        """Read the case again and show it."""
        self._pause.stop()
        before = self.case
        self.case, self._reason = self._findCase()
        self.marked, self.edited = marks.Marks(()), ()
        if self.case is None:
            p = self.results.parameters
            self._watch(*((p.resultSegmentation, p.inputVolume) if p else ()))
        else:
            nodes = views.slice_nodes()
            self._watch(*self.case[:2], *nodes, *map(views.logic_of, nodes))
            self.marked, self.edited = marks.read_marks(*self.case), marks.edited(*self.case)
        if self.case != before:
            self.hint = ""
            if self.case is not None and self.ui.correctButton.checked:
                self.correct.open(*self.case)
            else:
                self.correct.close()
        self._show()

    def _watch(self, *nodes: Any) -> None:
        """Observe these nodes and no others."""
        if nodes != self._watched:
            self._watched = nodes
            self.removeObservers()
            for node in (node for node in nodes if node):
                if node.IsA("vtkMRMLSliceNode") or node.IsA("vtkMRMLSliceLogic"):
                    self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onView)
                else:
                    for event in EVENTS:
                        self.addObserver(node, event, self.onChange)

    def onChange(self, caller: Any, event: str) -> None:
        """Something changed: read it when the user pauses, because one stroke of a brush fires several events."""
        self._pause.start(PAUSE_MS)

    def onView(self, caller: Any, event: str) -> None:
        """A view moved, or shows something else."""
        self._show()

    # What is shown

    def _show(self) -> None:
        node = slice_view.view_of(*self.case[1:]) if self.case else None
        k = slice_view.slice_of(*self.case[1:]) if self.case else None
        name, counted = node.GetLayoutName() if node else "", countText(self.marked)
        sentences = [_("Correct a slice, then mark the whole slice as right. {counted}.").format(counted=counted)]
        if name:
            sentences.append(_("The {view} view shows the slice to mark.").format(view=name))
        showText(self.ui.seedsLabel, " ".join(sentences))
        showText(
            self.ui.seedsMessageLabel,
            " ".join(text for text in (self._reason, self.hint, *self.marked.warnings) if text),
        )
        states = {m.index: stateText(m) for m in self.marked.marks}
        none = "" if k in states else _("The slice in view is not a SEED.")
        states.update({n: _("edited, not marked") for n in self.edited if n not in states})  # below the marked ones
        self._list([*states.items()])
        enable(self.ui.markButton, self._reason or ("" if k is not None else AWAY), withKeys(MARK, SLICE_IS_RIGHT))
        enable(self.ui.unmarkButton, self._reason or none, _("Unmark the slice in view. No voxel changes."))
        enable(self.ui.nextSliceButton, self._reason, _("Show the next slice that is proposed."))
        enable(self.ui.correctButton, self._reason, _("Paint and erase in the slice views."))
        # On another image the text would seem to belong to that one.
        if k is None or self.case is None or not views.shows(node, self.case[1]):
            self._write("", "")
        else:
            self._write(name, f"{counted}\n{sliceText(k, states.get(k, _('not marked')))}")

    def _list(self, rows: list[tuple[int, str]]) -> None:
        if rows != self._rows:
            self._rows = rows
            self.ui.seedsList.clear()
            for k, text in rows:
                item = qt.QListWidgetItem(sliceText(k, text))
                item.setData(qt.Qt.UserRole, k)
                self.ui.seedsList.addItem(item)
            fitList(self.ui.seedsList)
        self.ui.seedsList.visible = bool(rows)

    def _write(self, name: str, text: str) -> None:
        """Write into the corner of this view and clear that of the last one."""
        if self._corner not in ("", name):
            views.write_in_corner(self._corner, "")
        self._corner = name
        if name:
            views.write_in_corner(name, text)

    # What the user does

    def onMark(self) -> None:
        """Mark the slice in view as a SEED and go to the next."""
        self._act(self._mark)

    def onUnmark(self) -> None:
        """Unmark the slice in view."""
        self._act(self._unmark)

    def onNext(self) -> None:
        """Go to the next slice that is proposed."""
        self._act(self._next)

    def onItem(self, item: Any) -> None:
        """Go to the slice of a row."""
        k = int(item.data(qt.Qt.UserRole))
        self._act(lambda case: self._go(case, k))

    def onCorrect(self, wanted: bool) -> None:
        """Open the editor, or close it."""
        if wanted:
            self._act(self._correct)
        else:
            self.correct.close()

    def _act(self, step: Callable[[Case], str]) -> None:
        """Do the step of a button, then read the case again; an error is shown as a sentence."""
        hint = ""
        if self.case is not None:
            try:
                hint = step(self.case)
            except InputError as error:
                hint = str(error)
        self.refresh()
        self.hint = hint
        self._show()

    def _mark(self, case: Case) -> str:
        display = case[0].GetDisplayNode()
        if display is not None and not display.GetVisibility():
            return str(HIDDEN.format(name=case[0].GetName(), key=HOLD_TO_COMPARE.keys))
        if slice_view.turn(*case[1:]):
            return str(TURNED)
        k = slice_view.slice_of(*case[1:])
        if k is None:
            return str(AWAY)
        marks.mark(*case, k, before=lambda: editors.open_editor(case[0]))
        return self._next(case)

    def _unmark(self, case: Case) -> str:
        k = slice_view.slice_of(*case[1:])
        if k is not None:
            marks.unmark(*case, k, before=lambda: editors.open_editor(case[0]))
        return ""

    def _next(self, case: Case) -> str:
        here = slice_view.slice_of(*case[1:])
        k = marks.next_slice(*case, -1 if here is None else here, SEEDS)
        return str(_("No further slice is proposed.")) if k is None else self._go(case, k)

    def _go(self, case: Case, k: int) -> str:
        slice_view.go(*case[1:], k)
        return ""

    def _correct(self, case: Case) -> str:
        self.correct.open(*case)
        slice_view.turn(*case[1:])
        return ""


def countText(marked: marks.Marks) -> str:
    """The number of SEEDs: "4 of 5 SEEDs, 1 to mark again"."""
    stale = sum(mark.stale for mark in marked.marks)
    right = len(marked.marks) - stale
    text = _("{right} of {count} SEEDs") if right <= SEEDS else _("{right} SEEDs")
    again = _(", {stale} to mark again").format(stale=stale) if stale else ""
    return str(text.format(right=right, count=SEEDS) + again)
