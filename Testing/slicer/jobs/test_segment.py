"""A run and the nodes that it is about; where it may write, on grids that lie askew: a view's slice, a region."""

import host
import numpy as np
import pytest
import qt
import slicer
import vtk
from panel_user import MODEL, PHANTOM, SEGMENT, FakeWorker

from medtl.errors import InputError
from medtl.volume import Labelmap
from MedTLLib import samples
from MedTLLib.jobs import regions
from MedTLLib.jobs import segment as segment_job
from MedTLLib.mrml import scene


@pytest.fixture
def volume():
    """The phantom's oblique volume, in a scene with slice views."""
    host.new_scene()
    host.open_views()
    yield samples.volume_node(PHANTOM.volume)
    host.new_scene()


def centres(volume) -> np.ndarray:
    """RAS mm of every voxel (Z, Y, X, 3)."""
    geometry = scene.geometry_of(volume)
    k, j, i = np.indices(geometry.shape)
    return np.stack((i, j, k, np.ones_like(i)), axis=-1) @ scene.ras_of(geometry)[:3].T


def red():
    return slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()


@pytest.mark.parametrize("k", [0, 4, 9])
@pytest.mark.parametrize("shift", [0.0, 0.4, 0.5, -0.49])
def test_in_the_volume_s_own_plane_the_slice_is_one_slice(volume, k, shift):
    red().RotateToVolumePlane(volume)
    at = scene.ras_of(scene.geometry_of(volume)) @ [20.0, 20.0, k + shift, 1.0]
    red().JumpSliceByCentering(*at[:3])
    if shift == 0.5 and k == 9:  # half a slice beyond the last one, which may count or not
        return
    found = regions.inside(volume, red())
    kept = np.flatnonzero(found.any(axis=(1, 2)))
    assert len(kept) == 1
    assert abs(kept[0] - (k + shift)) <= 0.5
    assert found[kept[0]].all()


def test_an_oblique_plane_takes_the_voxels_that_it_cuts(volume):
    rng = np.random.default_rng(0)
    normal, across = np.linalg.qr(rng.normal(size=(3, 2)))[0].T
    middle = centres(volume)[5, 28, 28]
    red().SetSliceToRASByNTP(*normal, *across, *middle, 0)
    to_ras = slicer.util.arrayFromVTKMatrix(red().GetSliceToRAS())
    distance = (centres(volume) - to_ras[:3, 3]) @ to_ras[:3, 2]
    axes = scene.ras_of(scene.geometry_of(volume))[:3, :3]
    corners = np.array(np.meshgrid(*[(-0.5, 0.5)] * 3)).reshape(3, -1).T @ axes.T @ to_ras[:3, 2]
    cut = (distance + corners.min() < 0) & (distance + corners.max() > 0)
    found = regions.inside(volume, red())
    assert 1000 < cut.sum() < cut.size
    np.testing.assert_array_equal(found, cut)


def test_a_region_that_is_turned_and_moved_holds_the_voxels_that_slicer_says_lie_in_it(volume):
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "turned")
    turn = vtk.vtkTransform()
    turn.Translate(*centres(volume)[5, 28, 28])
    turn.RotateWXYZ(33.0, 1.0, 2.0, 3.0)
    roi.SetAndObserveObjectToNodeMatrix(turn.GetMatrix())
    roi.SetSize(60.0, 50.0, 70.0)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    moved = vtk.vtkTransform()
    moved.RotateZ(12.0)
    moved.Translate(4.0, 5.0, 6.0)
    transform.SetMatrixTransformToParent(moved.GetMatrix())
    roi.SetAndObserveTransformNodeID(transform.GetID())
    found = regions.inside(volume, None, roi)
    inside_roi = [bool(roi.IsPointInROIWorld(point)) for point in centres(volume).reshape(-1, 3)]
    assert 100 < found.sum() < found.size / 2
    np.testing.assert_array_equal(found.ravel(), inside_roi)


