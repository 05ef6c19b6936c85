"""The list of models: those that fit the volume, or all with the reasons; card, export and deletion of each."""

from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.errors import MedTLError
from medtl.model.store import ModelEntry
from medtl.volume import Geometry
from MedTLLib.jobs.models import InstalledModels, reason_against
from MedTLLib.jobs.run import JobRun
from MedTLLib.mrml import scene

from .card import cardText, openLink, showCard
from .form import askSavePath, confirm, enable, showText
from .texts import plainTip

REASON = qt.Qt.UserRole + 1  # of an item: why the model does not fit


class ModelPanel:
    """The models of one task. The choice lives in the parameter node, by the model's name."""

    def __init__(self, ui: Any, run: JobRun, task: str) -> None:
        self.ui = ui
        self.installed = InstalledModels(run, task)
        self.parameters: Any = None
        self._listed: tuple[object, ...] = ()
        self._card = ""
        ui.modelCombo.connect("currentIndexChanged(int)", self.onModel)
        ui.cardButton.connect("toggled(bool)", self.onCard)
        ui.cardBrowser.connect("anchorClicked(QUrl)", openLink)
        ui.exportModelButton.connect("clicked()", self.onExport)
        ui.deleteModelButton.connect("clicked()", self.onDelete)

    def update(self, facts: scene.Facts | None, geometry: Geometry | None) -> None:
        """List the models for a volume with these facts; without a volume (None) all."""
        everything = bool(self.parameters and self.parameters.allModels)
        combo, shown = self.ui.modelCombo, (self.parameters, self.installed.entries, facts, geometry, everything)
        if shown != self._listed:
            self._listed = shown
            blocked = combo.blockSignals(True)
            self._list(facts, geometry, everything)
            wanted = combo.findData(self.parameters.modelName) if self.parameters else -1
            if wanted < 0:
                fitting = [combo.itemData(i) for i in range(combo.count) if not self.reason(i)]
                wanted = combo.findData(self.installed.first_choice(fitting, facts))
            combo.currentIndex = wanted
            combo.blockSignals(blocked)
            self.onModel(combo.currentIndex)
        reason = self.reason(combo.currentIndex)
        showText(self.ui.fitLabel, reason)
        combo.enabled = combo.count > 0
        combo.toolTip = plainTip(reason or _("Models that fit this volume.") if combo.count else self.whyNone())
        none = "" if self.chosen() else _("No model is chosen.")
        enable(self.ui.cardButton, none, _("What the model is for, its training, how good it is, its licence."))
        enable(self.ui.exportModelButton, none, _("Save the chosen model as a .zip that can be imported elsewhere."))
        reason = self.installed.why_not_delete(self.chosen())
        enable(self.ui.deleteModelButton, reason, _("Delete the chosen model from this computer."))
        self._showCard()

    def _list(self, facts: scene.Facts | None, geometry: Geometry | None, everything: bool) -> None:
        combo = self.ui.modelCombo
        combo.clear()
        for entry in self.installed.entries:
            reason = reason_against(entry, facts, geometry)
            if everything or not reason:
                combo.addItem(listedText(entry, reason))
                combo.setItemData(combo.count - 1, entry.name)
                combo.setItemData(combo.count - 1, reason, REASON)
                about = "\n".join(part for part in (entry.card and entry.terms.summary, reason) if part)
                combo.setItemData(combo.count - 1, plainTip(about), qt.Qt.ToolTipRole)

    def reason(self, index: int) -> str:
        """Why the model of a row does not fit the volume; empty when it does."""
        return str(self.ui.modelCombo.itemData(index, REASON) or "") if index >= 0 else ""

    def whyNone(self) -> str:
        """Why no model can be chosen."""
        return self.installed.why_none()

    def chosen(self) -> ModelEntry | None:
        """The chosen model."""
        return self.installed.entry(self.ui.modelCombo.currentData)

    def onModel(self, index: int) -> None:
        """Keep the choice in the parameter node; a damaged model can be shown, not chosen."""
        entry = self.chosen()
        name = entry.name if entry and entry.card else ""
        if self.parameters and self.parameters.modelName != name:
            self.parameters.modelName = name

    def onCard(self, shown: bool) -> None:
        self.ui.cardBrowser.visible = shown
        self._showCard()

    def _showCard(self) -> None:
        entry = self.chosen()
        name = entry.name if entry else ""
        if self.ui.cardButton.checked and name != self._card:
            self._card = name
            showCard(self.ui.cardBrowser, cardText(entry) if entry else "")

    def onExport(self) -> None:
        """Save the chosen model as a zip where the user chooses."""
        entry = self.chosen()
        if entry is None:
            return
        suggested = self.installed.suggested_export(entry)
        path = askSavePath(self.ui.exportModelButton, _("Export model"), suggested, (".zip",))
        if path is not None:
            showText(self.ui.statusLabel, self.installed.export(entry, path))

    def onDelete(self) -> None:
        """Delete the chosen model after a confirmation; then choose its parent, or the first that fits."""
        entry = self.chosen()
        reason = self.installed.why_not_delete(entry)
        if entry is None or reason:
            showText(self.ui.statusLabel, reason)
            return
        question = _("Delete the model {name} from this computer? This cannot be undone.").format(name=entry.name)
        if not confirm(question):
            return
        try:
            self.parameters.modelName = self.installed.delete(entry)  # without a name, the list chooses
        except MedTLError as error:
            showText(self.ui.statusLabel, str(error))
            return
        showText(self.ui.statusLabel, _("Deleted: {name}.").format(name=entry.name))


def listedText(entry: ModelEntry, reason: str) -> str:
    """A model in the list: its name, with its terms and what is special; `reason` is why it does not fit."""
    if entry.card is None:
        return str(_("{name} (cannot be used)").format(name=entry.name))
    remarks = [entry.terms.name or _("terms not stated")]
    remarks += [_("imported")] if entry.card.imported else []
    remarks += [_("experimental")] if entry.card.experimental else []
    remarks += [_("does not fit")] if reason else []
    return f"{entry.name} ({', '.join(remarks)})"
