"""The slice and 3D views: slices in the volume's own plane, at the lesion, with outlines. Views may be missing."""

from typing import Any

import numpy as np
import slicer
import vtk

LABEL_MAP = "vtkMRMLLabelMapVolumeNode"
WINDOWED = "MedTL.windowed"  # attribute of a volume whose window was set once; after that only the user sets it


def show_result(
    volume: Any,
    segmentation: Any,
    centre_ras: tuple[float, float, float] | None,
    window: tuple[float, float] | None = None,
    segment_ids: tuple[str, ...] = (),
) -> None:
    """Show the volume in the slice views, turned to its plane, with the segments as outlines, centred on a point.

    `window` in the volume's units (HU); without it a robust one is set where the user has not set one.
    """
    set_window(volume, window)
    outline(segmentation, segment_ids)
    for node in slice_nodes():
        _show(node, volume)
    if centre_ras is not None:
        jump(centre_ras)


def show_volume(volume: Any) -> None:
    """Show the volume in the background of all slice views, all of it; nothing happens where there are no views."""
    if slicer.app.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(background=volume, fit=True)


def reset_3d() -> None:
    """Move the camera of each 3D view so that all it shows is in view; nothing happens where there are no views."""
    if slicer.app.layoutManager() is not None:
        slicer.util.resetThreeDViews()


def is_shown_3d(segmentation: Any) -> bool:
    """Whether the segmentation's surface is there and shown."""
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    return bool(
        segmentation
        and segmentation.GetDisplayNode()
        and segmentation.GetDisplayNode().GetVisibility3D()
        and segmentation.GetSegmentation().ContainsRepresentation(surface)
    )


def show_3d(segmentation: Any, shown: bool) -> None:
    """Make the segmentation's surface and show it, or hide it; to make a large one takes seconds."""
    if segmentation.GetDisplayNode() is None:
        segmentation.CreateDefaultDisplayNodes()
    if shown:
        segmentation.CreateClosedSurfaceRepresentation()
    segmentation.GetDisplayNode().SetVisibility3D(shown)
    if shown:
        reset_3d()


def jump(centre_ras: tuple[float, float, float]) -> None:
    """Centre all slice views on a point (RAS mm) and put the crosshair there."""
    for node in slice_nodes():
        node.JumpSliceByCentering(*centre_ras)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*centre_ras)


def go_to(node: Any, ras: tuple[float, float, float]) -> None:
    """Move one slice view along its normal to a point (RAS mm); its middle and zoom stay."""
    node.JumpSliceByOffsetting(*ras)


def middle_of(node: Any) -> tuple[float, float, float]:
    """The point in the middle of a slice view, RAS mm."""
    x, y, z = (float(c) for c in _to_ras(node)[:3, 3])
    return x, y, z


def view_along(volume: Any, axis: int) -> Any:
    """The slice view on screen whose normal is nearest to this index axis of the volume (0 is x); None where none is
    within 45 degrees of it."""
    seen = [node for node in slice_nodes() if node.IsMappedInLayout()]
    nearest = max(seen, key=lambda node: _cosine(node, volume, axis), default=None)
    return nearest if nearest is not None and _cosine(nearest, volume, axis) > 0.7 else None


def nearest_view(volume: Any, axis: int, names: tuple[str, ...]) -> Any:
    """Of the slice views of these names that whose normal is nearest to this index axis of the volume (0 is x), on
    screen or not; None where there is none."""
    nodes = [node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.GetLayoutName() in names]
    return max(nodes, key=lambda node: _cosine(node, volume, axis), default=None)


def fit(name: str) -> None:
    """Show all of the volume in the slice view of this name; nothing happens where there is none."""
    node = slice_node(name)
    logic = logic_of(node) if node is not None else None
    if logic is not None:
        logic.FitSliceToBackground()


def is_one_slice(node: Any, volume: Any, axis: int) -> bool:
    """Whether the view shows the volume, and exactly one of its slices along this index axis."""
    normal, steps = _to_ras(node)[:3, 2], _steps(volume)
    size = volume.GetImageData().GetDimensions()
    across = sum(abs(normal @ steps[:, i]) * (size[i] - 1) for i in range(3) if i != axis)
    return shows(node, volume) and across < 0.5 * abs(normal @ steps[:, axis])


def turn_to(volume: Any) -> None:
    """Turn all slice views to the volume's own planes; views that do not show the volume show it then."""
    for node in slice_nodes():
        if shows(node, volume):
            node.RotateToVolumePlane(volume)
        else:
            _show(node, volume)


def shows(node: Any, volume: Any) -> bool:
    """Whether the slice view shows the volume in its background or foreground."""
    composite = composite_of(node)
    return composite is not None and volume.GetID() in (
        composite.GetBackgroundVolumeID(),
        composite.GetForegroundVolumeID(),
    )


def _show(node: Any, volume: Any) -> None:
    """Show the volume in a slice view, in its own plane; all of it where the view did not show it before."""
    composite = composite_of(node)
    if composite is None:
        return
    new = composite.GetBackgroundVolumeID() != volume.GetID()
    composite.SetBackgroundVolumeID(volume.GetID())
    node.RotateToVolumePlane(volume)
    logic = logic_of(node)
    if new and logic is not None:
        logic.FitSliceToBackground()


