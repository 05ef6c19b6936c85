"""The lines of a plot of a trend: volume over time, as numbers to draw. No drawing library is needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from ..results import Trend, TrendRow
from .table import full_name

# Distinct also for people with red-green colour blindness. Source: Okabe and Ito, Color Universal Design, 2008.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("", "7 3", "2 3")
MOST_LINES = 8  # the largest rows are drawn
TICKS = 4


@dataclass(frozen=True)
class Line:
    """A label or lesion: its name, its colour, its dashes, and its runs of points (x, y), 0 to 1 from the left and the
    bottom. A run ends where a volume is not known."""

    name: str
    colour: str
    dash: str
    runs: tuple[tuple[tuple[float, float], ...], ...]


@dataclass(frozen=True)
class Plot:
    """The lines; the place (x, 0 to 1) of each date; the volumes (mL) of the ticks with their places (y, 0 to 1)."""

    lines: tuple[Line, ...]
    dates: tuple[tuple[str, float], ...]
    ticks: tuple[tuple[float, float], ...]


def plot_of(trend: Trend) -> Plot | None:
    """The plot of a trend, its dates apart as the days between them; None for one date, or without a volume.

    A lesion that is all of its label, or was never larger than what fits, has no line of its own.
    """
    dates = [study.date for study in trend.studies]
    rows = shown_rows(trend.rows)
    most = max((value.volume_ml or 0.0 for row in rows for value in row.values), default=0.0)
    if len(dates) < 2 or most <= 0:
        return None
    days = [date.fromisoformat(day).toordinal() for day in dates]
    places = [(day - days[0]) / (days[-1] - days[0]) for day in days]
    step = _step(most / TICKS)
    top = step * -(-most // step)
    lines = [
        Line(full_name(row), COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)], runs)
        for number, row in enumerate(rows)
        for runs in (_runs(row, places, top),)
    ]
    count = round(top / step)
    ticks = tuple((step * n, n / count) for n in range(count + 1))
    return Plot(tuple(lines), tuple(zip(dates, places, strict=True)), ticks)


def shown_rows(rows: Sequence[TrendRow]) -> list[TrendRow]:
    """The rows with a line, in their order: those that were largest. A label's only lesion repeats the label."""
    lesions = {row.id: sum(other.id == row.id and other.lesion > 0 for other in rows) for row in rows}
    candidates = [row for row in rows if not row.lesion or lesions[row.id] > 1]
    largest = sorted(candidates, key=lambda row: -max((value.volume_ml or 0.0 for value in row.values), default=0.0))
    kept = {id(row) for row in largest[:MOST_LINES]}
    return [row for row in candidates if id(row) in kept]


def _runs(row: TrendRow, places: Sequence[float], top: float) -> tuple[tuple[tuple[float, float], ...], ...]:
    runs: list[list[tuple[float, float]]] = [[]]
    for place, value in zip(places, row.values, strict=True):
        if value.volume_ml is None:
            runs.append([])
        else:
            runs[-1].append((place, value.volume_ml / top))
    return tuple(tuple(run) for run in runs if run)


def _step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is no less."""
    power = 1.0
    while power > least:
        power /= 10
    while power * 10 <= least:
        power *= 10
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
