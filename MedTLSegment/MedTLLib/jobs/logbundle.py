"""The log for a developer, without names of patients or files, paths or UIDs: only listed words are written. No Qt.

Messages are left out because they name files. Of the engine's standard error, only places in the code and kinds of
errors are kept.
"""

import builtins
import platform
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import slicer

import medtl
from medtl import errors, progress
from medtl.io.write import write_whole

PACKAGES = {  # module, and the distribution that installs it
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "monai": "monai",
    "segmentation_models_pytorch": "segmentation-models-pytorch",
    "safetensors": "safetensors",
    "numpy": "numpy",
    "scipy": "scipy",
    "SimpleITK": "SimpleITK",
    "vtk": "vtk",
}
KINDS = ("InputError", "ModelError", "DeviceError", "InternalError", "WorkerMissing", "WorkerRefused", "WorkerDied")
STAGES = ("start", *dict.fromkeys(stage for stages in progress.STAGES.values() for stage in stages), "fill")
DEVICES = ("auto", "cpu", "cuda", "mps")
FRAME = re.compile(r'^\s*File "(.+)", line (\d+)')
RAISED = re.compile(r"^(?:\w+\.)*(\w+)(?::|$)")
LAST_LINES = 60


@dataclass(frozen=True)
class Failure:
    """A job that failed: the kind of error, the stage of the engine and the device, and the seconds it took."""

    kind: str
    stage: str
    device: str
    seconds: float


def write_log(path: Path, stderr: str, failures: Sequence[Failure]) -> None:
    """Write the log as a zip, whole or not at all; `complaints` is the engine's standard error.

    Raises: InputError when the file cannot be written.
    """

    def write(part: Path) -> None:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("versions.txt", _lines(versions()))
            archive.writestr("jobs.txt", _lines([failure_line(each) for each in failures]))
            archive.writestr("engine.txt", _lines(traces(stderr)[-LAST_LINES:]))

    write_whole(path, write)


def versions() -> list[str]:
    """MedTL, Slicer, the system, Python and the packages, each with its version."""
    lines = [f"MedTL {medtl.__version__}", f"Slicer {slicer.app.applicationVersion}", platform.platform()]
    lines.append(f"Python {platform.python_version()}")
    for name in PACKAGES.values():
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} missing")
    return lines


def failure_line(failure: Failure) -> str:
    """A line about a failed job, of listed words only."""
    kind, stage = _known(failure.kind, KINDS), _known(failure.stage, STAGES)
    return f"{kind}, stage {stage}, device {_known(failure.device, DEVICES)}, after {failure.seconds:.0f} s"


def traces(stderr: str) -> list[str]:
    """The lines of the engine's standard error about code: places in MedTL and in packages, and kinds of errors."""
    lines = []
    for line in stderr.splitlines():
        if frame := FRAME.match(line):
            place = _place(re.split(r"[\\/]", frame[1]))
            if place:
                lines.append(f"{place}, line {frame[2]}")
        elif (raised := RAISED.match(line)) and _is_error(raised[1]):
            lines.append(raised[1])
    return lines


def _place(parts: list[str]) -> str:
    """A file of the engine, or the name of a package; empty for any other file."""
    for number in reversed(range(len(parts))):
        if parts[number] in PACKAGES:
            return parts[number]
        if parts[number] == "medtl":
            files = {file.relative_to(_engine()).as_posix() for file in _engine().rglob("*.py")}
            name = "/".join(parts[number + 1 :])
            return f"medtl/{name}" if name in files else ""
    return ""


def _engine() -> Path:
    return Path(medtl.__file__).parent


def _is_error(name: str) -> bool:
    known = getattr(builtins, name, None) or getattr(errors, name, None)
    return name == "OutOfMemoryError" or (isinstance(known, type) and issubclass(known, BaseException))


def _known(word: str, words: Sequence[str]) -> str:
    return word if word in words else "other"


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines) or "none\n"
