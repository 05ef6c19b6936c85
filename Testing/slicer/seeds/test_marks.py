"""SEED marks: they stay with the slice that was marked, whatever becomes of the scene, and a later edit shows."""

import importlib
import itertools
import json
import re
from dataclasses import FrozenInstanceError, replace

import host
import numpy as np
import pytest
import slicer
import vtk

from medtl.errors import InputError
from medtl.finetuning.seed import IGNORE, read_seeds, write_seeds
from medtl.io.read import read_volume
from medtl.model.card import InputSpec, Label, ModelCard, NetworkSpec, Parent
from medtl.volume import Geometry, Labelmap, Segment, array_axis, voxels_sha256
from MedTLLib.mrml.scene import geometry_of, labelmap_image, write_volume
from MedTLLib.prediction import writer
from MedTLLib.seeds import marks
from MedTLLib.seeds import storage as seed_tags

LOGIC = slicer.vtkSlicerSegmentationsModuleLogic
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
TURN = np.array([[0.0, -1.0, 0.0], [0.96, 0.0, -0.28], [0.28, 0.0, 0.96]])
DIRECTIONS = {
    "oblique": TURN,
    "left-handed": TURN @ np.diag([1.0, 1.0, -1.0]),
    "flipped": np.diag([-1.0, 1.0, -1.0]),
    "sagittal": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
}
PLANES = ("axial", "coronal", "sagittal")
LABELS = (Label(1, "core", "Core"), Label(4, "oedema", "Œdema"))
CARD = ModelCard("glioma", "1.0", "a test", "segmentation", LABELS, (NetworkSpec("none"),), InputSpec(), "0" * 64)
CORE, OEDEMA = "glioma.core", "glioma.oedema"


def card_of(plane: str) -> ModelCard:
    return replace(CARD, input=InputSpec(plane=plane))


def turned(direction: np.ndarray, size=(10, 9, 8)) -> Geometry:
    return Geometry(size, (0.7, 0.9, 2.5), (-12.5, 33.25, 7.125), tuple(direction.ravel()))


def labels_on(geometry: Geometry) -> np.ndarray:
    """Two labels, values 1 and 4, that no flip or swap of axes leaves alike; slices at the ends hold none."""
    array = np.zeros(geometry.shape, np.uint16)
    array[2:5, 2:6, 1:4] = 1
    array[3, 2, 1] = 0
    array[4:7, 5:8, 4:6] = 4
    array[2, 7, 6] = 4
    return array


def volume_on(scene, geometry: Geometry, array: np.ndarray | None = None, name: str = "flair"):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(LPS_TO_RAS @ geometry.affine))
    values = np.arange(np.prod(geometry.size), dtype=np.int16).reshape(geometry.shape) if array is None else array
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(values))
    return node


def segments_of(model: str = "glioma") -> tuple[Segment, ...]:
    return tuple(
        Segment(n.value, f"{model}.{n.id}", n.name, n.colour, "", (("MedTL.label", n.id), ("MedTL.model", model)))
        for n in LABELS
    )


def predict(volume, array: np.ndarray | None = None, model: str = "glioma"):
    """The segmentation that a prediction makes."""
    geometry = geometry_of(volume)
    array = labels_on(geometry) if array is None else array
    written = writer.write(Labelmap(array, geometry, segments_of(model)), volume, name="result")
    return slicer.mrmlScene.GetNodeByID(written.segmentation_id)


def paint(node, segment_id: str, where, volume, value: bool = True) -> None:
    """What a brush does: these voxels into the segment or out of it."""
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume)
    mask = np.zeros(volume.GetImageData().GetDimensions()[::-1], bool) if array is None else array != 0
    mask[where] = value
    assert LOGIC.SetBinaryLabelmapToSegment(
        labelmap_image(mask, geometry_of(volume)), node, segment_id, LOGIC.MODE_REPLACE
    )


def at(axis: int, k: int, first: int, second: int) -> tuple[int, ...]:
    """The array index of a voxel of slice k along that axis."""
    index = [first, second]
    index.insert(axis, k)
    return tuple(index)


def segment(node, segment_id: str = CORE):
    return node.GetSegmentation().GetSegment(segment_id)


def tag(node, segment_id: str = CORE) -> str | None:
    value = vtk.reference("")
    return str(value) if segment(node, segment_id).GetTag(seed_tags.TAG, value) else None


def set_tags(node, text: str) -> None:
    for segment_id in (CORE, OEDEMA):
        segment(node, segment_id).SetTag(seed_tags.TAG, text)


def listed(node, volume, card=CARD) -> dict[int, bool]:
    """The marked slices, and whether they are stale."""
    return {m.index: m.stale for m in marks.marks(node, volume, card)}


def voxels(node, volume) -> dict[str, bytes]:
    ids = node.GetSegmentation().GetSegmentIDs()
    arrays = {i: slicer.util.arrayFromSegmentBinaryLabelmap(node, i, volume) for i in ids}
    return {i: np.asarray(a).tobytes() for i, a in arrays.items()}


@pytest.fixture
def volume(scene):
    return volume_on(scene, turned(DIRECTIONS["left-handed"]))


