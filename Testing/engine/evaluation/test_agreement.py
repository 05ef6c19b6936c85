"""Agreement of two readers: figures beside slow twins, and what happens with results that do not match."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtl.errors import InputError
from medtl.evaluation.agreement import agreement, differences_of, ratings_agreement
from medtl.io.write import write_labelmap
from medtl.volume import Geometry, Labelmap, Segment
from medtl.worklist.case_list import make_list, open_list
from medtl.worklist.find import Found

GRID = Geometry((12, 10, 8), (1.0, 2.0, 2.5))  # a voxel of 0.005 mL
TUMOUR = Segment(1, "m.tumour", "Tumour")


def box(*sides: int) -> np.ndarray:
    """A box of so many voxels (z, y, x) from the corner (1, 1, 1) on."""
    array = np.zeros(GRID.shape, np.uint8)
    z, y, x = sides
    array[1 : 1 + z, 1 : 1 + y, 1 : 1 + x] = 1
    return array


def result(path: Path, array: np.ndarray, *segments: Segment, grid: Geometry = GRID) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labelmap(path, Labelmap(array, grid, segments or (TUMOUR,)))


@pytest.fixture
def readers(tmp_path: Path) -> tuple[Path, Path]:
    """Two readers of three cases: alike, one half as long, one that the second did not find."""
    for name, first, second in (
        ("a", box(4, 4, 4), box(4, 4, 4)),
        ("b", box(4, 4, 4), box(2, 4, 4)),
        ("c", box(2, 2, 2), box(0, 0, 0)),
    ):
        result(tmp_path / "one" / f"{name}.seg.nrrd", first)
        result(tmp_path / "two" / f"{name}.seg.nrrd", second)
    return tmp_path / "one", tmp_path / "two"


def test_every_case_and_label_has_its_figures(readers):
    found = agreement(*readers)
    rows = {case.case: case.labels[0] for case in found.cases}
    assert [rows[n].dice for n in "abc"] == pytest.approx([1.0, 2 * 32 / (64 + 32), 0.0])
    assert [rows[n].hd95 for n in "abc"] == [0.0, 5.0, None]  # two slices of 2.5 mm
    assert [rows[n].first_ml for n in "abc"] == pytest.approx([0.32, 0.32, 0.04])
    assert [rows[n].difference_ml for n in "abc"] == pytest.approx([0.0, -0.16, -0.04])


def test_a_label_is_summed_up_over_the_cases(readers):
    (summary,) = agreement(*readers).labels.values()
    differences = [0.0, -0.16, -0.04]
    assert summary.n == 3
    assert summary.dice.mean == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert summary.hd95.mean == pytest.approx(2.5)
    about = summary.volume_difference_ml
    assert about.mean == pytest.approx(np.mean(differences))
    assert about.limits == pytest.approx(np.mean(differences) + np.array([-1.96, 1.96]) * np.std(differences, ddof=1))


def test_one_case_alone_has_no_limits():
    about = differences_of(np.array([2.0]))
    assert (about.mean, about.sd, about.limits) == (2.0, None, None)


def test_segments_are_matched_by_id_then_name_then_value(tmp_path):
    two = box(2, 2, 2) + np.uint8(2) * box(0, 0, 0)
    result(tmp_path / "one" / "ids.seg.nrrd", box(4, 4, 4), replace(TUMOUR, name="Tumor"))
    result(tmp_path / "two" / "ids.seg.nrrd", 7 * box(4, 4, 4), replace(TUMOUR, value=7))
    result(tmp_path / "one" / "names.seg.nrrd", box(4, 4, 4), Segment(1, "Segment_1", "Cyst"))
    result(tmp_path / "two" / "names.seg.nrrd", two, Segment(1, "Segment_4", "Cyst"))
    found = {case.case: case.labels for case in agreement(tmp_path / "one", tmp_path / "two").cases}
    assert [(one.label, round(one.dice, 3)) for one in found["ids"]] == [("Tumor", 1.0)]
    assert [(one.label, round(one.dice, 3)) for one in found["names"]] == [("Cyst", round(2 * 8 / 72, 3))]


def test_a_labelmap_without_names_is_matched_by_value(tmp_path):
    result(tmp_path / "one" / "a.seg.nrrd", 3 * box(4, 4, 4), Segment(3, "Segment_1", "Cyst"))
    write_labelmap((tmp_path / "two").mkdir() or tmp_path / "two" / "a.nii.gz", Labelmap(3 * box(4, 4, 4), GRID))
    (case,) = agreement(tmp_path / "one", tmp_path / "two").cases
    assert [(one.label, one.dice) for one in case.labels] == [("Cyst", 1.0)]


def test_a_segment_that_one_reader_lacks_counts_as_empty(tmp_path):
    result(tmp_path / "one" / "a.seg.nrrd", box(4, 4, 4))
    result(tmp_path / "two" / "a.seg.nrrd", box(4, 4, 4), Segment(1, "Segment_1", "Edema"))
    (case,) = agreement(tmp_path / "one", tmp_path / "two").cases
    assert [(one.label, one.dice, one.first_ml, one.second_ml) for one in case.labels] == [
        ("Tumour", 0.0, pytest.approx(0.32), 0.0),
        ("Edema", 0.0, 0.0, pytest.approx(0.32)),
    ]


def test_cases_of_one_reader_alone_are_named(readers):
    (readers[1] / "a.seg.nrrd").unlink()
    result(readers[1] / "z.seg.nrrd", box(1, 1, 1))
    found = agreement(*readers)
    assert (found.n, found.only_first, found.only_second) == (2, ("a",), ("z",))


def test_a_case_on_another_grid_or_damaged_does_not_stop_the_others(readers):
    result(readers[1] / "a.seg.nrrd", box(1, 1, 1), grid=replace(GRID, origin=(5.0, 0.0, 0.0)))
    (readers[1] / "b.seg.nrrd").write_bytes(b"NRRD")
    told = []
    found = agreement(*readers, failed=lambda case, error: told.append(case))
    assert [error.case for error in found.errors] == told == ["a", "b"]
    assert "on the grid of" in found.errors[0].message
    assert found.n == 1


def test_without_a_case_in_both_it_says_so(tmp_path):
    result(tmp_path / "one" / "a.seg.nrrd", box(1, 1, 1))
    result(tmp_path / "two" / "b.seg.nrrd", box(1, 1, 1))
    with pytest.raises(InputError, match="found no name in both"):
        agreement(tmp_path / "one", tmp_path / "two")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found none at"):
        agreement(tmp_path / "one", tmp_path / "empty")


def test_the_ratings_come_from_the_lists(readers, tmp_path):
    for folder, ratings in zip(readers, ((5, 4, None), (5, 3, 2))):
        listed = open_list(make_list(folder, [Found((tmp_path / f"{n}.nrrd",), n) for n in "abcd"], "folder"))
        for name, rating in zip("abc", ratings):
            listed.change(replace(listed.cases[name], rating=rating))
        listed.close()
    found = agreement(*readers)
    assert [(case.first_rating, case.second_rating) for case in found.cases] == [(5, 5), (4, 3), (None, 2)]
    assert found.ratings.n == 2
    assert found.only_first == ()  # d has no result, in either


def slow_kappa(pairs: list[tuple[int, int]], squared: bool) -> float | None:
    """Cohen's kappa as the paper counts it, pair by pair."""

    def weight(i: int, j: int) -> float:
        return float((i - j) ** 2) if squared else float(i != j)

    n = len(pairs)
    observed = sum(weight(i, j) for i, j in pairs) / n
    expected = sum(weight(i, j) for i, _ in pairs for _, j in pairs) / n**2
    return 1 - observed / expected if expected else None


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=30))
def test_kappa_is_that_of_the_paper(pairs):
    found = ratings_agreement(pairs)
    for value, slow in ((found.kappa, slow_kappa(pairs, False)), (found.weighted_kappa, slow_kappa(pairs, True))):
        assert value is slow is None or value == pytest.approx(slow)


def test_kappa_of_an_example_of_a_textbook():
    """Agreement 0.7 where chance gives 0.5."""
    pairs = [(1, 1)] * 20 + [(1, 2)] * 5 + [(2, 1)] * 10 + [(2, 2)] * 15
    assert ratings_agreement(pairs).kappa == pytest.approx(0.4)


def test_without_ratings_there_is_no_kappa():
    assert ratings_agreement([(None, 3), (2, None)]) == ratings_agreement([])
    assert ratings_agreement([]).kappa is None
