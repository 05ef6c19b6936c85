"""The report of classifications: what a spreadsheet makes of it."""

import csv
import io

import pytest

from medtl.classification.report import csv_text, usual_probability, write_report
from medtl.errors import InputError

RESULT = {
    "class": "glioma",
    "name": "=HYPERLINK(1)",
    "abstained": False,
    "score": -1.5,
    "threshold": 2.0,
    "segmentation": None,
    "segment": "+1",
    "rule": "",
    "probabilities": {"glioma": 0.9, "notumor": 0.1},
    "features": [],
    "interval": None,
    "prevalence": None,
    "reasons": ["@SUM(A1)"],
    "image": {"sha256": "00"},
}
ANSWER = {"model": "-m", "version": "1", "sha256": "ff", "results": [{**RESULT, "input": "=cmd|'/c calc'!A0.png"}]}


def test_no_cell_of_a_report_is_a_formula(tmp_path):
    write_report(tmp_path / "r.csv", ANSWER)
    with (tmp_path / "r.csv").open(newline="") as file:
        head, row = csv.reader(file)
    cells = dict(zip(head, row, strict=True))
    assert cells["input"] == "'=cmd|'/c calc'!A0.png"
    assert (cells["name"], cells["segment"], cells["reasons"], cells["model"]) == (
        "'=HYPERLINK(1)",
        "'+1",
        "'@SUM(A1)",
        "'-m",
    )
    assert cells["score"] == "-1.5", "a number is no formula"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "  @"])
def test_each_start_of_a_formula_is_escaped_and_nothing_else(start):
    ((cell, other, number),) = csv.reader(io.StringIO(csv_text([[f"{start}1", f"a{start}", -1]]), newline=""))
    assert cell.startswith("'")
    assert (other.strip(), number) == (f"a{start}".strip(), "-1")


def test_a_report_of_another_suffix_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.json or \.csv"):
        write_report(tmp_path / "r.txt", ANSWER)


def test_the_usual_probability_is_the_share_of_that_class():
    classes = ("glioma", "notumor")
    assert [usual_probability(0.25, classes, each) for each in classes] == [0.75, 0.25]
    assert usual_probability(None, classes, "glioma") is None


def test_blanks_and_wide_signs_before_a_formula_do_not_hide_it():
    assert list(csv.reader(io.StringIO(csv_text([[" =1+1", "\u00a0@A1", "\uff1d1+1", "1 = 1"]])))) == [
        ["' =1+1", "'\u00a0@A1", "'\uff1d1+1", "1 = 1"]
    ]


@pytest.mark.parametrize("name", ["r.csv", "r.json"])
def test_an_input_whose_name_is_no_text_is_in_the_report(name, tmp_path):
    result = {**RESULT, "input": b"a\xff.png".decode("utf-8", "surrogateescape")}
    write_report(tmp_path / name, {**ANSWER, "results": [result]})
    assert r"a\udcff.png" in (tmp_path / name).read_text(encoding="utf-8")
