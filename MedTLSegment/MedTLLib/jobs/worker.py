"""The engine's process: sends requests, calls back with the answers, and never blocks the main thread.

PythonSlicer is a launcher: it starts the real interpreter as its child and forwards the streams, so killing the process
that Qt knows would leave the engine alive. What is killed is the pid that the engine names in its first line; at the
end of its input it ends by itself. The protocol is described in `medtl/worker.py`.
"""

import atexit
import json
import logging
import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

import medtl
from medtl.progress import json_line

from ..packages.other_python import (
    command_of,
    environment_of_user,
    no_python_text,
    other_python,
    unfit_text,
    why_not_run,
)
from ..packages.programs import engine_environment, engine_folder, find_launcher, new_folder
from .run import OnDone, OnError, OnProgress, OnValues

ANSWER_MS = 1000  # for a cancel to be answered, then the process is killed
LEAVE_MS = 2000  # for a process to end after its input was closed
LAST_LINES = 5  # of standard error, in the message when the process ended

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Job:
    line: bytes
    on_progress: OnProgress
    on_done: OnDone
    on_error: OnError
    on_values: OnValues
    cancelled: bool = False


@dataclass(eq=False)
class _Run:
    """One process, from its start until Qt has seen its end."""

    process: Any
    python: Path | None  # where it is another one than Slicer's
    pid: int | None = None  # of the interpreter; known once it is ready
    unread: bytes = b""
    stderr: str = ""


