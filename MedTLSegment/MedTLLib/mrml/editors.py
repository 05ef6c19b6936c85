"""The segment editors that may have a segmentation open: Slicer's module and the one inside our panel."""

from typing import Any

import slicer

NODE = "vtkMRMLSegmentEditorNode"
SLICERS, OURS = "SegmentEditor", "MedTLSegmentEditor"  # singleton tags of their nodes


def open_editor(segmentation: Any) -> Any:
    """The node of the segment editor that has this segmentation open, its history given a state; else None.

    One state for each action of ours: so the editor's own undo takes back that action and no more. Where both have it
    open both get a state, and the node is that of ours, which the user sees beside what he presses.
    """
    found = None
    for tag in (SLICERS, OURS) if segmentation is not None else ():
        node = slicer.mrmlScene.GetSingletonNode(tag, NODE)
        if node is not None and node.GetSegmentationNode() is segmentation:
            found = node
            editor = _widget(tag)
            if editor is not None:
                editor.saveStateForUndo()
    return found


def node_of_ours() -> Any:
    """The node of the editor inside our panel, made when there is none: its settings are not Slicer's own editor's."""
    node = slicer.mrmlScene.GetSingletonNode(OURS, NODE)
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass(NODE)
        node.UnRegister(None)
        node.SetSingletonTag(OURS)
        node = slicer.mrmlScene.AddNode(node)
    return node


def _widget(tag: str) -> Any:
    """The editor with that node; None where it was never opened."""
    if tag == SLICERS:
        module = getattr(slicer.modules, "segmenteditor", None)
        return module.widgetRepresentation().self().editor if module is not None else None
    panel = getattr(slicer.modules, "MedTLSegmentWidget", None)
    return panel.seeds.correct.editor if panel is not None else None
