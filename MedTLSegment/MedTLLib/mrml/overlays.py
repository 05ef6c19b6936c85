"""Volumes that are shown over the slices of another one: heat maps, the uncertainty of a segmentation. No Qt."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer

from medtl.volume import Geometry

from . import views
from .scene import ras_of

HEATMAP, UNCERTAINTY = "MedTL.heatmap", "MedTL.uncertainty"  # attribute of such a volume
BEFORE = "MedTL.foreground"  # role and attribute of a view's composite node: the user's foreground and its opacity
OPACITY = 0.4

Shade = tuple[float, float, float, float]  # red, green, blue and opacity, 0 to 1


def put(array: np.ndarray, geometry: Geometry, name: str, kind: str, colours: Any, top: float, node: Any = None) -> Any:
    """A volume node of this kind (`HEATMAP` or `UNCERTAINTY`) with the array (Z, Y, X) of 0 to `top`: `node` filled
    anew, or a new one."""
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(name))
        node.SetAttribute(kind, "1")
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ras_of(geometry)))
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, top)
    display.SetAndObserveColorNodeID(colours.GetID())
    return node


def colours_of(name: str, shades: Sequence[Shade]) -> Any:
    """The colour table of this name, made where it is not there. A slice view has no partly transparent colours: any
    opacity but 0 counts as 1."""
    scene = slicer.mrmlScene
    node = scene.GetSingletonNode(name, "vtkMRMLColorTableNode")
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLColorTableNode")
        node.UnRegister(None)
        node.SetName(name)
        node.SetSingletonTag(name)
        node.SetHideFromEditors(True)
        node.SetTypeToUser()
        node.SetNumberOfColors(len(shades))
        for number, shade in enumerate(shades):
            node.SetColor(number, f"{number / (len(shades) - 1):.2f}", *shade)
        node = scene.AddNode(node)
    return node


def is_overlay(node: Any) -> bool:
    """Whether the volume is such a one, and no image."""
    return node is not None and any(node.GetAttribute(kind) for kind in (HEATMAP, UNCERTAINTY))


def shown(node: Any) -> bool:
    """Whether the volume is in front of a slice view."""
    return node is not None and any(each.GetForegroundVolumeID() == node.GetID() for each in _composites())


def show(node: Any, volume: Any) -> None:
    """Show the overlay over the slices of its volume, in all slice views, turned to the volume's plane."""
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
        if opacity is not None and (front is None or is_overlay(front)):
            composite.SetForegroundVolumeID(composite.GetNodeReferenceID(BEFORE))
            composite.SetForegroundOpacity(float(opacity))
        composite.RemoveAttribute(BEFORE)
        composite.SetNodeReferenceID(BEFORE, None)


def _composites() -> list[Any]:
    nodes = (views.composite_of(view) for view in views.slice_nodes())
    return [each for each in nodes if each is not None]
