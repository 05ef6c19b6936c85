"""A run of Fine-tune without a panel: what is handed over, what becomes of it, and that nothing is lost on the way."""

import time

import host
import numpy as np
import pytest
import slicer
from panel_user import LESION, MODEL, PHANTOM, SEGMENT, paint, voxels
from tuning_user import SLICES, TRUTH, TUNED, bundle, record

from medtl.errors import InputError
from medtl.finetuning.seed import read_seeds
from medtl.io.read import read_volume
from medtl.io.write import write_labelmap
from medtl.model.card import load_card
from medtl.model.store import find_model, user_store
from medtl.volume import Labelmap, voxels_sha256
from MedTLLib import samples
from MedTLLib.jobs import finetune as finetune_job
from MedTLLib.mrml import scene
from MedTLLib.prediction import writer
from MedTLLib.seeds import marks

CARD = load_card(find_model(MODEL))
CHOICES = finetune_job.Choices(MODEL, 30.0, 0.5)
MOVED = np.roll(TRUTH, 4, axis=2)


def labelmap(mask):
    return Labelmap(mask.astype(np.uint8), PHANTOM.labelmap.geometry, (SEGMENT,))


def case(name="head", slices=SLICES):
    """A volume, the model's segmentation of it, and marks on these slices."""
    volume = samples.volume_node(PHANTOM.volume, name)
    written = writer.write(labelmap(TRUTH), volume)
    segmentation = slicer.mrmlScene.GetNodeByID(written.segmentation_id)
    for k in slices:
        marks.mark(segmentation, volume, CARD, k)
    return volume, segmentation


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    """An empty scene, and a user's store without models."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    host.new_scene()
    yield
    host.new_scene()


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "worker"
    folder.mkdir()
    return folder


def begin(root):
    return finetune_job.begin(finetune_job.MarkedCases().cases(CARD), CARD, CHOICES, root)


def finish(job, root, mask=MOVED):
    bundle(job.name)
    write_labelmap(root / job.request["options"]["result"], labelmap(mask))
    return finetune_job.finish(job, {**record(job.name), "result": "there"})


# Which cases


def test_every_segmentation_with_marks_is_a_case_with_the_volume_it_was_made_on():
    first, second = case(), case("another", SLICES[:1])
    case("without marks", ())
    found = finetune_job.MarkedCases().cases(CARD)
    assert [(c.segmentation, c.volume, c.fresh, c.stale) for c in found] == [
        (first[1], first[0], 3, 0),
        (second[1], second[0], 1, 0),
    ]


def test_marks_for_a_relative_of_the_model_count_and_those_for_a_stranger_do_not():
    case()
    bundle(TUNED)
    assert [c.fresh for c in finetune_job.MarkedCases().cases(load_card(find_model(TUNED)))] == [3]
    stranger = load_card(bundle("stranger"))
    object.__setattr__(stranger, "parent", None)
    assert finetune_job.MarkedCases().cases(stranger) == ()


def without_its_volume(segmentation):
    segmentation.SetNodeReferenceID(segmentation.GetReferenceImageGeometryReferenceRole(), None)


def test_segmentations_loaded_without_their_volumes_find_them_in_the_scene():
    (first, one), (second, two) = case(), case("another", SLICES[:1])
    slicer.util.updateVolumeFromArray(first, slicer.util.arrayFromVolume(first) + 1)
    for k in SLICES:
        marks.mark(one, first, CARD, k)
    without_its_volume(one)
    without_its_volume(two)
    smaller = samples.volume_node(PHANTOM.volume, "smaller")
    slicer.util.updateVolumeFromArray(smaller, np.zeros((3, 4, 5), np.int16))
    marked = finetune_job.MarkedCases()
    for opened in (first, second, smaller, None):
        found = marked.cases(CARD, [opened])
        assert [(c.segmentation, c.volume, c.fresh) for c in found] == [(one, first, 3), (two, second, 1)]


def test_a_segmentation_whose_volume_is_not_there_has_nothing_fresh_and_says_so():
    volume, segmentation = case()
    slicer.mrmlScene.RemoveNode(volume)
    (found,) = finetune_job.MarkedCases().cases(CARD)
    assert (found.volume, found.fresh) == (None, 0)
    assert found.warnings
    smaller = samples.volume_node(PHANTOM.volume, "smaller")
    slicer.util.updateVolumeFromArray(smaller, np.zeros((3, 4, 5), np.int16))
    (found,) = finetune_job.MarkedCases().cases(CARD, [smaller])
    assert found.fresh == 0
    assert found.warnings
    assert segmentation.GetScene() is not None


def test_a_case_is_read_again_only_after_it_changed():
    read = []
    volume, segmentation = case()
    _volume, other = case("another")
    marked = finetune_job.MarkedCases(lambda *args: read.append(args[0]) or marks.read_marks(*args))
    for _again in range(3):
        marked.cases(CARD)
    assert read == [segmentation, other]
    mask = TRUTH.copy()
    mask[SLICES[0], :4, :4] = True
    paint(segmentation, volume, mask)
    assert [(c.fresh, c.stale) for c in marked.cases(CARD)] == [(2, 1), (3, 0)]
    marks.unmark(other, _volume, CARD, SLICES[0])
    slicer.util.updateVolumeFromArray(volume, slicer.util.arrayFromVolume(volume) + 1)
    assert [(c.fresh, c.stale) for c in marked.cases(CARD)] == [(0, 3), (2, 0)]
    assert read == [segmentation, other, segmentation, segmentation, other]


# The name


def test_the_name_is_the_first_that_nobody_has_and_no_run_has_left_behind():
    assert finetune_job.free_name(MODEL) == TUNED
    bundle(TUNED)
    bundle(f"{MODEL}-tuned-2", folder=f"{MODEL}-tuned-2.best-3")
    bundle(f"{MODEL}-tuned-4")
    assert finetune_job.free_name(MODEL) == f"{MODEL}-tuned-3"
    assert len(finetune_job.free_name("x" * 64)) <= 64


# What is handed over


def test_each_image_is_handed_over_to_the_voxel_and_its_seeds_know_it(root):
    first, _segmentation = case()
    second, _segmentation = case("another", SLICES[:2])
    slicer.util.updateVolumeFromArray(second, slicer.util.arrayFromVolume(second) + 1)
    marks.mark(_segmentation, second, CARD, SLICES[0])
    job = begin(root)
    assert job.slices == 4
    assert job.request["options"] == {"budget": 30.0, "strength": 0.5, "device": "auto"}
    found = read_seeds(root / job.request["seeds"])
    # The name of a volume may be a patient's, and the list travels with the model.
    assert [(seed.case, seed.index) for seed in found] == [*(("image-0", k) for k in SLICES), ("image-1", SLICES[0])]
    for seed, volume in zip(found, [first, first, first, second], strict=True):
        read = read_volume(seed.image)
        np.testing.assert_array_equal(read.array, slicer.util.arrayFromVolume(volume))
        assert seed.sha256 == voxels_sha256(read.array)
        np.testing.assert_array_equal(seed.mask, TRUTH[seed.index])


def test_of_a_segmentation_and_its_copy_the_mark_made_later_counts(root, monkeypatch):
    times = iter(f"2026-01-01T00:00:{n:02d}Z" for n in range(60))
    monkeypatch.setattr(time, "strftime", lambda *args: next(times))
    volume, segmentation = case(slices=SLICES[:1])
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "backup")
    copy.GetSegmentation().DeepCopy(segmentation.GetSegmentation())
    copy.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    corrected = TRUTH.copy()
    corrected[SLICES[0]] = MOVED[SLICES[0]]
    paint(segmentation, volume, corrected)
    marks.mark(segmentation, volume, CARD, SLICES[0])
    job = begin(root)
    (seed,) = read_seeds(job.folder / "seeds.json")
    np.testing.assert_array_equal(seed.mask, MOVED[SLICES[0]])
    assert job.slices == 1


@pytest.mark.parametrize("how", ["nothing marked", "deleted meanwhile"])
def test_what_cannot_be_handed_over_leaves_no_folder(root, how):
    _volume, segmentation = case(slices=() if how == "nothing marked" else SLICES)
    cases = finetune_job.MarkedCases().cases(CARD)
    segmentation.GetSegmentation().RemoveAllSegments()
    with pytest.raises(InputError, match="at least one SEED slice"):
        finetune_job.begin(cases, CARD, CHOICES, root)
    assert list(root.iterdir()) == []


# What became of it


def test_the_result_goes_into_the_segmentation_that_was_marked(root):
    volume, segmentation = case()
    job = begin(root)
    tuned = finish(job, root)
    assert (tuned.name, tuned.parent) == (TUNED, MODEL)
    assert list(root.iterdir()) == []
    np.testing.assert_array_equal(voxels(segmentation, volume), TRUTH)
    finished = finetune_job.put(tuned)
    assert finished.segmentation is segmentation
    expected = MOVED.copy()
    expected[list(SLICES)] = TRUTH[list(SLICES)]
    np.testing.assert_array_equal(voxels(segmentation, volume), expected)
    writer.undo(finished.written)
    np.testing.assert_array_equal(voxels(segmentation, volume), TRUTH)


def test_nodes_of_another_scene_with_the_same_ids_are_not_those_of_the_run(root):
    volume, segmentation = case()
    job = begin(root)
    ids = volume.GetID(), segmentation.GetID()
    slicer.mrmlScene.Clear()
    other, theirs = case("patient B", ())
    assert (other.GetID(), theirs.GetID()) == ids
    tuned = finish(job, root)
    assert "was deleted" in finetune_job.problem(tuned)
    with pytest.raises(InputError, match="was deleted"):
        finetune_job.put(tuned)
    np.testing.assert_array_equal(voxels(theirs, other), TRUTH)


def test_a_result_that_the_segmentation_does_not_take_changes_nothing(root):
    volume, segmentation = case()
    tuned = finish(begin(root), root)
    segmentation.GetSegmentation().GetSegment(LESION).SetTag("MedTL.model", "mine")
    with pytest.raises(InputError, match="not the model's"):
        finetune_job.put(tuned)
    np.testing.assert_array_equal(scene.array_of(segmentation, LESION, volume), TRUTH)


def test_nothing_is_rescued_where_nothing_was_kept_and_the_last_whole_one_where_something_was(root):
    case()
    job = begin(root)
    assert not finetune_job.is_renaming(job)
    assert finetune_job.recover_best(job) is None
    for number in (2, 10):
        bundle(job.name, folder=f"{job.name}.best-{number}")
    (user_store() / f"{job.name}.best-11").mkdir()  # not whole
    (user_store() / f"{job.name}.best-10" / "LICENSE").write_text("the last one", encoding="utf-8")
    assert finetune_job.is_renaming(job)
    assert job.after_cancel(may_wait=True) is None  # the engine may yet do it
    rescued = finetune_job.recover_best(job)
    assert rescued == finetune_job.Tuned(job.name, MODEL)
    assert (find_model(job.name) / "LICENSE").read_text(encoding="utf-8") == "the last one"
    assert not finetune_job.is_renaming(job)
    assert [folder.name for folder in user_store().iterdir()] == [job.name]
