"""Heat maps: volumes of 0 to 1 on the grid of the classified one, shown over its slices. No Qt."""

from typing import Any

import numpy as np
import slicer

from medtl.volume import Geometry
from MedTLLib.mrml import views
from MedTLLib.mrml.scene import ras_of

HEATMAP = "MedTL.heatmap"  # attribute of such a volume
BEFORE = "MedTL.foreground"  # role and attribute of a view's composite node: the user's foreground and its opacity
OPACITY = 0.4
COLOURS = "MedTLHeat"
SHADES = 256
CLEAR = 0.25  # lower values are transparent, so that they do not darken the image


def put(array: np.ndarray, geometry: Geometry, name: str, node: Any = None) -> Any:
    """A volume node of the heat map (Z, Y, X), 0 to 1: `node` filled anew, or a new one."""
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(name))
        node.SetAttribute(HEATMAP, "1")
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ras_of(geometry)))
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.SetAndObserveColorNodeID(_colours().GetID())
    return node


def _colours() -> Any:
    """Transparent, then red to yellow; a slice view has no partly transparent colours, so the edge is sharp."""
    scene = slicer.mrmlScene
    node = scene.GetSingletonNode(COLOURS, "vtkMRMLColorTableNode")
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLColorTableNode")
        node.UnRegister(None)
        node.SetName(COLOURS)
        node.SetSingletonTag(COLOURS)
        node.SetHideFromEditors(True)
        node.SetTypeToUser()
        node.SetNumberOfColors(SHADES)
        for shade in range(SHADES):
            value = shade / (SHADES - 1)
            node.SetColor(
                shade, f"{value:.2f}", min(1.0, 2.0 * value), max(0.0, 2.0 * value - 1.0), 0.0, value >= CLEAR
            )
        node = scene.AddNode(node)
    return node


def shown(node: Any) -> bool:
    """Whether the heat map is in front of a slice view."""
    return node is not None and any(each.GetForegroundVolumeID() == node.GetID() for each in _composites())


def show(node: Any, volume: Any) -> None:
    """Show the heat map over the slices of its volume, in all slice views, turned to the volume's plane."""
    views.turn_to(volume)
    for composite in _composites():
        if composite.GetAttribute(BEFORE) is None:
            composite.SetNodeReferenceID(BEFORE, composite.GetForegroundVolumeID())
            composite.SetAttribute(BEFORE, repr(composite.GetForegroundOpacity()))
        composite.SetForegroundVolumeID(node.GetID())
        composite.SetForegroundOpacity(OPACITY)


def hide() -> None:
    """Restore the user's foreground; one that was chosen since stays."""
    for composite in _composites():
        opacity = composite.GetAttribute(BEFORE)
        front = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
        if opacity is not None and (front is None or front.GetAttribute(HEATMAP)):
            composite.SetForegroundVolumeID(composite.GetNodeReferenceID(BEFORE))
            composite.SetForegroundOpacity(float(opacity))
        composite.RemoveAttribute(BEFORE)
        composite.SetNodeReferenceID(BEFORE, None)


def _composites() -> list[Any]:
    nodes = (views.composite_of(view) for view in views.slice_nodes())
    return [each for each in nodes if each is not None]
