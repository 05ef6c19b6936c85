"""Old and new: shows the new result while a key or a button is held, and lists the slices that change most."""

from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.counted import counted
from medtl.errors import InputError
from medtl.model.store import ModelEntry
from medtl.volume import array_axis
from MedTLLib.jobs import finetune
from MedTLLib.mrml import views
from MedTLLib.results.compare import ChangedSlice, Comparison
from MedTLLib.results.volume_table import has_real_spacing

from .form import enable, fitList
from .hold import HeldKey
from .shortcuts import HOLD_TO_COMPARE, withKeys

LISTED = 10  # slices


class ComparePanel:
    """Shown while a result is not yet put into its segmentation."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.comparison: Comparison | None = None
        self.slices: tuple[ChangedSlice, ...] = ()
        self._entered = False
        self.key = HeldKey(HOLD_TO_COMPARE, ui.finetuneBox, self.show)
        help = _("Hold this button to show the new result in place of the segmentation.")
        enable(ui.holdButton, "", withKeys(help, HOLD_TO_COMPARE))
        ui.holdButton.connect("pressed()", lambda: self.show(True))
        ui.holdButton.connect("released()", lambda: self.show(False))
        ui.changedList.connect("itemClicked(QListWidgetItem*)", self.onSlice)
        ui.changedList.connect("itemActivated(QListWidgetItem*)", self.onSlice)
        self.end()

    def begin(self, tuned: finetune.Tuned, entry: ModelEntry | None) -> None:
        """Compare a run's result with the segmentation that was marked; `entry` is its model."""
        self.end()
        segmentation = finetune.segmentation_of(tuned)
        if segmentation is None or tuned.labelmap is None or entry is None or entry.card is None:
            return
        try:
            self.comparison = Comparison(segmentation, tuned.labelmap)
            axis = array_axis(tuned.labelmap.geometry, entry.card.input.plane)
            self.slices = self.comparison.changed(axis)[:LISTED]
        except InputError:  # the segmentation does not fit any more; `finetune.problem` says why
            self.end()
            return
        known = has_real_spacing(segmentation)
        for number, one in enumerate(self.slices):
            item = qt.QListWidgetItem(changedText(one, known))
            item.setData(qt.Qt.UserRole, number)
            self.ui.changedList.addItem(item)
        fitList(self.ui.changedList)
        self.ui.changedCaption.text = _("Slices that change most:") if self.slices else _("No slice changes.")
        self.ui.changedList.visible = bool(self.slices)
        self.ui.compareBox.visible = True
        self.listen(self._entered)

    def end(self) -> None:
        """Show only the old segmentation."""
        if self.comparison is not None:
            self.comparison.close()
        self.comparison, self.slices = None, ()
        self.ui.changedList.clear()
        self.ui.compareBox.visible = False
        self.key.listen(False)

    def listen(self, entered: bool) -> None:
        """Use the key while the module is open and there is something to compare."""
        self._entered = entered
        self.key.listen(entered and self.comparison is not None)
        if not entered:
            self.show(False)

    def show(self, new: bool) -> None:
        """Show the new result, or the old one."""
        if self.comparison is not None:
            self.comparison.show(new)

    def onSlice(self, item: Any) -> None:
        """Centre the views on the change in a slice."""
        number = int(item.data(qt.Qt.UserRole))
        if number < len(self.slices):
            views.jump(self.slices[number].centre_ras)


def changedText(one: ChangedSlice, known: bool) -> str:
    """A slice and the area that changes: mm² where the spacing is known, else voxels."""
    amount = counted(one.voxels, _("1 voxel"), _("{count} voxels"))
    if known:
        amount = _("{count} mm²").format(count=round(one.mm2))
    return str(_("Slice {index}: {amount}").format(index=one.index, amount=amount))
