"""The Python packages that the engine needs: which are missing, their size, and their installation after consent.

torch and torchvision are installed first, by the PyTorch extension: otherwise another package would install a torch
from PyPI that does not support the graphics card. Which packages are installed is read from their metadata, because
importing torch would lock its files on Windows.
"""

import importlib.metadata
import importlib.util
import logging
import shutil
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import slicer
import slicer.packaging
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from slicer.i18n import tr as _

from medtl.errors import Cancelled, InputError
from medtl.requirements import System, system_of

from .programs import find_program

REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
REQUESTER = "MedTLSegment"
CONSTRAINTS = REQUIREMENTS.with_name("constraints.txt")  # the tested versions, with hashes
TORCH = ("torch", "torchvision")
# Slicer and other extensions use these: their versions change only where the system needs it and the user agrees.
KEPT = ("numpy", "scipy", "SimpleITK", "vtk", "pydicom", "torch", "torchvision")
# Megabytes to download and on disk, minutes at 50 Mbit/s: PyTorch with CUDA, without it, and all the rest.
TORCH_CUDA, TORCH_CPU, REST = (3000, 6000, 15), (300, 1000, 3), (25, 80, 1)
REACH_SECONDS = 3.0

log = logging.getLogger(__name__)


class Packages(Protocol):
    """The packages that the engine needs; this module is the real one."""

    def missing(self) -> tuple[Requirement, ...]:
        """What is not installed or too old; () when the engine can run."""
        ...

    def plan(self, needed: Sequence[Requirement]) -> str:
        """What the user is asked before it is installed."""
        ...

    def install(self, asker: Callable[[str], bool], stop_worker: Callable[[], None]) -> tuple[str, ...]:
        """Install what is missing; the packages that changed while they were loaded are returned."""
        ...


def required(system: System | None = None, requirements: Path | str = REQUIREMENTS) -> tuple[Requirement, ...]:
    """What the engine needs on this kind of computer, by default this one, torch and torchvision first."""
    of_system = map(Requirement, (system or system_of()).requirements)
    return (*of_system, *slicer.packaging.load_requirements(requirements))


def missing(requirements: Path | str = REQUIREMENTS) -> tuple[Requirement, ...]:
    """What is not installed or has a version that does not fit, torch and torchvision first; () when the engine can
    run."""
    needed = required(requirements=requirements)
    return tuple(each for each in needed if not slicer.packaging.pip_check(each))


def own_changes(needed: Sequence[Requirement]) -> str:
    """What the user is asked where packages change that Slicer itself uses; empty where none does."""
    versions = _versions()
    changes = [
        _("{name} {version} becomes {wanted}").format(name=each.name, version=versions[each.name], wanted=each)
        for each in needed
        if each.name in KEPT and each.name not in TORCH and each.name in versions
    ]
    text = _("Packages that Slicer itself uses change: {changes}. Other extensions may need the version of today.")
    return text.format(changes=", ".join(changes)) if changes else ""


def plan(needed: Sequence[Requirement], wheels: Path | None = None) -> str:
    """The question for the user: what would be installed, from where, its size and how long it takes.

    `wheels` is a folder of wheels to install from instead of the network.
    """
    torch, rest = _parts(needed)
    lines = [_("MedTL computes in its own process. It needs these packages in Slicer's Python:")]
    line = _("– {names}, {source}")
    folder = _("from {folder}").format(folder=wheels)
    if torch:
        source = folder if wheels else _("by the PyTorch extension from download.pytorch.org")
        lines.append(line.format(names=_names(torch), source=source))
    if rest:
        source = folder if wheels else _("from pypi.org")
        lines.append(line.format(names=_names(rest), source=source))
    download, disk, minutes = (sum(numbers) for numbers in zip(*_costs(needed), strict=True))
    if wheels:
        text = _("About {disk} on disk; nothing is downloaded.")
    else:
        text = _("About {download} to download, {disk} on disk and {minutes} minutes at 50 Mbit/s.")
    lines.append(text.format(download=_size(download), disk=_size(disk), minutes=minutes))
    own = own_changes(needed) or _("Slicer's own packages stay as they are.")
    lines.append(_("Slicer cannot be used meanwhile.") + f" {own} " + _("No image leaves this computer."))
    if reason := system_of().reason:
        lines.append(_("Versions for {system}: {reason}").format(system=system_of().name, reason=reason))
    return "\n".join(lines)


