# ruff: noqa: N801, N802, N815
"""Stand-ins for Slicer's own widgets that our forms use: the same names, properties and signals, much less inside."""

from typing import Any

import shiboken6
import slicer
from PySide6 import QtCore, QtWidgets

from host.ctk_widgets import row
from host.pythonqt import standin, stored

Signal = QtCore.Signal


class _SceneWidget(QtWidgets.QWidget):
    """What the MRML widgets share: a scene."""

    _host_signals = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}  # noqa: RUF012
    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self.__dict__.get("_host_scene"):
            self._host_scene = scene
            self.mrmlSceneChanged.emit(scene)


@standin
class qMRMLWidget(_SceneWidget):
    """A widget with a scene: the top of every form."""

    def mrmlScene(self) -> Any:
        return self.__dict__.get("_host_scene")


@standin
class qSlicerWidget(_SceneWidget):
    """A widget with a scene: the top of a module's panel."""


def _filter(name: str, kind: Any, default: Any) -> QtCore.Property:
    """A property that decides which nodes are listed."""
    key = f"_host_{name}"

    def get(self: Any) -> Any:
        return self.__dict__.get(key, default)

    def set_(self: Any, value: Any) -> None:
        self.__dict__[key] = list(value) if kind == "QStringList" else value
        self._refresh()

    return QtCore.Property(kind, get, set_)


@standin
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """The nodes of a scene that fit, one of them chosen."""

    _host_signals = {  # noqa: RUF012
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_hostAnyNode",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
    }
    currentNodeChanged = Signal(object)
    _hostAnyNode = Signal(bool)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    addEnabled = stored("addEnabled", bool, True)
    removeEnabled = stored("removeEnabled", bool, True)
    editEnabled = stored("editEnabled", bool, False)
    renameEnabled = stored("renameEnabled", bool, False)
    selectNodeUponCreation = stored("selectNodeUponCreation", bool, True)
    interactionNodeSingletonTag = stored("interactionNodeSingletonTag", str, "")
    baseName = stored("baseName", str, "")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._host_box = QtWidgets.QComboBox()
        self._host_box.setSizePolicy(QtWidgets.QSizePolicy.Ignored, QtWidgets.QSizePolicy.Fixed)
        row(self, self._host_box)
        self._host_box.activated.connect(lambda n: self._activated(n))
        self.setFocusProxy(self._host_box)
        self._host_scene, self._host_id, self._host_attributes, self._host_tags = None, "", [], []
        self._host_listed: list[Any] = []

    nodeTypes = _filter("nodeTypes", "QStringList", [])
    hideChildNodeTypes = _filter("hideChildNodeTypes", "QStringList", [])
    showChildNodeTypes = _filter("showChildNodeTypes", bool, True)
    showHidden = _filter("showHidden", bool, False)
    noneEnabled = _filter("noneEnabled", bool, False)
    noneDisplay = _filter("noneDisplay", str, "None")

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        self._host_attributes.append((node_type, name, value))
        self._refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._host_attributes = [a for a in self._host_attributes if a[:2] != (node_type, name)]
        self._refresh()

    def mrmlScene(self) -> Any:
        return self._host_scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._host_scene:
            return
        for observed, tag in self._host_tags:
            observed.RemoveObserver(tag)
        self._host_scene, self._host_tags = scene, []
        if scene is not None:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent, scene.EndCloseEvent):
                self._host_tags.append((scene, scene.AddObserver(event, self._on_scene)))
        self._refresh()

    def _on_scene(self, scene: Any, event: str) -> None:
        if shiboken6.isValid(self):
            self._refresh()

    def currentNode(self) -> Any:
        return self._host_scene.GetNodeByID(self._host_id) if self._host_scene and self._host_id else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id: str | None) -> None:
        known = {node.GetID() for node in self._host_listed}
        self._choose(node_id if node_id in known else "")

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self.nodeFromIndex(index))

    def nodeFromIndex(self, index: int) -> Any:
        return self._host_listed[index] if 0 <= index < len(self._host_listed) else None

    def nodeCount(self) -> int:
        return len(self._host_listed)

    def addNode(self, node_type: str = "") -> Any:
        node = self._host_scene.AddNewNodeByClass(node_type or self.nodeTypes[0], self.baseName)
        self.nodeAddedByUser.emit(node)
        self.setCurrentNode(node)
        return node

    currentNodeID = QtCore.Property(str, lambda self: self._host_id, setCurrentNodeID)

    def _fits(self, node: Any) -> bool:
        exact = [t for t in self.nodeTypes if node.GetClassName() == t or (self.showChildNodeTypes and node.IsA(t))]
        hidden = any(node.IsA(t) for t in self.hideChildNodeTypes) or (
            node.GetHideFromEditors() and not self.showHidden
        )
        wanted = all(
            node.GetAttribute(name) is not None and (value is None or node.GetAttribute(name) == str(value))
            for node_type, name, value in self._host_attributes
            if node.IsA(node_type)
        )
        return bool(exact) and not hidden and wanted

    def _refresh(self) -> None:
        scene = self._host_scene
        nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())] if scene else []
        before, self._host_listed = {n.GetID() for n in self._host_listed}, [n for n in nodes if self._fits(n)]
        self._host_box.clear()
        if self.noneEnabled:
            self._host_box.addItem(self.noneDisplay, "")
        elif not self._host_listed:
            self._host_box.addItem(self._empty(), "")
        for node in self._host_listed:
            self._host_box.addItem(node.GetName(), node.GetID())
        for observed, tag in [each for each in self._host_tags if each[0] is not scene]:
            if observed not in self._host_listed:  # it would stay in memory
                observed.RemoveObserver(tag)
                self._host_tags.remove((observed, tag))
        known = {n.GetID() for n in self._host_listed}
        first = self._host_listed[0].GetID() if self._host_listed and not self.noneEnabled else ""
        self._choose(self._host_id if self._host_id in known else first)
        for node in self._host_listed:
            if node.GetID() not in before:
                self._host_tags.append((node, node.AddObserver("ModifiedEvent", self._on_node)))
                self.nodeAdded.emit(node)

    def _empty(self) -> str:
        """What is shown where there is nothing to choose: "Select a Volume"."""
        kind = slicer.mrmlScene.GetTagByClassName(self.nodeTypes[0]) if len(self.nodeTypes) == 1 else ""
        return f"Select a {kind or 'Node'}"

    def _on_node(self, node: Any, event: str) -> None:
        if shiboken6.isValid(self) and (n := self._host_box.findData(node.GetID())) >= 0:
            self._host_box.setItemText(n, node.GetName() or "")

    def _activated(self, index: int) -> None:
        self._choose(self._host_box.itemData(index))
        self.nodeActivated.emit(self.currentNode())

    def _choose(self, node_id: str) -> None:
        changed, self._host_id = node_id != self._host_id, node_id
        self._host_box.setCurrentIndex(self._host_box.findData(node_id))
        if changed:
            self.currentNodeChanged.emit(self.currentNode())
            self._hostAnyNode.emit(bool(node_id))
            self.currentNodeIDChanged.emit(node_id)
