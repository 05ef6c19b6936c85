"""The Python packages that the engine needs in Slicer: which are missing, broken or too old. None is imported: what is
installed is read from its metadata."""

import importlib.metadata
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import slicer.packaging
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from slicer.i18n import tr as _

from medtl.broken_packages import broken_packages, module_of
from medtl.installation.installed import installed_versions
from medtl.requirements import System, system_of

from .other_python import other_python

REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
TORCH = ("torch", "torchvision")
# Slicer and other extensions use these: their versions change only where the system needs it and the user agrees.
KEPT = ("numpy", "scipy", "SimpleITK", "vtk", "pydicom", "torch", "torchvision")
OWN = (*(name for name in KEPT if name not in TORCH),)

not_importable: dict[str, str] = {}  # packages that a process of this session could not import, and why


def required(system: System | None = None) -> tuple[Requirement, ...]:
    """What the engine needs on this kind of computer, by default this one, torch and torchvision first."""
    of_system = map(Requirement, (system or system_of()).requirements)
    return (*of_system, *slicer.packaging.load_requirements(REQUIREMENTS))


def missing() -> tuple[Requirement, ...]:
    """What is not installed, is broken or has a version that does not fit, torch and torchvision first; () when the
    engine can run, or runs in another Python than Slicer's."""
    if other_python() is not None:
        return ()
    needed, halves = required(), broken()
    return tuple(each for each in needed if each.name in halves or not slicer.packaging.pip_check(each))


def broken() -> dict[str, str]:
    """What is wrong with each package that is installed by halves, or cannot be imported. Slicer's own are not looked
    at, because they are not repaired by MedTL."""
    if other_python() is not None:
        return {}
    names = [each.name for each in required() if each.name not in OWN]
    halves = broken_packages(names, Path(sysconfig.get_paths()["purelib"]))
    return {**{name: why for name, why in not_importable.items() if name in names}, **halves}


def own_changes(needed: Sequence[Requirement]) -> str:
    """What the user is asked where packages change that Slicer itself uses; empty where none does."""
    there = installed_versions()
    changes = [
        _("{name} {version} becomes {wanted}").format(name=each.name, version=there[each.name], wanted=each)
        for each in needed
        if each.name in OWN and each.name in there
    ]
    text = _("Packages that Slicer itself uses change: {changes}. Other extensions may need the version of today.")
    return text.format(changes=", ".join(changes)) if changes else ""


def loaded_changes(before: dict[str, str]) -> tuple[str, ...]:
    """Packages that are new or have another version than `before`, and are imported in this process."""
    after = installed_versions()
    changed = {name for name, version in after.items() if before.get(name) != version}
    owners = importlib.metadata.packages_distributions()
    loaded = {canonicalize_name(owner) for module in owners if module in sys.modules for owner in owners[module]}
    return tuple(sorted(changed & loaded))


def modules() -> dict[str, str]:
    """The modules that are imported to try the packages, by the names of the packages."""
    names = [each.name for each in required() if each.name not in OWN]
    return {name: module_of(name) for name in names}


def parts_of(needed: Sequence[Requirement]) -> tuple[tuple[Requirement, ...], tuple[Requirement, ...]]:
    """torch and torchvision, and the rest."""
    return tuple(r for r in needed if r.name in TORCH), tuple(r for r in needed if r.name not in TORCH)


def names_of(needed: Sequence[Requirement]) -> str:
    """The names of packages, in one line."""
    return ", ".join(each.name for each in needed)
