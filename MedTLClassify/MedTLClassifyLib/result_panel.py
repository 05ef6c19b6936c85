"""What the model says: the class in plain words, a bar for each, why it may be wrong, where it looked, the report."""

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from medtl.classification.report import write_report
from medtl.errors import MedTLError
from MedTLClassifyLib import heatmaps
from MedTLClassifyLib import result as class_result
from MedTLClassifyLib.result import Classification
from MedTLLib.panels.form import confirm, enable, fillTable, say
from MedTLLib.panels.results import FORBIDDEN

from .slice_plot import VotesPanel
from .texts import aboutText, chanceText, featureRows, headline, intervalText, votesText

FORMATS = (".csv", ".json")
FOLDER = "MedTL/reportFolder"


class ClassifiedPanel:
    """Is about one table of classes: the one that answers the question above, else the last one, then visibly stale."""

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
        """Show what this table says; `stale` is why that is no answer to what is chosen."""
        self.table = table
        found = class_result.read(table)
        nothing = _("There is no result yet. Choose a volume and press Classify.")
        self.ui.aboutLabel.text = aboutText(found) if found else nothing
        say(self.ui.staleLabel, _("Out of date. {reason}").format(reason=stale) if stale else "")
        self.ui.answerBox.visible = found is not None
        self.ui.answerBox.enabled = not stale
        if found is not None:
            self._showAnswer(found)
        volume = table.GetNodeReference(class_result.VOLUME_ROLE) if found else None
        self.votes.show(found, volume, bool(stale))
        self._showButtons(found, volume, stale)

    def _showAnswer(self, found: Classification) -> None:
        self.ui.classLabel.text = headline(found)
        say(self.ui.reasonsLabel, "\n".join(found.record["reasons"]))
        self._showBars(found)
        say(self.ui.votesLabel, votesText(found))
        say(self.ui.intervalLabel, intervalText(found))
        rows = featureRows(found)
        self.ui.featureTable.visible = bool(rows)
        if rows:
            columns = (_("Feature"), _("Value"), found.name(found.best))
            fillTable(self.ui.featureTable, columns, rows, wide=0, numbers=1)
        say(self.ui.warningsLabel, "\n".join(found.record["warnings"]))

    def _showBars(self, found: Classification) -> None:
        layout = self.ui.barsBox.layout()
        while len(self._bars) < len(found.probabilities):
            name, bar = qt.QLabel(), qt.QProgressBar()
            name.wordWrap = True
            name.textFormat = qt.Qt.PlainText
            bar.setRange(0, 1000)
            layout.addWidget(name, len(self._bars), 0)
            layout.addWidget(bar, len(self._bars), 1)
            self._bars.append((name, bar))
        for name, bar in self._bars[len(found.probabilities) :]:
            name.visible = bar.visible = False
        for (name, bar), (classId, chance) in zip(self._bars, found.probabilities.items()):
            name.text = found.name(classId)
            bar.value = round(1000 * chance)
            bar.format = chanceText(found, classId)
            bar.accessibleName = f"{found.name(classId)}: {bar.format}"
            name.visible = bar.visible = True
            bar.enabled = name.enabled = not found.abstained

    def _showButtons(self, found: Classification | None, volume: Any, stale: str) -> None:
        heatmap = self.table.GetNodeReference(class_result.HEATMAP_ROLE) if found else None
        nothing = "" if found else _("There is no result yet.")
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
        node = self.table.GetNodeReference(class_result.HEATMAP_ROLE)
        heatmaps.show(node, self.table.GetNodeReference(class_result.VOLUME_ROLE))

    def onReport(self) -> None:
        """Save the report where the user says."""
        found = class_result.read(self.table)
        path = self.askPath(found) if found else None
        if found is None or path is None:
            return
        try:
            write_report(path, class_result.report(found))
        except MedTLError as error:
            self.say(str(error))
            return
        slicer.app.userSettings().setValue(FOLDER, str(path.parent))
        self.say(_("Saved at {path}.").format(path=path))

    def askPath(self, found: Classification) -> Path | None:
        """The file that the user chose, its suffix put in where it was left out; nothing is replaced unasked."""
        folder = Path(str(slicer.app.userSettings().value(FOLDER, str(Path.home()))))
        name = FORBIDDEN.sub("_", f"{found.record['input']} {found.model}")
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
