# ruff: noqa: N802, N803
"""Slicer's package management without the installing: what is there is told, nothing is fetched."""

import importlib.metadata
import logging
from pathlib import Path
from typing import Any

import slicer
from packaging.requirements import Requirement

_pip_install_in_progress = False


def load_requirements(path: str | Path) -> list[Requirement]:
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def _to_requirements(reqs: Any) -> list[Requirement]:
    if isinstance(reqs, Requirement):
        return [reqs]
    return [
        r if isinstance(r, Requirement) else Requirement(r) for r in (reqs.split() if isinstance(reqs, str) else reqs)
    ]


def pip_check(req: Any) -> bool:
    return all(_is_there(requirement) for requirement in _to_requirements(req))


def _is_there(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        return importlib.metadata.version(requirement.name) in requirement.specifier
    except importlib.metadata.PackageNotFoundError:
        return False


def pip_ensure(
    requirements: Any,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    missing = [str(r) for r in _to_requirements(requirements) if not pip_check(r)]
    if not missing:
        return None
    if skip_in_testing and slicer.app.testingEnabled():
        logging.info(f"Testing mode is enabled: skipping pip_ensure for {missing}")
        return None
    if prompt_install and not slicer.util.confirmOkCancelDisplay(", ".join(missing), requester or ""):
        raise RuntimeError("User declined package installation")
    return pip_install(missing, constraints=constraints, skip_packages=skip_packages, requester=requester)


def pip_install(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    no_deps_requirements: str | list[str] | None = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    logCallback: Any = None,
    completedCallback: Any = None,
) -> list[str] | None:
    raise NotImplementedError(f"The stand-in installs nothing: {requirements}. Replace this function in the test.")


def isPipInstallInProgress() -> bool:
    return _pip_install_in_progress
