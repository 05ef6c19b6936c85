"""Correcting by hand: Slicer's segment editor inside the panel."""

from typing import Any

import qt
import slicer

from medtl.model.card import ModelCard
from MedTLLib.mrml import editors
from MedTLLib.mrml.tags import own_ids

# Effects that work on the slice in view, and Islands; Slicer's own Segment Editor has all effects.
EFFECTS = ("Paint", "Draw", "Erase", "Level tracing", "Islands")


class CorrectPanel:
    """Embedded, because opening Slicer's own Segment Editor would leave this module and its key S."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.editor: Any = None  # made when it is first opened, which takes a moment

    def open(self, segmentation: Any, volume: Any, card: ModelCard) -> None:
        """Open the segmentation over the volume, with a segment of the model selected and Paint active."""
        if self.editor is None:
            self.editor = self._make()
        editor = self.editor
        editor.setMRMLSegmentEditorNode(editors.panel_editor_node())
        editor.setSegmentationNode(segmentation)
        editor.setSourceVolumeNode(volume)
        ids = own_ids(segmentation, card)
        if editor.currentSegmentID() not in ids:
            editor.setCurrentSegmentID(ids[0])
        editor.setupViewObservations()
        editor.installKeyboardShortcuts()
        editor.setActiveEffectByName("Paint")
        self.ui.editorFrame.visible = True
        qt.QTimer.singleShot(0, self.scroll)  # once the frame has its height

    def scroll(self) -> None:
        """Bring the editor into the visible part of Slicer's module panel; where it is too high, its upper part."""
        area = scrollAreaOf(self.ui.editorFrame)
        if area is not None and self.ui.editorFrame.visible:
            area.ensureWidgetVisible(self.ui.editorFrame)
            area.ensureWidgetVisible(self.ui.correctButton)

    def close(self) -> None:
        """Deactivate the effect, release keys and views, and unset the segmentation: the editor's history must not
        revert later changes from elsewhere."""
        self.ui.editorFrame.visible = False
        if self.editor is not None:
            self.editor.setActiveEffect(None)
            self.editor.uninstallKeyboardShortcuts()
            self.editor.removeViewObservations()
            self.editor.setSegmentationNode(None)

    def _make(self) -> Any:
        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMaximumNumberOfUndoStates(10)
        # The panel above has the segmentation and its volume, and the segments are the model's labels.
        editor.segmentationNodeSelectorVisible = False
        editor.sourceVolumeNodeSelectorVisible = False
        editor.switchToSegmentationsButtonVisible = False
        editor.addRemoveSegmentButtonsVisible = False
        editor.specifyGeometryButtonVisible = False
        editor.show3DButtonVisible = False
        editor.setEffectNameOrder(EFFECTS)
        editor.unorderedEffectsVisible = False
        editor.setMRMLSegmentEditorNode(
            editors.panel_editor_node()
        )  # before the scene: else it makes a node of its own
        editor.setMRMLScene(slicer.mrmlScene)
        self.ui.editorFrame.layout().addWidget(editor)
        return editor


def scrollAreaOf(widget: Any) -> Any:
    """The scroll area that the widget lies in; None where it lies in none."""
    while widget is not None and not isinstance(widget, qt.QScrollArea):
        widget = widget.parentWidget()
    return widget
