"""The second reader: how far another folder of results agrees with this list, case by case."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.io.write import write_whole
from MedTLLib.jobs import agree
from MedTLLib.jobs.agree import Agreed, AgreeJob
from MedTLLib.jobs.cases import CaseSession
from MedTLLib.jobs.run import JobRun

from .form import ResizeWatcher, askSavePath, enable, fillTable, fitTable, showText

NARROW = 400  # pixels: then only Dice is shown
CASE, LABEL, HD95, ML = 0, 1, 3, 4  # columns


class SecondReader:
    """`save()` saves the case that is open, or returns False; `openCase(name)` is called for a row that the user
    opens."""

    def __init__(
        self,
        ui: Any,
        session: CaseSession,
        run: JobRun,
        save: Callable[[], bool],
        openCase: Callable[[str], None],
        showMessage: Callable[[str], None],
    ) -> None:
        self.ui, self.session, self.run = ui, session, run
        self.save, self.openCase, self.showMessage = save, openCase, showMessage
        self.agreed: Agreed | None = None
        self._shown = ""
        ui.agreeButton.connect("clicked()", self.onChoose)
        ui.agreeCsvButton.connect("clicked()", self.onExport)
        ui.agreeTable.connect("cellDoubleClicked(int,int)", self.onRow)
        self._watcher = ResizeWatcher(ui.agreeTable, self.onResize)
        run.observe(self.onRun)
        self._fill()

    def show(self, setupNeeded: bool) -> None:
        """Show what can be done."""
        missing = _("Python packages are missing. Install them below.") if setupNeeded else ""
        help = _("Choose another reader's results of the same images: Dice, HD95 and volumes, case by case.")
        running = isinstance(self.run.job, AgreeJob)
        self.ui.agreeButton.text = _("Cancel comparing") if running else _("Second reader…")
        if running:
            help = _("Stop comparing. Nothing is changed.")
        enable(self.ui.agreeButton, "" if running else self.run.why_busy or missing, help)

    def close(self) -> None:
        """The list is closed, or another one opened: show nothing."""
        self.agreed = None
        self._fill()

    def onChoose(self) -> None:
        """Compare with the results in the folder that the user chooses, or cancel that."""
        if isinstance(self.run.job, AgreeJob):
            self.run.cancel()
            return
        listed = self.session.list
        chosen = qt.QFileDialog.getExistingDirectory(self.ui.agreeButton, _("Results of the other reader"))
        if not chosen or listed is None or not self.save():
            return
        first, second = listed.path, Path(chosen)
        if second.resolve() == listed.folder.resolve():
            self.showMessage(_("These are the results of this list. Choose those of another reader."))
            return
        self.close()
        self.run.begin(AgreeJob, lambda root: agree.begin(first, second, root), self.onEnd)

    def onEnd(self, agreed: Agreed | None) -> None:
        """Show the result."""
        if agreed is not None and self.session.list is not None:
            self.agreed = agreed
            self._fill()

    def onRun(self) -> None:
        """Show how far the comparison is."""
        if self.run.kind is AgreeJob and self.run.text != self._shown:
            self._shown = self.run.text
            self.showMessage(self.run.text)

    def _fill(self) -> None:
        agreed = self.agreed
        showText(self.ui.agreeLabel, agreed.text if agreed else "")
        columns = (_("Case"), _("Label"), _("Dice"), _("HD95 mm"), _("mL ±"))
        fillTable(self.ui.agreeTable, columns, agreed.rows if agreed else (), wide=CASE, numbers=2)
        self.ui.agreeTable.horizontalHeader().setSectionResizeMode(LABEL, qt.QHeaderView.Stretch)
        self.ui.agreeTable.visible = bool(agreed and agreed.rows)
        self.ui.agreeCsvButton.visible = agreed is not None
        enable(self.ui.agreeCsvButton, "", _("Save Dice, HD95, volumes and ratings of all cases."))
        self.onResize()

    def onResize(self) -> None:
        """Show distances and volumes where there is room for them."""
        for column in (HD95, ML):
            self.ui.agreeTable.setColumnHidden(column, self.ui.agreeTable.width < NARROW)
        fitTable(self.ui.agreeTable)

    def onRow(self, row: int, column: int) -> None:
        """Open the case of a row."""
        if self.agreed is not None and 0 <= row < len(self.agreed.rows):
            self.openCase(self.agreed.rows[row][0])

    def onExport(self) -> None:
        """Save the table where the user chose."""
        agreed, listed = self.agreed, self.session.list
        if agreed is None or listed is None:
            return
        path = askSavePath(self.ui.agreeCsvButton, _("Save agreement"), listed.folder / "agreement.csv", (".csv",))
        if path is None:
            return
        try:
            write_whole(path, lambda part: part.write_bytes(agreed.csv))
        except InputError as error:
            self.showMessage(str(error))
            return
        self.showMessage(_("Saved: {path}.").format(path=path))
