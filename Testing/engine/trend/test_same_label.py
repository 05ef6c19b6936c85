"""Which segments of several dates are one label: by MedTL's tags, else by name, never by Slicer's ids."""

import numpy as np

from medtl.trend.same_label import labels_across
from medtl.volume import Geometry, Labelmap, Segment

GRID = Geometry((4, 4, 4))


def labelmap(*segments: Segment, values: tuple[int, ...] = ()) -> Labelmap:
    array = np.zeros(GRID.shape, np.uint8)
    for place, value in enumerate(values or [segment.value for segment in segments]):
        array[place] = value
    return Labelmap(array, GRID, segments)


def tagged(value: int, name: str, label: str = "tumour", model: str = "m", segment_id: str = "") -> Segment:
    tags = (("MedTL.label", label), ("MedTL.model", model))
    return Segment(value, segment_id or f"{model}.{label}", name, tags=tags)


def names(*labelmaps: Labelmap) -> list[list[str | None]]:
    return [[s and f"{s.name} {s.value}" for s in row.segments] for row in labels_across(labelmaps)[0]]


def test_tags_join_segments_whose_name_and_value_changed():
    first, second = labelmap(tagged(1, "Tumour")), labelmap(tagged(3, "Tumor (edited)"))
    assert names(first, second) == [["Tumour 1", "Tumor (edited) 3"]]


def test_names_join_the_segments_of_others_whatever_their_ids_and_case():
    first = labelmap(Segment(1, "Segment_1", "Liver"), Segment(2, "Segment_2", "Lesion"))
    second = labelmap(Segment(1, "Segment_1", "lesion"))
    assert names(first, second) == [["Liver 1", None], ["Lesion 2", "lesion 1"]]


def test_a_users_segment_joins_the_models_by_its_name():
    assert names(labelmap(tagged(1, "Tumour")), labelmap(Segment(2, "x", "tumour"))) == [["Tumour 1", "tumour 2"]]


def test_labels_of_two_models_stay_apart():
    found = names(labelmap(tagged(1, "Tumour", model="a")), labelmap(tagged(1, "Tumour", model="b")))
    assert found == [["Tumour 1", None], [None, "Tumour 1"]]


def test_two_segments_of_one_name_are_two_labels():
    twice = labelmap(Segment(1, "a", "Lesion"), Segment(2, "b", "Lesion"))
    assert names(twice, labelmap(Segment(1, "a", "Lesion"))) == [["Lesion 1", "Lesion 1"], ["Lesion 2", None]]


def test_values_without_names_get_the_names_of_other_dates_and_a_warning():
    bare = labelmap(values=(1, 3))
    rows, warnings = labels_across([bare, labelmap(Segment(1, "x", "Tumour"), Segment(2, "y", "Cyst"))])
    assert [[s and f"{s.name} {s.value}" for s in row.segments] for row in rows] == [
        ["Tumour 1", "Tumour 1"],
        ["Cyst 2", "Cyst 2"],
        ["3 3", None],
    ]
    assert len(warnings) == 1
    assert "same value" in warnings[0]


def test_without_any_name_values_are_the_labels_and_a_missing_one_is_empty():
    rows, warnings = labels_across([labelmap(values=(1, 2)), labelmap(values=(2,))])
    assert [[s and s.value for s in row.segments] for row in rows] == [[1, 1], [2, 2]]
    assert warnings == ()


def test_no_label_anywhere_is_no_row():
    assert labels_across([labelmap(), labelmap()]) == ((), ())
