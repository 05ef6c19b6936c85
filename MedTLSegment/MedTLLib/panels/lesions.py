"""The table of segments and lesions: centre the views on one, reject and accept it, split lesions and merge them."""

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from medtl.counted import counted
from medtl.errors import InputError
from MedTLLib.mrml import views
from MedTLLib.mrml.picking import PlacePicker
from MedTLLib.mrml.pieces import pieces_of
from MedTLLib.results import diameter_lines, splitting, volume_table
from MedTLLib.results.lesion_rows import Shown, is_piece, shown_rows, to_split
from MedTLLib.results.rejected import Rejected
from MedTLLib.results.rejection import Rejections, rejected_at, segment_at

from .form import ResizeWatcher, enable, fillTable, fitTable
from .texts import plainTip

NONE = "–"  # a figure that is not known
NARROW = 400  # px: below this width the surface is in the tool tip alone
AREA = 3  # its column
PICK = _("Click a lesion in a slice view to reject it, or a rejected one to accept it. Esc ends it.")


class LesionsPanel:
    """Shows the volume table of the segmentation of Results. `volume()` is what it is measured on, or raises
    InputError; `showMessage` shows a sentence below; `onMeasured()` is called when figures changed."""

    def __init__(
        self, ui: Any, volume: Callable[[], Any], showMessage: Callable[[str], None], onMeasured: Callable[[], None]
    ) -> None:
        self.ui, self.volume, self.showMessage, self.onMeasured = ui, volume, showMessage, onMeasured
        self.segmentation: Any = None
        self.rejections = Rejections()
        self.rows: list[Shown] = []
        self._filled: tuple[object, ...] | None = None
        self.picker = PlacePicker(self.onPlace, self.onPicked, lambda call: qt.QTimer.singleShot(0, call))
        self._resized = ResizeWatcher(ui.resultTable, self.onResize)
        ui.resultTable.connect("cellClicked(int,int)", self.onRow)
        ui.resultTable.connect("cellActivated(int,int)", self.onRow)
        ui.resultTable.connect("itemChanged(QTableWidgetItem*)", self.onTick)
        ui.resultTable.connect("itemSelectionChanged()", self.onMeasured)
        ui.pickButton.connect("toggled(bool)", self.onPick)
        ui.splitButton.connect("clicked()", self.onSplit)

    # What is shown

    @property
    def table(self) -> Any:
        """The volume table of the segmentation, or None."""
        return volume_table.table_of(self.segmentation)

    @property
    def chosen(self) -> Shown | None:
        """The row that is chosen, or None."""
        number = self.ui.resultTable.currentRow()
        return self.rows[number] if 0 <= number < len(self.rows) else None

    def update(self, segmentation: Any) -> None:
        """Show the table of this segmentation."""
        if segmentation is not self.segmentation:
            self.segmentation = segmentation
            self.ui.resultTable.setCurrentCell(-1, -1)
        self._fill()
        nothing = "" if self.rows else _("There is no table of lesions yet. Press Segment, or Update.")
        lesions = any(row.ticked is not None or is_piece(segmentation, row) for row in self.rows)
        help = _("Reject lesions by clicks in a slice view; a click on a rejected one accepts it again.")
        enable(self.ui.pickButton, nothing or ("" if lesions else _("There is no lesion to reject.")), help)
        owner = to_split(self.rows, segmentation, self.chosen) if self.rows else ""
        merges = bool(owner and pieces_of(segmentation, owner))
        self.ui.splitButton.text = _("Merge lesions") if merges else _("Split lesions")
        help = _("Make each lesion a segment of its own, with the same terminology and shades of the colour.")
        if merges:
            help = _("Put the lesions that were split off back into one segment.")
        enable(self.ui.splitButton, nothing or ("" if owner else _("This segment has not several lesions.")), help)

    def _fill(self) -> None:
        table, widget = self.table, self.ui.resultTable
        rejected = self.rejections.of(self.segmentation)
        key = (table.GetID(), table.GetMTime(), rejected) if table else ()
        if key == self._filled:
            return
        chosen = self.chosen
        self._filled, self.rows = key, shown_rows(table, self.segmentation, rejected)
        columns = (_("Segment"), _("mL"), _("mm × mm"), _("cm²"))
        blocked = widget.blockSignals(True)
        fillTable(widget, columns, [rowTexts(table, row) for row in self.rows], wide=0, numbers=1)
        for number, row in enumerate(self.rows):
            if row.ticked is not None:
                widget.item(number, 0).setCheckState(qt.Qt.Checked if row.ticked else qt.Qt.Unchecked)
            for column in range(len(columns)):
                widget.item(number, column).setToolTip(plainTip(rowTip(table, row)))
        same = [n for n, row in enumerate(self.rows) if chosen and row.segment_id == chosen.segment_id]
        same = [n for n in same if chosen and self.rows[n].lesion == chosen.lesion] or same
        widget.setCurrentCell(same[0] if same else -1, 0)
        widget.blockSignals(blocked)
        widget.visible = bool(self.rows)
        self.onResize()

    def onResize(self) -> None:
        """Show the surface where there is room for it."""
        self.ui.resultTable.setColumnHidden(AREA, self.ui.resultTable.width < NARROW)
        fitTable(self.ui.resultTable)

    # What the user does

    def onRow(self, number: int, column: int) -> None:
        """Centre the views on the segment or lesion of a row."""
        table = self.table
        if table is None or not 0 <= number < len(self.rows):  # deleted meanwhile
            self.onMeasured()
            return
        row = self.rows[number]
        try:
            centre = row.rejected.centre if row.rejected else volume_table.centre_of(table, row.row)
        except InputError as error:
            self.showMessage(str(error))
            return
        if centre is not None:
            views.jump(centre)
        elif row.lesion.startswith(volume_table.SMALL):
            text = _("Counted, not listed: parts under 0.01 mL or 3 voxels, and all but the {most} largest.")
            self.showMessage(text.format(most=volume_table.MOST))
        else:
            self.showMessage(_("This segment is empty."))

    def onTick(self, item: Any) -> None:
        """Reject the lesion of the row, or accept it again."""
        number, ticked = item.row(), item.checkState() == qt.Qt.Checked
        if 0 <= number < len(self.rows) and self.rows[number].ticked not in (None, ticked):
            row = self.rows[number]
            qt.QTimer.singleShot(0, lambda: self.toggle(row))  # not inside the signal: the table is filled anew

    def toggle(self, row: Shown) -> None:
        """Reject a lesion that is accepted, accept a rejected one."""
        place = volume_table.centre_of(self.table, row.row) if self.table is not None else None
        if row.rejected is not None:
            self._accept(row.rejected)
        elif place is not None:
            self._reject(row.segment_id, place)

    def onPick(self, wanted: bool) -> None:
        """Take clicks in the views, or no longer."""
        if wanted:
            self.picker.start()
            self.showMessage(PICK)
        elif self.picker.active:
            self.picker.stop()
            self.showMessage("")

    def onPicked(self) -> None:
        """The user ended it in the view."""
        self.ui.pickButton.checked = False
        self.showMessage("")

    def onPlace(self, place: tuple[float, float, float]) -> None:
        """Reject the lesion at the place (RAS mm), or accept the rejected one."""
        rejected = rejected_at(self.rejections.of(self.segmentation), place)
        if rejected is not None:
            self._accept(rejected)
            return
        try:
            segmentId = segment_at(self.segmentation, self.volume(), place)
        except InputError as error:
            self.showMessage(str(error))
            return
        if segmentId is None:
            self.showMessage(_("There is no lesion where you clicked. {help}").format(help=PICK))
        else:
            self._reject(segmentId, place)

    def _reject(self, segmentId: str, place: tuple[float, float, float]) -> None:
        def reject() -> str:
            rejected = self.rejections.reject(self.segmentation, self.volume(), segmentId, place)
            lines = diameter_lines.lines_of(self.segmentation, segmentId)
            diameter_lines.remove([each for each in lines if rejected.contains(diameter_lines.place_of(each))])
            text = _("Rejected: {amount}. It counts as an edit by hand. Tick it in the table to accept it again.")
            return str(text.format(amount=self._amount(rejected)))

        self.act(reject, segmentId)

    def _accept(self, rejected: Rejected) -> None:
        def accept() -> str:
            self.rejections.accept(rejected)
            return str(_("Accepted: {amount}.").format(amount=self._amount(rejected)))

        self.act(accept, rejected.segment_id)

    def _amount(self, rejected: Rejected) -> str:
        if volume_table.has_real_spacing(self.segmentation):
            return str(_("{ml} mL").format(ml=f"{rejected.ml:.2f}"))
        return counted(int(rejected.voxels.sum()), _("1 voxel"), _("{count} voxels"))

    def onSplit(self) -> None:
        """Split the lesions of the segment, or merge them."""
        owner = to_split(self.rows, self.segmentation, self.chosen)
        pieces = pieces_of(self.segmentation, owner) if owner else ()

        def split() -> str:
            if pieces:
                splitting.merge(self.segmentation, self.volume(), owner)
                return str(_("Merged: {count} segments.").format(count=len(pieces)))
            known = volume_table.has_real_spacing(self.segmentation)
            made = splitting.split(self.segmentation, self.volume(), owner, known)
            text = _("{count} segments, one a lesion. Merge them before you segment, mark SEEDs or fine-tune.")
            return str(text.format(count=len(made)))

        if owner:
            self.act(split, owner)

    def act(self, step: Callable[[], str], segmentId: str) -> None:
        """Do the step, measure the segment and what was split off it again, and show what was done, or why not."""
        try:
            with slicer.util.WaitCursor():
                text = step()
                only = {segmentId, *pieces_of(self.segmentation, segmentId)}
                diameter_lines.measure(self.segmentation, self.volume(), only)
        except InputError as error:
            text = str(error)
            self._filled = None  # a tick goes back to what is
        self.showMessage(text)
        self.onMeasured()

    # The module

    def exit(self) -> None:
        """Another module is opened: clicks mean again what they meant."""
        self.ui.pickButton.checked = False

    def sceneClosed(self) -> None:
        """Nothing can be accepted any more."""
        self.exit()
        self.rejections.clear()