@pytest.fixture
def node(volume):
    return predict(volume)


@pytest.fixture(params=list(itertools.product(DIRECTIONS, PLANES)), ids=lambda p: f"{p[0]}, {p[1]}")
def case(request, scene):
    """A segmentation, its volume, a card and the axis of its slices, in each direction and plane."""
    direction, plane = request.param
    volume = volume_on(scene, turned(DIRECTIONS[direction]))
    return predict(volume), volume, card_of(plane), array_axis(geometry_of(volume), plane)


# Marking


def test_nothing_is_marked_by_a_prediction_or_by_an_edit(node, volume):
    paint(node, CORE, np.s_[3, 0, 0], volume)
    assert marks.marks(node, volume, CARD) == ()
    assert marks.edited(node, volume, CARD) == (3,)


def test_a_mark_is_listed_with_its_time_and_cannot_be_changed(node, volume):
    made = marks.mark(node, volume, CARD, 3)
    assert marks.marks(node, volume, CARD) == (made,)
    assert (made.index, made.stale) == (3, False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made.time)
    with pytest.raises(FrozenInstanceError):
        made.stale = True


def test_the_marks_on_a_models_segments_are_those_of_its_tuned_relatives_too(node, volume):
    marks.mark(node, volume, CARD, 3)
    tuned = replace(CARD, name="glioma-tuned-1", parent=Parent("glioma", "0" * 64))
    again = replace(CARD, name="mine", parent=Parent("glioma-tuned-1", "0" * 64, "glioma"))
    for card in (tuned, again):
        assert [m.index for m in marks.marks(node, volume, card)] == [3]


def test_marks_are_sorted_and_each_can_be_taken_off(case):
    node, volume, card, _ = case
    for k in (5, 2, 3):
        marks.mark(node, volume, card, k)
    assert listed(node, volume, card) == {2: False, 3: False, 5: False}
    marks.unmark(node, volume, card, 3)
    marks.unmark(node, volume, card, 7)  # not marked: nothing happens
    assert listed(node, volume, card) == {2: False, 5: False}
    marks.unmark(node, volume, card, 2)
    marks.unmark(node, volume, card, 5)
    assert listed(node, volume, card) == {}
    assert tag(node) is None


def test_a_slice_without_any_label_is_a_valid_seed(node, volume):
    marks.mark(node, volume, CARD, 0)
    assert listed(node, volume) == {0: False}


def test_marking_changes_no_voxel(node, volume):
    before = voxels(node, volume)
    marks.mark(node, volume, CARD, 4)
    assert voxels(node, volume) == before


def test_marking_makes_the_segmentation_worth_saving(node, volume, tmp_path):
    save(node, tmp_path / "case.seg.nrrd")
    assert not node.GetModifiedSinceRead()
    marks.mark(node, volume, CARD, 4)
    assert node.GetModifiedSinceRead()  # else Slicer's Save dialog leaves it out


# Stale marks


def test_an_edit_of_a_marked_slice_makes_its_mark_stale_and_an_edit_elsewhere_does_not(case):
    node, volume, card, axis = case
    marks.mark(node, volume, card, 3)
    marks.mark(node, volume, card, 5)
    paint(node, CORE, at(axis, 4, 0, 0), volume)
    assert listed(node, volume, card) == {3: False, 5: False}
    paint(node, OEDEMA, at(axis, 5, 0, 0), volume)
    assert listed(node, volume, card) == {3: False, 5: True}


def test_a_voxel_moved_to_another_label_makes_the_mark_stale(node, volume):
    marks.mark(node, volume, CARD, 3)
    paint(node, CORE, np.s_[3, 4, 2], volume, False)
    paint(node, OEDEMA, np.s_[3, 4, 2], volume)
    assert listed(node, volume) == {3: True}


def test_an_edit_that_is_taken_back_leaves_the_mark_good(node, volume):
    marks.mark(node, volume, CARD, 3)
    paint(node, CORE, np.s_[3, 0, 0], volume)
    assert listed(node, volume) == {3: True}
    paint(node, CORE, np.s_[3, 0, 0], volume, False)
    assert listed(node, volume) == {3: False}


def test_a_stale_mark_is_good_again_when_the_slice_is_marked_again(node, volume):
    marks.mark(node, volume, CARD, 3)
    paint(node, CORE, np.s_[3, 0, 0], volume)
    marks.mark(node, volume, CARD, 3)
    assert listed(node, volume) == {3: False}


def test_another_image_under_the_mask_makes_the_mark_stale(node, volume):
    marks.mark(node, volume, CARD, 3)
    marks.mark(node, volume, CARD, 5)
    slicer.util.arrayFromVolume(volume)[3, 0, 0] += 1
    assert listed(node, volume) == {3: True, 5: False}


