"""What the user sees after Segment: the volume's own plane, the lesion in the middle, outlines, a window."""

from collections.abc import Iterator

import host
import numpy as np
import pytest
import slicer
import vtk
from panel_user import LESION, PHANTOM, SEGMENT

from medtl.phantom import head
from medtl.volume import Labelmap
from MedTLLib import samples
from MedTLLib.mrml import scene, views
from MedTLLib.prediction import writer

CENTRE = (20.0, -15.0, 30.0)


@pytest.fixture
def volume() -> Iterator[object]:
    """The phantom's oblique volume, in a scene with slice views."""
    host.new_scene()
    host.open_views()
    yield samples.volume_node(PHANTOM.volume)
    host.new_scene()


def written(volume):
    labelmap = Labelmap(PHANTOM.labelmap.array, PHANTOM.labelmap.geometry, (SEGMENT,))
    return slicer.mrmlScene.GetNodeByID(writer.write(labelmap, volume).segmentation_id)


def slice_nodes():
    manager = slicer.app.layoutManager()
    return [manager.sliceWidget(name).mrmlSliceNode() for name in manager.sliceViewNames()]


def test_every_view_shows_the_volume_in_its_own_plane_with_the_lesion_in_the_middle(volume):
    views.show_result(volume, written(volume), CENTRE, None, (LESION,))
    axes = PHANTOM.volume.geometry.axes * [[-1], [-1], [1]]  # RAS
    for node in slice_nodes():
        to_ras = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
        np.testing.assert_allclose(np.abs(axes.T @ to_ras[:3, 2]).max(), 1.0, atol=1e-6)
        np.testing.assert_allclose(to_ras[:3, 3], CENTRE, atol=1e-6)
    for name in slicer.app.layoutManager().sliceViewNames():
        composite = slicer.app.layoutManager().sliceWidget(name).mrmlSliceCompositeNode()
        assert composite.GetBackgroundVolumeID() == volume.GetID()


def test_a_new_volume_fills_the_views_and_the_user_s_zoom_stays_from_then_on(volume):
    for node in slice_nodes():
        node.SetFieldOfView(5000.0, 5000.0, 1.0)
    views.show_result(volume, written(volume), CENTRE)
    assert all(100.0 < max(node.GetFieldOfView()[:2]) < 1000.0 for node in slice_nodes())
    for node in slice_nodes():
        node.SetFieldOfView(50.0, 50.0, 1.0)
    views.show_result(volume, written(volume), CENTRE)
    assert all(node.GetFieldOfView()[0] == 50.0 for node in slice_nodes())


def test_a_jump_centres_every_view(volume):
    views.jump(CENTRE)
    for node in slice_nodes():
        np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 3], CENTRE, atol=1e-6)


def test_the_model_s_segments_are_outlines_and_others_stay_filled(volume):
    segmentation = written(volume)
    segmentation.GetSegmentation().AddEmptySegment("mine", "mine")
    display = segmentation.GetDisplayNode()
    display.SetVisibility2DFill(True)
    display.SetSegmentVisibility2DFill("mine", True)
    views.show_result(volume, segmentation, None, None, (LESION,))
    assert not display.GetSegmentVisibility2DFill(LESION)
    assert display.GetSegmentVisibility2DOutline(LESION)
    assert display.GetSegmentVisibility2DFill("mine")


def test_a_window_of_the_card_is_set_once_and_is_the_user_s_from_then_on(volume):
    display = volume.GetDisplayNode()
    views.set_window(volume, (-100.0, 300.0))
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-100.0, 300.0)
    display.SetWindowLevelMinMax(0.0, 50.0)
    views.set_window(volume, (-100.0, 300.0))
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 50.0)


def test_a_window_that_the_user_set_is_not_replaced_by_a_robust_one(volume):
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(10.0, 20.0)
    views.set_window(volume, None)
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (10.0, 20.0)


def test_a_window_that_the_user_set_is_not_replaced_by_that_of_the_card_but_one_of_dicom_is(volume):
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(10.0, 20.0)
    views.set_window(volume, (-100.0, 300.0))
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (10.0, 20.0)
    display.AddWindowLevelPreset(400.0, 40.0)
    display.SetWindowLevel(400.0, 40.0)
    views.set_window(volume, (-100.0, 300.0))
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-100.0, 300.0)


