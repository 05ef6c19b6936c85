"""The plot of a trend: dates apart as days, volumes from 0, gaps where a volume is not known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtl.results import Trend, TrendRow, TrendStudy, TrendValue
from medtl.trend.plot import MOST_LINES, plot_of

DATES = ("2026-01-01", "2026-01-11", "2026-02-10")


def row(*volumes: float | None, lesion: int = 0, name: str = "Tumour") -> TrendRow:
    values = [TrendValue(d, ml, None, None, (), (), None, None, None) for d, ml in zip(DATES, volumes)]
    return TrendRow(name, name, lesion, tuple(values))


def trend(*rows: TrendRow, dates: tuple[str, ...] = DATES) -> Trend:
    return Trend(tuple(TrendStudy(day, None) for day in dates), True, rows, (), "")


def test_dates_lie_apart_as_the_days_between_them_and_volumes_begin_at_0():
    plot = plot_of(trend(row(10.0, 5.0, 20.0)))
    assert plot.dates == (("2026-01-01", 0.0), ("2026-01-11", 0.25), ("2026-02-10", 1.0))
    top = plot.ticks[-1][0]
    assert plot.ticks[0] == (0.0, 0.0)
    assert plot.lines[0].runs == (((0.0, 10 / top), (0.25, 5 / top), (1.0, 20 / top)),)


def test_a_volume_that_is_not_known_is_a_gap():
    plot = plot_of(trend(row(10.0, None, 20.0)))
    assert [len(run) for run in plot.lines[0].runs] == [1, 1]


@given(st.floats(0.001, 5000))
def test_all_volumes_fit_under_few_ticks(most):
    plot = plot_of(trend(row(most / 3, most, most / 2)))
    assert 2 <= len(plot.ticks) <= 9
    assert plot.ticks[-1][0] >= most * (1 - 1e-9)
    assert all(0 <= y <= 1 for line in plot.lines for run in line.runs for _, y in run)


@pytest.mark.parametrize("nothing", [trend(row(1.0), dates=DATES[:1]), trend(row(0.0, 0.0, None)), trend()])
def test_one_date_or_no_volume_is_no_plot(nothing):
    assert plot_of(nothing) is None


def test_an_only_lesion_is_not_drawn_twice_and_the_largest_lines_stay():
    assert len(plot_of(trend(row(2.0, 2.0, 2.0), row(2.0, 2.0, 2.0, lesion=1))).lines) == 1
    many = [row(20.0 - n, 1.0, 1.0, lesion=n) for n in range(1, 12)]
    plot = plot_of(trend(row(50.0, 9.0, 9.0), *many))
    assert len(plot.lines) == MOST_LINES
    assert max(y for line in plot.lines[1:] for run in line.runs for _, y in run) == pytest.approx(
        19.0 / plot.ticks[-1][0]
    )
    assert len({(line.colour, line.dash) for line in plot.lines}) == MOST_LINES
