"""Real MRML from slicer-core: no Qt, no application."""

from types import SimpleNamespace

import pytest
import slicer


@pytest.fixture
def scene():
    """An empty MRML scene in which segmentation and volume nodes work; slicer.util finds it."""
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    logics = {}
    for name, make in (
        ("Segmentations", slicer.vtkSlicerSegmentationsModuleLogic),
        ("Volumes", slicer.vtkSlicerVolumesLogic),
    ):
        logic = make()
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
        logic.SetMRMLScene(scene)
        logics[name.lower()] = SimpleNamespace(logic=lambda logic=logic: logic)
    slicer.mrmlScene = scene
    slicer.app = SimpleNamespace(applicationLogic=lambda: application)
    slicer.modules = SimpleNamespace(**logics)
    yield scene
    scene.Clear()
    del slicer.mrmlScene, slicer.app, slicer.modules
