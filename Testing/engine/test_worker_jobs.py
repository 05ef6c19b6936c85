"""The worker's jobs on studies: a request in, what the command prints out."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from medtl.commands import cli
from medtl.errors import InputError
from medtl.io.write import write_image, write_labelmap
from medtl.phantom import head
from medtl.progress import STAGES, no_progress
from medtl.typed_json import encode
from medtl.volume import Segment
from medtl.worker_jobs import run_agree, run_report, run_trend

STUDIES = [
    {"segmentation": "a.seg.nrrd", "image": "a.nrrd", "date": "2026-01-31"},
    {"segmentation": "b.seg.nrrd", "image": "b.nrrd", "date": "2026-03-02"},
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A head on two grids with its lesion."""
    monkeypatch.chdir(tmp_path)
    for name, spacing in (("a", (4.0, 4.0, 8.0)), ("b", (3.5, 3.5, 9.0))):
        made = head(1, (60, 60, 20), spacing)
        write_image(Path(f"{name}.nrrd"), made.volume.array, made.volume.geometry)
        write_labelmap(Path(f"{name}.seg.nrrd"), replace(made.labelmap, segments=(Segment(1, "m.x", "Tumour"),)))
    return tmp_path


def test_a_trend_is_what_the_command_prints(here, capsys):
    answer = encode(run_trend({"input": STUDIES}, no_progress))
    arguments = [f"{one['date']}={one['segmentation']},{one['image']}" for one in STUDIES]
    assert cli.main(["trend", *arguments, "--json"]) == 0
    assert json.loads(json.dumps(answer)) == json.loads(capsys.readouterr().out)


def test_a_trend_with_a_registration_draws_it_and_reports_its_stages(here):
    stages: list[str] = []
    options = {"register": True, "checkerboard": "board.png"}
    trend = run_trend({"input": STUDIES, "options": options}, lambda stage, fraction: stages.append(stage))
    assert trend.matched
    assert list(dict.fromkeys(stages)) == list(STAGES["trend"])
    with Image.open("board.png") as board:
        assert board.width > 100


def test_a_report_is_written(here):
    stages: list[str] = []
    request = {"input": STUDIES, "output": "r.html", "options": {"register": True, "by_hand": "Mine"}}
    answer = run_report(request, lambda stage, fraction: stages.append(stage))
    assert (answer.output, answer.date) == ("r.html", "2026-03-02")
    text = Path("r.html").read_text(encoding="utf-8")
    assert "Report of 2026-03-02" in text
    assert "Drawn or edited by hand: Mine." in text
    assert list(dict.fromkeys(stages)) == list(STAGES["report"])


@pytest.mark.parametrize(
    "given",
    [None, [], "a.seg.nrrd", ["a.seg.nrrd"], [{}], [{"image": "a.nrrd"}], [{"segmentation": ""}],
     [{"segmentation": 1}], [{"segmentation": "a", "patient": "x"}], [{"segmentation": "a", "date": "2026-02-30"}]],
)  # fmt: skip
def test_another_input_is_refused(here, given):
    with pytest.raises(InputError, match="Expected"):
        run_trend({"input": given}, no_progress)


def test_an_option_that_is_none_is_refused(here):
    with pytest.raises(InputError, match="found 'align'"):
        run_trend({"input": STUDIES, "options": {"align": True}}, no_progress)
    with pytest.raises(InputError, match="Expected output"):
        run_report({"input": STUDIES}, no_progress)


def test_an_agreement_is_what_the_command_prints_and_its_table_is_written(here, capsys):
    for reader in ("one", "two"):
        Path(reader).mkdir()
        shutil.copy("a.seg.nrrd", Path(reader, "case.seg.nrrd"))
    stages: list[str] = []
    request = {"input": ["one", "two"], "options": {"csv": "by-job.csv"}}
    answer = encode(run_agree(request, lambda stage, fraction: stages.append(stage)))
    assert cli.main(["agree", "one", "two", "--csv", "by-command.csv", "--json"]) == 0
    assert json.loads(json.dumps(answer)) == json.loads(capsys.readouterr().out)
    assert Path("by-job.csv").read_bytes() == Path("by-command.csv").read_bytes()
    assert list(dict.fromkeys(stages)) == list(STAGES["agree"])


@pytest.mark.parametrize("given", [["one"], ["one", "two", "three"], None, ["one", 2]])
def test_an_agreement_is_between_two_readers(here, given):
    with pytest.raises(InputError, match="Expected"):
        run_agree({"input": given}, no_progress)
