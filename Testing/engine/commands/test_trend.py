"""`medtl trend`: the table of one patient's studies, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import dicom_series
import numpy as np
import pytest
from PIL import Image

from medtl.commands import cli
from medtl.errors import Cancelled
from medtl.io.read import read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.phantom import head
from medtl.progress import no_progress
from medtl.registration import register
from medtl.trend.files import trend_files
from medtl.trend.studies import parse_study
from medtl.volume import Geometry, Labelmap, Segment

TUMOUR = (Segment(1, "m.tumour", "Tumour", tags=(("MedTL.label", "tumour"), ("MedTL.model", "m"))),)
OTHER = (0.98, -0.17, 0.1, 0.17, 0.985, 0.02, -0.1, 0.0, 0.995)  # not quite orthonormal: made so below


def orthonormal(direction: tuple[float, ...]) -> tuple[float, ...]:
    u, _, v = np.linalg.svd(np.reshape(direction, (3, 3)))
    return tuple(float(x) for x in (u @ v).ravel())


@pytest.fixture
def here(tmp_path, monkeypatch):
    """One head at two dates, the second on another, oblique grid: its lesion is the phantom's at both."""
    monkeypatch.chdir(tmp_path)
    for name, size, spacing, direction in (
        ("a", (72, 72, 24), (3.0, 3.0, 6.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)),
        ("b", (80, 64, 36), (2.8, 3.2, 4.0), orthonormal(OTHER)),
    ):
        made = head(1, size, spacing, direction)
        write_image(Path(f"{name}.nrrd"), made.volume.array, made.volume.geometry)
        write_labelmap(Path(f"{name}.seg.nrrd"), replace(made.labelmap, segments=TUMOUR))
    return tmp_path


def run(capsys, *arguments: str) -> tuple[int, dict, str]:
    """The status, the JSON object and standard error of `medtl trend`."""
    status = cli.main(["trend", *arguments, "--json"])
    done = capsys.readouterr()
    return status, json.loads(done.out), done.err


FIRST, SECOND = "2026-01-31=a.seg.nrrd,a.nrrd", "2026-03-02=b.seg.nrrd,b.nrrd"


def test_two_dates_are_compared_in_their_order(here, capsys):
    status, trend, _ = run(capsys, SECOND, FIRST)
    assert status == 0
    assert [study["date"] for study in trend["studies"]] == ["2026-01-31", "2026-03-02"]
    (row,) = trend["rows"]
    before, after = (value["volume_ml"] for value in row["values"])
    assert row["values"][1]["change_to_previous"] == pytest.approx(100 * (after - before) / before)
    assert abs(row["values"][1]["change_to_previous"]) < 15  # one lesion on two grids
    assert not trend["matched"]


def test_a_lesion_is_found_again_on_another_grid(here, capsys):
    status, trend, _ = run(capsys, FIRST, SECOND, "--register", "--checkerboard", "board.png", "--csv", "t.csv")
    assert status == 0
    assert trend["matched"]
    assert [row["lesion"] for row in trend["rows"]] == [0, 1]
    assert trend["rows"][1]["values"][1]["events"] == []
    assert trend["studies"][0]["similarity"] is None
    assert trend["studies"][1]["similarity"] > 0.5
    with Image.open("board.png") as board:
        assert board.width > 300
    assert len(Path("t.csv").read_text().splitlines()) == 5


def test_no_name_of_a_file_or_patient_is_in_the_result(here, capsys):
    Path("DOE^JANE").mkdir()
    series = dicom_series.series(6, extra={"PatientName": "DOE^JANE", "PatientID": "4711"})
    for number, item in enumerate(series):
        dicom_series.write_slice(Path("DOE^JANE") / f"{number}.dcm", item)
    volume = read_volume(Path("DOE^JANE"))
    labels = Labelmap((volume.array > 900).astype(np.uint8), volume.geometry, TUMOUR)
    write_labelmap(Path("DOE^JANE.seg.nrrd"), labels)
    status, trend, error = run(capsys, "DOE^JANE.seg.nrrd,DOE^JANE", "2026-03-02=b.seg.nrrd", "--csv", "t.csv")
    assert status == 0
    assert [study["date"] for study in trend["studies"]] == ["2024-02-29", "2026-03-02"]
    for text in (json.dumps(trend), error, Path("t.csv").read_text()):
        assert "DOE" not in text
        assert "4711" not in text
        assert "seg.nrrd" not in text