def test_slice_and_region_together_are_what_is_in_both(volume):
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    roi.SetSize(80.0, 80.0, 300.0)
    roi.SetCenter(*centres(volume)[5, 28, 28])
    red().RotateToVolumePlane(volume)
    red().JumpSliceByCentering(*centres(volume)[5, 28, 28])
    both = regions.inside(volume, red(), roi)
    np.testing.assert_array_equal(both, regions.inside(volume, red()) & regions.inside(volume, None, roi))
    assert 0 < both.sum() < both.size / 10


def test_what_does_not_meet_the_volume_is_refused(volume):
    red().JumpSliceByCentering(5000.0, 5000.0, 5000.0)
    with pytest.raises(InputError, match="found none of its voxels"):
        regions.inside(volume, red())


def test_without_slice_and_region_it_is_the_whole_volume(volume):
    assert regions.inside(volume).all()


# A run and its nodes

LABELS = Labelmap(PHANTOM.labelmap.array, PHANTOM.labelmap.geometry, (SEGMENT,))


def finish(job):
    return segment_job.finish(job, LABELS, {"results": []})


def reference_of(segmentation):
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())


def test_a_finished_job_leaves_no_folder(volume, tmp_path):
    finished = finish(segment_job.begin(volume, None, segment_job.Choices(MODEL), tmp_path))
    assert finished.warnings == ()
    assert finished.volume is volume is reference_of(finished.segmentation)
    assert not list(tmp_path.iterdir())


def test_a_volume_that_was_edited_meanwhile_gives_a_message_and_the_target_is_left_alone(volume, tmp_path):
    target = finish(segment_job.begin(volume, None, segment_job.Choices(MODEL), tmp_path)).segmentation
    job = segment_job.begin(volume, target, segment_job.Choices(MODEL), tmp_path)
    slicer.util.updateVolumeFromArray(volume, slicer.util.arrayFromVolume(volume) + 1)
    finished = finish(job)
    assert finished.segmentation is not target
    assert any("changed or moved" in warning for warning in finished.warnings)


def test_nodes_of_another_scene_with_the_same_ids_are_not_those_of_the_job(volume, tmp_path):
    target = finish(segment_job.begin(volume, None, segment_job.Choices(MODEL), tmp_path)).segmentation
    job = segment_job.begin(volume, target, segment_job.Choices(MODEL), tmp_path)
    ids = volume.GetID(), target.GetID()
    slicer.mrmlScene.Clear()
    other = samples.volume_node(PHANTOM.volume, "patient B")
    theirs = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "of B")
    assert (other.GetID(), theirs.GetID()) == ids
    finished = finish(job)
    assert finished.volume is None
    assert theirs.GetSegmentation().GetNumberOfSegments() == 0
    assert reference_of(finished.segmentation) is not other
    assert any("was deleted" in warning for warning in finished.warnings)


def test_process_gives_the_segmentation(volume, tmp_path):
    worker = FakeWorker(tmp_path)
    worker.then = worker.done
    segmentation = segment_job.run(worker, [volume], None, segment_job.Choices(MODEL))
    assert np.array_equal(scene.array_of(segmentation, SEGMENT.id, volume), PHANTOM.labelmap.array > 0)


@pytest.mark.parametrize("when", ["before the answer", "without one", "after it"])
def test_process_gives_no_result_to_another_scene(volume, tmp_path, when):
    worker = FakeWorker(tmp_path)
    worker.state = "ready"  # warm: what others wait for is not stopped
    worker.answers_cancel = when != "before the answer"

    def then():
        if when == "after it":
            worker.done()
        slicer.mrmlScene.Clear()
        samples.volume_node(PHANTOM.volume, "patient B")
        if when == "before the answer":
            worker.answer()
        elif worker.jobs:  # so that a run that waits for one fails and does not hang
            qt.QTimer.singleShot(2000, lambda: worker.jobs and worker.error("InternalError", "nobody cancelled"))

    worker.then = then
    with pytest.raises(RuntimeError, match="The scene was closed while the model ran"):
        segment_job.run(worker, [volume], None, segment_job.Choices(MODEL))
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert not worker.jobs
    assert not list(tmp_path.iterdir())
