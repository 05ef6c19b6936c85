"""`medtl segment` with a model of several channels: its inputs, lists of them, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_model

from medtl.commands import cli
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image
from medtl.model.bundle import load_model
from medtl.model.import_model import import_model
from medtl.model.nnunet import ImportOptions
from medtl.segmentation import segment
from medtl.volume import Geometry

ROOT = Path(__file__).resolve().parents[3]
GRID = Geometry((12, 10, 9), (1.2, 1.0, 1.5), (5.0, -3.0, 2.0))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a model of two channels, and images of two cases."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("medtl.model.networks.bf16_pays", lambda *_: False)  # it is measured: not the same each time
    (tmp_path / "home" / "models").mkdir(parents=True)
    small_model.save(tmp_path / "home" / "models" / "pair", small_model.pair_card())
    values = np.random.default_rng(0)
    for name in ("t2.nrrd", "flair.nrrd", "x/t2.nrrd", "x/flair.nrrd"):
        Path(name).parent.mkdir(exist_ok=True)
        write_image(Path(name), values.normal(100, 60, GRID.shape).astype(np.float32), GRID)
    return tmp_path


def run(capsys, *arguments: str) -> tuple[int, dict, str]:
    """The status, the JSON object and standard error of `medtl segment`."""
    status = cli.main(["segment", *arguments, "--model", "pair", "--threads", "1", "--json"])
    done = capsys.readouterr()
    return status, json.loads(done.out), done.err


def expected(*names: str) -> np.ndarray:
    return segment([read_volume(Path(name)) for name in names], load_model("pair", "cpu")).labelmap.array


def test_channels_come_in_the_cards_order_or_by_their_names(here, capsys):
    inputs = ["t2.nrrd,flair.nrrd", "FLAIR=x/flair.nrrd,T2=t2.nrrd"]
    for number, given in enumerate(inputs):
        status, answer, _ = run(capsys, given, "--output", f"{number}.seg.nrrd")
        assert (status, answer["errors"]) == (0, [])
    assert answer["results"][0]["input"] == "t2.nrrd,x/flair.nrrd"
    first, second = (read_labelmap(Path(f"{number}.seg.nrrd")) for number in range(2))
    assert first.geometry == GRID
    np.testing.assert_array_equal(first.array, expected("t2.nrrd", "flair.nrrd"))
    np.testing.assert_array_equal(second.array, expected("t2.nrrd", "x/flair.nrrd"))
    assert (first.array != second.array).mean() > 0
    assert (first.array != expected("flair.nrrd", "t2.nrrd")).mean() > 0


def test_a_missing_channel_is_named_and_stops_only_its_own_input(here, capsys):
    shutil.copy("x/t2.nrrd", "mr.nrrd")
    status, answer, errors = run(
        capsys, "flair.nrrd", "FLAIR=flair.nrrd", "x/t2.nrrd,x/none.nrrd", "mr.nrrd,flair.nrrd", "--output", "out/"
    )
    assert (status, [result["output"] for result in answer["results"]]) == (1, ["out/mr.seg.nrrd"])
    messages = {error["input"]: error["message"] for error in answer["errors"]}
    assert messages["FLAIR=flair.nrrd"] == "Expected 2 volumes for pair (T2, FLAIR), found 1; missing: T2."
    assert messages["flair.nrrd"] == "Expected 2 volumes for pair (T2, FLAIR), found 1; missing: FLAIR."
    assert "found nothing at x/none.nrrd" in messages["x/t2.nrrd,x/none.nrrd"]
    assert "medtl: FLAIR=flair.nrrd: Expected 2 volumes" in errors


def test_a_file_whose_name_has_a_comma_is_one_file(here, capsys):
    Path("a,b.nrrd").hardlink_to("t2.nrrd")
    status, answer, _ = run(capsys, "a,b.nrrd", "--output", "out.nrrd")
    assert (status, answer["errors"][0]["input"]) == (1, "a,b.nrrd")
    small_model.save(here / "home" / "models" / "one")
    assert cli.main(["segment", "a,b.nrrd", "--model", "one", "--threads", "1", "--output", "out.nrrd"]) == 0
    assert Path("out.nrrd").exists()


def test_no_output_replaces_any_of_the_channels(here, capsys):
    _, answer, _ = run(capsys, "t2.nrrd,flair.nrrd", "--output", "flair.nrrd", "--force")
    assert "The output flair.nrrd is an input" in answer["errors"][0]["message"]
    assert read_volume(Path("flair.nrrd")).array.dtype == np.float32


@pytest.mark.parametrize("option", [["--frame", "0"], ["--component", "0"], ["--series", "1.2"]])
def test_no_image_is_chosen_within_the_files_of_several_channels(option, here, capsys):
    status, answer, _ = run(capsys, "t2.nrrd,flair.nrrd", "--output", "out.nrrd", *option)
    assert (status, answer["results"]) == (1, [])
    assert "Expected no frame, component or series for several volumes" in answer["errors"][0]["message"]


def test_a_channel_on_another_grid_gives_a_warning_on_standard_error(here, capsys):
    shown = read_volume(Path("flair.nrrd"))
    write_image(Path("beside.nrrd"), shown.array, replace(GRID, origin=(5.0, -3.0, 4.0)))
    status, _, errors = run(capsys, "t2.nrrd,beside.nrrd", "--output", "out.nrrd")
    assert status == 0
    assert "FLAIR was resampled onto the grid of T2: it lies up to 2 mm beside it" in errors
    assert read_labelmap(Path("out.nrrd")).geometry.close_to(GRID)


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("T2,FLAIR,case", ["first", "second"]),
        ("image,image_2,case", ["first", "second"]),
        ("T2,FLAIR,note", ["t2", "x_t2"]),
    ],
)
def test_a_list_names_the_channels_by_its_columns(head, names, here, capsys):
    Path("cases.csv").write_text(f"{head}\nt2.nrrd,flair.nrrd,first\nx/t2.nrrd,x/flair.nrrd,second\n")
    status, answer, _ = run(capsys, "cases.csv", "--output", "out")
    assert (status, answer["errors"]) == (0, [])
    assert [result["output"] for result in answer["results"]] == [f"out/{name}.seg.nrrd" for name in names]
    second = read_labelmap(Path(f"out/{names[1]}.seg.nrrd")).array
    np.testing.assert_array_equal(second, expected("x/t2.nrrd", "x/flair.nrrd"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("T2,case\nt2.nrrd,a\n", "Expected the columns T2,FLAIR in cases.csv, found T2,case. Add the column FLAIR"),
        ("image\nt2.nrrd\n", "Add the column image_2"),
        ("T2,FLAIR\n", "Expected at least one case"),
        ("T2,FLAIR\nt2.nrrd,none.nrrd\n", "found 1 missing, the first none.nrrd"),
        ("T2,FLAIR,case\nt2.nrrd,flair.nrrd,../up\n", "Expected a case's name that a file can have in cases.csv"),
        ("T2,FLAIR,case\nt2.nrrd,flair.nrrd,a\nx/t2.nrrd,x/flair.nrrd,a\n", "found two called a"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_before_any_work(text, message, here, capsys):
    Path("cases.csv").write_text(text)
    status, answer, _ = run(capsys, "cases.csv", "--output", "out/")
    assert (status, answer["results"]) == (1, [])
    assert message in answer["errors"][0]["message"]
    assert not Path("out").exists()


def test_a_list_needs_a_folder_as_output(here, capsys):
    Path("cases.csv").write_text("T2,FLAIR\nt2.nrrd,flair.nrrd\n")
    assert cli.main(["segment", "cases.csv", "--model", "pair", "--output", "out.nrrd"]) == 2
    assert "several inputs need a folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.pickles
def test_two_channels_of_nnunet_give_what_nnunet_gave(tmp_path, monkeypatch, capsys):
    given = ROOT.parent / "shared" / "nnunet"
    if not given.is_dir():
        pytest.skip("needs the results folders in ../shared/nnunet, which are not here")
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path))
    monkeypatch.setattr("medtl.model.networks.bf16_pays", lambda *_: False)  # nnU-Net's answer is not of bf16
    (source,) = (given / "regions-resenc").glob("Dataset*")
    folder = import_model(source, ImportOptions(channels=("T2", "FLAIR")))  # its dataset calls FLAIR otherwise
    t2, flair = (given / "images" / f"Brats18_CBICA_ABM_1_000{number}.nii.gz" for number in range(2))
    output = tmp_path / "out.nii.gz"
    arguments = ["--model", str(folder), "--output", str(output)]
    assert cli.main(["segment", f"FLAIR={flair},T2={t2}", *arguments]) == 0
    found, wanted = read_labelmap(output).array, read_labelmap(given / "expected" / "regions-resenc.nii.gz").array
    assert (found == wanted).mean() > 0.9998
    for value in np.unique(wanted[wanted > 0]):
        one, other = found == value, wanted == value
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) >= 0.9995
