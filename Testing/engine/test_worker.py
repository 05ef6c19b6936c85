"""The worker as its client sees it: real processes, with jobs made for the test. Run as a script, this file is one."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medtl import __version__, worker, worker_jobs
from medtl.errors import Cancelled, InputError
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_whole
from medtl.model.bundle import load_model
from medtl.model.card import load_card
from medtl.phantom import head
from medtl.progress import Progress, no_progress
from medtl.results import SegmentedFile
from medtl.segmentation import InferenceOptions, OutputOptions, ReadOptions, segment_file
from medtl.typed_json import encode

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("read", "load", "prepare", "infer", "clean", "write")
PATIENCE = 30.0  # seconds until a wait is given up, on a loaded machine


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


# The jobs. `block` names a stage in which the job sits until the file `go` is there; `here` is there meanwhile;
# with `reports` it goes on reporting meanwhile, without it is like one long library call.


def sit(request: dict[str, Any], stage: str, progress: Progress) -> None:
    options = request["options"]
    if options.get("block") == stage:
        Path(options["here"]).touch()
        try:
            while not Path(options["go"]).exists():
                if options.get("reports"):
                    progress(stage, 0.5)
                time.sleep(0.005)
        finally:
            Path(options["here"]).unlink()


def fake_segment(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    def write(part: Path) -> None:
        part.write_text("labels")
        sit(request, "write", progress)
        progress("write", 1.0)
        sit(request, "committed", no_progress)

    for stage in STAGES:
        progress(stage, 0.0)
        if stage == "write":
            write_whole(Path(request["output"]), write)
        else:
            sit(request, stage, progress)
            progress(stage, 1.0)
    return {"output": request["output"]}


def talk(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    sys.stdout.write("a library prints\n")
    os.write(1, b"and so does C\n")
    subprocess.run([sys.executable, "-c", "print('and a child')"], check=True)
    return {"heard": sys.stdin.read()}


def fail(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    if request["options"].get("expected"):
        raise InputError("Expected a volume,\nfound none. Choose one.", advice=request["options"].get("advice", {}))
    raise KeyError("no\nsuch key")


def count(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    for n in range(20001):
        progress("infer", n / 20000)
    return {"value": float("nan") if request["options"].get("nan") else 1.0}


def flood(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    progress("a long line" * 100_000, 0.0)
    return {}


def slow_imports() -> None:
    if "WARM_HERE" in os.environ:
        Path(os.environ["WARM_HERE"]).touch()
        wait_until(lambda: Path(os.environ["WARM_GO"]).exists())


FAKES = {"segment": fake_segment, "talk": talk, "fail": fail, "count": count, "flood": flood}


class Client:
    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-P", *(arguments or (__file__,))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])} | environment,
        )
        self.lines: queue.Queue[tuple[float, bytes]] = queue.Queue()
        self.complaints = b""
        self._threads = [threading.Thread(target=self._read_lines), threading.Thread(target=self._read_complaints)]

    def listen(self) -> "Client":
        for thread in self._threads:
            thread.start()
        return self

    def _read_lines(self) -> None:
        for line in self.process.stdout:
            self.lines.put((time.monotonic(), line))
        self.lines.put((time.monotonic(), b""))

    def _read_complaints(self) -> None:
        for line in self.process.stderr:
            self.complaints += line

    def send(self, record: object) -> float:
        line = record if isinstance(record, bytes) else json.dumps(record).encode()
        sent = time.monotonic()
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()
        return sent

    def read(self) -> dict[str, Any]:
        self.received, line = self.lines.get(timeout=PATIENCE)
        assert line, f"the worker ended: {self.complaints.decode()}"
        return json.loads(line)

    def answer(self) -> dict[str, Any]:
        """The next line that is no progress."""
        while (record := self.read())["event"] == "progress":
            pass
        return record

    def rest(self) -> list[dict[str, Any]]:
        """End the input; what the worker still said, and how long it took to end is in `ended_after`."""
        closed = time.monotonic()
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.ended_after = time.monotonic() - closed
        for thread in self._threads:
            thread.join(PATIENCE)
        return [json.loads(line) for _, line in self.lines.queue if line]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        for thread in self._threads:
            if thread.ident:
                thread.join(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):  # what was not sent any more
                stream.close()


@dataclass
class Case:
    """A job of the test: its request, the output it writes and the files that hold it up."""

    request: dict[str, Any]
    output: Path
    here: Path
    go: Path

    def left(self) -> list[str]:
        return sorted(path.name for path in self.output.parent.iterdir())


def make_case(folder: Path, job_id: int | str = 1, **options: Any) -> Case:
    out = folder / f"out{job_id}"
    out.mkdir()
    here, go = folder / f"here{job_id}", folder / f"go{job_id}"
    options = {"here": str(here), "go": str(go), **options}
    output = out / "tumour.seg.nrrd"
    request = {"id": job_id, "job": "segment", "model": "m", "input": "i", "output": str(output), "options": options}
    return Case(request, output, here, go)


@pytest.fixture
def start() -> Iterator[Callable[..., Client]]:
    clients = []

    def start_one(*arguments: str, **environment: str) -> Client:
        clients.append(Client(*arguments, **environment))
        return clients[-1].listen()

    yield start_one
    for client in clients:
        client.stop()


@pytest.fixture
def client(start: Callable[..., Client]) -> Client:
    one = start()
    assert one.read()["event"] == "ready"
    return one


def test_the_first_line_says_who_is_there_before_anything_heavy_is_loaded(start: Callable[..., Client]) -> None:
    code = (
        "import sys; from medtl import worker; heavy = lambda r, p: {'heavy': [m for m in r['of'] if m in sys.modules]}"
    )
    client = start("-c", f"{code}; worker.main(jobs={{'heavy': heavy}}, prepare=lambda: None)")
    ready = client.read()
    assert ready == {"event": "ready", "pid": client.process.pid, "version": __version__, "path": str(ROOT)}
    client.send({"id": 1, "job": "heavy", "of": ["torch", "SimpleITK", "numpy", "monai"]})
    assert client.answer() == {"id": 1, "event": "done", "result": {"heavy": []}}


def test_a_job_reports_every_stage_and_then_its_result(client: Client, tmp_path: Path) -> None:
    case = make_case(tmp_path, "körper")
    client.send(case.request)
    progress = []
    while (record := client.read())["event"] == "progress":
        progress.append(record)
    assert [(p["stage"], p["fraction"]) for p in progress] == [(s, f) for s in STAGES for f in (0.0, 1.0)]
    assert all(set(p) == {"id", "event", "stage", "fraction", "seconds_left"} for p in progress)
    assert record == {"id": "körper", "event": "done", "result": {"output": str(case.output)}}
    assert case.left() == ["tumour.seg.nrrd"]


def test_progress_is_thinned_but_keeps_the_first_and_the_last_line_of_a_stage(client: Client) -> None:
    sent = client.send({"id": 1, "job": "count", "options": {}})
    fractions = []
    while (record := client.read())["event"] == "progress":
        fractions.append(record["fraction"])
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert fractions == sorted(set(fractions))
    assert len(fractions) <= 2 + (client.received - sent) / worker.PROGRESS_SECONDS


def test_what_libraries_print_goes_to_standard_error_and_standard_input_is_not_theirs(client: Client) -> None:
    client.send({"id": 1, "job": "talk", "options": {}})
    client.send({"id": 2, "job": "talk", "options": {}})
    assert client.read() == {"id": 1, "event": "done", "result": {"heard": ""}}
    assert client.read() == {"id": 2, "event": "done", "result": {"heard": ""}}
    assert client.rest() == []
    for words in (b"a library prints", b"and so does C", b"and a child"):
        assert client.complaints.count(words) == 2


def test_jobs_are_done_one_at_a_time_in_the_order_they_came(client: Client, tmp_path: Path) -> None:
    first, *others = (make_case(tmp_path, n, block="infer" if n == 3 else "") for n in (3, 1, 2))
    for case in (first, *others):
        client.send(case.request)
    wait_until(first.here.exists)
    assert not any(case.output.exists() for case in others)
    first.go.touch()
    records = [client.read() for _ in range(39)]
    assert [record["id"] for record in records] == [3] * 13 + [1] * 13 + [2] * 13
    assert [record["id"] for record in records if record["event"] == "done"] == [3, 1, 2]


@pytest.mark.parametrize("reports", [True, False], ids=["reporting", "in one long call"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_cancel_is_answered_within_a_second(client: Client, tmp_path: Path, stage: str, reports: bool) -> None:
    case, after = make_case(tmp_path, 1, block=stage, reports=reports), make_case(tmp_path, 2)
    client.send(case.request)
    wait_until(case.here.exists)
    sent = client.send({"cancel": 1})
    assert client.answer() == {"id": 1, "event": "error", "kind": "Cancelled", "message": "The job was cancelled."}
    assert client.received - sent < 1.0
    # The call ends later: nothing more is said about the job, nothing is written, and the next one is served.
    client.send({"cancel": 1})
    client.send(after.request)
    case.go.touch()
    while (record := client.read())["event"] == "progress":
        assert record["id"] == 2
    assert (record["id"], record["event"]) == (2, "done")
    assert case.left() == []
    assert client.rest() == []


def test_a_cancel_that_comes_when_the_output_stands_is_ignored(client: Client, tmp_path: Path) -> None:
    case = make_case(tmp_path, block="committed")
    client.send(case.request)
    wait_until(case.here.exists)
    client.send({"cancel": 1})
    client.send(b"{}")  # its answer says that the cancel has been read
    assert client.answer()["kind"] == "InputError"
    case.go.touch()
    assert client.answer()["event"] == "done"
    assert case.left() == ["tumour.seg.nrrd"]


def test_a_queued_job_is_cancelled_without_touching_the_one_that_runs(client: Client, tmp_path: Path) -> None:
    first, second, third = (make_case(tmp_path, n, block="infer" if n == 1 else "") for n in (1, 2, 3))
    for case in (first, second, third):
        client.send(case.request)
    wait_until(first.here.exists)
    sent = client.send({"cancel": 2})
    record = client.answer()
    assert (record["id"], record["kind"]) == (2, "Cancelled")
    assert client.received - sent < 1.0
    first.go.touch()
    assert [client.answer()["id"] for _ in range(2)] == [1, 3]
    assert client.rest() == []
    assert (first.left(), second.left(), third.left()) == (["tumour.seg.nrrd"], [], ["tumour.seg.nrrd"])


def test_a_job_is_cancelled_while_the_worker_is_still_loading(start: Callable[..., Client], tmp_path: Path) -> None:
    here, go = tmp_path / "here", tmp_path / "go"
    client = start(WARM_HERE=str(here), WARM_GO=str(go))
    assert client.read()["event"] == "ready"
    wait_until(here.exists)
    first, second = make_case(tmp_path, 1), make_case(tmp_path, 2)
    client.send(first.request)
    client.send(second.request)
    sent = client.send({"cancel": 1})
    assert client.read()["kind"] == "Cancelled"
    assert client.received - sent < 1.0
    go.touch()
    assert client.answer()["id"] == 2
    assert first.left() == []


@pytest.mark.parametrize("job_id", [2, "1", None, [1], {}])
def test_a_cancel_of_a_job_that_is_not_there_is_ignored(client: Client, tmp_path: Path, job_id: object) -> None:
    case = make_case(tmp_path, block="infer")
    client.send(case.request)
    wait_until(case.here.exists)
    client.send({"cancel": job_id})
    case.go.touch()
    assert client.answer()["event"] == "done"
    client.send({"cancel": job_id})
    assert client.rest() == []


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
@pytest.mark.parametrize("reports", [True, False], ids=["reporting", "in one long call"])
def test_a_signal_ends_a_job_without_a_trace(
    client: Client, tmp_path: Path, name: str, status: int, reports: bool
) -> None:
    case = make_case(tmp_path, 1, block="write", reports=reports)
    client.send(case.request)
    wait_until(case.here.exists)
    assert len(case.left()) == 1
    client.process.send_signal(getattr(signal, name))
    assert client.process.wait(PATIENCE) == status
    assert case.left() == []


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_a_signal_ends_an_idle_worker(client: Client) -> None:
    client.process.send_signal(signal.SIGTERM)
    assert client.process.wait(PATIENCE) == 143


def test_the_end_of_input_ends_an_idle_worker(client: Client) -> None:
    assert client.rest() == []
    assert client.process.returncode == 0
    assert client.ended_after < 2.0


def test_the_end_of_input_ends_a_worker_that_is_still_loading(start: Callable[..., Client], tmp_path: Path) -> None:
    here, go = tmp_path / "here", tmp_path / "go"
    client = start(WARM_HERE=str(here), WARM_GO=str(go))
    wait_until(here.exists)
    client.send(make_case(tmp_path).request)
    assert [record["event"] for record in client.rest()] == ["ready"]
    assert client.process.returncode == 0
    assert client.ended_after < 2.0


def test_the_end_of_input_ends_the_real_worker_while_it_imports_torch(start: Callable[..., Client]) -> None:
    client = start("-m", "medtl.worker")
    assert client.read()["event"] == "ready"
    assert client.rest() == []
    assert client.process.returncode == 0
    assert client.ended_after < 2.0


@pytest.mark.parametrize("reports", [True, False], ids=["reporting", "in one long call"])
@pytest.mark.parametrize("stage", STAGES)
def test_the_end_of_input_ends_a_job_without_a_trace(client: Client, tmp_path: Path, stage: str, reports: bool) -> None:
    case, waiting = make_case(tmp_path, 1, block=stage, reports=reports), make_case(tmp_path, 2)
    client.send(case.request)
    client.send(waiting.request)
    wait_until(case.here.exists)
    assert len(case.left()) == (stage == "write")  # the temporary folder
    assert all(record["event"] in ("progress", "ready") for record in client.rest())
    assert client.process.returncode == 0
    assert client.ended_after < 2.0
    assert case.here.exists() == (not reports)  # a job that can be reached unwinds by itself
    assert (case.left(), waiting.left()) == ([], [])


def test_the_end_of_input_ends_a_worker_whose_answers_nobody_reads() -> None:
    client = Client()  # not listening
    try:
        client.send({"id": 1, "job": "flood", "options": {}})
        assert json.loads(client.process.stdout.readline())["event"] == "ready"
        assert b"a long line" in client.process.stdout.read(100)  # the rest does not fit into the pipe
        closed = time.monotonic()
        client.process.stdin.close()
        client.process.wait(PATIENCE)
        assert time.monotonic() - closed < 2.0
    finally:
        client.stop()


def test_a_worker_whose_reader_is_gone_ends_without_a_trace(tmp_path: Path) -> None:
    client = Client()
    case = make_case(tmp_path, block="write", reports=True)
    try:
        client.send(case.request)
        wait_until(case.here.exists)
        client.process.stdout.close()
        client.process.wait(PATIENCE)
        assert case.left() == []
    finally:
        client.stop()


def test_a_killed_worker_leaves_no_half_output_and_the_old_one_whole(client: Client, tmp_path: Path) -> None:
    case = make_case(tmp_path, block="write")
    case.output.write_text("the result of yesterday")
    client.send(case.request)
    wait_until(case.here.exists)
    client.process.kill()
    client.process.wait(PATIENCE)
    assert case.output.read_text() == "the result of yesterday"


@pytest.mark.parametrize(
    ("line", "job_id"),
    [
        (b"not json", None),
        (b"\xff\xfe{}", None),
        (b"[" * 100_000, None),
        (b"[1, 2]", None),
        (b"7", None),
        (b'{"id": 5}', 5),
        (b'{"id": 5, "job": "paint"}', 5),
        (b'{"id": "a", "job": ["segment"]}', "a"),
        (b'{"job": "segment"}', None),
        (b'{"id": null, "job": "segment"}', None),
        (b'{"id": true, "job": "segment"}', None),
        (b'{"id": [1], "job": "segment"}', None),
    ],
)
def test_a_line_that_is_no_request_gets_one_error(client: Client, line: bytes, job_id: object) -> None:
    client.send(b"")
    client.send(line)
    record = client.read()
    assert (record["id"], record["event"], record["kind"]) == (job_id, "error", "InputError")
    assert record["message"].startswith("Expected ")
    assert len(record["message"]) < 300
    assert "\n" not in record["message"]
    client.send({"id": 6, "job": "count", "options": {}})
    assert client.answer()["event"] == "done"
    assert client.rest() == []
    assert client.complaints == b""


def test_a_second_job_under_an_id_in_use_is_refused_and_the_first_goes_on(client: Client, tmp_path: Path) -> None:
    case = make_case(tmp_path, block="infer")
    client.send(case.request)
    wait_until(case.here.exists)
    client.send(case.request)
    record = client.answer()
    assert (record["id"], record["kind"]) == (None, "InputError")
    case.go.touch()
    assert client.answer()["event"] == "done"
    client.send(case.request)  # the id is free again
    assert client.answer()["event"] == "done"


def test_a_job_that_fails_is_answered_on_one_line_and_the_next_one_works(client: Client) -> None:
    client.send({"id": 1, "job": "fail", "options": {"expected": True}})
    message = "Expected a volume, found none. Choose one."
    assert client.read() == {"id": 1, "event": "error", "kind": "InputError", "message": message}
    client.send({"id": 5, "job": "fail", "options": {"expected": True, "advice": {"budget": 30.0}}})
    assert client.read()["advice"] == {"budget": 30.0}
    client.send({"id": 2, "job": "fail", "options": {}})
    record = client.read()
    assert (record["kind"], record["message"]) == ("InternalError", r"KeyError('no\nsuch key')")
    client.send({"id": 3, "job": "count", "options": {"nan": True}})
    assert client.answer()["kind"] == "InternalError"
    client.send({"id": 4, "job": "count", "options": {}})
    assert client.answer() == {"id": 4, "event": "done", "result": {"value": 1.0}}
    client.rest()
    assert client.complaints.count(b"Traceback") == 2  # none for the error that is the user's


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A bundle on disk and an engine that counts how often it is loaded."""
    folder = tmp_path / "models" / "glioma"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    seen = SimpleNamespace(folder=folder, loads=[], calls=[])

    def load_model(name: str, device: str = "auto", task: str = "segmentation") -> SimpleNamespace:
        seen.loads.append((name, device))
        content = (folder / "model.safetensors").read_bytes().hex()
        return SimpleNamespace(card=SimpleNamespace(name="glioma"), sha256=content, folder=folder)

    def segment_file(
        sources: tuple[Path, ...],
        model: Any,
        outputs: OutputOptions,
        reading: ReadOptions,
        options: InferenceOptions,
        progress: Progress,
    ) -> SegmentedFile:
        seen.calls.append((sources, outputs, reading, options))
        given = ",".join(map(str, sources))
        return SegmentedFile(given, str(outputs.labelmap), (), {"read": 0.25}, ("small field of view",), "fp32")

    monkeypatch.setattr("medtl.model.store.find_model", lambda name: folder)
    monkeypatch.setattr("medtl.model.bundle.load_model", load_model)
    monkeypatch.setattr("medtl.segmentation.segment_file", segment_file)
    worker_jobs._load.cache_clear()
    return seen


