"""One warm process that does jobs: `python -u -P -m medtl.worker`, one ASCII JSON object a line, in and out.

In:  {"id", "job": "segment", "model", "input", "output", "options"} and {"cancel": id}.
     "job": "finetune", "model", "seeds", "output", "options"; and "job": "suggest" or "classify", "model", "input",
     "options".
Out: {"event": "ready", "pid", "version", "path"}; for each job {"id", "event": "progress", "stage", "fraction",
     "seconds_left"}, with "values" (name to number) where there is something to draw, and at last {"id", "event":
     "done", "result"} or {"id", "event": "error", "kind", "message"}.
     A line that is no request is answered by an error, too; its id may be null.

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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TypeVar, get_args, get_type_hints

from . import __version__
from .errors import Cancelled, InputError, MedTLError
from .io.parts import remove_temporary_folders
from .progress import Progress, Remaining, Stopwatch, json_line, rounded_seconds
from .results import SegmentedBatch
from .typed_json import encode

if TYPE_CHECKING:
    from .model.bundle import Model

Request = dict[str, Any]
JobFunction = Callable[[Request, Progress], dict[str, Any]]
Options = TypeVar("Options")

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
    """The error event; the kind of whatever is no MedTLError is "InternalError"."""
    meant = isinstance(error, MedTLError)
    message = " ".join((str(error) if meant else repr(error)).split())
    return {"event": "error", "kind": type(error).__name__ if meant else "InternalError", "message": message}


def run_job(work: Callable[[], object]) -> Request:
    """The last event of a job: done with its result, or error."""
    try:
        event: Request = {"event": "done", "result": work()}
        json_line(event)  # a result that is no JSON is this job's error too
    except Exception as error:  # one broken job must not end the warm process
        if not isinstance(error, MedTLError):
            traceback.print_exc()
        return error_event(error)
    return event


class JobProgress:
    """A `Progress` that sends the first and the last call of each stage and otherwise about ten lines a second; figures
    that were noted go out with the next line."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue, self._remaining = queue, Remaining()
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


def build_options(kind: type[Options], given: Mapping[str, object], **more: object) -> Options:
    """The options of that kind among those given, and `more` beside them. Raises: InputError for a value of a wrong
    type."""
    values: dict[str, object] = dict(more)
    for name, allowed in types_of(kind).items():
        if name not in given or name in more:
            continue
        value = given[name]
        values[name] = Path(value) if Path in allowed and isinstance(value, str) else value
        if not isinstance(values[name], allowed) or (isinstance(value, bool) and bool not in allowed):
            wanted = " or ".join(each.__name__ for each in allowed)
            raise InputError(f"Expected {wanted} for the option {name}, found {value!r}. Correct it or leave it out.")
    return kind(**values)


def types_of(kind: type) -> dict[str, tuple[type, ...]]:
    """The types that each option of that kind may have."""
    return {name: get_args(hint) or (hint,) for name, hint in get_type_hints(kind).items()}


def check_names(given: Mapping[str, object], *kinds: type, without: str = "") -> None:
    """Raise InputError for an option that none of these kinds has; `without` is a field that is no option."""
    names = [name for kind in kinds for name in types_of(kind) if name != without]
    for name in given:
        if name not in names:
            raise InputError(f"Expected options among {', '.join(names)}, found {name!r}. Correct it or leave it out.")


@dataclass(frozen=True)
class DeviceOptions:
    """Where a model is loaded."""

    device: str = "auto"


@dataclass(frozen=True)
class SuggestOptions:
    """How many slices are proposed. Raises: InputError when there is none."""

    count: int = 5

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"Expected 1 slice or more for the option count, found {self.count}. Correct it.")


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


