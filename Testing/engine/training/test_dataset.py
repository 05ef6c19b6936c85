"""Cases from files to the cache, and what of them is brain."""

import hashlib
import os
from dataclasses import astuple, replace

import numpy as np
import pytest
from scipy import ndimage
from small_model import a_card

from medtl.cases import CaseFiles
from medtl.errors import InputError
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.model.card import InputSpec, Label
from medtl.phantom import head
from medtl.preprocess import batch, prepare
from medtl.training import dataset
from medtl.training.dataset import brain_mask, cache_key, load, prepare_case, prepare_cases, store
from medtl.volume import Labelmap, Segment

CARD = replace(a_card(), input=InputSpec(spacing=None), labels=(Label(4, "lesion", "Lesion"),))


@pytest.fixture
def files(tmp_path):
    """A small head whose lesion has the value 4."""
    made = head(2, (72, 64, 6), (3.0, 3.2, 11.0))
    write_image(tmp_path / "a.nrrd", made.volume.array, made.volume.geometry)
    write_labelmap(tmp_path / "a-label.nrrd", Labelmap(made.labelmap.array * 4, made.labelmap.geometry))
    return CaseFiles("a", tmp_path / "a.nrrd", tmp_path / "a-label.nrrd", "anna", "north")


def same(one, two):
    return all(
        np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in zip(astuple(one), astuple(two))
    )


def forbid(monkeypatch):
    """From here on a case that is read anew fails the test."""

    def refuse(*_):
        raise AssertionError("the case was read again")

    monkeypatch.setattr(dataset, "prepare_case", refuse)


def test_a_case_comes_back_from_the_cache_as_it_went_in(files, tmp_path, monkeypatch):
    fresh = prepare_case(files, CARD, True)
    (first,) = prepare_cases((files,), CARD, tmp_path / "cache")
    forbid(monkeypatch)
    (second,) = prepare_cases((files,), CARD, tmp_path / "cache")
    assert same(first, fresh)
    assert same(second, fresh)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["a.npz"]


def test_warnings_of_reading_come_back_from_the_cache_too(files, tmp_path, monkeypatch):
    volume = read_volume(files.image)
    array = volume.array.astype(np.float32)
    array[0, 0, :3] = np.nan
    write_image(files.image, array, volume.geometry)
    (first,) = prepare_cases((files,), CARD, tmp_path / "cache")
    assert [text.partition(" count as")[0] for text in first.warnings] == ["3 voxels were NaN or infinite and"]
    forbid(monkeypatch)
    assert prepare_cases((files,), CARD, tmp_path / "cache")[0].warnings == first.warnings


def test_training_sees_what_the_network_sees_later(files):
    cached = prepare_case(files, CARD, True)
    prepared = prepare(read_volume(files.image), CARD.input)
    slices = np.arange(len(cached.image))
    assert np.allclose(batch(prepared, slices, [0], 1)[:, 0], cached.image, atol=2e-3)
    assert cached.slice_mm == pytest.approx(11.0)
    assert cached.brain.any()
    assert (cached.brain == brain_mask((cached.image.astype(np.float32) + 1) / 0.8)).mean() > 0.995
    assert cached.image.shape == cached.label.shape == cached.brain.shape
    assert cached.label.sum() == np.count_nonzero(head(2, (72, 64, 6), (3.0, 3.2, 11.0)).labelmap.array)


def test_an_image_is_known_by_its_voxels_whatever_file_holds_them(files, tmp_path):
    volume = read_volume(files.image)
    write_image(tmp_path / "b.nii.gz", volume.array, volume.geometry)
    again = prepare_case(replace(files, image=tmp_path / "b.nii.gz"), CARD, True)
    assert again.sha256 == prepare_case(files, CARD, True).sha256
    assert again.sha256 == hashlib.sha256(volume.array.astype("<i2").tobytes()).hexdigest()


def test_every_value_is_one_lesion_only_when_asked(files):
    assert set(np.unique(prepare_case(files, CARD, True).label)) == {0, 1}
    assert set(np.unique(prepare_case(files, CARD, False).label)) == {0, 1}
    other = replace(CARD, labels=(Label(1, "lesion", "Lesion"),))
    assert set(np.unique(prepare_case(files, other, True).label)) == {0, 1}
    with pytest.raises(InputError, match=r"values 1 of small in .*a-label\.nrrd, found 4"):
        prepare_case(files, other, False)


