"""The result of a classification: class, a bar for each class, reasons to abstain, votes, heat map and report."""

from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.errors import MedTLError
from MedTLClassifyLib import heatmaps, result
from MedTLClassifyLib.result import Classification
from MedTLLib.panels.form import askSavePath, enable, fillTable, showText

from .slice_plot import VotesPanel
from .texts import aboutText, chanceText, featureRows, headline, intervalText, votesText


class ClassifiedPanel:
    """Shows the result for the chosen input, else the last one, which is then marked as out of date."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.votes = VotesPanel(ui)
        self.table: Any = None
        self._bars: list[tuple[Any, Any]] = []  # of each class its name and its bar
        ui.heatmapCheckBox.connect("toggled(bool)", self.onHeatmap)
        ui.reportButton.connect("clicked()", self.onReport)
        for column, share in enumerate((2, 3)):
            ui.barsBox.layout().setColumnStretch(column, share)
        self.showMessage("")

    def show(self, table: Any, stale: str) -> None:
        """Show this table; `stale` is why it is not the result for the chosen input."""
        self.table = table
        classification = result.read(table)
        nothing = _("There is no result yet. Choose a volume and press Classify.")
        self.ui.aboutLabel.text = aboutText(classification) if classification else nothing
        showText(self.ui.staleLabel, _("Out of date. {reason}").format(reason=stale) if stale else "")
        self.ui.answerBox.visible = classification is not None
        self.ui.answerBox.enabled = not stale
        if classification is not None:
            self._showAnswer(classification)
        volume = table.GetNodeReference(result.VOLUME_ROLE) if classification else None
        self.votes.show(classification, volume, bool(stale))
        self._showButtons(classification, volume, stale)

    def _showAnswer(self, classification: Classification) -> None:
        self.ui.classLabel.text = headline(classification)
        showText(self.ui.reasonsLabel, "\n".join(classification.record["reasons"]))
        self._showBars(classification)
        showText(self.ui.votesLabel, votesText(classification))
        showText(self.ui.intervalLabel, intervalText(classification))
        rows = featureRows(classification)
        self.ui.featureTable.visible = bool(rows)
        if rows:
            columns = (_("Feature"), _("Value"), classification.name(classification.best))
            fillTable(self.ui.featureTable, columns, rows, wide=0, numbers=1)
        showText(self.ui.warningsLabel, "\n".join(classification.record["warnings"]))

    def _showBars(self, classification: Classification) -> None:
        layout = self.ui.barsBox.layout()
        while len(self._bars) < len(classification.probabilities):
            name, bar = qt.QLabel(), qt.QProgressBar()
            name.wordWrap = True
            name.textFormat = qt.Qt.PlainText
            bar.setRange(0, 1000)
            layout.addWidget(name, len(self._bars), 0)
            layout.addWidget(bar, len(self._bars), 1)
            self._bars.append((name, bar))
        for name, bar in self._bars[len(classification.probabilities) :]:
            name.visible = bar.visible = False
        for (name, bar), (classId, chance) in zip(self._bars, classification.probabilities.items()):
            name.text = classification.name(classId)
            bar.value = round(1000 * chance)
            bar.format = chanceText(classification, classId)
            bar.accessibleName = f"{classification.name(classId)}: {bar.format}"
            name.visible = bar.visible = True
            bar.enabled = name.enabled = not classification.abstained

    def _showButtons(self, classification: Classification | None, volume: Any, stale: str) -> None:
        heatmap = self.table.GetNodeReference(result.HEATMAP_ROLE) if classification else None
        nothing = "" if classification else _("There is no result yet.")
        none = nothing or (
            "" if heatmap is not None else _("This model uses the shape of the tumour, so it has no heat map.")
        )
        if stale and heatmaps.shown(heatmap):
            heatmaps.hide()
        gone = "" if volume is not None else _("The volume was deleted.")
        help = _("Show a heat map over the slices. Yellow places speak most for the class.")
        enable(self.ui.heatmapCheckBox, none or gone or stale, help)
        blocked = self.ui.heatmapCheckBox.blockSignals(True)
        self.ui.heatmapCheckBox.checked = heatmaps.shown(heatmap)
        self.ui.heatmapCheckBox.blockSignals(blocked)
        enable(self.ui.reportButton, nothing, _("Save the result with model, image and settings as .csv or .json."))

    def onHeatmap(self, wanted: bool) -> None:
        """Show the heat map over the slices, or restore the foreground."""
        if not wanted:
            heatmaps.hide()
            return
        node = self.table.GetNodeReference(result.HEATMAP_ROLE)
        heatmaps.show(node, self.table.GetNodeReference(result.VOLUME_ROLE))

    def onReport(self) -> None:
        """Save the report in a file that the user chooses."""
        classification = result.read(self.table)
        if classification is None:
            return
        suggested = result.suggested_report(classification)
        path = askSavePath(self.ui.reportButton, _("Save report"), suggested, result.REPORT_FORMATS)
        if path is None:
            return
        try:
            result.save_report(classification, path)
        except MedTLError as error:
            self.showMessage(str(error))
            return
        self.showMessage(_("Saved at {path}.").format(path=path))

    def showMessage(self, text: str) -> None:
        """Show a sentence below the result."""
        showText(self.ui.resultLabel, text)
