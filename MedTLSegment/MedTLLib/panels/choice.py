"""A question with several answers, in a dialog of its own."""

from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr as _


def askChoice(parent: Any, question: str, texts: Sequence[str]) -> int | None:
    """The number of the text that the user chose, from 0; None where the user cancelled. There is no question about a
    single text."""
    if len(texts) == 1:
        return 0
    dialog = qt.QDialog(parent)
    dialog.setWindowTitle(_("MedTL"))
    label, combo = qt.QLabel(question), qt.QComboBox()
    label.wordWrap = True
    label.textFormat = qt.Qt.PlainText
    label.setBuddy(combo)
    combo.objectName = "choiceCombo"
    combo.addItems(list(texts))
    buttons = qt.QDialogButtonBox(qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel)
    buttons.connect("accepted()", dialog.accept)
    buttons.connect("rejected()", dialog.reject)
    layout = qt.QVBoxLayout(dialog)
    for widget in (label, combo, buttons):
        layout.addWidget(widget)
    chosen = dialog.exec_() == qt.QDialog.Accepted
    number = int(combo.currentIndex)
    dialog.deleteLater()
    return number if chosen else None
