"""Installed models: listed, preferred, exported, deleted and imported, without a panel."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import slicer
from panel_user import MODEL, FakeWorker
from tuning_user import TUNED, bundle

from medtl.model.store import user_store
from MedTLLib.jobs.models import InstalledModels
from MedTLLib.jobs.run import JobRun


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstalledModels]:
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    slicer.app.userSettings().clear()
    bundle(TUNED)
    yield InstalledModels(JobRun(FakeWorker(tmp_path / "engine")), "segmentation")
    slicer.app.userSettings().clear()


def test_the_first_choice_is_the_model_of_the_family_that_the_user_prefers(models):
    assert models.first_choice([MODEL, TUNED]) == MODEL
    models.prefer(TUNED)
    assert models.first_choice([MODEL, TUNED]) == TUNED
    assert models.first_choice([MODEL]) == MODEL
    assert models.first_choice([]) == ""


def test_a_shipped_model_stays_and_one_of_the_user_s_gives_way_to_its_parent(models):
    assert "comes with MedTL" in models.why_not_delete(models.entry(MODEL))
    assert models.why_not_delete(None) == "No model is chosen."
    assert models.why_not_delete(models.entry(TUNED)) == ""
    assert models.delete(models.entry(TUNED)) == MODEL
    assert models.entry(TUNED) is None
    assert not (user_store() / TUNED).exists()


def test_a_model_that_another_module_adds_or_removes_is_noticed(models):
    assert not models.changed()
    bundle("glioma-flair-tuned-2")
    assert models.changed()
    models.read()
    assert not models.changed()
    assert models.entry("glioma-flair-tuned-2") is not None


def test_an_export_that_fails_is_a_sentence(models, tmp_path):
    assert models.suggested_export(models.entry(TUNED)).name == f"{TUNED}.zip"
    assert "does not exist" in models.export(models.entry(TUNED), tmp_path / "none" / "model.zip")