def install(
    asker: Callable[[str], bool],
    stop_worker: Callable[[], None],
    requirements: Path | str = REQUIREMENTS,
    wheels: Path | None = None,
) -> tuple[str, ...]:
    """Install what is missing, if `asker(plan)` agrees; returns the packages that changed while they were loaded.

    Where that is not (), Slicer should be restarted before the engine is used. With `wheels`, a folder of wheels, the
    network is not used.

    Raises: Cancelled when the asker declines, InputError with the reason and what to do when it cannot be done.
    """
    needed = missing(requirements)
    if not needed:
        return ()
    _check(needed, wheels)
    if not asker(plan(needed, wheels)):
        raise Cancelled(_("Nothing was installed."))
    stop_worker()  # Windows does not replace a library in use
    before = _versions()
    torch, rest = _parts(needed)
    if wheels:
        _install_wheels(needed, wheels)
    else:
        if torch:
            _install_torch()
        if rest:
            _install_rest(rest)
    left = missing(requirements)
    if left:
        text = _("Expected {names} to be installed now, found them missing. See the Python console, and try again.")
        raise InputError(text.format(names=_names(left)))
    return _loaded_changes(before)


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
        if not any(wheels.glob("*.whl")):
            text = _("Expected a folder with wheels (.whl), found none in {folder}. Choose another folder.")
            raise InputError(text.format(folder=wheels))
    elif _parts(needed)[0] and importlib.util.find_spec("PyTorchUtils") is None:
        raise InputError(
            _("The PyTorch extension is missing. Install it in the Extensions Manager, restart Slicer and try again.")
        )


def _install_torch() -> None:
    with _explained("PyTorch", "download.pytorch.org"):
        logic = importlib.import_module("PyTorchUtils").PyTorchUtilsLogic()
        # It imports torch into this process at its end, which is why a restart is advised afterwards.
        logic.installTorch(askConfirmation=False, torchVersionRequirement=str(required()[0].specifier))
    importlib.invalidate_caches()
    if _parts(missing())[0]:
        raise InputError(
            _("The PyTorch extension did not install PyTorch. Try it in the module PyTorch Utils, then come back.")
        )


def _install_rest(rest: Sequence[Requirement]) -> None:
    with _constraints(rest, _tested(rest)) as constraints, _explained(_names(rest), "pypi.org"):
        slicer.packaging.pip_ensure(
            list(rest), constraints=constraints, prompt_install=False, prompt_restart=False, requester=REQUESTER
        )


def _install_wheels(needed: Sequence[Requirement], wheels: Path) -> None:
    arguments = ["--no-index", "--find-links", str(wheels), *(str(each) for each in needed)]
    with _constraints(needed, ()) as constraints, _explained(_names(needed), ""):
        slicer.packaging.pip_install(arguments, constraints=constraints, requester=REQUESTER)


def _tested(needed: Sequence[Requirement]) -> tuple[str, ...]:
    """The tested versions of the packages that are needed or not installed yet; installed ones stay.

    Without hashes: given one hash, pip requires those of all packages, including Slicer's own.
    """
    installed = set(_versions()) - {canonicalize_name(each.name) for each in needed}
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.rstrip(" \\")) for line in lines if line and line[0] not in " #"]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    return tuple(f"{pin.name}{pin.specifier}" for pin in here if canonicalize_name(pin.name) not in installed)


@contextmanager
def _constraints(needed: Sequence[Requirement], tested: Sequence[str]) -> Iterator[Path]:
    """A constraints file for pip: the installed versions of KEPT that are not needed anew, and the `tested` versions of
    the rest."""
    with tempfile.TemporaryDirectory(prefix="MedTL-") as folder:
        new = {canonicalize_name(each.name) for each in needed}
        versions = {name: version for name, version in _versions().items() if name not in new}
        kept = [f"{name}=={versions[canonicalize_name(name)]}" for name in KEPT if canonicalize_name(name) in versions]
        file = Path(folder) / "constraints.txt"
        file.write_text("".join(f"{line}\n" for line in (*kept, *tested)), encoding="utf-8")
        yield file


@contextmanager
def _explained(what: str, host: str) -> Iterator[None]:
    """Turns an error while `what` is installed from `host` ("" for a folder) into one sentence."""
    try:
        yield
    except Exception as error:  # pip and the PyTorch extension may raise any error
        log.exception("Installation of %s", what)
        if isinstance(error, PermissionError):
            text = _(
                "{what} could not be installed: {reason}. Close other windows of Slicer, restart it and try again."
            )
        elif host and not _reachable(host):
            text = _(
                "{what} could not be installed: {host} cannot be reached. "
                "Check the network and its proxy and try again."
            )
        else:
            text = _("{what} could not be installed ({reason}). The output of pip is in the Python console. Try again.")
        raise InputError(text.format(what=what, host=host, reason=error)) from error


def _reachable(host: str) -> bool:
    try:
        socket.create_connection((host, 443), REACH_SECONDS).close()
    except OSError:
        return False
    return True


def _versions() -> dict[str, str]:
    """The versions of all installed packages, by canonical name."""
    importlib.invalidate_caches()
    installed = importlib.metadata.distributions()
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
