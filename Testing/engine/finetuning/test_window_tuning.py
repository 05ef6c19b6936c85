"""Models that see windows are tuned on SEED slices: what is learned, what stays, and what comes out."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_model
import torch
from small_model import CUBES, PLAIN, windowed

from medtl.errors import InputError
from medtl.finetuning import files as finetune_files
from medtl.finetuning import finetune as finetune_module
from medtl.finetuning import window_tuning
from medtl.finetuning.decoder import Tuning
from medtl.finetuning.files import CaseInput, TuningFiles, TuningResult
from medtl.finetuning.finetune import finetune
from medtl.finetuning.run import FinetuneOptions, Run, TimeBudget
from medtl.finetuning.seed import IGNORE, Seed, seeds_of
from medtl.finetuning.suggest import suggest
from medtl.finetuning.window_case import prepare_window_case
from medtl.finetuning.window_tuning import draw_start, window_examples
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.model.bundle import Model, load_model
from medtl.model.card import InputSpec, ModelCard, NetworkSpec, WindowSpec, load_card
from medtl.phantom import head
from medtl.segmentation import InferenceOptions, segment
from medtl.training.loss import dice_and_cross_entropy, region_dice_and_cross_entropy
from medtl.volume import Geometry, Labelmap, Volume, array_axis

BOXES = WindowSpec(patch=(8, 16, 16), spacing=(8.0, 3.0, 3.0), normalisation=(replace(PLAIN, scheme="zscore"),))
SHEETS = replace(BOXES, patch=(32, 32), spacing=(3.0, 3.0))
SLICES = (3, 4, 5, 6, 7)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A few steps instead of a minute's, and a store of our own."""
    monkeypatch.setattr(finetune_module, "Tuning", lambda seed: Tuning(seed=seed, steps=6, rate=1e-2, batch=2))
    monkeypatch.setattr(window_tuning, "WINDOWS_A_SEED", 2)
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))


def a_unet(spec: WindowSpec, folds: int = 1, plane: str = "axial", decision: str = "argmax") -> ModelCard:
    """The card of a small untrained U-Net for windows, with one label."""
    dimensions = len(spec.patch)
    strides = [[1] * dimensions, [1, 2, 2][-dimensions:], [2] * dimensions]
    arguments = {"channels": 1, "outputs": 1 + (decision != "regions"), "features": [4, 6, 8]}
    arguments |= {"kernels": [[3] * dimensions] * 3, "strides": strides, "blocks": [1] * 3, "decoder_blocks": [1] * 2}
    return replace(
        small_model.a_card(),
        networks=tuple(NetworkSpec("plainunet", arguments, f"fold_{fold}.") for fold in range(folds)),
        input=InputSpec(channels=("MR",), plane=plane),
        windows=spec,
        decision=decision,
    )


@pytest.fixture(scope="module")
def case_files(tmp_path_factory: pytest.TempPathFactory) -> CaseInput:
    """A small head with its lesion, and five SEED slices."""
    folder = tmp_path_factory.mktemp("case")
    made = head(3, (64, 64, 12), (3.0, 3.0, 8.0))
    middle = int(np.flatnonzero(made.labelmap.array.any(axis=(1, 2))).mean())
    write_image(folder / "head.nrrd", made.volume.array, made.volume.geometry)
    write_labelmap(folder / "truth.nrrd", replace(made.labelmap, segments=()))
    return CaseInput(folder / "head.nrrd", folder / "truth.nrrd", tuple(range(middle - 2, middle + 3)))


def saved(card: ModelCard, folder: Path) -> Model:
    small_model.save(folder, card)
    return load_model(str(folder), "cpu")


def tuned(
    model: Model, case: CaseInput, output: Path, budget: TimeBudget | None = None, **more: object
) -> TuningResult:
    options = FinetuneOptions(600.0 if budget is None else budget.seconds, **more)
    return finetune_files.finetune_files(model, TuningFiles(str(output), (case,)), options, budget=budget)


def hashes(folder: Path) -> dict[str, str]:
    return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.mark.parametrize(
    ("spec", "folds", "decision"),
    [(BOXES, 1, "argmax"), (BOXES, 1, "regions"), (SHEETS, 2, "argmax")],
    ids=["3D", "regions", "2D, two folds"],
)
def test_a_tuned_model_segments_and_its_encoders_and_its_parent_are_as_they_were(
    spec, folds, decision, case_files, tmp_path
):
    model = saved(a_unet(spec, folds, decision=decision), tmp_path / "old")
    parent = hashes(tmp_path / "old")
    record = tuned(model, case_files, tmp_path / "new", result=tmp_path / "result.nrrd")
    assert hashes(tmp_path / "old") == parent
    assert record.outcome.steps == 6 * folds
    assert record.outcome.change.seeds.n == 2
    assert record.outcome.verdict in ("better", "same", "worse")
    new = load_model(str(tmp_path / "new"), "cpu")
    assert (new.card.windows, new.card.parent.name) == (spec, "small")
    for old_fold, new_fold in zip(model.networks, new.networks, strict=True):
        before, after = old_fold.state_dict(), new_fold.state_dict()
        moved = {name for name in before if (before[name] - after[name]).abs().max() > 1e-3}
        assert moved
        assert all(name.startswith("decoder.") for name in moved)
    volume = read_volume(case_files.image)
    assert segment(volume, new).labelmap.array.shape == volume.array.shape
    found, truth = read_labelmap(tmp_path / "result.nrrd"), read_labelmap(case_files.label)
    chosen = list(case_files.slices)
    assert (found.array[chosen] == truth.array[chosen]).all()
    assert found.geometry.close_to(truth.geometry)