@pytest.mark.parametrize("seed", range(6))
def test_exactly_the_slices_that_were_touched_are_stale(scene, seed):
    random = np.random.default_rng(seed)
    direction, plane = list(DIRECTIONS.values())[seed % 4], PLANES[seed % 3]
    volume, card = volume_on(scene, turned(direction)), card_of(plane)
    node, axis = predict(volume), array_axis(geometry_of(volume), plane)
    chosen = random.choice(geometry_of(volume).shape[axis], 5, replace=False)
    for k in chosen:
        marks.mark(node, volume, card, int(k))
    touched = set()
    for _ in range(4):
        where = tuple(int(random.integers(n)) for n in geometry_of(volume).shape)
        name = (CORE, OEDEMA)[random.integers(2)]
        array = slicer.util.arrayFromSegmentBinaryLabelmap(node, name, volume)
        paint(node, name, where, volume, not array[where])
        touched ^= {(name, where)}
    stale = {where[axis] for _, where in touched}
    assert listed(node, volume, card) == {int(k): int(k) in stale for k in chosen}


def test_label_values_layers_and_the_order_of_segments_do_not_matter(node, volume):
    marks.mark(node, volume, CARD, 4)
    segmentation = node.GetSegmentation()
    before = [segmentation.GetNumberOfLayers(), segment(node).GetLabelValue(), segment(node, OEDEMA).GetLabelValue()]
    segmentation.CollapseBinaryLabelmaps(False)
    segmentation.SetSegmentIndex(CORE, 1)
    after = [segmentation.GetNumberOfLayers(), segment(node).GetLabelValue(), segment(node, OEDEMA).GetLabelValue()]
    assert before != after
    assert listed(node, volume) == {4: False}


def test_the_order_of_the_cards_labels_does_not_matter(node, volume):
    marks.mark(node, volume, CARD, 4)
    assert listed(node, volume, replace(CARD, labels=LABELS[::-1])) == {4: False}


def test_the_same_prediction_again_leaves_the_marks_good(node, volume):
    marks.mark(node, volume, CARD, 3)
    geometry = geometry_of(volume)
    segments = tuple(Segment(n.value, f"glioma.{n.id}", n.name, tags=(("MedTL.model", "glioma"),)) for n in LABELS)
    moved = labels_on(geometry)
    moved[5] = 1
    writer.write(Labelmap(moved, geometry, segments), volume, node)
    assert listed(node, volume) == {3: False}


# Saving


def save(node, path) -> None:
    storage = node.GetStorageNode() or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    node.SetAndObserveStorageNodeID(storage.GetID())
    storage.SetFileName(str(path))
    assert storage.WriteData(node)


def load(scene, kind: str, path):
    storage = scene.AddNewNodeByClass(
        "vtkMRMLSegmentationStorageNode" if kind == "vtkMRMLSegmentationNode" else "vtkMRMLVolumeArchetypeStorageNode"
    )
    storage.SetFileName(str(path))
    node = scene.AddNewNodeByClass(kind, "again")
    assert storage.ReadData(node)
    return node


def follow(axis: int, k: int, before: Geometry, after: Geometry) -> int:
    """The index that slice k has on the other grid, which may run the other way."""
    index = np.zeros(3)
    index[2 - axis] = k
    return round(float((np.linalg.inv(after.affine) @ before.affine @ (*index, 1.0))[2 - axis]))


def test_marks_and_their_slices_are_found_again_in_a_saved_scene(case, tmp_path):
    node, volume, card, axis = case
    before = geometry_of(volume)
    for k in (2, 3):
        marks.mark(node, volume, card, k)
    paint(node, CORE, at(axis, 2, 0, 0), volume)
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "case.mrb"))
    opened = host.new_scene()
    assert opened.ReadFromMRB(str(tmp_path / "case.mrb"), True)
    node, volume = (opened.GetFirstNodeByName(name) for name in ("result", "flair"))
    stale, good = (follow(axis, k, before, geometry_of(volume)) for k in (2, 3))
    assert listed(node, volume, card) == {stale: True, good: False}


def test_marks_are_found_again_in_the_seg_nrrd_alone(case, tmp_path):
    node, volume, card, axis = case
    before = geometry_of(volume)
    for k in (2, 3):
        marks.mark(node, volume, card, k)
    paint(node, CORE, at(axis, 2, 0, 0), volume)
    save(node, tmp_path / "case.seg.nrrd")
    write_volume(volume, tmp_path / "case.nrrd")
    opened = host.new_scene()
    node = load(opened, "vtkMRMLSegmentationNode", tmp_path / "case.seg.nrrd")
    volume = load(opened, "vtkMRMLScalarVolumeNode", tmp_path / "case.nrrd")
    stale, good = (follow(axis, k, before, geometry_of(volume)) for k in (2, 3))
    assert listed(node, volume, card) == {stale: True, good: False}


