"""The table of a case list: filtered, sorted, and filled where the user looks, so that ten thousand cases are quick."""

from collections.abc import Callable, Iterable
from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.worklist.case import STATES, ListedCase
from medtl.worklist.order import chosen

from .form import ResizeWatcher
from .texts import plainTip

PAUSE_MS = 150  # after the last letter of a search
ROWS = 6  # that are shown without scrolling
NARROW = 400  # pixels: then notes are not shown
COLUMNS = ("name", "state", "rating", "note")


class CaseTable:
    """Shows the cases that fit the search and the state, in the order of a column; `onOpen(name)` is called for a row
    that the user opens. `shown` are the cases in their order."""

    def __init__(self, ui: Any, onOpen: Callable[[str], None]) -> None:
        self.ui, self.onOpen = ui, onOpen
        self.shown: list[ListedCase] = []
        self._cases: tuple[ListedCase, ...] = ()
        self._current = ""
        self._column, self._descending = "", False
        table = ui.caseTable
        table.setColumnCount(len(COLUMNS))
        table.setHorizontalHeaderLabels([_("Case"), _("State"), _("Rating"), _("Note")])
        header = table.horizontalHeader()
        header.highlightSections = False
        header.setSectionsClickable(True)
        header.setSectionResizeMode(qt.QHeaderView.Interactive)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.verticalHeader().visible = False
        table.setWordWrap(False)
        table.textElideMode = qt.Qt.ElideMiddle  # names of a study often begin alike
        table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + 8)
        header.connect("sectionClicked(int)", self.onHeader)
        table.connect("cellDoubleClicked(int,int)", self.onRow)
        table.connect("cellActivated(int,int)", self.onRow)
        table.verticalScrollBar().connect("valueChanged(int)", lambda value: self._fillVisible())
        self._watcher = ResizeWatcher(table, self.onResize)
        ui.stateFilterCombo.addItem(_("All states"), "")
        for state in STATES:
            ui.stateFilterCombo.addItem(stateText(state), state)
        ui.stateFilterCombo.connect("currentIndexChanged(int)", lambda index: self.update())
        self._pause = qt.QTimer(table)
        self._pause.setSingleShot(True)
        self._pause.connect("timeout()", self.update)
        ui.caseSearch.connect("textChanged(QString)", lambda text: self._pause.start(PAUSE_MS))

    def setCases(self, cases: Iterable[ListedCase], current: str) -> None:
        """Show these cases, with the row of the current one selected."""
        self._cases, self._current = tuple(cases), current
        self.update()

    def setCase(self, case: ListedCase, current: str) -> None:
        """Show one case as it is now; the rows stay as they are, so that none jumps away under the pointer."""
        self._cases = tuple(case if each.name == case.name else each for each in self._cases)
        row = next((n for n, each in enumerate(self.shown) if each.name == case.name), None)
        if row is not None:
            self.shown[row] = case
            self._fillRow(row)
        if current != self._current:
            self._current = current
            self._select()

    def update(self) -> None:
        """Filter and sort again."""
        self._pause.stop()
        text, state = str(self.ui.caseSearch.text), str(self.ui.stateFilterCombo.currentData or "")
        self.shown = chosen(self._cases, text, state, self._column, self._descending)
        table = self.ui.caseTable
        table.clearContents()
        table.setRowCount(len(self.shown))
        for column in (1, 2, 3):
            table.setColumnWidth(column, self._width(column))
        rows = min(max(len(self.shown), 1), ROWS)
        height = table.verticalHeader().defaultSectionSize
        table.setFixedHeight(table.horizontalHeader().sizeHint.height() + rows * height + 2 * table.frameWidth)
        self._select()
        self._fillVisible()

    def _width(self, column: int) -> int:
        """The width of a column: that of its longest usual text."""
        metrics = self.ui.caseTable.fontMetrics()
        texts = {1: [stateText(state) for state in STATES], 2: [_("Rating")], 3: [_("Note"), "xxxxxx"]}[column]
        return int(max(metrics.boundingRect(str(text)).width() for text in texts)) + 16

    def _select(self) -> None:
        row = next((n for n, case in enumerate(self.shown) if case.name == self._current), None)
        if row is None:
            self.ui.caseTable.clearSelection()
            return
        self.ui.caseTable.selectRow(row)
        self.ui.caseTable.scrollTo(self.ui.caseTable.model().index(row, 0))

    def _fillVisible(self) -> None:
        """Fill the rows that the user sees."""
        table = self.ui.caseTable
        first = max(table.rowAt(0), 0)
        for row in range(first, min(first + ROWS + 2, len(self.shown))):
            if table.item(row, 0) is None:
                self._fillRow(row)

    def _fillRow(self, row: int) -> None:
        case = self.shown[row]
        rating = "" if case.rating is None else str(case.rating)
        for column, text in enumerate((case.name, stateText(case.state), rating, case.note)):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(plainTip(text))
            self.ui.caseTable.setItem(row, column, item)

    def onHeader(self, column: int) -> None:
        """Sort by this column: rising, falling, then the list's own order again."""
        name = COLUMNS[column]
        if self._column != name:
            self._column, self._descending = name, False
        elif not self._descending:
            self._descending = True
        else:
            self._column = ""
        header = self.ui.caseTable.horizontalHeader()
        header.setSortIndicatorShown(bool(self._column))
        header.setSortIndicator(column, qt.Qt.DescendingOrder if self._descending else qt.Qt.AscendingOrder)
        self.update()

    def onResize(self) -> None:
        """The table has another size."""
        self.ui.caseTable.setColumnHidden(COLUMNS.index("note"), self.ui.caseTable.width < NARROW)
        self._fillVisible()

    def onRow(self, row: int, column: int) -> None:
        """Open the case of a row."""
        if 0 <= row < len(self.shown):
            self.onOpen(self.shown[row].name)


def stateText(state: str) -> str:
    """A state in words."""
    words = {
        "open": _("open"),
        "segmented": _("segmented"),
        "corrected": _("corrected"),
        "reviewed": _("reviewed"),
        "rejected": _("rejected"),
    }
    return str(words[state])
