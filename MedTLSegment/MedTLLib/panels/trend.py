"""Change over time: segmentations of several dates are compared; a table, a plot, and what a registration did."""

from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.trend.plot import Plot, plot_of
from MedTLLib.jobs.run import JobRun
from MedTLLib.jobs.trend import Choices, Compared, TrendJob, begin
from MedTLLib.results import studies, trend
from MedTLLib.results.studies import Study

from .form import ResizeWatcher, confirm, enable, fillTable, fitTable, showText
from .run import RunProgress
from .trend_plot import draw, key

NAME, DATE = 0, 1  # columns of the studies


class TrendPanel:
    """Shares the job run with the panel of Segment: one job runs at a time. Works while its section is unfolded."""

    def __init__(self, ui: Any, run: JobRun) -> None:
        self.ui, self.run = ui, run
        self.setupNeeded = False
        self.listed: list[Study] = []
        self.ticked: set[str] = set()  # IDs of segmentations
        self.table: Any = None
        self.plot: Plot | None = None
        self.board: Any = None  # QPixmap
        self.current: Any = None  # the segmentation of Results
        self.progress = RunProgress(run, (TrendJob,), ui.trendStatusLabel, ui.trendProgressBar, self.update)
        self._resized = [
            ResizeWatcher(ui.studyTable, lambda: fitTable(ui.studyTable)),
            ResizeWatcher(ui.trendTable, lambda: fitTable(ui.trendTable)),
            ResizeWatcher(ui.trendPlotLabel, self.drawPlot),
            ResizeWatcher(ui.boardPicture, self.drawBoard),
        ]
        ui.trendBox.connect("contentsCollapsed(bool)", lambda collapsed: self.update())
        ui.studyTable.connect("itemChanged(QTableWidgetItem*)", self.onItem)
        ui.matchCheckBox.connect("toggled(bool)", lambda on: self.update())
        ui.trendButton.connect("clicked()", self.onCompare)
        ui.trendCancelButton.connect("clicked()", run.cancel)
        self._show(None)

    # What can be compared

    def follow(self, segmentation: Any) -> None:
        """The segmentation of Results, which is ticked the first time that it is listed."""
        if segmentation is not self.current:
            self.current = segmentation
            if segmentation is not None:
                self.ticked.add(segmentation.GetID())
                table = trend.of_segmentation(segmentation)
                if table is not None and table is not self.table:
                    self._show(table)
        self.update()

    def update(self) -> None:
        """Show the segmentations of the scene, and whether the ticked ones can be compared."""
        if self.ui.trendBox.collapsed and not self.progress.running:
            return
        self.listed = studies.studies()
        self._fill()
        running = self.progress.running
        nothing = _("There is no segmentation in the scene.") if not self.listed else ""
        missing = _("Python packages are missing. Install them above.") if self.setupNeeded else ""
        reason = self.run.why_busy or nothing or studies.why_not(self.chosen()) or missing
        enable(self.ui.trendButton, reason, _("Compare the volumes of the ticked segmentations, by date."))
        showText(self.ui.trendLabel, "" if running else reason)
        idle = "" if running else _("No comparison is running.")
        enable(self.ui.trendCancelButton, idle, _("Stop the comparison. Nothing is changed."))
        self.ui.trendProgressBar.visible = running

    def chosen(self) -> list[Study]:
        """The ticked studies."""
        return [study for study in self.listed if study.segmentation.GetID() in self.ticked]

    def _fill(self) -> None:
        table, rows = self.ui.studyTable, [(s.segmentation.GetName(), s.date or "–") for s in self.listed]
        blocked = table.blockSignals(True)
        fillTable(table, (_("Segmentation"), _("Date")), rows, wide=NAME, numbers=2)
        for row, study in enumerate(self.listed):
            on = study.segmentation.GetID() in self.ticked
            name = table.item(row, NAME)
            name.setCheckState(qt.Qt.Checked if on else qt.Qt.Unchecked)
            name.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsSelectable)
        table.visible = bool(rows)
        table.blockSignals(blocked)

    def onItem(self, item: Any) -> None:
        """Tick a segmentation, or give it a date."""
        row = item.row()
        if row >= len(self.listed):
            return
        node = self.listed[row].segmentation
        problem = ""
        if item.column() == DATE:
            try:
                studies.set_date(node, str(item.text()).replace("–", ""))
            except InputError as error:
                problem = str(error)
        elif item.checkState() == qt.Qt.Checked:
            self.ticked.add(node.GetID())
        else:
            self.ticked.discard(node.GetID())
        qt.QTimer.singleShot(0, lambda: self._afterItem(problem))  # not inside the signal: the table is filled anew

    def _afterItem(self, problem: str) -> None:
        self.update()
        if problem:
            showText(self.ui.trendLabel, problem)

    # The job

    def onCompare(self) -> None:
        """Hand the studies over, after a question where images are registered."""
        chosen, match = self.chosen(), bool(self.ui.matchCheckBox.checked)
        question = _(
            "Lay the images of {count} dates on each other by a rigid movement? It takes some seconds a date. The "
            "volumes in the scene stay where they are."
        )
        if match and not confirm(question.format(count=len(chosen))):
            return
        self._show(None)
        self.run.begin(TrendJob, lambda root: begin(chosen, Choices(match), root), self.onEnd)
        self.update()

    def onEnd(self, compared: Compared | None) -> None:
        """Show the comparison, or the picture of a registration that was refused."""
        if compared is not None:
            self._show(compared.table, compared.board)
            if compared.warnings:
                showText(
                    self.ui.boardLabel, "\n".join(filter(None, (*compared.warnings, str(self.ui.boardLabel.text))))
                )

    # The result

    def _show(self, table: Any, board: bytes = b"") -> None:
        self.table = table
        found = trend.read(table)
        self.plot = plot_of(found) if found is not None else None
        self._fillTrend(trend.row_texts(found) if found is not None else [])
        self.ui.trendPlotLabel.visible = self.ui.trendKeyLabel.visible = self.plot is not None
        self.ui.trendKeyLabel.text = key(self.plot) if self.plot is not None else ""
        self.board = qt.QPixmap() if board else None
        if self.board is not None:
            self.board.loadFromData(qt.QByteArray(board))
        known = [study.similarity for study in found.studies if study.similarity is not None] if found else []
        text = (
            _("Squares of the first date and of the others in turn. Outlines run on where they fit.") if board else ""
        )
        if known:
            text = _("{text} Lowest similarity {value} (0 to 1).").format(text=text, value=f"{min(known):.2f}")
        showText(self.ui.boardLabel, text.strip())
        self.ui.boardPicture.visible = self.board is not None
        qt.QTimer.singleShot(0, self.drawPlot)
        qt.QTimer.singleShot(0, self.drawBoard)

    def _fillTrend(self, rows: list[tuple[str, ...]]) -> None:
        self.ui.trendTable.clearSpans()
        columns = ("", _("mL"), _("first"), _("prev."), _("min."))
        fillTable(self.ui.trendTable, columns, rows, wide=0, numbers=1)
        heads = ("", _("mL"), _("% of the first volume"), _("% of the previous"), _("% of the smallest before"))
        for column, text in enumerate(heads):
            self.ui.trendTable.horizontalHeaderItem(column).setToolTip(text)
        for row, texts in enumerate(rows):
            if not any(texts[1:]):  # the name of a label or lesion
                self.ui.trendTable.setSpan(row, 0, 1, len(columns))
        fitTable(self.ui.trendTable)
        self.ui.trendTable.visible = bool(rows)

    def drawPlot(self) -> None:
        """Draw the plot as wide as its label."""
        if self.plot is not None:
            draw(self.ui.trendPlotLabel, self.plot)

    def drawBoard(self) -> None:
        """Draw the picture of the registrations as wide as its label."""
        if self.board is not None and self.ui.boardPicture.width > 0:
            width = min(self.ui.boardPicture.width, self.board.width())
            self.ui.boardPicture.setPixmap(self.board.scaledToWidth(width, qt.Qt.SmoothTransformation))

    def sceneClosed(self) -> None:
        """Nothing is left to compare."""
        self.listed, self.ticked, self.current = [], set(), None
        self._show(None)
