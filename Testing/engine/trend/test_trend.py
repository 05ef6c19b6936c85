"""The trend: volumes add up, changes are those of a slow twin, and labels may be missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtl.trend.table import lesion_name
from medtl.trend.trend import changes, trend_rows
from medtl.volume import Geometry, Labelmap, Segment

GRID = Geometry((30, 12, 12), (1.0, 1.0, 1.0))
TUMOUR, LIVER = Segment(1, "a", "Tumour"), Segment(2, "b", "Liver")
EYE = np.eye(4)


def rods(*spans: tuple[int, int], segments: tuple[Segment, ...] = (TUMOUR,)) -> Labelmap:
    array = np.zeros(GRID.shape, np.uint8)
    for start, stop in spans:
        array[4:8, 4:8, start:stop] = 1
    return Labelmap(array, GRID, segments)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1000)), max_size=6))
def test_changes_are_those_of_the_slow_twin(volumes):
    for number, found in enumerate(changes(volumes)):
        earlier = [ml for ml in volumes[:number] if ml is not None]
        wanted = [None, None, None]
        if volumes[number] is not None and earlier:
            for place, reference in enumerate((earlier[0], earlier[-1], sorted(earlier)[0])):
                if reference > 0:
                    wanted[place] = (volumes[number] - reference) / reference * 100
        assert list(found) == pytest.approx(wanted)


def test_the_lesions_of_each_date_add_up_to_the_label():
    dates = ["2026-01-01", "2026-02-01", "2026-03-01"]
    maps = [rods((2, 8), (10, 15), (20, 22)), rods((2, 15)), rods((2, 14), (25, 29))]
    rows, warnings = trend_rows(dates, maps, [EYE] * 3)
    assert warnings == ()
    assert [(row.name, row.lesion) for row in rows] == [("Tumour", n) for n in range(4)]
    whole, *lesions = rows
    for number, labelmap in enumerate(maps):
        assert whole.values[number].volume_ml == pytest.approx(np.count_nonzero(labelmap.array) / 1000)
        assert sum(row.values[number].volume_ml for row in lesions) == pytest.approx(whole.values[number].volume_ml)
    assert [value.events for value in lesions[0].values] == [(), ("merged",), ()]
    assert [value.parts_ml for value in lesions[0].values] == [
        pytest.approx((0.096, 0.080)),
        pytest.approx((0.208,)),
        pytest.approx((0.192,)),
    ]
    assert [value.lesions for value in lesions[0].values] == [(1, 2), (1,), (1,)]
    assert [value.events for value in lesions[1].values] == [(), (), ("new",)]
    assert [value.events for value in lesions[2].values] == [(), ("vanished",), ()]
    assert [lesion_name(row) for row in lesions] == ["lesion 1", "lesion 2", "lesion 3 of 2026-01-01"]
    assert lesions[0].values[1].longest_mm == pytest.approx(np.hypot(13, 4), abs=1.1)
    assert lesions[2].values[1].longest_mm is None


def test_without_a_registration_lesions_have_no_rows_but_their_sizes_are_there():
    rows, _ = trend_rows(["2026-01-01", "2026-02-01"], [rods((2, 8), (10, 15)), rods((2, 8))], None)
    assert [row.lesion for row in rows] == [0]
    assert [len(value.parts_ml) for value in rows[0].values] == [2, 1]


def test_one_date_has_its_lesions_and_no_change():
    rows, _ = trend_rows([""], [rods((2, 8), (10, 15))], None)
    assert [row.lesion for row in rows] == [0, 1, 2]
    value = rows[0].values[0]
    assert (value.change_to_first, value.change_to_previous, value.change_to_smallest) == (None, None, None)


def test_a_date_that_lacks_the_label_is_unknown_and_one_with_an_empty_label_is_zero():
    dates = ["2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01"]
    maps = [rods((2, 8)), rods(segments=(LIVER,)), rods(), rods((2, 8))]
    rows, _ = trend_rows(dates, maps, [EYE] * 4)
    tumour, again, lesion = (row for row in rows if row.name == "Tumour")
    assert [value.volume_ml for value in tumour.values] == pytest.approx([0.096, None, 0.0, 0.096])
    assert [value.change_to_previous for value in tumour.values] == [None, None, -100.0, None]
    assert [value.events for value in lesion.values] == [(), (), ("vanished",), ()]
    assert [value.volume_ml for value in lesion.values] == pytest.approx([0.096, None, 0.0, 0.0])
    assert [value.events for value in again.values] == [(), (), (), ("new",)]


def test_an_organ_has_one_row():
    organ = Labelmap(np.where(rods((2, 8), (10, 15)).array > 0, 2, 0).astype(np.uint8), GRID, (LIVER,))
    rows, _ = trend_rows(["2026-01-01", "2026-02-01"], [organ, organ], [EYE, EYE])
    assert [(row.name, row.lesion) for row in rows] == [("Liver", 0)]
    assert rows[0].values[1].change_to_first == 0.0


def test_a_moved_grid_is_brought_back():
    moved = np.eye(4)
    moved[:3, 3] = (100.0, -50.0, 7.0)
    away = Geometry(GRID.size, GRID.spacing, (100.0, -50.0, 7.0))
    second = Labelmap(rods((2, 9)).array, away, (TUMOUR,))
    dates = ["2026-01-01", "2026-02-01"]
    rows, _ = trend_rows(dates, [rods((2, 8)), second], [EYE, np.linalg.inv(moved)])
    assert [value.events for value in rows[1].values] == [(), ()]
    wrong, _ = trend_rows(dates, [rods((2, 8)), second], [EYE, EYE])
    assert [row.lesion for row in wrong] == [0, 1, 2]  # the lesion vanished, another is new


def test_specks_are_part_of_the_volume_but_no_lesions():
    labelmap = rods((2, 8))
    labelmap.array[0, 0, 0] = 1
    rows, _ = trend_rows([""], [labelmap], None)
    assert [row.lesion for row in rows] == [0, 1]
    assert rows[0].values[0].volume_ml == pytest.approx(0.097)
