"""`medtl cases` as a user of the command line sees it."""

import json
import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from medtl.commands import cli
from medtl.worklist.case_list import NAME, open_list, read_list


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    for name in ("b 2", "b 10", "é"):
        (images / f"{name}.nrrd").write_bytes(b"x")
    return images


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = cli.main(["cases", *map(str, arguments)])
    done = capsys.readouterr()
    return status, done.out, done.err


def test_a_list_is_made_once_and_shown_after_that(folder, capsys):
    status, out, err = run(capsys, "images")
    assert (status, out.splitlines()) == (
        0,
        [f"images/{NAME}: 0 of 3 done", "b 2   open       -", "b 10  open       -", "é     open       -"],
    )
    assert err == f"made: images/{NAME}\n"
    again = run(capsys, "images")
    assert again == (0, out, "")


def test_json_has_everything_about_the_cases(folder, capsys):
    run(capsys, "images", "--results", "folder", "--output", "results")
    listed = open_list(Path("results"))
    listed.change(replace(listed.cases["é"], state="reviewed", rating=4, note="fine", seconds=30.0))
    listed.go_to("b 2")
    status, out, _err = run(capsys, "results", "--json")
    record = json.loads(out)
    assert status == 0
    assert (record["done"], record["n"], record["minutes"], record["current"]) == (1, 3, 1.0, "b 2")
    assert record["in_use"].startswith(f"{listed.holder.user} on ")
    case = record["cases"][2]
    assert (case["case"], case["state"], case["rating"], case["note"]) == ("é", "reviewed", 4, "fine")
    assert Path(case["result"]) == Path("results/é.seg.nrrd")
    assert Path(case["images"][0]).samefile("images/é.nrrd")
    listed.close()


def test_the_time_left_is_said_while_there_is_work_and_never_zero(folder, capsys):
    run(capsys, "images", "--results", "folder", "--output", "results")
    listed = open_list(Path("results"))
    names = list(listed.cases)
    for name, left in zip(names, (", about 1 minute left", ", about 1 minute left", ""), strict=True):
        listed.change(replace(listed.cases[name], state="reviewed", seconds=2.0))
        out = run(capsys, "results")[1]
        assert out.splitlines()[0].endswith(f" of 3 done{left}")
    listed.close()


def test_a_bids_data_set_has_its_list_among_the_derivatives(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("bids/sub-1/anat").mkdir(parents=True)
    Path("bids/sub-1/anat/sub-1_FLAIR.nii.gz").write_bytes(b"x")
    assert run(capsys, "bids", "--results", "bids")[0] == 0
    listed = read_list(Path("bids/derivatives/medtl"))
    (case,) = listed.cases.values()
    assert listed.result(case) == Path("bids/derivatives/medtl/sub-1/anat/sub-1_desc-FLAIR_dseg.seg.nrrd")


def test_a_csv_file_gives_cases_and_their_channels(folder, capsys):
    Path("list.csv").write_text("case,T2,FLAIR\np1,images/b 2.nrrd,images/é.nrrd\n", encoding="utf-8")
    status, _out, err = run(capsys, "list.csv", "--output", "out", "--results", "folder", "--channels", "T2,FLAIR")
    assert (status, err) == (0, f"made: out/{NAME}\n")
    assert [image.name for image in read_list(Path("out")).cases["p1"].images] == ["b 2.nrrd", "é.nrrd"]


def test_images_that_came_later_are_added(folder, capsys):
    run(capsys, "images")
    (folder / "sub").mkdir()
    for name in ("a.nrrd", "sub/é.nrrd"):
        (folder / name).write_bytes(b"x")
    status, out, err = run(capsys, "images", "--update")
    assert (status, err) == (0, "added: 2\n")
    assert [line.split("  ")[0] for line in out.splitlines()[1:]] == ["b 2", "b 10", "é", "a", "é-2"]
    assert run(capsys, "images", "--update")[2] == "added: 0\n"


def test_the_list_goes_out_as_csv_and_comes_back_changed(folder, capsys):
    run(capsys, "images", "--csv", "out.csv")
    text = Path("out.csv").read_text(encoding="utf-8").replace("b 2,open,,", "b 2,rejected,1,motion")
    Path("out.csv").write_text(text, encoding="utf-8")
    status, out, _err = run(capsys, "images", "--import", "out.csv", "--state", "rejected")
    assert (status, out.splitlines()[1:]) == (0, ["b 2  rejected   1  motion"])
    status, _out, err = run(capsys, "images", "--csv", "out.csv")
    assert (status, "exists already" in err) == (1, True)


def test_cases_are_found_by_words(folder, capsys):
    assert run(capsys, "images", "--filter", "10 b")[1].splitlines()[1:] == ["b 10  open       -"]


def test_a_file_that_changed_or_is_gone_is_told(folder, capsys):
    from medtl.worklist.disk import state_of

    run(capsys, "images")
    listed = open_list(folder)
    for name in ("b 2", "b 10"):
        result = listed.result(listed.cases[name])
        result.write_bytes(b"labels")
        states = state_of(listed.cases[name].images), state_of([result])
        listed.change(replace(listed.cases[name], image_file=states[0], result_file=states[1]))
    listed.close()
    assert "changed" not in run(capsys, "images")[1]
    (folder / "b 2.nrrd").write_bytes(b"other")
    (folder / "b 10.seg.nrrd").unlink()
    lines = run(capsys, "images")[1].splitlines()
    assert lines[1].endswith("image changed since")
    assert lines[2].endswith("result changed since")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "found nothing at nowhere"),
        (("empty",), "Expected images"),
        (("images/é.nrrd",), "Expected a CSV file in UTF-8|Expected the columns"),
        (("images", "--results", "bids"), "named as BIDS has it"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, folder, capsys):
    Path("empty").mkdir()
    status, out, err = run(capsys, *arguments)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert re.search(message, err)
    assert [*Path().rglob(NAME)] == []


def test_the_place_of_the_results_is_chosen_once(folder, capsys):
    run(capsys, "images")
    status, _out, err = run(capsys, "images", "--results", "folder")
    assert (status, "have their place already" in err) == (1, True)


def test_a_list_in_use_is_shown_but_not_changed(folder, capsys):
    run(capsys, "images")
    database = sqlite3.connect(folder / NAME)
    database.execute("INSERT INTO holder VALUES ('Erika', 'station-2', 'other', 1, '2026-01-02T03:04:05Z')")
    database.commit()
    database.close()
    status, out, _err = run(capsys, "images")
    assert (status, out.splitlines()[1]) == (0, "in use: Erika on station-2 since 2026-01-02 03:04:05 UTC")
    status, _out, err = run(capsys, "images", "--update")
    assert (status, "--take-over" in err) == (1, True)
    assert run(capsys, "images", "--update", "--take-over")[0] == 0
