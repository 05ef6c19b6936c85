# ruff: noqa: N801, N802
"""Stand-in for the Segment Editor: its node, its current segment and its undo history are real, nothing is painted."""

from types import SimpleNamespace
from typing import Any

import slicer

from host.mrml_widgets import qMRMLWidget
from host.pythonqt import standin


@standin
class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Slicer's editor widget over Slicer's editor logic, as far as others call it."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._host_logic = slicer.vtkSlicerSegmentEditorLogic()

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
