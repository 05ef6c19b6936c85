"""Reading in a child process: a file on which a library crashes or hangs is one error and does not end the program.

All files of the command line, and the images of a tuning, are read so. A file that this program wrote, or that 3D
Slicer wrote for one job, is read without.

The process is `python -P -m medtl.io.isolated FOLDER`: one JSON object a line in and out, arrays as .npy files in the
folder, nothing pickled. It ends, and removes the folder, when its input ends.

In:  {"read": "volume" | "labelmap", "path", "options"}
Out: {"event": "ready", "pid"}; for each request {"event": "done", "value": fields} or {"event": "error", "kind",
     "message", "option"}.
"""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

import numpy as np

from ..errors import Cancelled, DeviceError, InputError, MedTLError, ModelError, explain
from ..progress import Progress, json_line, no_progress
from ..typed_json import decode, encode
from ..volume import Labelmap, Volume
from . import read
from .header import ALLOW_OUTSIDE

READ_SECONDS = 900.0  # for one input, before it counts as hanging
START_SECONDS = 120.0  # for the process to import its libraries
LISTEN_SECONDS = 0.2  # between two calls of `progress`
ERRORS = {kind.__name__: kind for kind in (InputError, ModelError, DeviceError, Cancelled, MedTLError, MemoryError)}
Value = TypeVar("Value", Volume, Labelmap)


class Reader(Protocol):
    """A reader of inputs: the functions of `medtl.io.read`, or an `IsolatedReader`."""

    def read_volume(
        self, path: Path, *, frame: int | None = None, component: int | None = None, series: str | None = None
    ) -> Volume:
        """See `medtl.io.read.read_volume`."""

    def read_labelmap(self, path: Path) -> Labelmap:
        """See `medtl.io.read.read_labelmap`."""


class IsolatedReader:
    """Reads volumes and labelmaps one after another in a child process, which is started again after a crash.

    `progress` is called several times a second while the child reads; what it raises, such as Cancelled, stops the
    child. `data_outside` lets headers name data outside their folder. After `reads` inputs, if that is given, the child
    ends and takes no more memory. `command` is the program to start, `seconds` the time for one input.

    Enter it before torch is imported: then the child is ready by the first input, and costs next to no time.
    """

    def __init__(
        self,
        progress: Progress = no_progress,
        command: Sequence[str] | None = None,
        seconds: float = READ_SECONDS,
        *,
        data_outside: bool = False,
        reads: int | None = None,
    ) -> None:
        self._progress = progress
        self._command = command or (sys.executable, "-P", "-m", "medtl.io.isolated")
        self._variables = {ALLOW_OUTSIDE: "1"} if data_outside else {}
        self._seconds = seconds
        self._left = reads
        self._child: _Child | None = None

    def __enter__(self) -> "IsolatedReader":
        self._child = _Child(self._command, self._variables)  # it imports its libraries while the caller prepares
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def read_volume(
        self, path: Path, *, frame: int | None = None, component: int | None = None, series: str | None = None
    ) -> Volume:
        """The volume, as `medtl.io.read.read_volume` gives it.

        Raises: what that raises, with the same message; InputError when the child crashes or takes too long.
        """
        return self._read(Volume, path, {"frame": frame, "component": component, "series": series})

    def read_labelmap(self, path: Path) -> Labelmap:
        """The labelmap, as `medtl.io.read.read_labelmap` gives it. Raises: see `read_volume`."""
        return self._read(Labelmap, path, {})

    def _read(self, kind: type[Value], path: Path, options: dict[str, Any]) -> Value:
        if self._child is None or self._child.has_ended():
            self._stop()
            self._child = _Child(self._command, self._variables)
        request = {"read": kind.__name__.lower(), "path": str(path), "options": options}
        try:
            answer = self._child.ask(request, path, self._seconds, self._progress)
            value = self._child.load(kind, answer["value"]) if answer["event"] == "done" else None
        except BaseException:  # a crash, a hang, Cancelled or Ctrl-C: the child has nothing left to do
            self._stop()
            raise
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self._stop()
        if value is not None:
            return value
        if answer["kind"] == InputError.__name__:
            raise InputError(answer["message"], option=answer["option"])
        raise ERRORS[answer["kind"]](answer["message"])

    def _stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None