@pytest.mark.parametrize("way", ["mrb", "seg.nrrd"])
def test_a_left_handed_volumes_marks_follow_its_slices_when_slicer_reverses_them(node, volume, tmp_path, way):
    marks.mark(node, volume, CARD, 1)
    paint(node, CORE, np.s_[2, 0, 0], volume)
    marks.mark(node, volume, CARD, 2)
    marked = slicer.util.arrayFromVolume(volume)[2].copy()
    if way == "mrb":
        assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "case.mrb"))
        opened = host.new_scene()
        assert opened.ReadFromMRB(str(tmp_path / "case.mrb"), True)
        node, volume = (opened.GetFirstNodeByName(name) for name in ("result", "flair"))
    else:
        save(node, tmp_path / "case.seg.nrrd")
        write_volume(volume, tmp_path / "case.nrrd")
        opened = host.new_scene()
        node = load(opened, "vtkMRMLSegmentationNode", tmp_path / "case.seg.nrrd")
        volume = load(opened, "vtkMRMLScalarVolumeNode", tmp_path / "case.nrrd")
    assert np.array_equal(slicer.util.arrayFromVolume(volume)[5], marked)  # reversed it is, of 8 slices
    assert listed(node, volume) == {5: False, 6: False}
    write_volume(volume, tmp_path / "image.nrrd")
    (first, second) = marks.collect([(node, volume, tmp_path / "image.nrrd")], CARD)
    assert (first.index, second.index) == (5, 6)
    assert first.mask[0, 0] == 1
    assert not second.mask.any()
    marks.unmark(node, volume, CARD, 5)
    assert listed(node, volume) == {6: False}


@pytest.mark.parametrize("flips", [f for f in itertools.product((1, -1), repeat=3) if f != (1, 1, 1)])
@pytest.mark.parametrize("plane", PLANES)
def test_a_volume_with_reversed_axes_has_the_same_marks(scene, flips, plane):
    """As other programs write the same image, all its voxels where they were."""
    geometry, card = turned(TURN), card_of(plane)
    volume = volume_on(scene, geometry)
    node, axis = predict(volume), array_axis(geometry, plane)
    marks.mark(node, volume, card, 2)
    corner = np.where(np.array(flips) < 0, np.array(geometry.size) - 1, 0)
    origin = tuple((geometry.affine @ (*corner, 1.0))[:3])
    other = Geometry(geometry.size, geometry.spacing, origin, tuple((geometry.axes * flips).ravel()))
    x, y, z = flips
    twin = volume_on(scene, other, slicer.util.arrayFromVolume(volume)[::z, ::y, ::x].astype(np.float32), "twin")
    assert listed(node, twin, card) == {follow(axis, 2, geometry, other): False}


def test_reloading_the_module_keeps_the_marks(node, volume):
    marks.mark(node, volume, CARD, 3)
    importlib.reload(marks)
    assert listed(node, volume) == {3: False}


def test_the_segment_editors_undo_takes_back_a_mark_alone_when_a_state_was_saved_before_it(node, volume):
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(node.GetSegmentation())
    assert history.SaveState()
    paint(node, CORE, np.s_[5, 0, 0], volume)
    marks.mark(node, volume, CARD, 5)
    assert history.SaveState()
    marks.mark(node, volume, CARD, 3)
    assert history.RestorePreviousState()
    assert listed(node, volume) == {5: False}


# What does not fit is refused


def refused(node, volume, words: str, k: int = 3, card=CARD) -> None:
    before = None if node is None else [tag(node, i) for i in node.GetSegmentation().GetSegmentIDs()]
    with pytest.raises(InputError, match=words):
        marks.mark(node, volume, card, k)
    assert before is None or before == [tag(node, i) for i in node.GetSegmentation().GetSegmentIDs()]


def test_labels_that_overlap_in_the_slice_are_refused_and_in_another_slice_are_not(node, volume):
    paint(node, OEDEMA, np.s_[3, 4, 2], volume)
    refused(node, volume, "do not overlap, found voxels of glioma in two of them in slice 3 of flair")
    marks.mark(node, volume, CARD, 2)
    assert listed(node, volume) == {2: False}


def test_a_segment_that_is_the_users_may_overlap(node, volume):
    node.GetSegmentation().AddEmptySegment("mine", "Mine")
    paint(node, "mine", np.s_[3, 4, 2], volume)
    marks.mark(node, volume, CARD, 3)
    assert listed(node, volume) == {3: False}


@pytest.mark.parametrize("gone", [CORE, OEDEMA])
def test_a_removed_segment_is_refused_and_makes_all_marks_stale_with_the_reason(node, volume, gone):
    marks.mark(node, volume, CARD, 3)
    node.GetSegmentation().RemoveSegment(gone)
    refused(node, volume, r"found none for (Core|Œdema)\. A segment of it was removed or replaced since")
    found = marks.read_marks(node, volume, CARD)
    assert [(m.index, m.stale) for m in found.marks] == [(3, True)]
    assert "found none for" in found.warnings[0]
    with pytest.raises(InputError, match="found none for"):
        marks.collect([(node, volume, "")], CARD)
    marks.unmark(node, volume, CARD, 3)
    assert listed(node, volume) == {}


def test_a_segment_of_another_under_the_models_id_is_refused(node, volume):
    segment(node, OEDEMA).SetTag("MedTL.model", "other")
    refused(node, volume, "found none for Œdema")


def test_a_segment_that_got_another_name_is_still_the_models(node, volume):
    marks.mark(node, volume, CARD, 3)
    segment(node).SetName("Enhancing core")
    assert listed(node, volume) == {3: False}


def test_a_segmentation_of_another_model_is_refused(volume):
    node = predict(volume, model="liver")
    refused(node, volume, r"Expected a segment for each label of glioma in result, found none for Core, Œdema\. Segm")
    assert marks.read_marks(node, volume, CARD) == marks.Marks(())