def segment_request(**options: object) -> dict[str, Any]:
    return {"id": 1, "job": "segment", "model": "glioma", "input": "a.nrrd", "output": "b.nrrd", "options": options}


def test_segment_answers_with_the_object_of_the_command(engine: SimpleNamespace) -> None:
    options = {"device": "cpu", "frame": 2, "cleanup": False, "uncertainty": "u.nrrd"}
    reports: list[tuple[str, float]] = []
    result = encode(
        worker_jobs.run_segment(segment_request(**options), lambda stage, fraction: reports.append((stage, fraction)))
    )
    seconds = result["results"][0].pop("seconds")
    assert result == {
        "model": "glioma",
        "sha256": b"weights".hex(),
        "results": [
            {
                "input": "a.nrrd",
                "output": "b.nrrd",
                "segments": [],
                "warnings": ["small field of view"],
                "precision": "fp32",
            }
        ],
        "errors": [],
    }
    assert (set(seconds), seconds["read"]) == ({"load", "read"}, 0.25)
    assert reports == [("load", 0.0), ("load", 1.0)]
    outputs = OutputOptions(Path("b.nrrd"), uncertainty=Path("u.nrrd"))
    assert engine.calls == [((Path("a.nrrd"),), outputs, ReadOptions(frame=2), InferenceOptions(cleanup=False))]
    assert engine.loads == [(str(engine.folder.resolve()), "cpu")]