def test_a_robust_window_is_not_moved_by_a_few_bright_voxels():
    array = head(2, (64, 64, 8), (3.5, 3.5, 15.0)).volume.array.copy()
    low, high = views.robust_window(array)
    array[0, 0, :8] = 30000
    assert views.robust_window(array) == (low, pytest.approx(high, rel=0.05))
    assert high < array[array < 30000].max()


def test_a_volume_of_two_values_has_a_window():
    array = np.zeros((2, 3, 4))
    array[0, 0, 0] = 1.0
    low, high = views.robust_window(array)
    assert low < high


def test_without_views_nothing_fails():
    host.new_scene()
    volume = samples.volume_node(PHANTOM.volume)
    views.show_result(volume, written(volume), CENTRE, None, (LESION,))
    assert views.volume_in_view() is volume


def label_map():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "mask")
    slicer.util.updateVolumeFromArray(node, np.ones((2, 3, 4), np.uint8))
    return node


def test_a_label_map_in_the_red_view_is_not_the_input(volume):
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    red.SetBackgroundVolumeID(label_map().GetID())
    assert views.volume_in_view() is volume
    red.SetBackgroundVolumeID(volume.GetID())
    assert views.volume_in_view() is volume


def test_a_label_map_has_no_window_to_set(volume):
    node = label_map()
    views.set_window(node, (0.0, 1.0))
    assert node.GetAttribute(views.WINDOWED) is None


def test_the_outline_is_drawn_where_the_lesion_is_and_the_rest_stays_grey(volume, tmp_path):
    from PIL import Image

    segmentation = written(volume)
    lps = PHANTOM.labelmap.geometry.affine @ [*np.argwhere(PHANTOM.labelmap.array).mean(axis=0)[::-1], 1.0]
    centre = (-float(lps[0]), -float(lps[1]), float(lps[2]))
    views.show_result(volume, segmentation, centre, None, (LESION,))
    host.render_slice(volume, segmentation, tmp_path / "slice.png", centre_ras=centre, orientation="Volume")
    pixels = np.asarray(Image.open(tmp_path / "slice.png").convert("RGB")).astype(int)
    red = (pixels[..., 0] - pixels[..., 1]) > 80
    assert 50 < red.sum() < 2000
    rows, columns = np.nonzero(red)
    inside = red[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    middle = inside[inside.shape[0] // 2 - 3 : inside.shape[0] // 2 + 3, inside.shape[1] // 2 - 3 :][:, :6]
    assert not middle.any()


# The view that counts for a model's plane


def test_a_view_is_one_slice_where_its_plane_leaves_no_slice_between_the_corners_of_the_volume(volume):
    views.show_result(volume, written(volume), CENTRE)
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    to_ras = slicer.util.arrayFromVTKMatrix(red.GetSliceToRAS()).copy()
    steps = scene.ras_of(scene.geometry_of(volume))[:3, :3]
    width, height, _count = volume.GetImageData().GetDimensions()
    found = set()
    for degrees in (0.0, 0.001, 0.5, 1.0, 1.5, 2.0, 3.0, 10.0, 45.0, 89.0):
        for about in ("RotateX", "RotateY"):
            turn = vtk.vtkTransform()
            getattr(turn, about)(degrees)
            turned = to_ras @ slicer.util.arrayFromVTKMatrix(turn.GetMatrix())
            red.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(turned))
            normal = turned[:3, 2]
            # Where the plane through voxel 0 meets the other corners' columns of voxels, in slices.
            corners = [steps[:, 0] * x + steps[:, 1] * y for x in (0, width - 1) for y in (0, height - 1)]
            crossed = [-(normal @ corner) / (normal @ steps[:, 2]) for corner in corners]
            expected = max(crossed) - min(crossed) < 0.5
            assert views.is_one_slice(red, volume, 2) == expected, (degrees, about)
            found.add(expected)
    assert found == {True, False}


def test_without_views_there_is_none_that_counts_and_no_corner_to_write_into():
    host.new_scene()
    volume = samples.volume_node(PHANTOM.volume)
    assert views.view_along(volume, 2) is None
    views.write_in_corner("Red", "text")
    views.turn_to(volume)
