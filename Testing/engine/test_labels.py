"""One rule decides which segment is which label, and every verb asks it."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_model import a_card

from medtl.errors import InputError
from medtl.finetuning.seed import seeds_of
from medtl.labels import (
    LABEL_TAG,
    MODEL_TAG,
    candidates,
    family_of,
    has_lesions,
    id_of,
    is_by_hand,
    is_own,
    label_segments,
    label_values,
    named_segment,
    tumour_segment,
)
from medtl.model.card import Label, Parent
from medtl.segmentation import segment_of
from medtl.volume import Geometry, Labelmap, Segment

LABELS = (Label(1, "core", "Tumour core"), Label(2, "oedema", "Oedema"))
CARD = replace(a_card(), name="ab2", labels=LABELS, parent=Parent("ab1", "00", "ab"))
GRID = Geometry((4, 3, 2))


def tags(label: str, model: str | None = "ab") -> tuple[tuple[str, str], ...]:
    return ((LABEL_TAG, label), *(((MODEL_TAG, model),) if model else ()))


def a_labelmap(*segments: Segment, values: tuple[int, ...] = (1, 2)) -> Labelmap:
    """A labelmap that shows each value."""
    array = np.zeros(GRID.shape, np.uint16)
    array.ravel()[: len(values)] = values
    return Labelmap(array, GRID, segments)


def test_what_a_model_writes_is_found_whatever_slicer_makes_of_values_order_and_names():
    """The twin: every order of the segments, with every order of the values."""
    written = [segment_of(CARD, label) for label in LABELS]
    for segments in permutations(written):
        for values in permutations((1, 2)):
            changed = [replace(s, value=v, name=f"Renamed {v}") for s, v in zip(segments, values, strict=True)]
            found = label_values(a_labelmap(*changed), CARD)
            assert found == {dict(s.tags)[LABEL_TAG]: s.value for s in changed}


@pytest.mark.parametrize(
    ("core", "oedema"),
    [
        (Segment(7, "Segment_1", "a", tags=tags("core")), Segment(3, "Segment_2", "b", tags=tags("oedema"))),
        (Segment(7, "x", "a", tags=tags("core", None)), Segment(3, "y", "b", tags=tags("oedema", None))),
        (Segment(7, "ab.core", "a"), Segment(3, "ab.oedema", "b")),
        (Segment(7, "Segment_1", " tumour CORE "), Segment(3, "Segment_2", "oedema")),
        (Segment(7, "x", "Oedema", tags=tags("core")), Segment(3, "ab.oedema", "Tumour core")),
    ],
    ids=["tags", "tags without a model", "ids", "names", "tags and ids before names"],
)
def test_tags_come_first_then_ids_then_names(core, oedema):
    for segments in ((core, oedema), (oedema, core)):
        assert label_values(a_labelmap(*segments, values=(7, 3)), CARD) == {"core": 7, "oedema": 3}


def test_values_count_only_where_no_segment_is_any_labels():
    assert label_values(a_labelmap(), CARD) == {"core": 1, "oedema": 2}
    assert label_values(a_labelmap(Segment(2, "a", "A"), Segment(1, "b", "B")), CARD) == {"core": 1, "oedema": 2}
    assert label_values(a_labelmap(Segment(2, "ab.core", "A"), Segment(1, "b", "B")), CARD) == {"core": 2}


def test_the_tag_of_another_model_is_no_tag_of_this_one():
    other = Segment(1, "other.core", "Their core", tags=tags("core", "other"))
    assert label_segments([other], CARD) == {}
    own = Segment(2, "ab.core", "Core", tags=tags("core"))
    assert label_segments([other, own], CARD) == {"core": own}


def test_of_a_segment_and_its_copy_the_one_with_the_models_id_counts():
    own, copy = (Segment(n, i, i, tags=tags("core")) for n, i in ((1, "ab.core"), (2, "ab.core_1")))
    for segments in ((own, copy), (copy, own)):
        assert label_segments(segments, CARD) == {"core": own}
        assert [one.id for one in candidates(segments, CARD)["core"]] == ["ab.core", "ab.core_1"]


@pytest.mark.parametrize(
    "twins",
    [
        [Segment(1, "x", "a", tags=tags("core")), Segment(2, "y", "b", tags=tags("core"))],
        [Segment(1, "x", "Tumour core"), Segment(2, "y", "tumour core")],
    ],
    ids=["tags", "names"],
)
def test_two_segments_of_one_label_are_refused_by_name(twins):
    with pytest.raises(InputError, match=r"one segment for the label Tumour core of ab2, found 2: .*\(x\), .*\(y\)"):
        label_values(a_labelmap(*twins), CARD)


@given(st.lists(st.sampled_from(["core", "oedema", "x"]), min_size=1, max_size=4), st.data())
def test_no_segment_is_two_labels(labels, data):
    ways = [
        lambda n, label: Segment(n, f"s{n}", f"n{n}", tags=tags(label)),
        lambda n, label: Segment(n, f"ab.{label}", f"n{n}"),
        lambda n, label: Segment(n, f"s{n}", label),
    ]
    segments = [data.draw(st.sampled_from(ways))(n, label) for n, label in enumerate(labels, start=1)]
    groups = candidates(segments, CARD)
    found = [one for group in groups.values() for one in group]
    assert len(found) == len(set(found))
    assert set(groups) <= {"core", "oedema"}
    assert set(groups) == {"core", "oedema"} & set(labels)


def test_a_segment_is_named_by_id_name_label_or_value():
    labelmap = a_labelmap(Segment(1, "ab.core", "Core", tags=tags("core")), Segment(2, "s", "2 of them"))
    for text, value in [("ab.core", 1), ("Core", 1), ("core", 1), ("1", 1), ("2 of them", 2), ("s", 2), ("2", 2)]:
        assert named_segment(labelmap, text).value == value, text
    assert named_segment(labelmap, "7") is None
    assert named_segment(a_labelmap(values=(4, 9)), "9").value == 9
    with pytest.raises(InputError, match=r"one segment called 'a', found 2: a \(x\), a \(y\)\. Choose one by its id"):
        named_segment(a_labelmap(Segment(1, "x", "a"), Segment(2, "y", "a")), "a")


def test_segments_of_one_id_are_told_apart_by_their_label_values():
    labelmap = a_labelmap(Segment(1, "x", "a"), Segment(2, "x", "b"))
    found = r"one segment called 'x', found 2: a \(value 1\), b \(value 2\)\. Choose one by its label value"
    with pytest.raises(InputError, match=found):
        named_segment(labelmap, "x")
    assert named_segment(labelmap, "2").name == "b"


def test_the_tumour_is_the_segment_that_is_called_so():
    kidney, tumour = Segment(2, "s1", "Kidney"), Segment(1, "s2", "Tumour")
    assert tumour_segment([kidney, tumour]) is tumour
    assert tumour_segment([Segment(1, "a", "Kidney with tumour"), tumour]) is tumour
    written = Segment(3, "m.lesion", "Renamed", tags=tags("lesion", "m"))
    assert tumour_segment([kidney, tumour, written]) is written
    assert tumour_segment([kidney]) is None
    with pytest.raises(InputError, match="one segment of a tumour, found 2"):
        tumour_segment([replace(tumour, name="Left tumour"), replace(tumour, id="s3", name="Right tumour")])


@pytest.mark.parametrize(
    ("segment_id", "name", "lesions"),
    [
        ("glioma-flair.lesion", "Glioma (FLAIR abnormality)", True),
        ("organs.liver_tumor", "liver_tumor", True),
        ("Segment_1", "Kidney cyst", True),
        ("organs.liver", "Liver", False),
        ("liver-tumour.liver", "Liver", False),  # the family says nothing about one of its labels
        ("Segment_2", "Segment_2", False),
    ],
)
def test_a_tumour_has_lesions_and_an_organ_has_not(segment_id, name, lesions):
    assert has_lesions(segment_id, name) == lesions


def test_only_what_the_model_wrote_is_its_own():
    assert id_of(CARD, "core") == "ab.core"
    assert is_own(Segment(1, "ab.core", "x", tags=tags("core")), "ab")
    assert not is_own(Segment(1, "ab.core", "the user's"), "ab")
    assert not is_own(Segment(1, "copy", "x", tags=tags("core")), "ab")
    assert [family_of(s) for s in (Segment(1, "a.b.core", "x"), Segment(1, "s", "x", tags=tags("core")))] == [
        "a.b",
        "ab",
    ]


def covered(labelmap: Labelmap, value: int, *voxels: int) -> Labelmap:
    """The labelmap where a segment loses voxels to later ones."""
    return replace(labelmap, covered=np.array([(value, voxel) for voxel in voxels], np.int64).reshape(-1, 2))


def test_a_segment_is_learned_from_whole_where_a_segment_within_it_overlaps():
    """A user's own segment inside the model's label takes nothing from it; beside it, it is refused by name."""
    segments = (Segment(1, "ab.core", "Core"), Segment(2, "ab.oedema", "Oedema"), Segment(3, "s", "Mine"))
    labelmap = covered(a_labelmap(*segments, values=(1, 2, 3)), 1, 2)
    (seed,) = seeds_of(labelmap, CARD, Path("i"), "x", None)
    assert seed.mask.ravel()[:4].tolist() == [1, 2, 1, 0]
    with pytest.raises(InputError, match="found the segment Mine too"):
        seeds_of(replace(labelmap, covered=labelmap.covered[:0]), CARD, Path("i"), "x", None)


def test_labels_that_overlap_each_other_cannot_be_learned_from():
    segments = (Segment(1, "ab.core", "Core"), Segment(2, "ab.oedema", "Oedema"))
    with pytest.raises(InputError, match="do not overlap, found 1 voxel of Oedema in another label"):
        seeds_of(covered(a_labelmap(*segments), 1, 1), CARD, Path("i"), "x", None)


@pytest.mark.parametrize(
    ("kind", "told"),
    [("MANUAL", True), ("SEMIAUTOMATIC", True), (" semiautomatic", True), ("AUTOMATIC", False), ("", False)],
)
def test_dicom_s_kinds_of_algorithm_tell_what_was_drawn_or_edited_by_hand(kind, told):
    assert is_by_hand(kind) == told
