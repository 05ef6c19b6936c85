"""SEED slices and their file."""

import json
import os
import struct
import sys
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_model import a_card

from medtl.errors import InputError
from medtl.finetuning import seed as seeds_module
from medtl.finetuning.seed import IGNORE, Seed, by_image, for_model, read_seeds, seeds_of, write_seeds
from medtl.model.card import Label
from medtl.volume import Geometry, Labelmap, Segment, voxels_sha256

TWO = (Label(3, "core", "Core"), Label(7, "oedema", "Oedema"))
GRID = Geometry((4, 5, 6))


def a_labelmap(values: dict[int, int], segments: tuple[Segment, ...] = (), **more: object) -> Labelmap:
    """A labelmap of 6 slices, with a value in one pixel of some."""
    array = np.zeros(GRID.shape, np.uint16)
    for k, value in values.items():
        array[k, 2, 1] = value
    return Labelmap(array, GRID, segments, **more)


def a_seed(index: int = 2, image: Path = Path("image.nrrd"), **more: object) -> Seed:
    mask = np.zeros((5, 4), np.uint16)
    mask[1, 2], mask[0] = 1, IGNORE
    return Seed("case", image, "ab", "axial", index, ("lesion",), mask, "2026-01-01T00:00:00Z", **more)


def same(one: Seed, other: Seed) -> bool:
    return replace(one, mask=other.mask) == other and np.array_equal(one.mask, other.mask)


def test_a_list_comes_back_as_it_was_written(tmp_path):
    listed = (a_seed(2), a_seed(4))
    write_seeds(tmp_path / "seeds.json", listed)
    back = read_seeds(tmp_path / "seeds.json")
    assert all(same(replace(b, image=Path("image.nrrd")), s) for b, s in zip(back, listed, strict=True))
    assert {f.name for f in tmp_path.iterdir()} == {"seeds.json", "seeds.npz"}


def test_an_image_in_the_folder_of_the_list_moves_with_it(tmp_path):
    (tmp_path / "a").mkdir()
    write_seeds(tmp_path / "a" / "seeds.json", [replace(a_seed(), image=tmp_path / "a" / "image.nrrd")])
    (tmp_path / "a").rename(tmp_path / "b")
    assert read_seeds(tmp_path / "b" / "seeds.json")[0].image == tmp_path / "b" / "image.nrrd"


def test_the_further_channels_of_an_image_are_listed_and_move_with_it(tmp_path):
    (tmp_path / "a").mkdir()
    inside, outside = tmp_path / "a" / "flair.nrrd", tmp_path / "t1.nrrd"
    given = a_seed(image=tmp_path / "a" / "t2.nrrd", channels=(inside, outside))
    write_seeds(tmp_path / "a" / "seeds.json", [given, a_seed(3)])
    first, second = json.loads((tmp_path / "a" / "seeds.json").read_text())["seeds"]
    assert first["channels"] == ["flair.nrrd", str(outside)]
    assert "channels" not in second  # a list of one channel is as older programs write it
    (tmp_path / "a").rename(tmp_path / "b")
    one, other = read_seeds(tmp_path / "b" / "seeds.json")
    assert one.channels == (tmp_path / "b" / "flair.nrrd", outside)
    assert other.channels == ()


def test_a_write_that_is_cut_short_between_its_two_files_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "seeds.json"
    write_seeds(path, [a_seed(2)])

    def cut(part: Path, *rest: object, **more: object) -> int:
        raise OSError(28, "No space left on device")

    changed = replace(a_seed(2), mask=np.ones((5, 4), np.uint16))
    monkeypatch.setattr(Path, "write_text", cut)
    with pytest.raises(InputError, match="No space left"):
        write_seeds(path, [changed])
    assert np.array_equal(read_seeds(path)[0].mask, a_seed().mask)
    monkeypatch.undo()
    write_seeds(path, [changed])
    assert read_seeds(path)[0].mask.all()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("seeds.json", b"{"),
        ("seeds.json", b"[]"),
        ("seeds.json", b'{"schema": 1, "seeds": [{"mask": "absent"}]}'),
        ("seeds.npz", b"no zip"),
    ],
)
def test_a_damaged_list_is_refused_by_name(tmp_path, name, content):
    write_seeds(tmp_path / "seeds.json", [a_seed()])
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"Expected a list of SEEDs .* Mark the slices again"):
        read_seeds(tmp_path / "seeds.json")


