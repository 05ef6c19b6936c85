"""Tiny wheels, in place of the packages that the engine needs, and a small index that has them."""

import base64
import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from medtl.commands.pack import packed
from medtl.pack import FORMAT, MANIFEST, Pack, this_platform, this_python
from medtl.typed_json import encode

# What the tested versions of a small MedTL are; numpy differs by system, as the real ones do.
PINS = {"monai": "1.6.1", "timm": "1.0.31", "einops": "0.8.2", "safetensors": "0.8.0"}
PINS |= {"segmentation-models-pytorch": "0.6.0"}


def wheel(
    folder: Path,
    name: str,
    version: str = "99.0",
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
    extras: Sequence[str] = (),
    code: str = "",
    main: str = "",
) -> Path:
    """Write the wheel of a package with one module, and give its path; `main` is what it does as a program."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", "License: MIT"]
    lines += [f"Provides-Extra: {extra}" for extra in extras] + [f"Requires-Dist: {each}" for each in requires]
    files = {
        f"{module}/__main__.py": main,
        f"{module}/__init__.py": code or f"version = {version!r}\n",
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    path = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        record = ""
        for file, text in files.items():
            archive.writestr(file, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{file},sha256={digest},{len(text)}\n"
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return path


def only_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find the wheels of this folder and nothing else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find no index: nothing listens there."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")


def small_index(folder: Path) -> Path:
    """Fill a folder with what the engine and torch need on each system, and give the constraints of it, with hashes."""
    folder.mkdir()
    pinned = [(wheel(folder, name, version, ["torch"] if name == "timm" else []), "") for name, version in PINS.items()]
    x86_mac = "platform_machine == 'x86_64' and sys_platform == 'darwin'"
    other = "platform_machine != 'x86_64' or sys_platform != 'darwin'"
    pinned.append((wheel(folder, "numpy", "1.26.4"), x86_mac))
    pinned.append((wheel(folder, "numpy", "2.4.6"), other))
    pinned.append((wheel(folder, "colorama", "0.4.6"), "sys_platform == 'win32'"))
    for torch, vision in (("2.2.2", "0.17.2"), ("2.12.1", "0.27.1"), ("2.13.1", "0.28.1")):
        needs = ["sympy>=1.13", "cuda-toolkit[nvrtc]; platform_system == 'Linux'"]
        wheel(folder, "torch", torch, needs)
        wheel(folder, "torchvision", vision, [f"torch=={torch}", "numpy"])
    wheel(folder, "sympy", "1.14.0", ["mpmath<1.4"])
    wheel(folder, "mpmath", "1.3.0")
    wheel(folder, "mpmath", "1.4.0")
    toolkit = ["cuda-nvrtc; extra == 'nvrtc'", "cuda-cufft; extra == 'cufft'"]
    wheel(folder, "cuda-toolkit", "13.0", toolkit, extras=("nvrtc", "cufft"))
    wheel(folder, "cuda-nvrtc", "13.0", tag="py3-none-manylinux_2_17_x86_64")
    constraints = folder / "constraints.txt"
    lines = ["# made by hand"]
    for path, marker in pinned:
        name, version = path.name.split("-")[:2]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"{name}=={version}{f' ; {marker}' if marker else ''} \\\n    --hash=sha256:{digest}")
    constraints.write_text("\n".join(lines) + "\n")
    return constraints


def pack_of(root: Path) -> Path:
    """Make the folder `root`, whose folder `wheels` has wheels, a pack for this Python."""
    files = {f"wheels/{path.name}": packed(path) for path in sorted((root / "wheels").iterdir())}
    pack = Pack(FORMAT, "1.0", this_platform() or "linux", this_python(), files)
    (root / MANIFEST).write_text(json.dumps(encode(pack)))
    return root
