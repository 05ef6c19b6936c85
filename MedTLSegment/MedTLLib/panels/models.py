"""The list of models: those that fit the volume, or all with the reasons; card, export and deletion of each."""

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from medtl.errors import MedTLError
from medtl.model.store import ModelEntry, delete_bundle, export_bundle, import_bundle, list_models, stores
from medtl.volume import Geometry
from MedTLLib.jobs.run import JobRun
from MedTLLib.mrml import scene

from .card import cardText, openLink, showCard
from .form import confirm, enable, say
from .texts import plainTip

REASON = qt.Qt.UserRole + 1  # of an item: why the model does not fit
PREFERRED = "MedTL/model"  # the user's setting, by the name of the family


class ModelPanel:
    """The models of one task. The choice lives in the parameter node, by the model's name."""

    def __init__(self, ui: Any, run: JobRun, task: str) -> None:
        self.ui, self.run, self.task = ui, run, task
        self.parameters: Any = None
        self.models: tuple[ModelEntry, ...] = ()
        self._listed: tuple[object, ...] = ()
        self._folders: tuple[Path, ...] = ()
        self._card = ""
        ui.modelCombo.connect("currentIndexChanged(int)", self.onModel)
        ui.cardButton.connect("toggled(bool)", self.onCard)
        ui.cardBrowser.connect("anchorClicked(QUrl)", openLink)
        ui.exportModelButton.connect("clicked()", self.onExport)
        ui.deleteModelButton.connect("clicked()", self.onDelete)
        self.read()

    def read(self) -> None:
        """Find the installed models; `update` lists them. A damaged model is listed for every task."""
        self._folders = folders()
        self.models = tuple(found for found in list_models() if found.card is None or found.card.task == self.task)
        self._listed = ()

    def changed(self) -> bool:
        """Whether models were added or removed since `read`: the other module imports and deletes, too."""
        return folders() != self._folders

    def update(self, facts: scene.Facts | None, geometry: Geometry | None) -> None:
        """List the models for a volume with these facts; without a volume (None) all."""
        everything = bool(self.parameters and self.parameters.allModels)
        combo = self.ui.modelCombo
        if (facts, geometry, everything) != self._listed:
            self._listed = (facts, geometry, everything)
            blocked = combo.blockSignals(True)
            self._list(facts, geometry, everything)
            wanted = combo.findData(self.parameters.modelName) if self.parameters else -1
            fitting = [i for i in range(combo.count) if not self.reason(i)]
            combo.currentIndex = wanted if wanted >= 0 else self._preferred(fitting)
            combo.blockSignals(blocked)
            self.onModel(combo.currentIndex)
        reason = self.reason(combo.currentIndex)
        say(self.ui.fitLabel, reason)
        combo.enabled = combo.count > 0
        combo.toolTip = plainTip(reason or _("Models that fit this volume.") if combo.count else self.whyNone())
        none = "" if self.chosen() else _("No model is chosen.")
        enable(self.ui.cardButton, none, _("What the model is for, its training, how good it is, its licence."))
        enable(self.ui.exportModelButton, none, _("Write the chosen model as a .zip, to be imported elsewhere."))
        enable(self.ui.deleteModelButton, self.whyNotDelete(), _("Delete the chosen model from this computer."))
        self._showCard()

    def _list(self, facts: scene.Facts | None, geometry: Geometry | None, everything: bool) -> None:
        combo = self.ui.modelCombo
        combo.clear()
        for found in self.models:
            reason = reasonAgainst(found, facts, geometry)
            if everything or not reason:
                text = _("{name} (does not fit)") if found.card else _("{name} (cannot be used)")
                combo.addItem(text.format(name=found.name) if reason else found.name)
                combo.setItemData(combo.count - 1, found.name)
                combo.setItemData(combo.count - 1, reason, REASON)
                combo.setItemData(combo.count - 1, plainTip(reason), qt.Qt.ToolTipRole)

    def reason(self, index: int) -> str:
        """Why the model of a row does not fit the volume; empty when it does."""
        return str(self.ui.modelCombo.itemData(index, REASON) or "") if index >= 0 else ""

    def whyNone(self) -> str:
        """Why no model can be chosen."""
        if any(found.card for found in self.models):
            return str(_("No model fits this volume. Tick All models to see why."))
        if self.task == "classification":
            return str(_("No model for classification is installed. Import one under Advanced."))
        return str(_("No model is installed. Import one under Advanced."))

    def chosen(self) -> ModelEntry | None:
        """The chosen model."""
        name = self.ui.modelCombo.currentData
        return next((found for found in self.models if found.name == name), None)

    def prefer(self) -> None:
        """Make the chosen model the first choice of its family, also in other scenes and after a restart."""
        found = self.chosen()
        if found and found.card:
            slicer.app.userSettings().setValue(f"{PREFERRED}/{found.card.family}", found.name)

    def _preferred(self, fitting: list[int]) -> int:
        """The row of the first model that fits, or of the model of its family that the user prefers; -1 for none."""
        if not fitting:
            return -1
        name = self.ui.modelCombo.itemData(fitting[0])
        card = next((found.card for found in self.models if found.name == name), None)
        preferred = slicer.app.userSettings().value(f"{PREFERRED}/{card.family}") if card else None
        row = self.ui.modelCombo.findData(preferred) if preferred else -1
        return row if row in fitting else fitting[0]

    def onModel(self, index: int) -> None:
        """Keep the choice in the parameter node; a damaged model can be shown, not chosen."""
        found = self.chosen()
        name = found.name if found and found.card else ""
        if self.parameters and self.parameters.modelName != name:
            self.parameters.modelName = name

    def onCard(self, shown: bool) -> None:
        self.ui.cardBrowser.visible = shown
        self._showCard()

    def _showCard(self) -> None:
        found = self.chosen()
        name = found.name if found else ""
        if self.ui.cardButton.checked and name != self._card:
            self._card = name
            showCard(self.ui.cardBrowser, cardText(found) if found else "")

    def onExport(self) -> None:
        """Write the chosen model as a zip and show its path."""
        found = self.chosen()
        path = self.askPath(found.name) if found else None
        if found is None or path is None:
            return
        try:
            export_bundle(str(found.folder), path, force=True)  # the dialog has asked whether to replace it
            say(self.ui.statusLabel, _("Exported: {path}.").format(path=path))
        except MedTLError as error:
            say(self.ui.statusLabel, str(error))

    def askPath(self, name: str) -> Path | None:
        """The path of the zip that the user chose, with the suffix .zip."""
        suggested = str(Path.home() / f"{name}.zip")
        chosen = qt.QFileDialog.getSaveFileName(self.ui.exportModelButton, _("Export model"), suggested, "*.zip")
        if not chosen:
            return None
        path = Path(chosen)
        return path if path.suffix.lower() == ".zip" else path.with_name(f"{path.name}.zip")

    def whyNotDelete(self) -> str:
        """Why the chosen model cannot be deleted; empty when it can."""
        found = self.chosen()
        if found is None:
            return str(_("No model is chosen."))
        if found.source != "user":
            return str(_("{name} comes with MedTL and stays.").format(name=found.name))
        # A job that tunes a model reads its texts at the end.
        return str(_("A job is running.")) if self.run.engine_works else ""

    def onDelete(self) -> None:
        """Delete the chosen model after a confirmation; then choose its parent, or the first that fits."""
        found, reason = self.chosen(), self.whyNotDelete()
        if found is None or reason:
            say(self.ui.statusLabel, reason)
            return
        question = _("Delete the model {name} from this computer? This cannot be undone.").format(name=found.name)
        if not confirm(question):
            return
        try:
            delete_bundle(found.name)
        except MedTLError as error:
            say(self.ui.statusLabel, str(error))
            return
        self.read()
        parent = found.card.parent.name if found.card and found.card.parent else ""
        installed = parent in [other.name for other in self.models if other.card]
        self.parameters.modelName = parent if installed else ""  # without one, the list chooses
        say(self.ui.statusLabel, _("Deleted: {name}.").format(name=found.name))

    def bringIn(self, path: Path) -> str:
        """Import a bundle and return the message for the user."""
        try:
            folder = import_bundle(path)
        except MedTLError as error:
            return str(error)
        self.read()
        text = _("Imported: {name}.").format(name=folder.name)
        if folder.name not in [found.name for found in self.models]:
            text += " " + _("It is for the other MedTL module.")
        return str(text)


def folders() -> tuple[Path, ...]:
    """The folders of all models. Only their names, for to read the models takes a while: their weights are checked."""
    return tuple(sorted(folder for _source, root in stores() if root.is_dir() for folder in root.iterdir()))


def reasonAgainst(found: ModelEntry, facts: scene.Facts | None, geometry: Geometry | None) -> str:
    """Why the model does not fit the volume; empty when it does, or while there is no volume."""
    if found.card is None:
        return found.problem
    return "; ".join(scene.misfits_of(found.card, facts, geometry)) if facts else ""
