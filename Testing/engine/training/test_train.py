"""`medtl train` from case list to bundle, and the figures that go onto the card afterwards."""

import hashlib
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

from medtl.cases import read_cases
from medtl.commands.cli import main
from medtl.errors import Cancelled, InputError
from medtl.io.read import read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.model.bundle import load_model
from medtl.model.card import METADATA, Gate, InputSpec, Label, ModelCard, NetworkSpec, load_card
from medtl.model.store import WEIGHTS
from medtl.phantom import head
from medtl.training import recipes
from medtl.training.augment import Augmentation
from medtl.training.fit import CHECKPOINT, Fit
from medtl.training.recipe import TrainedBundle, TrainingRun, named_warnings
from medtl.training.segmenter import SegmentationRecipe, with_ranges
from medtl.training.train import train

ROOT = Path(__file__).resolve().parents[3]
README = "# tiny\n\nA model for tests.\n\n<!-- figures -->\n<!-- /figures -->\n\nThe end.\n"


def tiny_recipe() -> SegmentationRecipe:
    card = ModelCard(
        name="tiny",
        version="1.0.0",
        description="A network for tests.",
        task="segmentation",
        labels=(Label(1, "lesion", "Lesion"),),
        networks=(
            NetworkSpec(
                "basicunet2d",
                MappingProxyType({"channels": 3, "labels": 1, "features": (4, 4, 8, 8, 8, 4)}),
                "basicunet2d.",
            ),
        ),
        input=InputSpec(spacing=None, neighbours=1),
        sha256="",
        gate=Gate(modality="MR"),
    )
    options = Fit(epochs=2, batch=4, window=(64, 64), rate=5e-3, augmentation=Augmentation(shift=4.0))
    return SegmentationRecipe(card, options, None, 0.5, 0, 2, True, README, "For tests.", {"data_source": "phantoms"})


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """The list of four patients of two sites: small synthetic heads."""
    folder = tmp_path_factory.mktemp("cases")
    lines = ["image,label,patient,site"]
    for seed in range(4):
        made = head(seed, (72, 64, 7), (3.0, 3.2, 9.0))
        write_image(folder / f"p{seed}.nrrd", made.volume.array, made.volume.geometry)
        write_labelmap(folder / f"p{seed}-label.nrrd", made.labelmap)
        lines.append(f"p{seed}.nrrd,p{seed}-label.nrrd,patient{seed},{'AB'[seed % 2]}")
    (folder / "cases.csv").write_text("\n".join(lines))
    return folder / "cases.csv"


class Warned:
    """A recipe that trains nothing and whose cases were read with a warning."""

    def train(self, run, progress, reader):
        return TrainedBundle(run.output / "tiny", named_warnings("p0", ["3 voxels were NaN"]))


