"""One warm process that does jobs: `python -u -P -m medtl.worker`, one ASCII JSON object a line, in and out.

In:  {"id", "job": "segment", "model", "input", "output", "options"} and {"cancel": id}.
     "job": "finetune", "model", "seeds", "output", "options"; and "job": "suggest" or "classify", "model", "input",
     "options".
Out: {"event": "ready", "pid", "version", "path"}; for each job {"id", "event": "progress", "stage", "fraction",
     "seconds_left"}, with "values" (name to number) where there is something to draw, and at last {"id", "event":
     "done", "result"} or {"id", "event": "error", "kind", "message"}.
     A line that is no request is answered by an error, too; its id may be null.

The main thread works, one job at a time. A second one listens, so that a cancel or the end of input is answered
while the first sits in one long library call.
"""

import functools
import gc
import json
import math
import os
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, get_args, get_type_hints

from . import __version__
from .errors import Cancelled, InputError, MedTLError
from .progress import Progress, Remaining, Stopwatch, json_line

if TYPE_CHECKING:
    from .model.bundle import Model

Request = dict[str, Any]
JobFunction = Callable[[Request, Progress], dict[str, Any]]
Options = TypeVar("Options")

GRACE_SECONDS = 0.8  # for a job to unwind at the end of input
PROGRESS_SECONDS = 0.1  # between two progress lines of a stage


class Desk:
    """What both threads share: the jobs that wait, the one that runs, and the stream of answers, under one lock."""

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
        """Answer the job with "Cancelled" and forget it; too late once its output stands, and then ignored."""
        with self._changed:
            waiting = [request for request in self._waiting if request["id"] == job_id]
            if waiting:
                self._waiting.remove(waiting[0])
            elif job_id is not None and job_id == self._running and not self._committed and not self._cancelled:
                self._cancelled = True
            else:
                return
            self.send({"id": job_id, **failure(Cancelled("The job was cancelled."))})

    def take(self) -> Request:
        """Wait for the next job and mark it as running."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            request = self._waiting.popleft()
            self._running, self._cancelled, self._committed = request["id"], False, False
            return request

    def progress(
        self, stage: str, fraction: float, seconds_left: float | None, shown: bool, values: Mapping[str, float] = {}
    ) -> None:
        """Pass on a report of the running job. Raises: Cancelled when the job was cancelled or input has ended."""
        with self._changed:
            if self._cancelled or self._ended:
                raise Cancelled("The job was cancelled.")
            # The engine reports this between writing its file and renaming it: from here on the answer is "done".
            self._committed = self._committed or (stage == "write" and fraction >= 1.0)
            if shown:
                record = {"event": "progress", "stage": stage, "fraction": fraction, "seconds_left": seconds_left}
                self.send({"id": self._running, **record, **({"values": dict(values)} if values else {})})

    def answer(self, record: Request) -> None:
        """End the running job; what a cancelled one came to is dropped, it has been answered."""
        with self._changed:
            if not self._cancelled and not self._ended:
                self.send({"id": self._running, **record})
            self._running = None
            self._changed.notify_all()

    def end(self) -> None:
        """End the process, without a temporary folder left; a running job gets a moment to unwind by itself."""
        # The lock is not to be had while the worker is stuck in a full pipe that nobody reads.
        if self._changed.acquire(timeout=GRACE_SECONDS):
            self._ended = True
            self._waiting.clear()
            self._changed.wait_for(lambda: self._running is None, GRACE_SECONDS)
        for item in gc.get_objects():
            if type(item) is tempfile.TemporaryDirectory:
                with suppress(OSError):  # a file that is still open, on Windows
                    item.cleanup()
        os._exit(0)


def failure(error: Exception) -> Request:
    """The error event; all that is no MedTLError is "InternalError"."""
    meant = isinstance(error, MedTLError)
    message = " ".join((str(error) if meant else repr(error)).split())
    return {"event": "error", "kind": type(error).__name__ if meant else "InternalError", "message": message}


def outcome(work: Callable[[], object]) -> Request:
    """The event that the work ended with: done, or error."""
    try:
        event: Request = {"event": "done", "result": work()}
        json_line(event)  # a result that is no JSON is this job's error too
    except Exception as error:  # one broken job must not take the warm process along
        if not isinstance(error, MedTLError):
            traceback.print_exc()
        return failure(error)
    return event


class Reporter:
    """A report that sends the first and the last of each stage and otherwise about ten lines a second. What was noted
    goes out with the next line."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._remaining = desk, Remaining()
        self._last = ("", 0.0, 0.0)  # stage, fraction and time
        self._values: dict[str, float] = {}

    def note(self, values: Mapping[str, float]) -> None:
        """Figures to draw."""
        self._values |= {name: float(value) for name, value in values.items() if math.isfinite(value)}

    def __call__(self, stage: str, fraction: float) -> None:
        fraction, now = float(fraction), time.monotonic()
        left = self._remaining(stage, fraction)
        last_stage, last_fraction, last_time = self._last
        shown = stage != last_stage or fraction >= 1.0 > last_fraction or now - last_time >= PROGRESS_SECONDS
        self._desk.progress(stage, fraction, None if left is None else round(left, 1), shown, self._values)
        if shown:
            self._last, self._values = (stage, fraction, now), {}


