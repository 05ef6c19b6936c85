"""A slice view as Slicer draws it, by Slicer's own displayable managers, into a PNG: no window, no screen."""

from pathlib import Path
from typing import Any

import slicer
import vtk
import vtkmodules.vtkInteractionStyle
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401

MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D", "vtkMRMLModelSliceDisplayableManager")
ORIENTATIONS = ("Axial", "Coronal", "Sagittal")


def render_slice(
    volume: Any,
    segmentation: Any,
    path: Path,
    *,
    centre_ras: tuple[float, float, float] | None = None,
    orientation: str = "Axial",
    size: int = 400,
) -> None:
    """Writes the slice through `centre_ras` (mm; default: the volume's middle) with the segmentation over it.

    `orientation` is Axial, Coronal, Sagittal or "Volume": the plane of the volume's own slices.
    """
    scene, application = slicer.mrmlScene, slicer.app.applicationLogic()
    if segmentation is not None and segmentation.GetScene() is not scene:
        raise ValueError("Expected a segmentation of the scene.")
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(size, size)
    renderer = vtk.vtkRenderer()
    window.AddRenderer(renderer)
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetRenderWindow(window)

    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    node = logic.AddSliceNode("Host")
    if application.GetSliceLogics() is None:
        application.SetSliceLogics(vtk.vtkCollection())
    application.GetSliceLogics().AddItem(logic)
    # In Slicer this picture comes from CTK's light box. First in, so that segments are blended with it.
    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    background = vtk.vtkActor2D()
    background.SetMapper(mapper)
    background.GetProperty().SetDisplayLocationToBackground()
    renderer.AddViewProp(background)
    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    factory.SetMRMLApplicationLogic(application)
    for manager in MANAGERS:
        if not factory.IsDisplayableManagerRegistered(manager):
            factory.RegisterDisplayableManager(manager)
    managers = factory.InstantiateDisplayableManagers(renderer)
    managers.SetMRMLDisplayableNode(node)

    logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
    logic.ResizeSliceNode(size, size)
    if orientation in ORIENTATIONS:
        getattr(node, f"SetOrientationTo{orientation}")()
    else:
        logic.RotateSliceToLowestVolumeAxes(False)
    logic.FitSliceToBackground()
    if centre_ras is None:
        bounds = [0.0] * 6
        volume.GetRASBounds(bounds)
        centre_ras = tuple((bounds[n] + bounds[n + 1]) / 2 for n in (0, 2, 4))
    node.JumpSliceByOffsetting(*centre_ras)

    mapper.SetInputConnection(logic.GetImageDataConnection())  # another one for each volume
    logic.UpdatePipeline()
    window.Render()

    grabbed = vtk.vtkWindowToImageFilter()
    grabbed.SetInput(window)
    grabbed.ReadFrontBufferOff()
    grabbed.Update()
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputConnection(grabbed.GetOutputPort())
    writer.Write()
    managers.SetMRMLDisplayableNode(None)
    application.GetSliceLogics().RemoveItem(logic)
    scene.RemoveNode(logic.GetSliceCompositeNode())
    scene.RemoveNode(node)
