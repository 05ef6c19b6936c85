"""Installs groups of requirements: all wheels of a group are fetched and checked before one is written."""

import json
import re
import shutil
import sysconfig
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from .pip import Pip, Problem
from .site import alone, put_back_on_failure
from .wheels import check_disk, fetch, files_of, too_long


def install(job: Mapping[str, Any], pip: Pip) -> None:
    """Install the groups of requirements. Raises: Problem."""
    folder, site = Path(job["folder"]), Path(sysconfig.get_paths()["purelib"])
    source = ["--no-index", "--find-links", job["wheels"]] if job["wheels"] else []
    with alone(site), put_back_on_failure(map(Path, job["remove"]), site):
        for number, group in enumerate(job["groups"]):
            requirements, what = group["requirements"], ", ".join(map(name_of, group["requirements"]))
            tool = None
            if group["tool"]:
                # Apart from Slicer's packages, because it needs an older pip.
                tool = folder / "tool" / name_of(group["tool"]).replace("-", "_")
                fetched = ["install", "--only-binary", ":all:", "--target", str(tool.parent), group["tool"]]
                pip.run(fetched, "look", what)
            constraints = folder / f"constraints-{number}.txt"
            lines = constraints_of(requirements, job["kept"], group["tested"])
            constraints.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            report = folder / f"report-{number}.json"
            asked = ["install", "--dry-run", "--report", str(report), "--only-binary", ":all:", "-c", str(constraints)]
            pip.run([*asked, *source, *requirements], "look", what, tool, report)
            wheels = fetch(json.loads(report.read_text(encoding="utf-8"))["install"], folder / "wheels", what, pip)
            check_disk(wheels, site, what)
            names = (info.filename for info in files_of(wheels))
            if job["longest"] and (path := too_long(names, str(site), job["longest"])):
                raise Problem("paths", what, f"a path of {len(path)} characters, {job['longest']} are allowed: {path}")
            if wheels:
                given = ["install", "--no-deps", "--no-index", "--no-warn-script-location", *map(str, wheels)]
                pip.run(given, "write", what, writes=True)
            shutil.rmtree(folder / "wheels", ignore_errors=True)
    pip.try_imports(job["imports"])


def constraints_of(requirements: Sequence[str], kept: Sequence[str], tested: Sequence[str]) -> list[str]:
    """The lines of the constraints: the installed versions of what is kept, and the tested ones of what is new."""
    new = set(map(name_of, requirements))
    installed = reversed(list(metadata.distributions()))  # of two in different folders the first is used
    there = {name_of(each.metadata["Name"]): each.version for each in installed if each.metadata["Name"]}
    return [
        *(f"{name}=={there[name]}" for name in map(name_of, kept) if name in there and name not in new),
        *(line for line in tested if name_of(line) in new or name_of(line) not in there),
    ]


def name_of(requirement: str) -> str:
    """The name of a requirement, as pip compares names."""
    found = re.match(r"[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""
