"""What several parts of the panel do with widgets."""

from collections.abc import Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _


def enable(button: Any, reason: str, help: str) -> None:
    """Enable a button, or disable it with the reason as its tool tip."""
    button.enabled = not reason
    button.toolTip = reason or help


def say(label: Any, text: str) -> None:
    """Show a sentence in a label that takes no room without one."""
    label.text = text
    label.visible = bool(text)


def confirm(question: str) -> bool:
    """Whether the user agrees."""
    return bool(slicer.util.confirmOkCancelDisplay(question, _("MedTL")))


def fillTable(table: Any, columns: Sequence[str], rows: Sequence[Sequence[str]], wide: int, numbers: int) -> None:
    """Fill a QTableWidget: column `wide` takes the room that is left, from column `numbers` on text is on the right."""
    table.clear()
    table.setColumnCount(len(columns))
    table.setHorizontalHeaderLabels(list(columns))
    table.setRowCount(len(rows))
    for row, texts in enumerate(rows):
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            if column >= numbers:
                item.setData(qt.Qt.TextAlignmentRole, int(qt.Qt.AlignRight | qt.Qt.AlignVCenter))
            table.setItem(row, column, item)
    header = table.horizontalHeader()
    header.highlightSections = False
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(wide, qt.QHeaderView.Stretch)
    table.verticalHeader().visible = False
