"""The life of a job, without Qt and without a scene: the engine and its clock are fakes."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from panel_user import FakePackages

from medtl.errors import InputError, ModelError
from medtl.progress import STAGES
from MedTLLib.jobs.job import Ending, Job
from MedTLLib.jobs.run import POLLS, Engine, JobRun
from MedTLLib.jobs.shared import SharedEngine


class FakeEngine:
    """Answers through `jobs[id]`, which are the callbacks; `turn` is a turn of the event loop."""

    def __init__(self, folder: Path = Path("engine")) -> None:
        self.folder, self.stderr, self.state = folder, "", "ready"
        self.jobs: dict[int, tuple[Any, ...]] = {}
        self.cancelled: list[int] = []
        self.seconds = 100.0
        self.due: deque[Callable[[], None]] = deque()

    def submit(self, request: dict[str, Any], *callbacks: Any) -> int:
        self.jobs[len(self.jobs) + 1] = callbacks
        return len(self.jobs)

    def queued(self, job_id: int) -> bool:
        return job_id > 1

    def cancel(self, job_id: int) -> None:
        self.cancelled.append(job_id)

    def stop(self) -> None:
        self.state = "stopped"

    def later(self, call: Callable[[], None], milliseconds: int = 0) -> None:
        self.due.append(call)

    def now(self) -> float:
        return self.seconds

    def turn(self) -> None:
        self.due.popleft()()

    def progress(self, stage: str, fraction: float, left: float | None = None, job: int = 1) -> None:
        self.jobs[job][0](stage, fraction, left)

    def done(self, result: Any = "answer", job: int = 1) -> None:
        self.jobs[job][1](result)

    def error(self, kind: str, message: str, job: int = 1, **advice: float) -> None:
        self.jobs[job][2](kind, message, advice)

    def values(self, job: int = 1, **values: float) -> None:
        self.jobs[job][3](values)


class TwoSteps(Job):
    """A job whose result is read, then shown; it keeps what happens to it."""

    kind: ClassVar[str] = "segment"
    request: ClassVar[dict[str, Any]] = {"job": "segment"}

    def __init__(self, folder: Path) -> None:
        self.folder, self.started, self.choices = folder / "job-1", 100.0, SimpleNamespace(device="cpu")
        self.seen: list[str] = []
        self.error: Exception | None = None
        self.settles_after = 0

    def steps(self) -> Any:
        return self.read, self.show

    def read(self, result: Any) -> str:
        self.seen.append(f"read {result}")
        return "labels"

    def show(self, labels: str) -> Ending:
        self.seen.append(f"show {labels}")
        if self.error is not None:
            raise self.error
        return Ending("Done.", "outcome")

    def after_cancel(self, may_wait: bool) -> Ending | None:
        self.settles_after -= 1
        if may_wait and self.settles_after >= 0:
            return None
        self.seen.append("cancelled")
        return Ending("Cancelled.")

    def after_failure(self, advice: Any) -> Any:
        return advice or "remains"

    def after_drop(self) -> None:
        self.seen.append("dropped")


class Survivor(TwoSteps):
    survives_scene = keeps_late_result = True


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def run(engine: FakeEngine) -> JobRun:
    checked: Engine = engine
    return JobRun(checked)


def begin(run: JobRun, cls: type[TwoSteps] = TwoSteps) -> tuple[Any, list[Any]]:
    """The job, and the outcomes that it had."""
    outcomes: list[Any] = []
    run.begin(cls, cls, outcomes.append)
    return run.job, outcomes


def test_a_job_runs_from_its_start_to_its_outcome(run, engine):
    seen: list[tuple[str, str]] = []
    run.observe(lambda: seen.append((run.state, run.text)))
    job, outcomes = begin(run)
    engine.progress("load", 0.5)
    engine.progress("infer", 0.5, 12.0)
    assert run.fraction == pytest.approx(0.55)
    engine.done()
    assert outcomes == []
    engine.turn()
    assert (job.seen, outcomes) == (["read answer", "show labels"], ["outcome"])
    assert (run.job, run.state, run.kind, run.failures) == (None, "idle", TwoSteps, [])
    assert seen == [
        ("idle", "Passing the volume to the engine…"),
        ("running", "Starting the engine…"),
        ("running", "Loading the model"),
        ("running", "Segmenting, 12 s left"),
        ("running", "Showing the result…"),
        ("running", "Showing the result…"),
        ("idle", "Done."),
    ]


def test_a_job_behind_one_of_another_module_waits_until_its_first_progress(run, engine):
    engine.jobs[1] = ()
    begin(run)
    assert (run.state, run.text) == ("waiting", "Waiting for another job to end…")
    engine.progress("load", 0.0, job=2)
    assert run.state == "running"


def test_while_a_job_runs_no_other_one_begins_and_the_reason_is_given(run, engine):
    first, _ = begin(run)
    assert run.why_busy == "A job is running."
    begin(run, Survivor)
    assert (run.job, run.kind, len(engine.jobs)) == (first, TwoSteps, 1)


def test_an_input_that_cannot_be_handed_over_is_a_sentence_and_no_job(run, engine):
    def make(folder: Path) -> Job:
        raise InputError(f"Expected to write into {folder}, could not.")

    run.begin(TwoSteps, make, print)
    assert (run.job, run.state, run.why_busy) == (None, "idle", "")
    assert run.text == "Expected to write into engine, could not."
    assert engine.jobs == {}


def test_cancel_is_sent_once_and_later_progress_is_not_shown(run, engine):
    _job, outcomes = begin(run)
    run.cancel()
    run.cancel()
    engine.progress("infer", 0.9)
    assert (engine.cancelled, run.state, run.text) == ([1], "cancelling", "Cancelling…")
    engine.error("Cancelled", "The job was cancelled.")
    assert (run.state, run.text, outcomes, run.failures) == ("idle", "Cancelled.", [None], [])


@pytest.mark.parametrize("when", ["before the answer", "between the steps"])
def test_a_result_that_comes_after_cancel_is_not_shown(run, engine, when):
    job, outcomes = begin(run)
    if when == "before the answer":
        run.cancel()
        engine.done()
        assert job.seen == ["cancelled"]
    else:
        engine.done()
        run.cancel()
        engine.turn()
        assert job.seen == ["read answer", "cancelled"]
    assert (run.state, outcomes) == ("idle", [None])


def test_a_job_that_keeps_late_results_is_done_in_spite_of_cancel(run, engine):
    _job, outcomes = begin(run, Survivor)
    run.cancel()
    engine.done()
    engine.turn()
    assert outcomes == ["outcome"]


def test_a_cancelled_job_that_has_to_settle_is_asked_again(run, engine):
    job, outcomes = begin(run)
    job.settles_after = 2
    engine.error("Cancelled", "")
    assert run.state == "cancelling"
    engine.turn()
    engine.turn()
    assert (run.state, outcomes) == ("idle", [None])


def test_a_job_that_never_settles_ends_all_the_same(run, engine):
    job, outcomes = begin(run)
    job.settles_after = 10**6
    engine.error("Cancelled", "")
    for _turn in range(POLLS):
        engine.turn()
    assert (run.state, outcomes, list(engine.due)) == ("idle", [None], [])


def test_an_error_of_the_engine_is_shown_and_kept_for_the_log(run, engine):
    _job, outcomes = begin(run)
    engine.progress("infer", 0.1)
    engine.seconds += 7.0
    engine.error("DeviceError", "Not enough memory.")
    assert (run.state, run.text, outcomes) == ("idle", "Not enough memory.", ["remains"])
    (failure,) = run.failures
    assert (failure.kind, failure.stage, failure.device, failure.seconds) == ("DeviceError", "infer", "cpu", 7.0)


def test_what_an_error_advises_reaches_the_job(run, engine):
    _job, outcomes = begin(run)
    engine.error("InputError", "Allow 30 s.", budget=30.0)
    assert outcomes == [{"budget": 30.0}]


@pytest.mark.parametrize("error", [ModelError("Expected labels."), ZeroDivisionError("boom")])
def test_after_an_error_in_a_step_the_next_job_can_begin(run, engine, error):
    job, outcomes = begin(run)
    job.error = error
    engine.done()
    if isinstance(error, ModelError):
        engine.turn()
        assert run.text == "Expected labels."
    else:
        with pytest.raises(ZeroDivisionError):  # the event loop prints it
            engine.turn()
        assert "Python console" in run.text
    assert (run.state, outcomes, len(run.failures)) == ("idle", ["remains"], 1)
    begin(run)
    assert run.job is not None


def test_a_closed_scene_drops_a_job_in_peace_and_its_late_answers_change_nothing(run, engine):
    job, outcomes = begin(run)
    run.scene_closed()
    assert (run.job, run.state, run.text, engine.cancelled) == (None, "idle", "", [1])
    second, _ = begin(run)
    engine.progress("write", 1.0)
    engine.done()
    engine.error("Cancelled", "")
    engine.values(loss=1.0)
    assert (run.job, run.text) == (second, "Waiting for another job to end…")
    assert (job.seen, outcomes) == (["dropped"], [])


def test_a_scene_that_is_closed_between_the_steps_drops_the_job_too(run, engine):
    job, outcomes = begin(run)
    engine.done()
    run.scene_closed()
    engine.turn()
    assert (job.seen, outcomes) == (["read answer", "dropped"], [])


def test_a_job_that_survives_the_scene_goes_on_and_a_closed_panel_ends_it(run, engine):
    job, _outcomes = begin(run, Survivor)
    run.scene_closed()
    assert run.job is job
    calls: list[int] = []
    run.observe(lambda: calls.append(1))
    run.close()
    assert (run.job, engine.cancelled, job.seen, calls) == (None, [1], ["dropped"], [])


def test_the_loss_is_kept_by_stage_with_the_seconds_since_the_engine_began(run, engine):
    begin(run)
    engine.values(loss=9.0)  # before the engine began
    engine.progress("check", 0.0)
    engine.seconds += 2.0
    engine.values(loss=0.5)
    engine.values(other=1.0)
    engine.progress("tune", 0.5)
    engine.seconds += 3.0
    engine.values(loss=0.25)
    assert run.losses == {"check": [(2.0, 0.5)], "tune": [(5.0, 0.25)]}


def test_the_next_job_begins_with_an_empty_bar_and_curve(run, engine):
    begin(run)
    engine.progress("infer", 0.5)
    engine.values(loss=1.0)
    engine.error("InternalError", "boom")
    begin(run)
    assert (run.fraction, run.losses, run.stage) == (None, {}, "start")


def test_an_observer_may_come_back_to_the_run(run, engine):
    def next_job() -> None:
        if run.job is None and run.text == "Done.":
            begin(run)

    run.observe(next_job)
    begin(run)
    engine.done()
    engine.turn()
    assert run.state == "waiting"


@pytest.mark.parametrize("kind", ["segment", "classify"])
def test_the_bar_never_goes_back_and_a_strange_stage_leaves_it_where_it_is(run, engine, kind):
    begin(run, type("Kind", (TwoSteps,), {"kind": kind}))
    shares = []
    for stage in STAGES[kind]:
        for fraction in (0.0, 0.5, 1.0):
            engine.progress(stage, fraction)
            shares.append(run.fraction)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, pytest.approx(1.0))
    engine.progress("strange", 0.0)
    assert (run.fraction, run.text) == (shares[-1], "strange")


# The engine that modules share


class User:
    """A module."""


def test_the_shared_engine_is_made_once_and_ends_with_its_last_user(tmp_path):
    made: list[FakeEngine] = []

    def make() -> FakeEngine:
        made.append(FakeEngine(tmp_path))
        return made[-1]

    shared, one, two = SharedEngine(make, FakePackages()), User(), User()
    assert made == []
    assert shared.take(one) is shared.take(two) is made[0]
    shared.give_back(one)
    shared.give_back(one)
    assert made[0].state == "ready"
    shared.give_back(two)
    assert made[0].state == "stopped"
    shared.take(one)
    assert len(made) == 2


def test_a_user_that_is_garbage_holds_no_engine(tmp_path):
    engine, one = FakeEngine(tmp_path), User()
    shared = SharedEngine(lambda: engine, FakePackages())
    shared.take(User())
    shared.take(one)
    shared.give_back(one)
    assert engine.state == "stopped"