def test_a_segmentation_on_another_grid_is_refused_and_its_marks_are_left_out_with_a_note(scene, node, volume):
    marks.mark(node, volume, CARD, 3)
    grid = geometry_of(volume)
    other = volume_on(scene, replace(grid, spacing=(0.8, 0.9, 2.5)), name="other")
    refused(node, other, "on the volume's grid")
    found = marks.read_marks(node, other, CARD)
    assert found.marks == ()
    assert "not on slices of other (axial) are not used: 1" in found.warnings[0]


def test_segments_that_were_moved_to_another_grid_have_only_stale_marks(node, volume):
    marks.mark(node, volume, CARD, 3)
    moved = replace(geometry_of(volume), origin=(-12.2, 33.25, 7.125))
    image = labelmap_image(labels_on(moved) == 1, moved)
    node.GetSegmentation().SeparateSegmentLabelmap(CORE)
    assert LOGIC.SetBinaryLabelmapToSegment(image, node, CORE, LOGIC.MODE_REPLACE)
    refused(node, volume, "on the volume's grid")
    found = marks.read_marks(node, volume, CARD)
    assert [m.stale for m in found.marks] == [True]
    assert "on the volume's grid" in found.warnings[0]


def test_what_lies_under_a_transform_is_refused(scene, node, volume):
    shift = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    node.SetAndObserveTransformNodeID(shift.GetID())
    refused(node, volume, "under the transform shift")
    node.SetAndObserveTransformNodeID(None)
    volume.SetAndObserveTransformNodeID(shift.GetID())
    refused(node, volume, "under the transform shift")


def test_no_segmentation_and_no_volume_are_refused(node, volume):
    refused(None, volume, "Expected a segmentation, found none")
    refused(node, None, "Expected a volume")
    assert marks.marks(None, volume, CARD) == ()
    assert marks.edited(None, volume, CARD) == ()
    with pytest.raises(InputError, match="Expected a segmentation, found none"):
        marks.unmark(None, volume, CARD, 3)


@pytest.mark.parametrize("k", [-1, 8])
def test_a_slice_that_is_not_there_is_refused(node, volume, k):
    refused(node, volume, f"Expected one of the axial slices 0 to 7 of flair, found {k}", k)


def test_marks_of_a_volume_cut_to_fewer_slices_follow_theirs(scene, node, volume):
    for k in (1, 4):
        marks.mark(node, volume, CARD, k)
    grid = geometry_of(volume)
    origin = tuple((grid.affine @ (0, 0, 2, 1.0))[:3])
    cut = volume_on(scene, replace(grid, size=(10, 9, 6), origin=origin), slicer.util.arrayFromVolume(volume)[2:])
    assert listed_without_check(node, cut) == {2}


def listed_without_check(node, volume) -> set[int]:
    found = marks.read_marks(node, volume, CARD)
    assert "not used: 1" in found.warnings[0]
    return {m.index for m in found.marks}


def test_marks_made_on_another_grid_are_kept_when_a_slice_here_is_marked_or_unmarked(scene, node, volume):
    marks.mark(node, volume, CARD, 3)
    content = json.loads(tag(node))
    content["marks"][0]["centre"][0] += 50.0
    set_tags(node, json.dumps(content))
    marks.mark(node, volume, CARD, 5)
    marks.unmark(node, volume, CARD, 5)
    assert json.loads(tag(node)) == content


def test_marks_of_another_plane_are_kept_and_not_shown(node, volume):
    marks.mark(node, volume, card_of("coronal"), 2)
    marks.mark(node, volume, CARD, 5)
    assert listed(node, volume) == {5: False}
    assert listed(node, volume, card_of("coronal")) == {2: False}


def test_the_middle_slice_of_one_plane_is_not_marked_in_another(scene):
    volume = volume_on(scene, turned(TURN, (9, 9, 9)))
    node = predict(volume)
    marks.mark(node, volume, card_of("coronal"), 4)
    assert listed(node, volume) == {}


def test_a_segment_that_is_none_of_the_models_labels_is_named(node, volume):
    marks.mark(node, volume, CARD, 3)
    assert marks.read_marks(node, volume, CARD).warnings == ()
    node.GetSegmentation().AddEmptySegment("mine", "Necrosis")
    assert marks.read_marks(node, volume, CARD).warnings == (
        "Fine-tune does not use segments that are not labels of glioma: Necrosis.",
    )


# A damaged tag

