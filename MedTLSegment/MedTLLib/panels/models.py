"""The list of models: those that fit the volume, the rest with the reason, and each one's card."""

from html import escape
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.bundle import Found, import_bundle, list_models
from medtl.errors import MedTLError
from medtl.gate import misfits
from medtl.volume import Geometry
from MedTLLib import scene

from .form import enable, say


class ModelPanel:
    """The choice lives in the parameter node, by the model's name."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.parameters: Any = None
        self.models: tuple[Found, ...] = ()
        self._listed: tuple[object, ...] = ()
        self._card = ""
        ui.modelCombo.connect("currentIndexChanged(int)", self.onModel)
        ui.cardButton.connect("toggled(bool)", self.onCard)
        self.read()

    def read(self) -> None:
        """Look for the models that are installed; `update` lists them."""
        self.models = list_models()
        self._listed = ()

    def update(self, facts: scene.Facts | None, geometry: Geometry | None) -> None:
        """List the models for a volume of which this is known; None lists all."""
        everything = bool(self.parameters and self.parameters.allModels)
        combo = self.ui.modelCombo
        if (facts, geometry, everything) != self._listed:
            self._listed = (facts, geometry, everything)
            blocked = combo.blockSignals(True)
            self._list(facts, geometry, everything)
            wanted = combo.findData(self.parameters.modelName) if self.parameters else -1
            fitting = [i for i in range(combo.count) if not self.reason(i)]
            combo.currentIndex = wanted if wanted >= 0 else fitting[0] if fitting else -1
            combo.blockSignals(blocked)
            self.onModel(combo.currentIndex)
        reason = self.reason(combo.currentIndex)
        say(self.ui.fitLabel, reason)
        combo.enabled = combo.count > 0
        if combo.count:
            combo.toolTip = reason or _("Models that fit this volume.")
        else:
            combo.toolTip = self.whyNone()
        none = "" if self.chosen() else _("No model is chosen.")
        enable(self.ui.cardButton, none, _("What the model is for, its training, how good it is, its licence."))
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
                combo.setItemData(combo.count - 1, reason, qt.Qt.ToolTipRole)

    def reason(self, index: int) -> str:
        """Why the model of a row does not fit the volume; empty when it does."""
        return str(self.ui.modelCombo.itemData(index, qt.Qt.ToolTipRole) or "") if index >= 0 else ""

    def whyNone(self) -> str:
        """Why no model can be chosen."""
        if any(found.card for found in self.models):
            return str(_("No model fits this volume. Tick All models to see why."))
        return str(_("No model is installed. Import one under Advanced."))

    def chosen(self) -> Found | None:
        """The chosen model."""
        name = self.ui.modelCombo.currentData
        return next((found for found in self.models if found.name == name), None)

    def onModel(self, index: int) -> None:
        """Keep the choice in the parameter node; what is damaged can be looked at, not chosen."""
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
            self.ui.cardBrowser.html = cardText(found) if found else ""

    def bringIn(self, path: Path) -> str:
        """Import a bundle and say what came of it."""
        try:
            folder = import_bundle(path)
        except MedTLError as error:
            return str(error)
        self.read()
        return str(_("Imported: {name}.").format(name=folder.name))


def reasonAgainst(found: Found, facts: scene.Facts | None, geometry: Geometry | None) -> str:
    """Why the model does not fit the volume; empty when it does, or while there is no volume."""
    if found.card is None:
        return found.problem
    if facts is None:
        return ""
    reasons = misfits(
        found.card,
        modality=facts.modality,
        description=facts.description or facts.name.replace("_", " "),  # the name of a file often tells
        size=facts.size,
        spacing=facts.spacing,
        direction=geometry.direction if geometry else None,
    )
    return "; ".join(reasons)


def cardText(found: Found) -> str:
    """The card of a model as HTML: what, on what, how good, licence."""
    if found.card is None:
        return f"<p>{escape(found.problem)}</p>"
    document = qt.QTextDocument()
    document.setMarkdown(textOf(found.folder / "docs" / "README.md"))
    version = _("Version {version}.").format(version=found.card.version)
    licence = escape(textOf(found.folder / "LICENSE")).replace("\n\n", "<br><br>")
    return (
        f"<p><b>{_('Research use, not for diagnosis.')}</b> {escape(version)} {escape(found.card.description)}</p>"
        f"{document.toHtml()}<h3>{_('Licence of the weights')}</h3><p>{licence or _('not stated')}</p>"
    )


def textOf(path: Path) -> str:
    """The text of a file; empty where there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
