"""Removes packages that MedTL installed into Slicer's Python. Those that something else needs are not offered."""

import sysconfig
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import slicer
from packaging.requirements import InvalidRequirement, Requirement
from slicer.i18n import tr as _

from medtl.errors import Cancelled, InputError, MedTLError
from medtl.installation.installed import Package, installed, installed_by_medtl, name_of
from medtl.installation.job import Job

from .needed import not_importable
from .problems import check_free_to_change, problem_text
from .process import Installation

ROOT = Path(__file__).resolve().parents[3]  # of this extension's modules


def removable() -> tuple[Package, ...]:
    """What MedTL installed, and nothing else needs: no other package, and no other extension by its requirements."""
    there, ours = installed(), installed_by_medtl(Path(sysconfig.get_paths()["purelib"]))
    others = there.keys() - {each.name for each in ours}
    used = {name for other in others for name in _needs(there[other])} | named_by_extensions()
    waiting = used & there.keys()
    while waiting:  # what something that is used needs is used, too
        new = (_needs(there[waiting.pop()]) & there.keys()) - used
        used, waiting = used | new, waiting | new
    return tuple(each for each in ours if each.name not in used)


def needed_by(names: Sequence[str]) -> dict[str, str]:
    """Of these packages those that another one needs that is not among them, and that one."""
    left = installed()
    return {name: other for other in left if other not in names for name in _needs(left[other]) if name in names}


def remove(
    names: Sequence[str],
    on_progress: Callable[[str, float | None], None],
    on_done: Callable[[], None],
    on_error: Callable[[MedTLError], None],
    stop_worker: Callable[[], None],
    command: Sequence[str] | None = None,
) -> Installation:
    """Start to remove packages, by pip in a process of its own; at the end comes `on_done` or `on_error`.

    The latter gets Cancelled after a cancel: some packages are gone then, and each of the others has what it needs.

    Raises: InputError when they cannot be removed now.
    """
    check_free_to_change()
    if needed := needed_by(names):
        text = _("{other} needs {name}: tick {other}, too, or leave {name}.")
        raise InputError(" ".join(text.format(name=name, other=other) for name, other in needed.items()))
    stop_worker()  # Windows does not remove a library in use
    not_importable.clear()

    def on_end(kind: str, what: str, reason: str) -> None:
        if kind == "cancelled":
            left = installed()
            gone = ", ".join(name for name in names if name not in left) or _("none")
            on_error(Cancelled(_("The removal was cancelled. Removed before: {names}.").format(names=gone)))
        elif kind:
            on_error(InputError(problem_text(kind, what or ", ".join(names), reason, removal=True)))
        else:
            on_done()

    return Installation(Job(uninstall=in_order(names)), on_progress, on_end, command)


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """These packages, each before those that it needs; where packages need each other, in the given order."""
    needs = {name: _needs(there) for name, there in installed().items() if name in names}
    ordered: list[str] = []
    while left := [name for name in names if name not in ordered]:
        needed = {each for name in left for each in needs.get(name, set()) - {name}}
        ordered.append(next((name for name in left if name not in needed), left[0]))
    return tuple(ordered)


def named_by_extensions() -> set[str]:
    """The packages that the requirements of other extensions' modules name; a line of another format may name one."""
    names: set[str] = set()
    for folder in _module_folders():
        for file in (*folder.glob("*requirements*.txt"), *folder.glob("Resources/**/*requirements*.txt")):
            with suppress(OSError):
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
                names |= {name_of(line.strip()) for line in lines if not line.strip().startswith(("-", "#"))}
    return names


def _module_folders() -> set[Path]:
    """The folders of the loaded scripted modules that are not MedTL's."""
    manager = slicer.app.moduleManager()
    paths = (getattr(manager.module(name), "path", "") for name in manager.modulesNames())
    folders = {Path(str(path)).resolve().parent for path in paths if str(path).endswith(".py")}
    return {folder for folder in folders if ROOT not in (folder, *folder.parents)}


def _needs(package: metadata.Distribution) -> set[str]:
    """The packages that a package needs on this computer, without its extras."""
    needed = set()
    for line in package.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed.add(name_of(requirement.name))
    return needed
