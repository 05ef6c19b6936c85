"""The Python packages that the engine needs: which are missing, their size, and their installation after consent.

torch and torchvision are installed first, in the build that fits the graphics card, chosen as the PyTorch extension
does, by light-the-torch: otherwise another package would install a torch from PyPI. Nothing is imported into Slicer:
which packages are installed is read from their metadata, and a process of its own installs (`installation.py`).
"""

import importlib.metadata
import importlib.util
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import slicer
import slicer.packaging
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from slicer.i18n import tr as _

import medtl
from medtl.broken_packages import broken_packages, paths_of
from medtl.errors import Cancelled, InputError, MedTLError
from medtl.requirements import System, system_of

from .installation import Installation
from .offline import check_pack
from .programs import find_program

REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
TOOL = "light-the-torch>=0.5"  # that of the PyTorch extension
CONSTRAINTS = REQUIREMENTS.with_name("constraints.txt")  # the tested versions, with hashes
TORCH = ("torch", "torchvision")
# Slicer and other extensions use these: their versions change only where the system needs it and the user agrees.
KEPT = ("numpy", "scipy", "SimpleITK", "vtk", "pydicom", "torch", "torchvision")
OWN = (*(name for name in KEPT if name not in TORCH),)
# Megabytes to download and on disk, minutes at 50 Mbit/s: PyTorch with CUDA, without it, and all the rest.
TORCH_CUDA, TORCH_CPU, REST = (3000, 6000, 15), (300, 1000, 3), (25, 80, 1)

WINDOWS_PATH = 259  # characters of the path of a file, without the zero at its end

_not_importable: dict[str, str] = {}  # packages that a process of this session could not import, and why


class Cancellable(Protocol):
    """An installation that runs."""

    def cancel(self) -> None:
        """Stop it; `on_error` gets Cancelled."""
        ...


class Packages(Protocol):
    """The packages that the engine needs; this module is the real one."""

    def missing(self) -> tuple[Requirement, ...]:
        """What is not installed or too old; () when the engine can run."""
        ...

    def plan(self, needed: Sequence[Requirement], wheels: Path | None = None) -> str:
        """What the user is asked before it is installed, from a pack where one is given.

        Raises: InputError when the pack does not have it.
        """
        ...

    def own_changes(self, needed: Sequence[Requirement]) -> str:
        """What the user is asked where packages change that Slicer itself uses; empty where none does."""
        ...

    def broken(self) -> dict[str, str]:
        """What is wrong with each package that is installed by halves, or cannot be imported."""
        ...

    def try_imports(self, on_end: Callable[[], None]) -> None:
        """Import the packages in a process of its own; afterwards `broken` names the one that cannot be imported."""
        ...

    def install(
        self,
        on_progress: Callable[[str, float | None], None],
        on_done: Callable[[tuple[str, ...]], None],
        on_error: Callable[[MedTLError], None],
        stop_worker: Callable[[], None],
        wheels: Path | None = None,
    ) -> Cancellable | None:
        """Start to install what is missing, from a pack where one is given; at the end comes `on_done`, with the
        packages that changed while they were loaded, or `on_error`."""
        ...


def required(system: System | None = None, requirements: Path | str = REQUIREMENTS) -> tuple[Requirement, ...]:
    """What the engine needs on this kind of computer, by default this one, torch and torchvision first."""
    of_system = map(Requirement, (system or system_of()).requirements)
    return (*of_system, *slicer.packaging.load_requirements(requirements))


def missing(requirements: Path | str = REQUIREMENTS) -> tuple[Requirement, ...]:
    """What is not installed, is broken or has a version that does not fit, torch and torchvision first; () when the
    engine can run."""
    needed, halves = required(requirements=requirements), broken(requirements)
    return tuple(each for each in needed if each.name in halves or not slicer.packaging.pip_check(each))


def broken(requirements: Path | str = REQUIREMENTS) -> dict[str, str]:
    """What is wrong with each package that is installed by halves, or cannot be imported. Slicer's own are not looked
    at, because they are not repaired by MedTL."""
    names = [each.name for each in required(requirements=requirements) if each.name not in OWN]
    halves = broken_packages(names, Path(sysconfig.get_paths()["purelib"]))
    return {**{name: why for name, why in _not_importable.items() if name in names}, **halves}


def own_changes(needed: Sequence[Requirement]) -> str:
    """What the user is asked where packages change that Slicer itself uses; empty where none does."""
    versions = _versions()
    changes = [
        _("{name} {version} becomes {wanted}").format(name=each.name, version=versions[each.name], wanted=each)
        for each in needed
        if each.name in OWN and each.name in versions
    ]
    text = _("Packages that Slicer itself uses change: {changes}. Other extensions may need the version of today.")
    return text.format(changes=", ".join(changes)) if changes else ""


