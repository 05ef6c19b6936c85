"""The segment editors that can have a segmentation open: that of Slicer's module and the one inside our panel."""

from typing import Any

import slicer

NODE = "vtkMRMLSegmentEditorNode"
SLICER_EDITOR, PANEL_EDITOR = "SegmentEditor", "MedTLSegmentEditor"  # singleton tags of their nodes


def open_editor(segmentation: Any) -> Any:
    """The node of the segment editor that has this segmentation open, after a state was saved for its Undo; else None.

    One state for each of our actions, so that the editor's Undo takes back this action and no more. Where both editors
    have it open, both save a state, and the node is that of the editor inside our panel.
    """
    open_node = None
    for tag in (SLICER_EDITOR, PANEL_EDITOR) if segmentation is not None else ():
        node = slicer.mrmlScene.GetSingletonNode(tag, NODE)
        if node is not None and node.GetSegmentationNode() is segmentation:
            open_node = node
            editor = _widget(tag)
            if editor is not None:
                editor.saveStateForUndo()
    return open_node


def panel_editor_node() -> Any:
    """The node of the editor inside our panel, with settings of its own; made where there is none."""
    node = slicer.mrmlScene.GetSingletonNode(PANEL_EDITOR, NODE)
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass(NODE)
        node.UnRegister(None)
        node.SetSingletonTag(PANEL_EDITOR)
        node = slicer.mrmlScene.AddNode(node)
    return node


def _widget(tag: str) -> Any:
    """The editor widget of that node; None where it was never opened."""
    if tag == SLICER_EDITOR:
        module = getattr(slicer.modules, "segmenteditor", None)
        return module.widgetRepresentation().self().editor if module is not None else None
    panel = getattr(slicer.modules, "MedTLSegmentWidget", None)
    return panel.seeds.correct.editor if panel is not None else None