def test_the_input_of_several_channels_is_a_list_of_paths(engine: SimpleNamespace) -> None:
    worker_jobs.run_segment(segment_request() | {"input": ["t2.nrrd", "flair.nrrd"]}, no_progress)
    assert engine.calls[0][0] == (Path("t2.nrrd"), Path("flair.nrrd"))


@pytest.mark.parametrize("given", [[], [""], ["a.nrrd", 3], 3, "", None, {"T2": "a.nrrd"}])
def test_an_input_that_is_no_path_is_refused(given: object, engine: SimpleNamespace) -> None:
    for run in (worker_jobs.run_segment, worker_jobs.run_suggest):
        with pytest.raises(InputError, match=r"Expected input \(str, or a list of str\), found"):
            run(segment_request() | {"input": given}, no_progress)


def test_a_model_is_loaded_once_until_its_bundle_changes(engine: SimpleNamespace) -> None:
    first = [worker_jobs.run_segment(segment_request(), no_progress).sha256 for _ in range(3)]
    assert first == [b"weights".hex()] * 3
    assert engine.loads == [(str(engine.folder.resolve()), "auto")]
    (engine.folder / "model.safetensors").write_bytes(b"new weights")
    assert worker_jobs.run_segment(segment_request(), no_progress).sha256 == b"new weights".hex()
    worker_jobs.run_segment(segment_request(device="cpu"), no_progress)
    assert [device for _, device in engine.loads] == ["auto", "auto", "cpu"]


