"""What changed: added and taken away in two colours over the slice views, and the list of slices."""

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from medtl.counted import counted
from medtl.errors import InputError
from MedTLLib.mrml import views
from MedTLLib.mrml.tags import card_of
from MedTLLib.prediction.writer import Written
from MedTLLib.results.changes import (
    Changes,
    Overlay,
    State,
    before_prediction,
    changes_since,
    last_prediction,
    saved_file,
)
from MedTLLib.results.compare import ChangedSlice
from MedTLLib.results.volume_table import has_real_spacing

from .form import enable, fitList, showText

LISTED = 50  # slices
PAUSE_MS = 600  # after the last change, as in the SEEDs panel


class ChangesPanel(VTKObservationMixin):  # type: ignore[misc]
    """Compares the segmentation of Results with an earlier state while its button is pressed. `volume()` is what it is
    measured on, or raises InputError."""

    def __init__(self, ui: Any, volume: Callable[[], Any]) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.volume = ui, volume
        self.overlay = Overlay()
        self.slices: tuple[ChangedSlice, ...] = ()
        self._segmentation: Any = None
        self._written: Written | None = None
        self._states: dict[str, State] = {}
        self._problem = ""  # why there is none
        self._shown = False  # also while another module is open, where the panel is not visible
        ui.changesButton.connect("toggled(bool)", self.onToggled)
        ui.sinceCombo.connect("currentIndexChanged(int)", self.onSince)
        ui.changesList.connect("itemClicked(QListWidgetItem*)", self.onSlice)
        ui.changesList.connect("itemActivated(QListWidgetItem*)", self.onSlice)
        self._pause = qt.QTimer(ui.changesBox)
        self._pause.setSingleShot(True)
        self._pause.connect("timeout()", self.refresh)

    def update(self, segmentation: Any, written: Written | None) -> None:
        """Compare this segmentation; `written` is the last result of this session."""
        other = segmentation is not self._segmentation or written is not self._written
        self._segmentation, self._written = segmentation, written
        help = _("Show what was added (blue) and taken away (orange) over the slice views, and list the slices.")
        enable(self.ui.changesButton, "" if segmentation is not None else _("There is no result yet."), help)
        if self.ui.changesButton.checked and other:
            self.begin()

    def end(self) -> None:
        """Show nothing: the scene is closed."""
        self.ui.changesButton.checked = False
        self._segmentation = self._written = None

    def onToggled(self, shown: bool) -> None:
        """Begin or end to show the changes."""
        self.begin()

    def begin(self) -> None:
        """Find the states that can be compared with, and show the changes since the first; or show nothing."""
        self.removeObservers()
        self.overlay.close()
        self.slices, self._states = (), {}
        self._shown = bool(self.ui.changesButton.checked and self._segmentation is not None)
        self.ui.changesBox.visible = self._shown
        blocked = self.ui.sinceCombo.blockSignals(True)
        self.ui.sinceCombo.clear()
        self._problem = str(_("There is no earlier state to compare with: no prediction, and no file."))
        if self._shown:
            try:
                self._states = statesOf(self._segmentation, self.volume(), self._written)
            except InputError as error:
                self._problem = str(error)
            for text in self._states:
                self.ui.sinceCombo.addItem(text)
            for event in (slicer.vtkSegmentation.SourceRepresentationModified, slicer.vtkSegmentation.SegmentRemoved):
                self.addObserver(self._segmentation, event, self.onChange)
        self.ui.sinceCombo.blockSignals(blocked)
        self.ui.sinceCombo.visible = bool(self._states)
        self.refresh()

    def onSince(self, index: int) -> None:
        """Compare with another state."""
        self.refresh()

    def onChange(self, caller: Any, event: Any) -> None:
        """The segmentation changed: compare again when the user pauses."""
        self._pause.start(PAUSE_MS)

    def refresh(self) -> None:
        """Compare again and show it."""
        if not self._shown:
            return
        state, changes = self._states.get(str(self.ui.sinceCombo.currentText)), None
        known = has_real_spacing(self._segmentation)
        text = self._problem
        try:
            if state is not None:
                changes = changes_since(state, self._segmentation, card_of(self._segmentation))
                text = changesText(changes, known)
                self.overlay.show(changes)
        except InputError as error:
            text = str(error)
            self.overlay.close()
        showText(self.ui.changesLabel, text)
        self.slices = changes.slices if changes else ()
        self.ui.changesList.clear()
        for number, one in enumerate(self.slices[:LISTED]):
            item = qt.QListWidgetItem(sliceText(one, known))
            item.setData(qt.Qt.UserRole, number)
            self.ui.changesList.addItem(item)
        fitList(self.ui.changesList)
        self.ui.changesList.visible = bool(self.slices)

    def onSlice(self, item: Any) -> None:
        """Centre the views on the change in a slice."""
        number = int(item.data(qt.Qt.UserRole))
        if number < len(self.slices):
            views.jump(self.slices[number].centre_ras)


def statesOf(segmentation: Any, volume: Any, written: Written | None) -> dict[str, State]:
    """The states that a segmentation can be compared with, by their text in the list."""
    states = {
        _("Since before the last result"): before_prediction(segmentation, written),
        _("Since the last result: by hand"): last_prediction(segmentation, volume),
        _("Since its file"): saved_file(segmentation, volume),
    }
    return {str(text): state for text, state in states.items() if state is not None}


def changesText(changes: Changes, known: bool) -> str:
    """How much was added and taken away: mL where the spacing is known, else voxels."""
    counts = (int(changes.added.sum()), int(changes.removed.sum()))
    if not any(counts):
        return str(_("Nothing changed."))
    if known:
        amounts = [_("{ml} mL").format(ml=f"{count * changes.geometry.voxel_ml:.2f}") for count in counts]
    else:
        amounts = [counted(count, _("1 voxel"), _("{count} voxels")) for count in counts]
    slices = counted(len(changes.slices), _("1 slice"), _("{count} slices"))
    text = _("Added (blue): {added}. Taken away (orange): {removed}. {slices}:")
    return str(text.format(added=amounts[0], removed=amounts[1], slices=slices))


def sliceText(one: ChangedSlice, known: bool) -> str:
    """A slice, and how much was added and taken away: mm² where the spacing is known, else voxels."""
    share = one.mm2 / one.voxels if known else 1
    text = _("Slice {index}: +{added} −{removed} mm²") if known else _("Slice {index}: +{added} −{removed} voxels")
    return str(text.format(index=one.index, added=round(one.added * share), removed=round(one.removed * share)))