@pytest.fixture(scope="module", autouse=True)
def tiny():
    """The recipe by name, and one thread, so that weights can be compared bit for bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipes.RECIPES, "tiny", tiny_recipe())
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(cases, tmp_path_factory):
    """The folder of a finished run by the command line."""
    output = tmp_path_factory.mktemp("run") / "out"
    assert main(["train", "tiny", "--cases", str(cases), "--output", str(output)]) == 0
    return output


def test_the_command_prints_warnings_of_reading_after_the_name_of_the_case(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("medtl.training.train.recipe_named", lambda name: Warned())
    assert main(["train", "tiny", "--cases", str(tmp_path / "a.csv"), "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'out' / 'tiny'}\n"
    assert "medtl: warning: p0: 3 voxels were NaN" in printed.err


def sites_of(split):
    return sorted("AB"[int(case[1]) % 2] for case in split)


def test_the_bundle_is_a_model_that_loads(trained):
    model = load_model(str(trained / "tiny"), "cpu")
    assert model.card.name == "tiny"
    assert sorted(p.relative_to(trained / "tiny").as_posix() for p in (trained / "tiny").rglob("*") if p.is_file()) == [
        "LICENSE",
        METADATA,
        "docs/README.md",
        WEIGHTS,
    ]
    assert json.loads((trained / "tiny" / METADATA).read_text())["data_source"] == "phantoms"


def test_the_card_freezes_who_trained_and_who_tests(trained, cases):
    training = load_card(trained / "tiny").training
    split = training["split"]
    assert (split["fold"], split["seed"]) == (None, 0)
    assert sorted([*split["train"], *split["test"]]) == ["p0", "p1", "p2", "p3"]
    assert sites_of(split["train"]) == sites_of(split["test"]) == ["A", "B"]
    for case, sha256 in {**split["train"], **split["test"]}.items():
        voxels = read_volume(cases.parent / f"{case}.nrrd").array
        assert sha256 == hashlib.sha256(voxels.tobytes()).hexdigest()
    assert training["fit"]["epochs"] == 2
    assert training["versions"]["torch"] == importlib.metadata.version("torch")


def test_nothing_of_the_held_out_patients_is_learned(trained, cases, tmp_path):
    """With other images and labels in their place the weights are the same to the bit."""
    held = load_card(trained / "tiny").training["split"]["test"]
    for file in cases.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for number, case in enumerate(sorted(held)):
        other = head(20 + number, (72, 64, 8), (3.0, 3.2, 8.0))
        write_image(tmp_path / f"{case}.nrrd", other.volume.array, other.volume.geometry)
        write_labelmap(tmp_path / f"{case}-label.nrrd", other.labelmap)
    card = load_card(train("tiny", TrainingRun(tmp_path / "cases.csv", tmp_path / "out")).folder)
    before = load_card(trained / "tiny")
    assert card.training["split"]["test"].keys() == held.keys()
    assert card.training["split"]["test"] != held
    assert (card.sha256, card.gate) == (before.sha256, before.gate)


def test_the_gate_knows_the_range_of_the_training_cases(trained):
    found = load_card(trained / "tiny").gate
    assert found.modality == "MR"
    assert found.statistics.keys() == {"dark", "bright"}
    assert all(low < high for low, high in found.statistics.values())


def test_ranges_are_a_quarter_wider_than_what_was_seen():
    class Seen:
        def __init__(self, **statistics):
            self.statistics = statistics

    ranges = with_ranges(Gate(), [Seen(dark=0.2, bright=1.5), Seen(dark=0.6)]).statistics
    assert ranges == {"dark": pytest.approx((0.1, 0.7)), "bright": (1.5, 1.5)}


def test_an_output_that_holds_the_model_is_refused_and_stays(trained, cases, capsys):
    before = (trained / "tiny" / WEIGHTS).read_bytes()
    for more in ([], ["--resume"]):
        assert main(["train", "tiny", "--cases", str(cases), "--output", str(trained), *more]) == 1
        assert "exists already" in capsys.readouterr().err
    assert (trained / "tiny" / WEIGHTS).read_bytes() == before


def test_a_run_that_was_stopped_is_not_lost_and_goes_on_to_the_same_weights(trained, cases, tmp_path, capsys):
    def stop(stage, fraction):
        if stage == "fit" and fraction > 0.7:
            raise Cancelled("The work was cancelled.")

    output = tmp_path / "out"
    with pytest.raises(Cancelled):
        train("tiny", TrainingRun(cases, output), stop)
    assert not (output / "tiny").exists()
    checkpoint = (output / CHECKPOINT).read_bytes()
    command = ["train", "tiny", "--cases", str(cases), "--output", str(output)]
    assert main(command) == 1
    assert "--resume" in capsys.readouterr().err
    assert (output / CHECKPOINT).read_bytes() == checkpoint
    assert main([*command, "--resume"]) == 0
    assert capsys.readouterr().out.strip() == str(output / "tiny")
    assert load_card(output / "tiny").sha256 == load_card(trained / "tiny").sha256


def test_each_fold_holds_out_others(cases, tmp_path):
    held = []
    for fold in (0, 1):
        output = tmp_path / f"fold{fold}"
        assert main(["train", "tiny", "--cases", str(cases), "--output", str(output), "--fold", str(fold)]) == 0
        split = load_card(output / "tiny").training["split"]
        assert split["fold"] == fold
        assert not set(split["train"]) & set(split["test"])
        held += split["test"]
    assert sorted(held) == ["p0", "p1", "p2", "p3"]


def test_nothing_is_written_for_a_bad_request(cases, tmp_path, capsys):
    output = str(tmp_path / "out")
    for arguments, message in (
        (["none", "--cases", str(cases), "--output", output], "Expected a recipe of"),
        (["tiny", "--cases", str(cases), "--output", output, "--fold", "2"], "Expected a fold from 0 to 1"),
        (["tiny", "--cases", str(tmp_path / "no.csv"), "--output", output], "found nothing"),
        (["tiny", "--cases", str(cases), "--output", str(tmp_path / "no" / "out")], "does not exist"),
    ):
        assert main(["train", *arguments]) == 1
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_trained_model_is_evaluated_in_one_go(trained, cases, capsys):
    assert main(["evaluate", "--model", str(trained / "tiny"), "--cases", str(cases), "--binary", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["n"], found["patients"]) == ("tiny", 4, 4)
    assert found["sha256"] == load_card(trained / "tiny").sha256
    assert all(0 <= case["dice"] <= 1 for case in found["cases"])


# --- the figures on the card ---


@pytest.fixture(scope="module")
def card_figures():
    spec = importlib.util.spec_from_file_location("card_figures", ROOT / "Testing" / "benchmarks" / "card_figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bundle(trained, tmp_path):
    """A copy of the trained model."""
    for file in (trained / "tiny").rglob("*"):
        if file.is_file():
            target = tmp_path / "tiny" / file.relative_to(trained / "tiny")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    return tmp_path / "tiny"


def fake_figures(card_figures, dice=0.87):
    def value(mean):
        return {"mean": mean, "ci95": [mean - 0.05, mean + 0.05], "median": mean + 0.01, "n": 3}

    def of(patients, unit):
        return {
            "n": patients,
            "patients": patients,
            "unit": unit,
            "by_volume": {n: value(4.25 if n == "hd95" else dice) for n in card_figures.FIGURES},
            "pooled": {n: value(0.9) for n in card_figures.POOLED},
            "labels": {},
            "dice_of_cases": [0.41, 0.9],
        }

    volume = {"fp32": {"seconds": 1.234, "peak_mb": 900}, "bf16": {"seconds": 0.61, "peak_mb": 870}}
    return {
        "flip": False,
        "binary": True,
        "sets": {"held out": of(15, "px"), "another site": of(12, "mm"), "one": of(1, "mm")},
        "speed": {"processor": "Some, 2 cores", "volumes": {"24 × 256 × 256": volume}},
    }


def test_figures_are_a_table_with_intervals_units_and_speed(card_figures):
    text = card_figures.markdown(fake_figures(card_figures), tiny_recipe().card)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert [len(row) for row in rows] == [4] * 17 + [3] * 3
    assert rows[0][1:] == ["held out: 15 patients", "another site: 12 patients", "one: 1 patient |"]
    assert "**0.870** (0.820–0.920)" in rows[2][1]
    assert "| Dice, lowest | 0.410 | 0.410 | 0.410 |" in text
    assert "| 4.2 (4.2–4.3) pixels | 4.2 (4.2–4.3) mm |" in text
    assert "| 24 × 256 × 256 voxels | 1.2 s, 900 MB | 0.6 s, 870 MB |" in text


def test_a_figure_that_cannot_be_had_is_a_dash(card_figures):
    figures = fake_figures(card_figures)
    figures["sets"]["held out"]["by_volume"]["hd95"] = {"mean": None, "ci95": None, "median": None, "n": 0}
    assert "| Hausdorff distance, 95 % | – pixels |" in card_figures.markdown(figures, tiny_recipe().card)


def test_each_of_several_labels_has_a_row_with_the_cases_that_show_it(card_figures):
    figures = fake_figures(card_figures)
    for one in figures["sets"].values():
        one["labels"] = {"left": one["by_volume"]["dice"], "right": one["by_volume"]["dice"]}
    labels = (Label(1, "left", "Left lobe"), Label(2, "right", "Right lobe"))
    text = card_figures.markdown(figures, replace(tiny_recipe().card, labels=labels))
    assert "| Dice, Left lobe | 0.870 (0.820–0.920), n = 3 |" in text
    assert "| Dice, Right lobe |" in text


def test_figures_go_between_the_markers_and_into_a_card_that_still_loads(card_figures, bundle):
    before = load_card(bundle)
    other = bundle.parent / "README.md"
    other.write_text("Über uns\n<!-- figures -->\nold\n<!-- /figures -->\nmore\n", encoding="utf-8")
    for dice in (0.11, 0.87):  # the second time replaces the first
        figures = fake_figures(card_figures, dice)
        card_figures.write_figures(bundle, figures, card_figures.markdown(figures, tiny_recipe().card), [other])
    after = load_card(bundle)
    assert after.training["figures"]["sets"]["held out"]["by_volume"]["dice"]["mean"] == 0.87
    assert {**after.training, "figures": None} == {**before.training, "figures": None}
    assert (after.name, after.sha256, after.gate) == (before.name, before.sha256, before.gate)
    table = card_figures.markdown(figures, tiny_recipe().card)
    wanted = README.replace("<!-- figures -->\n", f"<!-- figures -->\n{table}\n")
    assert (bundle / "docs" / "README.md").read_text(encoding="utf-8") == wanted
    assert other.read_text(encoding="utf-8") == f"Über uns\n<!-- figures -->\n{table}\n<!-- /figures -->\nmore\n"
    load_model(str(bundle), "cpu")


def test_without_a_place_for_the_table_nothing_is_written(card_figures, bundle):
    before = (bundle / METADATA).read_bytes()
    other = bundle.parent / "README.md"
    other.write_text("nothing here\n")
    with pytest.raises(InputError, match="figures"):
        card_figures.write_figures(bundle, fake_figures(card_figures), "text", [other])
    assert (bundle / METADATA).read_bytes() == before
    assert (bundle / "docs" / "README.md").read_text() == README


def test_only_the_images_that_were_held_out_are_the_test_set(card_figures, bundle, cases, tmp_path):
    card, listed = load_card(bundle), read_cases(cases)
    held = card_figures.held_out_cases(card, listed)
    assert {case.case for case in held} == card.training["split"]["test"].keys()
    with pytest.raises(InputError, match=f"found no {held[0].case}"):
        card_figures.held_out_cases(card, [case for case in listed if case.case != held[0].case])
    volume = read_volume(held[0].image)
    changed = tmp_path / held[0].image.name
    write_image(changed, np.where(volume.array == volume.array.max(), 0, volume.array), volume.geometry)
    swapped = [type(c)(c.case, changed if c == held[0] else c.image, c.label, c.patient, c.site) for c in listed]
    with pytest.raises(InputError, match="found another"):
        card_figures.held_out_cases(card, swapped)


def test_what_was_trained_on_is_no_outside_test(card_figures, bundle, cases):
    card, listed = load_card(bundle), read_cases(cases)
    with pytest.raises(InputError, match="not trained on"):
        card_figures.other_cases(card, listed, [])
    away = [case for case in listed if case.case in card.training["split"]["test"]]
    maybe = type(away[0])("Brats18_TCIA10_628_1", away[0].image, away[0].label, "x")
    assert card_figures.other_cases(card, [*away, maybe], ["*TCIA10*"]) == away


def test_the_whole_command_measures_and_writes(card_figures, bundle, cases, tmp_path, capsys):
    lines = ["image,label,patient,site"]
    for seed, patient in ((11, "known"), (12, "dvn2-case")):
        made = head(seed, (72, 64, 7), (3.0, 3.2, 9.0))
        write_image(tmp_path / f"o{seed}.nrrd", made.volume.array, made.volume.geometry)
        write_labelmap(tmp_path / f"o{seed}-label.nrrd", made.labelmap)
        lines.append(f"o{seed}.nrrd,o{seed}-label.nrrd,{patient},X")
    (tmp_path / "outside.csv").write_text("\n".join(lines))
    further = ["--set", f"another site={tmp_path / 'outside.csv'}", "--exclude", "o12"]
    arguments = ["--model", str(bundle), "--test", str(cases), *further, "--write"]
    assert card_figures.main(arguments) == 0
    figures = load_card(bundle).training["figures"]
    assert {name: one["n"] for name, one in figures["sets"].items()} == {"held out": 2, "another site": 1}
    assert capsys.readouterr().out.strip() == card_figures.markdown(figures, load_card(bundle))
    assert card_figures.main([*arguments[:-1], "--speed", str(tmp_path / "none.json")]) == 1
