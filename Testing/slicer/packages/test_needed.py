"""What the engine needs on each kind of computer, and the tested versions of it."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import slicer.packaging
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from site_user import REST, Site, names

from medtl.requirements import ARM_MAC, LINUX, OTHER, SYSTEMS, WINDOWS, X86_MAC, System, system_of
from MedTLLib.packages import packages
from MedTLLib.packages.installing import CONSTRAINTS
from MedTLLib.packages.needed import REQUIREMENTS, TORCH

ROOT = Path(__file__).resolve().parents[3]


def test_what_is_missing_is_listed_torch_first_without_importing_it(site: Site) -> None:
    assert names(packages.missing()) == ["torch", "torchvision", *REST]
    site.add("timm", "0.9")
    site.add("monai", "1.6.0")
    site.add("torch", "2.8.1+cu128")
    assert names(packages.missing()) == ["torchvision", *(name for name in REST if name != "monai")]
    assert "torch" not in sys.modules


def on(system: System) -> dict[str, str]:
    """What markers see on this kind of computer."""
    seen = {"Linux": ("linux", "x86_64"), "Windows": ("win32", "AMD64"), X86_MAC.name: ("darwin", "x86_64")}
    name, processor = seen.get(system.name, ("darwin", "arm64"))
    return {"sys_platform": name, "platform_machine": processor}


def applying(requirements: Any, system: System) -> list[Requirement]:
    """Those that apply to this kind of computer, by their markers."""
    given = map(Requirement, requirements)
    return [each for each in given if each.marker is None or each.marker.evaluate(on(system))]


def lines_of(path: Path) -> list[str]:
    """The requirements of a file with hashes."""
    return [line.rstrip(" \\") for line in path.read_text(encoding="utf-8").splitlines() if line[0] not in " #"]


def pins(path: Path, system: System = LINUX) -> dict[str, Requirement]:
    """The requirements of a file with hashes for this kind of computer, by canonical name."""
    found = applying(lines_of(path), system)
    assert len({canonicalize_name(pin.name) for pin in found}) == len(found)
    return {canonicalize_name(pin.name): pin for pin in found}


def dependencies(system: System = LINUX, extra: str = "") -> list[Requirement]:
    """What pyproject.toml says that the engine needs on this kind of computer, and for an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return applying([*project["dependencies"], *(project["optional-dependencies"][extra] if extra else ())], system)


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_each_kind_of_computer_gets_what_pyproject_says(system: System) -> None:
    wanted = {each.name: each.specifier for each in dependencies(system)}
    assert len(wanted) == len(dependencies(system))
    assert packages.required(system)[:2] == tuple(map(Requirement, system.requirements[:2]))
    for each in packages.required(system):
        assert wanted[each.name] == each.specifier, each
    assert bool(system.reason) == (system.requirements != LINUX.requirements)


@pytest.mark.parametrize(
    ("system", "fit", "unfit"),
    [
        (X86_MAC, ["torch 2.2.2", "torchvision 0.17.2", "numpy 1.26.4", "monai 1.4.0"], ["numpy 2.0", "monai 1.5.0"]),
        (X86_MAC, ["torch 2.1.2"], ["torch 2.3.0", "torch 2.8.0", "torchvision 0.18.0", "torch 2.1.1"]),
        (WINDOWS, ["torch 2.12.1+cpu", "torch 2.14.1+cu130"], ["torch 2.13.0+cu130", "torch 2.13.1", "torch 2.7.1"]),
        (LINUX, ["torch 2.13.0", "numpy 2.4.6", "monai 1.6.1"], ["torch 2.7.1", "monai 1.5.2"]),
        (ARM_MAC, ["torch 2.13.0", "numpy 2.4.6", "monai 1.6.1"], ["torch 2.2.2", "monai 1.4.0"]),
    ],
)
def test_the_versions_of_each_kind_of_computer(system: System, fit: list[str], unfit: list[str]) -> None:
    wanted = {each.name: each.specifier for each in packages.required(system)}
    for text in fit:
        name, version = text.split()
        assert wanted[name].contains(version), text
    for text in unfit:
        name, version = text.split()
        assert not wanted[name].contains(version), text