class _Child:
    """The reading process as its parent sees it."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="medtl-read-"))
        package = str(Path(__file__).resolve().parents[2])
        inherited = os.environ.get("PYTHONPATH")
        path = os.pathsep.join([package, *([inherited] if inherited else [])])
        try:
            self._process = subprocess.Popen(
                [*command, str(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # what libraries print when they crash
                env={**os.environ, "PYTHONPATH": path, **variables},
            )
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise _not_started(str(error.strerror)) from error
        self._pid: int | None = None  # of the interpreter, where a launcher such as PythonSlicer stands between
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()  # the last one is empty
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            self._lines.put(line)
        self._lines.put(b"")

    def has_ended(self) -> bool:
        """True where the process is gone."""
        return self._process.poll() is not None

    def ask(self, request: dict[str, Any], path: Path, seconds: float, progress: Progress) -> dict[str, Any]:
        """The answer to a request about a file.

        Raises: InputError when the process crashes or takes longer; MedTLError when it does not start; what
        `progress` raises.
        """
        if self._pid is None:
            ready = self._next(path, START_SECONDS, progress)
            if ready is None:
                raise _not_started(self._reason())
            self._pid = int(ready["pid"])
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has just ended: the missing answer shows it
            self._process.stdin.write(json_line(request).encode("ascii"))
            self._process.stdin.flush()
        answer = self._next(path, seconds, progress)
        if answer is None:
            raise InputError(
                f"Expected a readable image, found one on which the reader crashed ({self._reason()}): {path}. "
                "Export it again, or leave it out."
            )
        return answer

    def _next(self, path: Path, seconds: float, progress: Progress) -> dict[str, Any] | None:
        """The next answer; None where the process ended."""
        end = time.monotonic() + seconds
        while True:
            progress("read", 0.0)
            try:
                line = self._lines.get(timeout=LISTEN_SECONDS)
            except queue.Empty:
                if time.monotonic() < end:
                    continue
                raise InputError(
                    f"Expected an image that is read in time, found one that takes too long: {path}. "
                    "Copy it to a fast disk, or leave it out."
                ) from None
            with contextlib.suppress(ValueError):  # a line that a launcher prints
                return dict(json.loads(line)) if line else None

    def _reason(self) -> str:
        """How the process ended."""
        code = self._process.wait()
        if code == -getattr(signal, "SIGKILL", 0):
            return "killed, perhaps because memory ran out"
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"

    def load(self, kind: type[Value], record: dict[str, Any]) -> Value:
        """The value whose fields came in an answer and whose arrays lie in the folder."""
        arrays = {}
        for field in fields(kind):
            file = self._folder / f"{field.name}.npy"
            if file.exists():
                arrays[field.name] = np.load(file, allow_pickle=False)
                file.unlink()
        value: Value = decode(kind, {**record, **arrays}, "the reader")
        return value

    def stop(self) -> None:
        """End the process and remove its folder."""
        if not self.has_ended():
            self._process.kill()
            if self._pid not in (None, self._process.pid):
                with contextlib.suppress(OSError):
                    os.kill(int(self._pid or 0), getattr(signal, "SIGKILL", signal.SIGTERM))
        self._process.wait()
        self._listener.join(1.0)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if not self._listener.is_alive():  # closing waits for a thread that reads
            self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _not_started(reason: str) -> MedTLError:
    return MedTLError(f"The process that reads the inputs did not start ({reason}). Try again, or install MedTL again.")


# --- in the child ---


def serve(folder: Path, reader: Reader, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until they end; then the process ends at once, whatever it reads."""
    waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def listen() -> None:
        for line in requests:
            waiting.put(json.loads(line))
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    def send(record: dict[str, Any]) -> None:
        answers.write(json_line(record).encode("ascii"))
        answers.flush()

    send({"event": "ready", "pid": os.getpid()})
    threading.Thread(target=listen, daemon=True).start()
    while True:
        send(_answer(waiting.get(), reader, folder))


def _answer(request: dict[str, Any], reader: Reader, folder: Path) -> dict[str, Any]:
    """The answer to one request."""
    path = Path(request["path"])
    try:
        function = reader.read_volume if request["read"] == "volume" else reader.read_labelmap
        return {"event": "done", "value": _save(function(path, **request["options"]), folder)}
    except (MedTLError, MemoryError) as error:
        option = error.option if isinstance(error, InputError) else ""
        return {"event": "error", "kind": type(error).__name__, "message": str(error), "option": option}
    except Exception as error:  # one bad input must not end the process
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        has_own_text = isinstance(error, OSError | RecursionError)
        unknown = f"Could not read {path} ({reason}). Export it again, or leave it out."
        message = explain(error) if has_own_text else unknown
        return {"event": "error", "kind": InputError.__name__, "message": message, "option": ""}


def _save(value: Volume | Labelmap, folder: Path) -> dict[str, Any]:
    """The fields of the value as JSON has them, without its arrays, which are written into the folder."""
    record = {field.name: getattr(value, field.name) for field in fields(value)}
    for name in [name for name, item in record.items() if isinstance(item, np.ndarray)]:
        np.save(folder / f"{name}.npy", record.pop(name), allow_pickle=False)
    return {name: encode(item) for name, item in record.items()}


def main() -> None:
    """Serve on the standard streams; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(Path(sys.argv[1]), read, sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
