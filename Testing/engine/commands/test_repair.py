"""`medtl doctor --repair` in a Python of its own, with its own pip and a folder of wheels for an index."""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from conftest import ROOT
from small_wheel import wheel

from medtl.commands import repair
from medtl.requirements import LINUX


class Computer:
    """A Python with torch, torchvision and timm, of another program's `other`, and what the doctor does to it."""

    def __init__(self, root: Path, python: Path, site: Path) -> None:
        self.python, self.site, self.wheels = python, site, root / "wheels"
        self.wheels.mkdir()
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "MEDTL_HOME": str(root), "PIP_NO_INDEX": "1"}
        self.environment |= {"PIP_FIND_LINKS": str(self.wheels), "PIP_CONFIG_FILE": os.devnull}
        for name, version in (("torch", "2.13.0"), ("torch", "2.14.1"), ("timm", "1.0.9"), ("other", "3.0")):
            wheel(self.wheels, name, version)
        wheel(self.wheels, "torchvision", "0.28.0", "torch==2.13.0")
        wheel(self.wheels, "torchvision", "0.29.1", "torch==2.14.1")
        for each in site.iterdir():
            if not each.name.startswith("pip"):
                shutil.rmtree(each) if each.is_dir() else each.unlink()
        self.pip("install", "--no-deps", "torch==2.13.0", "torchvision==0.28.0", "timm", "other")

    def pip(self, *arguments: str) -> None:
        command = [str(self.python), "-m", "pip", "--disable-pip-version-check", *arguments]
        subprocess.run(command, env=self.environment, check=True, capture_output=True)

    def repair(self, *arguments: str, given: str = "") -> tuple[str, bool]:
        """Run the command; what it writes on standard error, and whether a package is still broken."""
        command = [str(self.python), "-P", "-m", "medtl", "doctor", "--repair", *arguments]
        done = subprocess.run(command, env=self.environment, input=given, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done.stderr, "installed as a whole" in done.stdout

    def files(self) -> dict[str, str]:
        """The files of all packages but pip, and their digests, without pip's notes on where a package came from."""
        paths = (p for p in self.site.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        digests = {p.relative_to(self.site).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
        notes = ("direct_url.json", "RECORD")
        return {name: of for name, of in digests.items() if not name.startswith("pip") and not name.endswith(notes)}

    def versions(self) -> list[str]:
        return sorted(p.name.removesuffix(".dist-info") for p in self.site.glob("*.dist-info") if p.name[:3] != "pip")


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("python")
    venv.create(folder, with_pip=True, symlinks=True)
    return folder / "bin" / "python"


@pytest.fixture
def computer(tmp_path, python) -> Computer:
    (site,) = python.parents[1].glob("lib/python*/site-packages")
    return Computer(tmp_path, python, site)


pytestmark = pytest.mark.skipif(os.name == "nt", reason="the paths of this environment are those of Unix")


def test_an_interrupted_installation_is_repaired_and_nothing_else_changes(computer):
    before = computer.files()
    (computer.site / "timm-1.0.9.dist-info" / "RECORD").unlink()
    (computer.site / "timm" / "half.py").touch()
    told, broken = computer.repair("--yes")
    assert "timm: version 1.0.9 is installed only in part" in told
    assert f"To be removed: {computer.site / 'timm'}, {computer.site / 'timm-1.0.9.dist-info'}" in told
    assert "Repaired: timm" in told
    assert not broken
    assert computer.files() == before


def test_a_torch_in_part_gets_the_version_that_its_torchvision_needs(computer):
    before = computer.files()
    (computer.site / "torch-2.13.0.dist-info" / "RECORD").unlink()
    told, broken = computer.repair("--yes")
    assert "Repaired: torch" in told.splitlines()
    assert not broken
    assert computer.versions() == ["other-3.0", "timm-1.0.9", "torch-2.13.0", "torchvision-0.28.0"]
    assert computer.files() == before


def test_of_two_versions_one_is_left(computer):
    shutil.copytree(computer.site / "timm-1.0.9.dist-info", computer.site / "timm-0.9.0.dist-info")
    told, broken = computer.repair("--yes")
    assert "timm: 2 versions are installed: 0.9.0, 1.0.9" in told
    assert not broken
    assert "timm-1.0.9" in computer.versions()
    assert "timm-0.9.0" not in computer.versions()


def test_torch_and_torchvision_that_do_not_match_become_a_pair(computer):
    computer.pip("install", "--no-deps", "torch==2.14.1")
    told, broken = computer.repair("--yes")
    assert "torchvision 0.28.0 needs torch 2.13.0, found 2.14.1" in told
    assert not broken
    assert computer.versions() == ["other-3.0", "timm-1.0.9", "torch-2.14.1", "torchvision-0.29.1"]


def test_a_package_that_cannot_be_imported_is_installed_again(computer):
    before = computer.files()
    (computer.site / "timm" / "__init__.py").write_text("import os\nos._exit(3)\n")
    told, broken = computer.repair("--yes")
    assert "timm: it cannot be imported (exit status 3)" in told
    assert not broken
    assert computer.files() == before


def test_where_it_cannot_be_fetched_all_is_as_before_and_the_reason_is_given(computer):
    (computer.site / "timm-1.0.9.dist-info" / "RECORD").unlink()
    before = computer.files()
    (computer.wheels / "timm-1.0.9-py3-none-any.whl").unlink()
    told, _ = computer.repair("--yes")
    assert "timm could not be repaired (Could not find a version that satisfies the requirement timm" in told
    assert "What was there is as before." in told
    assert computer.files() == before


def test_without_consent_nothing_changes(computer):
    (computer.site / "timm-1.0.9.dist-info" / "RECORD").unlink()
    before = computer.files()
    told, _ = computer.repair(given="y\n")
    assert "Add --yes" in told  # a pipe is nobody to ask
    assert computer.files() == before


@pytest.mark.parametrize("answer", ["y\n", "Yes\n", "\n", "n\n", ""])
def test_only_yes_is_consent(answer, monkeypatch):
    class Terminal:
        isatty = staticmethod(lambda: True)
        readline = staticmethod(lambda: answer)

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert repair.asked("Repair?") is (answer.strip().lower() in ("y", "yes"))


@pytest.mark.parametrize(
    ("torch", "index"),
    [
        ("2.14.1+cpu", "https://download.pytorch.org/whl/cpu"),
        ("2.14.1+cu130", "https://download.pytorch.org/whl/cu130"),
        ("2.14.1", ""),
        ("2.14.1+git1a2b3c", ""),
        (None, "https://download.pytorch.org/whl/cu126"),
    ],
)
def test_torch_comes_from_the_index_of_its_build(torch, index, monkeypatch, tmp_path):
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    packages = {"torch": torch, "torchvision": "0.29.1+cu126" if torch is None else None, "timm": "1.0.9"}
    job = repair.job_of({"torch": "x", "timm": "x"}, packages, LINUX, tmp_path, "")
    assert [group.index for group in job.groups] == [index, ""]
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")  # of the user's own network
    assert repair.job_of({"torch": "x"}, packages, LINUX, tmp_path, "").groups[0].index == ""


def test_a_folder_in_which_two_install_at_once_is_left_alone(computer, monkeypatch):
    (computer.site / "timm-1.0.9.dist-info" / "RECORD").unlink()
    before = computer.files()
    script = "import pathlib, sys; from medtl.installation.site import alone\n"
    script += "with alone(pathlib.Path(sys.argv[1])): print('have it', flush=True); input()"
    command = [sys.executable, "-c", script, str(computer.site)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=computer.environment) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"have it\n"
        told, _ = computer.repair("--yes")
        assert other.stdin is not None
        other.stdin.close()
    assert "timm could not be repaired" in told
    assert computer.files() == before
