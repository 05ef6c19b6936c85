"""The result of a classification: class, a bar for each class, reasons to abstain, votes, heat map and report."""

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from medtl.classification.report import write_report
from medtl.errors import MedTLError
from MedTLClassifyLib import heatmaps, result
from MedTLClassifyLib.result import Classification
from MedTLLib.panels.form import confirm, enable, fillTable, say
from MedTLLib.panels.results import FORBIDDEN

from .slice_plot import VotesPanel
from .texts import aboutText, chanceText, featureRows, headline, intervalText, votesText

FORMATS = (".csv", ".json")
FOLDER = "MedTL/reportFolder"


class ClassifiedPanel:
    """Shows a table of classes: the one for what is chosen above, else the last one, which is then marked as stale."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.votes = VotesPanel(ui)
        self.table: Any = None
        self._bars: list[tuple[Any, Any]] = []  # of each class its name and its bar
        ui.heatmapCheckBox.connect("toggled(bool)", self.onHeatmap)
        ui.reportButton.connect("clicked()", self.onReport)
        for column, share in enumerate((2, 3)):
            ui.barsBox.layout().setColumnStretch(column, share)
        self.say("")

    def show(self, table: Any, stale: str) -> None:
        """Show this table; `stale` is why it is not the result of what is chosen."""
        self.table = table
        classification = result.read(table)
        nothing = _("There is no result yet. Choose a volume and press Classify.")
        self.ui.aboutLabel.text = aboutText(classification) if classification else nothing
        say(self.ui.staleLabel, _("Out of date. {reason}").format(reason=stale) if stale else "")
        self.ui.answerBox.visible = classification is not None
        self.ui.answerBox.enabled = not stale
        if classification is not None:
            self._showAnswer(classification)
        volume = table.GetNodeReference(result.VOLUME_ROLE) if classification else None
        self.votes.show(classification, volume, bool(stale))
        self._showButtons(classification, volume, stale)

    def _showAnswer(self, classification: Classification) -> None:
        self.ui.classLabel.text = headline(classification)
        say(self.ui.reasonsLabel, "\n".join(classification.record["reasons"]))
        self._showBars(classification)
        say(self.ui.votesLabel, votesText(classification))
        say(self.ui.intervalLabel, intervalText(classification))
        rows = featureRows(classification)
        self.ui.featureTable.visible = bool(rows)
        if rows:
            columns = (_("Feature"), _("Value"), classification.name(classification.best))
            fillTable(self.ui.featureTable, columns, rows, wide=0, numbers=1)
        say(self.ui.warningsLabel, "\n".join(classification.record["warnings"]))

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
        none = nothing or ("" if heatmap is not None else _("This model looks at the shape, not at places."))
        if stale and heatmaps.shown(heatmap):
            heatmaps.hide()
        gone = "" if volume is not None else _("The volume was deleted.")
        help = _("Lay a map over the slices: the redder and yellower, the more a place spoke for the class.")
        enable(self.ui.heatmapCheckBox, none or gone or stale, help)
        blocked = self.ui.heatmapCheckBox.blockSignals(True)
        self.ui.heatmapCheckBox.checked = heatmaps.shown(heatmap)
        self.ui.heatmapCheckBox.blockSignals(blocked)
        enable(self.ui.reportButton, nothing, _("Save the result with model, image and settings as .csv or .json."))

    def onHeatmap(self, wanted: bool) -> None:
        """Lay the heat map over the slices, or put back what was in front."""
        if not wanted:
            heatmaps.hide()
            return
        node = self.table.GetNodeReference(result.HEATMAP_ROLE)
        heatmaps.show(node, self.table.GetNodeReference(result.VOLUME_ROLE))

    def onReport(self) -> None:
        """Save the report in a file that the user chooses."""
        classification = result.read(self.table)
        path = self.askPath(classification) if classification else None
        if classification is None or path is None:
            return
        try:
            write_report(path, result.report(classification))
        except MedTLError as error:
            self.say(str(error))
            return
        slicer.app.userSettings().setValue(FOLDER, str(path.parent))
        self.say(_("Saved at {path}.").format(path=path))

    def askPath(self, classification: Classification) -> Path | None:
        """The file that the user chose, its suffix put in where it was left out; nothing is replaced unasked."""
        folder = Path(str(slicer.app.userSettings().value(FOLDER, str(Path.home()))))
        name = FORBIDDEN.sub("_", f"{classification.record['input']} {classification.model}")
        kinds = ";;".join(f"*{suffix}" for suffix in FORMATS)
        suggested = str(folder / f"{name}{FORMATS[0]}")
        chosen = qt.QFileDialog.getSaveFileName(self.ui.reportButton, _("Save report"), suggested, kinds)
        if not chosen:
            return None
        path = Path(chosen)
        if path.suffix.lower() in FORMATS:
            return path  # the dialog has asked whether to replace it
        path = path.with_name(path.name + FORMATS[0])
        question = _("{path} exists already. Replace it?").format(path=path)
        return path if not path.exists() or confirm(question) else None

    def say(self, text: str) -> None:
        """Show a sentence below the result."""
        say(self.ui.resultLabel, text)
