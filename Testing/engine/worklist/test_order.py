"""How far the work is, what comes next, what is shown."""

from dataclasses import replace

import pytest

from medtl.worklist.case import STATES, ListedCase
from medtl.worklist.order import Pace, chosen, next_case, pace_of

CASES = [ListedCase(f"case {n}", (f"{n}.nrrd",)) for n in range(6)]


def with_states(*states: str) -> list[ListedCase]:
    return [replace(case, state=state) for case, state in zip(CASES, states)]


def test_corrected_reviewed_and_rejected_cases_are_done():
    assert pace_of(with_states(*STATES)) == Pace(3, 5, None)


def test_the_time_left_is_that_of_a_usual_case_for_those_that_are_left():
    cases = [replace(case, state="reviewed", seconds=s) for case, s in zip(CASES, (60, 90, 100, 4000))]
    assert pace_of([*cases, *CASES[4:]]) == Pace(4, 6, 2 * 95 / 60)


def test_the_next_case_is_the_next_that_is_not_done_then_from_the_beginning():
    cases = with_states("open", "reviewed", "segmented", "rejected", "open", "corrected")
    order = ["case 0"]
    for _ in range(3):
        order.append(next_case(cases, order[-1]).name)
    assert order == ["case 0", "case 2", "case 4", "case 0"]
    assert next_case(cases).name == "case 0"
    assert next_case(cases, "unknown").name == "case 0"


def test_there_is_no_next_case_where_all_others_are_done():
    assert next_case(with_states("open", "reviewed"), "case 0") is None
    assert next_case([]) is None


def test_all_words_of_the_filter_are_found_in_name_or_note():
    cases = [replace(CASES[0], note="Blurred image"), *CASES[1:]]
    assert [case.name for case in chosen(cases, "BLUR case")] == ["case 0"]
    assert [case.name for case in chosen(cases, "ase 3")] == ["case 3"]
    assert chosen(cases, "blurred 3") == []


def test_a_state_is_chosen():
    assert [case.name for case in chosen(with_states("open", "reviewed"), state="reviewed")] == ["case 1"]


def test_sorted_by_rating_unrated_cases_come_last_both_ways():
    cases = [replace(case, rating=rating) for case, rating in zip(CASES, (2, None, 5, 1))]
    assert [case.rating for case in chosen(cases, column="rating")] == [1, 2, 5, None]
    assert [case.rating for case in chosen(cases, column="rating", descending=True)] == [5, 2, 1, None]
    assert chosen(cases, column="name", descending=True)[0].name == "case 3"
    with pytest.raises(KeyError):
        chosen(cases, column="files")
