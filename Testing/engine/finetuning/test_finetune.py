"""Fine-tuning on SEED slices: what is learned, what stays, and what is kept when things go wrong."""

import copy
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import failing_reader
import numpy as np
import pytest
import small_model
import torch

from medtl import worker_jobs
from medtl.commands.cli import main
from medtl.errors import Cancelled, InputError, ModelError
from medtl.finetuning import files as finetune_files
from medtl.finetuning import finetune as finetune_module
from medtl.finetuning import guard, slice_tuning, tuned_bundle
from medtl.finetuning import run as run_module
from medtl.finetuning.decoder import Tuning
from medtl.finetuning.features import prepare_case
from medtl.finetuning.files import CaseInput, TuningFiles, TuningResult
from medtl.finetuning.finetune import finetune
from medtl.finetuning.guard import NO_CHANGE, Change, Guard, verdict
from medtl.finetuning.output import TuningOutput
from medtl.finetuning.run import FinetuneOptions, Run, TimeBudget
from medtl.finetuning.seed import Seed, read_seeds, seeds_of, write_seeds
from medtl.io import read
from medtl.io.isolated import IsolatedReader
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.model.bundle import Model, load_model
from medtl.model.card import METADATA, InputSpec, load_card
from medtl.phantom import head
from medtl.progress import Progress, no_progress
from medtl.segmentation import segment_of
from medtl.typed_json import encode
from medtl.volume import voxels_sha256
from medtl.worklist.case_list import make_list, open_list
from medtl.worklist.find import find_cases