class Worker:
    """One warm engine process: started by the first job, unloaded after `idle_minutes` without one.

    Paths in a request are relative to `folder`. On Linux, Slicer runs at the lowest priority (nice 19); the process
    inherits that and is slow beside other busy programs. `complaints` is the end of what all processes
    wrote to standard error. Each job is answered exactly once, by `on_done` or `on_error`.
    Callbacks run on the main thread, from its event loop and never from within `submit` or `cancel`; only `stop` makes
    those that are due before it returns.
    """

    def __init__(
        self, command: Sequence[str] | None = None, folder: Path | None = None, idle_minutes: float = 10.0
    ) -> None:
        if folder is None:
            folder = new_folder()
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        self.folder = folder
        self.stderr = ""
        self._command = command
        self._jobs: dict[int, _Job] = {}  # those without an answer, in the order in which they came
        self._last_id = 0
        self._run: _Run | None = None
        self._ending: list[_Run] = []
        self._due: deque[Callable[[], None]] = deque()
        self._idle_ms = round(idle_minutes * 60_000)
        self._idle = qt.QTimer()
        self._idle.setSingleShot(True)
        self._idle.connect("timeout()", self._unload)

    @property
    def state(self) -> str:
        """Of the engine: "stopped", "starting", "ready" or "busy"."""
        if self._run is None:
            return "stopped"
        if self.pid is None:
            return "starting"
        return "busy" if self._jobs else "ready"

    @property
    def pid(self) -> int | None:
        """Of the engine's interpreter; None while it is not ready."""
        return self._run.pid if self._run else None

    def queued(self, job_id: int) -> bool:
        """Whether the job waits behind another one."""
        return job_id in self._jobs and job_id != next(iter(self._jobs))

    def submit(
        self,
        request: dict[str, Any],
        on_progress: OnProgress,
        on_done: OnDone,
        on_error: OnError,
        on_values: OnValues = lambda values: None,
    ) -> int:
        """The id of a new job; the process is started where none is there.

        `on_progress(stage, fraction, seconds_left)`, `on_done(result)` and `on_error(kind, message, advice)`: the kinds
        of the engine, and "WorkerMissing" (cannot be started), "WorkerRefused" (another MedTL) and "WorkerDied".
        `on_values(values)` gets figures to draw, by name, from the jobs that have some.
        """
        self._last_id += 1
        line = json_line({**request, "id": self._last_id}).encode("ascii")
        self._jobs[self._last_id] = _Job(line, on_progress, on_done, on_error, on_values)
        if self._run is None:
            self._start()
        elif self._run.pid is not None:
            self._run.process.write(line)
        return self._last_id

    def cancel(self, job_id: int) -> None:
        """Cancel a job, which is answered with "Cancelled" within about a second; not one that has its answer."""
        job = self._jobs.get(job_id)
        if job is None or job.cancelled or self._run is None:
            return
        job.cancelled = True
        if self._run.pid is None:  # the job has not been sent
            self._answer_error(job_id, "Cancelled", _("The job was cancelled."))
            if not self._jobs:
                self._close_input()
        else:
            self._run.process.write(json_line({"cancel": job_id}).encode("ascii"))
            qt.QTimer.singleShot(ANSWER_MS, partial(self._cancel_overdue, self._run, job_id))

    def stop(self) -> None:
        """End every process, and every job with "Cancelled"; waits a second for them, then kills."""
        self._close_input()
        for run in tuple(self._ending):
            if not run.process.waitForFinished(ANSWER_MS):
                _kill(run.pid)
                run.process.kill()
                run.process.waitForFinished(ANSWER_MS)
        self._answer_all_errors("Cancelled", _("The job was cancelled: the engine was stopped."))
        while self._due:
            self._due.popleft()()

    def later(self, call: Callable[[], None], milliseconds: int = 0) -> None:
        """Make a call from the event loop, so many milliseconds from now."""
        qt.QTimer.singleShot(milliseconds, call)

    def now(self) -> float:
        """Seconds of `time.monotonic`."""
        return time.monotonic()

    # The process

    def _start(self) -> None:
        python = None if self._command else other_python()
        if python is not None and (reason := why_not_run(python)):
            self._answer_all_errors("WorkerMissing", reason)
            return
        launcher = None if self._command or python else find_launcher()
        command = self._command or ([str(launcher), "-u", "-P", "-m", "medtl.worker"] if launcher else [])
        if python is not None:
            command = command_of(python)
        if not command:
            self._not_started(_("PythonSlicer was not found"))
            return
        process = qt.QProcess()
        self._run = run = _Run(process, python)
        process.setProcessEnvironment(environment_of_user() if python else engine_environment())
        process.setWorkingDirectory(str(self.folder))
        process.setProcessChannelMode(qt.QProcess.SeparateChannels)
        process.connect("readyReadStandardOutput()", partial(self._read, run))
        process.connect("readyReadStandardError()", partial(self._read_stderr, run))
        process.connect("errorOccurred(QProcess::ProcessError)", lambda error: self._failed(run, error))
        process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: self._finished(run, code))
        process.start(command[0], list(command[1:]))

    def _close_input(self) -> None:
        """Close the input of the process, which ends it; kill it later if it does not end."""
        if self._run is not None:
            run, self._run = self._run, None
            self._ending.append(run)
            run.process.closeWriteChannel()
            qt.QTimer.singleShot(LEAVE_MS, partial(self._kill_if_alive, run))

    def _kill_if_alive(self, run: _Run) -> None:
        if run in self._ending:
            _kill(run.pid)
            run.process.kill()

    def _unload(self) -> None:
        if not self._jobs:
            self._close_input()

    def _cancel_overdue(self, run: _Run, job_id: int) -> None:
        """A cancel was not answered in time: kill the process; a new one does the waiting jobs."""
        if run is not self._run or job_id not in self._jobs:
            return
        _kill(run.pid)
        self._close_input()
        for each in [each for each, job in self._jobs.items() if job.cancelled]:
            self._answer_error(each, "Cancelled", _("The job was cancelled."))
        if self._jobs:
            self._start()

    def _failed(self, run: _Run, error: Any) -> None:
        if error != qt.QProcess.FailedToStart:  # any other one is followed by "finished"
            return
        if run is self._run:
            self._run = None
            if run.python is not None:
                self._answer_all_errors("WorkerMissing", no_python_text(run.python, run.process.errorString()))
            else:
                self._not_started(run.process.errorString())
        elif run in self._ending:
            self._ending.remove(run)
        run.process.deleteLater()

    def _not_started(self, reason: str) -> None:
        text = _("The engine could not be started: {reason}. Start Slicer by its launcher, or install Slicer again.")
        self._answer_all_errors("WorkerMissing", text.format(reason=reason))

    def _finished(self, run: _Run, code: int) -> None:
        self._read(run)  # what it wrote before it ended is used
        self._read_stderr(run)
        run.process.deleteLater()
        if run in self._ending:
            self._ending.remove(run)
        elif run is self._run:
            self._run = None
            if run.python is not None and run.pid is None:
                reason = (run.stderr.strip().splitlines() or [f"exit status {code}"])[-1]
                self._answer_all_errors("WorkerMissing", no_python_text(run.python, reason))
                return
            words = " / ".join(run.stderr.strip().splitlines()[-LAST_LINES:]) or _("none; perhaps memory ran out")
            text = _("The engine ended while it worked (exit code {code}). Its last output: {words}. Try again.")
            self._answer_all_errors("WorkerDied", text.format(code=code, words=words))

    # Its output

    def _read_stderr(self, run: _Run) -> None:
        text = bytes(run.process.readAllStandardError().data()).decode("utf-8", "replace")
        run.stderr = (run.stderr + text)[-4000:]
        self.stderr = (self.stderr + text)[-20_000:]
        if text.strip():
            log.info("engine: %s", text.rstrip())

    def _read(self, run: _Run) -> None:
        run.unread += bytes(run.process.readAllStandardOutput().data())
        *lines, run.unread = run.unread.split(b"\n")
        for line in lines:
            if run is self._run:
                self._read_line(run, line)

    def _read_line(self, run: _Run, line: bytes) -> None:
        record: object
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        match record:
            case {"event": "ready", "pid": int(pid), "version": version, "path": path}:
                self._on_ready(run, pid, str(version), Path(str(path)))
            case {"event": "unfit", **rest} if run.python is not None:
                self._close_input()
                self._answer_all_errors("WorkerRefused", unfit_text(run.python, rest))
            case {"id": int(job_id)} if job_id not in self._jobs:
                pass  # of a job that has had its answer
            case {
                "id": int(job_id),
                "event": "progress",
                "stage": stage,
                "fraction": fraction,
                "seconds_left": left,
                **rest,
            }:
                self._later(partial(self._jobs[job_id].on_progress, stage, fraction, left))
                if isinstance(values := rest.get("values"), dict):
                    self._later(partial(self._jobs[job_id].on_values, values))
            case {"id": int(job_id), "event": "done", "result": result}:
                self._answer(job_id, partial(self._jobs[job_id].on_done, result))
            case {"id": int(job_id), "event": "error", "kind": kind, "message": message, **rest}:
                advice = rest.get("advice")
                self._answer_error(job_id, str(kind), str(message), advice if isinstance(advice, dict) else {})
            case _:
                log.warning("The engine wrote an unknown line: %r", line[:200])

    def _on_ready(self, run: _Run, pid: int, version: str, path: Path) -> None:
        run.pid = pid
        if version != medtl.__version__ or path.resolve() != engine_folder():
            self._close_input()
            text = _(
                "Expected the engine of MedTL {version} in {folder}, found {other} in {path}. "
                "Uninstall the Python package medtl from {python}."
            )
            python = run.python or _("Slicer and restart it")
            text = text.format(
                version=medtl.__version__, folder=engine_folder(), other=version, path=path, python=python
            )
            self._answer_all_errors("WorkerRefused", text)
        for job in self._jobs.values():
            run.process.write(job.line)

    # Answers

    def _answer(self, job_id: int, call: Callable[[], None]) -> None:
        del self._jobs[job_id]
        self._later(call)
        if not self._jobs:
            self._idle.start(self._idle_ms)

    def _answer_error(self, job_id: int, kind: str, message: str, advice: Mapping[str, float] = {}) -> None:
        self._answer(job_id, partial(self._jobs[job_id].on_error, kind, message, advice))

    def _answer_all_errors(self, kind: str, message: str) -> None:
        for job_id in tuple(self._jobs):
            self._answer_error(job_id, kind, message)

    def _later(self, call: Callable[[], None]) -> None:
        self._due.append(call)
        qt.QTimer.singleShot(0, self._call_next)

    def _call_next(self) -> None:
        if self._due:  # one call a turn, so that an error in one does not stop the others
            self._due.popleft()()


def _kill(pid: int | None) -> None:
    if pid is not None:
        with suppress(OSError):  # it has ended meanwhile
            os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows both end it at once
