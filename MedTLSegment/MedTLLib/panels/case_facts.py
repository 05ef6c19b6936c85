"""What the user says about the case that is open: state, rating by key, note."""

from collections.abc import Callable
from functools import partial
from typing import Any

from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.worklist.case import RATINGS, STATES
from MedTLLib.jobs.cases import CaseSession

from .case_table import stateText
from .form import showText
from .keys import Key
from .shortcuts import RATE, withKeys
from .texts import plainTip


class CaseFacts:
    """`onChanged()` is called when something was stored."""

    def __init__(
        self, ui: Any, session: CaseSession, onChanged: Callable[[], None], showMessage: Callable[[str], None]
    ) -> None:
        self.ui, self.session, self.onChanged, self.showMessage = ui, session, onChanged, showMessage
        self.keys = [Key(RATE[n], ui.casesBox, partial(self.rate, n)) for n in RATE]
        ui.caseStateCombo.addItem("", "")
        for state in STATES:
            ui.caseStateCombo.addItem(stateText(state), state)
        ui.ratingCombo.addItem("–", 0)
        for number in RATINGS:
            ui.ratingCombo.addItem(str(number), number)
        rated = _("How good the segmentation of this case is, 1 to 5.")
        ui.ratingCombo.toolTip = plainTip(withKeys(rated, *RATE.values()))
        ui.caseStateCombo.connect("activated(int)", self.onState)
        ui.ratingCombo.connect("activated(int)", lambda index: self.rate(int(ui.ratingCombo.itemData(index))))
        ui.noteEdit.connect("editingFinished()", self.onNote)

    def show(self) -> None:
        """Show what is stored."""
        ui, case = self.ui, self.session.case
        showText(ui.caseLabel, _("Open: {case}").format(case=case.name) if case else _("No case is open."))
        ui.caseStateCombo.currentIndex = ui.caseStateCombo.findData(case.state if case else "")
        ui.ratingCombo.currentIndex = ui.ratingCombo.findData((case.rating if case else None) or 0)
        if not ui.noteEdit.hasFocus():
            ui.noteEdit.text = case.note if case else ""
        for widget in (ui.caseStateCombo, ui.ratingCombo, ui.noteEdit):
            widget.enabled = case is not None

    def rate(self, number: int) -> None:
        """Rate the case, 1 to 5; 0 for no rating."""
        self._say(rating=number or None)

    def onState(self, index: int) -> None:
        """Set the state of the case."""
        if state := str(self.ui.caseStateCombo.itemData(index) or ""):
            self._say(state=state)
        else:
            self.show()

    def onNote(self) -> None:
        """Store the note."""
        case, note = self.session.case, str(self.ui.noteEdit.text)
        if case is not None and note != case.note:
            self._say(note=note)

    def _say(self, **facts: Any) -> None:
        if self.session.case is None:
            return
        try:
            self.session.say(**facts)
        except InputError as error:
            self.showMessage(str(error))
        self.onChanged()
