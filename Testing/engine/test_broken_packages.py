"""Packages that are installed by halves are recognised, and what has to go is exactly what is broken."""

from pathlib import Path

import pytest

from medtl.broken_packages import broken_packages, paths_of

NAMES = ("torch", "torchvision", "segmentation-models-pytorch", "timm")


def add(folder: Path, name: str, version: str, requires: str = "", lacks: str = "", installer: str = "pip") -> Path:
    """Make the .dist-info of an installed package, without one of its files."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    for file, text in {"METADATA": metadata, "RECORD": "", "INSTALLER": f"{installer}\n"}.items():
        if file != lacks:
            (info / file).write_text(text)
    return info


def test_whole_packages_and_missing_ones_are_not_broken(tmp_path):
    add(tmp_path, "torch", "2.14.1+cu130")
    add(tmp_path, "torchvision", "0.29.1+cu130", requires="torch==2.14.1")
    add(tmp_path, "torchmetrics", "1.0", lacks="RECORD")  # not one that was asked for
    assert broken_packages(NAMES, tmp_path) == {}
    assert broken_packages(NAMES, tmp_path / "nowhere") == {}


@pytest.mark.parametrize("lacks", ["RECORD", "METADATA"])
def test_a_package_whose_installation_was_interrupted_is_broken(lacks, tmp_path):
    add(tmp_path, "segmentation-models-pytorch", "0.6.0", lacks=lacks)
    problem = "version 0.6.0 is installed only in part"
    assert broken_packages(NAMES, tmp_path) == {"segmentation-models-pytorch": problem}


def test_a_package_whose_removal_was_interrupted_is_broken(tmp_path):
    info = add(tmp_path, "torch", "2.14.1")
    (info / "RECORD").write_text("torch/__init__.py,sha256=abc,9\ntorchgen/__init__.py,,\ntorch-2.14.1/RECORD,,\n")
    for module in ("torch", "torchgen"):
        (tmp_path / module).mkdir()
        (tmp_path / module / "__init__.py").touch()
    assert broken_packages(NAMES, tmp_path) == {}
    (tmp_path / "torchgen").rename(tmp_path / "~orchgen")  # as pip does before it deletes
    assert broken_packages(NAMES, tmp_path) == {"torch": "of version 2.14.1 the code is gone: torchgen/__init__.py"}
    assert paths_of("torch", tmp_path) == [tmp_path / "torch", info]


def test_a_package_of_the_system_needs_no_record(tmp_path):
    add(tmp_path, "timm", "1.0", lacks="RECORD", installer="debian")
    assert broken_packages(NAMES, tmp_path) == {}


def test_two_versions_of_one_package_are_broken(tmp_path):
    add(tmp_path, "timm", "1.0.9")
    add(tmp_path, "timm", "1.0.31")
    assert broken_packages(NAMES, tmp_path) == {"timm": "2 versions are installed: 1.0.31, 1.0.9"}


@pytest.mark.parametrize(
    ("torch", "torchvision", "requires", "problem"),
    [
        ("2.14.1", "0.28.0", "torch==2.13.0", "torchvision 0.28.0 needs torch 2.13.0, found 2.14.1"),
        ("2.14.1", "0.28.0", "torch (==2.13.0)", "torchvision 0.28.0 needs torch 2.13.0, found 2.14.1"),
        ("2.14.1+cu130", "0.29.1+cpu", "torch==2.14.1", "torch is built for cu130, torchvision for cpu"),
        ("2.14.1+cpu", "0.29.1", "torch==2.14.1", ""),
        ("2.14.1", "0.29.1", "torch>=2.14", ""),
    ],
)
def test_torch_and_torchvision_that_do_not_match_are_broken(torch, torchvision, requires, problem, tmp_path):
    add(tmp_path, "torch", torch)
    add(tmp_path, "torchvision", torchvision, requires)
    assert broken_packages(NAMES, tmp_path) == ({"torch": problem, "torchvision": problem} if problem else {})


def test_what_has_to_go_is_the_package_and_nothing_else(tmp_path):
    info = add(tmp_path, "torch", "2.14.1", lacks="RECORD")
    older = add(tmp_path, "torch", "2.13.0")
    add(tmp_path, "torchvision", "0.29.1")
    for folder in ("torch", "torchgen", "torchvision", "torchmetrics"):
        (tmp_path / folder).mkdir()
    assert paths_of("torch", tmp_path) == [tmp_path / "torch", tmp_path / "torchgen", older, info]
