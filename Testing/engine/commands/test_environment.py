"""`medtl doctor --environment DIR`, with a folder of wheels for an index, and what another Python says of itself."""

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from conftest import ROOT
from small_wheel import wheel

from medtl.commands.doctor import PACKAGES
from medtl.requirements import COMMON, SYSTEMS, engine_requirements, unmet

SCRIPT = ROOT / "medtl" / "other_python.py"


def names(requirements) -> list[str]:
    return [re.split("[<>=!]", each)[0] for each in requirements]


def says(python: Path | str, *arguments: str, code: str = "") -> dict:
    """The one line that the Python says of itself."""
    command = [str(python), *(["-c", code] if code else [str(SCRIPT)]), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def make(folder: Path, wheels: Path, *options: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    command = [sys.executable, "-m", "medtl", "doctor", "--environment", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.name == "nt", reason="the paths of this environment are those of Unix")
def test_an_environment_is_made_that_fits_as_engine_or_nothing_is_left(tmp_path):
    for name in names(engine_requirements()):
        wheel(tmp_path, name, "99.0")
    done = make(tmp_path / "engine", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'engine' / 'bin' / 'python'}\n"
    assert "MEDTL_ENGINE_PYTHON" in done.stderr
    assert says(tmp_path / "engine" / "bin" / "python", "--check") == {"event": "fit"}
    again = make(tmp_path / "engine", tmp_path)
    assert again.returncode == 1
    assert "Expected a new folder for the environment" in again.stderr
    assert (tmp_path / "engine" / "bin" / "python").exists()
    (tmp_path / "timm-99.0-py3-none-any.whl").unlink()
    failed = make(tmp_path / "other", tmp_path)
    assert failed.returncode == 1
    assert "No matching distribution found for timm" in failed.stderr
    assert "The environment could not be made" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "other").exists()


def test_a_python_without_packages_names_them_all(tmp_path):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=os.name != "nt")
    (python,) = [p for p in (tmp_path / "bare").glob("*/python*") if p.stem == "python"]
    for arguments in ((), ("--check",)):
        record = says(python, *arguments)
        assert record["event"] == "unfit"
        assert record["lacking"] == list(engine_requirements())


@pytest.mark.skipif(bool(unmet(engine_requirements())), reason="this environment has the oldest versions of any system")
def test_this_python_fits():
    assert says(sys.executable, "--check") == {"event": "fit"}


def test_an_old_python_says_its_version_and_looks_for_nothing():
    code = "import platform, runpy, sys; sys.version_info = (3, 8, 10); platform.python_version = lambda: '3.8.10'; "
    code += f"sys.argv = [{str(SCRIPT)!r}]; runpy.run_path(sys.argv[0], run_name='__main__')"
    assert says(sys.executable, code=code) == {"event": "unfit", "python": "3.8.10", "lacking": []}


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_what_the_engine_needs_is_what_pyproject_says_and_what_the_doctor_looks_at(system):
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set(COMMON) == {each for each in dependencies if ";" not in each}
    assert sorted(names(engine_requirements(system))) == sorted(PACKAGES)


def test_missing_and_unfit_versions_are_found():
    versions = {"torch": "2.2.2", "numpy": "1.26.4", "timm": "1.0.9rc1"}
    found = unmet(["torch>=2.8", "numpy>=1.26,<2", "monai>=1.6", "timm>=1.0"], versions.get)
    assert found == {"torch>=2.8": "2.2.2", "monai>=1.6": None}
