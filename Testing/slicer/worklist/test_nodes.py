"""The nodes of a case: read from its files, and taken out of the scene again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slicer
from dicom_series import series, write_slice

from medtl.errors import InputError
from medtl.io.write import write_image
from medtl.volume import Geometry, Labelmap, Segment, reversed_along
from medtl.worklist.case import ListedCase
from MedTLLib.mrml.scene import array_of, facts_of, geometry_of
from MedTLLib.worklist.nodes import load_volumes, others, remove, show_saved, turned

LEFT = Geometry((5, 4, 3), (0.7, 0.8, 2.0), (3.0, 4.0, 5.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
RIGHT = replace(LEFT, direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
NOISE = np.random.default_rng(0).permutation(60).reshape(LEFT.shape).astype(np.int16)


def written(folder: Path, geometry: Geometry, name: str = "a") -> ListedCase:
    write_image(folder / f"{name}.nrrd", NOISE, geometry)
    return ListedCase(name, (str(folder / f"{name}.nrrd"),))


def places(array: np.ndarray, geometry: Geometry) -> dict[int, tuple[float, ...]]:
    """Where each voxel lies, LPS mm, by its value."""
    index = {int(array[z, y, x]): (x, y, z, 1.0) for z, y, x in np.ndindex(array.shape)}
    return {value: tuple(np.round((geometry.affine @ place)[:3], 6)) for value, place in index.items()}


@pytest.mark.parametrize("geometry", [LEFT, RIGHT], ids=["left-handed", "right-handed"])
def test_every_voxel_lies_where_its_file_says_and_the_grid_is_right_handed(geometry, scene, tmp_path):
    nodes = load_volumes(written(tmp_path, geometry))
    assert np.linalg.det(geometry_of(nodes.volume).axes) > 0
    shown = slicer.util.arrayFromVolume(nodes.volume)
    assert places(shown, geometry_of(nodes.volume)) == places(NOISE, geometry)
    assert nodes.geometry.close_to(geometry, 1e-9)


def test_a_volume_that_is_loaded_already_is_used_and_not_made_again(scene, tmp_path):
    case = written(tmp_path, RIGHT)
    mine = slicer.util.loadVolume(case.files[0])
    nodes = load_volumes(case)
    assert nodes.volume is mine
    assert nodes.made == (False,)


def test_a_dicom_series_needs_no_database_and_its_modality_is_known(scene, tmp_path):
    for uid in ("1.1", "1.2"):
        for k, item in enumerate(series(3, uid=uid)):
            write_slice(tmp_path / f"{uid}-{k}.dcm", item)
    nodes = load_volumes(ListedCase("p", (str(tmp_path),), series="1.2"))
    assert facts_of(nodes.volume).modality == "MR"
    assert facts_of(nodes.volume).name == "p"


def test_where_a_channel_cannot_be_read_nothing_is_left_in_the_scene(scene, tmp_path):
    case = written(tmp_path, RIGHT)
    before = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(InputError, match=r"b\.nrrd"):
        load_volumes(replace(case, files=(*case.files, str(tmp_path / "b.nrrd"))))
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 0
    assert slicer.mrmlScene.GetNumberOfNodes() <= before + 1  # a colour table at most


def test_a_saved_segmentation_is_shown_whole_where_segments_overlap(scene, tmp_path):
    nodes = load_volumes(written(tmp_path, LEFT))
    first, second = np.zeros(LEFT.shape, bool), np.zeros(LEFT.shape, bool)
    first[:2], second[1:] = True, True
    covered = np.array([(1, place) for place in np.flatnonzero(first & second)])
    segments = (Segment(1, "m.a", "A", tags=(("MedTL.model", "m"),)), Segment(2, "b", "B"))
    labelmap = Labelmap(np.where(second, 2, first).astype(np.uint8), LEFT, segments, covered=covered)
    shown = show_saved(turned(labelmap, geometry_of(nodes.volume)), nodes.volume, "saved")
    for segment, mask in zip(segments, (first, second)):
        np.testing.assert_array_equal(array_of(shown, segment.id, nodes.volume), mask[::-1])


@pytest.mark.parametrize("axes", [(), (0,), (1, 2), (0, 1, 2)])
def test_a_labelmap_is_turned_to_a_grid_that_counts_backwards(axes):
    array = np.random.default_rng(0).integers(0, 3, LEFT.shape).astype(np.uint8)
    lost = np.flatnonzero(array == 2)[:5]
    labelmap = Labelmap(array, LEFT, covered=np.column_stack([np.ones_like(lost), lost]))
    again = turned(labelmap, reversed_along(LEFT, axes))
    for value in (1, 2):
        np.testing.assert_array_equal(again.mask(value), np.flip(labelmap.mask(value), [2 - axis for axis in axes]))


def test_a_labelmap_on_another_grid_is_refused():
    labelmap = Labelmap(np.zeros(LEFT.shape, np.uint8), LEFT)
    with pytest.raises(InputError, match="found another grid"):
        turned(labelmap, replace(LEFT, origin=(90.0, 0.0, 0.0)))


def test_removing_a_case_leaves_no_node_behind(scene, tmp_path):
    slicer.util.addVolumeFromArray(NOISE, name="before")  # makes the nodes that all volumes share
    before = slicer.mrmlScene.GetNumberOfNodes()
    nodes = load_volumes(written(tmp_path, RIGHT))
    labelmap = Labelmap((NOISE > 40).astype(np.uint8), RIGHT, (Segment(1, "m.a", "A"),))
    shown = show_saved(labelmap, nodes.volume, "saved")
    volume = nodes.volume
    remove([shown, volume])
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert nodes.volume is None


def test_what_the_user_may_miss_is_named_and_nothing_else(scene, tmp_path):
    nodes = load_volumes(written(tmp_path, RIGHT))
    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    hidden = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "hidden")
    hidden.SetHideFromEditors(True)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", "view")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCameraNode", "camera")
    assert {node.GetName() for node in others([nodes.volume])} == {"points", "shift"}
    assert others([nodes.volume], [mine.GetID(), transform.GetID()]) == []
