"""Import of models: by the engine, with a question where there is something to choose."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import host
import pytest
import qt
import slicer
from panel_user import User, tip
from window_models import BRAIN, a_card, install

from medtl.model.nnunet import DATASET, PLANS
from medtl.model.store import user_store
from MedTLLib.jobs import imports
from MedTLLib.jobs.imports import Choices


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    slicer.app.userSettings().clear()
    host.new_scene()
    user = User(tmp_path / "worker")
    yield user
    user.close()
    host.new_scene()


def results(parent: Path, configuration: str = "3d_fullres", folds: tuple[str, ...] = ("0", "1")) -> Path:
    """A results folder of nnU-Net without content."""
    folder = parent / "Dataset7" / f"nnUNetTrainer__nnUNetPlans__{configuration}"
    for fold in folds:
        (folder / f"fold_{fold}").mkdir(parents=True)
        (folder / f"fold_{fold}" / "checkpoint_final.pth").write_bytes(b"")
    for name in (PLANS, DATASET):
        (folder / name).write_text("{}")
    return folder


def zipped(folder: Path) -> Path:
    """The folder as a zip."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path


def answer(number: int | None) -> Any:
    """What the user does in the dialog with the question: choose an entry, or cancel."""

    def press(dialog: Any) -> Any:
        if number is None:
            return qt.QDialog.Rejected
        dialog.findChild(qt.QComboBox, "choiceCombo").currentIndex = number
        return qt.QDialog.Accepted

    return press


def test_what_is_imported_is_a_zip_or_the_folder_of_the_file_that_was_chosen():
    assert imports.source_of("models/tuned.zip") == Path("models/tuned.zip")
    assert imports.source_of("models/tuned/configs/metadata.json") == Path("models/tuned")
    assert imports.source_of("results/Trainer__Plans__2d/plans.json") == Path("results/Trainer__Plans__2d")


def test_folds_and_configurations_are_offered_the_best_first(tmp_path):
    assert imports.offers(tmp_path) == [("", Choices())]
    assert imports.offers(results(tmp_path, folds=("all",))) == [("3d_fullres", Choices())]
    second = results(tmp_path, "2d", ("0", "1", "2"))
    assert imports.offers(second) == [
        ("2d: all 3 folds", Choices()),
        ("2d: only fold 0, 3 times as fast, less exact", Choices(folds=("0",))),
    ]
    both = [choices for _text, choices in imports.offers(zipped(second.parent))]
    assert both == [Choices("2d"), Choices("2d", ("0",)), Choices("3d_fullres")]


def test_the_request_has_what_the_user_chose(user, tmp_path):
    folder = results(tmp_path)
    host.answer(str(folder / PLANS), answer(1))
    user.ui.importButton.click()
    assert user.worker.requests == [{"job": "import", "input": str(folder), "options": {"folds": ["0"]}}]
    assert (user.ui.segmentButton.enabled, user.ui.importButton.enabled) == (False, False)
    assert tip(user.ui.importButton) == "A model is being imported."
    user.worker.progress("read", 0.5)
    assert user.status() == "Reading the weights"
    assert (user.ui.progressBar.visible, user.ui.progressBar.value) == (True, 45)
    user.ui.cancelButton.click()
    assert user.status() == "Cancelled. Nothing was changed."
    assert list(user.worker.folder.iterdir()) == []


def test_nothing_happens_where_the_user_cancels_the_question(user, tmp_path):
    host.answer(str(results(tmp_path) / PLANS), answer(None))
    user.ui.importButton.click()
    assert user.worker.requests == []
    assert user.ui.importButton.enabled


def test_a_failure_is_a_sentence_and_the_panel_is_free(user, tmp_path):
    host.answer(str(results(tmp_path, folds=("0",)) / PLANS))
    user.ui.importButton.click()
    user.worker.error("ModelError", "Expected an object for configurations in plans.json, found nothing.")
    assert user.status() == "Expected an object for configurations in plans.json, found nothing."
    assert user.ui.importButton.enabled


def test_an_import_goes_on_when_the_scene_is_closed_and_its_model_is_listed_at_once(user, tmp_path):
    install(a_card(("T1",)))
    (user_store() / BRAIN).rename(tmp_path / BRAIN)
    user.widget.segment.readModels()
    host.answer(str(tmp_path / BRAIN / "configs" / "metadata.json"))
    user.ui.importButton.click()
    slicer.mrmlScene.Clear()
    user.worker.imports()
    assert user.status() == f"Imported: {BRAIN}."
    combo = user.ui.modelCombo
    assert combo.itemText(combo.findData(BRAIN)) == f"{BRAIN} (terms not stated, imported)"


def test_without_the_packages_nothing_can_be_imported_and_the_button_says_why(user):
    from MedTLLib.packages import packages

    user.packages.needed = packages.required()[:2]
    user.widget.setupPage.check()
    assert not user.ui.importButton.enabled
    assert "packages are missing" in tip(user.ui.importButton)


def test_the_card_of_an_imported_model_says_so_first(user):
    install(a_card(("T1", "T2"), 3, training={"imported": {"from": "nnU-Net 2", "folder": "<img src=x> [a](b)"}}))
    user.widget.segment.readModels()
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData(BRAIN)
    user.ui.cardButton.click()
    text = user.ui.cardBrowser.plainText
    for part in ("Imported, not validated by MedTL.", "T1, T2", "turned to RAS", "3: Part 1, Part 2, Part 3"):
        assert part in text, part
    assert "From: nnU-Net 2, <img src=x> [a](b)" in text
    assert text.index("Imported") < text.index("Accuracy")
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData("glioma-flair")
    assert "not validated" not in user.ui.cardBrowser.plainText


def test_where_an_imported_model_comes_from_may_be_anything(user):
    for about in ({}, {"from": ["a", 5], "folder": None}):
        card = a_card(training={"imported": json.loads(json.dumps(about))})
        from MedTLLib.panels.card import importedParts

        assert "not validated by MedTL" in importedParts(card)[0]
