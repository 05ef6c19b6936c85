"""What is kept on this computer: listed, deleted unless a job uses it, and written into a log."""

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from panel_user import FakePackages, FakeWorker
from tuning_user import TUNED, bundle

from medtl.model.store import user_store
from MedTLLib.jobs.finetune import FinetuneJob
from MedTLLib.jobs.job import Job, new_folder
from MedTLLib.jobs.maintenance import Maintenance, size_of
from MedTLLib.jobs.run import JobRun
from MedTLLib.packages.packages import Package


class Waiting(Job):
    """A job of a test."""

    kind: ClassVar[str] = "segment"
    request: ClassVar[dict[str, Any]] = {"job": "segment"}

    def __init__(self, root: Path) -> None:
        with new_folder(root) as self.folder:
            (self.folder / "image.nrrd").write_bytes(bytes(1000))
        self.started, self.choices = 0.0, SimpleNamespace(device="cpu")


class Tuning(Waiting):
    why_in_use = FinetuneJob.why_in_use
    busy_text = FinetuneJob.busy_text


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobRun:
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    return JobRun(FakeWorker(tmp_path / "engine"))


def test_models_and_folders_of_jobs_are_listed_with_their_sizes(run):
    folder = bundle(TUNED)
    run.begin(Waiting, Waiting, print)
    run.engine.error("InternalError", "boom")
    model, job = Maintenance(run, FakePackages()).folders()
    assert (model.kind, model.name, model.size) == ("model", TUNED, size_of(folder))
    assert (job.kind, job.path.parent, job.size) == ("job", run.engine.folder, 1000)


def test_nothing_is_listed_where_nothing_is_kept(run):
    run.engine.folder.rmdir()
    assert Maintenance(run, FakePackages()).folders() == ()


def test_the_folder_of_a_job_that_runs_stays_and_others_go(run):
    maintenance = Maintenance(run, FakePackages())
    old = Waiting(run.engine.folder)
    run.begin(Waiting, Waiting, print)
    kept = {each.path: each for each in maintenance.folders()}
    assert maintenance.delete(kept[run.job.folder]) == "A job uses this folder."
    assert maintenance.delete(kept[old.folder]) == f"Deleted: {old.folder.name}"
    assert list(run.engine.folder.iterdir()) == [run.job.folder]


def test_while_a_model_is_tuned_no_folder_is_deleted(run):
    bundle(TUNED)
    run.begin(Tuning, Tuning, print)
    maintenance = Maintenance(run, FakePackages())
    assert {maintenance.delete(kept) for kept in maintenance.folders()} == {"Fine-tune is running."}
    assert len(maintenance.folders()) == 2


def test_what_another_program_deleted_meanwhile_is_a_sentence(run):
    bundle(TUNED)
    Waiting(run.engine.folder)
    maintenance = Maintenance(run, FakePackages())
    model, job = maintenance.folders()
    for kept in (model, job):
        maintenance.delete(kept)
    assert "Could not delete" in maintenance.delete(job)
    assert TUNED in maintenance.delete(model)
    assert list(user_store().iterdir()) == []


def test_the_engine_is_unloaded_unless_it_is_not_loaded_or_works(run):
    maintenance = Maintenance(run, FakePackages())
    assert maintenance.why_not_unload() == "The engine is not loaded."
    run.begin(Waiting, Waiting, print)
    run.engine.progress("load", 0.0)
    assert maintenance.why_not_unload() == "A job is running."
    run.engine.error("InternalError", "boom")
    run.engine.state = "ready"
    assert maintenance.why_not_unload() == ""
    assert "unloaded" in maintenance.unload()
    assert run.engine.state == "stopped"


def test_a_log_is_saved_or_the_reason_is_given(run, tmp_path):
    maintenance = Maintenance(run, FakePackages())
    assert maintenance.suggested_log().name == "MedTL-log.zip"
    assert maintenance.save_log(tmp_path / "log.zip") == f"Saved at {tmp_path / 'log.zip'}."
    assert "jobs.txt" in zipfile.ZipFile(tmp_path / "log.zip").namelist()
    assert "does not exist" in maintenance.save_log(tmp_path / "none" / "log.zip")


def test_packages_are_listed_and_stay_while_a_job_runs(run):
    packages = FakePackages()
    packages.ours = (Package("timm", "1.0.9", 3_000_000),)
    maintenance = Maintenance(run, packages)
    (stored,) = maintenance.stored()
    assert (stored.kind, stored.name, stored.size) == ("package", "timm", 3_000_000)
    assert maintenance.why_not_delete(stored) == ""
    run.engine.state = "busy"
    assert maintenance.why_not_delete(stored) == "A job is running."
