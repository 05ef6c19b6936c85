"""A case list out to a spreadsheet and back, and images that came later."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.worklist.find import find_cases, named
from medtl.worklist.table import read_table, write_table
from MedTLLib.jobs.cases import CaseSession

from .form import askSavePath, enable


class CaseExchange:
    """`onChanged()` is called when the list is another one."""

    def __init__(
        self, ui: Any, session: CaseSession, onChanged: Callable[[], None], showMessage: Callable[[str], None]
    ) -> None:
        self.ui, self.session, self.onChanged, self.showMessage = ui, session, onChanged, showMessage
        ui.exportListButton.connect("clicked()", self.onExport)
        ui.importListButton.connect("clicked()", self.onImport)
        ui.updateListButton.connect("clicked()", self.onUpdate)

    def show(self) -> None:
        """Show what can be done."""
        cases = self.session.list
        enable(self.ui.exportListButton, "", _("Save the list with states, ratings and notes as a CSV file."))
        enable(self.ui.importListButton, "", _("Take states, ratings and notes from a CSV file with a column case."))
        unknown = "" if cases and cases.source is not None else _("The list was not made from a folder.")
        enable(self.ui.updateListButton, unknown, _("Add the images that came into the folder since."))

    def onExport(self) -> None:
        """Save the list as a CSV file where the user chooses."""
        cases = self.session.list
        if cases is None:
            return
        suggested = cases.folder / "cases.csv"
        path = askSavePath(self.ui.exportListButton, _("Save the list"), suggested, (".csv",))
        if path is not None:
            self._try(lambda: write_table(cases, path, replace_file=True), _("Saved: {path}.").format(path=path))

    def onImport(self) -> None:
        """Take over what a CSV file says about the cases."""
        cases = self.session.list
        kinds = _("CSV file ({patterns})").format(patterns="*.csv")
        chosen = qt.QFileDialog.getOpenFileName(self.ui.importListButton, _("Read a CSV file"), "", kinds)
        if chosen and cases is not None:
            self._try(lambda: cases.change_all(read_table(cases, Path(chosen))), _("Read: {path}.").format(path=chosen))

    def onUpdate(self) -> None:
        """Add images that came since."""
        cases = self.session.list
        if cases is None or cases.source is None:
            return
        source, known = cases.source, {(case.images[0], case.series) for case in cases.cases.values()}
        found = self._try(lambda: find_cases(source), "") or ()
        new = named([each for each in found if (each.images[0], each.series) not in known], source, cases.cases)
        if new:
            self._try(lambda: cases.add(new), "")
        if found:
            self.showMessage(_("New cases: {count}.").format(count=len(cases.cases) - len(known)))

    def _try(self, step: Callable[[], Any], done: str) -> Any:
        """What the step gives; None where it fails, with the reason shown as a sentence."""
        try:
            with slicer.util.WaitCursor():
                result = step()
        except InputError as error:
            self.showMessage(str(error))
            return None
        self.showMessage(done)
        self.onChanged()
        return result
