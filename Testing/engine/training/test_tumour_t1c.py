"""`tumour-t1c`: its recipe, the case lists it is trained and tested on, and its figures."""

import csv
import importlib.util
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import small_model
from PIL import Image

from medtl.cases import CaseFiles, read_cases
from medtl.commands.cli import main
from medtl.gate import mismatches
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.model.bundle import load_model
from medtl.model.card import METADATA, NetworkSpec, load_card
from medtl.model.networks import build
from medtl.training import recipes
from medtl.training.recipes.tumour_t1c import CARD, RECIPE
from medtl.volume import Geometry, Labelmap, voxels_sha256

TESTING = Path(__file__).resolve().parents[2]
SIZE = (56, 48)  # of a picture: width, height
# The tumour of a picture: left, top, right, bottom in pixels; neither in the middle nor as wide as high.
BOX = (32, 12, 42, 18)
A_CASE = CaseFiles("a", Path("a.png"), Path("a.png"), "a")
SOME = {"n": 1, "groups": 1, "mean": 0.5, "ci95": [0.4, 0.6], "median": 0.5}


@pytest.fixture(scope="module")
def scripts():
    """The two scripts as modules."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TESTING / "benchmarks"))
        for folder, name in (("datasets", "t1c_cases"), ("benchmarks", "tumour_t1c")):
            spec = importlib.util.spec_from_file_location(name, TESTING / folder / f"{name}.py")
            found[name] = importlib.util.module_from_spec(spec)
            patch.setitem(sys.modules, name, found[name])
            spec.loader.exec_module(found[name])
        yield found


# --- the recipe ---


def test_the_recipe_makes_a_bundle_that_loads_and_takes_one_slice(tmp_path):
    spec = CARD.networks[0]
    assert build(spec.name, dict(spec.arguments)).unet.encoder.model.conv_stem.weight.shape[1] == 1
    written = small_model.save(tmp_path / "tumour-t1c", replace(CARD, training=MappingProxyType({})))
    assert load_model(str(tmp_path / "tumour-t1c"), "cpu").card == written


@pytest.mark.parametrize(
    ("description", "fits"),
    [
        ("t1_c", True),
        ("T1c", True),
        ("AX T1 CE", True),
        ("T1 SE TRA +C", True),
        ("t1_mprage_tra KM", True),
        ("Post Gd SAG T1", True),
        ("", True),
        ("T1 SPACE", False),
        ("AX T1 FLAIR", False),
        ("t2_tse_tra", False),
        ("FLAIR", False),
        ("ep2d_diff", False),
    ],
)
def test_series_without_contrast_are_told_apart_by_name(description, fits):
    found = mismatches(CARD, modality="MR", description=description, size=(224, 224, 20), spacing=(1.0, 1.0, 5.0))
    assert (found == ()) == fits


# --- the case lists ---


def picture_of(kind: str, mirrored: bool = False, level: int = 90) -> np.ndarray:
    """A head with a bright tumour, uint8 (height, width); without one for notumor."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    array = np.where(np.hypot((y - 23.5) / 20, (x - 27.5) / 22) < 1, level, 0).astype(np.uint8)
    if kind != "notumor":
        left, top, right, bottom = BOX
        array[top:bottom, left:right] = 200
    return array[:, ::-1] if mirrored else array


def border() -> str:
    """The box on the grid of 512 pixels, as the file has it."""
    left, top, right, bottom = (v * 512 / SIZE[i % 2] for i, v in enumerate(BOX))
    return ";".join(
        f"{x:.1f} {y:.1f}" for x, y in ((left, top), (right - 1, top), (right - 1, bottom - 1), (left, bottom - 1))
    )


