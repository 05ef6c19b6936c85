"""Installs packages, as a process of its own of Slicer's Python: nothing is imported into Slicer. Only the standard
library and pip.

In:  one line, the job as JSON: {"remove", "groups": [{"requirements", "tool", "tested"}], "kept", "wheels", "imports",
     "longest", "folder", "engine"}. The paths to `remove` are put back when the installation fails. The requirements of
     each group are installed together, by pip or by the `tool` in its place, a package that is fetched into `folder`,
     a temporary folder; `tested` are versions ("name==1.0") for those that are new. The packages `kept` stay as they
     are. `wheels` is a pack to install from instead of the network, or null; `engine` is the folder of `medtl`, which
     unpacks it. At the end the `imports`, name of a package to module, are tried. `longest` is how long a path may be,
     or null. The end of the input cancels.
Out: one ASCII JSON object a line: {"stage", "what", "fraction"}, fraction null where it is not known; lines of pip are
     {"log"}. At last {"problem", "what", "reason"}; the problem is "" when all is installed.

All files of a group are fetched before one is written. So a cancel leaves everything as it was, except while files are
written: then it waits for their end.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

# What pip writes, and the problem that it means.
PROBLEMS = (
    ("proxy", r"\b407\b|Proxy Authentication|ProxyError|to proxy"),
    ("disk", r"No space left|not enough space|Errno 28"),
    ("rights", r"Permission denied|Access is denied|Read-only file system"),
    (
        "network",
        r"NewConnectionError|Timeout|timed out|Max retries|getaddrinfo|name resolution|Connection|SSLError|CERT",
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


def say(**record: Any) -> None:
    """Write one line. That nobody reads any more is no reason to stop while files are written."""
    with suppress(OSError):
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()


class Pip:
    """Runs pip, one command after the other, until it is cancelled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._writing = self._cancelled = False

    def cancel(self) -> None:
        """End the running command, unless it writes packages, and run none after it."""
        with self._lock:
            self._cancelled = True
            if self._child is not None and not self._writing:
                self._child.kill()

    def check(self, what: str) -> None:
        """Raise Problem when it was cancelled."""
        if self._cancelled:
            raise Problem("cancelled", what)

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
        lines: list[str] = []
        for line in map(str.strip, child.stdout or ()):
            if found := re.fullmatch(r"Progress (\d+) of (\d+)", line):
                say(stage=stage, what=what, fraction=int(found[1]) / max(int(found[2]), 1))
                continue
            if found := re.match(r"Downloading (?:.*/)?([\w.-]+?)-\d\S* \(", line):
                what = found[1]
            lines.append(line)
            say(log=line)
        code = self._end(child, what)
        if code or (makes is not None and not makes.is_file()):
            errors = [line for line in lines if re.match("ERROR: (?!Exception:)", line)]
            errors = errors or lines[-1:] or [f"exit status {code}"]
            text = "\n".join(lines)
            kind = next((kind for kind, words in PROBLEMS if re.search(words, text)), "pip")
            raise Problem(kind, what, errors[0].removeprefix("ERROR:").strip()[:300])

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
            self.check(what)
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
        say(stage=stage, what=what, fraction=None)
        return self._child

    def _end(self, child: "subprocess.Popen[str]", what: str) -> int:
        """The exit status. Raises: Problem when the command was ended by a cancel."""
        code = child.wait()
        with self._lock:
            self._child, self._writing = None, False
            if self._cancelled and code:
                raise Problem("cancelled", what)
        return code


def install(job: Mapping[str, Any], pip: Pip) -> None:
    """Install the groups of requirements. Raises: Problem."""
    folder, site = Path(job["folder"]), Path(sysconfig.get_paths()["purelib"])
    source = ["--no-index", "--find-links", str(unpacked(job, pip))] if job["wheels"] else []
    with alone(site), put_back_on_failure(map(Path, job["remove"]), site):
        for number, group in enumerate(job["groups"]):
            requirements, what = group["requirements"], ", ".join(map(name_of, group["requirements"]))
            tool = None
            if group["tool"]:
                # Apart from Slicer's packages, because it needs an older pip.
                tool = folder / "tool" / name_of(group["tool"]).replace("-", "_")
                fetched = ["install", "--only-binary", ":all:", "--target", str(tool.parent), group["tool"]]
                pip.run(fetched, "look", what)
            constraints = folder / f"constraints-{number}.txt"
            lines = constraints_of(requirements, job["kept"], group["tested"])
            constraints.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            report = folder / f"report-{number}.json"
            asked = ["install", "--dry-run", "--report", str(report), "--only-binary", ":all:", "-c", str(constraints)]
            pip.run([*asked, *source, *requirements], "look", what, tool, report)
            wheels = fetch(json.loads(report.read_text(encoding="utf-8"))["install"], folder / "wheels", what, pip)
            check_disk(wheels, site, what)
            names = (info.filename for info in files_of(wheels))
            if job["longest"] and (path := too_long(names, str(site), job["longest"])):
                raise Problem("paths", what, f"a path of {len(path)} characters, {job['longest']} are allowed: {path}")
            if wheels:
                given = ["install", "--no-deps", "--no-index", "--no-warn-script-location", *map(str, wheels)]
                pip.run(given, "write", what, writes=True)
            shutil.rmtree(folder / "wheels", ignore_errors=True)
    pip.try_imports(job["imports"])