def test_a_list_of_a_newer_program_asks_for_an_update(tmp_path):
    (tmp_path / "seeds.json").write_text(json.dumps({"schema": 2, "seeds": []}))
    with pytest.raises(InputError, match="schema 2"):
        read_seeds(tmp_path / "seeds.json")


def test_every_labelled_slice_is_a_seed_unless_slices_are_named():
    labelmap = a_labelmap({1: 1, 4: 1})
    assert [s.index for s in seeds_of(labelmap, a_card(), Path("i"), "x", None)] == [1, 4]
    named = seeds_of(labelmap, a_card(), Path("i"), "x", (5, 1, 5))
    assert [(s.index, int(s.mask.sum())) for s in named] == [(1, 1), (5, 0)], "a slice without a label is a SEED, too"


def test_slices_are_counted_along_the_array_axis_nearest_the_planes_normal():
    sagittal = Geometry((4, 5, 6), direction=(0, 0, 1, 1, 0, 0, 0, 1, 0))  # the first index axis points to posterior
    array = np.zeros(sagittal.shape, np.uint16)
    array[:, 3, :] = 1  # the y axis points to superior
    found = seeds_of(Labelmap(array, sagittal), a_card(), Path("i"), "x", None)
    assert [s.index for s in found] == [3]
    assert found[0].mask.shape == (6, 4)


def test_labels_are_found_by_their_tags_whatever_slicer_made_of_values_and_names():
    card = replace(a_card(), labels=TWO)
    segments = (
        Segment(1, "small.oedema", "Renamed", tags=(("MedTL.label", "oedema"),)),
        Segment(2, "Segment_2", "Other", tags=(("MedTL.label", "core"),)),
    )
    found = seeds_of(a_labelmap({0: 1, 1: 2}, segments), card, Path("i"), "x", None)
    assert [int(s.mask.max()) for s in found] == [2, 1]
    assert found[0].labels == ("core", "oedema")


def test_values_are_the_models_own_where_no_segment_is_known():
    card = replace(a_card(), labels=TWO)
    found = seeds_of(a_labelmap({0: 3, 1: 7}, (Segment(3, "a", "A"),)), card, Path("i"), "x", None)
    assert [int(s.mask.max()) for s in found] == [1, 2]


@pytest.mark.parametrize(
    ("labelmap", "slices", "message"),
    [
        (a_labelmap({}), None, "at least one SEED slice"),
        (a_labelmap({1: 1}), (6,), "slices from 0 to 5"),
        (a_labelmap({1: 5}), None, "found the value 5 too"),
        (a_labelmap({1: 3}, (Segment(3, "small.core", "Core"),)), None, "found none for Oedema"),
    ],
    ids=["nothing marked", "outside", "another label", "segment removed"],
)
def test_labels_that_cannot_be_learned_from_are_refused(labelmap, slices, message):
    card = replace(a_card(), labels=TWO) if "Oedema" in message else a_card()
    with pytest.raises(InputError, match=message):
        seeds_of(labelmap, card, Path("i"), "x", slices)


def test_seeds_take_the_order_of_the_models_labels():
    mask = np.array([[0, 1], [2, IGNORE]], np.uint16)
    given = Seed("c", Path("i"), "x", "axial", 0, ("oedema", "core"), mask)
    turned = for_model(given, replace(a_card(), labels=TWO))
    assert turned.labels == ("core", "oedema")
    assert turned.mask.tolist() == [[0, 2], [1, IGNORE]]


@pytest.mark.parametrize("change", [{"plane": "coronal"}, {"labels": ("muscle",)}])
def test_seeds_for_another_model_are_refused(change):
    with pytest.raises(InputError, match="Choose the model they are for"):
        for_model(replace(a_seed(), **change), a_card())


