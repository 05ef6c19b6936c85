"""A list as CSV, and back."""

import csv
from dataclasses import replace

import pytest

from medtl.cases import read_cases
from medtl.errors import InputError
from medtl.worklist.case_list import make_list, open_list
from medtl.worklist.find import Found
from medtl.worklist.table import read_table, write_table


@pytest.fixture
def listed(tmp_path):
    for name in ("a", "b, 2"):
        (tmp_path / f"{name}.nrrd").write_bytes(b"x")
        (tmp_path / f"{name}.seg.nrrd").write_bytes(b"x")
    opened = open_list(make_list(tmp_path, [Found((tmp_path / f"{n}.nrrd",), n) for n in ("a", "b, 2")], "beside"))
    opened.change(replace(opened.cases["a"], state="reviewed", rating=3, note='said "no",\nagain', seconds=12.34))
    yield opened
    opened.close()


def test_other_programs_read_it(listed, tmp_path):
    write_table(listed, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["state"], row["rating"], row["seconds"]) for row in rows] == [
        ("a", "reviewed", "3", "12.3"),
        ("b, 2", "segmented", "", "0.0"),
    ]
    assert rows[0]["note"] == 'said "no",\nagain'


def test_medtl_reads_it_as_labelled_cases(listed, tmp_path):
    write_table(listed, tmp_path / "out.csv")
    assert [case.label.name for case in read_cases(tmp_path / "out.csv")] == ["a.seg.nrrd", "b, 2.seg.nrrd"]


def test_what_was_written_is_read_back_unchanged(listed, tmp_path):
    write_table(listed, tmp_path / "out.csv")
    assert read_table(listed, tmp_path / "out.csv") == tuple(listed.cases.values())


def test_a_spreadsheet_changes_what_it_states_and_nothing_else(listed, tmp_path):
    (tmp_path / "in.csv").write_text("\ufeffcase,rating,other\na,,x\n", encoding="utf-8")
    (case,) = read_table(listed, tmp_path / "in.csv")
    assert case == replace(listed.cases["a"], rating=None)
    (tmp_path / "in.csv").write_text('case,state,note\n"b, 2",rejected,motion\n', encoding="utf-8")
    (case,) = read_table(listed, tmp_path / "in.csv")
    assert (case.state, case.note) == ("rejected", "motion")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,state\nc,open\n", "found 'c'"),
        ("name\na\n", "found ''"),
        ("case,state\na,open\na,open\n", "found a again"),
        ("case,state\na,fine\n", "found 'fine'"),
        ("case,rating\na,good\n", "found 'good'"),
        ("case,rating\na,7\n", "found 7"),
    ],
)
def test_what_cannot_be_is_refused(text, message, listed, tmp_path):
    (tmp_path / "in.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_table(listed, tmp_path / "in.csv")


def test_a_file_is_not_replaced_without_leave(listed, tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_table(listed, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine"
    write_table(listed, tmp_path / "out.csv", replace_file=True)
    assert (tmp_path / "out.csv").read_text() != "mine"