@pytest.mark.parametrize(
    ("name", "processor", "system"),
    [
        ("darwin", "x86_64", X86_MAC),
        ("darwin", "arm64", ARM_MAC),
        ("win32", "AMD64", WINDOWS),
        ("win32", "ARM64", WINDOWS),
        ("linux", "x86_64", LINUX),
        ("linux", "aarch64", LINUX),
        ("freebsd14", "amd64", OTHER),
    ],
)
def test_the_kind_of_computer_follows_from_its_system_and_processor(name: str, processor: str, system: System) -> None:
    assert system_of(name, processor) is system


def floors(system: System) -> list[Requirement]:
    """What the engine needs beside torch, and what its development needs."""
    return [each for each in dependencies(system, "dev") if each.name not in TORCH]


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_the_tested_versions_satisfy_the_floors_and_both_files_agree(system: System) -> None:
    users, all_of_them = pins(CONSTRAINTS, system), pins(ROOT / "Testing" / "constraints.txt", system)
    for floor in floors(system):
        (specifier,) = all_of_them[canonicalize_name(floor.name)].specifier
        assert specifier.operator == "=="
        assert floor.specifier.contains(specifier.version), floor
    assert {name: str(pin) for name, pin in all_of_them.items() if name in users} == {
        n: str(p) for n, p in users.items()
    }
    needed = {canonicalize_name(each.name) for each in dependencies(system)} - set(TORCH)
    assert needed <= set(users)
    assert "pytest" not in users


def test_every_tested_version_has_hashes_and_torchs_own_packages_have_none_here() -> None:
    for path in (CONSTRAINTS, ROOT / "Testing" / "constraints.txt"):
        text = path.read_text(encoding="utf-8")
        blocks = re.split(r"\n(?=[a-z])", text[re.search(r"^[a-z]", text, re.MULTILINE).start() :])
        assert len(blocks) == len(lines_of(path))
        assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", block) for block in blocks)
        assert [line for line in lines_of(path) if re.match("torch|nvidia|cuda|triton|sympy", line)] == []


def test_the_floors_of_torch_are_those_of_the_makefile() -> None:
    assert " ".join(f'"{each}"' for each in LINUX.requirements[:2]) in (ROOT / "Makefile").read_text()


def test_pip_gets_the_tested_versions_of_what_is_new_and_leaves_the_rest_as_it_is(site: Site) -> None:
    tested = {name: str(pin.specifier) for name, pin in pins(CONSTRAINTS).items()}
    site.add("torch")
    site.add("torchvision")
    site.add("tqdm", "4.50")
    site.add("monai", "1.0")  # too old, so it is replaced
    site.install()
    ((lines),) = (call["constraints"] for call in site.calls if "--report" in call["arguments"])
    given = dict(re.match("(.*?)(==.*)", line).groups() for line in lines)
    assert len(given) == len(lines)
    for name in ("einops", "timm", "monai", "huggingface-hub"):
        assert given[name] == tested[name]
    assert "tqdm" not in given
    assert given["torch"] == "==99.0"
    assert not any("sha256" in line for line in lines)
    if sys.platform != "win32":
        assert "colorama" not in given


def test_the_list_of_packages_is_that_of_the_engine_without_torch_and_what_slicer_brings() -> None:
    here = [str(each) for each in slicer.packaging.load_requirements(REQUIREMENTS)]
    brought = (
        "torch",
        "jinja2",
        "torchvision",
        "numpy",
        "monai",
        "scipy",
        "SimpleITK",
        "pydicom",
        "pillow",
        "packaging",
    )
    assert here == sorted(str(each) for each in dependencies() if each.name not in brought)
