"""How far the work is, which case comes next, and which cases are shown in which order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from .case import ListedCase

COLUMNS = ("name", "state", "rating", "note", "user", "time")  # that a list can be sorted by


@dataclass(frozen=True)
class Pace:
    """How many of all cases are done, and how many minutes the others take at the pace so far; None while unknown."""

    done: int
    total: int
    minutes: float | None


def pace_of(cases: Iterable[ListedCase]) -> Pace:
    """The pace: the median time of a case that is done stands for those that are not, so that a break counts little."""
    cases = tuple(cases)
    done = [case for case in cases if case.is_done]
    spent = [case.seconds for case in done if case.seconds > 0]
    minutes = median(spent) * (len(cases) - len(done)) / 60 if spent else None
    return Pace(len(done), len(cases), minutes)


def next_case(cases: Sequence[ListedCase], after: str = "") -> ListedCase | None:
    """The next case that is not done, after the one of this name and from the beginning again; None where all others
    are done."""
    names = [case.name for case in cases]
    start = names.index(after) + 1 if after in names else 0
    return next((case for case in (*cases[start:], *cases[:start]) if not case.is_done and case.name != after), None)


def chosen(
    cases: Iterable[ListedCase], text: str = "", state: str = "", column: str = "", descending: bool = False
) -> list[ListedCase]:
    """The cases whose name or note has all words of the text, in this state ("" is any), sorted by a column ("" is the
    order of the list); cases without a rating come last.

    Raises: KeyError for a column that is not in COLUMNS.
    """
    words = text.casefold().split()
    shown = [
        case
        for case in cases
        if state in ("", case.state) and (not words or all(word in _text(case) for word in words))
    ]
    if column:
        if column not in COLUMNS:
            raise KeyError(column)
        shown.sort(key=lambda case: _key(case, column), reverse=descending)
        if column == "rating":
            shown.sort(key=lambda case: case.rating is None)
    return shown


def _text(case: ListedCase) -> str:
    return f"{case.name}\n{case.note}".casefold()


def _key(case: ListedCase, column: str) -> tuple[int, str]:
    value = getattr(case, column)
    return (value or 0, "") if column == "rating" else (0, str(value).casefold())
