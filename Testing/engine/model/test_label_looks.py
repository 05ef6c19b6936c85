"""Colours that can be told apart, and codes for names that are known for sure."""

import pytest

from medtl.model.label_looks import colour_of, snomed_of


def test_the_colours_of_many_labels_differ_and_neighbours_are_far_apart():
    colours = [colour_of(number) for number in range(100)]
    assert len(set(colours)) == 100
    assert all(0 <= part <= 1 for colour in colours for part in colour)
    near = [sum(abs(a - b) for a, b in zip(colours[n], colours[n + 1], strict=True)) for n in range(99)]
    assert min(near) > 0.4


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("spleen", ("SCT^123037004^Anatomical Structure", "SCT^78961009^Spleen", "^^")),
        ("kidney_left", ("SCT^123037004^Anatomical Structure", "SCT^64033007^Kidney", "SCT^7771000^Left")),
        ("Right Kidney", ("SCT^123037004^Anatomical Structure", "SCT^64033007^Kidney", "SCT^24028007^Right")),
        ("lungs", ("SCT^123037004^Anatomical Structure", "SCT^39607008^Lung", "^^")),
        ("urinary_bladder", ("SCT^123037004^Anatomical Structure", "SCT^89837001^Urinary bladder", "^^")),
        ("Edema", ("SCT^49755003^Morphologically Altered Structure", "SCT^79654002^Edema", "^^")),
    ],
)
def test_known_names_get_category_type_and_side(name, parts):
    assert tuple(snomed_of(name).split("~"))[1:4] == parts
    assert len(snomed_of(name).split("~")) == 7


@pytest.mark.parametrize("name", ["", "core", "kidney_tumour", "liver 2", "lung_left_right", "left", "kidney|x"])
def test_other_names_get_none(name):
    assert snomed_of(name) == ""