SOUND = {"plane": "axial", "index": 3, "centre": [0.0, 0.0, 0.0], "time": "2026-01-01T00:00:00Z", "sha256": "0" * 64}
DAMAGED = {
    "no JSON": "[not json",
    "a number": "7",
    "a list": "[]",
    "null": "null",
    "no schema": json.dumps({"marks": []}),
    "schema as text": json.dumps({"schema": "1", "marks": []}),
    "schema as a truth value": json.dumps({"schema": True, "marks": []}),
    "an older schema": json.dumps({"schema": 0, "marks": []}),
    "marks as an object": json.dumps({"schema": 1, "marks": {}}),
    "a mark as a number": json.dumps({"schema": 1, "marks": [3]}),
    "nested too deep": '{"schema": 1, "marks": ' + "[" * 100_000,
    "an endless number": '{"schema": 1, "marks": [' + "9" * 5000 + "]}",
} | {
    f"{name} is {value!r}": json.dumps({"schema": 1, "marks": [SOUND | {name: value}]})
    for name, value in (
        ("plane", 3),
        ("index", "3"),
        ("index", None),
        ("centre", [0.0, 0.0]),
        ("centre", "0 0 0"),
        ("centre", [0.0, 0.0, float("nan")]),
        ("centre", [0.0, 0.0, 1e308]),
        ("centre", [0.0, float("-inf"), 0.0]),
        ("centre", [10**400, 0, 0]),
        ("time", 1.5),
        ("time", "\ud800"),
        ("time", "<b>now</b>"),
        ("sha256", None),
        ("more", 1),
    )
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_tag_counts_as_no_marks_with_a_note_and_can_be_marked_over(node, volume, text):
    set_tags(node, text)
    found = marks.read_marks(node, volume, CARD)
    assert found.marks == ()
    assert found.warnings == ("The SEED marks of result are damaged and are not used. Mark the slices again.",)
    marks.unmark(node, volume, CARD, 3)
    marks.mark(node, volume, CARD, 3)
    assert listed(node, volume) == {3: False}
    assert marks.read_marks(node, volume, CARD).warnings == ()


@pytest.mark.parametrize("seed", range(20))
def test_a_tag_with_bytes_changed_is_read_without_an_error(node, volume, seed):
    marks.mark(node, volume, CARD, 3)
    random = np.random.default_rng(seed)
    text = bytearray(tag(node).encode())
    for place in random.integers(len(text), size=3):
        text[place] = random.integers(32, 127)
    set_tags(node, text.decode())
    found = marks.read_marks(node, volume, CARD)
    assert found.warnings or found.marks
    assert all(m.stale or m.index == 3 for m in found.marks)


def test_one_damaged_copy_loses_nothing(node, volume):
    made = marks.mark(node, volume, CARD, 3)
    segment(node, CORE).SetTag(seed_tags.TAG, "{")
    assert marks.read_marks(node, volume, CARD) == marks.Marks((made,))
    segment(node, CORE).RemoveTag(seed_tags.TAG)
    assert marks.marks(node, volume, CARD) == (made,)


def test_marks_of_a_newer_medtl_are_not_replaced(node, volume):
    newer = json.dumps({"schema": 2, "slices": []})
    set_tags(node, newer)
    found = marks.read_marks(node, volume, CARD)
    assert (found.marks, found.warnings) == (
        (),
        ("A newer version of MedTL wrote the SEED marks of result. Update MedTL to use or change them.",),
    )
    refused(node, volume, "newer version of MedTL")
    with pytest.raises(InputError, match="newer version of MedTL"):
        marks.unmark(node, volume, CARD, 3)
    assert tag(node) == newer


# Edited slices


def test_the_edited_slices_are_those_of_the_models_plane(case):
    node, volume, card, axis = case
    assert marks.edited(node, volume, card) == ()
    paint(node, CORE, at(axis, 6, 0, 1), volume)
    paint(node, OEDEMA, at(axis, 1, 1, 0), volume)
    assert marks.edited(node, volume, card) == (1, 6)
    marks.mark(node, volume, card, 6)
    assert marks.edited(node, volume, card) == (1, 6)


def test_axial_edits_are_those_that_the_writer_keeps(node, volume):
    paint(node, CORE, np.s_[3, 4, 2], volume, False)
    paint(node, OEDEMA, np.s_[6, 1, 1], volume)
    assert marks.edited(node, volume, CARD) == writer.edited_slices(node, volume, (CORE, OEDEMA)) == (3, 6)


def test_what_the_segment_editors_undo_brings_back_is_no_edit(node, volume):
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(node.GetSegmentation())
    assert history.SaveState()
    again = writer.Options(replace_edits=True)
    moved = np.roll(labels_on(geometry_of(volume)), 1, axis=2)
    writer.write(Labelmap(moved, geometry_of(volume), segments_of()), volume, node, again)
    assert marks.edited(node, volume, CARD) == ()
    assert history.RestorePreviousState()
    assert marks.edited(node, volume, CARD) == ()
    paint(node, CORE, np.s_[6, 1, 1], volume)
    assert marks.edited(node, volume, CARD) == (6,) == writer.edited_slices(node, volume, (CORE, OEDEMA))


def test_without_the_last_prediction_every_slice_with_labels_counts_as_edited(node, volume, tmp_path):
    save(node, tmp_path / "case.seg.nrrd")
    node = load(slicer.mrmlScene, "vtkMRMLSegmentationNode", tmp_path / "case.seg.nrrd")
    assert marks.edited(node, volume, CARD) == (2, 3, 4, 5, 6)


def test_a_last_prediction_on_another_grid_is_not_compared_with(scene, node, volume):
    grid = geometry_of(volume)
    origin = tuple((grid.affine @ (0, 0, 1, 1.0))[:3])
    assert marks.edited(node, volume_on(scene, replace(grid, origin=origin)), CARD) == (1, 2, 3, 4, 5)


# Proposals


@pytest.fixture
def long_case(scene):
    """40 slices, labels in 10 to 29."""
    volume = volume_on(scene, turned(TURN, (6, 5, 40)))
    array = np.zeros((40, 5, 6), np.uint16)
    array[10:30, 1:3, 2:4] = 1
    return predict(volume, array), volume


def test_proposals_are_evenly_spaced_over_the_prediction(long_case):
    assert marks.proposals(*long_case, CARD, 5) == (12, 16, 20, 24, 28)
    assert marks.proposals(*long_case, CARD, 1) == (20,)
    assert marks.proposals(*long_case, CARD, 0) == ()
    assert marks.proposals(*long_case, CARD, 100) == tuple(range(10, 30))


def test_a_marked_slice_takes_the_place_of_the_proposal_beside_it(long_case):
    assert marks.proposals(*long_case, CARD, 5, [16]) == (12, 20, 24, 28)
    assert marks.proposals(*long_case, CARD, 5, [17, 23]) == (12, 20, 28)


def test_marks_outside_the_prediction_take_no_place(long_case):
    assert marks.proposals(*long_case, CARD, 5, [0, 9, 30, 39]) == (12, 16, 20, 24, 28)


def test_proposals_stay_where_they_are_while_the_user_paints(long_case):
    node, volume = long_case
    paint(node, CORE, np.s_[0:40, 0, 0], volume)
    assert marks.proposals(node, volume, CARD, 5) == (12, 16, 20, 24, 28)


def test_an_empty_prediction_is_proposed_over_what_was_painted_else_over_the_volume(scene):
    volume = volume_on(scene, turned(TURN, (6, 5, 40)))
    node = predict(volume, np.zeros((40, 5, 6), np.uint16))
    assert marks.proposals(node, volume, CARD, 4) == (5, 15, 25, 35)
    paint(node, CORE, np.s_[4:12, 0, 0], volume)
    assert marks.proposals(node, volume, CARD, 4) == (5, 7, 9, 11)
    assert marks.proposals(None, volume, CARD, 4) == (5, 15, 25, 35)


@pytest.mark.parametrize("plane", PLANES)
def test_proposals_lie_in_the_extent_along_the_models_plane(scene, plane):
    volume, card = volume_on(scene, turned(TURN)), card_of(plane)
    node, axis = predict(volume), array_axis(geometry_of(volume), plane)
    used = np.flatnonzero(np.moveaxis(labels_on(geometry_of(volume)), axis, 0).any(axis=(1, 2)))
    assert marks.proposals(node, volume, card, 99) == tuple(range(used[0], used[-1] + 1))


def test_marking_one_proposal_after_the_other_ends_with_as_many_seeds_as_wanted(long_case):
    node, volume = long_case
    k, visited = 0, []
    while (found := marks.next_slice(node, volume, CARD, k, 5)) is not None:
        k = found
        visited.append(k)
        marks.mark(node, volume, CARD, k)
    assert visited == [12, 16, 20, 24, 28]


@pytest.mark.parametrize("length", range(1, 13))
def test_a_proposal_that_is_marked_is_not_proposed_again(scene, length):
    volume = volume_on(scene, turned(TURN, (6, 5, 40)))
    array = np.zeros((40, 5, 6), np.uint16)
    array[10 : 10 + length, 1:3, 2:4] = 1
    node = predict(volume, array)
    found = marks.proposals(node, volume, CARD, 5)
    assert len(set(found)) == min(5, length)
    for count in range(len(found)):
        assert marks.proposals(node, volume, CARD, 5, found[:count]) == found[count:]


def test_the_next_slice_begins_again_after_the_last_and_comes_back_to_a_stale_mark(long_case):
    node, volume = long_case
    assert marks.next_slice(node, volume, CARD, 20, 5) == 24
    assert marks.next_slice(node, volume, CARD, 28, 5) == 12
    for k in (12, 16, 20, 24, 28):
        marks.mark(node, volume, CARD, k)
    assert marks.next_slice(node, volume, CARD, 20, 5) is None
    paint(node, CORE, np.s_[16, 0, 0], volume)
    assert marks.next_slice(node, volume, CARD, 20, 5) == 16


# Collecting


def test_collected_seeds_say_what_was_marked_and_are_read_again_from_a_list(case, tmp_path):
    node, volume, card, axis = case
    write_volume(volume, tmp_path / "flair.nrrd")
    for k in (0, 2, 4):
        marks.mark(node, volume, card, k)
    paint(node, CORE, at(axis, 4, 0, 0), volume)
    found = marks.collect([(node, volume, tmp_path / "flair.nrrd")], card)
    image = read_volume(tmp_path / "flair.nrrd")
    assert [s.index for s in found] == [0, 2]  # 4 is stale
    expected = np.moveaxis(labels_on(geometry_of(volume)), axis, 0)
    for one, made in zip(found, marks.marks(node, volume, card), strict=False):
        assert np.array_equal(one.mask, np.select([expected[one.index] == 1, expected[one.index] == 4], [1, 2]))
        assert not (one.mask == IGNORE).any()
        assert one.mask.dtype == np.uint16
        assert (one.case, one.image, one.plane, one.labels, one.time) == (
            "flair",
            tmp_path / "flair.nrrd",
            card.input.plane,
            ("core", "oedema"),
            made.time,
        )
        assert one.sha256 == voxels_sha256(image.array) == voxels_sha256(slicer.util.arrayFromVolume(volume))
    write_seeds(tmp_path / "seeds.json", found)
    again = read_seeds(tmp_path / "seeds.json")
    assert [(s.index, s.mask.tobytes(), s.sha256) for s in again] == [
        (s.index, s.mask.tobytes(), s.sha256) for s in found
    ]


def test_seeds_of_several_cases_come_together_and_cases_without_add_none(scene, tmp_path):
    cases = []
    for number, name in enumerate(("oblique", "flipped", "left-handed")):
        geometry = turned(DIRECTIONS[name])
        array = np.arange(np.prod(geometry.size), dtype=np.float32).reshape(geometry.shape) + number
        volume = volume_on(scene, geometry, array, name)
        node = predict(volume)
        write_volume(volume, tmp_path / f"{number}.nrrd")
        cases.append((node, volume, tmp_path / f"{number}.nrrd"))
    for number, k in ((0, 3), (2, 4), (2, 5)):
        marks.mark(cases[number][0], cases[number][1], CARD, k)
    found = marks.collect(cases, CARD)
    assert [(s.case, s.index) for s in found] == [("oblique", 3), ("left-handed", 4), ("left-handed", 5)]
    assert len({s.sha256 for s in found}) == 2


def test_a_voxel_that_is_nan_has_the_value_that_the_engine_gives_it(scene, tmp_path):
    geometry = turned(TURN)
    array = np.arange(np.prod(geometry.size), dtype=np.float32).reshape(geometry.shape)
    array[0, 0, 0] = np.nan
    volume = volume_on(scene, geometry, array)
    node = predict(volume)
    marks.mark(node, volume, CARD, 0)
    assert listed(node, volume) == {0: False}
    write_volume(volume, tmp_path / "nan.nrrd")
    (found,) = marks.collect([(node, volume, tmp_path / "nan.nrrd")], CARD)
    assert found.sha256 == voxels_sha256(read_volume(tmp_path / "nan.nrrd").array)


def test_nothing_marked_is_refused(node, volume, tmp_path):
    for cases in ([], [(node, volume, tmp_path / "none.nrrd")]):
        with pytest.raises(InputError, match="Expected at least one SEED slice, found none"):
            marks.collect(cases, CARD)
    marks.mark(node, volume, CARD, 3)
    paint(node, CORE, np.s_[3, 0, 0], volume)
    with pytest.raises(InputError, match=r"edited since they were marked: 1"):
        marks.collect([(node, volume, tmp_path / "none.nrrd")], CARD)


def test_the_file_of_another_image_or_of_reversed_slices_is_refused(scene, node, volume, tmp_path):
    marks.mark(node, volume, CARD, 3)
    other = volume_on(scene, geometry_of(volume), slicer.util.arrayFromVolume(volume) + 1, "other")
    write_volume(other, tmp_path / "other.nrrd")
    twin = volume_on(scene, turned(TURN), name="twin")
    write_volume(twin, tmp_path / "twin.nrrd")
    for name in ("other", "twin"):
        with pytest.raises(InputError, match=f"Expected the voxels of flair in .*{name}.nrrd, found others"):
            marks.collect([(node, volume, tmp_path / f"{name}.nrrd")], CARD)
    with pytest.raises(InputError):
        marks.collect([(node, volume, tmp_path / "absent.nrrd")], CARD)


# Slices and views


def test_a_slice_is_found_again_at_its_position(case):
    _, volume, card, axis = case
    geometry = geometry_of(volume)
    for k in range(geometry.shape[axis]):
        position = np.array(marks.slice_position_ras(volume, card, k))
        assert marks.slice_at(volume, card, position) == k
        normal = (LPS_TO_RAS[:3, :3] @ geometry.axes)[:, 2 - axis] * geometry.spacing[2 - axis]
        along = (LPS_TO_RAS[:3, :3] @ geometry.axes)[:, (3 - axis) % 3]
        assert marks.slice_at(volume, card, position + 0.4 * normal + 500 * along) == k
        assert marks.slice_at(volume, card, position - 0.4 * normal) == k


def test_a_slices_position_is_its_middle_in_ras(scene):
    volume = volume_on(scene, Geometry((5, 3, 4), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0)))
    assert marks.slice_position_ras(volume, CARD, 2) == (-12.0, -22.0, 36.0)
    assert marks.slice_position_ras(volume, card_of("sagittal"), 1) == (-11.0, -22.0, 34.5)
    assert marks.slice_at(volume, card_of("coronal"), (0.0, -24.0, 0.0)) == 2


def test_a_view_beyond_the_slices_shows_none(scene):
    volume = volume_on(scene, Geometry((5, 3, 4), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0)))
    for superior in (28.0, 41.0):
        with pytest.raises(InputError, match="Move the view into the volume"):
            marks.slice_at(volume, CARD, (-12.0, -22.0, superior))
    with pytest.raises(InputError, match="found 4"):
        marks.slice_position_ras(volume, CARD, 4)