def test_people_get_a_table(here, capsys):
    assert cli.main(["trend", FIRST, SECOND]) == 0
    out = capsys.readouterr().out
    assert "2026-01-31" in out
    assert out.endswith("Research use, not for diagnosis.\n")


def test_one_date_has_no_change(here, capsys):
    status, trend, _ = run(capsys, "a.seg.nrrd")
    assert status == 0
    assert trend["studies"] == [{"date": "", "similarity": None}]
    assert [row["lesion"] for row in trend["rows"]] == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.seg.nrrd", "b.seg.nrrd"], "Expected a date for a.seg.nrrd"),
        ([FIRST, "2026-01-31=b.seg.nrrd"], "found two of 2026-01-31"),
        (["2026-02-30=a.seg.nrrd"], "found 2026-02-30"),
        (["2026-01-31=a.seg.nrrd,b.nrrd"], "on the grid of b.nrrd"),
        ([FIRST, "2026-03-02=gone.nrrd"], "found nothing at gone.nrrd"),
        ([FIRST, "2026-03-02=b.seg.nrrd", "--register"], "found none with b.seg.nrrd"),
        ([FIRST, "2026-03-02=a.seg.nrrd,a.nrrd", "--csv", "a.csv"], "exists already"),
        ([FIRST, "--csv", "no/where.csv"], "does not exist"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(here, capsys, arguments, message):
    Path("a.csv").write_text("mine")
    files = sorted(here.iterdir())
    status, answer, error = run(capsys, *arguments)
    assert status == 1
    assert message in answer["errors"][0]["message"]
    assert error.count("\n") == 1
    assert sorted(here.iterdir()) == files
    assert Path("a.csv").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [["--csv", "t.txt"], ["--checkerboard", "b.png"], ["--register", "--checkerboard", "b.jpg"]],
)
def test_wrong_usage_is_said_before_any_work(here, capsys, arguments):
    assert cli.main(["trend", "2026-01-31=gone.nrrd", *arguments]) == 2
    assert arguments[-2] in capsys.readouterr().err


def test_another_patient_is_refused_and_the_checkerboard_shows_why(here, capsys):
    rng = np.random.default_rng(5)
    grid = Geometry((60, 60, 40), (3.0, 3.0, 4.0))
    array = np.kron(rng.integers(0, 200, (8, 10, 10)), np.ones((5, 6, 6))).astype(np.int16)
    write_image(Path("c.nrrd"), array, grid)
    write_labelmap(Path("c.seg.nrrd"), Labelmap((array > 190).astype(np.uint8), grid, TUMOUR))
    arguments = [FIRST, "2026-03-02=c.seg.nrrd,c.nrrd"]
    status, answer, _ = run(capsys, *arguments, "--register", "--checkerboard", "board.png", "--csv", "t.csv")
    assert status == 1
    assert "another patient" in answer["errors"][0]["message"]
    assert Path("board.png").exists()
    assert not Path("t.csv").exists()
    assert run(capsys, *arguments)[0] == 0  # without a registration the volumes are compared


def test_a_cancelled_registration_leaves_nothing(here):
    drawn = []

    def cancel(stage: str, fraction: float) -> None:
        if stage == "register" and fraction > 0.2:
            raise Cancelled("stop")

    files = [parse_study(FIRST), parse_study(SECOND)]
    with pytest.raises(Cancelled):
        trend_files(files, True, cancel, on_registered=lambda *given: drawn.append(given))
    assert drawn == []


def test_each_image_is_registered_to_the_first(here, monkeypatch):
    made = head(1, (60, 60, 30), (3.5, 3.5, 5.0))
    write_image(Path("c.nrrd"), made.volume.array, made.volume.geometry)
    write_labelmap(Path("c.seg.nrrd"), replace(made.labelmap, segments=TUMOUR))
    seen = []

    def spy(first, other, progress=no_progress):
        seen.append((first.geometry, other.geometry))
        return register(first, other, progress)

    monkeypatch.setattr("medtl.trend.files.register", spy)
    trend_files([parse_study(text) for text in ("2026-06-01=c.seg.nrrd,c.nrrd", SECOND, FIRST)], True)
    grids = [read_volume(Path(f"{name}.nrrd")).geometry for name in "abc"]
    assert seen == [(grids[0], grids[1]), (grids[0], grids[2])]
