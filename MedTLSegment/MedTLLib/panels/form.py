"""Functions for widgets that all panels use. Text from files is always shown as plain text."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedTLLib.results.save_path import chosen_path

from .texts import plainTip

ROWS = 10  # of a table or list that are shown without scrolling


def enable(button: Any, reason: str, help: str) -> None:
    """Enable a button, or disable it with the reason as its tool tip."""
    button.enabled = not reason
    button.toolTip = plainTip(reason or help)


def showText(label: Any, text: str) -> None:
    """Show a text in a label; without one the label is hidden."""
    label.textFormat = qt.Qt.PlainText
    label.text = text
    label.visible = bool(text)


def confirm(question: str) -> bool:
    """Whether the user agrees; the question may contain names and paths."""
    return bool(slicer.util.confirmOkCancelDisplay(question, _("MedTL"), textFormat=qt.Qt.PlainText))


def askSavePath(button: Any, title: str, suggested: Path, formats: Sequence[str]) -> Path | None:
    """The path to save to, ending in one of the formats; None where the user chose none.

    No file is replaced without a question.
    """
    kinds = ";;".join(f"*{suffix}" for suffix in formats)
    chosen = qt.QFileDialog.getSaveFileName(button, title, str(suggested), kinds)
    if not chosen:
        return None
    path, unasked = chosen_path(chosen, formats)
    question = _("{path} exists already. Replace it?").format(path=path)
    return None if unasked and not confirm(question) else path


def fillTable(table: Any, columns: Sequence[str], rows: Sequence[Sequence[str]], wide: int, numbers: int) -> None:
    """Fill a QTableWidget, as high as its rows, up to ten.

    Column `wide` takes the remaining width; from column `numbers` on, text is right-aligned. The tool tip of a cell is
    its text, because a narrow column cuts it.
    """
    table.clear()
    table.setColumnCount(len(columns))
    table.setHorizontalHeaderLabels(list(columns))
    table.setRowCount(len(rows))
    for row, texts in enumerate(rows):
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(plainTip(text))
            if column >= numbers:
                item.setData(qt.Qt.TextAlignmentRole, int(qt.Qt.AlignRight | qt.Qt.AlignVCenter))
            table.setItem(row, column, item)
    header = table.horizontalHeader()
    header.highlightSections = False
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(wide, qt.QHeaderView.Stretch)
    table.verticalHeader().visible = False
    fitTable(table)


def fitTable(table: Any) -> None:
    """Make the rows of a QTableWidget as high as their texts, which may take several lines, and the table as high as
    its rows, up to ten."""
    table.resizeRowsToContents()
    heights = [table.rowHeight(row) for row in _shown(table.rowCount)] or [table.verticalHeader().defaultSectionSize]
    table.setFixedHeight(table.horizontalHeader().sizeHint.height() + sum(heights) + 2 * table.frameWidth)


def fitList(shown: Any) -> None:
    """Make a QListWidget as high as its rows, up to ten, and as one row where it has none."""
    rows = [shown.sizeHintForRow(row) for row in _shown(shown.count)]
    shown.setFixedHeight(sum(rows or [shown.fontMetrics().height()]) + 2 * shown.frameWidth)


class ResizeWatcher(qt.QWidget):  # type: ignore[misc]
    """Calls `onResize()` after the widget got another size: PythonQt's widgets do not call a resizeEvent in Python."""

    def __init__(self, widget: Any, onResize: Callable[[], None]) -> None:
        qt.QWidget.__init__(self)  # never shown: as in Slicer's own examples of event filters
        self._onResize = onResize
        widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        if event.type() == qt.QEvent.Resize:
            qt.QTimer.singleShot(0, self._onResize)
        return False


def _shown(count: int) -> range:
    return range(min(count, ROWS))
