# ruff: noqa: N801, N802
"""Stand-in for Slicer's IO manager: nodes from files and into files, by MRML's storage nodes."""

from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore

from host.pythonqt import standin

SEGMENTATION_ENDINGS = (".seg.nrrd", ".seg.nhdr", ".seg.vtm")
VOLUME_ENDINGS = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".dcm")
TABLE_ENDINGS = (".csv", ".tsv")
SCENE_ENDINGS = (".mrml", ".mrb")
NODES = {
    "SegmentationFile": ("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode"),
    "TableFile": ("vtkMRMLTableNode", "vtkMRMLTableStorageNode"),
}


@standin
class qSlicerIOManager(QtCore.QObject):
    """`slicer.app.ioManager()` without its dialogs."""

    def fileType(self, path: str) -> str:
        endings = {
            "SegmentationFile": SEGMENTATION_ENDINGS,
            "VolumeFile": VOLUME_ENDINGS,
            "TableFile": TABLE_ENDINGS,
            "SceneFile": SCENE_ENDINGS,
        }
        return next((kind for kind, known in endings.items() if path.lower().endswith(known)), "NoFile")

    def loadNodes(self, file_type: str, properties: dict[str, Any], nodes: Any = None, messages: Any = None) -> bool:
        path = Path(properties["fileName"])
        if not path.is_file():
            return False
        if file_type == "SceneFile":
            return self.loadScene(str(path), properties.get("clear", False))
        if file_type == "VolumeFile":
            name = properties.get("name") or path.name.split(".")[0]
            flags = 1 if properties.get("labelmap") else 0
            node = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), name, flags)
        else:
            node = _read(path, properties.get("name"), *NODES[file_type])
        if node is not None and nodes is not None:
            nodes.AddItem(node)
        return node is not None

    def saveNodes(self, file_type: str, properties: dict[str, Any], messages: Any = None) -> bool:
        if file_type == "SceneFile":
            return self.saveScene(properties["fileName"], None)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(properties["fileName"])
        if "useCompression" in properties:
            storage.SetUseCompression(properties["useCompression"])
        return bool(storage.WriteData(node))

    def fileWriterFileType(self, node: Any, suffix: str = "") -> str:
        return str(node.GetClassName())

    def saveScene(self, path: str, picture: Any, messages: Any = None) -> bool:
        return bool(slicer.mrmlScene.WriteToMRB(path) if path.endswith(".mrb") else slicer.mrmlScene.Commit(path))

    def loadScene(self, path: str, clear: bool = True, messages: Any = None) -> bool:
        scene = slicer.mrmlScene
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())


def _read(path: Path, name: str | None, node_class: str, storage_class: str) -> Any:
    scene = slicer.mrmlScene
    storage = scene.AddNewNodeByClass(storage_class)
    node = scene.AddNewNodeByClass(node_class, name or path.name.split(".")[0])
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        scene.RemoveNode(node)
        scene.RemoveNode(storage)
        return None
    node.SetAndObserveStorageNodeID(storage.GetID())
    node.CreateDefaultDisplayNodes()
    return node
