"""`medtl agree` as a user of the command line sees it."""

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from medtl.commands import cli
from medtl.io.write import write_labelmap
from medtl.volume import Geometry, Labelmap, Segment

GRID = Geometry((8, 8, 8), (5.0, 5.0, 5.0))  # a voxel of 0.125 mL


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for reader, sizes in (("one", (4, 4)), ("two", (4, 2))):
        Path(reader).mkdir()
        for name, size in zip(("a é", "b"), sizes):
            array = np.zeros(GRID.shape, np.uint8)
            array[:size, :4, :4] = 1
            write_labelmap(Path(reader, f"{name}.seg.nrrd"), Labelmap(array, GRID, (Segment(1, "m.t", "Tumour"),)))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["agree", *arguments])
    done = capsys.readouterr()
    return status, done.out, done.err


def test_a_table_a_csv_file_and_a_plot(capsys):
    status, out, err = run(capsys, "one", "two", "--csv", "out.csv", "--plot", "out.svg")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "n = 2",
        "          Dice   HD95 mm        mL  95 % of the differences",
        "Tumour   0.833       5.0     -2.00  -7.54 to 3.54 mL",
    ]
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["dice"], row["difference_ml"], row["first_rating"]) for row in rows] == [
        ("a é", "1", "0", ""),
        ("b", "0.666667", "-4", ""),
    ]
    assert len([*ElementTree.parse("out.svg").iter("{http://www.w3.org/2000/svg}circle")]) == 2


def test_json_has_every_case(capsys):
    status, out, _err = run(capsys, "one", "two", "--json")
    record = json.loads(out)
    assert status == 0
    assert (record["first"], record["second"], record["n"], record["ratings"]["kappa"]) == ("one", "two", 2, None)
    assert record["labels"]["Tumour"]["volume_difference_ml"]["mean"] == -2.0
    assert record["cases"][1]["labels"][0]["hd95"] == 10.0


def test_a_case_that_cannot_be_compared_is_told_and_the_others_are(capsys):
    Path("two", "b.seg.nrrd").write_bytes(b"NRRD0004\n")
    Path("one", "c.seg.nrrd").write_bytes(b"never read")
    status, out, err = run(capsys, "one", "two")
    assert status == 1
    assert out.splitlines()[0] == "n = 1 (1 failed)"
    assert out.splitlines()[-1] == "only in one: c"
    assert "two/b.seg.nrrd" in err


def test_no_file_is_replaced_without_leave(capsys):
    Path("out.csv").write_text("mine")
    status, out, err = run(capsys, "one", "two", "--csv", "out.csv", "--plot", "out.svg")
    assert (status, out, "Use --force" in err) == (1, "", True)
    assert Path("out.csv").read_text() == "mine"
    assert not Path("out.svg").exists()
    assert run(capsys, "one", "two", "--csv", "out.csv", "--force")[0] == 0
    assert Path("out.csv").read_text() != "mine"


@pytest.mark.parametrize("second", ["nowhere", "empty"])
def test_a_folder_without_results_is_one_line(second, capsys):
    Path("empty").mkdir()
    status, out, err = run(capsys, "one", second)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "Expected a folder with results" in err
