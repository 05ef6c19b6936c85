"""The packages that this Python has, and which of them MedTL installed; none is imported."""

import importlib
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from .record import read_record


@dataclass(frozen=True)
class Package:
    """A package by the name that pip compares; its size is that of its files, in bytes."""

    name: str
    version: str
    size: int


def installed() -> dict[str, metadata.Distribution]:
    """Every installed package by its name; of two in different folders the one that is used."""
    importlib.invalidate_caches()
    found = reversed(list(metadata.distributions()))
    return {name_of(each.metadata["Name"]): each for each in found if each.metadata["Name"]}


def installed_versions() -> dict[str, str]:
    """The versions of the installed packages, by the names that pip compares."""
    return {name: each.version for name, each in installed().items()}


def installed_by_medtl(site: Path) -> tuple[Package, ...]:
    """What MedTL installed into this folder and is still there, in the same version."""
    there = installed()
    same = {name for name, version in read_record(site).items() if name in there and there[name].version == version}
    return tuple(Package(name, there[name].version, _size(there[name])) for name in sorted(same))


def name_of(requirement: str) -> str:
    """The name of a requirement, as pip compares names."""
    found = re.match(r"[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def _size(package: metadata.Distribution) -> int:
    return sum(file.size or 0 for file in package.files or ())