def plan(needed: Sequence[Requirement], wheels: Path | None = None) -> str:
    """The question for the user: what would be installed, from where, its size and how long it takes.

    `wheels` is a pack (`medtl.pack`) to install from instead of the network.

    Raises: InputError when the pack does not have it, or cannot be used here.
    """
    if wheels:
        check_pack(wheels, needed)
    torch, rest = _parts(needed)
    lines = [_("MedTL computes in its own process. It needs these packages in Slicer's Python:")]
    halves = broken()
    line = _("– {names}, {source}")
    folder = _("from {folder}").format(folder=wheels)
    if torch:
        source = folder if wheels else _("from download.pytorch.org, in the build for this computer")
        lines.append(line.format(names=_names(torch), source=source))
    if rest:
        source = folder if wheels else _("from pypi.org")
        lines.append(line.format(names=_names(rest), source=source))
    if halves:
        found = "; ".join(f"{name}: {why}" for name, why in halves.items())
        lines.append(_("Repair removes what is broken and installs it again. {found}").format(found=found))
    download, disk, minutes = (sum(numbers) for numbers in zip(*_costs(needed), strict=True))
    if wheels:
        text = _("About {disk} on disk; nothing is downloaded.")
    else:
        text = _("About {download} to download, {disk} on disk and {minutes} minutes at 50 Mbit/s.")
    lines.append(text.format(download=_size(download), disk=_size(disk), minutes=minutes))
    own = own_changes(needed) or _("Slicer's own packages stay as they are.")
    lines.append(_("Slicer can be used meanwhile.") + f" {own} " + _("No image leaves this computer."))
    if reason := system_of().reason:
        lines.append(_("Versions for {system}: {reason}").format(system=system_of().name, reason=reason))
    return "\n".join(lines)


def install(
    on_progress: Callable[[str, float | None], None],
    on_done: Callable[[tuple[str, ...]], None],
    on_error: Callable[[MedTLError], None],
    stop_worker: Callable[[], None],
    wheels: Path | None = None,
    requirements: Path | str = REQUIREMENTS,
    command: Sequence[str] | None = None,
) -> Installation | None:
    """Start to install what is missing, to which the user has agreed; None where nothing is.

    `on_progress(text, fraction)` tells how far it is. At the end comes `on_done` with the packages that changed while
    they were loaded (where that is not (), Slicer should be restarted when it suits), or `on_error` with Cancelled or
    an InputError that says what to do. With `wheels`, a pack (`medtl.pack`), the network is not used. `command` is
    Slicer's Python; by default it is looked for.

    Raises: InputError when an installation cannot succeed.
    """
    needed = missing(requirements)
    if not needed:
        return None
    _check(needed, wheels)
    stop_worker()  # Windows does not replace a library in use
    before, halves = _versions(), broken(requirements)
    _not_importable.clear()

    def on_end(kind: str, what: str, reason: str) -> None:
        importlib.invalidate_caches()
        if kind == "import":
            _not_importable[what] = reason
        left = missing(requirements)
        if kind == "cancelled":
            on_error(Cancelled(_("The installation was cancelled.")))
        elif kind:
            on_error(InputError(_problem_text(kind, what or _names(needed), reason)))
        elif left:
            text = _("Expected {names} to be installed now, found them missing. See the Python console, and try again.")
            on_error(InputError(text.format(names=_names(left))))
        else:
            on_done(_loaded_changes(before))

    folder = Path(sysconfig.get_paths()["purelib"])
    job = {
        "remove": [str(path) for name in halves for path in paths_of(name, folder)],
        "groups": _groups(needed, wheels),
        "kept": KEPT,
        "wheels": str(wheels) if wheels else None,
        "imports": _modules(requirements),
        "longest": _longest_path(),
        "engine": str(Path(medtl.__file__).resolve().parents[1]),
    }
    return Installation(job, on_progress, on_end, command)


def try_imports(
    on_end: Callable[[], None], requirements: Path | str = REQUIREMENTS, command: Sequence[str] | None = None
) -> None:
    """Import the packages in a process of its own; afterwards `broken` names the one that cannot be imported."""

    def remember(kind: str, what: str, reason: str) -> None:
        if kind == "import":
            _not_importable[what] = reason
        on_end()

    if not slicer.packaging.isPipInstallInProgress():
        job = {
            "remove": (),
            "groups": (),
            "kept": (),
            "wheels": None,
            "imports": _modules(requirements),
            "longest": None,
        }
        Installation(job, lambda text, fraction: None, remember, command)


def _longest_path() -> int | None:
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


def _modules(requirements: Path | str) -> dict[str, str]:
    """The modules that are imported to try the packages, by the names of the packages."""
    names = [each.name for each in required(requirements=requirements) if each.name not in OWN]
    return {name: name.replace("-", "_") for name in names}


