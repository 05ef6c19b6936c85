"""The doubt of a result: its uncertainty in colours over the slices, a legend, and the most doubtful slices."""

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.doubt import DoubtfulSlice, coloured
from medtl.errors import InputError
from MedTLLib.mrml import overlays, views
from MedTLLib.results import doubt
from MedTLLib.results.volume_table import has_real_spacing

from .form import ResizeWatcher, enable, fitList, showText
from .keys import Key
from .shortcuts import DOUBT_BACK, DOUBT_NEXT, withKeys


class DoubtPanel:
    """Shows the uncertainty of the segmentation of Results while its button is pressed. `volume()` is what it was made
    on, or raises InputError."""

    def __init__(self, ui: Any, volume: Callable[[], Any]) -> None:
        self.ui, self.volume = ui, volume
        self.slices: tuple[DoubtfulSlice, ...] = ()
        self.segmentation: Any = None
        self.entered = True
        self._keys = [
            Key(DOUBT_NEXT, ui.doubtBox, lambda: self.step(1)),
            Key(DOUBT_BACK, ui.doubtBox, lambda: self.step(-1)),
        ]
        self._resized = ResizeWatcher(ui.doubtScaleLabel, self.drawScale)
        ui.doubtButton.connect("toggled(bool)", self.onToggled)
        ui.doubtList.connect("itemClicked(QListWidgetItem*)", self.onSlice)
        ui.doubtList.connect("itemActivated(QListWidgetItem*)", self.onSlice)

    def update(self, segmentation: Any) -> None:
        """Show that of this segmentation."""
        reason = doubt.why_not(segmentation)
        other = segmentation is not self.segmentation
        self.segmentation = segmentation
        if self.ui.doubtButton.checked and (reason or other or not overlays.shown(doubt.volume_of(segmentation))):
            self.ui.doubtButton.checked = False
        help = _("Show in colours over the slices where the model is undecided, and list the most doubtful slices.")
        enable(self.ui.doubtButton, reason, withKeys(help, DOUBT_NEXT, DOUBT_BACK))

    def listen(self, entered: bool) -> None:
        """Use the keys while the module is open."""
        self.entered = entered
        for key in self._keys:
            key.listen(entered and bool(self.slices))

    def close(self) -> None:
        """Show nothing."""
        self.ui.doubtButton.checked = False

    def onToggled(self, shown: bool) -> None:
        """Show the uncertainty, or restore the foreground."""
        self.slices = ()
        if shown:
            try:
                overlays.show(doubt.volume_of(self.segmentation), self.volume())
                self.slices = doubt.slices_of(self.segmentation)
            except InputError as error:
                showText(self.ui.doubtLabel, str(error))
            else:
                showText(self.ui.doubtLabel, self._text())
        elif overlays.shown(doubt.volume_of(self.segmentation)):
            overlays.hide()
        self.ui.doubtList.clear()
        known = self.segmentation is not None and has_real_spacing(self.segmentation)
        for number, one in enumerate(self.slices):
            item = qt.QListWidgetItem(sliceText(one, known))
            item.setData(qt.Qt.UserRole, number)
            self.ui.doubtList.addItem(item)
        fitList(self.ui.doubtList)
        self.ui.doubtList.visible = bool(self.slices)
        self.ui.doubtBox.visible = shown
        self.listen(self.entered)
        self.drawScale()

    def _text(self) -> str:
        text = doubt.legend(self.segmentation)
        if not self.slices:
            return " ".join((text, _("No slice of the lesion is in doubt.")))
        keys = _("Most doubtful slices ({next}: next, {back}: back):")
        return " ".join((text, keys.format(next=DOUBT_NEXT.keys, back=DOUBT_BACK.keys)))

    def drawScale(self) -> None:
        """Draw the colours from sure to undecided as wide as the label."""
        width, height = max(self.ui.doubtScaleLabel.width, 2), max(self.ui.doubtScaleLabel.height, 1)
        picture = qt.QPixmap(width, height)
        painter = qt.QPainter()
        painter.begin(picture)
        for x in range(width):
            painter.fillRect(x, 0, 1, height, qt.QColor(*(int(part) for part in coloured(x / (width - 1)))))
        painter.end()
        self.ui.doubtScaleLabel.setPixmap(picture)

    def step(self, step: int) -> None:
        """Go to the next slice of the list, or back; from the last one to the first."""
        if self.slices:
            row = self.ui.doubtList.currentRow
            self._go((row + step) % len(self.slices) if row >= 0 else 0 if step > 0 else len(self.slices) - 1)

    def onSlice(self, item: Any) -> None:
        """Go to a slice of the list."""
        self._go(int(item.data(qt.Qt.UserRole)))

    def _go(self, number: int) -> None:
        if number < len(self.slices):
            self.ui.doubtList.setCurrentRow(number)
            views.jump(doubt.ras_of(self.slices[number]))


def sliceText(one: DoubtfulSlice, known: bool) -> str:
    """A slice and the area in doubt, where the spacing is known."""
    if not known:
        return str(_("Slice {index}").format(index=one.index))
    return str(_("Slice {index}: {amount} mm²").format(index=one.index, amount=round(one.mm2)))
