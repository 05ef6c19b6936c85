"""A new structure, learned from SEEDs alone: a bundle of its own that knows it, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_model
import torch

from medtl.commands.cli import main
from medtl.errors import Cancelled, InputError, ModelError
from medtl.finetuning import files as files_module
from medtl.finetuning import new_structure
from medtl.finetuning.features import prepare_case
from medtl.finetuning.files import CaseInput, TuningFiles, TuningResult, finetune_files
from medtl.finetuning.new_structure import Structure, estimate_statistics, start_model, structure_card
from medtl.finetuning.run import FinetuneOptions, Run, TimeBudget
from medtl.finetuning.tuned_bundle import (
    Origin,
    SeedRecord,
    TuningRecord,
    Unfinished,
    Watched,
    trained_structure_card,
)
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.model.bundle import Model, load_model
from medtl.model.card import InputSpec, NetworkSpec, load_card
from medtl.segmentation import segment
from medtl.typed_json import encode
from medtl.volume import Geometry, Labelmap, Volume

BONE, MUSCLE = 700, 60
SLICES = (2, 5, 8, 11)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So many steps, however busy the machine is, and a store of our own."""
    monkeypatch.setattr(new_structure, "STEPS", 40)
    monkeypatch.setattr(new_structure, "RATE", 1e-2)  # the network is tiny
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))


def body(fat: bool = False) -> tuple[Volume, Labelmap]:
    """A CT of a leg: air, a disc of fat, in it one of muscle around a bone; 1 is muscle and, if wanted, 2 is fat."""
    z, y, x = np.meshgrid(np.arange(14), np.arange(48) - 24, np.arange(56) - 28, indexing="ij")
    r = np.hypot(y, x + 0.3 * (z - 7))
    array = np.select([r < 4, r < 12 + 0.3 * z, r < 21], [BONE, MUSCLE, -100], -1000)
    array = (array + np.random.default_rng(0).normal(0, 20, array.shape)).astype(np.int16)
    labels = np.select([r < 4, r < 12 + 0.3 * z, r < 21], [0, 1, 2 * fat], 0).astype(np.uint8)
    geometry = Geometry((56, 48, 14), (2.0, 2.0, 5.0))
    return Volume(array, geometry), Labelmap(labels, geometry)


