"""A process that keeps models loaded and does jobs: `python -u -P -m medtl.worker`. One ASCII JSON object a line.

In:  {"id", "job": "segment", "model", "input", "output", "options"} and {"cancel": id}. The input of "segment" and
     "suggest" is a path, or a list of one a channel of the model; the result is on the grid of the first.
     "job": "finetune", "model", "seeds", "output", "options"; "job": "suggest" or "classify", "model", "input",
     "options"; "job": "import", "input", "options". The input of "trend" and of "report", which has an "output", is a
     list of studies, {"segmentation", "image", "date"}.
Out: {"event": "ready", "pid", "version", "path"}; for each job {"id", "event": "progress", "stage", "fraction",
     "seconds_left"}, with "values" (name to number) where there is something to draw, and at last {"id", "event":
     "done", "result"} or {"id", "event": "error", "kind", "message"}, with "advice" (name of an option to number) where
     the error has some.
     A line that is no request is answered by an error; its id may be null.

The main thread works, one job at a time. A second thread reads the requests, so that a cancel or the end of input is
answered while the first is in one long library call.
"""

import functools
import json
import math
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, NoReturn

from . import __version__
from .errors import Cancelled, InputError, MedTLError
from .io.into_place import remove_temporary_folders
from .memory import keep_freed_memory, release_freed_memory
from .progress import Remaining, json_line
from .typed_json import encode
from .worker_jobs import JOBS, JobFunction, Request, warm_up

GRACE_SECONDS = 0.8  # for a job to unwind at the end of input
PROGRESS_SECONDS = 0.1  # between two progress lines of a stage


class JobQueue:
    """What both threads share under one lock: the waiting jobs, the running job and the stream of answers."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._changed = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._running: int | str | None = None
        self._cancelled = self._committed = self._ended = False

    def send(self, record: Request) -> None:
        """Write one line. Raises: OSError when nobody reads any more, and that ends the process."""
        with self._changed:
            self._stream.write(json_line(record).encode("ascii"))
            self._stream.flush()

    def add(self, request: Request) -> bool:
        """Queue a job; False, and nothing done, when its id is that of an unfinished one."""
        with self._changed:
            if request["id"] in (self._running, *(waiting["id"] for waiting in self._waiting)):
                return False
            self._waiting.append(request)
            self._changed.notify_all()
            return True

    def cancel(self, job_id: object) -> None:
        """Answer the job with "Cancelled" and drop it; ignored when its output is already in place."""
        with self._changed:
            waiting = [request for request in self._waiting if request["id"] == job_id]
            if waiting:
                self._waiting.remove(waiting[0])
            elif job_id is not None and job_id == self._running and not self._committed and not self._cancelled:
                self._cancelled = True
            else:
                return
            self.send({"id": job_id, **error_event(Cancelled("The job was cancelled."))})

    def next_job(self) -> Request:
        """Wait for the next job and mark it as running."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            request = self._waiting.popleft()
            self._running, self._cancelled, self._committed = request["id"], False, False
            return request

    def progress(
        self, stage: str, fraction: float, seconds_left: float | None, shown: bool, values: Mapping[str, float] = {}
    ) -> None:
        """Send the progress of the running job where it is to be shown. Raises: Cancelled when the job was cancelled or
        input has ended."""
        with self._changed:
            if self._cancelled or self._ended:
                raise Cancelled("The job was cancelled.")
            # The engine calls this between writing its file and renaming it: from here on the answer is "done".
            self._committed = self._committed or (stage == "write" and fraction >= 1.0)
            if shown:
                record = {"event": "progress", "stage": stage, "fraction": fraction, "seconds_left": seconds_left}
                self.send({"id": self._running, **record, **({"values": dict(values)} if values else {})})

    def finish(self, event: Request) -> None:
        """End the running job and send its last event; a cancelled job has been answered already."""
        with self._changed:
            if not self._cancelled and not self._ended:
                self.send({"id": self._running, **event})
            self._running = None
            self._changed.notify_all()

    def shut_down(self, status: int = 0) -> NoReturn:
        """End the process and leave no temporary folder; a running job gets a moment to unwind by itself."""
        # The lock cannot be had while the worker waits at a full pipe that nobody reads.
        if self._changed.acquire(timeout=GRACE_SECONDS):
            self._ended = True
            self._waiting.clear()
            self._changed.wait_for(lambda: self._running is None, GRACE_SECONDS)
        remove_temporary_folders()
        os._exit(status)


