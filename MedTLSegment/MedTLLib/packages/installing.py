"""Installs what is missing, after consent, by a process of its own.

torch and torchvision are installed first, in the build that fits the graphics card, chosen as the PyTorch extension
does, by light-the-torch: otherwise another package would install a torch from PyPI.
"""

import importlib
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer.packaging
from packaging.requirements import Requirement
from slicer.i18n import tr as _

from medtl.broken_packages import paths_of
from medtl.errors import Cancelled, InputError, MedTLError

from .needed import (
    KEPT,
    REQUIREMENTS,
    broken,
    installed_versions,
    loaded_changes,
    missing,
    modules,
    names_of,
    not_importable,
    parts_of,
)
from .problems import check, problem_text
from .process import Installation

TOOL = "light-the-torch>=0.5"  # that of the PyTorch extension
CONSTRAINTS = REQUIREMENTS.with_name("constraints.txt")  # the tested versions, with hashes
WINDOWS_PATH = 259  # characters of the path of a file, without the zero at its end


def install(
    on_progress: Callable[[str, float | None], None],
    on_done: Callable[[tuple[str, ...]], None],
    on_error: Callable[[MedTLError], None],
    stop_worker: Callable[[], None],
    wheels: Path | None = None,
    command: Sequence[str] | None = None,
) -> Installation | None:
    """Start to install what is missing, to which the user has agreed; None where nothing is.

    `on_progress(text, fraction)` tells how far it is. At the end comes `on_done` with the packages that changed while
    they were loaded (where that is not (), Slicer should be restarted when it suits), or `on_error` with Cancelled or
    an InputError that says what to do. With `wheels`, a folder of wheels, the network is not used. `command` is
    Slicer's Python; by default it is looked for.

    Raises: InputError when an installation cannot succeed.
    """
    needed = missing()
    if not needed:
        return None
    check(needed, wheels)
    stop_worker()  # Windows does not replace a library in use
    before, halves = installed_versions(), broken()
    not_importable.clear()

    def on_end(kind: str, what: str, reason: str) -> None:
        importlib.invalidate_caches()
        if kind == "import":
            not_importable[what] = reason
        left = missing()
        if kind == "cancelled":
            on_error(Cancelled(_("The installation was cancelled.")))
        elif kind:
            on_error(InputError(problem_text(kind, what or names_of(needed), reason)))
        elif left:
            text = _("Expected {names} to be installed now, found them missing. See the Python console, and try again.")
            on_error(InputError(text.format(names=names_of(left))))
        else:
            on_done(loaded_changes(before))

    folder = Path(sysconfig.get_paths()["purelib"])
    job = {
        "remove": [str(path) for name in halves for path in paths_of(name, folder)],
        "groups": groups(needed, wheels),
        "kept": KEPT,
        "wheels": str(wheels) if wheels else None,
        "imports": modules(),
        "longest": longest_path(),
    }
    return Installation(job, on_progress, on_end, command)


def try_imports(on_end: Callable[[], None], command: Sequence[str] | None = None) -> None:
    """Import the packages in a process of its own; afterwards `broken` names the one that cannot be imported."""

    def remember(kind: str, what: str, reason: str) -> None:
        if kind == "import":
            not_importable[what] = reason
        on_end()

    if not slicer.packaging.isPipInstallInProgress():
        job = {
            "remove": (),
            "groups": (),
            "kept": (),
            "wheels": None,
            "imports": modules(),
            "longest": None,
        }
        Installation(job, lambda text, fraction: None, remember, command)


def longest_path() -> int | None:
    """How long the path of a file may be on this computer; None where that is no matter."""
    if sys.platform != "win32":
        return None
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
            allowed = winreg.QueryValueEx(key, "LongPathsEnabled")[0] == 1
    except OSError:  # Windows without that switch
        allowed = False
    return None if allowed else WINDOWS_PATH


def groups(needed: Sequence[Requirement], wheels: Path | None) -> list[dict[str, Any]]:
    """What is installed together, in order: see `medtl/installation/__main__.py`."""

    def group(part: Sequence[Requirement], tool: str, tested: Sequence[str]) -> list[dict[str, Any]]:
        return [{"requirements": [str(each) for each in part], "tool": tool, "tested": tested}] if part else []

    if wheels:
        return group(needed, "", ())  # a folder has the versions that it has
    torch, rest = parts_of(needed)
    return [*group(torch, TOOL, ()), *group(rest, "", tested())]


def tested() -> tuple[str, ...]:
    """The tested versions for this kind of computer.

    Without hashes: given one hash, pip requires those of all packages, including Slicer's own.
    """
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.rstrip(" \\")) for line in lines if line and line[0] not in " #"]
    return tuple(f"{pin.name}{pin.specifier}" for pin in pins if pin.marker is None or pin.marker.evaluate())