def unpacked(job: Mapping[str, Any], pip: Pip) -> Path:
    """The folder of wheels of the job's pack, each as it was packed. Raises: Problem."""
    sys.path.append(job["engine"])
    from medtl.errors import MedTLError
    from medtl.pack import unpack

    path, folder, told = Path(job["wheels"]), Path(job["folder"]) / "pack", -1

    def progress(fraction: float) -> None:
        nonlocal told
        pip.check(path.name)
        if (percent := int(100 * fraction)) > told:
            told = percent
            say(stage="unpack", what=path.name, fraction=fraction)

    try:
        unpack(path, folder, progress)
    except MedTLError as error:
        raise Problem("pack", path.name, str(error)) from error
    return folder / "wheels"


def constraints_of(requirements: Sequence[str], kept: Sequence[str], tested: Sequence[str]) -> list[str]:
    """The lines of the constraints: the installed versions of what is kept, and the tested ones of what is new."""
    new = set(map(name_of, requirements))
    installed = reversed(list(metadata.distributions()))  # of two in different folders the first is used
    there = {name_of(each.metadata["Name"]): each.version for each in installed if each.metadata["Name"]}
    return [
        *(f"{name}=={there[name]}" for name in map(name_of, kept) if name in there and name not in new),
        *(line for line in tested if name_of(line) in new or name_of(line) not in there),
    ]


def fetch(items: Sequence[Mapping[str, Any]], folder: Path, what: str, pip: Pip) -> list[Path]:
    """The wheels of pip's report, those of the network in `folder`. Raises: Problem."""
    wheels, remote = [], []
    for item in items:
        url, hashes = item["download_info"]["url"], item["download_info"].get("archive_info", {}).get("hashes", {})
        parts = urlparse(url)
        if parts.scheme == "file":
            wheels.append(Path(url2pathname(parts.path)))
        else:
            wheels.append(folder / unquote(parts.path).rpartition("/")[2])
            remote.append(url + (f"#sha256={hashes['sha256']}" if "sha256" in hashes else ""))
    if remote:
        # pip before 24.1 tells no progress to a program.
        raw = tuple(map(int, re.findall(r"\d+", metadata.version("pip"))[:2])) >= (24, 1)
        bar = ["--progress-bar", "raw"] if raw else []
        pip.run(["download", "--no-deps", *bar, "--dest", str(folder), *remote], "download", what)
    return wheels


def check_disk(wheels: Sequence[Path], site: Path, what: str) -> None:
    """Raise Problem when what is in the wheels does not fit on the disk of the packages."""
    needed, free = sum(info.file_size for info in files_of(wheels)), shutil.disk_usage(site).free
    if needed > free:
        raise Problem("disk", what, f"{needed / 1e9:.1f} GB > {free / 1e9:.1f} GB: {site}")


def too_long(names: Iterable[str], prefix: str, longest: int) -> str:
    """The longest path that files of wheels get below the prefix, "" where all of them may be as long as they are.

    Windows wants room for twelve more characters in a folder.
    """
    places = (re.sub(r"^[^/]+\.data/(?:pure|plat)lib/", "", name) for name in names)
    path = max((f"{prefix}\\{place}".replace("/", "\\") for place in places), key=needed_length, default="")
    return path if needed_length(path) > longest else ""


def needed_length(path: str) -> int:
    """How long paths must be allowed to be for a path, on Windows."""
    return max(len(path), len(path.rpartition("\\")[0]) + 12)


def files_of(wheels: Sequence[Path]) -> Iterator[zipfile.ZipInfo]:
    """The files that the wheels list."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            yield from archive.infolist()


@contextmanager
def put_back_on_failure(paths: Iterator[Path], site: Path) -> Iterator[None]:
    """Take these files and folders out of the folder of packages for good, unless the work inside fails."""
    moved: list[tuple[Path, Path]] = []
    aside = Path(tempfile.mkdtemp(dir=site, prefix=".medtl-removed-"))  # on the same disk: renaming is quick
    try:
        for path in paths:
            if path.parent == site and path.exists():
                path.rename(aside / path.name)
                moved.append((path, aside / path.name))
        yield
    except BaseException:
        for path, place in moved:
            if path.exists():  # a new one is there
                shutil.rmtree(place, ignore_errors=True)
            else:
                with suppress(OSError):  # what cannot be put back stays aside
                    place.rename(path)
        with suppress(OSError):
            aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def name_of(requirement: str) -> str:
    """The name of a requirement, as pip compares names."""
    found = re.match(r"[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


@contextmanager
def alone(site: Path) -> Iterator[None]:
    """Let no other process install into the folder, whichever Slicer started it. Raises: Problem when one does."""
    tag = hashlib.sha256(str(site.resolve()).encode()).hexdigest()[:12]
    with (Path(tempfile.gettempdir()) / f"medtl-install-{tag}.lock").open("a") as file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Problem("busy", "", str(error)) from error
        yield


def main() -> None:
    """Do the job that standard input names."""
    job, pip = json.loads(sys.stdin.buffer.readline()), Pip()

    def wait_for_the_end() -> None:
        while os.read(0, 1000):  # sys.stdin has a lock that would be held when the process ends
            pass
        pip.cancel()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    try:
        install(job, pip)
        say(problem="", what="", reason="")
    except Problem as problem:
        say(problem=problem.kind, what=problem.what, reason=problem.reason)
    except (
        OSError,
        ValueError,
        KeyError,
        zipfile.BadZipFile,
    ) as error:  # a full disk, or files that pip does not write
        kind = next((kind for kind, words in PROBLEMS if re.search(words, str(error))), "pip")
        say(problem=kind, what="", reason=str(error)[:300])


if __name__ == "__main__":
    main()
