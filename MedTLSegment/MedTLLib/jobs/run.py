"""Running a job of any kind: its start, its progress, Cancel, and its end. No Qt, no widget."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from slicer.i18n import tr as _

from medtl.errors import MedTLError

from .job import Ending, Job, Step
from .logbundle import Failure

State = Literal["idle", "waiting", "running", "cancelling"]
OnProgress = Callable[[str, float, "float | None"], None]
OnDone = Callable[[dict[str, Any]], None]
OnError = Callable[[str, str, Mapping[str, float]], None]
OnValues = Callable[[dict[str, float]], None]

START, FILL = "start", "fill"  # stages before the first one of the engine, and after its last one
POLL_MS, POLLS = 100, 20  # how long a cancelled job may take to settle


class Engine(Protocol):
    """The process that does the jobs; `jobs.worker.Worker` is the real one.

    Callbacks come from the event loop, never from within `submit`; each job is answered once, by `on_done` or
    `on_error`, or by neither after it was dropped. `on_error(kind, message, advice)` gets what the message advises:
    a number by the name of an option.
    """

    folder: Path  # paths in requests are relative to it
    stderr: str  # the end of its standard error

    @property
    def state(self) -> str:
        """One of "stopped", "starting", "ready" and "busy"."""
        ...

    def submit(
        self,
        request: dict[str, Any],
        on_progress: OnProgress,
        on_done: OnDone,
        on_error: OnError,
        on_values: OnValues = ...,
    ) -> int:
        """The id of a new job; the engine is started where it is not."""
        ...

    def queued(self, job_id: int) -> bool:
        """Whether the job waits behind another one."""
        ...

    def cancel(self, job_id: int) -> None:
        """Cancel a job, which is then answered with "Cancelled"; nothing happens to one that has its answer."""
        ...

    def stop(self) -> None:
        """End the process, and every job with "Cancelled"."""
        ...

    def later(self, call: Callable[[], None], milliseconds: int = 0) -> None:
        """Make a call from the event loop, so many milliseconds from now."""
        ...

    def now(self) -> float:
        """Seconds, as `time.monotonic` counts them."""
        ...


class JobRun:
    """One job at a time, from `begin` to its end; observers are called after every change.

    `state` is "idle", "waiting" (behind a job of another module), "running" or "cancelling". `text` is the sentence for
    the user, `fraction` the share of the whole bar (None while it is unknown), `losses` the curve of a job that tunes:
    (seconds since the engine began, loss) by stage. `kind` is the class of the job in progress, or of the last one.
    Answers of a job that was dropped change nothing.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.failures: list[Failure] = []  # of this session, for the log
        self.job: Job | None = None
        self.kind: type[Job] | None = None
        self.state: State = "idle"
        self.text, self.stage = "", ""
        self.fraction: float | None = None
        self.losses: dict[str, list[tuple[float, float]]] = {}
        self._job_id = 0
        self._began: float | None = None  # when the engine began
        self._on_end: Callable[[Any], None] = lambda outcome: None
        self._observers: list[Callable[[], None]] = []

    def observe(self, observer: Callable[[], None]) -> None:
        """Call this after every change."""
        self._observers.append(observer)

    @property
    def why_busy(self) -> str:
        """Why no job can be started now; empty when one can."""
        return self.job.busy_text() if self.job is not None else ""

    @property
    def engine_works(self) -> bool:
        """Whether the engine has a job, of this module or another."""
        return self.engine.state in ("starting", "busy")

    def begin(self, kind: type[Job], make: Callable[[Path], Job], on_end: Callable[[Any], None]) -> None:
        """Start the job that `make(folder)` gives; nothing while one runs.

        `make` hands the input over, below the engine's folder. The text of a MedTLError that it raises is shown.
        `on_end(outcome)` is called when the job has ended, before the observers; the outcome is None where the job gave
        nothing. It is not called for a job that was dropped.
        """
        if self.job is not None:
            return
        self.kind = kind
        self._show(kind.handing_over_text())
        try:
            job = make(self.engine.folder)
        except MedTLError as error:
            self._show(str(error))
            return
        self.job, self.state, self.stage, self.fraction = job, "running", START, None
        self._began, self.losses, self._on_end = None, {}, on_end
        answers = (self._on_progress, self._on_done, self._on_error, self._on_values)
        self._job_id = self.engine.submit(job.request, *(partial(answer, job) for answer in answers))
        if self.engine.queued(self._job_id):
            self.state = "waiting"
        self._show(_("Waiting for another job to end…") if self.state == "waiting" else _("Starting the engine…"))

    def cancel(self) -> None:
        """Ask the engine to stop; it answers within two seconds, or is killed."""
        if self.job is not None and self.state != "cancelling":
            self.state = "cancelling"
            self._show(self.job.cancelling_text())
            self.engine.cancel(self._job_id)

    def scene_closed(self) -> None:
        """Drop the job, unless it goes on without its scene."""
        if self.job is not None and not self.job.survives_scene:
            self._drop()

    def close(self) -> None:
        """Drop the job and all observers."""
        self._observers.clear()
        self._drop()

    # What the engine answers

    def _on_progress(self, job: Job, stage: str, fraction: float, seconds_left: float | None) -> None:
        if job is not self.job or self.state == "cancelling":
            return
        self.state, self.stage = "running", stage
        now = self.engine.now()
        if self._began is None:
            self._began = now
        share, text = job.progress(stage, fraction, seconds_left, now - self._began)
        self.fraction = self.fraction if share is None else share
        self._show(text)

    def _on_values(self, job: Job, values: dict[str, float]) -> None:
        if job is self.job and self._began is not None and "loss" in values:
            point = (self.engine.now() - self._began, values["loss"])
            self.losses.setdefault(self.stage, []).append(point)
            self._notify()

    def _on_done(self, job: Job, result: dict[str, Any]) -> None:
        if job is self.job:
            self._take_step(job, job.steps(), result)

    def _on_error(self, job: Job, kind: str, message: str, advice: Mapping[str, float]) -> None:
        if job is not self.job:
            return
        if kind == "Cancelled":
            self._settle(job)
        else:
            logging.error("MedTL: %s: %s", kind, message)
            self._fail(job, kind, message, advice)

    # The end

    def _take_step(self, job: Job, steps: Sequence[Step], value: Any) -> None:
        if job is not self.job:  # dropped meanwhile
            return
        if self.state == "cancelling" and not job.keeps_late_result:  # too late for the engine, not for the scene
            self._settle(job)
            return
        self.stage = FILL
        self._show(job.filling_text())
        try:
            value = steps[0](value)
        except MedTLError as error:
            self._fail(job, type(error).__name__, str(error))
        except BaseException:  # whatever happened, the next job can begin
            self._fail(job, "InternalError", _("The result could not be written; the reason is in the Python console."))
            raise
        else:
            if steps[1:]:
                self.engine.later(partial(self._take_step, job, steps[1:], value))
            elif job is self.job:
                self._end(value)

    def _settle(self, job: Job, polls: int = POLLS) -> None:
        """End a job that was cancelled, as soon as it has settled."""
        if job is not self.job:
            return
        self.state = "cancelling"
        ending = job.after_cancel(may_wait=polls > 0)
        if ending is None:
            self.engine.later(partial(self._settle, job, polls - 1), POLL_MS)
        else:
            self._end(ending)

    def _fail(self, job: Job, kind: str, message: str, advice: Mapping[str, float] = {}) -> None:
        if job is self.job:
            seconds = self.engine.now() - job.started
            self.failures.append(Failure(kind, self.stage, job.choices.device, seconds))
            self._end(Ending(message, job.after_failure(advice)))

    def _end(self, ending: Ending) -> None:
        self.job, self.state, self.fraction = None, "idle", None
        try:
            self._on_end(ending.outcome)
        finally:
            self._show(ending.text)

    def _drop(self) -> None:
        if self.job is not None:
            job = self.job
            self.job, self.state, self.fraction = None, "idle", None
            self.engine.cancel(self._job_id)
            job.after_drop()
            self._show("")

    def _show(self, text: str) -> None:
        self.text = str(text)
        self._notify()

    def _notify(self) -> None:
        for observer in tuple(self._observers):
            observer()