def rowTexts(table: Any, row: Shown) -> list[str]:
    """What a row shows: a segment's name or "Lesion 1"; mL with two digits after the point, the two diameters in mm and
    the surface in cm² with one."""
    names = (volume_table.ML, volume_table.LONGEST, volume_table.PERPENDICULAR, volume_table.SURFACE)
    ml, mm, across, area = (volume_table.number_of(table, row.row, name) for name in names)
    if row.rejected is not None:  # the row is its segment's: that says whether mL are known
        return [str(_("Rejected")), NONE if ml != ml else f"{row.rejected.ml:.2f}", NONE, NONE]
    diameters = NONE if mm != mm or across != across else f"{mm:.1f} × {across:.1f}"
    return [rowName(table, row), NONE if ml != ml else f"{ml:.2f}", diameters, NONE if area != area else f"{area:.1f}"]


def rowName(table: Any, row: Shown) -> str:
    """A segment's name, "Lesion 1" or "3 smaller"."""
    if row.lesion == volume_table.ALL:
        return str(table.GetCellText(row.row, 0))
    if row.lesion.startswith(volume_table.SMALL):
        return str(_("{number} smaller").format(number=row.lesion.removeprefix(volume_table.SMALL)))
    return str(_("Lesion {number}").format(number=row.lesion))


def rowTip(table: Any, row: Shown) -> str:
    """All figures of a row, a line each."""
    if row.rejected is not None:
        return str(_("Rejected. Tick it to accept it again."))
    lines = [rowName(table, row)]
    for text, name in (
        (_("{n} mL"), volume_table.ML),
        (_("longest diameter in a slice {n} mm"), volume_table.LONGEST),
        (_("perpendicular to it {n} mm"), volume_table.PERPENDICULAR),
        (_("on slice {n}"), volume_table.SLICE),
        (_("surface {n} cm²"), volume_table.SURFACE),
        (_("largest diameter in 3D {n} mm"), volume_table.IN_3D),
    ):
        number = volume_table.number_of(table, row.row, name)
        lines += [] if number != number else [text.format(n=f"{number:.4g}")]
    return "\n".join(map(str, lines))
