"""Runs pip, and tries whether packages can be imported, in processes that can be cancelled."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

# What pip writes, and the problem that it means.
PROBLEMS = (
    ("proxy", r"Tunnel connection failed: 407|407 Client Error|Proxy Authentication"),
    ("disk", r"No space left|not enough space|Errno 28"),
    ("rights", r"Permission denied|Access is denied|Read-only file system"),
    (
        "network",
        r"ProxyError|Timeout|timed out|Max retries|getaddrinfo|name resolution|Connection|SSLError|CERT",
    ),
)
ENVIRONMENT = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PYTHONIOENCODING": "utf-8"}
# Runs a module whose folder comes first; the rest of the command line is for the module.
RUN = "import runpy, sys; sys.path[:0] = filter(None, [sys.argv.pop(1)]); "
RUN += "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"

# Imports modules, each after a line that names it.
TRIED = "MedTL tries "
TRY = f"""
import importlib, sys
for name in sys.argv[1:]:
    print("{TRIED}" + name)
    importlib.import_module(name)
"""


class Problem(Exception):
    """Why nothing more is installed: a word for the kind, what was being installed, and what pip said."""

    def __init__(self, kind: str, what: str, reason: str = "") -> None:
        super().__init__(kind)
        self.kind, self.what, self.reason = kind, what, reason


def kind_of(text: str) -> str:
    """The kind of a problem, from what pip or the system wrote."""
    return next((kind for kind, words in PROBLEMS if re.search(words, text)), "pip")


def read_output(
    lines: Iterable[str], on_progress: Callable[[str, float], None], on_line: Callable[[str], None]
) -> list[str]:
    """What pip writes, line by line, without its progress. `on_progress` gets the package that is fetched, "" before
    pip names one, and how far that is; `on_line` each of the other lines."""
    kept, package = [], ""
    for line in map(str.strip, lines):
        if found := re.fullmatch(r"Progress (\d+) of (\d+)", line):
            on_progress(package, int(found[1]) / max(int(found[2]), 1))
            continue
        kept.append(line)
        on_line(line)
        if found := re.match(r"Downloading (?:.*/)?([\w.-]+?)-\d\S* \(", line):
            package = found[1]
            on_progress(package, 0.0)
    return kept


def progress_options() -> list[str]:
    """The options with which pip tells a program how far it is; none for pip before 24.1, which cannot."""
    version = tuple(map(int, re.findall(r"\d+", metadata.version("pip"))[:2]))
    return ["--progress-bar", "raw"] if version >= (24, 1) else []


def reason_of(lines: Sequence[str]) -> str:
    """Why pip failed, by what it wrote: its first error, else its last line; empty where it wrote nothing."""
    errors = [line for line in lines if re.match("ERROR: (?!Exception:)", line)] or lines[-1:]
    return errors[0].removeprefix("ERROR:").strip()[:300] if errors else ""


class Pip:
    """Runs pip, one command after the other, until it is cancelled; `say` gets each record for whoever waits."""

    def __init__(self, say: Callable[..., None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._writing = self._cancelled = False
        self._told = ("", -1)

    def cancel(self) -> None:
        """End the running command, unless it writes packages, and run none after it."""
        with self._lock:
            self._cancelled = True
            if self._child is not None and not self._writing:
                self._child.kill()

    def step(self, stage: str, what: str, fraction: float) -> None:
        """Tell how far a step is that is none of pip. Raises: Problem when it was cancelled."""
        if self._cancelled:
            raise Problem("cancelled", what)
        percent = int(100 * fraction)
        if (stage, percent) != self._told:
            self._told = stage, percent
            self._say(stage=stage, what=what, fraction=fraction)

    def run(
        self,
        arguments: Sequence[str],
        stage: str,
        what: str,
        tool: Path | None = None,
        makes: Path | None = None,
        writes: bool = False,
    ) -> None:
        """Run one command; `tool` is the folder and name of a package that takes pip's place. A command that does not
        make the file `makes` has failed, because light-the-torch ends with 0 in any case.

        Raises: Problem when it fails or was cancelled.
        """
        module = ["", "pip"] if tool is None else [str(tool.parent), tool.name]
        child = self._start(["-c", RUN, *module, *arguments], stage, what, writes)

        def tell(package: str, fraction: float) -> None:
            nonlocal what
            what = package or what
            self._say(stage=stage, what=what, fraction=fraction)

        lines = read_output(child.stdout or (), tell, lambda line: self._say(log=line))
        code = self._end(child, what)
        if code or (makes is not None and not makes.is_file()):
            raise Problem(kind_of("\n".join(lines)), what, reason_of(lines) or f"exit status {code}")

    def try_imports(self, modules: Mapping[str, str]) -> None:
        """Raise Problem for the first package whose module cannot be imported; importing it may end the process."""
        if not modules:
            return
        what = ", ".join(modules)
        child = self._start(["-c", TRY, *modules.values()], "try", what, False)
        lines = [line.strip() for line in child.stdout or () if line.strip()]
        if code := self._end(child, what):
            tried = [line.removeprefix(TRIED) for line in lines if line.startswith(TRIED)]
            name = next((name for name, module in modules.items() if module in tried[-1:]), what)
            reason = f"exit status {code}" if lines[-1:] == [f"{TRIED}{modules.get(name)}"] else lines[-1]
            raise Problem("import", name, reason[:300])

    def _start(self, arguments: Sequence[str], stage: str, what: str, writes: bool) -> "subprocess.Popen[str]":
        with self._lock:
            if self._cancelled:
                raise Problem("cancelled", what)
            self._writing = writes
            self._child = subprocess.Popen(
                [sys.executable, "-u", "-P", *arguments],
                env={**os.environ, **ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        self._say(stage=stage, what=what, fraction=None)
        return self._child

    def _end(self, child: "subprocess.Popen[str]", what: str) -> int:
        """The exit status. Raises: Problem when the command was ended by a cancel."""
        code = child.wait()
        if child.stdout is not None:
            child.stdout.close()
        with self._lock:
            self._child, self._writing = None, False
            if self._cancelled and code:
                raise Problem("cancelled", what)
        return code
