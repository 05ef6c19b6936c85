"""The table of a trend as text and as CSV: each number is that of the trend, names cannot run as formulas."""

import csv
import re

import numpy as np
import pytest

from medtl.errors import InputError
from medtl.results import Trend, TrendStudy
from medtl.trend.table import lines_of, write_csv
from medtl.trend.trend import NOTE, trend_rows
from medtl.volume import Geometry, Labelmap, Segment

GRID = Geometry((30, 12, 12), (2.0, 1.0, 1.0))
DATES = ["2026-01-31", "2026-03-02"]


@pytest.fixture
def trend():
    maps = []
    for stop in (8, 12):
        array = np.zeros(GRID.shape, np.uint8)
        array[4:8, 4:8, 2:stop] = 1
        maps.append(Labelmap(array, GRID, (Segment(1, "a", "=Tumour"),)))
    rows, _ = trend_rows(DATES, maps, [np.eye(4)] * 2)
    return Trend((TrendStudy(DATES[0], None), TrendStudy(DATES[1], 0.5)), True, rows, (), NOTE)


def test_the_lines_say_what_the_trend_says(trend):
    lines = lines_of(trend)
    assert re.search(r"=Tumour +2026-01-31 +0\.19 ", lines[1])
    assert re.search(r"2026-03-02 +0\.32 .* \+67 % +\+67 % +\+67 %", lines[2])
    assert "lesion 1" in lines[3]
    assert lines[-2:] == ["similarity of 2026-03-02 to 2026-01-31: 0.50", "Research use, not for diagnosis."]


def test_the_csv_has_a_line_for_each_row_and_date(trend, tmp_path):
    write_csv(tmp_path / "t.csv", trend, False)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [(line["label"], line["lesion"], line["date"]) for line in lines] == [
        ("'=Tumour", lesion, date) for lesion in ("all", "1") for date in DATES
    ]
    assert [float(line["volume_ml"]) for line in lines] == [0.192, 0.32, 0.192, 0.32]
    assert [line["change_to_first_percent"] for line in lines] == ["", "66.6667", "", "66.6667"]
    assert all(line["note"] == NOTE for line in lines)


def test_an_existing_csv_stays(trend, tmp_path):
    (tmp_path / "t.csv").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_csv(tmp_path / "t.csv", trend, False)
    assert (tmp_path / "t.csv").read_text() == "mine"