def test_the_loss_is_that_of_the_interpolated_logits_at_the_seeds(monkeypatch):
    """Windows that hold the whole grid: the loss is that of all logits, interpolated, at all SEEDs."""
    monkeypatch.setattr(window_tuning, "change_intensity", lambda image, random: image)
    spec = replace(CUBES, patch=(24, 24, 24), spacing=(1.3, 1.0, 1.2))
    for decision, plane in (("argmax", "axial"), ("regions", "coronal"), ("argmax", "sagittal")):
        model = windowed(spec, decision=decision)
        model = replace(model, card=replace(model.card, input=replace(model.card.input, plane=plane)))
        geometry = Geometry((14, 13, 12), (1.0, 1.1, 0.9))
        volume = Volume(np.random.default_rng(0).integers(1, 200, geometry.shape).astype(np.int16), geometry)
        shape = np.delete(geometry.shape, array_axis(geometry, plane))
        masks = np.random.default_rng(1).choice([0, 1, 2, IGNORE], (2, *shape)).astype(np.uint16)
        seeds = [Seed("c", Path("c"), "x", plane, k, ("part-1", "part-2"), m) for k, m in zip((4, 8), masks)]
        case = prepare_window_case((volume,), seeds, model.card, spec)
        examples = window_examples(model, [case], Tuning(), Run(FinetuneOptions(), TimeBudget(60.0)))
        slices = sorted(case.truth)
        logits = torch.cat(list(case.show(model, slices).logits(model)))
        truth = torch.from_numpy(np.stack([case.truth[k] for k in slices]))
        loss = region_dice_and_cross_entropy if decision == "regions" else dice_and_cross_entropy
        # Dice counts each pixel as often as windows show it, and its constant of 1 with them.
        expected = loss(torch.cat([logits] * examples.batch), torch.cat([truth] * examples.batch), IGNORE)
        torch.testing.assert_close(examples.loss(0, np.random.default_rng(0)), expected, rtol=2e-3, atol=2e-3)
        held_out = examples.without({(0, slices[0])})
        expected = loss(torch.cat([logits[1:]] * 2), torch.cat([truth[1:]] * 2), IGNORE)
        torch.testing.assert_close(held_out.loss(0, np.random.default_rng(0)), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("spec", [CUBES, replace(CUBES, patch=(8, 7), spacing=(1.0, 1.2))], ids=["3D", "2D"])
def test_windows_show_their_seed_at_changing_depths_and_often_over_a_label(plane, spec):
    model = windowed(spec)
    card = replace(model.card, input=replace(model.card.input, plane=plane))
    geometry = Geometry((40, 38, 36))
    volume = Volume(np.random.default_rng(0).integers(1, 200, geometry.shape).astype(np.int16), geometry)
    axis = array_axis(geometry, plane)
    mask = np.zeros(np.delete(geometry.shape, axis), np.uint16)
    mask[3, 33] = 1
    case = prepare_window_case(
        (volume,), [Seed("c", Path("c"), "x", plane, 20, ("part-1", "part-2"), mask)], card, spec
    )
    ((k, truth),) = case.truth.items()
    random, depths, over = np.random.default_rng(0), set(), 0
    for _ in range(100):
        start = draw_start(case, k, random)
        sides = zip(start, spec.window, case.image.shape[1:], strict=True)
        assert all(0 <= at <= at + side <= n for at, side, n in sides)
        assert k in case.inside(case.axis, start[case.axis])
        depths.add(start[case.axis])
        rows, columns = (case.inside(other, start[other]) for other in range(3) if other != case.axis)
        over += bool(truth[np.ix_(rows, columns)].any())
    assert over > 55
    assert len(depths) > (1 if spec.window[case.axis] > 1 else 0)


def test_regions_that_overlap_have_the_pixels_of_all_later_labels():
    truth = torch.tensor([[[0, 1, 2, IGNORE]]])
    sure = torch.tensor([[[[-20.0, 20.0, 20.0, 5.0]], [[-20.0, -20.0, 20.0, 5.0]]]])
    assert region_dice_and_cross_entropy(sure, truth, IGNORE) < 0.01
    assert region_dice_and_cross_entropy(-sure, truth, IGNORE) > 10
    nothing_known = torch.full_like(truth, IGNORE)
    assert torch.isfinite(region_dice_and_cross_entropy(sure, nothing_known, IGNORE))


class SlowClock:
    """A clock that tells `seconds` more each time it is asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, 0.0

    def __call__(self) -> float:
        self.now += self.seconds
        return self.now


def test_a_slow_computer_tunes_with_fewer_checks_and_says_so(case_files, tmp_path):
    model = saved(a_unet(BOXES), tmp_path / "old")
    budget = TimeBudget(5.0, 0.0, SlowClock(0.15))
    record = tuned(model, case_files, tmp_path / "new", budget, result=tmp_path / "result.nrrd")
    assert record.outcome.steps >= 1
    assert any("rounds with held-out SEEDs. Allow more" in note for note in record.outcome.notes)
    found, truth = read_labelmap(tmp_path / "result.nrrd"), read_labelmap(case_files.label)
    assert (found.array[list(case_files.slices)] == truth.array[list(case_files.slices)]).all()


def test_a_network_that_takes_longer_for_a_step_than_there_is_time_is_refused_with_the_time_it_needs(
    case_files, tmp_path
):
    model = saved(a_unet(BOXES), tmp_path / "old")
    with pytest.raises(InputError, match=r"found 30 s: one step takes \d+ s on this computer.") as refused:
        tuned(model, case_files, tmp_path / "new", TimeBudget(30.0, 0.0, SlowClock(9.0)))
    assert f"Allow {refused.value.advice['budget']} s" in str(refused.value)
    assert not (tmp_path / "new").exists()
    enough = TimeBudget(float(refused.value.advice["budget"]), 0.0, SlowClock(9.0))
    assert tuned(model, case_files, tmp_path / "new", enough).advised_budget is None


def test_where_there_is_time_for_few_steps_the_result_has_the_time_that_would_do(case_files, tmp_path):
    model = saved(a_unet(BOXES), tmp_path / "old")
    found = tuned(model, case_files, tmp_path / "new", TimeBudget(60.0, 0.0, SlowClock(1.0)))
    assert any("there was time for about" in note for note in found.outcome.notes)
    assert found.advised_budget is not None
    assert found.advised_budget > 60


def test_features_that_do_not_fit_into_memory_are_computed_at_each_step(case_files, tmp_path, monkeypatch):
    monkeypatch.setattr(window_tuning, "MAX_CACHE_BYTES", 1)
    model = saved(a_unet(BOXES), tmp_path / "old")
    assert tuned(model, case_files, tmp_path / "new").outcome.steps == 6


def test_slices_of_a_model_of_windows_are_proposed(case_files, tmp_path):
    model = saved(a_unet(BOXES, plane="coronal"), tmp_path / "old")
    volume = read_volume(case_files.image)
    found = [one.index for one in suggest(volume, model, 3, InferenceOptions()).slices]
    assert found == sorted(set(found))
    assert max(found) < volume.geometry.shape[array_axis(volume.geometry, "coronal")]


def test_accepted_cases_guard_a_model_of_windows(case_files, tmp_path):
    listed = tmp_path / "guard.csv"
    listed.write_text(f"image,label\n{case_files.image},{case_files.label}\n")
    record = tuned(saved(a_unet(BOXES), tmp_path / "old"), case_files, tmp_path / "new", guard=listed)
    assert (record.outcome.change.guard.kind, record.outcome.change.guard.n) == ("cases", 1)


def test_without_a_guard_set_it_is_said_what_changes_far_from_the_seeds(tmp_path):
    volume = Volume(np.random.default_rng(0).integers(1, 200, (30, 32, 32)).astype(np.int16), Geometry((32, 32, 30)))
    model = windowed(replace(CUBES, spacing=(1.0, 1.0, 1.0)), labels=1)
    truth = np.zeros(volume.array.shape, np.uint16)
    truth[3:6, 4:20, 4:20] = 1
    seeds = seeds_of(Labelmap(truth, volume.geometry), model.card, Path("i"), "x", (3, 4, 5))
    done = finetune(model, [(volume, seeds)], Run(FinetuneOptions(600.0), TimeBudget(600.0)))
    assert any("Far from the SEEDs (8 slices" in note for note in done.warnings)
    assert done.guard_kind == "none"


def test_a_new_structure_starts_from_a_model_of_slices_alone(case_files, tmp_path):
    from medtl.finetuning.new_structure import Structure

    model = saved(a_unet(BOXES), tmp_path / "old")
    files = TuningFiles(str(tmp_path / "new"), (case_files,), structure=Structure(("muscle",)))
    with pytest.raises(InputError, match="found small, which sees windows"):
        finetune_files.finetune_files(model, files, FinetuneOptions())


def test_the_parent_of_a_tuned_model_is_named_in_its_card(case_files, tmp_path):
    model = saved(a_unet(BOXES), tmp_path / "old")
    tuned(model, replace(case_files, slices=case_files.slices[:3]), tmp_path / "new")
    card = load_card(tmp_path / "new")
    assert card.parent.sha256 == model.sha256
    assert len(card.training["tuned"][-1]["seeds"]) == 3
