"""A bundle under another name is the same model: weights, figures and parents stay, and it says what it was called."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_model import a_card, edit, save

from medtl.commands.cli import main
from medtl.errors import ModelError
from medtl.model import store as models
from medtl.model.bundle import load_model
from medtl.model.card import METADATA, Parent, load_card
from medtl.model.rename import rename
from medtl.model.store import export_bundle, import_bundle, list_models


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's store, empty; no shipped models."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(models, "shipped_folders", lambda: ())
    return tmp_path / "home" / "models"


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """A bundle with a parent, figures and a card for people."""
    parent, figures = Parent("first", "a" * 64, "oldest"), {"figures": {"dice": 0.9}}
    save(tmp_path / "small", replace(a_card(), parent=parent, training=figures))
    (tmp_path / "small" / "docs" / "README.md").write_text("# small\n\nDice 0.9.\n")
    return tmp_path / "small"


def test_the_command_imports_a_zip_under_another_name(tuned, store, tmp_path, capsys):
    before = {file: file.read_bytes() for file in tuned.rglob("*.*")}
    export_bundle(str(tuned), tmp_path / "m.zip")
    assert main(["import", str(tmp_path / "m.zip")]) == 0
    assert main(["import", str(tmp_path / "m.zip")]) == 1
    assert "import the new one under another name: medtl import PATH --name NAME" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "m.zip"), "--name", "again"]) == 0
    assert capsys.readouterr().out.strip() == str(store / "again")
    assert {entry.name: entry.problem for entry in list_models()} == {"again": "", "small": ""}
    ours, theirs = load_card(store / "again"), load_card(store / "small")
    training = {**theirs.training, "earlier_names": ["small"]}
    assert ours == replace(theirs, name="again", training=training)
    assert ours.family == "oldest"
    assert load_model("again", "cpu").card.sha256 == theirs.sha256
    text = (store / "again" / "docs" / "README.md").read_text()
    assert text == "# again\n\nThe model small, imported under this name.\n\nDice 0.9.\n"
    assert {file: file.read_bytes() for file in tuned.rglob("*.*")} == before


def test_every_earlier_name_is_kept_and_the_same_name_changes_nothing(tuned):
    rename(tuned, "second")
    rename(tuned, "third")
    assert load_card(tuned).training["earlier_names"] == ["small", "second"]
    before = (tuned / METADATA).read_bytes()
    rename(tuned, "third")
    assert (tuned / METADATA).read_bytes() == before


def test_a_card_for_people_with_another_title_stays_as_it_is(tuned):
    (tuned / "docs" / "README.md").write_text("# Another title\n")
    rename(tuned, "second")
    assert (tuned / "docs" / "README.md").read_text() == "# Another title\n"
    (tuned / "docs" / "README.md").unlink()
    edit(tuned, lambda block: block["training"].update(earlier_names="no list"))
    rename(tuned, "third")
    assert load_card(tuned).training["earlier_names"] == ["second"]


@pytest.mark.parametrize("damage", ["metadata", "weights"])
def test_a_damaged_bundle_is_refused_as_without_a_name(damage, tuned, store):
    if damage == "metadata":
        (tuned / METADATA).write_text("{")
    else:
        edit(tuned, lambda block: block.update(sha256="b" * 64))
    messages = []
    for name in (None, "again"):
        with pytest.raises(ModelError) as raised:
            import_bundle(tuned, name=name)
        messages.append(str(raised.value).replace("again", "small"))
    assert messages[0] == messages[1]
    assert str(tuned) in messages[0]
    assert list(store.iterdir()) == []


def test_a_name_that_is_taken_in_other_letters_is_refused(tuned, store):
    import_bundle(tuned)
    with pytest.raises(ModelError, match="A model named SMALL is here already"):
        import_bundle(tuned, name="SMALL")
    assert json.loads((store / "small" / METADATA).read_text())["medtl"]["name"] == "small"