def write_in_corner(name: str, text: str) -> None:
    """Write into the lower right corner of the slice view of this name; an empty text clears it.

    Slicer clears the corner whenever the view's logic changes: write again then.
    """
    manager = slicer.app.layoutManager()
    widget = manager.sliceWidget(name) if manager is not None else None
    if widget is None:
        return
    corner = widget.sliceView().cornerAnnotation()
    if (corner.GetText(vtk.vtkCornerAnnotation.LowerRight) or "") != text:
        corner.SetText(vtk.vtkCornerAnnotation.LowerRight, text)
        widget.sliceView().scheduleRender()


def outline(segmentation: Any, segment_ids: tuple[str, ...]) -> None:
    """Show the segments as outlines without fill, so that the anatomy is seen; other segments stay as they are."""
    display = segmentation.GetDisplayNode()
    if display is None:
        segmentation.CreateDefaultDisplayNodes()
        display = segmentation.GetDisplayNode()
    modified = display.StartModify()
    for segment_id in segment_ids:
        display.SetSegmentVisibility2DFill(segment_id, False)
        display.SetSegmentVisibility2DOutline(segment_id, True)
        display.SetSegmentVisibility(segment_id, True)
    display.EndModify(modified)


def set_window(volume: Any, window: tuple[float, float] | None) -> None:
    """Set the window once: that of the card, else a robust one instead of Slicer's automatic one. One that the user has
    set by hand stays."""
    display = volume.GetDisplayNode()
    if display is None:
        volume.CreateDefaultDisplayNodes()
        display = volume.GetDisplayNode()
    if not display.IsA("vtkMRMLScalarVolumeDisplayNode"):  # a label map's has no window
        return
    if volume.GetAttribute(WINDOWED) or (not display.GetAutoWindowLevel() and not (window and _is_preset(display))):
        return
    low, high = window or robust_window(slicer.util.arrayFromVolume(volume))
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(low, high)
    volume.SetAttribute(WINDOWED, "1")


def _is_preset(display: Any) -> bool:
    """Whether the window is one that DICOM states, and not the user's."""
    now = (display.GetWindow(), display.GetLevel())
    count = display.GetNumberOfWindowLevelPresets()
    return now in [(display.GetWindowPreset(n), display.GetLevelPreset(n)) for n in range(count)]


def robust_window(array: np.ndarray) -> tuple[float, float]:
    """Window limits that do not depend on air or a few bright voxels: from the darkest voxel to the 99.5th percentile
    of the foreground."""
    step = max(1, round((array.size / 500_000) ** (1 / 3)))  # all voxels of a large volume take seconds
    sample = array[::step, ::step, ::step]
    low = float(sample.min())
    inside = sample[sample > low + 0.05 * float(np.percentile(sample, 99.5) - low)]
    high = float(np.percentile(inside, 99.5)) if inside.size else float(sample.max())
    return low, max(high, low + 1e-6)


def _to_ras(node: Any) -> np.ndarray:
    """A slice view's x, y, normal and middle as columns, RAS mm (4, 4)."""
    matrix: np.ndarray = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
    return matrix


def _steps(volume: Any) -> np.ndarray:
    """From one voxel to the next along x, y, z as columns, RAS mm (3, 3)."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    steps: np.ndarray = slicer.util.arrayFromVTKMatrix(matrix)[:3, :3]
    return steps


def _cosine(node: Any, volume: Any, axis: int) -> float:
    step = _steps(volume)[:, axis]
    return float(abs(_to_ras(node)[:3, 2] @ step) / np.linalg.norm(step))


def slice_nodes() -> list[Any]:
    """The slice views of the layout; without a layout all of the scene."""
    nodes = list(slicer.util.getNodesByClass("vtkMRMLSliceNode"))
    manager = slicer.app.layoutManager()
    names = manager.sliceViewNames() if manager is not None else ()
    return [node for node in nodes if node.GetLayoutName() in names] or nodes


def slice_node(name: str) -> Any:
    """The slice view of this name, "Red" for instance; None where there is none."""
    return next((node for node in slice_nodes() if node.GetLayoutName() == name), None)


def logic_of(slice_node: Any) -> Any:
    """The logic of a slice view, whose ModifiedEvent covers all that the view shows; None where there is none."""
    return slicer.app.applicationLogic().GetSliceLogic(slice_node)


def composite_of(slice_node: Any) -> Any:
    """The composite node of a slice view, which lists the volumes that it shows; None where there is none."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return next((each for each in composites if each.GetLayoutName() == slice_node.GetLayoutName()), None)


def volume_in_view() -> Any:
    """The volume in the background of the Red view, else the first image of the scene; None where there is none."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        shown = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        if composite.GetLayoutName() == "Red" and shown is not None and not shown.IsA(LABEL_MAP):
            return shown
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((each for each in volumes if not each.IsA(LABEL_MAP)), None)
