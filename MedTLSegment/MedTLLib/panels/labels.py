"""The labels of a model, with a search: ticked ones are written into the segmentation."""

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.model.card import Label, ModelCard
from MedTLLib.jobs import labels

from .form import fitList
from .texts import plainTip

SIDE = 12  # pixels of a colour


class LabelsPanel:
    """Shown for models of several labels. The choice is a setting of the user; `onChanged` is called after it."""

    def __init__(self, ui: Any, onChanged: Callable[[], None]) -> None:
        self.ui, self.onChanged = ui, onChanged
        self.card: ModelCard | None = None
        ui.labelSearch.connect("textChanged(QString)", self.onSearch)
        ui.labelList.connect("itemChanged(QListWidgetItem*)", self.onItem)
        ui.allLabelsButton.connect("clicked()", lambda: self.tickShown(True))
        ui.noLabelsButton.connect("clicked()", lambda: self.tickShown(False))

    def update(self, card: ModelCard | None) -> None:
        """List the labels of the model."""
        card = card if card and len(card.labels) > 1 else None
        self.ui.labelsBox.visible = card is not None
        if card == self.card:
            return
        self.card = card
        shown, wanted = self.ui.labelList, set(labels.wanted_labels(card) if card else ())
        blocked = shown.blockSignals(True)
        shown.clear()
        for label in card.labels if card else ():
            item = qt.QListWidgetItem(_icon(label), label.name)
            item.setToolTip(plainTip(f"{label.name} ({label.id}, {label.value})"))
            item.setData(qt.Qt.UserRole, label.id)
            item.setCheckState(qt.Qt.Checked if label.id in wanted else qt.Qt.Unchecked)
            shown.addItem(item)
        shown.blockSignals(blocked)
        fitList(shown)
        self.ui.labelSearch.clear()
        self._showCount()

    def wanted(self) -> tuple[str, ...] | None:
        """The ids of the ticked labels; None where all are, or there is nothing to choose."""
        ticked = tuple(item.data(qt.Qt.UserRole) for item in self._items() if item.checkState() == qt.Qt.Checked)
        return None if self.card is None or len(ticked) == len(self.card.labels) else ticked

    def whyNot(self) -> str:
        """Why nothing would be written; empty when something would."""
        return str(_("No label is ticked. Tick one under Labels.")) if self.wanted() == () else ""

    def onSearch(self, text: str) -> None:
        """Show the labels whose names have all these words."""
        words = text.casefold().split()
        for item in self._items():
            name = f"{item.text()} {item.data(qt.Qt.UserRole)}".casefold()
            item.setHidden(not all(word in name for word in words))

    def tickShown(self, ticked: bool) -> None:
        """Tick the labels that the search shows, or none of them."""
        blocked = self.ui.labelList.blockSignals(True)
        for item in self._items():
            if not item.isHidden():
                item.setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)
        self.ui.labelList.blockSignals(blocked)
        self.onItem()

    def onItem(self, item: Any = None) -> None:
        """Remember what is ticked."""
        if self.card is not None:
            wanted = self.wanted()
            labels.remember(self.card, wanted if wanted is not None else [label.id for label in self.card.labels])
            self._showCount()
            self.onChanged()

    def _items(self) -> list[Any]:
        return [self.ui.labelList.item(row) for row in range(self.ui.labelList.count)]

    def _showCount(self) -> None:
        count = len(self.card.labels) if self.card else 0
        wanted = self.wanted()
        ticked = count if wanted is None else len(wanted)
        self.ui.labelsBox.text = _("Labels: {ticked} of {count}").format(ticked=ticked, count=count)


def _icon(label: Label) -> Any:
    """The colour of the label."""
    picture = qt.QPixmap(SIDE, SIDE)
    picture.fill(qt.QColor.fromRgbF(*label.colour))
    return qt.QIcon(picture)
