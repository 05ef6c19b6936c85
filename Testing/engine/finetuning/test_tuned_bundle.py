"""What a tuned bundle has of its parent and of the cases that it was tuned on: slices and labels, no name, no hash."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import small_model
import torch

from medtl.commands.cli import main
from medtl.errors import ModelError
from medtl.finetuning.run import FinetuneOptions
from medtl.finetuning.tuned_bundle import Unfinished, inherited_from, tuned_card, tuning_record, write_bundle
from medtl.model.bundle import load_model, load_weights, save_bundle
from medtl.model.card import METADATA, load_card
from medtl.model.networks import build
from medtl.model.store import WEIGHTS, export_bundle, import_bundle
from medtl.model.tuning_records import anonymise_readme, anonymise_training

OLD = {
    "data": "heads",
    "split": {"train": {"p1": "ab"}},
    "tuned": [
        {
            "parent": {"name": "small", "sha256": "cd"},
            "notes": ["A note."],
            "seeds": [
                {"case": "DOE^JOHN.nrrd", "image_sha256": "aa11", "slice": 3, "labels": ["lesion"]},
                {"case": "ROE.nii.gz", "image_sha256": "bb22", "slice": 3, "labels": ["lesion"]},
                {"case": "DOE^JOHN.nrrd", "image_sha256": "aa11", "slice": 9, "labels": ["lesion"]},
                {"case": "DOE^JOHN.nrrd", "image_sha256": "cc33", "slice": 9, "labels": ["lesion"]},
            ],
        }
    ],
}


def test_cases_are_numbered_by_image_and_hashes_dropped_and_the_rest_stays():
    found = anonymise_training(OLD)
    (record,) = found["tuned"]
    assert [(seed["case"], seed["slice"]) for seed in record["seeds"]] == [
        ("case 1", 3),
        ("case 2", 3),
        ("case 1", 9),
        ("case 3", 9),
    ]
    assert all(seed["labels"] == ["lesion"] for seed in record["seeds"])
    assert not any(word in json.dumps(found) for word in ("DOE", "ROE", "aa11", "bb22", "cc33"))
    assert record["parent"] == OLD["tuned"][0]["parent"]
    assert record["notes"] == ["A note."]
    assert {**found, "tuned": None} == {**OLD, "tuned": None}


def test_what_is_numbered_already_stays_as_it_is():
    once = anonymise_training(OLD)
    assert anonymise_training(once) == once


def test_a_record_of_another_form_stays_as_it_is():
    for training in ({}, {"data": 1}, {"tuned": "x"}, {"tuned": [1, {"seeds": 3}, {"seeds": []}]}):
        assert anonymise_training(training) == training
        assert anonymise_readme("text", training) == "text"


def test_the_card_for_people_has_the_same_numbers():
    lines = [f"- {seed['case']}, slice {seed['slice']}" for seed in OLD["tuned"][0]["seeds"]]
    text = "# new\n\non these SEED slices:\n\n" + "\n".join(lines) + "\n\nVerdict: same.\n"
    found = anonymise_readme(text, OLD)
    assert found == (
        "# new\n\non these SEED slices:\n\n- case 1, slice 3\n- case 2, slice 3\n- case 1, slice 9\n"
        "- case 3, slice 9\n\nVerdict: same.\n"
    )
    assert anonymise_readme(found, anonymise_training(OLD)) == found
    assert anonymise_readme(text.replace("\n", "\r\n"), OLD) == found, "as Windows writes it"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_model.save(tmp_path / "small")
    (tmp_path / "secret").write_text('{"authors": "secret"}')
    return tmp_path / "small"


def test_the_licence_and_the_authors_are_the_parents(folder):
    found = inherited_from(load_model(str(folder), "cpu"))
    assert found.licence == "Test licence\n"
    assert found.facts == {"authors": "A test", "copyright": "See LICENSE"}


@pytest.mark.parametrize("half", [True, False], ids=["fp16", "as imported"])
def test_a_tuned_model_keeps_the_precision_of_its_parent(half, tmp_path):
    card = small_model.a_card()
    torch.manual_seed(1)
    weights = {
        "net." + key: value for key, value in build("basicunet2d", card.networks[0].arguments).state_dict().items()
    }
    save_bundle(tmp_path / "parent", card, weights, "", "", {}, half)
    model = load_model(str(tmp_path / "parent"), "cpu")
    record = tuning_record(model, [], FinetuneOptions(), Unfinished(0.0))
    states = [network.state_dict() for network in model.networks]
    write_bundle(tmp_path / "tuned", tuned_card(model.card, "tuned", record), states, inherited_from(model))
    sizes = [(tmp_path / name / WEIGHTS).stat().st_size for name in ("parent", "tuned")]
    assert sizes[0] == sizes[1]
    found = load_weights(tmp_path / "tuned", "net.")
    assert all(torch.equal(value, found[name]) for name, value in model.networks[0].state_dict().items())


@pytest.mark.parametrize("name", ["LICENSE", METADATA])
def test_a_link_in_the_parent_copies_no_file(name, folder):
    model = load_model(str(folder), "cpu")
    (folder / name).unlink()
    (folder / name).symlink_to(folder.parent / "secret")
    with pytest.raises(ModelError, match="found a link"):
        inherited_from(model)


def test_a_licence_that_is_missing_or_of_megabytes_is_said(folder):
    model = load_model(str(folder), "cpu")
    (folder / "LICENSE").write_text("x" * 2_000_000)
    with pytest.raises(ModelError, match="at most 1 MB"):
        inherited_from(model)
    (folder / "LICENSE").unlink()
    with pytest.raises(ModelError, match=r"Expected LICENSE in .*, found none"):
        inherited_from(model)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The user's store, empty."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


def test_an_old_bundle_is_exported_without_names_and_stays_itself(store, tmp_path):
    folder = tmp_path / "small"
    small_model.save(folder, replace(small_model.a_card(), training=OLD))
    lines = [f"- {seed['case']}, slice {seed['slice']}" for seed in OLD["tuned"][0]["seeds"]]
    (folder / "docs" / "README.md").write_text("\n".join(lines))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    export_bundle(str(folder), tmp_path / "small.zip")
    with zipfile.ZipFile(tmp_path / "small.zip") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert not any(word in content for word in (b"DOE", b"ROE", b"aa11", b"bb22", b"cc33"))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    imported = load_card(import_bundle(tmp_path / "small.zip"))
    assert dict(imported.training) == anonymise_training(OLD)
    assert replace(imported, training={}) == replace(load_card(folder), training={})


def test_a_bundle_that_names_no_image_is_exported_as_it_is(tmp_path):
    folder = tmp_path / "small"
    small_model.save(folder, replace(small_model.a_card(), training=anonymise_training(OLD)))
    export_bundle(str(folder), tmp_path / "small.zip")
    with zipfile.ZipFile(tmp_path / "small.zip") as archive:
        assert archive.read(f"small/{METADATA}") == (folder / METADATA).read_bytes()


def test_the_list_of_models_says_which_is_the_best_of_an_unfinished_tuning(store, capsys):
    store.mkdir(parents=True)
    record = {"unfinished": True, "seeds": []}
    small_model.save(store / "small.best-2", replace(small_model.a_card(), training={"tuned": [record]}))
    assert main(["models"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("small.best-2")]
    assert line.endswith("best model of an unfinished tuning")
