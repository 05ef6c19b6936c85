"""The client of the engine's process: with an engine of bad manners, and with the real one, both behind a launcher."""

import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import host
import pytest

import medtl
from medtl.io.into_place import owner_tag
from medtl.io.read import read_labelmap
from medtl.io.write import write_image
from medtl.phantom import head
from MedTLLib.jobs.worker import Worker
from MedTLLib.packages.programs import program_in

SLICER_TESTS = Path(__file__).resolve().parents[1]
ROOT = SLICER_TESTS.parents[1]
LAUNCHER = [sys.executable, str(SLICER_TESTS / "fake_launcher.py")]
FAKE = [*LAUNCHER, sys.executable, "-u", "-P", str(SLICER_TESTS / "fake_worker.py")]
ENGINE_PYTHON = os.environ.get("MEDTL_ENGINE_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
ENGINE = [*LAUNCHER, ENGINE_PYTHON, "-u", "-P", "-m", "medtl.worker"]
PATIENCE = 60.0  # seconds until a wait is given up, on a loaded machine
CANCELLED = "Cancelled"

needs_engine = pytest.mark.skipif(
    not Path(ENGINE_PYTHON).exists(), reason="no interpreter with torch: make setup, or set MEDTL_ENGINE_PYTHON"
)


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not yet waited for does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


class Job:
    """One submitted job and its answers."""

    def __init__(self, worker: Worker, job: str = "answer", **fields: object) -> None:
        self.worker = worker
        self.stages: list[tuple[str, float]] = []
        self.results: list[dict[str, Any]] = []
        self.errors: list[tuple[str, str]] = []
        self.advice: Mapping[str, float] = {}
        self.on_progress: Callable[[], None] = lambda: None
        self.sent = time.monotonic()
        self.id = worker.submit({"job": job, **fields}, self._progress, self.results.append, self._error)

    def _progress(self, stage: str, fraction: float, seconds_left: float | None) -> None:
        self.stages.append((stage, fraction))
        self.on_progress()

    def _error(self, kind: str, message: str, advice: Mapping[str, float]) -> None:
        self.errors.append((kind, message))
        self.advice = advice

    @property
    def kind(self) -> str:
        """Of its answer: "done", the kind of an error, "" as long as there is none."""
        assert len(self.results) + len(self.errors) <= 1, "a job has one answer"
        return "done" if self.results else self.errors[0][0] if self.errors else ""

    def wait(self) -> "Job":
        host.process_until(lambda: self.kind, PATIENCE, "An answer")
        return self

    def wait_for_progress(self) -> "Job":
        host.process_until(lambda: self.stages or self.kind, PATIENCE, "Progress")
        assert self.errors == []
        return self


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Makes workers, and stops them at the end."""
    workers = []

    def make(command: list[str] | None = FAKE, **options: Any) -> Worker:
        folder = tmp_path / "worker"
        folder.mkdir(exist_ok=True)
        workers.append(Worker(command, folder, **options))
        return workers[-1]

    yield make
    for worker in workers:
        worker.stop()


@pytest.fixture
def worker(start: Callable[..., Worker]) -> Worker:
    return start()


def pid_of(worker: Worker) -> int:
    """Of the fake engine, as soon as it runs."""
    file = worker.folder / "pid"
    host.process_until(lambda: file.exists() and file.read_text(), PATIENCE, "The start of the engine")
    return int(file.read_text())


def wait_until_gone(pid: int) -> None:
    host.process_until(lambda: not alive(pid), PATIENCE, f"The end of process {pid}")


# With an engine of the test's own


def test_a_job_is_answered_from_the_event_loop_by_a_process_that_stays(worker: Worker) -> None:
    assert worker.state == "stopped"
    first = Job(worker)
    assert (worker.state, first.kind) == ("starting", "")
    assert first.wait().stages == [("infer", 0.5)]
    assert (worker.state, first.results[0]["folder"]) == ("ready", str(worker.folder.resolve()))
    assert first.results[0]["pid"] == worker.pid == Job(worker).wait().results[0]["pid"]


def test_a_line_that_comes_in_two_pieces_is_read_whole(worker: Worker, tmp_path: Path) -> None:
    job = Job(worker, "stutter", go=str(tmp_path / "go"))
    job.on_progress = (tmp_path / "go").touch
    assert job.wait().stages == [("infer", 0.5), ("write", 1.0)]
    assert job.kind == "done"


def test_figures_to_draw_are_passed_on_to_who_asks_for_them_and_do_no_harm_to_others(worker: Worker) -> None:
    drawn: list[dict[str, float]] = []
    done: list[object] = []
    worker.submit({"job": "draw"}, lambda *progress: None, done.append, print, drawn.append)
    other = Job(worker, "draw").wait()
    assert drawn == [{"loss": 0.5}, {"loss": 0.25}]
    assert len(done) == len(other.results) == 1


def test_an_error_comes_with_what_it_advises(worker: Worker) -> None:
    job = Job(worker, "advise").wait()
    assert (job.errors, job.advice) == ([("InputError", "Allow 30 s.")], {"budget": 30})
    assert Job(worker).wait().kind == "done"


def test_lines_that_are_no_answers_are_logged_and_do_no_harm(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    assert Job(worker, "babble").wait().kind == "done"
    assert "a library prints" in caplog.text
    assert Job(worker).wait().kind == "done"


def test_what_the_engine_complains_about_is_logged(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert Job(worker, "warn").wait().kind == "done"
    host.process_until(lambda: "a warning" in caplog.text, PATIENCE)


def test_a_death_is_reported_to_every_job_with_the_last_words_and_the_next_job_starts_anew(worker: Worker) -> None:
    jobs = [Job(worker, "die"), Job(worker), Job(worker)]
    for job in jobs:
        kind, message = job.wait().errors[0]
        assert kind == "WorkerDied"
        assert "first words / CUDA error: out of luck" in message
    assert worker.state == "stopped"
    old = pid_of(worker)
    assert Job(worker).wait().results[0]["pid"] != old


@pytest.mark.parametrize("seed", range(5))
def test_a_kill_at_any_moment_loses_no_job_and_the_next_one_is_served_by_a_new_process(
    worker: Worker, seed: int
) -> None:
    moment = random.Random(seed).randrange(40)  # progress lines until the kill; 0: as soon as it is ready
    jobs = [Job(worker, name) for name in ("count", "count", "sit")]

    host.process_until(lambda: worker.pid, PATIENCE, "The start of the engine")
    pid = worker.pid
    host.process_until(lambda: sum(len(job.stages) for job in jobs) >= moment, PATIENCE, "Progress")
    os.kill(pid, signal.SIGKILL)
    answers = [job.wait().kind for job in jobs]
    assert answers == sorted(answers, reverse=True)  # first those that were done
    assert set(answers) <= {"done", "WorkerDied"}
    assert answers[-1] == "WorkerDied"
    assert Job(worker).wait().results[0]["pid"] != pid
    assert not alive(pid)


def test_a_callback_that_raises_keeps_no_other_answer_back(worker: Worker) -> None:
    job, after = Job(worker, "babble"), Job(worker)
    job.on_progress = lambda: 1 / 0
    host.process_until(lambda: job.stages, PATIENCE, "Progress")
    assert "ZeroDivisionError" in host.errors.pop()
    assert (job.wait().kind, after.wait().kind) == ("done", "done")


def test_a_cancelled_job_is_answered_and_the_same_process_does_the_next_one(worker: Worker) -> None:
    job, after = Job(worker, "sit").wait_for_progress(), Job(worker)
    pid = worker.pid
    worker.cancel(job.id)
    worker.cancel(job.id)
    assert job.kind == ""
    assert job.wait().errors == [(CANCELLED, "The job was cancelled.")]
    assert after.wait().results[0]["pid"] == pid


def test_a_job_that_hears_no_cancel_is_killed_within_two_seconds_and_the_others_are_done(worker: Worker) -> None:
    job, gone, after = Job(worker, "ignore all").wait_for_progress(), Job(worker), Job(worker)
    pid = pid_of(worker)
    asked = time.monotonic()
    worker.cancel(job.id)
    worker.cancel(gone.id)
    assert job.wait().kind == gone.wait().kind == CANCELLED
    assert time.monotonic() - asked < 2.0
    wait_until_gone(pid)
    assert time.monotonic() - asked < 2.5
    assert after.wait().results[0]["pid"] != pid


def test_a_job_is_cancelled_before_the_engine_is_ready(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_HOLD", str(tmp_path / "hold"))
    first, second = Job(worker), Job(worker)
    pid = pid_of(worker)
    asked = time.monotonic()
    worker.cancel(first.id)
    assert first.wait().kind == CANCELLED
    assert (worker.state, second.kind) == ("starting", "")
    worker.cancel(second.id)
    assert second.wait().kind == CANCELLED
    assert (worker.state, time.monotonic() - asked < 2.0) == ("stopped", True)
    (tmp_path / "hold").touch()
    wait_until_gone(pid)
    assert (first.stages, second.stages) == ([], [])


def test_a_waiting_job_is_distinguished_from_the_running_one_and_cancelled_alone(worker: Worker) -> None:
    running, waiting = Job(worker, "sit").wait_for_progress(), Job(worker)
    assert [worker.queued(job.id) for job in (running, waiting)] == [False, True]
    worker.cancel(running.id)
    running.wait()
    assert not worker.queued(waiting.id)
    assert waiting.wait().kind == "done"
    worker.cancel(waiting.id)
    worker.cancel(12345)
    assert Job(worker).wait().kind == "done"


@pytest.mark.parametrize("moment", ["before it is ready", "idle", "in a job", "in a job that hears nothing"])
def test_stop_leaves_no_process_and_no_job_without_an_answer(
    worker: Worker, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_HOLD", str(tmp_path / "hold"))
    jobs = [Job(worker, {"idle": "answer", "in a job": "sit"}.get(moment, "ignore all")), Job(worker)]
    pid = pid_of(worker)
    if moment != "before it is ready":
        (tmp_path / "hold").touch()
        jobs[0].wait_for_progress()
    if moment == "idle":
        jobs[1].wait()
    asked = time.monotonic()
    worker.stop()
    assert time.monotonic() - asked < 2.5
    (tmp_path / "hold").touch()
    wait_until_gone(pid)
    assert (worker.folder / "ended").exists() == (moment in ("idle", "in a job"))  # not killed where it can be helped
    assert [job.kind for job in jobs] == (["done", "done"] if moment == "idle" else [CANCELLED, CANCELLED])
    assert worker.state == "stopped"
    worker.stop()
    assert Job(worker).wait().kind == "done"


def test_the_engine_is_unloaded_when_nobody_has_asked_for_a_while(start: Callable[..., Worker]) -> None:
    worker = start(idle_minutes=0.05 / 60)
    assert Job(worker, "sit").wait_for_progress().kind == ""
    assert worker.state == "busy"
    worker.cancel(1)
    pid = pid_of(worker)
    wait_until_gone(pid)
    host.process_until(lambda: worker.state == "stopped", PATIENCE)
    assert Job(worker).wait().results[0]["pid"] != pid


@pytest.mark.parametrize(("name", "value"), [("FAKE_VERSION", "0.0.1"), ("FAKE_PATH", "/somewhere/else")])
def test_an_engine_of_another_medtl_is_refused_with_the_reason(
    worker: Worker, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    job = Job(worker)
    kind, message = job.wait().errors[0]
    assert kind == "WorkerRefused"
    assert medtl.__version__ in message
    assert value in message
    assert "Uninstall the Python package medtl" in message
    assert job.stages == []
    wait_until_gone(pid_of(worker))


def test_a_program_that_cannot_be_started_is_reported(
    start: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, message = Job(start([str(tmp_path / "nothing")])).wait().errors[0]
    assert kind == "WorkerMissing"
    assert "install Slicer again" in message
    monkeypatch.setenv("PATH", str(tmp_path))
    worker = start(None)
    job = Job(worker)
    assert job.kind == ""
    assert job.wait().errors[0][0] == "WorkerMissing"
    assert "PythonSlicer was not found" in job.errors[0][1]
    assert Job(worker).wait().kind == "WorkerMissing"


@pytest.mark.skipif(os.name == "nt", reason="the launcher of this test is a shell script")
def test_the_engine_is_the_module_of_the_extension_run_by_pythonslicer(
    start: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\necho "$@" > arguments\nexec {" ".join(FAKE)}\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    worker = start(None)
    assert Job(worker).wait().kind == "done"
    assert (worker.folder / "arguments").read_text().split() == ["-u", "-P", "-m", "medtl.worker"]


@pytest.mark.parametrize("windows", [False, True])
def test_a_program_is_never_taken_from_the_current_folder_or_a_relative_one(tmp_path, monkeypatch, windows):
    name = "PythonSlicer.exe" if windows else "PythonSlicer"
    folders = [tmp_path / "own", tmp_path / "here", tmp_path / "plain", tmp_path / "path"]
    for folder in folders:
        folder.mkdir()
        (folder / name).touch(0o755 if folder.name != "plain" else 0o644)
    own, here, plain, path = folders
    monkeypatch.chdir(here)
    assert program_in("PythonSlicer", [own, path], windows) == own / name
    assert program_in("PythonSlicer", [tmp_path / "none", Path(), Path("../here"), plain, path], windows) == path / name
    assert program_in("PythonSlicer", [Path()], windows) is None


def test_calls_for_later_come_from_the_event_loop_and_in_their_turn(worker: Worker) -> None:
    called: list[str] = []
    began = worker.now()
    worker.later(lambda: called.append("in 50 ms"), 50)
    worker.later(lambda: called.append("next"))
    assert called == []
    host.process_until(lambda: len(called) == 2, PATIENCE, "Both calls")
    assert called == ["next", "in 50 ms"]
    assert worker.now() - began >= 0.05


def test_without_a_folder_a_temporary_one_is_used_and_removed_at_the_end() -> None:
    code = (
        "import host; host.start()\n"
        "from MedTLLib.jobs.worker import Worker; print(Worker().folder.resolve(strict=True))"
    )
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (SLICER_TESTS.parent, ROOT / "MedTLSegment", ROOT)))
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    folder = Path(done.stdout.splitlines()[-1])
    assert folder.name.startswith("MedTL-")
    assert not folder.exists()


# With the real engine


def segment(worker: Worker, name: str = "1") -> Job:
    """A small head to be segmented, in a job folder below the worker's."""
    folder = worker.folder / name
    folder.mkdir(exist_ok=True)
    volume = head(size=(96, 96, 6), spacing=(2.3, 2.3, 20.0)).volume
    write_image(folder / "in.nrrd", volume.array, volume.geometry)
    options = {"device": "cpu"}
    return Job(
        worker, "segment", model="glioma-flair", input=f"{name}/in.nrrd", output=f"{name}/out.seg.nrrd", options=options
    )


@pytest.fixture
def engine(start: Callable[..., Worker]) -> Worker:
    return start(ENGINE)


@needs_engine
def test_the_real_engine_segments_reports_its_progress_and_is_gone_after_stop(engine: Worker) -> None:
    job = segment(engine).wait()
    assert job.errors == []
    assert job.results[0]["results"][0]["output"] == "1/out.seg.nrrd"
    assert read_labelmap(engine.folder / "1" / "out.seg.nrrd").array.shape == (6, 96, 96)
    assert {"read", "infer", "write"} <= {stage for stage, _ in job.stages}
    assert job.stages[-1] == ("write", 1.0)
    pid = engine.pid
    engine.stop()
    assert not alive(pid)


@needs_engine
def test_the_real_engine_is_cancelled_while_it_loads_and_in_the_middle_and_serves_the_next_job(engine: Worker) -> None:
    loading, middle, after = (segment(engine, name) for name in ("1", "2", "3"))
    middle.on_progress = lambda: middle.stages[-1][0] == "infer" and engine.cancel(middle.id)
    host.process_until(lambda: engine.pid, PATIENCE, "The start of the engine")
    pid = engine.pid
    asked = time.monotonic()
    engine.cancel(loading.id)
    assert loading.wait().kind == CANCELLED
    assert time.monotonic() - asked < 2.0
    assert middle.wait().kind == CANCELLED
    assert after.wait().errors == []
    assert [(engine.folder / name / "out.seg.nrrd").exists() for name in "123"] == [False, False, True]
    assert engine.pid == pid


@needs_engine
def test_the_real_engine_killed_in_the_middle_is_reported_and_the_next_job_is_served(engine: Worker) -> None:
    job = segment(engine)
    host.process_until(lambda: ("infer", 0.0) in job.stages, PATIENCE, "Inference")
    os.kill(engine.pid, signal.SIGKILL)
    assert job.wait().kind == "WorkerDied"
    assert "Try again" in job.errors[0][1]
    assert [file.name for file in (engine.folder / "1").iterdir()] == ["in.nrrd"]
    assert segment(engine).wait().errors == []
    assert (engine.folder / "1" / "out.seg.nrrd").exists()


def test_what_a_crashed_slicer_left_behind_is_removed_and_nothing_of_a_living_one(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    machine = owner_tag().rpartition("-")[0]
    crashed = tmp_path / f"MedTL-{machine}-{dead.pid}-abc"
    living, foreign = tmp_path / f"MedTL-{machine}-{os.getpid()}-abc", tmp_path / "MedTL-other"
    for folder in (crashed, living, foreign):
        (folder / "job-1").mkdir(parents=True)
        (folder / "job-1" / "image.nrrd").write_bytes(b"voxels")
        os.utime(folder, (0, 0))  # a living Slicer may have had no job for days
    assert Worker().folder.name.startswith(f"MedTL-{machine}-{os.getpid()}-")
    assert not crashed.exists()
    assert living.exists()
    assert foreign.exists()