def test_a_mask_holds_nothing_that_its_labels_do_not_name():
    with pytest.raises(InputError, match="the value 2"):
        replace(a_seed(), mask=np.full((2, 2), 2, np.uint16))


def test_the_later_mark_of_a_slice_counts():
    first, later = a_seed(2), replace(a_seed(2), time="later")
    groups = by_image([a_seed(4), first, later, replace(a_seed(0), sha256="cd")])
    assert [(s.index, s.time) for s in groups["ab"]] == [(2, "later"), (4, "2026-01-01T00:00:00Z")]
    assert len(groups["cd"]) == 1


def test_an_image_is_known_by_its_voxels_alone():
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    assert voxels_sha256(array) == voxels_sha256(np.asfortranarray(array)) != voxels_sha256(array + 1)
    assert seeds_module.SCHEMA == 1


# --- lists that are broken or hostile ---


def rewritten(path: Path, **changes: object) -> None:
    """Change the record of a list of one SEED."""
    listed = json.loads(path.read_text())
    listed["seeds"][0].update(changes)
    path.write_text(json.dumps(listed))


def a_list(folder: Path) -> Path:
    write_seeds(folder / "seeds.json", [a_seed()])
    return folder / "seeds.json"


def archive(path: Path, header: str, content: bytes = b"", kind: int = zipfile.ZIP_DEFLATED) -> None:
    """Replace the masks of the list by one with this header and content."""
    name = json.loads(path.read_text())["seeds"][0]["mask"]
    text = header.encode() + b" " * (-(11 + len(header)) % 64) + b"\n"
    with zipfile.ZipFile(path.with_suffix(".npz"), "w", kind) as masks:
        masks.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content)


def header(shape: str, kind: str = "'<u2'") -> str:
    return f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}"


REFUSED = r"Expected a list of SEEDs .* Mark the slices again"


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (header("(1000000, 1000000)"), b""),
        (header("(4294967296, 4294967296)"), b""),
        (header("(5, 4)"), b"\0" * 38),
        (header("(5, 4)"), b"\0" * 42),
        (header("(0, 0)"), b""),
        (header("(5, 4, 1)"), b"\0" * 40),
        (header("(-5, -4)"), b"\0" * 40),
        (header("(5, 4)", "'|O'"), b"\0" * 160),
        (header("(5, 4)", "'<f8'"), np.full(20, np.nan).tobytes()),
        (header("(5, 4)", "'<i4'"), np.full(20, -1, np.int32).tobytes()),
        (header("(1, 1)", "[('a', '<u2', (10000, 10000))]"), b"\0" * 40),
        (header("(" + "(" * 900 + ")" * 900 + ")"), b""),
        ("no header", b""),
    ],
    ids=[
        *("a claim", "a claim that overflows", "too short", "too long", "empty", "three dimensions", "negative"),
        *("objects", "floats", "signed", "fields", "deep", "no header"),
    ],
)
def test_masks_whose_headers_cannot_be_are_refused(tmp_path, text, content):
    path = a_list(tmp_path)
    archive(path, text, content)
    with pytest.raises(InputError, match=REFUSED):
        read_seeds(path)


def test_a_mask_stored_by_columns_is_read(tmp_path):
    path = a_list(tmp_path)
    mask = read_seeds(path)[0].mask
    text = header("(5, 4)").replace("False", "True")
    archive(path, text, mask.tobytes(order="F"))
    assert np.array_equal(read_seeds(path)[0].mask, mask)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_masks_packed_in_another_way_than_numpys_are_refused(tmp_path, kind):
    path = a_list(tmp_path)
    archive(path, header("(5, 4)"), b"\0" * 40, kind)
    with pytest.raises(InputError, match=REFUSED):
        read_seeds(path)


