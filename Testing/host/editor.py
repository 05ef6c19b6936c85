# ruff: noqa: N801, N802, N815
"""Stand-in for the Segment Editor: its node, its current segment and its undo history are real, nothing is painted."""

from types import SimpleNamespace
from typing import Any

import slicer
from PySide6 import QtGui, QtWidgets

from host.mrml_widgets import qMRMLWidget
from host.pythonqt import standin, stored


@standin
class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Slicer's editor widget over Slicer's editor logic, as far as others call it."""

    segmentationNodeSelectorVisible = stored("segmentationNodeSelectorVisible", bool, True)
    sourceVolumeNodeSelectorVisible = stored("sourceVolumeNodeSelectorVisible", bool, True)
    switchToSegmentationsButtonVisible = stored("switchToSegmentationsButtonVisible", bool, True)
    addRemoveSegmentButtonsVisible = stored("addRemoveSegmentButtonsVisible", bool, True)
    specifyGeometryButtonVisible = stored("specifyGeometryButtonVisible", bool, True)
    show3DButtonVisible = stored("show3DButtonVisible", bool, True)
    unorderedEffectsVisible = stored("unorderedEffectsVisible", bool, True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._host_logic = slicer.vtkSlicerSegmentEditorLogic()
        self._host_effects, self._host_keys, self._host_observes = [], [], False
        # The segments table, the effects and their options of Slicer 5.12.3 need so much.
        self.setLayout(QtWidgets.QVBoxLayout())
        self.layout().addWidget(QtWidgets.QLabel("Segment Editor (stand-in)"))
        self.setMinimumHeight(458)

    def setMRMLScene(self, scene: Any) -> None:
        super().setMRMLScene(scene)
        self._host_logic.SetMRMLScene(scene)

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._host_logic.SetSegmentEditorNode(node)

    def mrmlSegmentEditorNode(self) -> Any:
        return self._host_logic.GetSegmentEditorNode()

    def setSegmentationNode(self, node: Any) -> None:
        self._host_logic.SetSegmentationNode(node)

    def segmentationNode(self) -> Any:
        return self._host_logic.GetSegmentationNode()

    def segmentationNodeID(self) -> str:
        return self.segmentationNode().GetID() if self.segmentationNode() is not None else ""

    def setSourceVolumeNode(self, node: Any) -> None:
        self._host_logic.SetSourceVolumeNode(node)

    def sourceVolumeNode(self) -> Any:
        return self._host_logic.GetSourceVolumeNode()

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self._host_logic.SetCurrentSegmentID(segment_id)

    def currentSegmentID(self) -> str:
        return str(self._host_logic.GetCurrentSegmentID() or "")

    def effectNameOrder(self) -> list[str]:
        return self._host_effects

    def setEffectNameOrder(self, names: list[str]) -> None:
        self._host_effects = list(names)

    def activeEffect(self) -> Any:
        name = self.mrmlSegmentEditorNode().GetActiveEffectName() if self.mrmlSegmentEditorNode() else ""
        return SimpleNamespace(name=name) if name else None

    def setActiveEffect(self, effect: Any) -> None:
        self.setActiveEffectByName(effect.name if effect is not None else "")

    def setActiveEffectByName(self, name: str) -> None:
        if self.mrmlSegmentEditorNode() is not None:
            self.mrmlSegmentEditorNode().SetActiveEffectName(name)

    def setupViewObservations(self) -> None:
        self._host_observes = True

    def removeViewObservations(self) -> None:
        self._host_observes = False

    def installKeyboardShortcuts(self, parent: Any = None) -> None:
        self.uninstallKeyboardShortcuts()
        parent = parent or slicer.util.mainWindow() or self
        for key, slot in (("Z", self.undo), ("Y", self.redo)):
            self._host_keys.append(QtGui.QShortcut(QtGui.QKeySequence(key), parent))
            self._host_keys[-1].connect("activated()", slot)

    def uninstallKeyboardShortcuts(self) -> None:
        for shortcut in self._host_keys:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._host_keys = []

    def setMaximumNumberOfUndoStates(self, states: int) -> None:
        self._host_logic.SetMaximumNumberOfUndoStates(states)

    def saveStateForUndo(self) -> None:
        self._host_logic.SaveStateForUndo()

    def undo(self) -> None:
        self._host_logic.Undo()

    def redo(self) -> None:
        self._host_logic.Redo()


class SegmentEditorModule:
    """`slicer.modules.segmenteditor`: its editor is made when it is first asked for, as in Slicer."""

    name = "SegmentEditor"
    _editor: Any = None

    def widgetRepresentation(self) -> Any:
        if self._editor is None:
            self._editor = qMRMLSegmentEditorWidget()
            node = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
            if node is None:
                node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
                node.UnRegister(None)
                node.SetSingletonTag("SegmentEditor")
                node = slicer.mrmlScene.AddNode(node)
            self._editor.setMRMLSegmentEditorNode(node)
            self._editor.setMRMLScene(slicer.mrmlScene)
        return SimpleNamespace(self=lambda: SimpleNamespace(editor=self._editor))