def _groups(needed: Sequence[Requirement], wheels: Path | None) -> list[dict[str, Any]]:
    """What is installed together, in order: see `installer.py`."""

    def group(part: Sequence[Requirement], tool: str, tested: Sequence[str]) -> list[dict[str, Any]]:
        return [{"requirements": [str(each) for each in part], "tool": tool, "tested": tested}] if part else []

    if wheels:
        return group(needed, "", ())  # a pack has the versions that it has
    torch, rest = _parts(needed)
    return [*group(torch, TOOL, ()), *group(rest, "", _tested())]


def _check(needed: Sequence[Requirement], wheels: Path | None) -> None:
    """Raises: InputError when an installation cannot succeed, so the user is not asked for nothing."""
    if slicer.app.testingEnabled():
        raise InputError(_("Nothing is installed while Slicer runs in testing mode. Start it without --testing."))
    if slicer.packaging.isPipInstallInProgress():
        raise InputError(_("Another installation of Python packages is running. Wait for its end and try again."))
    folder = Path(sysconfig.get_paths()["purelib"])
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        text = _(
            "Packages are installed into {folder}, which cannot be written ({reason}). "
            "Install Slicer into a folder of your own, or ask whoever manages this computer to install them."
        )
        raise InputError(text.format(folder=folder, reason=error.strerror)) from error
    disk, free = sum(cost[1] for cost in _costs(needed)), shutil.disk_usage(folder).free // 1_000_000
    if free < disk:
        text = _("Expected {disk} free in {folder}, found {free}. Make room and try again.")
        raise InputError(text.format(disk=_size(disk), folder=folder, free=_size(free)))
    if wheels:
        check_pack(wheels, needed)
    elif _parts(needed)[0] and importlib.util.find_spec("PyTorchUtils") is None:
        raise InputError(
            _("The PyTorch extension is missing. Install it in the Extensions Manager, restart Slicer and try again.")
        )


def _problem_text(kind: str, what: str, reason: str) -> str:
    """One sentence for a problem of the installation, with what to do."""
    if kind == "pack":  # it says all
        return reason
    advice = {
        "network": _("The server cannot be reached. Check the network and its proxy and try again."),
        "proxy": _(
            "The proxy asks for a name and a password. Set the variable HTTPS_PROXY to "
            "http://NAME:PASSWORD@HOST:PORT, or ask whoever manages this network; then restart Slicer."
        ),
        "disk": _("The disk is full. Make room and try again."),
        "rights": _("Close other windows of Slicer, restart it and try again."),
        "busy": _("Another Slicer installs packages into the same folder. Wait for its end and try again."),
        "missing": _("Start Slicer by its launcher, or install Slicer again."),
        "paths": _(
            "Install Slicer into a folder with a short name, such as C:\\Slicer; or let an administrator set "
            "LongPathsEnabled to 1 in the registry, under HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Control"
            "\\FileSystem, and restart the computer."
        ),
        "import": _("It is installed, but cannot be used: press Repair."),
    }.get(kind, _("The output of pip is in Slicer's log. Try again."))
    text = _("{what} could not be installed ({reason}). {advice}")
    return str(text.format(what=what, reason=reason or kind, advice=advice))


def _tested() -> tuple[str, ...]:
    """The tested versions for this kind of computer.

    Without hashes: given one hash, pip requires those of all packages, including Slicer's own.
    """
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.rstrip(" \\")) for line in lines if line and line[0] not in " #"]
    return tuple(f"{pin.name}{pin.specifier}" for pin in pins if pin.marker is None or pin.marker.evaluate())


def _versions() -> dict[str, str]:
    """The versions of all installed packages, by canonical name; of two in different folders the one that is used."""
    importlib.invalidate_caches()
    installed = reversed(list(importlib.metadata.distributions()))
    return {canonicalize_name(each.metadata["Name"]): each.version for each in installed if each.metadata["Name"]}


def _loaded_changes(before: dict[str, str]) -> tuple[str, ...]:
    """Packages that are new or have another version than `before`, and are imported in this process."""
    after = _versions()
    changed = {name for name, version in after.items() if before.get(name) != version}
    owners = importlib.metadata.packages_distributions()
    loaded = {canonicalize_name(owner) for module in owners if module in sys.modules for owner in owners[module]}
    return tuple(sorted(changed & loaded))


def _parts(needed: Sequence[Requirement]) -> tuple[tuple[Requirement, ...], tuple[Requirement, ...]]:
    """torch and torchvision, and the rest."""
    return tuple(r for r in needed if r.name in TORCH), tuple(r for r in needed if r.name not in TORCH)


def _torch_cost() -> tuple[int, int, int]:
    return TORCH_CUDA if find_program("nvidia-smi") else TORCH_CPU  # as the PyTorch extension decides


def _costs(needed: Sequence[Requirement]) -> list[tuple[int, int, int]]:
    torch, rest = _parts(needed)
    return [*([_torch_cost()] if torch else ()), *([REST] if rest else ())]


def _names(needed: Sequence[Requirement]) -> str:
    return ", ".join(each.name for each in needed)


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"
