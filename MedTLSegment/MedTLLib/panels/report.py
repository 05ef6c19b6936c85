"""What leaves the panel as text or a report, and the way to MedTL Classify."""

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from medtl.errors import InputError
from MedTLLib.jobs import report
from MedTLLib.jobs.report import ReportJob
from MedTLLib.jobs.run import JobRun
from MedTLLib.results import classification, report_text, save_path
from MedTLLib.results.studies import study_of

from .form import askSavePath, enable, showText
from .lesions import rowTexts
from .results import ResultsPanel

FOLDER = "MedTL/htmlFolder"  # the user's setting: the one used last
FORMATS = (".html",)


class ReportPanel:
    """Works on the segmentation of Results, and shows its class above the table."""

    def __init__(self, ui: Any, run: JobRun, results: ResultsPanel) -> None:
        self.ui, self.run, self.results = ui, run, results
        self.setupNeeded = False
        self._shown = ""
        ui.copyButton.connect("clicked()", self.onCopy)
        ui.reportButton.connect("clicked()", self.onReport)
        ui.classifyButton.connect("clicked()", self.onClassify)
        run.observe(self.onRun)

    def update(self) -> None:
        """Show what the scene says."""
        segmentation = self.results.segmentation()
        reason = (
            "" if segmentation is not None else _("There is no result yet. Press Segment, or choose a segmentation.")
        )
        showText(self.ui.classResultLabel, classification.line(classification.of_segmentation(segmentation)))
        table = reason or ("" if self.results.lesions.rows else _("There is no table yet. Press Update."))
        enable(self.ui.copyButton, table, _("Put the table, class, changes and model on the clipboard, as text."))
        missing = _("Python packages are missing. Install them above.") if self.setupNeeded else ""
        help = _("Save one HTML file with figures, pictures, class, changes and doubt. It fits a printed page.")
        enable(self.ui.reportButton, reason or self.run.why_busy or missing, help)
        other = "" if hasattr(slicer.modules, "medtlclassify") else _("The module MedTL Classify is not there.")
        enable(self.ui.classifyButton, reason or other, _("Open MedTL Classify with this volume and segmentation."))

    def onCopy(self) -> None:
        """Put the text on the clipboard."""
        lesions = self.results.lesions
        rows = [(row, rowTexts(lesions.table, row)) for row in lesions.rows]
        text = report_text.text_of(study_of(self.results.segmentation()), rows)
        qt.QApplication.clipboard().setText(text)
        self.results.showMessage(_("Copied: {count} lines.").format(count=len(text.splitlines())))

    def onReport(self) -> None:
        """Save the report where the user chose."""
        segmentation, button = self.results.segmentation(), self.ui.reportButton
        study = study_of(segmentation)
        name = _("Report {date}").format(date=study.date).strip()
        suggested = save_path.suggested(name, FORMATS[0], slicer.app.userSettings().value(FOLDER))
        path = askSavePath(button, _("Save report"), suggested, FORMATS)
        if path is None:
            return
        self.run.begin(ReportJob, lambda root: report.begin(study, path, root), self.onEnd)
        self.update()

    def onEnd(self, path: Path | None) -> None:
        """Suggest this folder the next time."""
        if path is not None:
            slicer.app.userSettings().setValue(FOLDER, str(path.parent))

    def onRun(self) -> None:
        """Show how far the report is."""
        if self.run.kind is ReportJob and self.run.text != self._shown:
            self._shown = self.run.text
            self.results.showMessage(self.run.text)
        self.update()

    def onClassify(self) -> None:
        """Open MedTL Classify with the volume, the segmentation and the chosen segment."""
        try:
            volume = self.results.volume()
        except InputError as error:
            self.results.showMessage(str(error))
            return
        chosen = self.results.lesions.chosen
        slicer.util.selectModule("MedTLClassify")
        widget = slicer.util.getModuleWidget("MedTLClassify")
        widget.choose(volume, self.results.segmentation(), chosen.segment_id if chosen else "")
