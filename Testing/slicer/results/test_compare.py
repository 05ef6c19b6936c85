"""Where two segmentations differ, and one shown in the place of the other."""

import host
import numpy as np
import pytest
import slicer
from panel_user import LESION, PHANTOM, SEGMENT, paint, voxels

from medtl.volume import Geometry, Labelmap
from MedTLLib import samples
from MedTLLib.mrml import scene
from MedTLLib.prediction import writer
from MedTLLib.results.compare import Comparison, changed

TRUTH = PHANTOM.labelmap.array > 0
MOVED = np.roll(TRUTH, 4, axis=2)


def slowly(before, after, geometry, axis):
    """What `changed` finds, a voxel after the other: (slice, voxels, mm², middle in RAS mm)."""
    found = {}
    for index in np.ndindex(geometry.shape):
        if any(before[i][index] != after[i][index] for i in after):
            found.setdefault(index[axis], []).append(index)
    across = np.prod([mm for i, mm in enumerate(geometry.spacing[::-1]) if i != axis])
    rows = []
    for k, there in found.items():
        x, y, z = (geometry.affine @ (*np.mean(there, axis=0)[::-1], 1.0))[:3]
        rows.append((k, len(there), len(there) * across, (-x, -y, z)))
    return sorted(rows, key=lambda row: (-row[1], row[0]))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_slices_that_change_are_those_that_counting_finds_the_most_changed_first(axis):
    rng = np.random.default_rng(axis)
    turned = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    geometry = Geometry((7, 6, 5), (0.7, 1.1, 4.0), (3.0, -2.0, 9.0), tuple(turned.ravel()))
    before = {"a": rng.random(geometry.shape) < 0.05, "b": rng.random(geometry.shape) < 0.02}
    after = {"a": before["a"] ^ (rng.random(geometry.shape) < 0.04), "b": before["b"]}
    expected = slowly(before, after, geometry, axis)
    found = changed(before, after, geometry, axis)
    assert [(c.index, c.voxels) for c in found] == [row[:2] for row in expected]
    assert len(found) > 1
    np.testing.assert_allclose([c.mm2 for c in found], [row[2] for row in expected])
    np.testing.assert_allclose([c.centre_ras for c in found], [row[3] for row in expected], atol=1e-9)


def test_what_does_not_change_is_no_list_and_a_segment_of_one_side_alone_counts_whole():
    masks = {"a": TRUTH}
    assert changed(masks, masks, PHANTOM.labelmap.geometry, 0) == ()
    assert sum(c.voxels for c in changed({}, masks, PHANTOM.labelmap.geometry, 0)) == TRUTH.sum()
    assert sum(c.voxels for c in changed(masks, {}, PHANTOM.labelmap.geometry, 0)) == TRUTH.sum()


@pytest.fixture
def case():
    """A volume and the segmentation that a model wrote for it."""
    host.new_scene()
    host.open_views()
    volume = samples.volume_node(PHANTOM.volume, "head")
    written = writer.write(labelmap(TRUTH), volume)
    yield volume, slicer.mrmlScene.GetNodeByID(written.segmentation_id)
    host.new_scene()


def labelmap(mask):
    return Labelmap(mask.astype(np.uint8), PHANTOM.labelmap.geometry, (SEGMENT,))


def segmentations():
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def visible(node):
    return bool(node.GetDisplayVisibility())


def test_the_new_one_is_hidden_outlined_in_its_place_and_shown_instead_of_the_old_one(case):
    volume, old = case
    comparison = Comparison(old, labelmap(MOVED))
    (new,) = (node for node in segmentations() if node is not old)
    assert new.GetHideFromEditors()
    assert (visible(old), visible(new)) == (True, False)
    assert not new.GetDisplayNode().GetVisibility2DFill()
    np.testing.assert_array_equal(voxels(new, volume), MOVED)
    for _again in range(2):
        comparison.show(True)
        assert (visible(old), visible(new)) == (False, True)
    for _again in range(2):
        comparison.show(False)
        assert (visible(old), visible(new)) == (True, False)
    comparison.show(True)
    comparison.close()
    assert segmentations() == [old]
    assert visible(old)
    np.testing.assert_array_equal(voxels(old, volume), TRUTH)


def test_an_old_one_that_the_user_hid_stays_hidden(case):
    _volume, old = case
    old.GetDisplayNode().SetVisibility(False)
    comparison = Comparison(old, labelmap(MOVED))
    comparison.show(True)
    comparison.show(False)
    assert not visible(old)
    comparison.close()


def test_the_list_is_of_the_segmentation_as_it_is_now(case):
    volume, old = case
    comparison = Comparison(old, labelmap(MOVED))
    counts = (TRUTH ^ MOVED).sum(axis=(1, 2))
    assert {c.index: c.voxels for c in comparison.changed(0)} == {int(k): counts[k] for k in np.flatnonzero(counts)}
    paint(old, volume, MOVED)
    assert comparison.changed(0) == ()
    comparison.close()


def test_a_node_that_is_deleted_breaks_nothing(case):
    _volume, old = case
    comparison = Comparison(old, labelmap(MOVED))
    comparison.show(True)
    slicer.mrmlScene.RemoveNode(old)
    comparison.show(False)
    assert comparison.changed(0) == ()
    for node in segmentations():
        slicer.mrmlScene.RemoveNode(node)
    comparison.show(True)
    comparison.close()


def test_a_saved_scene_does_not_hold_the_new_one(case, tmp_path):
    _volume, old = case
    comparison = Comparison(old, labelmap(MOVED))
    path = tmp_path / "scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path))
    comparison.close()
    slicer.mrmlScene.Clear()
    slicer.mrmlScene.ReadFromMRB(str(path), True)
    (again,) = segmentations()
    np.testing.assert_array_equal(scene.array_of(again, LESION, slicer.util.getNode("head")), TRUTH)