SLICES = (3, 4, 5, 6, 7)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A few steps instead of a minute's, however busy the machine is, and a store of our own."""
    monkeypatch.setattr(run_module, "MIN_BUDGET", 0.1)
    monkeypatch.setattr(finetune_module, "Tuning", lambda seed: Tuning(seed=seed, steps=12, copies=3))
    monkeypatch.setattr(guard, "HEADS", range(1001, 1002))
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def case_files(tmp_path_factory: pytest.TempPathFactory) -> CaseInput:
    """A small head with its lesion, and five SEED slices."""
    folder = tmp_path_factory.mktemp("case")
    made = head(3, (64, 64, 12), (3.0, 3.0, 8.0))
    there = np.flatnonzero(made.labelmap.array.any(axis=(1, 2)))
    write_image(folder / "head.nrrd", made.volume.array, made.volume.geometry)
    write_labelmap(folder / "truth.nrrd", replace(made.labelmap, segments=()))
    middle = int(there.mean())
    return CaseInput(folder / "head.nrrd", folder / "truth.nrrd", tuple(range(middle - 2, middle + 3)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    small_model.save(folder)
    return folder


@pytest.fixture
def model(bundle: Path) -> Model:
    return load_model(str(bundle), "cpu")


def hashes(folder: Path) -> dict[str, str]:
    files = (f for f in sorted(folder.rglob("*")) if f.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def tuned(model: Model, case: CaseInput, output: Path | str, budget: float = 60.0, **more: object) -> TuningResult:
    progress, reader = more.pop("progress", no_progress), more.pop("reader", read)
    options = FinetuneOptions(budget, **more)
    return finetune_files.finetune_files(model, TuningFiles(str(output), (case,)), options, progress, reader=reader)


def a_run(**more: object) -> Run:
    options = FinetuneOptions()
    return Run(options, TimeBudget(options.budget), **more)


def stop_at(stage: str, share: float) -> Progress:
    def progress(at: str, fraction: float) -> None:
        if at == stage and fraction >= share:
            raise Cancelled("Stopped by the test.")

    return progress


def test_tuning_moves_the_decoder_alone_and_never_the_model_that_was_given(model, case_files):
    volume = read_volume(case_files.image)
    seeds = seeds_of(read_labelmap(case_files.label), model.card, case_files.image, "x", case_files.slices)
    before = {k: v.clone() for k, v in model.networks[0].state_dict().items()}
    done = finetune(model, [(volume, seeds)], a_run())
    after = done.model.networks[0].state_dict()
    assert all(torch.equal(before[k], v) for k, v in model.networks[0].state_dict().items())
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert moved
    assert not any(k.startswith(("unet.conv_0", "unet.down_")) for k in moved), "the encoder stays"
    assert not any("running_" in k or "num_batches" in k for k in moved), "batch statistics stay"


def test_the_loss_falls_and_is_told_as_it_does(model, case_files, monkeypatch):
    losses: list[float] = []
    volume = read_volume(case_files.image)
    seeds = seeds_of(read_labelmap(case_files.label), model.card, case_files.image, "x", case_files.slices)
    eager = Tuning(rate=1e-2, pull=0.0, copies=3, steps=40)
    monkeypatch.setattr(finetune_module, "Tuning", lambda seed: eager)
    patient = Run(FinetuneOptions(), TimeBudget(3600.0), on_values=lambda values: losses.append(values["loss"]))
    finetune(model, [(volume, seeds)], patient)
    assert len(losses) == 3 * 40, "two rounds without a quarter of the SEEDs and one with all"
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[-40:-35])


def test_cases_of_one_name_are_held_out_each_by_itself(model, case_files, monkeypatch):
    """Four images called alike, one SEED slice each: where they were one case, nothing would be left to tune on."""
    volume = read_volume(case_files.image)
    seeds = seeds_of(read_labelmap(case_files.label), model.card, case_files.image, "x", case_files.slices[:1])
    monkeypatch.setattr(finetune_module, "Tuning", lambda seed: Tuning(copies=1, steps=1))
    done = finetune(model, [(volume, seeds)] * 4, a_run())
    assert [(one.case, one.others) for one in done.held_out] == [(1, ()), (3, ())]


@pytest.mark.parametrize(
    "direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, 1, 0, 0, 0, -1), (0, 0, 1, 1, 0, 0, 0, 1, 0)]
)
def test_a_seed_lies_on_the_pixels_that_were_drawn(direction):
    made = head(3, (48, 40, 40), (4.0, 4.0, 4.0), direction=direction)
    card = replace(small_model.a_card(), input=InputSpec(spacing=None))
    seeds = seeds_of(replace(made.labelmap, segments=()), card, Path("i"), "x", None)
    case = prepare_case(made.volume, seeds, card.input, 16)
    bright = np.concatenate([case.images([k])[0, 0].numpy()[t == 1] for k, t in case.truth.items()])
    around = np.concatenate([case.images([k])[0, 0].numpy()[t == 0] for k, t in case.truth.items()])
    assert sum(int((t == 1).sum()) for t in case.truth.values()) == int(made.labelmap.array.sum())
    assert np.median(bright) > np.median(around[around > -0.5]) + 0.2, "the lesion is what is bright"


def test_a_tuned_model_is_a_bundle_that_names_its_parent(model, bundle, case_files, tmp_path):
    parent = hashes(bundle)
    record = tuned(model, case_files, tmp_path / "new")
    card = load_card(tmp_path / "new")
    assert hashes(bundle) == parent
    assert card.parent is not None
    assert (card.parent.name, card.parent.sha256) == ("small", model.sha256)
    assert (card.name, card.input, card.labels) == ("new", model.card.input, model.card.labels)
    listed = card.training["tuned"][-1]["seeds"]
    assert [one["slice"] for one in listed] == list(case_files.slices)
    assert listed[0] == {"case": "case 1", "slice": case_files.slices[0], "labels": ["lesion"]}
    assert load_model(str(tmp_path / "new"), "cpu").sha256 == record.sha256
    assert record.outcome.verdict in ("better", "same", "worse")
    assert record.outcome.change.seeds.n == 2
    assert {f.name for f in tmp_path.iterdir()} - {"home"} == {"new"}
    assert (tmp_path / "new" / "LICENSE").read_text() == (bundle / "LICENSE").read_text()


def test_a_tuned_model_can_be_tuned_again_and_remembers_both(model, case_files, tmp_path):
    tuned(model, case_files, tmp_path / "one")
    second = tuned(load_model(str(tmp_path / "one"), "cpu"), case_files, tmp_path / "two")
    card = load_card(tmp_path / "two")
    assert [record["parent"]["name"] for record in card.training["tuned"]] == ["small", "one"]
    assert second.parent.name == "one"


def test_a_tuned_model_and_what_is_tuned_from_it_write_the_segments_of_the_first(model, case_files, tmp_path):
    tuned(model, case_files, tmp_path / "one")
    again = load_model(str(tmp_path / "one"), "cpu")
    tuned(again, case_files, tmp_path / "two")
    for card in (model.card, again.card, load_card(tmp_path / "two")):
        written = segment_of(card, card.labels[0])
        assert (written.id, dict(written.tags)["MedTL.model"]) == ("small.lesion", "small")
        assert dict(written.tags)["DICOM.SegmentAlgorithmName"] == f"{card.name} {card.version}"


def test_with_few_seeds_only_the_guard_set_speaks_and_it_is_said(model, case_files, tmp_path):
    record = tuned(model, replace(case_files, slices=case_files.slices[:3]), tmp_path / "new")
    assert record.outcome.before.seeds is None
    assert any("none was held out" in note for note in record.outcome.notes)


def test_accepted_cases_are_the_guard_set_when_they_are_given(model, case_files, tmp_path):
    listed = tmp_path / "guard.csv"
    listed.write_text(f"image,label\n{case_files.image},{case_files.label}\n")
    record = tuned(model, case_files, tmp_path / "new", guard=listed)
    assert record.outcome.change.guard.kind == "cases"
    assert record.outcome.change.guard.n == 1


def test_the_reviewed_cases_of_a_list_are_the_guard_set(model, case_files, tmp_path):
    (tmp_path / "list").mkdir()
    shutil.copy(case_files.image, tmp_path / "list" / "a.nrrd")
    shutil.copy(case_files.label, tmp_path / "list" / "a.seg.nrrd")
    listed = open_list(make_list(tmp_path / "list", find_cases(tmp_path / "list"), "beside"))
    listed.change(replace(listed.cases["a"], state="reviewed"))
    listed.close()
    record = tuned(model, case_files, tmp_path / "new", guard=tmp_path / "list")
    assert record.outcome.change.guard.kind == "cases"
    assert record.outcome.change.guard.n == 1


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("where", ["guard", "seeds"])
def test_an_image_that_crashes_the_reader_is_one_sentence_and_nothing_is_written(
    where, bundle, model, case_files, tmp_path, monkeypatch
):
    monkeypatch.setattr("medtl.io.isolated.IsolatedReader", partial(IsolatedReader, command=failing_reader.COMMAND))
    crash = tmp_path / "crash.nrrd"
    shutil.copy(case_files.image, crash)
    (tmp_path / "guard.csv").write_text(f"image,label\n{crash},{case_files.label}\n")
    sha256 = voxels_sha256(read_volume(crash).array)
    image = crash if where == "seeds" else case_files.image
    seeds = seeds_of(read_labelmap(case_files.label), model.card, image, sha256, case_files.slices)
    write_seeds(tmp_path / "seeds.json", seeds)
    request = {"model": str(bundle), "seeds": str(tmp_path / "seeds.json"), "output": str(tmp_path / "new")}
    options = {"guard": str(tmp_path / "guard.csv")} if where == "guard" else {}
    before = set(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"the reader crashed \(SIGSEGV\): .*crash.nrrd. Export it again"):
        worker_jobs.run_finetune({**request, "options": options}, no_progress)
    assert set(tmp_path.iterdir()) == before


def test_the_budget_is_kept(model, case_files, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune_module, "Tuning", lambda seed: Tuning(seed=seed, steps=1_000_000))
    record = tuned(model, case_files, tmp_path / "new", budget=5.0)
    assert record.outcome.seconds < 7.0, "a busy machine may take a little more"


class SlowClock:
    """A clock that tells `seconds` more each time it is asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, 0.0

    def __call__(self) -> float:
        self.now += self.seconds
        return self.now


def test_a_slow_computer_tunes_with_fewer_checks_and_says_so(model, case_files, tmp_path):
    """Each time that the clock is asked it is two seconds later: 5 s are used up before the first step."""
    budget = TimeBudget(5.0, 0.0, SlowClock(2.0))
    files = TuningFiles(str(tmp_path / "new"), (case_files,))
    options = FinetuneOptions(5.0, result=tmp_path / "result.nrrd")
    record = finetune_files.finetune_files(model, files, options, budget=budget)
    assert record.outcome.steps >= 1
    assert record.outcome.change.seeds.n == 0
    assert any("Left out: 2 of 2 rounds with held-out SEEDs" in note for note in record.outcome.notes)
    assert any("filled between the SEEDs" in note for note in record.outcome.notes)
    found, truth = read_labelmap(tmp_path / "result.nrrd"), read_labelmap(case_files.label)
    assert (found.array[list(case_files.slices)] == truth.array[list(case_files.slices)]).all()
    assert load_model(str(tmp_path / "new"), "cpu").sha256 == record.sha256


def test_cancel_keeps_the_best_so_far(model, bundle, case_files, tmp_path):
    parent = hashes(bundle)
    with pytest.raises(Cancelled, match=r"the best model so far is in .*new"):
        tuned(model, case_files, tmp_path / "new", progress=stop_at("tune", 0.6))
    card = load_model(str(tmp_path / "new"), "cpu").card
    assert card.training["tuned"][-1]["unfinished"]
    assert hashes(bundle) == parent
    assert {f.name for f in tmp_path.iterdir()} - {"home"} == {"new"}


def test_cancel_before_anything_was_learned_leaves_nothing(model, case_files, tmp_path):
    with pytest.raises(Cancelled, match=r"^Cancelled.$"):
        tuned(model, case_files, tmp_path / "new", progress=stop_at("encode", 0.0))
    assert [f.name for f in tmp_path.iterdir() if f.name != "home"] == []


def test_a_kill_leaves_the_best_so_far_beside_the_output(model, case_files, tmp_path):
    class Killed(BaseException):
        pass

    def progress(stage: str, fraction: float) -> None:
        if stage == "tune" and fraction > 0.6:
            raise Killed

    with pytest.raises(Killed):
        tuned(model, case_files, tmp_path / "new", progress=progress)
    left = [f for f in tmp_path.iterdir() if f.name.startswith("new.best-")]
    assert len(left) == 1
    assert load_model(str(left[0]), "cpu").card.parent is not None


def test_a_full_disk_leaves_neither_a_model_nor_pieces(model, bundle, case_files, tmp_path, monkeypatch):
    parent = hashes(bundle)

    def full(*arguments: object) -> None:
        raise InputError("Could not write the model: No space left on device.")

    monkeypatch.setattr(tuned_bundle, "save_bundle", full)
    with pytest.raises(InputError, match="No space left"):
        tuned(model, case_files, tmp_path / "new")
    assert [f.name for f in tmp_path.iterdir() if f.name != "home"] == []
    assert hashes(bundle) == parent


def test_memory_that_runs_short_means_fewer_copies_and_says_so(model, case_files, tmp_path, monkeypatch):
    real = slice_tuning.augmented_copies

    def short(model: Model, case: object, slices: object, count: int, random: object) -> object:
        if count > 4:
            raise MemoryError
        return real(model, case, slices, count, random)

    monkeypatch.setattr(slice_tuning, "augmented_copies", short)
    monkeypatch.setattr(finetune_module, "Tuning", lambda seed: Tuning(seed=seed, steps=12))
    record = tuned(model, case_files, tmp_path / "new")
    assert any("Memory is short: 4 copies" in note for note in record.outcome.notes)


def test_the_result_shows_seeds_as_drawn(model, case_files, tmp_path):
    result = tmp_path / "result.seg.nrrd"
    record = tuned(model, case_files, tmp_path / "new", result=result)
    found, truth = read_labelmap(result), read_labelmap(case_files.label)
    chosen = list(case_files.slices)
    assert (found.array[chosen] == truth.array[chosen]).all()
    assert found.segments[0].id == "small.lesion"
    assert record.blend_weight > 0
    assert found.geometry.close_to(truth.geometry)


def test_a_folder_of_the_user_beside_the_output_stays(model, case_files, tmp_path):
    mine = tmp_path / "new.best-1"
    mine.mkdir()
    (mine / "mine.txt").write_text("precious")
    tuned(model, case_files, tmp_path / "new")
    with pytest.raises(Cancelled):
        tuned(model, case_files, tmp_path / "other", progress=stop_at("tune", 0.6))
    assert {f.name for f in tmp_path.iterdir()} - {"home"} == {"new", "new.best-1", "other"}
    assert (mine / "mine.txt").read_text() == "precious"


def test_a_second_tuning_to_the_same_output_is_refused_at_once(model, case_files, tmp_path):
    with TuningOutput(tmp_path / "new"), pytest.raises(InputError, match="another one that writes there"):
        tuned(model, case_files, tmp_path / "new", progress=stop_at("prepare", 0.0))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("forced", [False, True])
def test_what_appears_at_the_outputs_meanwhile_stays_and_the_run_is_not_lost(model, case_files, tmp_path, forced):
    def progress(stage: str, fraction: float) -> None:
        if stage == "guard" and not (tmp_path / "new").exists():
            (tmp_path / "new").mkdir()
            (tmp_path / "result.nrrd").write_text("mine")

    record = tuned(
        model, case_files, tmp_path / "new", progress=progress, result=tmp_path / "result.nrrd", force=forced
    )
    assert list((tmp_path / "new").iterdir()) == []
    assert (record.output, record.name) == (str(tmp_path / "new-2"), "new-2")
    assert load_model(str(tmp_path / "new-2"), "cpu").card.name == "new-2"
    assert any("the model is in" in note for note in record.outcome.notes)
    written = tmp_path / ("result.nrrd" if forced else "result-2.nrrd")
    assert record.result == str(written)
    assert read_labelmap(written).geometry.close_to(read_labelmap(case_files.label).geometry)
    assert forced or (tmp_path / "result.nrrd").read_text() == "mine"


def test_a_result_that_cannot_be_written_does_not_lose_the_model(model, case_files, tmp_path):
    (tmp_path / "folder").mkdir()

    def progress(stage: str, fraction: float) -> None:
        if stage == "write" and (tmp_path / "folder").exists():
            (tmp_path / "folder").rmdir()

    record = tuned(model, case_files, tmp_path / "new", progress=progress, result=tmp_path / "folder" / "r.nrrd")
    assert record.result is None
    assert any("its result for this case is not" in note for note in record.outcome.notes)
    assert load_model(str(tmp_path / "new"), "cpu").sha256 == record.sha256


def broken(model: Model) -> Model:
    """The model with a decoder that gives NaN."""
    network = copy.deepcopy(model.networks[0])
    with torch.no_grad():
        network.unet.final_conv.bias.fill_(float("nan"))
    return replace(model, networks=(network,))


@pytest.mark.parametrize("slices", [SLICES, SLICES[:3]], ids=["some held out", "none held out"])
def test_a_model_whose_numbers_are_not_finite_is_not_tuned(model, case_files, tmp_path, slices):
    with pytest.raises(ModelError, match=r"Expected (a finite loss|finite numbers)"):
        tuned(broken(model), replace(case_files, slices=slices), tmp_path / "new")
    assert {f.name for f in tmp_path.iterdir()} - {"home"} == set()


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_tuning_that_diverges_ends_with_the_last_good_weights_and_says_so(
    model, case_files, tmp_path, monkeypatch, bad
):
    real, calls = slice_tuning.dice_and_cross_entropy, []

    def loss(logits: torch.Tensor, truth: torch.Tensor, ignore: int) -> torch.Tensor:
        calls.append(0)
        value = real(logits, truth, ignore)
        if len(calls) < 6:
            return value
        # The second is the loss itself, with a gradient that is not a number.
        return value * float("nan") if bad == "loss" else value + 0 * (value - value).sqrt()

    monkeypatch.setattr(slice_tuning, "dice_and_cross_entropy", loss)
    record = tuned(model, replace(case_files, slices=case_files.slices[:3]), tmp_path / "new")
    assert record.outcome.steps == 5
    assert any("The loss was not finite after 5 steps" in note for note in record.outcome.notes)
    card = load_card(tmp_path / "new")
    assert any("not finite" in note for note in card.training["tuned"][-1]["notes"])
    state = load_model(str(tmp_path / "new"), "cpu").networks[0].state_dict()
    assert all(torch.isfinite(value).all() for value in state.values())
    assert any(not torch.equal(value, model.networks[0].state_dict()[key]) for key, value in state.items())


def test_warnings_of_the_readers_reach_the_record_and_not_the_bundle(model, case_files, tmp_path):
    guarded = [shutil.copy(file, tmp_path / f"guard-{file.name}") for file in (case_files.image, case_files.label)]
    listed = tmp_path / "guard.csv"
    listed.write_text(f"image,label\n{guarded[0]},{guarded[1]}\n")
    reader = SimpleNamespace(
        read_volume=lambda path: replace(read_volume(path), warnings=(f"A warning of {path.name}.",)),
        read_labelmap=lambda path: replace(read_labelmap(path), warnings=(f"A warning of {path.name}.",)),
    )
    record = tuned(model, case_files, tmp_path / "new", guard=listed, reader=reader)
    files = (case_files.image, case_files.label, *guarded)
    assert {f"A warning of {file.name}." for file in files} <= set(record.outcome.notes)
    assert "A warning of" not in (tmp_path / "new" / METADATA).read_text()


def test_a_bundle_names_no_image_and_holds_no_hash_of_one(model, case_files, tmp_path):
    sha256 = voxels_sha256(read_volume(case_files.image).array)
    tuned(model, case_files, tmp_path / "new")
    texts = [(tmp_path / "new" / name).read_text() for name in (METADATA, "docs/README.md")]
    assert not any(word in text for text in texts for word in (case_files.image.name, sha256))
    assert f"- case 1, slice {case_files.slices[0]}" in texts[1]


def test_a_model_tuned_from_an_old_bundle_drops_the_names_that_it_holds(model, case_files, tmp_path):
    record = {"seeds": [{"case": "DOE.nrrd", "image_sha256": "ab12cd", "slice": 1, "labels": ["lesion"]}]}
    old = replace(model, card=replace(model.card, training={"tuned": [record]}))
    tuned(old, case_files, tmp_path / "new")
    text = (tmp_path / "new" / METADATA).read_text()
    assert "DOE" not in text
    assert "ab12cd" not in text
    assert len(load_card(tmp_path / "new").training["tuned"]) == 2


def test_a_licence_that_is_a_link_is_not_followed(bundle, case_files, tmp_path):
    shutil.copytree(bundle, tmp_path / "linked")
    (tmp_path / "secret").write_text("a key")
    (tmp_path / "linked" / "LICENSE").unlink()
    (tmp_path / "linked" / "LICENSE").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="found a link"):
        tuned(load_model(str(tmp_path / "linked"), "cpu"), case_files, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def wrong_place(**changes: object) -> Callable[[Seed], Seed]:
    return lambda seed: replace(seed, **changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wrong_place(index=10**9), r"Expected SEED slices from 0 to 11 of head.nrrd \(axial\), found 1000000000"),
        (wrong_place(index=12), "found 12"),
        (wrong_place(mask=np.ones((60, 60), np.uint16)), "masks of 64 x 64 pixels.*found 60 x 60"),
        (wrong_place(labels=("muscle",)), "Choose the model they are for"),
        (wrong_place(plane="coronal"), "Choose the model they are for"),
    ],
    ids=["far outside", "one outside", "another shape", "another label", "another plane"],
)
def test_seeds_that_are_no_slices_of_the_image_are_refused_before_anything_is_tuned(
    model, case_files, tmp_path, change, message
):
    sha256 = voxels_sha256(read_volume(case_files.image).array)
    seeds = seeds_of(read_labelmap(case_files.label), model.card, case_files.image, sha256, case_files.slices)
    write_seeds(tmp_path / "seeds.json", [*seeds[:4], change(seeds[4])])
    files = TuningFiles(str(tmp_path / "new"), seeds=tmp_path / "seeds.json")
    with pytest.raises(InputError, match=message):
        finetune_files.finetune_files(model, files, FinetuneOptions(), stop_at("encode", 0.0))
    assert not (tmp_path / "new").exists()


def test_a_result_over_an_image_of_the_list_is_refused(model, case_files, tmp_path):
    image = tmp_path / "head.nrrd"
    image.write_bytes(case_files.image.read_bytes())
    before = image.read_bytes()
    sha256 = voxels_sha256(read_volume(image).array)
    write_seeds(
        tmp_path / "seeds.json",
        seeds_of(read_labelmap(case_files.label), model.card, image, sha256, case_files.slices),
    )
    files = TuningFiles(str(tmp_path / "new"), seeds=tmp_path / "seeds.json")
    with pytest.raises(InputError, match="is an input"):
        finetune_files.finetune_files(model, files, FinetuneOptions(result=image, force=True))
    assert image.read_bytes() == before


def changed_label(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path, CaseInput], CaseInput]:
    def make(folder: Path, case: CaseInput) -> CaseInput:
        labelmap = read_labelmap(case.label)
        write_labelmap(folder / "label.nrrd", replace(labelmap, array=change(labelmap.array)))
        return replace(case, label=folder / "label.nrrd")

    return make


def elsewhere(folder: Path, case: CaseInput) -> CaseInput:
    labelmap = read_labelmap(case.label)
    moved = replace(labelmap.geometry, origin=(1.0, 2.0, 3.0))
    write_labelmap(folder / "label.nrrd", replace(labelmap, geometry=moved))
    return replace(case, label=folder / "label.nrrd")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (changed_label(lambda a: np.where(a > 0, 5, 0).astype(np.uint16)), "found the value 5 too"),
        (elsewhere, "Resample the labels onto the image"),
        (lambda folder, case: replace(case, slices=(99,)), "slices from 0 to 11"),
        (lambda folder, case: replace(case, slices=()), "at least one SEED slice"),
        (lambda folder, case: replace(case, image=folder / "absent.nrrd"), "absent.nrrd"),
    ],
    ids=["another label", "another grid", "no such slice", "nothing marked", "no image"],
)
def test_what_cannot_be_learned_from_is_refused_and_nothing_is_written(model, case_files, tmp_path, make, message):
    with pytest.raises(InputError, match=message):
        tuned(model, make(tmp_path, case_files), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"budget": 0.0}, "budget"), ({"budget": float("nan")}, "budget"), ({"strength": 3.0}, "strength")],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        FinetuneOptions(**options)


@pytest.mark.parametrize("name", ["two words", "-first", "größer", "x" * 65])
def test_a_name_that_no_model_can_have_is_refused_before_any_work(model, case_files, tmp_path, name):
    with pytest.raises(InputError, match="letters, digits"):
        tuned(model, case_files, tmp_path / "there" / name)


def test_without_a_guard_set_the_new_weights_lie_a_quarter_of_the_way_and_strength_says_how_far(
    model, case_files, tmp_path
):
    assert tuned(model, case_files, tmp_path / "new").outcome.alpha == 0.25
    assert tuned(model, case_files, tmp_path / "more", strength=2.0).outcome.alpha == 0.5


@pytest.mark.parametrize("fine_below", [1.0, 0.4, 0.2, 0.0])
def test_the_guard_brings_the_weights_as_near_to_the_old_ones_as_it_takes(model, monkeypatch, fine_below):
    at = []

    class States:
        def __init__(self) -> None:
            self.model = model

        def use(self, alpha: float) -> None:
            at.append(alpha)

    def scores(model, cases):
        return np.array([0.9 - 0.009, 0.9]) if at[-1] <= fine_below else np.array([0.8, 0.9])

    monkeypatch.setattr(guard, "scores", scores)
    watched = Guard("phantom heads", (None, None), np.array([0.9, 0.9]), 0.1)
    alpha, after = guard.largest_alpha(States(), watched, 0.5, a_run())
    assert alpha == at[-1]
    assert at == sorted(at, reverse=True)
    if fine_below:
        assert 0.6 * min(fine_below, 0.5) < alpha <= fine_below
        assert verdict(NO_CHANGE, Change(watched.before, after)) == "same"
    else:
        assert verdict(NO_CHANGE, Change(watched.before, after)) == "worse"


def test_heads_guard_a_model_that_knows_them(model, monkeypatch):
    assert guard.guard_set(model, None, 0.1, TimeBudget(60.0), no_progress).kind == "none", (
        "an untrained model knows no heads"
    )
    monkeypatch.setattr(guard, "MIN_HEAD_DICE", -1.0)
    found = guard.guard_set(model, None, 0.1, TimeBudget(60.0), no_progress)
    assert (found.kind, len(found.cases)) == ("phantom heads", 1)
    body = replace(model, card=replace(model.card, input=small_model.WINDOW))
    assert guard.guard_set(body, None, 0.1, TimeBudget(60.0), no_progress).kind == "none"


@pytest.mark.parametrize(
    ("seeds", "watched", "expected"),
    [
        ([0.1, 0.05], [0.0, 0.0], "better"),
        ([0.1, 0.05], [-0.02, -0.01], "worse"),
        ([-0.05, 0.0], [0.1], "worse"),
        ([0.0, 0.01], [0.0], "same"),
        ([], [0.05], "better"),
        ([], [], "same"),
        ([0.1], [-0.01], "better"),
    ],
)
def test_the_verdict_is_worse_when_either_falls_by_more_than_the_margin(seeds, watched, expected):
    changes = [Change(np.full(len(v), 0.5), 0.5 + np.array(v)) for v in (seeds, watched)]
    assert verdict(*changes) == expected


def test_the_command_prints_one_object_and_its_model_can_be_used_by_name(bundle, case_files, tmp_path, capsys):
    command = ["finetune", "--model", str(bundle), "--case", str(case_files.image), str(case_files.label)]
    slices = ",".join(map(str, case_files.slices))
    assert main([*command, "--slices", slices, "--output", "mine", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    places, figures = ["output", "name", "sha256", "parent"], ["verdict", "before", "after", "change"]
    assert list(record) == [*places, *figures, "alpha", "steps", "seconds", "notes"]
    assert [list(one) for one in record["change"].values()] == [["mean", "error", "n"], ["kind", "mean", "error", "n"]]
    assert Path(record["output"]) == tmp_path / "home" / "models" / "mine"
    assert load_model("mine", "cpu").sha256 == record["sha256"]
    assert main([*command, "--output", "mine"]) == 1
    assert "taken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slices", "1,2"], "give that first"),
        (["--case", "a", "b", "--slices", "one"], "expected --slices like"),
        ([], "give --case IMAGE LABEL or --seeds FILE"),
    ],
)
def test_a_wrong_use_of_the_command_is_said(arguments, message, capsys):
    assert main(["finetune", "--model", "m", "--output", "o", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_slices_belong_to_the_case_before_them():
    from medtl.commands.cli import build_parser

    words = ["--case", "a", "b", "--slices", "1,2", "--case", "c", "d", "--case", "e", "f", "--slices", "auto"]
    cases = build_parser().parse_args(["finetune", "--model", "m", "--output", "o", *words]).cases
    assert [(str(case.image), case.slices) for case in cases] == [("a", (1, 2)), ("c", None), ("e", None)]


def test_a_list_of_seeds_is_tuned_on_by_the_worker(bundle, model, case_files, tmp_path):
    sha256 = voxels_sha256(read_volume(case_files.image).array)
    seeds = seeds_of(read_labelmap(case_files.label), model.card, case_files.image, sha256, case_files.slices)
    write_seeds(tmp_path / "seeds.json", seeds)
    request = {"model": str(bundle), "seeds": str(tmp_path / "seeds.json"), "output": str(tmp_path / "new")}
    record = worker_jobs.run_finetune({**request, "options": {}}, no_progress)
    assert load_model(str(tmp_path / "new"), "cpu").sha256 == record.sha256
    wrong = [replace(seeds[0], sha256="0" * 64)]
    write_seeds(tmp_path / "seeds.json", wrong)
    assert read_seeds(tmp_path / "seeds.json")[0].sha256 == "0" * 64
    with pytest.raises(InputError, match="found another"):
        worker_jobs.run_finetune({**request, "output": str(tmp_path / "newer"), "options": {}}, no_progress)


def test_slices_are_proposed_evenly_over_what_the_model_found(bundle, case_files, capsys):
    assert main(["suggest", str(case_files.image), "--model", str(bundle), "-n", "3", "--json"]) == 0
    proposed = json.loads(capsys.readouterr().out)["slices"]
    numbers = [one["index"] for one in proposed]
    assert numbers == sorted(set(numbers))
    assert 1 <= len(numbers) <= 3
    request = {"model": str(bundle), "input": str(case_files.image), "options": {"count": 3}}
    assert encode(worker_jobs.run_suggest(request, no_progress))["slices"] == proposed
