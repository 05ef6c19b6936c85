"""`medtl measure`: what it prints and writes, and what it refuses."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from medtl.commands import cli
from medtl.io.write import write_image, write_labelmap
from medtl.measurement import measure_lesions
from medtl.typed_json import encode
from medtl.volume import Geometry, Labelmap, Segment

GRID = Geometry((20, 18, 8), (0.9, 0.9, 4.0), (-12.0, 7.0, 30.0))
BARE = Geometry(GRID.size)


def labels() -> np.ndarray:
    array = np.zeros(GRID.shape, np.uint8)
    array[2:5, 3:12, 4:14] = 1
    array[6, 14:17, 2:6] = 1
    array[0, 0, 19] = 1
    array[5:8, 3:6, 15:18] = 2
    return array


LABELMAP = Labelmap(labels(), GRID, (Segment(1, "m.lesion", "Glioma"), Segment(2, "m.cord", "Cord")))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The segmentation with its spacing, the same voxels without, and an image with it and one without."""
    monkeypatch.chdir(tmp_path)
    write_labelmap(tmp_path / "result.seg.nrrd", LABELMAP)
    write_labelmap(tmp_path / "bare.nrrd", replace(LABELMAP, geometry=BARE))
    noise = np.random.default_rng(0).integers(0, 99, GRID.shape).astype(np.int16)
    write_image(tmp_path / "image.nrrd", noise, GRID)
    write_image(tmp_path / "bare_image.nrrd", noise, BARE)
    return tmp_path


def run(line: str, capsys) -> tuple[int, str, str]:
    status = cli.main(line.split())
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_lesions_are_shown_in_words(folder, capsys):
    status, out, err = run("measure result.seg.nrrd", capsys)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "Glioma: 0.92 mL, 2 lesions, 1 under 0.01 mL or 3 voxels not listed (0.00 mL)"
    assert lines[1].split() == ["mL", "mm", "×", "mm", "slice", "cm²", "place", "(mm)"]
    number, ml, longest, _, across, index, _, *place = lines[2].split()
    assert (number, ml, index, " ".join(place)) == ("1", "0.87", "3", "R 5, P 13, S 42")
    assert float(longest) == pytest.approx(np.hypot(10, 8) * 0.9, abs=0.06)
    assert float(across) < float(longest)
    assert lines[4] == "Cord: 0.09 mL, 1 part"
    assert lines[-1] == "Diameters lie in axial slices. Research use, not for diagnosis."


def test_json_has_the_figures_of_the_engine(folder, capsys):
    status, out, _ = run("measure result.seg.nrrd --json", capsys)
    record = json.loads(out)
    assert status == 0
    assert (record["segmentation"], record["image"], record["plane"]) == ("result.seg.nrrd", None, "axial")
    assert (record["min_ml"], record["min_voxels"]) == (0.01, 3)
    assert record["segments"] == json.loads(json.dumps(encode(measure_lesions(LABELMAP))))


def test_csv_has_a_row_for_each_segment_and_each_lesion(folder, capsys):
    status, out, _ = run("measure result.seg.nrrd --csv figures.csv", capsys)
    assert status == 0
    assert out.splitlines()[-1] == "written: figures.csv"
    with (folder / "figures.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["segment"], row["lesion"]) for row in rows] == [
        *(("Glioma", "all"), ("Glioma", "1"), ("Glioma", "2")),
        *(("Cord", "all"), ("Cord", "1")),
    ]
    one = measure_lesions(LABELMAP)[0].lesions[0]
    row = rows[1]
    assert float(row["volume_ml"]) == one.volume_ml
    assert float(row["longest_mm"]) == one.longest.mm
    assert float(row["surface_mm2"]) == one.surface_mm2
    ends = [[float(row[f"longest_{end}_{axis}"]) for axis in "lps"] for end in (1, 2)]
    assert ends == [list(end) for end in one.longest.ends]
    assert (rows[0]["small_parts"], rows[0]["longest_mm"]) == ("1", "")


def test_an_existing_table_stays_without_force(folder, capsys):
    (folder / "figures.csv").write_text("mine")
    status, _, err = run("measure result.seg.nrrd --csv figures.csv", capsys)
    assert status == 1
    assert "exists" in err
    assert (folder / "figures.csv").read_text() == "mine"
    assert run("measure result.seg.nrrd --csv figures.csv --force", capsys)[0] == 0
    assert (folder / "figures.csv").read_text().startswith("segmentation,")