@pytest.fixture
def case(tmp_path: Path) -> CaseInput:
    volume, labelmap = body()
    write_image(tmp_path / "leg.nrrd", volume.array, volume.geometry)
    write_labelmap(tmp_path / "muscle.nrrd", labelmap)
    return CaseInput(tmp_path / "leg.nrrd", tmp_path / "muscle.nrrd", SLICES)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for something else, on MRI, with two labels."""
    folder = tmp_path_factory.mktemp("models") / "heads"
    arguments = {"channels": 1, "labels": 2, "features": [8] * 6}
    labels = (*small_model.LESION, replace(small_model.LESION[0], value=2, id="rim"))
    card = replace(small_model.a_card(), name="heads", labels=labels, training={"data": "heads", "figures": {"d": 1}})
    small_model.save(folder, replace(card, networks=(NetworkSpec("basicunet2d", arguments, "net."),)))
    return folder


@pytest.fixture
def model(bundle: Path) -> Model:
    return load_model(str(bundle), "cpu")


def learned(model: Model, case: CaseInput, output: Path, new: Structure, **more: object) -> TuningResult:
    files = TuningFiles(str(output), (case,), structure=new)
    return finetune_files(model, files, FinetuneOptions(600.0, **more))


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth))


def test_the_command_learns_a_structure_that_the_model_never_saw(bundle, case, tmp_path, capsys):
    output, result = tmp_path / "muscle", tmp_path / "result.seg.nrrd"
    line = f"finetune --model {bundle} --case {case.image} {case.label} --slices 2,5,8,11 --budget 600 --device cpu "
    line += f"--new-structure muscle --window -160 240 --output {output} --result {result} --json"
    assert main(line.split()) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["verdict"], record["output"]) == ("new", str(output))
    assert record["change"]["seeds"]["n"] == 1
    volume, truth = body()
    model = load_model(str(output), "cpu")
    found = segment(volume, model).labelmap
    rest = [k for k in range(14) if k not in SLICES]
    assert dice(found.array[rest] > 0, truth.array[rest] > 0) > 0.9
    assert found.segments[0].id == "muscle.muscle"
    assert record["after"]["seeds"] > 0.7
    written = read_labelmap(result)
    assert np.array_equal(written.array[list(SLICES)], truth.array[list(SLICES)]), "SEEDs are as they were drawn"
    assert dice(written.array[rest] > 0, truth.array[rest] > 0) > 0.9
    assert written.segments[0].id == "muscle.muscle"


def test_its_card_is_its_own_and_names_where_it_came_from(model, case, tmp_path):
    record = learned(model, case, tmp_path / "legs", Structure(("muscle",), window=(-160.0, 240.0)))
    card = load_card(tmp_path / "legs")
    assert (card.name, card.family, card.parent) == ("legs", "legs", None)
    assert [(label.value, label.id, label.name) for label in card.labels] == [(1, "muscle", "Muscle")]
    assert card.input == InputSpec(("CT",), "axial", 2.0, scaling="window", window=(-160.0, 240.0))
    (entry,) = card.training["tuned"]
    assert entry["parent"] == {"name": "heads", "sha256": model.sha256} == encode(record.parent)
    assert [seed["slice"] for seed in entry["seeds"]] == list(SLICES)
    assert "figures" not in card.training
    assert "data" not in card.training
    assert (tmp_path / "legs" / "LICENSE").read_text() == (model.folder / "LICENSE").read_text()
    text = (tmp_path / "legs" / "docs" / "README.md").read_text()
    assert "starting from the encoder of heads" in text
    # and it can be tuned on like any other
    again = load_model(str(tmp_path / "legs"), "cpu")
    finetune_files(again, TuningFiles(str(tmp_path / "legs-2"), (case,)), FinetuneOptions(8.0))
    second = load_card(tmp_path / "legs-2")
    assert (second.family, second.parent.name, len(second.training["tuned"])) == ("legs", "legs", 2)


def test_it_begins_with_the_weights_that_fit_and_the_parent_stays(model, case):
    before = {k: v.clone() for k, v in model.networks[0].state_dict().items()}
    volume = read_volume(case.image)
    own = start_model(model, structure_card(model.card, "legs", Structure(("muscle",))), volume, 0)
    fresh, old = own.networks[0].state_dict(), model.networks[0].state_dict()
    assert {k for k in fresh if not torch.equal(fresh[k], old[k])} == {
        "unet.final_conv.weight",
        "unet.final_conv.bias",
    }
    options = FinetuneOptions(600.0)
    new_structure.train_structure(own, [(volume, seeds(own, case))], Run(options, TimeBudget(600.0)))
    assert all(torch.equal(before[k], v) for k, v in model.networks[0].state_dict().items())
    assert not torch.equal(
        own.networks[0].state_dict()["unet.conv_0.conv_0.conv.weight"], before["unet.conv_0.conv_0.conv.weight"]
    )


def seeds(model: Model, case: CaseInput) -> list:
    from medtl.finetuning.seed import seeds_of

    return list(seeds_of(read_labelmap(case.label), model.card, case.image, "x", case.slices))


def test_statistics_are_those_of_the_user_s_volume(model, case):
    """Against the plain way: what each normalisation gets, its mean and variance over all slices."""
    volume = read_volume(case.image)
    card = structure_card(model.card, "legs", Structure(("muscle",), window=(-160.0, 240.0)))
    own = replace(start_model(model, card, volume, 0), bf16=False)
    marked = prepare_case(volume, [], own.card.input, 16)
    first = own.networks[0].unet.conv_0.conv_0
    assert estimate_statistics(own, [marked]) == 14
    with torch.no_grad():
        given = first.conv(marked.images(range(14)))
    assert not own.networks[0].training
    # in two batches of 8 and 6, each of which counts the same
    means = torch.stack([given[:8].mean((0, 2, 3)), given[8:].mean((0, 2, 3))]).mean(0)
    torch.testing.assert_close(first.adn.N.running_mean, means, rtol=1e-3, atol=1e-4)


def test_several_labels_are_learned_together(model, case, tmp_path):
    _, labelmap = body(fat=True)
    write_labelmap(case.label, labelmap)
    new = Structure(("muscle", "body-fat"), window=(-160.0, 240.0))
    learned(model, case, tmp_path / "legs", new)
    found = segment(body()[0], load_model(str(tmp_path / "legs"), "cpu")).labelmap
    assert [s.name for s in found.segments] == ["Muscle", "Body fat"]
    for value in (1, 2):
        assert dice(found.array == value, labelmap.array == value) > 0.8


def test_two_seeds_are_enough_and_none_is_left_out(model, case, tmp_path):
    record = learned(model, replace(case, slices=(3, 10)), tmp_path / "legs", Structure(("muscle",)))
    assert record.outcome.change.seeds.n == 0
    assert record.outcome.after.seeds is None
    assert "check the result" in " ".join(record.outcome.notes)


def test_a_cancel_keeps_the_best_so_far(model, case, tmp_path):
    def stop(stage: str, share: float) -> None:
        if stage == "tune" and share > 0.6:
            raise Cancelled("Stopped by the test.")

    new = Structure(("muscle",), window=(-160.0, 240.0))
    with pytest.raises(Cancelled, match="the best model so far is in"):
        finetune_files(model, TuningFiles(str(tmp_path / "legs"), (case,), structure=new), FinetuneOptions(600.0), stop)
    kept = load_model(str(tmp_path / "legs"), "cpu")
    assert kept.card.training["tuned"][0]["unfinished"]
    assert dice(segment(body()[0], kept).labelmap.array > 0, body()[1].array > 0) > 0.5


def test_a_training_that_diverges_ends_with_the_last_good_weights_and_says_so(model, case, tmp_path, monkeypatch):
    real, calls = new_structure.dice_and_cross_entropy, []

    def loss(logits: torch.Tensor, truth: torch.Tensor, ignore: int) -> torch.Tensor:
        calls.append(0)
        return real(logits, truth, ignore) * (1.0 if len(calls) < 6 else float("inf"))

    monkeypatch.setattr(new_structure, "dice_and_cross_entropy", loss)
    record = learned(model, replace(case, slices=(3, 10)), tmp_path / "legs", Structure(("muscle",)))
    assert record.outcome.steps == 5
    assert "The loss was not finite after 5 steps" in " ".join(record.outcome.notes)
    state = load_model(str(tmp_path / "legs"), "cpu").networks[0].state_dict()
    assert all(torch.isfinite(value).all() for value in state.values())


def test_a_training_whose_first_step_is_not_finite_leaves_no_model(model, case, tmp_path, monkeypatch):
    real = new_structure.dice_and_cross_entropy
    monkeypatch.setattr(new_structure, "dice_and_cross_entropy", lambda *given: real(*given) * float("nan"))
    with pytest.raises(ModelError, match="Expected a finite loss on the SEED slices"):
        learned(model, case, tmp_path / "legs", Structure(("muscle",)))
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "home") == ["leg.nrrd", "muscle.nrrd"]


def test_a_new_model_states_no_figures_of_a_model_before_it(model, case, tmp_path):
    record = learned(model, case, tmp_path / "legs", Structure(("muscle",)))
    assert record.outcome.before == Watched(None, None)
    assert encode(record.outcome.change.seeds) == {"mean": None, "error": None, "n": 1}
    assert 0 < record.outcome.after.seeds <= 1


@pytest.mark.parametrize(
    "ids", [(), ("",), ("Muscle",), ("a b",), ("m", "m"), ("a.b",), ("../x",), ("x" * 40,), ("ä",)]
)
def test_ids_of_another_form_are_refused(ids):
    with pytest.raises(InputError, match="Expected label ids of small letters"):
        Structure(ids)


@pytest.mark.parametrize("window", [(240.0, -160.0), (0.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_window_that_is_none_is_refused(window):
    with pytest.raises(InputError, match="its lower limit first"):
        Structure(("muscle",), window=window)


def test_a_plane_that_is_none_is_refused():
    with pytest.raises(InputError, match="axial, coronal, sagittal"):
        Structure(("muscle",), plane="oblique")


@pytest.mark.parametrize(
    ("ids", "change", "message"),
    [
        (("muscle", "fat"), lambda a: a, r"Expected fat \(value 2\) in at least one SEED slice"),
        (("muscle",), lambda a: np.where(a == 1, 3, a), "found the value 3 too"),
        (("muscle",), lambda a: a * 0, "in at least one SEED slice"),
    ],
    ids=["a label without a voxel", "another value", "nothing drawn"],
)
def test_labels_that_do_not_fit_the_ids_are_refused_and_nothing_is_written(ids, change, message, model, case, tmp_path):
    labelmap = read_labelmap(case.label)
    write_labelmap(case.label, replace(labelmap, array=change(labelmap.array).astype(np.uint8)))
    with pytest.raises(InputError, match=message):
        learned(model, case, tmp_path / "legs", Structure(ids))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["leg.nrrd", "muscle.nrrd"]


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        ("--new-structure Muscle", 1, "small letters"),
        ("--new-structure muscle --window 240 -160", 1, "lower limit first"),
        ("--new-structure muscle --window -160", 2, "expected 2 arguments"),
        ("--new-structure muscle --window a b", 2, "invalid float value"),
        ("--new-structure muscle --plane tilted", 1, "Expected a plane"),
        ("--new-structure muscle --guard cases.csv", 2, "leave --guard and --strength out"),
        ("--new-structure muscle --strength 0.5", 2, "leave --guard and --strength out"),
        ("--window -160 240", 2, "belong to --new-structure"),
        ("--plane axial", 2, "belong to --new-structure"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(more, status, message, bundle, case, tmp_path, capsys):
    line = f"finetune --model {bundle} --case {case.image} {case.label} --output {tmp_path / 'legs'} {more}"
    try:
        found = main(line.split())
    except SystemExit as stopped:
        found = stopped.code
    assert (found, message in capsys.readouterr().err) == (status, True)
    assert not (tmp_path / "legs").exists()


def test_a_card_that_cannot_be_written_is_an_error_before_the_training(model, case, tmp_path, monkeypatch):
    monkeypatch.setattr(files_module, "train_structure", lambda *arguments: pytest.fail("it was trained"))
    wide = Structure(("legs",), window=(-1e9, 1e9))
    with pytest.raises(ModelError, match="the window limit"):
        finetune_files(model, TuningFiles(str(tmp_path / "legs"), (case,), structure=wide), FinetuneOptions(600.0))
    assert not (tmp_path / "legs").exists()


def test_a_model_of_many_structures_counts_them_in_its_description():
    card = structure_card(small_model.a_card(), "many", Structure(tuple(f"{'x' * 20}-{n}" for n in range(200))))
    seeds = (SeedRecord("case 1", 3, ("x",)), SeedRecord("case 1", 5, ("x",)))
    record = TuningRecord(Origin("small", "ab"), "0.1.0", 60.0, 1.0, 0, seeds, Unfinished(1.0))
    described = trained_structure_card(card, "many", record).description
    assert described.startswith("200 structures, trained on 2 SEED slices (unfinished")
