"""The state of an installation: packages, device, memory, disk, models, and what to do where something is broken."""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from .. import __version__
from ..io.limits import free_memory
from ..model.store import list_models, user_store

PACKAGES = (
    *("torch", "torchvision", "timm", "segmentation-models-pytorch", "monai", "SimpleITK", "numpy", "safetensors"),
    *("pydicom", "scipy", "einops", "platformdirs", "pillow"),
)
# Both are imported in a process of their own: a mismatch may end the interpreter.
PROBE = """
import json, torch, torchvision
cuda = torch.cuda.is_available()
device = "cuda" if cuda else "mps" if torch.backends.mps.is_available() else "cpu"
name = torch.cuda.get_device_name() if cuda else ""
print(json.dumps({"device": device, "device_name": name, "threads": torch.get_num_threads()}))
"""
MISMATCH = re.compile(r"torchvision::nms does not exist|undefined symbol|different CUDA major versions|DLL load failed")
ONE_SOURCE = (
    "Install both from one index: pip install --force-reinstall torch torchvision "
    "--index-url https://download.pytorch.org/whl/cpu (or the index of your CUDA version)."
)
NEEDED_GB = 2.0


Part = tuple[dict[str, Any], list[str]]  # a part of the state, and a line for each thing that is broken


def examine() -> dict[str, Any]:
    """The state, ready for JSON; `problems` has one line for each thing that is broken, with what to do."""
    state: dict[str, Any] = {
        "medtl": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
    }
    problems: list[str] = []
    for part in (packages_and_device(), model_store(), memory(), models()):
        state |= part[0]
        problems += part[1]
    return state | {"problems": problems}


def packages_and_device() -> Part:
    """Versions of packages, and the device of torch."""
    packages = {name: version_of(name) for name in PACKAGES}
    missing = [name for name, version in packages.items() if version is None]
    problems = [f"Missing packages: {', '.join(missing)}. Run: pip install {' '.join(missing)}"] if missing else []
    torch = {"device": None, "device_name": "", "threads": None}
    if packages["torch"] and packages["torchvision"]:
        device, problem = probe()
        torch |= device
        problems += [problem] if problem else []
    return {"packages": packages, **torch, "bf16": "decided by a short probe each time a model is loaded"}, problems


def model_store() -> Part:
    """The folder of the user's models, and its free space."""
    store = user_store()
    folder = nearest(store)
    writable = os.access(folder, os.W_OK)
    advice = f"The model store {store} cannot be written. Set MEDTL_HOME to a folder that you may write to."
    free = round(shutil.disk_usage(folder).free / 1e9, 1)
    state = {"model_store": str(store), "model_store_writable": writable, "free_disk_gb": free}
    return state, [] if writable else [advice]


def memory() -> Part:
    """Free memory, compared with what a large volume needs."""
    free = free_memory_gb()
    if free is None or free >= NEEDED_GB:
        return {"free_memory_gb": None if free is None else round(free, 1)}, []
    advice = f"Only {free:.1f} GB of memory are free, {NEEDED_GB:.0f} are needed. Close other programs."
    return {"free_memory_gb": round(free, 1)}, [advice]


def models() -> Part:
    """The shipped models and those of the user."""
    entries = [
        {"name": m.name, "source": m.source, "folder": str(m.folder), "problem": m.problem or None}
        for m in list_models()
    ]
    problems = [f"Model {m['name']}: {m['problem']}" for m in entries if m["problem"]]
    if len(problems) == len(entries):
        problems.append("No usable model. Install MedTL again, or add one: medtl import PATH")
    return {"models": entries}, problems


def version_of(package: str) -> str | None:
    """The installed version, without importing the package; None where it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def probe() -> tuple[dict[str, Any], str]:
    """The device that torch finds, and the problem of torch and torchvision; empty when there is none."""
    try:
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {}, f"torch could not be tried: {error}. Try again, or install torch again."
    if done.returncode == 0:
        device: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return device, ""
    reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    if MISMATCH.search(done.stderr):
        return {}, f"torch and torchvision do not match ({reason}). {ONE_SOURCE}"
    return {}, f"torch or torchvision cannot be imported ({reason}). {ONE_SOURCE}"


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


def describe(state: dict[str, Any]) -> list[str]:
    """The state in lines for people, the problems last."""
    memory = "unknown" if state["free_memory_gb"] is None else f"{state['free_memory_gb']:.1f} GB"
    lines = [
        f"medtl {state['medtl']}, Python {state['python']} ({state['executable']}), {state['platform']}",
        "packages: " + ", ".join(f"{name} {version or 'MISSING'}" for name, version in state["packages"].items()),
        f"device: {state['device'] or 'unknown'} {state['device_name']}".rstrip()
        + (f", {state['threads']} CPU threads" if state["threads"] else ""),
        f"bf16: {state['bf16']}",
        f"free memory: {memory}, free disk: {state['free_disk_gb']:.1f} GB",
        f"model store: {state['model_store']} ({'writable' if state['model_store_writable'] else 'NOT WRITABLE'})",
        *(f"model {m['name']} ({m['source']}): {'DAMAGED' if m['problem'] else 'ok'}" for m in state["models"]),
    ]
    return lines + ([f"problem: {text}" for text in state["problems"]] or ["Nothing is broken."])
