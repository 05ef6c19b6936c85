"""The page with the terms of a model's weights, shown before the first run of a version of it."""

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from medtl.model.card_text import printable
from medtl.model.files import MAX_TEXT_BYTES
from medtl.model.store import ModelEntry
from MedTLLib.jobs import terms


def termsAccepted(entry: ModelEntry | None, parent: Any, showMessage: Callable[[str], None]) -> bool:
    """Whether the user accepts the terms of the model, now or before; a page asks where it has to."""
    if entry is None or not terms.must_ask(entry):
        return True
    if not askTerms(entry, parent):
        showMessage(_("Nothing was started: the terms of {name} were not accepted.").format(name=entry.name))
        return False
    if problem := terms.keep(entry):
        slicer.util.warningDisplay(_("{problem} They hold until Slicer is closed.").format(problem=problem))
    return True


def askTerms(entry: ModelEntry, parent: Any) -> bool:
    """Show the terms in full; whether the user accepts them."""
    dialog = qt.QDialog(parent)
    dialog.setWindowTitle(_("MedTL: terms of the model"))
    head = _("Before the first use of {name} {version}, please read the terms of its weights.")
    version = entry.card.version if entry.card else ""
    intro = _label(head.format(name=entry.name, version=version))
    summary = _label(entry.terms.summary)
    font = summary.font
    font.setBold(True)
    summary.font = font
    text = qt.QPlainTextEdit()
    text.objectName = "termsText"
    text.accessibleName = _("Terms in full")
    text.readOnly = True
    unknown = _("The model has no text of its terms. Ask who made it before you use it.")
    text.plainText = printable(entry.terms.text, MAX_TEXT_BYTES) or unknown
    buttons = qt.QDialogButtonBox(qt.QDialogButtonBox.Cancel)
    buttons.addButton(_("Accept"), qt.QDialogButtonBox.AcceptRole)
    cancel = buttons.button(qt.QDialogButtonBox.Cancel)
    buttons.connect("accepted()", dialog.accept)
    buttons.connect("rejected()", dialog.reject)
    layout = qt.QVBoxLayout(dialog)
    stored = _label(_("Stored on this computer for this version of the model; a new version asks again."))
    for widget in (intro, summary, text, stored, buttons):
        layout.addWidget(widget)
    dialog.resize(520, 460)
    cancel.setDefault(True)  # the key Enter accepts nothing
    cancel.setFocus()
    accepted = bool(dialog.exec_() == qt.QDialog.Accepted)
    dialog.deleteLater()
    return accepted


def _label(text: str) -> Any:
    label = qt.QLabel(text)
    label.wordWrap = True
    label.textFormat = qt.Qt.PlainText
    return label