def test_options_may_be_left_out(engine: SimpleNamespace) -> None:
    request = segment_request()
    del request["options"]
    worker_jobs.run_segment(request, no_progress)
    assert engine.calls[0][1:] == (OutputOptions(Path("b.nrrd")), ReadOptions(), InferenceOptions())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"colour": "red"}, "'colour'"),
        ({"labelmap": "other.nrrd"}, "'labelmap'"),
        ({"threads": 10**9}, "1 to .* threads, found 1000000000"),
        ({"frame": "2"}, "int or NoneType for the option frame"),
        ({"frame": True}, "option frame"),
        ({"frame": 1.5}, "option frame"),
        ({"cleanup": 1}, "bool for the option cleanup"),
        ({"device": None}, "str for the option device"),
        ({"uncertainty": 3}, "option uncertainty"),
    ],
)
def test_an_option_that_is_unknown_or_of_a_wrong_type_is_refused(
    engine: SimpleNamespace, options: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        worker_jobs.run_segment(segment_request(**options), no_progress)
    assert engine.loads == []


@pytest.mark.pickles
def test_a_model_is_imported_with_the_choices_of_the_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    from small_results import write_results  # here, because each worker of these tests imports this file

    source, reports = write_results(tmp_path).parent, []
    request = {"id": 1, "job": "import", "input": str(source), "options": {"folds": ["1"], "name": "tiny"}}
    result = worker_jobs.run_import(request, lambda stage, fraction: reports.append((stage, fraction)))
    assert encode(result) == {"model": "tiny", "folder": str(tmp_path / "home" / "models" / "tiny")}
    assert load_card(tmp_path / "home" / "models" / "tiny").training["imported"]["folds"] == ["1"]
    assert reports[-1] == ("write", 1.0)
    with pytest.raises(InputError, match="'colour'"):
        worker_jobs.run_import({**request, "options": {"colour": "red"}}, no_progress)


def test_an_import_of_a_bundle_that_is_cancelled_leaves_no_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))

    def cancel(stage: str, fraction: float) -> None:
        if (stage, fraction) == ("write", 1.0):
            raise Cancelled("The job was cancelled.")

    import small_model

    small_model.save(tmp_path / "small")
    with pytest.raises(Cancelled):
        worker_jobs.run_import({"id": 1, "job": "import", "input": str(tmp_path / "small")}, cancel)
    assert list((tmp_path / "home" / "models").iterdir()) == []
    worker_jobs.run_import({"id": 1, "job": "import", "input": str(tmp_path / "small")}, no_progress)
    assert [folder.name for folder in (tmp_path / "home" / "models").iterdir()] == ["small"]


