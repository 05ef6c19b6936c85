"""Repairs packages that are installed by halves: what is broken is taken out, and installed again by pip."""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ..broken_packages import module_of, paths_of
from ..errors import InputError
from ..installation.install import install
from ..installation.job import Group, Job
from ..installation.pip import Pip, Problem
from ..requirements import System, system_of
from .console import print_messages
from .doctor import broken, packages_folder, versions

TORCH = ("torch", "torchvision")
# The builds of torch, as the part of its version after the + names them, that have an index of their own.
BUILDS = re.compile(r"cpu|xpu|cu\d+|rocm[\d.]+")
STAGES = {"look": "Looking for", "download": "Downloading", "write": "Writing", "try": "Trying"}


def offer(agreed: bool) -> None:
    """Repair what is broken in this Python, after asking where the user has not `agreed` yet.

    Raises: InputError when nobody can be asked, or the repair failed.
    """
    folder = packages_folder()
    packages = versions()
    found = broken(packages, folder)
    if not found:
        print_messages("No package is broken.")
        return
    print_messages(*plan(found, folder))
    if not agreed and not asked("Repair? [y/N] "):
        print_messages("Nothing was changed.")
        return
    repair(found, packages, system_of(), folder, print_messages)
    print_messages(f"Repaired: {', '.join(found)}")


def asked(question: str) -> bool:
    """Whether the user answers yes. Raises: InputError when there is nobody to ask."""
    if not sys.stdin.isatty():
        raise InputError("Expected a terminal to ask in, found none. Add --yes to repair without asking.")
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def plan(found: Mapping[str, str], folder: Path) -> list[str]:
    """What a repair does, in lines for people."""
    lines = [f"{name}: {problem}" for name, problem in found.items()]
    paths = [str(path) for name in found for path in paths_of(name, folder)]
    if paths:
        lines.append(f"To be removed: {', '.join(paths)}")
    return [*lines, f"To be installed again: {', '.join(found)}"]


def repair(
    found: Mapping[str, str],
    packages: Mapping[str, str | None],
    system: System,
    folder: Path,
    tell: Callable[[str], None],
) -> None:
    """Take the broken packages out of their folder and install them again; `packages` are the versions of all.

    Packages are fetched before one is written; where that fails, what was taken out is put back.

    Raises: InputError when they could not be installed.
    """

    def say(stage: str = "", what: str = "", fraction: float | None = None, log: str = "") -> None:
        if stage and fraction is None:
            tell(f"{STAGES[stage]} {what}")

    with tempfile.TemporaryDirectory(prefix="medtl-") as temporary:
        try:
            install(job_of(found, packages, system, folder, temporary), Pip(say))
        except Problem as problem:
            what = problem.what or ", ".join(found)
            text = f"{what} could not be repaired ({problem.reason or problem.kind})."
            advice = "What was there is as before. Check the network, its proxy and the disk, and try again."
            if problem.kind == "import":
                advice = "It is installed anew and still cannot be imported: run medtl doctor."
            raise InputError(f"{text} {advice}") from problem


def job_of(
    found: Mapping[str, str], packages: Mapping[str, str | None], system: System, folder: Path, temporary: str
) -> Job:
    """The job that repairs packages."""
    by_system = dict(zip(("torch", "torchvision", "numpy", "monai"), system.requirements, strict=True))
    torch, rest = [name for name in TORCH if name in found], [name for name in found if name not in TORCH]
    beside = [f"{name}=={packages[name]}" for name in TORCH if name not in found and packages[name]]
    groups = [Group(tuple(by_system[name] for name in torch), beside=tuple(beside), index=index_of(packages))]
    groups += [Group(tuple(by_system.get(name, name) for name in rest))]
    return Job(
        remove=tuple(str(path) for name in found for path in paths_of(name, folder)),
        groups=tuple(group for group in groups if group.requirements),
        kept=tuple(name for name in packages if name not in found),
        imports={name: module_of(name) for name in found},
        folder=temporary,
    )


def index_of(packages: Mapping[str, str | None]) -> str:
    """PyTorch's own index of the build that is installed; empty for pip's index, or the one that the user has set."""
    build = next((found for name in TORCH if (found := (packages[name] or "").partition("+")[2])), "")
    return (
        f"https://download.pytorch.org/whl/{build}"
        if BUILDS.fullmatch(build) and "PIP_INDEX_URL" not in os.environ
        else ""
    )
