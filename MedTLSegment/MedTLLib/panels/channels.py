"""A volume selector for each channel of a model that has several; the first one is the selector of the input volume."""

from collections.abc import Callable
from functools import partial
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from medtl.model.card import ModelCard
from MedTLLib.jobs import channels

from .form import showText
from .texts import plainTip

ROLE = "channel{}"  # of a node reference of the parameter node, by the number of the channel, from 1


class ChannelsPanel:
    """The choice lives in the parameter node. `onChanged` is called after the user chose a volume, or one was added."""

    def __init__(self, ui: Any, onChanged: Callable[[], None]) -> None:
        self.ui, self.onChanged = ui, onChanged
        self.parameters: Any = None
        self.card: ModelCard | None = None
        self._rows: list[tuple[Any, Any]] = []  # a caption and a selector for each channel but the first
        self._filled = ("", "")  # the family of models and the first volume for which the selectors were filled
        showText(ui.channelsLabel, "")

    def update(self, parameters: Any, card: ModelCard | None) -> None:
        """Show a selector for each channel of the model, and fill them when another model or volume is chosen."""
        self.parameters, self.card = parameters, card if card and len(card.input.channels) > 1 else None
        names = self.card.input.channels if self.card else ()
        self.ui.inputCaption.text = _("{channel}:").format(channel=_caption(names[0])) if names else _("&Volume:")
        self._showRows(names[1:])
        first = parameters.inputVolume if parameters else None
        if parameters is None:  # the scene is closed: a volume of the next one may have the same ID
            self._filled = ("", "")
        if self.card is not None and first is not None:
            self._fill(self.card, first)
        for number, (_label, selector) in enumerate(self._rows, start=1):
            self._set(selector, self._volume(number) if number < len(names) else None)
        # The cards of MedTL's own models of one channel state what does not fit, and the list of models shows it.
        remarked = card if card and (names or card.imported) and first is not None else None
        showText(self.ui.channelsLabel, channels.remarks(remarked, self.volumes()) if remarked else "")

    def volumes(self) -> list[Any]:
        """The volume of each channel, the input volume first; None where none is chosen."""
        count = len(self.card.input.channels) if self.card else 1
        return [self.parameters.inputVolume, *map(self._volume, range(1, count))]

    def choose(self, further: list[Any]) -> None:
        """Choose the volumes of all channels but the first, which is the input volume as it is now."""
        if self.card is not None:
            self._take([self.parameters.inputVolume, *further])

    def whyNot(self) -> str:
        """Why the model cannot run on the chosen volumes; empty when it can."""
        return channels.why_not(self.card, self.volumes()) if self.card else ""

    def _fill(self, card: ModelCard, first: Any) -> None:
        now, before = (card.family, first.GetID()), self._filled
        if now == before:
            return
        # At first there may be a choice already: of the scene that was opened.
        kept = [None] * (len(card.input.channels) - 1) if before[0] else self.volumes()[1:]
        self._take(channels.filled(card, [first, *kept], swap=card.family != before[0]))

    def _take(self, chosen: list[Any]) -> None:
        """Choose these volumes, one a channel."""
        assert self.card is not None
        for number, volume in enumerate(chosen[1:], start=1):
            self._keep(number, volume)
        self._filled = (self.card.family, chosen[0].GetID())
        self.parameters.inputVolume = chosen[0]  # last: it makes the panel update again

    def _volume(self, number: int) -> Any:
        return self.parameters.parameterNode.GetNodeReference(ROLE.format(number)) if self.parameters else None

    def _keep(self, number: int, volume: Any) -> None:
        node = self.parameters.parameterNode
        node.SetNodeReferenceID(ROLE.format(number), volume.GetID() if volume is not None else None)

    def _showRows(self, names: tuple[str, ...]) -> None:
        while len(self._rows) < len(names):
            self._rows.append(self._newRow(len(self._rows) + 1))
        for number, (label, selector) in enumerate(self._rows):
            shown = number < len(names)
            label.visible = selector.visible = shown
            if shown:
                label.text = _("{channel}:").format(channel=_caption(names[number]))
                selector.accessibleName = _("Volume of the channel {channel}").format(channel=names[number])
                tip = _("The image of the channel {channel}. It is resampled where its grid is another.")
                selector.toolTip = plainTip(tip.format(channel=names[number]))
                if selector.mrmlScene() is not slicer.mrmlScene:
                    selector.setMRMLScene(slicer.mrmlScene)

    def _newRow(self, number: int) -> tuple[Any, Any]:
        label, selector = qt.QLabel(), slicer.qMRMLNodeComboBox()
        label.textFormat = qt.Qt.PlainText
        label.setBuddy(selector)
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.hideChildNodeTypes = self.ui.inputSelector.hideChildNodeTypes
        selector.noneEnabled, selector.addEnabled, selector.removeEnabled = True, False, False
        selector.noneDisplay = _("Select the volume")
        self.ui.jobBox.layout().insertRow(number, label, selector)
        selector.connect("currentNodeChanged(vtkMRMLNode*)", partial(self._onChosen, number))
        selector.connect("nodeAdded(vtkMRMLNode*)", self._onAdded)
        return label, selector

    def _set(self, selector: Any, volume: Any) -> None:
        if selector.currentNode() is not volume:
            blocked = selector.blockSignals(True)
            selector.setCurrentNode(volume)
            selector.blockSignals(blocked)

    def _onChosen(self, number: int, volume: Any) -> None:
        if self.card is not None and self.parameters is not None and self._volume(number) is not volume:
            self._keep(number, volume)
            self.onChanged()

    def _onAdded(self, volume: Any) -> None:
        """Fill channels that are empty, in the next turn of the event loop: the volume may have no voxels yet."""
        if self.card is not None and not all(self.volumes()):
            qt.QTimer.singleShot(0, self._fillEmpty)

    def _fillEmpty(self) -> None:
        if self.card is not None and self.parameters and self.parameters.inputVolume:
            self._take(channels.filled(self.card, self.volumes()))
            self.onChanged()


def _caption(name: str) -> str:
    """A name as a label with a buddy shows it letter by letter."""
    return name.replace("&", "&&")