def test_a_segment_that_is_the_label_is_learned_and_no_other(files):
    """A segmentation of Slicer: the values are its own, the head is a segment, too."""
    whole = read_labelmap(files.label)
    labels = np.where(whole.array > 0, 1, np.where(read_volume(files.image).array > 50, 2, 0)).astype(np.uint8)
    named = replace(files, label=files.label.with_suffix(".seg.nrrd"))
    segments = (Segment(2, "Segment_1", "Head"), Segment(1, "Segment_2", "lesion"))
    write_labelmap(named.label, Labelmap(labels, whole.geometry, segments))
    for binary in (True, False):
        assert np.array_equal(prepare_case(named, CARD, binary).label, prepare_case(files, CARD, True).label)


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut short", "bit flipped", "older", "no zip of ours"])
def test_a_cache_file_that_cannot_be_used_is_made_anew(files, tmp_path, damage):
    (first,) = prepare_cases((files,), CARD, tmp_path / "cache")
    path = tmp_path / "cache" / "a.npz"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[2000] ^= 255
    contents = {"empty": b"", "garbage": b"x" * 99, "cut short": whole[:-200], "bit flipped": bytes(flipped)}
    if damage == "older":
        np.savez(path, image=first.image, label=first.label, brain=first.brain, facts=np.array('["a", "anna"]'))
    elif damage == "no zip of ours":
        np.savez(path, other=np.zeros(3))
    else:
        path.write_bytes(contents[damage])
    (again,) = prepare_cases((files,), CARD, tmp_path / "cache")
    assert same(again, first)
    assert same(load(path, cache_key(files, CARD, True)), first)


def test_a_case_cached_for_another_input_or_question_is_made_anew(files, tmp_path):
    prepare_cases((files,), CARD, tmp_path / "cache")
    coronal = replace(CARD, input=replace(CARD.input, plane="coronal"))
    (turned,) = prepare_cases((files,), coronal, tmp_path / "cache")
    assert same(turned, prepare_case(files, coronal, True))
    other = replace(coronal, labels=(Label(1, "lesion", "Lesion"),))
    with pytest.raises(InputError, match="found 4"):
        prepare_cases((files,), other, tmp_path / "cache", binary=False)


def test_a_corrected_label_is_read_again(files, tmp_path):
    prepare_cases((files,), CARD, tmp_path / "cache")
    volume = read_volume(files.image)
    write_labelmap(files.label, Labelmap(np.zeros(volume.array.shape, np.uint8), volume.geometry))
    os.utime(files.label, ns=(1, 1))  # a time of its own, however fast this runs
    assert not prepare_cases((files,), CARD, tmp_path / "cache")[0].label.any()


def test_who_the_patient_is_stands_in_the_list_and_not_in_the_cache(files, tmp_path, monkeypatch):
    prepare_cases((files,), CARD, tmp_path / "cache")
    forbid(monkeypatch)
    (case,) = prepare_cases((replace(files, patient="berta", site="south"),), CARD, tmp_path / "cache")
    assert (case.patient, case.site) == ("berta", "south")


def test_a_label_on_another_grid_is_refused(files, tmp_path):
    other = head(2, (70, 64, 6), (3.0, 3.2, 11.0))
    write_labelmap(files.label, other.labelmap)
    with pytest.raises(InputError, match="on the grid of"):
        prepare_cases((files,), CARD, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_case_far_from_the_spacing_of_the_model_is_refused(files, tmp_path):
    with pytest.raises(InputError, match=r"within a factor 1.3 of 0.9 mm.*Resample"):
        prepare_cases((files,), replace(CARD, input=InputSpec(spacing=0.9)), tmp_path / "cache")


def test_a_failed_write_leaves_the_old_file(files, tmp_path, monkeypatch):
    (first,) = prepare_cases((files,), CARD, tmp_path / "cache")
    path, key = tmp_path / "cache" / "a.npz", cache_key(files, CARD, True)

    def full(file, **_):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        store(path, replace(first, case="b"), key)
    assert same(load(path, key), first)


@pytest.fixture(scope="module")
def tissue():
    """Brain is about 1; rings counted from the outside: 5 pixels of scalp, then skull."""
    made = head(1, (224, 224, 5), (1.0, 1.0, 16.0))
    array = made.volume.array.astype(np.float32)
    lesion = made.labelmap.array > 0
    level = float(np.median(array[ndimage.binary_dilation(lesion, iterations=12) & ~lesion]))
    outline = np.stack([ndimage.binary_fill_holes(s > 0.3 * level) for s in array])
    depth = np.stack([ndimage.distance_transform_edt(np.pad(s, 1))[1:-1, 1:-1] for s in outline])
    return array / level, lesion, depth


def test_the_brain_is_found_without_the_scalp(tissue):
    image, lesion, depth = tissue
    brain = brain_mask(image)
    upper = slice(2, None)  # above the skull base, where the phantom's outline is simple
    assert brain[lesion].mean() > 0.95
    assert brain[upper][(depth[upper] > 0) & (depth[upper] < 5)].mean() < 0.02
    assert brain[upper][depth[upper] > 25].mean() > 0.95


def test_a_brain_that_is_stripped_already_loses_no_more_than_its_border(tissue):
    image, lesion, _ = tissue
    brain = brain_mask(image)
    again = brain_mask(np.where(brain, image, 0))
    inner = np.stack([ndimage.distance_transform_edt(s) for s in brain]) > 12
    assert again[inner & (image > 0.7)].mean() > 0.97
    assert again[lesion].mean() > 0.9
    assert (again & ~brain).sum() < 0.02 * brain.sum()


def test_a_picture_of_nothing_has_no_brain():
    assert not brain_mask(np.zeros((2, 64, 64), np.float32)).any()
