"""The state of an installation: packages, device, memory, disk, models, and what to do where something is broken."""

import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import __version__
from ..broken_packages import broken_packages, module_of, paths_of
from ..installation.pip import Pip, Problem
from ..io.limits import free_memory
from ..kept import Kept
from ..model.store import list_models, user_store
from ..requirements import System, system_of, unmet, version_of
from ..typed_json import SPREAD

# Each after those that it needs: where several cannot be imported, the first one is the cause.
PACKAGES = (
    *("numpy", "packaging", "pillow", "safetensors", "scipy", "einops", "pydicom", "SimpleITK", "jinja2"),
    *("torch", "torchvision", "timm", "segmentation-models-pytorch", "monai"),
)
# Both are imported in a process of their own: a mismatch may end the interpreter.
PROBE = """
import json, platform, torch, torchvision
cuda = torch.cuda.is_available()
device = "cuda" if cuda else "mps" if torch.backends.mps.is_available() and platform.machine() != "x86_64" else "cpu"
name = torch.cuda.get_device_name() if cuda else ""
print(json.dumps({"device": device, "device_name": name, "threads": torch.get_num_threads()}))
"""
MISMATCH = re.compile(r"torchvision::nms does not exist|undefined symbol|different CUDA major versions|DLL load failed")
ONE_SOURCE = (
    "Install both from one index: pip install --force-reinstall torch torchvision "
    "--index-url https://download.pytorch.org/whl/cpu (or the index of your CUDA version)."
)
NEEDED_GB = 2.0


@dataclass(frozen=True)
class Torch:
    """The device that torch finds; None where torch cannot be imported."""

    device: str | None = None
    device_name: str = ""
    threads: int | None = None


@dataclass(frozen=True)
class Store:
    """The folder of the user's models, and the free space of its disk."""

    model_store: str
    model_store_writable: bool
    free_disk_gb: float


@dataclass(frozen=True)
class InstalledModel:
    """A model that is shipped or the user's; `problem` is None where it can be used."""

    name: str
    source: str
    folder: str
    problem: str | None


@dataclass(frozen=True)
class Installation:
    """The state, as `medtl doctor --json` prints it; `problems` has one line for each thing that is broken, with what
    to do."""

    medtl: str
    python: str
    executable: str
    platform: str
    system: System
    packages: Mapping[str, str | None]
    torch: Torch = field(metadata=SPREAD)
    bf16: str
    store: Store = field(metadata=SPREAD)
    free_memory_gb: float | None
    models: tuple[InstalledModel, ...]
    problems: tuple[str, ...]


def examine() -> Installation:
    """The state of this installation."""
    system, packages, folder = system_of(), versions(), packages_folder()
    torch, problem = probe() if packages["torch"] and packages["torchvision"] else (Torch(), "")
    store, free = model_store(), free_memory_gb()
    models = tuple(InstalledModel(m.name, m.source, str(m.folder), m.problem or None) for m in list_models())
    return Installation(
        __version__,
        platform.python_version(),
        sys.executable,
        platform.platform(),
        system,
        packages,
        torch,
        "decided by a short probe each time a model is loaded",
        store,
        None if free is None else round(free, 1),
        models,
        tuple(problems_of(folder, system, packages, problem, store, free, models)),
    )


def versions() -> dict[str, str | None]:
    """The version of each package; None where it is missing."""
    importlib.invalidate_caches()
    return {name: version_of(name) for name in PACKAGES}


def packages_folder() -> Path:
    """The folder into which this Python installs packages."""
    return Path(sysconfig.get_paths()["purelib"])


def broken(packages: Mapping[str, str | None], folder: Path) -> dict[str, str]:
    """What is wrong with each package that is installed by halves; where none is, with the first one that cannot be
    imported."""
    return broken_packages(PACKAGES, folder) or unimportable([name for name in PACKAGES if packages[name]])


def unimportable(names: Sequence[str]) -> dict[str, str]:
    """The first of these packages that cannot be imported in a process of its own, and why; {} where all can."""
    try:
        Pip(lambda **record: None).try_imports({name: module_of(name) for name in names})
    except Problem as problem:
        return {problem.what: f"it cannot be imported ({problem.reason})"}
    return {}


def model_store() -> Store:
    """The folder of the user's models, which may have to be made."""
    store = user_store()
    folder = nearest(store)
    return Store(str(store), os.access(folder, os.W_OK), round(shutil.disk_usage(folder).free / 1e9, 1))