def test_a_segmentation_that_states_no_spacing_is_refused_with_the_way_out(folder, capsys):
    status, out, err = run("measure bare.nrrd", capsys)
    assert (status, out) == (1, "")
    assert err.startswith("medtl: Expected a spacing in mm, found none in bare.nrrd")
    assert err.endswith("Use --image FILE.\n")


def test_the_image_gives_the_spacing(folder, capsys):
    status, out, err = run("measure bare.nrrd --image image.nrrd --json", capsys)
    assert (status, err) == (0, "")
    found, (glioma, _) = json.loads(out)["segments"], measure_lesions(LABELMAP)
    assert found[0]["lesions"] == json.loads(json.dumps(encode(glioma.lesions)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("measure bare.nrrd --image bare_image.nrrd", "Expected an image that states its spacing in mm"),
        ("measure result.seg.nrrd --image bare_image.nrrd", "Expected an image that states its spacing in mm"),
        ("measure result.seg.nrrd --image other.nrrd", "Expected result.seg.nrrd on the grid of other.nrrd"),
        ("measure bare.nrrd --image other.nrrd", "found 20 × 18 × 8 voxels beside 20 × 18 × 9"),
        ("measure nothing.nrrd", "nothing.nrrd"),
        ("measure grey.nrrd", "Expected a segmentation, found an image with 99 values in grey.nrrd"),
        ("measure bare.nrrd --image gone.nrrd", "gone.nrrd"),
        ("measure result.seg.nrrd --csv result.seg.nrrd/x.csv", "result.seg.nrrd"),
        ("measure result.seg.nrrd --csv gone/x.csv", "gone"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(line, message, folder, capsys):
    noise = np.random.default_rng(0).integers(0, 99, (9, 18, 20)).astype(np.int16)
    write_image(folder / "other.nrrd", noise, replace(GRID, size=(20, 18, 9)))
    write_image(folder / "grey.nrrd", noise, replace(GRID, size=(20, 18, 9)))
    status, out, err = run(line, capsys)
    assert (status, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("option", ["--min-ml -1", "--min-ml nan", "--min-ml x", "--plane skew", "--csv figures.txt"])
def test_wrong_usage_ends_with_two(option, folder, capsys):
    assert run(f"measure result.seg.nrrd {option}", capsys)[0] == 2


def test_an_empty_segmentation_is_told(folder, capsys):
    empty = replace(LABELMAP, array=np.zeros(GRID.shape, np.uint8))
    write_labelmap(folder / "empty.seg.nrrd", empty)
    write_labelmap(folder / "empty.nrrd", replace(empty, segments=()))
    assert run("measure empty.seg.nrrd", capsys)[1].splitlines()[:2] == ["Glioma: 0.00 mL", "Cord: 0.00 mL"]
    assert run("measure empty.nrrd", capsys)[1].splitlines()[0] == "no segments: no voxel has a label"


def test_a_label_that_was_removed_by_hand_counts_as_empty(folder, capsys):
    array = labels()
    array[array == 1] = 0
    write_labelmap(folder / "removed.seg.nrrd", replace(LABELMAP, array=array))
    segments = json.loads(run("measure removed.seg.nrrd --json", capsys)[1])["segments"]
    assert [(one["name"], one["volume_ml"], len(one["lesions"])) for one in segments] == [
        ("Glioma", 0.0, 0),
        ("Cord", pytest.approx(27 * GRID.voxel_ml), 1),
    ]


def test_mirrored_storage_of_the_same_body_gives_the_same_figures(folder, capsys):
    image = sitk.Flip(sitk.ReadImage(str(folder / "result.seg.nrrd")), (True, False, True))
    sitk.WriteImage(image, str(folder / "flipped.nrrd"))
    one, other = (
        json.loads(run(f"measure {name} --json", capsys)[1])["segments"] for name in ("result.seg.nrrd", "flipped.nrrd")
    )
    for a, b in zip(one[0]["lesions"], other[0]["lesions"], strict=True):
        assert b["longest"]["mm"] == pytest.approx(a["longest"]["mm"])
        assert b["perpendicular"]["mm"] == pytest.approx(a["perpendicular"]["mm"])
        assert b["surface_mm2"] == pytest.approx(a["surface_mm2"])


def test_a_formula_as_a_segment_s_name_is_text_in_the_table(folder, capsys):
    write_labelmap(folder / "x.seg.nrrd", replace(LABELMAP, segments=(Segment(1, "a", "=1+1"), Segment(2, "b", "b"))))
    run("measure x.seg.nrrd --csv x.csv", capsys)
    assert ",'=1+1," in (folder / "x.csv").read_text(encoding="utf-8")