# split, class, name, dup_group, slice_group, source_index (figshare), mirrored, near-patient group, side
PICTURES = [
    ("Training", "glioma", "Tr-gl_0", 0, 0, 1, True, "g0", "train"),
    ("Testing", "glioma", "Te-gl_0", 1, 0, 1, False, "g0", "train"),
    ("Training", "glioma", "Tr-gl_1", 2, 2, 2, True, "g1", "test"),
    ("Training", "pituitary", "Tr-pi_0", 3, 3, 3, False, "g2", "train"),  # the source says meningioma
    ("Training", "meningioma", "Tr-me_0", 4, 4, None, False, "g3", "train"),  # no outline
    *(("Training", "notumor", f"Tr-no_{i}", 5 + i // 2, 5, None, False, "g4", "train") for i in range(4)),
    *(("Testing", "notumor", f"Te-no_{i}", 9 + i // 2, 9, None, False, "g5", "test") for i in range(4)),
]
OUTLINED = {1: "glioma", 2: "glioma", 3: "meningioma"}


def write_rows(path: Path, head: str, rows) -> Path:
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(head.split(","))
        out.writerows(rows)
    return path


@pytest.fixture
def source(tmp_path):
    """A folder of pictures, its split and two volumes, as the script wants them."""
    write_source(tmp_path)
    return tmp_path


def write_source(where: Path) -> None:
    folder = where / "pictures"
    rows, split = [], []
    for number, (part, kind, name, dup, group, index, mirrored, patient, side) in enumerate(PICTURES):
        path = folder / part / kind / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture_of(kind, mirrored, 90 + number)).save(path)
        known = ("figshare", index, "hflip" if mirrored else "no") if index else ("", "", "")
        rows.append((part, kind, path.name, dup, group, *known))
        split.append((path, kind, patient, side))
    write_rows(folder / "index.csv", "split,class,name,dup_group,slice_group,source,source_index,source_mirrored", rows)
    write_rows(
        folder / "tumour-outlines.csv",
        "source_index,class,border_xy_512",
        [(i, k, border()) for i, k in OUTLINED.items()],
    )
    write_rows(where / "split.csv", "image,label,patient,split", split)
    brats = []
    for name in ("b", "a"):
        grid = Geometry((24, 20, 30))
        image, truth = np.full(grid.shape, 50, np.int16), np.zeros(grid.shape, np.uint8)
        image[:2] = 0
        image[2:, :2] = np.arange(2, 30)[:, None, None]  # a slice is known by this
        truth[14:17, 5:9, 5:9] = 2
        truth[15, 6:8, 6:8] = 1
        truth[15, 6, 6] = 4
        write_image(where / f"{name}.nrrd", image, grid)
        write_labelmap(where / f"{name}-label.nrrd", Labelmap(truth, grid))
        brats.append((f"{name}.nrrd", f"{name}-label.nrrd", f"patient-{name}"))
    write_rows(where / "brats.csv", "image,label,patient", brats)


def run(scripts, folder: Path) -> int:
    return scripts["t1c_cases"].main(
        [
            *("--pictures", str(folder / "pictures"), "--split", str(folder / "split.csv")),
            *("--brats", str(folder / "brats.csv"), "--output", str(folder / "out")),
        ]
    )


def test_labels_lie_on_the_tumour_mirrored_or_not(scripts, source):
    assert run(scripts, source) == 0
    cases = [
        c
        for name in ("train", "test")
        for c in read_cases(source / "out" / f"{name}.csv")
        if c.site in OUTLINED.values()
    ]
    assert {c.case: c.site for c in cases} == {"Te-gl_0": "glioma", "Tr-gl_1": "glioma", "Tr-pi_0": "meningioma"}
    for case in cases:
        volume, label = read_volume(case.image), read_labelmap(case.label)
        assert volume.geometry == label.geometry
        np.testing.assert_array_equal(label.array > 0, volume.array == 200)


def test_a_slice_is_listed_once_and_a_group_on_one_side(scripts, source):
    assert run(scripts, source) == 0
    listed = {name: read_cases(source / "out" / f"{name}.csv") for name in ("train", "test", "outside")}
    assert sorted(c.case for c in listed["train"]) == ["Te-gl_0", "Tr-no_0", "Tr-no_2", "Tr-pi_0", "a-free"]
    assert sorted(c.case for c in listed["test"]) == ["Te-no_0", "Tr-gl_1"]
    assert [c.case for c in listed["outside"]] == ["b"]
    groups = [{c.patient for c in cases} for cases in listed.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    for case in (*listed["train"], *listed["test"]):
        assert (case.site in OUTLINED.values()) == bool(read_labelmap(case.label).array.any())


def test_of_the_volume_trained_on_no_slice_is_near_its_tumour_and_none_is_empty(scripts, source):
    assert run(scripts, source) == 0
    (case,) = (c for c in read_cases(source / "out" / "train.csv") if c.site == "brats")
    chosen = read_volume(case.image).array[:, 0, 0].tolist()
    assert chosen == [*range(2, 11), *range(20, 30)]  # the tumour is in slices 14 to 16
    assert not read_labelmap(case.label).array.any()


def test_the_core_of_an_outside_volume_is_what_enhances_and_what_that_encloses(scripts, source):
    assert run(scripts, source) == 0
    (case,) = read_cases(source / "out" / "outside.csv")
    whole, core = read_labelmap(source / "b-label.nrrd").array, read_labelmap(case.label).array
    np.testing.assert_array_equal(core, (whole == 1) | (whole == 4))


@pytest.mark.parametrize("size", [(224, 224), (224, 180), (512, 512)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_an_outline_is_filled_as_by_asking_every_point(scripts, size, mirrored):
    """Beside a point-in-polygon test of each pixel's centre: no more than the border's pixels differ."""
    random = np.random.default_rng(4)
    angle = np.linspace(0, 2 * np.pi, 17)[:-1]
    radius = random.uniform(50, 110, angle.size)
    points = np.stack([330 + radius * np.cos(angle), 200 + radius * np.sin(angle)], 1)
    mask = np.asarray(scripts["t1c_cases"].mask_of(points, mirrored, size)) > 0
    rows, columns = np.mgrid[: size[1], : size[0]]
    x, y = (columns + 0.5) * 512 / size[0] - 0.5, (rows + 0.5) * 512 / size[1] - 0.5
    px = 511 - points[:, 0] if mirrored else points[:, 0]
    inside = np.zeros(mask.shape, bool)
    for i in range(len(px)):  # crossings of a ray to the right
        (x0, y0), (x1, y1) = (px[i - 1], points[i - 1, 1]), (px[i], points[i, 1])
        crosses = (y0 > y) != (y1 > y)
        inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    assert mask.shape == (size[1], size[0])
    assert 2 * (mask & inside).sum() / (mask.sum() + inside.sum()) > 0.985


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1].update(patient="g9"), "all pictures of a slice in one group"),
        (lambda rows: rows[0].update(split="test"), "each group on one side"),
        (lambda rows: rows.pop(), "found no Testing/notumor/Te-no_3.png"),
    ],
)
def test_a_split_that_leaks_or_lacks_a_picture_is_refused(scripts, source, capsys, change, message):
    with (source / "split.csv").open() as file:
        rows = list(csv.DictReader(file))
    change(rows)
    write_rows(source / "split.csv", ",".join(rows[0]), [list(row.values()) for row in rows])
    assert run(scripts, source) == 1
    assert message in capsys.readouterr().err
    assert not (source / "out" / "train.csv").exists()


# --- training and figures ---


@pytest.fixture(scope="module")
def done(scripts, tmp_path_factory):
    """A folder of case lists (six groups a class, and a volume of other people) and below it, in `run`, a bundle of the
    recipe with a small network and one short epoch."""
    where = tmp_path_factory.mktemp("done")
    write_source(where)
    assert run(scripts, where) == 0
    out = where / "lists"
    (out / "labels").mkdir(parents=True)
    for name, count in (("train", 6), ("test", 3)):
        rows = []
        for kind in ("glioma", "meningioma", "pituitary", "notumor"):
            for i in range(count):
                array = picture_of(kind, level=(60 if name == "train" else 100) + len(rows))  # no two are the same
                stem = f"{name}-{kind}-{i}"
                Image.fromarray(array).save(out / f"{stem}.png")
                Image.fromarray((array == 200).astype(np.uint8)).save(out / "labels" / f"{stem}.png")
                rows.append((f"{stem}.png", f"labels/{stem}.png", f"{kind}-{name}-{i}", kind))
        write_rows(out / f"{name}.csv", "image,label,patient,site", rows)
    (case,) = read_cases(where / "out" / "outside.csv")
    write_rows(out / "outside.csv", "image,label,patient,site", [(case.image, case.label, "b", "brats")])
    small = NetworkSpec(
        "basicunet2d", MappingProxyType({"channels": 1, "labels": 1, "features": (4, 4, 8, 8, 8, 4)}), "net."
    )
    short = replace(RECIPE.fit, epochs=1, batch=4, window=(48, 48))
    tiny = replace(RECIPE, card=replace(CARD, networks=(small,)), fit=short, encoder_weights=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipes.RECIPES, "tumour-t1c", tiny)
        assert main(["train", "tumour-t1c", "--cases", str(out / "train.csv"), "--output", str(out / "run")]) == 0
    return out


@pytest.fixture
def lists(done, tmp_path):
    """A copy of the folder."""
    return Path(shutil.copytree(done, tmp_path / "lists"))


@pytest.fixture
def trained(lists):
    """The bundle in it."""
    return lists / "run" / "tumour-t1c"


def test_single_pictures_train_a_bundle_with_a_group_of_each_class_held_out(trained):
    split = load_card(trained).training["split"]
    assert sorted(case.split("-")[1] for case in split["test"]) == ["glioma", "meningioma", "notumor", "pituitary"]
    assert len(split["train"]) == 20


def test_the_figures_are_printed_and_written_by_one_command(scripts, trained, lists, capsys):
    command = ["--model", str(trained), "--cases", str(lists), "--write"]
    assert scripts["tumour_t1c"].main(command) == 0
    figures = load_card(trained).training["figures"]
    assert [figures[name]["n"] for name in (*scripts["tumour_t1c"].CLASSES, "all", "tumour_free")] == [3, 3, 3, 9, 3]
    assert (figures["outside"]["n"], figures["outside"]["free"]) == (1, 29)
    text = capsys.readouterr().out.strip()
    assert text in (trained / "docs" / "README.md").read_text(encoding="utf-8")
    assert "n = 1: no interval" in text


def test_threshold_and_size_are_chosen_without_the_test_lists(scripts, trained, lists, capsys):
    for name in ("test.csv", "outside.csv"):
        (lists / name).unlink()
    assert scripts["tumour_t1c"].main(["--model", str(trained), "--cases", str(lists), "--choose"]) == 0
    text = capsys.readouterr().out
    assert "On 4 slices of 4 training groups held out. Chosen: Calibration(threshold=" in text
    assert text.count("\n| 0.") == 35


def test_a_picture_that_was_trained_on_is_no_test(scripts, trained, lists, capsys):
    seen = next(iter(load_card(trained).training["split"]["train"]))
    (lists / "test.csv").write_text(f"image,label,patient,site\n{seen}.png,labels/{seen}.png,x,glioma\n")
    assert scripts["tumour_t1c"].main(["--model", str(trained), "--cases", str(lists), "--write"]) == 1
    assert f"not trained on, found {lists / seen}.png" in capsys.readouterr().err
    assert "figures" not in json.loads((trained / METADATA).read_text())["medtl"]["training"]


def test_a_mean_over_slices_has_the_interval_over_groups(scripts):
    """Beside a bootstrap written out: groups are drawn, with all their slices."""
    benchmark = scripts["tumour_t1c"]
    values = [0.9, 0.8, 0.85, 0.1, 0.7, 0.6]
    groups = ["a", "a", "a", "b", "c", "c"]
    found = [benchmark.Found(replace(A_CASE, patient=group), 0.0, 0, 0) for group in groups]
    figures = benchmark.of_groups(values, found)
    random, means = np.random.default_rng(1), []
    for _ in range(4000):
        drawn = [v for g in random.choice(["a", "b", "c"], 3) for v, group in zip(values, groups) if group == g]
        means.append(np.mean(drawn))
    assert (figures["n"], figures["groups"]) == (6, 3)
    assert figures["mean"] == pytest.approx(np.mean(values))
    assert figures["ci95"] == pytest.approx(np.percentile(means, (2.5, 97.5)), abs=0.03)


@pytest.mark.parametrize(
    ("predicted", "free", "findings", "dice"),
    [((), 2, 0, 0.0), ((1,), 2, 0, 1.0), ((0, 1), 2, 1, 2 / 3), ((0, 1, 2), 2, 2, 0.5)],
)
def test_findings_are_counted_in_the_slices_without_tumour(scripts, predicted, free, findings, dice):
    truth, mask = np.zeros((3, 4, 4), bool), np.zeros((3, 4, 4), bool)
    truth[1, 1:3, 1:3] = True
    mask[list(predicted), 1:3, 1:3] = True
    found = scripts["tumour_t1c"].outcome(A_CASE, truth, mask)
    assert (found.free, found.findings) == (free, findings)
    assert found.dice == pytest.approx(dice)


def test_a_finding_where_there_is_nothing_costs_as_much_as_a_tumour_missed(scripts):
    best = scripts["tumour_t1c"].best
    rows = [(0.3, 0, 0.9, 0.9, 0.9, 0.3), (0.5, 0, 0.8, 0.8, 0.8, 0.05), (0.7, 0, 0.7, 0.7, 0.7, 0.0)]
    assert best(rows) == rows[1]
    assert best([*rows, (0.9, 0, 0.7, 0.8, 0.9, 0.04)])[0] == 0.9


def test_the_held_out_pictures_are_known_by_their_voxels(trained, lists):
    held = load_card(trained).training["split"]["test"]
    for case, sha256 in held.items():
        assert voxels_sha256(read_volume(lists / f"{case}.png").array) == sha256
