"""What the commands say about terms of weights that were not accepted."""

import json

import pytest

from medtl.commands import cli, demo
from medtl.model.store import find_model
from medtl.phantom import write

LINE = "medtl: glioma-flair 2.0.0: CC BY-NC-SA 4.0: NON-COMMERCIAL USE ONLY. Read "


@pytest.fixture(autouse=True)
def accepted_terms() -> None:
    """Nothing is accepted before."""


@pytest.fixture
def head(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    return write(tmp_path / "phantom").parent / "phantom-0_image.nrrd"


def run(capsys, *arguments: object) -> tuple[int, str, list[str]]:
    status = cli.main([str(argument) for argument in arguments])
    done = capsys.readouterr()
    return status, done.out, [line for line in done.err.splitlines() if line.startswith("medtl: ")]


def test_segment_prints_one_line_each_time_until_the_terms_are_accepted(head, tmp_path, capsys):
    words = ("segment", head, "--model", "glioma-flair", "--force", "--json", "--output", tmp_path / "out.seg.nrrd")
    for _time in range(2):
        status, out, lines = run(capsys, *words)
        assert status == 0
        assert json.loads(out)["results"]
        assert [line for line in lines if line.startswith(LINE)] == lines[:1]
        assert lines[0].endswith("--accept-licence accepts the terms.")
    status, _, lines = run(capsys, *words, "--accept-licence")
    assert status == 0
    assert "accepted: glioma-flair 2.0.0" in lines[0]
    (receipt,) = (tmp_path / "home" / "accepted-terms").iterdir()
    assert lines[0].endswith(str(receipt))
    assert receipt.read_text().endswith((find_model("glioma-flair") / "LICENSE").read_text())
    for more in ((), ("--accept-licence",)):
        status, _, lines = run(capsys, *words, *more)
        assert status == 0
        assert not any("LICENSE" in line or "accepted" in line for line in lines)


def test_an_acceptance_that_cannot_be_stored_is_a_warning_and_the_work_is_done(head, tmp_path, capsys):
    (tmp_path / "home").write_text("a file where the folder should be")
    words = ("suggest", head, "--model", "glioma-flair", "--accept-licence")
    status, out, lines = run(capsys, *words)
    assert status == 0
    assert out.split()
    assert lines[0].startswith("medtl: warning: Could not store in ")


def test_evaluate_and_the_demo_say_it_too(head, tmp_path, capsys):
    listed = head.parent / "cases.csv"
    assert run(capsys, "evaluate", "--model", "glioma-flair", "--cases", listed)[2][0].startswith(LINE)
    assert demo.main(["--output", str(tmp_path / "demo")]) == 0
    assert capsys.readouterr().err.count(LINE) == 1
    assert demo.main(["--output", str(tmp_path / "demo"), "--accept-licence"]) == 0
    capsys.readouterr()
    assert run(capsys, "evaluate", "--model", "glioma-flair", "--cases", listed)[2] == []


def test_every_command_that_runs_a_model_takes_the_option():
    verbs = cli.build_parser()._subparsers._group_actions[0].choices
    for name, parser in verbs.items():
        options = {option for action in parser._actions for option in action.option_strings}
        assert ("--accept-licence" in options) == ("--model" in options), name
