"""Installs what is missing, after consent, by a process of its own.

torch and torchvision are installed first, in the build that fits the graphics card, chosen as the PyTorch extension
does, by light-the-torch: otherwise another package would install a torch from PyPI.
"""

import importlib
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import slicer.packaging
from packaging.requirements import Requirement
from slicer.i18n import tr as _

from medtl.broken_packages import paths_of
from medtl.errors import Cancelled, InputError, MedTLError
from medtl.installation.installed import installed_versions
from medtl.installation.job import Group, Job

from .needed import (
    KEPT,
    REQUIREMENTS,
    TORCH,
    broken,
    loaded_changes,
    missing,
    modules,
    names_of,
    not_importable,
    parts_of,
)
from .other_python import other_python
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
    pack: Path | None = None,
    command: Sequence[str] | None = None,
) -> Installation | None:
    """Start to install what is missing, to which the user has agreed; None where nothing is.

    `on_progress(text, fraction)` tells how far it is. At the end comes `on_done` with the packages that changed while
    they were loaded (where that is not (), Slicer should be restarted when it suits), or `on_error` with Cancelled or
    an InputError that says what to do. With `pack` (`medtl.pack`), the network is not used. `command` is
    Slicer's Python; by default it is looked for.

    Raises: InputError when an installation cannot succeed.
    """
    needed = missing()
    if not needed:
        return None
    check(needed, pack)
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
    job = Job(
        remove=tuple(str(path) for name in halves for path in paths_of(name, folder)),
        groups=groups(needed, pack),
        kept=KEPT,
        pack=str(pack) if pack else None,
        imports=modules(),
        longest=longest_path(),
    )
    return Installation(job, on_progress, on_end, command)


def try_imports(on_end: Callable[[], None], command: Sequence[str] | None = None) -> None:
    """Import the packages in a process of its own; afterwards `broken` names the one that cannot be imported."""

    def remember(kind: str, what: str, reason: str) -> None:
        if kind == "import":
            not_importable[what] = reason
        on_end()

    if other_python() is None and not slicer.packaging.isPipInstallInProgress():
        Installation(Job(imports=modules()), lambda text, fraction: None, remember, command)


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


def groups(needed: Sequence[Requirement], pack: Path | None) -> tuple[Group, ...]:
    """What is installed together, in order. A torch that is there stays and has to fit a new torchvision, and the
    other way round."""
    torch, rest = parts_of(needed)
    if pack:
        return (Group(tuple(map(str, needed))),)  # a pack has the versions that it has
    there = installed_versions()
    beside = [f"{name}=={there[name]}" for name in TORCH if name in there and name not in [r.name for r in torch]]
    parts = (Group(tuple(map(str, torch)), TOOL, beside=tuple(beside)), Group(tuple(map(str, rest)), tested=tested()))
    return tuple(part for part in parts if part.requirements)


def tested() -> tuple[str, ...]:
    """The tested versions for this kind of computer.

    Without hashes: given one hash, pip requires those of all packages, including Slicer's own.
    """
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.rstrip(" \\")) for line in lines if line and line[0] not in " #"]
    return tuple(f"{pin.name}{pin.specifier}" for pin in pins if pin.marker is None or pin.marker.evaluate())