def understand(line: bytes, desk: Desk, jobs: Mapping[str, JobFunction]) -> None:
    """Do what one line asks for: queue a job or cancel one. A line that asks for neither is answered by an error."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    request = request if isinstance(request, dict) else {}
    job_id = request.get("id") if type(request.get("id")) in (int, str) else None
    if "cancel" in request:
        desk.cancel(request["cancel"])
    elif job_id is None or request.get("job") not in tuple(jobs):
        found = line[:80].decode("ascii", "backslashreplace").strip()
        wanted = f"an id and one of the jobs {', '.join(jobs)}, or a cancel"
        desk.send({"id": job_id, **failure(InputError(f"Expected {wanted}, found {found}. Send one object a line."))})
    elif not desk.add(request):  # an error under this id would end the other job in the client's eyes
        error = InputError(f"Expected a new id, found {job_id!r} of an unfinished job. Count the ids up.")
        desk.send({"id": None, **failure(error)})


def listen(commands: BinaryIO, desk: Desk, jobs: Mapping[str, JobFunction]) -> None:
    """Read requests until the end of input, then end the process."""
    try:
        for line in commands:
            if line.strip():
                understand(line, desk, jobs)
    finally:
        desk.end()


def build_options(kind: type[Options], given: dict[str, object]) -> Options:
    """The options of a job from its JSON object. Raises: InputError for an unknown name or a value of a wrong type."""
    types = {name: get_args(hint) or (hint,) for name, hint in get_type_hints(kind).items()}
    values: dict[str, object] = {}
    for name, value in given.items():
        if name not in types:
            raise InputError(f"Expected options among {', '.join(types)}, found {name!r}. Correct it or leave it out.")
        allowed = types[name]
        values[name] = Path(value) if Path in allowed and isinstance(value, str) else value
        if not isinstance(values[name], allowed) or (isinstance(value, bool) and bool not in allowed):
            wanted = " or ".join(each.__name__ for each in allowed)
            raise InputError(f"Expected {wanted} for the option {name}, found {value!r}. Correct it or leave it out.")
    return kind(**values)


def warm_model(name: str, device: str, task: str = "segmentation") -> "Model":
    """The model on its device, kept from job to job as long as its files stay as they are."""
    from .model.store import find_model

    folder = find_model(name).resolve()
    stats = [file.stat() for file in sorted(folder.rglob("*"))]
    return _load(str(folder), device, task, tuple((stat.st_mtime_ns, stat.st_size) for stat in stats))


@functools.lru_cache(maxsize=3)
def _load(folder: str, device: str, task: str, state: tuple[tuple[int, int], ...]) -> "Model":
    # `state` is part of the key alone: a bundle that changed on disk is another model.
    from .model.bundle import load_model

    return load_model(folder, device, task)


def checked(request: Request, *names: str) -> Request:
    """The request with options. Raises: InputError when one of these texts, or an object of options, is not there."""
    request = {"options": {}, **request}
    for name, kind in {**dict.fromkeys(names, str), "options": dict}.items():
        if not isinstance(request.get(name), kind) or request[name] == "":
            raise InputError(f"Expected {name} ({kind.__name__}), found {request.get(name)!r}. Send it with the job.")
    return request


def run_segment(request: Request, progress: Progress) -> dict[str, Any]:
    """The object of `medtl segment --json` for one input."""
    from .segmentation import SegmentOptions, segment_file

    request = checked(request, "model", "input", "output")
    options = build_options(SegmentOptions, request["options"])
    loading = Stopwatch(progress)
    loading("load", 0.0)
    model = warm_model(request["model"], options.device)
    loading("load", 1.0)
    loading.stop()
    result = segment_file(Path(request["input"]), model, Path(request["output"]), options, progress)
    result["seconds"] = {"load": round(loading.seconds["load"], 3), **result["seconds"]}
    return {"model": model.card.name, "sha256": model.sha256, "results": [result], "errors": []}


def run_finetune(request: Request, progress: Progress) -> dict[str, Any]:
    """The object of `medtl finetune --json` for a list of SEEDs."""
    from .finetuning.files import TuningFiles, finetune_files
    from .finetuning.run import FinetuneOptions, TimeBudget, ignore_values

    request = checked(request, "model", "seeds", "output")
    options = build_options(FinetuneOptions, request["options"])
    budget = TimeBudget(options.budget)
    progress("load", 0.0)
    model = warm_model(request["model"], options.device)
    on_values = progress.note if isinstance(progress, Reporter) else ignore_values
    files = TuningFiles(request["output"], seeds=Path(request["seeds"]))
    return finetune_files(model, files, options, progress, on_values, budget)


def run_suggest(request: Request, progress: Progress) -> dict[str, Any]:
    """The object of `medtl suggest --json` for one input; `count` is among the options."""
    from .finetuning.suggest import suggest_file
    from .segmentation import SegmentOptions

    request = checked(request, "model", "input")
    given = dict(request["options"])
    count = given.pop("count", 5)
    if type(count) is not int or count < 1:
        raise InputError(f"Expected 1 slice or more for the option count, found {count!r}. Correct it.")
    options = build_options(SegmentOptions, given)
    progress("load", 0.0)
    return suggest_file(Path(request["input"]), warm_model(request["model"], options.device), count, options, progress)


def run_classify(request: Request, progress: Progress) -> dict[str, Any]:
    """The object of `medtl classify --json` for one input."""
    from .classification.classify import ClassifyOptions, classify_file

    request = checked(request, "model", "input")
    options = build_options(ClassifyOptions, request["options"])
    progress("load", 0.0)
    model = warm_model(request["model"], options.device, "classification")
    result = classify_file(Path(request["input"]), model, options, progress)
    facts = {"model": model.card.name, "version": model.card.version, "sha256": model.sha256}
    return {**facts, "results": [result], "errors": []}


def warm_up() -> None:
    """Import what every job needs, while the user is still choosing."""
    from . import segmentation  # noqa: F401
    from .model import networks  # noqa: F401


JOBS: dict[str, JobFunction] = {
    "segment": run_segment,
    "finetune": run_finetune,
    "suggest": run_suggest,
    "classify": run_classify,
}


def main(jobs: Mapping[str, JobFunction] = JOBS, prepare: Callable[[], None] = warm_up) -> None:
    """Serve requests from standard input until it ends."""
    # Our own copies of both streams: a library that prints must not break the answers, and on Windows one that looks
    # at standard input while it is imported (OpenBLAS does) would wait for the thread that reads it (numpy #24290).
    commands, stream = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    desk = Desk(stream)
    path = str(Path(__file__).resolve().parents[1])
    desk.send({"event": "ready", "pid": os.getpid(), "version": __version__, "path": path})
    threading.Thread(target=listen, args=(commands, desk, jobs), daemon=True).start()
    outcome(prepare)
    while True:
        request = desk.take()
        desk.answer(outcome(functools.partial(jobs[request["job"]], request, Reporter(desk))))


if __name__ == "__main__":
    main()