def check_request(request: Request, *names: str) -> Request:
    """The request with options. Raises: InputError when one of these texts, or an object of options, is missing."""
    request = {"options": {}, **request}
    for name, kind in {**dict.fromkeys(names, str), "options": dict}.items():
        if not isinstance(request.get(name), kind) or request[name] == "":
            raise InputError(f"Expected {name} ({kind.__name__}), found {request.get(name)!r}. Send it with the job.")
    return request


def run_segment(request: Request, progress: Progress) -> dict[str, Any]:
    """The object of `medtl segment --json` for one input; `options` holds the reading, inference and output options
    side by side."""
    from .segmentation import InferenceOptions, OutputOptions, ReadOptions, segment_file

    request = check_request(request, "model", "input", "output")
    given = request["options"]
    check_names(given, ReadOptions, InferenceOptions, OutputOptions, DeviceOptions, without="labelmap")
    outputs = build_options(OutputOptions, given, labelmap=Path(request["output"]))
    reading, inference = build_options(ReadOptions, given), build_options(InferenceOptions, given)
    loading = Stopwatch(progress)
    loading("load", 0.0)
    model = warm_model(request["model"], build_options(DeviceOptions, given).device)
    loading("load", 1.0)
    loading.stop()
    result = segment_file(Path(request["input"]), model, outputs, reading, inference, progress)
    result = replace(result, seconds=rounded_seconds("segment", {**loading.seconds, **result.seconds}))
    answer: dict[str, Any] = encode(SegmentedBatch(model.card.name, model.sha256, (result,), ()))
    return answer


def run_finetune(request: Request, progress: Progress) -> dict[str, Any]:
    """The object of `medtl finetune --json` for a list of SEEDs."""
    from .finetuning.files import TuningFiles, finetune_files
    from .finetuning.run import FinetuneOptions, TimeBudget, ignore_values

    request = check_request(request, "model", "seeds", "output")
    check_names(request["options"], FinetuneOptions)
    options = build_options(FinetuneOptions, request["options"])
    budget = TimeBudget(options.budget)
    progress("load", 0.0)
    model = warm_model(request["model"], options.device)
    on_values = progress.note if isinstance(progress, JobProgress) else ignore_values
    files = TuningFiles(request["output"], seeds=Path(request["seeds"]))
    return finetune_files(model, files, options, progress, on_values, budget)


def run_suggest(request: Request, progress: Progress) -> dict[str, Any]:
    """The object of `medtl suggest --json` for one input; `count` is among the options."""
    from .finetuning.suggest import suggest_file
    from .segmentation import InferenceOptions, OutputOptions, ReadOptions

    request = check_request(request, "model", "input")
    given = request["options"]
    check_names(given, ReadOptions, InferenceOptions, OutputOptions, DeviceOptions, SuggestOptions, without="labelmap")
    count, inference = build_options(SuggestOptions, given).count, build_options(InferenceOptions, given)
    progress("load", 0.0)
    model = warm_model(request["model"], build_options(DeviceOptions, given).device)
    return suggest_file(Path(request["input"]), model, count, inference, progress)


def run_classify(request: Request, progress: Progress) -> dict[str, Any]:
    """The object of `medtl classify --json` for one input."""
    from .classification.classify import ClassifyOptions, classify_file

    request = check_request(request, "model", "input")
    check_names(request["options"], ClassifyOptions)
    options = build_options(ClassifyOptions, request["options"])
    progress("load", 0.0)
    model = warm_model(request["model"], options.device, "classification")
    result = encode(classify_file(Path(request["input"]), model, options, progress))
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
    queue = JobQueue(stream)
    path = str(Path(__file__).resolve().parents[1])
    shut_down_on_signals(queue)
    queue.send({"event": "ready", "pid": os.getpid(), "version": __version__, "path": path})
    threading.Thread(target=read_requests, args=(commands, queue, jobs), daemon=True).start()
    run_job(prepare)
    while True:
        request = queue.next_job()
        queue.finish(run_job(functools.partial(jobs[request["job"]], request, JobProgress(queue))))


if __name__ == "__main__":
    main()