@pytest.mark.parametrize("name", ["model", "input", "output", "options"])
@pytest.mark.parametrize("value", [None, 5, ""])
def test_a_job_without_its_fields_is_refused(engine: SimpleNamespace, name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"Expected {name}"):
        worker_jobs.run_segment({**segment_request(), name: value}, no_progress)
    assert engine.loads == []


# The shipped model in the real worker, as the panel uses it.


@pytest.fixture(scope="module")
def head_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("head") / "head.nrrd"
    volume = head(1, (112, 112, 8), (2.0, 2.0, 12.0)).volume
    write_image(path, volume.array, volume.geometry)
    return path


def segment_job(number: int, source: Path, output: Path, **options: object) -> dict[str, Any]:
    files = {"input": str(source), "output": str(output)}
    return {"id": number, "job": "segment", "model": "glioma-flair", **files, "options": {"device": "cpu", **options}}


def test_the_shipped_model_gives_in_the_worker_what_it_gives_in_this_process(
    start: Callable[..., Client], head_file: Path, tmp_path: Path
) -> None:
    client = start("-m", "medtl.worker")
    assert client.read()["event"] == "ready"
    client.send(segment_job(1, head_file, tmp_path / "worker.seg.nrrd"))
    done = client.answer()
    assert done["event"] == "done", done
    model = load_model("glioma-flair", "cpu")
    segment_file(head_file, model, OutputOptions(tmp_path / "here.seg.nrrd"))
    theirs, ours = (read_labelmap(tmp_path / f"{name}.seg.nrrd") for name in ("worker", "here"))
    # Whether bfloat16 pays is measured anew by each process: where they differ, a voxel of the border may.
    assert np.count_nonzero(theirs.array != ours.array) <= 0.02 * np.count_nonzero(ours.array)
    assert np.count_nonzero(ours.array)
    assert theirs.geometry.distance(read_volume(head_file).geometry) < 1e-6
    assert (done["result"]["model"], done["result"]["sha256"]) == ("glioma-flair", model.sha256)
    client.send(segment_job(2, head_file, tmp_path / "again.seg.nrrd"))
    warm = client.answer()["result"]["results"][0]["seconds"]["load"]
    assert warm < done["result"]["results"][0]["seconds"]["load"] / 2


def test_a_worker_killed_at_work_leaves_the_older_result_and_no_half_file(
    start: Callable[..., Client], head_file: Path, tmp_path: Path
) -> None:
    client = start("-m", "medtl.worker")
    assert client.read()["event"] == "ready"
    output = tmp_path / "x.seg.nrrd"
    output.write_text("precious")
    client.send(segment_job(1, head_file, output, force=True))
    while client.read().get("stage") != "infer":
        pass
    client.stop()
    assert output.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [output]
    second = start("-m", "medtl.worker")
    assert second.read()["event"] == "ready"
    second.send(segment_job(1, head_file, output, force=True))
    assert second.answer()["event"] == "done"
    assert read_labelmap(output).array.any()


if __name__ == "__main__":
    if hasattr(signal, "SIGHUP"):  # ignored where the tests run under nohup
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    worker.main(jobs=FAKES, prepare=slow_imports)
