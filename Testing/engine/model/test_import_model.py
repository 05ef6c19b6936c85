"""Models that nnU-Net 2 trained become bundles in the user's store, whole or not at all."""

import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import save as save_bundle
from small_results import a_checkpoint, change, some_weights, write_results

from medtl.errors import Cancelled, InputError, MedTLError, ModelError
from medtl.model import import_model as imports
from medtl.model import store as models
from medtl.model.bundle import load_weights
from medtl.model.card import load_card
from medtl.model.import_model import import_model
from medtl.model.networks import build
from medtl.model.nnunet import DATASET, PLANS, ImportOptions

pytestmark = pytest.mark.pickles

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Path:
    """The user's store, empty; no shipped models."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(models, "shipped_folders", lambda: ())
    return tmp_path / "home" / "models"


@pytest.fixture
def quick(monkeypatch):
    """Checkpoints are read in this process, whose memory must not be limited."""
    from medtl.model import checkpoint

    def convert(source, target, progress):
        progress()
        try:
            facts = checkpoint.convert(checkpoint.NNUNET, source, target)
        except ModelError as error:
            raise ModelError(f"{source.name}: {error}") from error
        return checkpoint.Checkpoint(**facts)

    monkeypatch.setattr(checkpoint, "limit_memory", lambda size: None)
    monkeypatch.setattr(imports, "convert_checkpoint", convert)


@pytest.fixture
def results(tmp_path) -> Path:
    return write_results(tmp_path / "given")


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return target


def is_empty(store: Path) -> bool:
    return not store.exists() or list(store.iterdir()) == []


def test_a_results_folder_becomes_a_bundle_that_gives_the_same_logits(results, store):
    folder = import_model(results)
    assert folder == store / "Tiny-3d_fullres"
    assert [path.name for path in store.iterdir()] == [folder.name]
    card = load_card(folder)
    models.check_weights(folder, card)
    for seed, spec in enumerate(card.networks):
        image = torch.rand(1, 1, 4, 8, 8)
        wanted, found = (build(spec.name, dict(spec.arguments)).eval() for _ in range(2))
        wanted.load_state_dict({k: v for k, v in some_weights(seed).items() if k in wanted.state_dict()})
        found.load_state_dict(load_weights(folder, spec.prefix))
        with torch.inference_mode():
            assert torch.equal(wanted(image), found(image))
    about = card.training["imported"]
    assert (about["folder"], about["folds"]) == (results.name, ["0", "1"])
    assert about["files"].keys() == {PLANS, DATASET, *(f"fold_{n}/checkpoint_final.pth" for n in (0, 1))}
    assert "--orientation ras" in (folder / "docs" / "README.md").read_text()
    assert (folder / "LICENSE").read_text().startswith("unknown")


@pytest.mark.parametrize("form", ["results", "dataset", "zip of results", "zip of dataset"])
def test_every_form_gives_the_same_model(form, results, store, tmp_path, quick):
    (results / "LICENSE").write_text("CC0\n")
    (results / "fold_0" / "validation").mkdir()
    (results / "fold_0" / "validation" / "evil.py").write_text("")
    source = results if "results" in form else results.parent
    folder = import_model(zipped(source, tmp_path / "m.zip") if "zip" in form else source)
    assert folder == store / "Tiny-3d_fullres"
    assert load_card(folder).training["imported"]["folder"] == results.name
    assert (folder / "LICENSE").read_text() == "CC0\n"
    assert sorted(file.name for file in folder.rglob("*.*")) == ["README.md", "metadata.json", "model.safetensors"]


def test_a_bundle_is_imported_as_before_and_takes_no_options_but_a_name(store, tmp_path):
    save_bundle(tmp_path / "small")
    for options in (ImportOptions(folds=("0",)), ImportOptions(name="other", channels=("FLAIR",))):
        with pytest.raises(InputError, match=r"Expected a model of nnU-Net 2 for these options .*, found none"):
            import_model(tmp_path / "small", options)
    with pytest.raises(InputError, match="Expected a name of up to 64 letters"):
        import_model(tmp_path / "small", ImportOptions(name="../other"))
    assert import_model(tmp_path / "small") == store / "small"
    with pytest.raises(ModelError, match="found nothing at"):
        import_model(tmp_path / "none")


def test_the_import_of_bundles_names_the_command_that_takes_models_of_nnunet(results, store, tmp_path):
    with pytest.raises(ModelError, match=r"found a model of nnU-Net\. Import it by the command `medtl import`"):
        models.import_bundle(zipped(results, tmp_path / "m.zip"))
    assert is_empty(store)


def test_of_several_configurations_one_is_chosen(tmp_path, store, quick):
    write_results(tmp_path, folder="Dataset009_Tiny/nnUNetTrainer__nnUNetPlans__2d")
    write_results(tmp_path)
    with pytest.raises(ModelError, match=r"found 2; there are nnUNetTrainer__nnUNetPlans__2d, .*3d_fullres"):
        import_model(tmp_path / "Dataset009_Tiny")
    with pytest.raises(ModelError, match=r"one results folder of 3d_lowres .* found 0; there are"):
        import_model(tmp_path / "Dataset009_Tiny", ImportOptions(configuration="3d_lowres"))
    folder = import_model(tmp_path / "Dataset009_Tiny", ImportOptions(configuration="3d_fullres", name="mine"))
    assert folder == store / "mine"
    assert load_card(folder).training["imported"]["folder"].endswith("3d_fullres")


@pytest.mark.parametrize(
    ("there", "asked", "expected"),
    [
        (("0", "1", "all"), None, ["0", "1"]),
        (("all",), None, ["all"]),
        (("0", "1", "all"), ("all",), ["all"]),
        (("0", "1"), ("all",), ["0", "1"]),
        (("0", "1", "10"), ("10", "0"), ["10", "0"]),
    ],
)
def test_folds_are_chosen(there, asked, expected, tmp_path, quick):
    folder = import_model(write_results(tmp_path, there), ImportOptions(folds=asked))
    card = load_card(folder)
    assert [spec.prefix for spec in card.networks] == [f"fold_{fold}." for fold in expected]
    assert card.training["imported"]["folds"] == expected


def test_the_best_checkpoint_serves_where_the_final_one_is_missing(results, quick):
    (results / "fold_0" / "checkpoint_final.pth").rename(results / "fold_0" / "checkpoint_best.pth")
    shutil.copy(results / "fold_0" / "checkpoint_best.pth", results / "fold_1")
    files = load_card(import_model(results)).training["imported"]["files"]
    assert {"fold_0/checkpoint_best.pth", "fold_1/checkpoint_final.pth"} < files.keys()
    assert "fold_1/checkpoint_best.pth" not in files


def test_the_configuration_is_the_one_that_the_checkpoint_states(results, quick):
    change(results / PLANS, lambda plans: plans["configurations"].update(other=plans["configurations"]["3d_fullres"]))
    folder = results.rename(results.with_name("nnUNetTrainer__nnUNetPlans__other"))
    assert load_card(import_model(folder)).training["imported"]["configuration"] == "3d_fullres"


def spoil_fold(results: Path, **more) -> None:
    torch.save({**a_checkpoint(), **more}, results / "fold_1" / "checkpoint_final.pth")


REFUSED = {
    "a second stage": (
        lambda r: change(r / PLANS, lambda p: p["configurations"]["3d_fullres"].update(previous_stage="3d_lowres")),
        "second stage of a cascade",
    ),
    "no fold": (lambda r: [shutil.rmtree(r / f"fold_{n}") for n in (0, 1)], "Expected a fold with .* found none"),
    "other trainers": (lambda r: spoil_fold(r, trainer_name="Mine"), "trained alike, found other settings in fold_1"),
    "another network": (
        lambda r: spoil_fold(r, network_weights=some_weights(features=[2, 8])),
        "in fold_1/checkpoint_final.pth are not those of the network",
    ),
    "a layer more": (
        lambda r: spoil_fold(r, network_weights={**some_weights(), "extra.weight": torch.ones(2)}),
        "1 layers differ, the first 'extra.weight'",
    ),
    "a damaged fold": (
        lambda r: (r / "fold_1" / "checkpoint_final.pth").write_bytes(b"PK\x03\x04"),
        "damaged, cut off",
    ),
    "a link": (
        lambda r: [
            (r / "fold_0" / "checkpoint_final.pth").rename(r.parent / "x"),
            (r / "fold_0" / "checkpoint_final.pth").symlink_to(r.parent / "x"),
        ],
        "found a link",
    ),
    "nnU-Net 1": (lambda r: (r / "plans.pkl").write_bytes(b""), "a model of nnU-Net 1"),
    "a model of nnU-Net 1": (lambda r: (r / "fold_0" / "model_final_checkpoint.model").write_text(""), "of nnU-Net 1"),
    "no dataset.json": (lambda r: (r / DATASET).unlink(), r"configs/metadata\.json"),
    "another configuration": (
        lambda r: change(r / PLANS, lambda p: p["configurations"].update(x=p["configurations"].pop("3d_fullres"))),
        "no '3d_fullres', but x",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_imported_is_refused_and_nothing_is_left(spoil, message, results, store, quick):
    spoil(results)
    with pytest.raises(ModelError, match=message) as raised:
        import_model(results)
    assert "\n" not in str(raised.value)
    assert ".part-" not in str(raised.value)
    assert is_empty(store)


def test_a_fold_that_is_not_there_is_refused_with_those_there_are(results, store):
    with pytest.raises(ModelError, match=r"Expected fold 4 with .* found 0, 1\."):
        import_model(results, ImportOptions(folds=("0", "4")))
    assert is_empty(store)


@pytest.mark.parametrize("name", ["", "a b", "../a", "con"])
def test_a_name_that_cannot_be_is_refused(name, results):
    with pytest.raises(InputError, match="Expected a name of up to 64 letters"):
        import_model(results, ImportOptions(name=name))


def test_a_name_that_is_taken_is_refused_before_the_other_folds_are_read(results, store, quick):
    import_model(results)
    before = (store / "Tiny-3d_fullres" / "models" / "model.safetensors").read_bytes()
    (results / "fold_1" / "checkpoint_final.pth").write_bytes(b"")
    with pytest.raises(ModelError, match="A model named Tiny-3d_fullres is here already"):
        import_model(results)
    assert (store / "Tiny-3d_fullres" / "models" / "model.safetensors").read_bytes() == before
    assert [path.name for path in store.iterdir()] == ["Tiny-3d_fullres"]


def test_of_two_imports_of_one_name_at_once_one_wins(results, store):
    both, answers = threading.Barrier(2), []

    def meet(stage: str, fraction: float) -> None:
        if stage == "write" and fraction == 0.0:  # both have found the name free
            both.wait(60)

    def run() -> None:
        try:
            answers.append(import_model(results, progress=meet))
        except MedTLError as error:
            answers.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(map(str, answers)) == sorted(
        [
            str(store / "Tiny-3d_fullres"),
            "A model named Tiny-3d_fullres is here already. Delete it first, or import the new one "
            "under another name: medtl import PATH --name NAME",
        ]
    )
    assert [path.name for path in store.iterdir()] == ["Tiny-3d_fullres"]


def test_a_network_too_large_for_the_memory_is_refused_before_the_other_folds_are_read(
    results, store, monkeypatch, quick
):
    monkeypatch.setattr(imports, "free_memory", lambda: 1_000)
    (results / "fold_1" / "checkpoint_final.pth").write_bytes(b"")
    with pytest.raises(ModelError, match=r"needs about .* GB of memory for 2 networks and windows of 4 x 8 x 8, found"):
        import_model(results)
    assert is_empty(store)


@pytest.mark.parametrize("stage", ["read", "write"])
def test_cancel_leaves_nothing(stage, results, store):
    def cancel(now: str, fraction: float) -> None:
        if now == stage:
            raise Cancelled

    with pytest.raises(Cancelled):
        import_model(results, progress=cancel)
    assert is_empty(store)


def test_progress_goes_on_from_fold_to_fold(results, quick):
    calls = []
    import_model(results, progress=lambda stage, fraction: calls.append((stage, fraction)))
    assert list(dict.fromkeys(calls)) == [("read", 0.0), ("read", 0.5), ("write", 0.0), ("write", 1.0)]


def test_a_full_disk_is_said_and_nothing_is_left(results, store, monkeypatch, quick):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(ModelError, match="No space left on device") as raised:
        import_model(results)
    assert ".part-" not in str(raised.value)
    assert is_empty(store)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_what_a_killed_import_left_is_deleted_by_the_next_one(results, store):
    with subprocess.Popen([sys.executable, "-m", "medtl", "import", str(results)], cwd=ROOT) as process:
        while process.poll() is None and (not store.exists() or not list(store.glob(".part-*/fold_0.json"))):
            time.sleep(0.01)
        process.kill()
    assert [path.name[:6] for path in store.iterdir()] == [".part-"]
    import_model(results)
    assert [path.name for path in store.iterdir()] == ["Tiny-3d_fullres"]


@pytest.mark.parametrize("name", ["../stray.pth", "/stray", "fold_0/../../stray"])
def test_a_zip_with_a_path_that_leads_out_is_refused(name, results, store, tmp_path):
    source = zipped(results, tmp_path / "m.zip")
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr(name, "evil")
    with pytest.raises(ModelError, match="leads out of it"):
        import_model(source)
    assert is_empty(store)


def test_a_zip_over_the_limit_is_refused(results, store, tmp_path, monkeypatch):
    source = zipped(results, tmp_path / "m.zip")
    monkeypatch.setattr(models, "MAX_BUNDLE_BYTES", 20_000)
    with pytest.raises(ModelError, match="Expected a bundle of at most"):
        import_model(source)
    assert is_empty(store)


SHARED = {
    "t2-3d": ("plainunet", "argmax", 1, (0, 1, 2)),
    "t2-2d-two-folds": ("plainunet", "argmax", 2, (0, 1)),
    "regions-resenc": ("residualunet", "regions", 1, (0, 1, 2)),
    "anisotropic": ("plainunet", "argmax", 1, (0, 1, 2)),
    "ct-25-classes": ("plainunet", "argmax", 1, ()),
}


@pytest.mark.parametrize("name", SHARED)
def test_models_of_nnunet_s_own_command_line_are_imported(name):
    given = ROOT.parent / "shared" / "nnunet" / name
    if not given.is_dir():
        pytest.skip("needs the results folders in ../shared/nnunet, which are not here")
    (source,) = given.glob("Dataset*")
    folder = import_model(source)
    card = load_card(folder)
    network, decision, folds, mirror = SHARED[name]
    assert (card.networks[0].name, card.decision, len(card.networks)) == (network, decision, folds)
    assert card.windows.mirror == mirror
    for spec in card.networks:
        built = build(spec.name, dict(spec.arguments)).eval()
        built.load_state_dict(load_weights(folder, spec.prefix))
        image = torch.from_numpy(np.zeros((1, len(card.input.channels), *card.windows.patch), np.float32))
        with torch.inference_mode():
            assert built(image).shape == (1, len(card.labels) + (decision == "argmax"), *card.windows.patch)
