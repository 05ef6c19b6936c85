"""`medtl report`: one HTML file, whole or not at all."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medtl.commands import cli
from medtl.errors import Cancelled
from medtl.io.read import read_labelmap
from medtl.io.write import write_image, write_labelmap
from medtl.phantom import head
from medtl.report.files import ReportFiles, report_files
from medtl.trend.studies import parse_study
from medtl.volume import Segment

TUMOUR = (Segment(1, "m.tumour", "Tumour", tags=(("MedTL.label", "tumour"), ("MedTL.model", "m"))),)
CLASS = {
    "model": "c",
    "version": "2.0",
    "sha256": "cd",
    "results": [
        {"class": "a", "name": "Kind A", "probabilities": {"a": 0.7, "b": 0.3}, "abstained": False, "reasons": []}
    ],
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A head at two dates with its lesion, an uncertainty map of the second, and a class."""
    monkeypatch.chdir(tmp_path)
    for name, spacing in (("a", (4.0, 4.0, 8.0)), ("b", (3.5, 3.5, 9.0))):
        made = head(1, (60, 60, 20), spacing)
        write_image(Path(f"{name}.nrrd"), made.volume.array, made.volume.geometry)
        write_labelmap(Path(f"{name}.seg.nrrd"), replace(made.labelmap, segments=TUMOUR))
        doubt = made.labelmap.array * np.float32(0.6)
        write_image(Path(f"{name}-doubt.nrrd"), doubt, made.volume.geometry)
    Path("class.json").write_text(json.dumps(CLASS))
    return tmp_path


def run(capsys, *arguments: str) -> tuple[int, dict, str]:
    """The status, the JSON object and standard error of `medtl report`."""
    status = cli.main(["report", *arguments, "--json"])
    done = capsys.readouterr()
    return status, json.loads(done.out), done.err


FIRST, SECOND = "2026-01-31=a.seg.nrrd,a.nrrd", "2026-03-02=b.seg.nrrd,b.nrrd"
MORE = ["--classification", "class.json", "--uncertainty", "b-doubt.nrrd"]


@pytest.mark.parametrize(("kind", "told"), [("SEMIAUTOMATIC", True), ("MANUAL", True), ("AUTOMATIC", False)])
def test_the_tags_of_the_file_tell_what_was_drawn_or_edited_by_hand(here, capsys, kind, told):
    labelmap = read_labelmap(Path("b.seg.nrrd"))
    tagged = replace(TUMOUR[0], tags=(*TUMOUR[0].tags, ("DICOM.SegmentAlgorithmType", kind)))
    write_labelmap(Path("c.seg.nrrd"), replace(labelmap, segments=(tagged,)))
    assert run(capsys, "c.seg.nrrd", "--output", "r.html")[0] == 0
    text = Path("r.html").read_text(encoding="utf-8")
    assert ("Drawn or edited by hand: Tumour." in text) == told
    assert ("by hand" in text) == told


def test_the_newest_study_is_reported_with_its_history(here, capsys):
    status, answer, _ = run(capsys, SECOND, FIRST, *MORE, "--output", "r.html")
    assert (status, answer) == (0, {"output": "r.html", "date": "2026-03-02", "warnings": []})
    text = Path("r.html").read_text(encoding="utf-8")
    for part in (
        "Report of 2026-03-02",
        "2026-01-31",
        "Kind A, 70 %",
        "Most doubtful slices",
        "not registered",
        "Tumour",
    ):
        assert part in text, part
    for secret in (str(here), "a.seg", "b.nrrd"):
        assert secret not in text


def test_one_segmentation_alone_is_enough(here, capsys):
    assert run(capsys, "a.seg.nrrd", "--output", "r.html")[0] == 0
    assert "Change over time" not in Path("r.html").read_text(encoding="utf-8")


def test_people_get_the_path(here, capsys):
    assert cli.main(["report", FIRST, "--output", "r.html"]) == 0
    assert capsys.readouterr().out == "written: r.html\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([FIRST, "--output", "mine.html"], "exists already"),
        ([FIRST, "--output", "no/r.html"], "does not exist"),
        ([FIRST, "b.seg.nrrd", "--output", "r.html"], "Expected a date for b.seg.nrrd"),
        ([FIRST, "--uncertainty", "b-doubt.nrrd", "--output", "r.html"], "b-doubt.nrrd on the grid of a.seg.nrrd"),
        ([FIRST, "--uncertainty", "a.nrrd", "--output", "r.html"], "Expected an uncertainty of 0 to 1"),
        (["a.seg.nrrd", "--uncertainty", "a-doubt.nrrd", "--output", "r.html"], "Expected the image of a.seg.nrrd"),
        ([FIRST, "--classification", "a.nrrd", "--output", "r.html"], "Expected the result of medtl classify"),
        ([FIRST, "--classification", "gone.json", "--output", "r.html"], "could not read gone.json"),
        (["2026-01-31=gone.seg.nrrd", "--output", "r.html"], "found nothing at gone.seg.nrrd"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(here, capsys, arguments, message):
    Path("mine.html").write_text("mine")
    files = sorted(here.iterdir())
    status, answer, error = run(capsys, *arguments)
    assert status == 1
    assert message in answer["errors"][0]["message"]
    assert error.count("\n") == 1
    assert sorted(here.iterdir()) == files
    assert Path("mine.html").read_text() == "mine"


def test_an_existing_report_is_replaced_with_force(here, capsys):
    Path("mine.html").write_text("mine")
    assert run(capsys, FIRST, "--output", "mine.html", "--force")[0] == 0
    assert "Report of 2026-01-31" in Path("mine.html").read_text(encoding="utf-8")


def test_an_input_is_never_replaced(here, capsys):
    Path("a.html").write_bytes(Path("class.json").read_bytes())
    arguments = [FIRST, "--classification", "a.html", "--output", "a.html", "--force"]
    assert "is an input" in run(capsys, *arguments)[1]["errors"][0]["message"]


def test_another_ending_is_wrong_usage(here, capsys):
    assert cli.main(["report", FIRST, "--output", "r.pdf"]) == 2
    assert ".html" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["read", "register", "measure", "draw", "write"])
def test_a_cancelled_report_leaves_nothing(here, stage):
    def cancel(name: str, fraction: float) -> None:
        if name == stage:
            raise Cancelled("stop")

    files = ReportFiles((parse_study(FIRST), parse_study(SECOND)), Path("r.html"), register=True)
    before = sorted(here.iterdir())
    with pytest.raises(Cancelled):
        report_files(files, cancel)
    assert sorted(here.iterdir()) == before