def test_masks_that_would_fill_the_memory_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    path = a_list(tmp_path)
    archive(path, header("(8192, 8193)"), b"\0" * (2 * 8192 * 8193))
    tracemalloc.start()
    with pytest.raises(InputError, match="expected two dimensions of uint16"):
        read_seeds(path)
    monkeypatch.setattr(seeds_module, "MAX_MASKS_BYTES", 10**6)
    with pytest.raises(InputError, match="masks of more than 1 MB"):
        read_seeds(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10**6


def test_many_seeds_of_one_mask_read_it_once_and_too_many_are_refused(tmp_path, monkeypatch):
    path = a_list(tmp_path)
    listed = json.loads(path.read_text())
    listed["seeds"] *= 50
    path.write_text(json.dumps(listed))
    assert len({id(seed.mask) for seed in read_seeds(path)}) == 1
    monkeypatch.setattr(seeds_module, "MAX_SEEDS", 49)
    with pytest.raises(InputError, match="50 SEEDs, more than 49"):
        read_seeds(path)
    monkeypatch.setattr(seeds_module, "MAX_LIST_BYTES", 1000)
    with pytest.raises(InputError, match="more than 0"):
        read_seeds(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"index": "3"},
        {"index": 3.0},
        {"index": True},
        {"index": -1},
        {"index": float("inf")},
        {"labels": "lesion"},
        {"labels": None},
        {"labels": ["lesion"] * 70000},
        {"labels": ["lesion", "lesion"]},
        {"image": "a\0b"},
        {"channels": ["a", "a\0b"]},
        {"channels": "a"},
        {"channels": None},
        {"plane": "x"},
        {"mask": None},
    ],
)
def test_records_that_cannot_be_are_refused(tmp_path, changes):
    path = a_list(tmp_path)
    rewritten(path, **changes)
    with pytest.raises(InputError, match=r"Mark (the slices|the slice|it) again"):
        read_seeds(path)


@pytest.mark.parametrize(
    "text",
    ["[" * 100000 + "]" * 100000, "null", "3", '{"schema": 1, "seeds": 3}', '{"schema": 1}'],
    ids=["deep", "null", "a number", "no list", "no seeds"],
)
def test_json_of_another_form_is_refused(tmp_path, text):
    path = a_list(tmp_path)
    path.write_text(text)
    with pytest.raises(InputError, match=REFUSED):
        read_seeds(path)


def test_a_seed_of_another_plane_does_not_hide_one_of_the_same_number():
    groups = by_image([a_seed(2), replace(a_seed(2), plane="coronal")])
    assert [s.plane for s in groups["ab"]] == ["axial", "coronal"]


def test_warnings_that_are_not_about_overlap_do_not_refuse_a_labelmap():
    labelmap = a_labelmap({1: 1}, warnings=("Slices lie 4 to 5 mm apart; the mean is used.",))
    assert len(seeds_of(labelmap, a_card(), Path("i"), "x", None)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
@pytest.mark.parametrize("name", ["seeds.json", "seeds.npz"])
def test_a_pipe_in_place_of_a_list_is_refused_and_not_waited_for(tmp_path, name):
    write_seeds(tmp_path / "seeds.json", [a_seed()])
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="Expected a regular file"):
        read_seeds(tmp_path / "seeds.json")


def test_a_slice_number_that_no_image_has_is_named():
    with pytest.raises(InputError, match="Expected slices from 0 to 5"):
        seeds_of(a_labelmap({1: 1}), a_card(), Path("image.nrrd"), "", [10**30])


def test_a_list_whose_schema_is_no_number_is_of_another_program(tmp_path):
    write_seeds(tmp_path / "seeds.json", [a_seed()])
    listed = json.loads((tmp_path / "seeds.json").read_text())
    (tmp_path / "seeds.json").write_text(json.dumps(listed | {"schema": True}))
    with pytest.raises(InputError, match="is of schema True"):
        read_seeds(tmp_path / "seeds.json")


def test_many_seeds_of_one_large_mask_would_fill_the_memory_and_are_refused(tmp_path, monkeypatch):
    write_seeds(tmp_path / "seeds.json", [a_seed(k) for k in range(100)])
    monkeypatch.setattr(seeds_module, "MAX_MASKS_BYTES", 10_000)  # a mask has 168 bytes
    with pytest.raises(InputError, match="masks of more than"):
        read_seeds(tmp_path / "seeds.json")