def error_event(error: Exception) -> Request:
    """The error event; the kind of errors that are no MedTLError is "InternalError"."""
    meant = isinstance(error, MedTLError)
    message = " ".join((str(error) if meant else repr(error)).split())
    advice = {"advice": error.advice} if isinstance(error, InputError) and error.advice else {}
    return {"event": "error", "kind": type(error).__name__ if meant else "InternalError", "message": message, **advice}


def run_job(work: Callable[[], object]) -> Request:
    """The last event of a job: done with its result, or error."""
    try:
        event: Request = {"event": "done", "result": encode(work())}
        json_line(event)  # a result that is no JSON is this job's error too
    except Exception as error:  # one broken job must not end the warm process
        if not isinstance(error, MedTLError):
            traceback.print_exc()
        return error_event(error)
    return event


class JobProgress:
    """A `Progress` that sends the first and the last call of each stage and otherwise about ten lines a second. Values
    from `note` are sent with the next line."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue, self._remaining = queue, Remaining()
        self._last = ("", 0.0, 0.0)  # stage, fraction and time
        self._values: dict[str, float] = {}

    def note(self, values: Mapping[str, float]) -> None:
        """Keep values to draw until the next line."""
        self._values |= {name: float(value) for name, value in values.items() if math.isfinite(value)}

    def __call__(self, stage: str, fraction: float) -> None:
        fraction, now = float(fraction), time.monotonic()
        left = self._remaining(stage, fraction)
        last_stage, last_fraction, last_time = self._last
        shown = stage != last_stage or fraction >= 1.0 > last_fraction or now - last_time >= PROGRESS_SECONDS
        self._queue.progress(stage, fraction, None if left is None else round(left, 1), shown, self._values)
        if shown:
            self._last, self._values = (stage, fraction, now), {}


def handle_line(line: bytes, queue: JobQueue, jobs: Mapping[str, JobFunction]) -> None:
    """Queue or cancel the job that the line asks for; a line that asks for neither is answered by an error."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    request = request if isinstance(request, dict) else {}
    job_id = request.get("id") if type(request.get("id")) in (int, str) else None
    if "cancel" in request:
        queue.cancel(request["cancel"])
    elif job_id is None or request.get("job") not in tuple(jobs):
        found = line[:80].decode("ascii", "backslashreplace").strip()
        wanted = f"an id and one of the jobs {', '.join(jobs)}, or a cancel"
        error = InputError(f"Expected {wanted}, found {found}. Send one object a line.")
        queue.send({"id": job_id, **error_event(error)})
    elif not queue.add(request):  # an error under this id would end the other job in the client's eyes
        error = InputError(f"Expected a new id, found {job_id!r} of an unfinished job. Count the ids up.")
        queue.send({"id": None, **error_event(error)})


def read_requests(commands: BinaryIO, queue: JobQueue, jobs: Mapping[str, JobFunction]) -> None:
    """Handle requests until the end of input, then end the process."""
    try:
        for line in commands:
            if line.strip():
                handle_line(line, queue, jobs)
    finally:
        queue.shut_down()


def shut_down_on_signals(queue: JobQueue) -> None:
    """Let SIGTERM and SIGHUP end the process as the end of input does."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            # In a thread of its own: the main thread, which runs the handler, may hold the lock or be the job.
            def shut_down(number: int, frame: object) -> None:
                threading.Thread(target=queue.shut_down, args=(128 + number,), daemon=True).start()

            signal.signal(number, shut_down)


def main(jobs: Mapping[str, JobFunction] = JOBS, prepare: Callable[[], None] = warm_up) -> None:
    """Serve requests from standard input until it ends."""
    # Our own copies of both streams: a library that prints must not break the answers, and on Windows one that looks
    # at standard input while it is imported (OpenBLAS does) would wait for the thread that reads it (numpy #24290).
    commands, stream = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    queue = JobQueue(stream)
    path = str(Path(__file__).resolve().parents[1])
    shut_down_on_signals(queue)
    keep_freed_memory()
    queue.send({"event": "ready", "pid": os.getpid(), "version": __version__, "path": path})
    threading.Thread(target=read_requests, args=(commands, queue, jobs), daemon=True).start()
    run_job(prepare)
    while True:
        request = queue.next_job()
        queue.finish(run_job(functools.partial(jobs[request["job"]], request, JobProgress(queue))))
        release_freed_memory()


if __name__ == "__main__":
    main()
