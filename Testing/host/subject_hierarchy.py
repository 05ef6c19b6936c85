"""What Slicer's subject hierarchy module does by itself: an item for each node that the user may see."""

from typing import Any

import slicer
import vtk

DATA = ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode", "vtkMRMLPlotChartNode", "vtkMRMLSequenceNode")
NOT_DATA = ("vtkMRMLAbstractViewNode", "vtkMRMLCameraNode")
SEGMENT_EVENTS = ("SegmentAdded", "SegmentModified", "SegmentRemoved")
WATCHED = "_host_watched"


def observe(scene: Any, errors: list[str]) -> None:
    """From now on nodes of the scene get their items, and lose them; what Slicer logs as an error is appended.

    A node that is hidden when it is added gets none, as in Slicer, and neither do nodes while a scene is read: these
    get theirs at the end.
    """

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def on_added(caller: Any, event: str, node: Any) -> None:
        if not caller.IsImporting():
            _add(node, on_segment)

    def on_import_ended(caller: Any, event: str) -> None:
        for number in range(caller.GetNumberOfNodes()):
            _add(caller.GetNthNode(number), on_segment)

    def on_segment(node: Any, event: str) -> None:
        owner = node.GetScene()
        if owner is None or owner.IsImporting() or owner.IsClosing():
            return
        if not _hierarchy(owner).GetItemByDataNode(node):
            errors.append(f"Unable to find subject hierarchy item for segmentation node {node.GetName()}")

    scene.AddObserver(scene.NodeAddedEvent, on_added)
    scene.AddObserver(scene.NodeAboutToBeRemovedEvent, _on_removed)
    scene.AddObserver(scene.EndImportEvent, on_import_ended)
    on_import_ended(scene, "")


def _hierarchy(scene: Any) -> Any:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def _add(node: Any, on_segment: Any) -> None:
    if not any(node.IsA(name) for name in DATA) or any(node.IsA(name) for name in NOT_DATA):
        return
    if node.IsA("vtkMRMLSegmentationNode") and not node.__dict__.get(WATCHED):
        node.__dict__[WATCHED] = True
        for name in SEGMENT_EVENTS:
            node.AddObserver(getattr(slicer.vtkSegmentation, name), on_segment)
    items = _hierarchy(node.GetScene())
    if not node.GetHideFromEditors() and not items.GetItemByDataNode(node):
        items.CreateItem(items.GetSceneItemID(), node)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _on_removed(scene: Any, event: str, node: Any) -> None:
    if scene is None or scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
        return
    items = _hierarchy(scene)
    item = items.GetItemByDataNode(node)
    if item:
        items.RemoveItem(item, False, False)