def problems_of(
    folder: Path,
    system: System,
    packages: Mapping[str, str | None],
    torch_problem: str,
    store: Store,
    free_memory: float | None,
    models: Sequence[InstalledModel],
) -> Iterator[str]:
    """A line for each thing that is broken, with what to do; packages are installed into `folder`, `free_memory` is in
    GB."""
    if missing := [name for name, version in packages.items() if version is None]:
        yield f"Missing packages: {', '.join(missing)}. Run: pip install {' '.join(missing)}"
    yield from broken_lines(packages, folder, torch_problem)
    yield from unfit_versions(system, packages)
    if torch_problem:
        yield torch_problem
    if not store.model_store_writable:
        advice = "Set MEDTL_HOME to a folder that you may write to."
        yield f"The model store {store.model_store} cannot be written. {advice}"
    if free_memory is not None and free_memory < NEEDED_GB:
        yield f"Only {free_memory:.1f} GB of memory are free, {NEEDED_GB:.0f} are needed. Close other programs."
    damaged = [model for model in models if model.problem]
    yield from (f"Model {model.name}: {model.problem}" for model in damaged)
    if len(damaged) == len(models):
        yield "No usable model. Install MedTL again, or add one: medtl import PATH"


def broken_lines(packages: Mapping[str, str | None], folder: Path, torch_problem: str) -> Iterator[str]:
    """A line for each package in the folder that is installed by halves or cannot be imported, with how to repair it;
    of torch and torchvision `torch_problem` says the latter."""
    found = broken_packages(PACKAGES, folder) if torch_problem else broken(packages, folder)
    for name, problem in found.items():
        paths = ", ".join(map(str, paths_of(name, folder)))
        again = ONE_SOURCE if name in ("torch", "torchvision") else f"Run: pip install {name}"
        text = f"Expected {name} installed as a whole, found: {problem}. To repair it, run: medtl doctor --repair"
        yield f"{text} (or delete {paths}. {again})" if paths else text


def unfit_versions(system: System, packages: Mapping[str, str | None]) -> Iterator[str]:
    """A line for each installed package whose version this kind of computer cannot use."""
    if packages["packaging"] is None:
        return
    for wanted, version in unmet(system.requirements, packages.get).items():
        if version is not None:
            found = f"Expected {wanted} on {system.name}, found {version}. {system.reason}".strip()
            yield f'{found} Run: pip install "{wanted}"'


def probe() -> tuple[Torch, str]:
    """The device that torch finds, and the problem of torch and torchvision; empty when there is none."""
    try:
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Torch(), f"torch could not be tried: {error}. Try again, or install torch again."
    if done.returncode == 0:
        return Torch(**json.loads(done.stdout.splitlines()[-1])), ""
    reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    if MISMATCH.search(done.stderr):
        return Torch(), f"torch and torchvision do not match ({reason}). {ONE_SOURCE}"
    return Torch(), f"torch or torchvision cannot be imported ({reason}). {ONE_SOURCE}"


def nearest(path: Path) -> Path:
    """The path itself, or its nearest parent that exists."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def free_memory_gb() -> float | None:
    """Memory that a new process can have, in GB; None where the system has no simple way to ask."""
    if sys.platform == "darwin":  # `free_memory` gives all memory there
        text = subprocess.run(["vm_stat"], capture_output=True, text=True, check=False).stdout
        size = re.search(r"page size of (\d+)", text)
        pages = sum(int(n) for n in re.findall(r"Pages (?:free|inactive|speculative):\s+(\d+)", text))
        return pages * int(size[1]) / 1e9 if size else None
    free = free_memory()
    return None if free is None else free / 1e9


def describe(state: Installation) -> list[str]:
    """The state in lines for people, the problems last."""
    memory = "unknown" if state.free_memory_gb is None else f"{state.free_memory_gb:.1f} GB"
    torch, store = state.torch, state.store
    lines = [
        f"medtl {state.medtl}, Python {state.python} ({state.executable}), {state.platform}",
        f"system: {state.system.name}. {state.system.reason}".rstrip(),
        "packages: " + ", ".join(f"{name} {version or 'MISSING'}" for name, version in state.packages.items()),
        f"device: {torch.device or 'unknown'} {torch.device_name}".rstrip()
        + (f", {torch.threads} CPU threads" if torch.threads else ""),
        f"bf16: {state.bf16}",
        f"free memory: {memory}, free disk: {store.free_disk_gb:.1f} GB",
        f"model store: {store.model_store} ({'writable' if store.model_store_writable else 'NOT WRITABLE'})",
        *(f"model {m.name} ({m.source}): {'DAMAGED' if m.problem else 'ok'}" for m in state.models),
    ]
    return lines + ([f"problem: {text}" for text in state.problems] or ["Nothing is broken."])


def describe_kept(found: Sequence[Kept]) -> list[str]:
    """What is kept in lines for people, sizes in MB, the sum last."""
    lines = [f"{each.kind:<9} {megabytes(each.bytes)}  {each.name}  {each.folder}" for each in found]
    return [*lines, f"{'in all':<9} {megabytes(sum(each.bytes for each in found))}"]


def megabytes(size: int) -> str:
    return f"{size / 1e6:9.1f} MB"
