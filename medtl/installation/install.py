"""Installs groups of requirements: all wheels of a group are fetched and checked before one is written."""

import json
import shutil
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import MedTLError
from ..pack import unpack
from .installed import installed_versions, name_of
from .job import Group, Job
from .pip import Pip, Problem
from .record import read_record, recorded, write_record
from .site import alone, put_back_on_failure
from .wheels import check_disk, fetch, files_of, too_long


def install(job: Job, pip: Pip) -> None:
    """Do the job. Raises: Problem."""
    site, before = Path(sysconfig.get_paths()["purelib"]), installed_versions()
    source = ["--no-index", "--find-links", str(unpacked(job, pip))] if job.pack else []
    with alone(site), put_back_on_failure(map(Path, job.remove), site):
        if job.uninstall:
            uninstall(job.uninstall, site, pip)
        for number, group in enumerate(job.groups):
            install_group(group, Path(job.folder) / str(number), source, job, site, before, pip)
    pip.try_imports(job.imports)


def unpacked(job: Job, pip: Pip) -> Path:
    """The folder of wheels of the job's pack, each as it was packed. Raises: Problem."""
    path, folder = Path(job.pack or ""), Path(job.folder) / "pack"
    try:
        unpack(path, folder, lambda fraction: pip.step("unpack", path.name, fraction))
    except MedTLError as error:
        raise Problem("pack", path.name, str(error)) from error
    return folder / "wheels"


def install_group(
    group: Group, folder: Path, source: Sequence[str], job: Job, site: Path, before: Mapping[str, str], pip: Pip
) -> None:
    """Install the requirements of a group; `source` tells pip where it looks, `before` are the versions from before the
    job. Raises: Problem."""
    folder.mkdir()
    what = ", ".join(map(name_of, group.requirements))
    tool = None
    if group.tool:
        # Apart from Slicer's packages, because it needs an older pip.
        tool = folder / "tool" / name_of(group.tool).replace("-", "_")
        pip.run(["install", "--only-binary", ":all:", "--target", str(tool.parent), group.tool], "look", what)
    constraints, report = folder / "constraints.txt", folder / "report.json"
    lines = constraints_of(group.requirements, job.kept, group.tested)
    constraints.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    asked = ["install", "--dry-run", "--report", str(report), "--only-binary", ":all:", "-c", str(constraints)]
    asked += source
    asked += ["--index-url", group.index] if group.index else []
    pip.run([*asked, *group.requirements, *group.beside], "look", what, tool, report)
    items = json.loads(report.read_text(encoding="utf-8"))["install"]
    wheels = fetch(items, folder / "wheels", what, pip)
    check_disk(wheels, site, what)
    names = (info.filename for info in files_of(wheels))
    if job.longest and (path := too_long(names, str(site), job.longest)):
        raise Problem("paths", what, f"a path of {len(path)} characters, {job.longest} are allowed: {path}")
    if wheels:
        chosen = {name_of(item["metadata"]["name"]): item["metadata"]["version"] for item in items}
        ours = read_record(site)
        with recorded(site, {name: new for name, new in chosen.items() if name in ours or name not in before}):
            given = ["install", "--no-deps", "--no-index", "--no-warn-script-location", *map(str, wheels)]
            pip.run(given, "write", what, writes=True)
    shutil.rmtree(folder, ignore_errors=True)


def uninstall(names: Sequence[str], site: Path, pip: Pip) -> None:
    """Remove packages by pip, in this order: one after the other, so that a cancel waits for one alone.

    Raises: Problem.
    """
    try:
        for name in names:
            pip.run(["uninstall", "--yes", name], "remove", name, writes=True)
    finally:  # those that pip removed before a failure or a cancel are gone, too
        left = installed_versions()
        write_record(site, {name: version for name, version in read_record(site).items() if name in left})


def constraints_of(requirements: Sequence[str], kept: Sequence[str], tested: Sequence[str]) -> list[str]:
    """The lines of the constraints: the installed versions of what is kept, and the tested ones of what is new."""
    new, there = set(map(name_of, requirements)), installed_versions()
    return [
        *(f"{name}=={there[name]}" for name in map(name_of, kept) if name in there and name not in new),
        *(line for line in tested if name_of(line) in new or name_of(line) not in there),
    ]
