"""The workflows for GitHub, which cannot run here: their structure, and that their commands are the Makefile's.

GitHub's own schema is in a package: check-jsonschema --builtin-schema vendor.github-workflows FILE
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
KEYS = {"name", True, "permissions", "defaults", "jobs"}  # YAML 1.1 reads the key `on` as true
JOB_KEYS = {"name", "runs-on", "timeout-minutes", "strategy", "steps"}


def read(path: Path) -> dict[Any, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs() -> dict[str, dict[str, Any]]:
    return {f"{path.stem}.{name}": job for path in FILES for name, job in read(path)["jobs"].items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_workflow_has_the_keys_that_github_knows_and_may_only_read(path):
    workflow = read(path)
    assert set(workflow) <= KEYS
    assert {"push", "pull_request"} <= set(workflow[True])
    assert workflow["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("job", jobs().values(), ids=jobs())
def test_a_job_says_where_it_runs_how_long_and_by_what_steps(job):
    assert {"runs-on", "timeout-minutes", "steps"} <= set(job) <= JOB_KEYS
    assert job["steps"][0]["uses"].startswith("actions/checkout@")
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert set(step) <= {"uses", "with", "run"}
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])


@pytest.mark.parametrize("job", jobs().values(), ids=jobs())
def test_every_command_is_a_target_of_the_makefile_with_variables_that_it_has(job):
    for command in (step["run"] for step in job["steps"] if "run" in step):
        first, *words = command.split()
        assert first == "make"
        targets = [word for word in words if "=" not in word]
        assert len(targets) == 1
        assert re.search(rf"^{re.escape(targets[0])}:", MAKEFILE, re.MULTILINE), command
        for name in (word.partition("=")[0] for word in words if "=" in word):
            assert re.search(rf"^{name} \?=", MAKEFILE, re.MULTILINE), command


def test_the_tests_run_on_three_systems_with_the_oldest_and_the_newest_python():
    matrix = jobs()["tests.tests"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "windows", "macos"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = [re.fullmatch(r".*:: (3\.\d+)", text) for text in project["classifiers"]]
    allowed = sorted((found[1] for found in versions if found), key=lambda text: int(text.split(".")[1]))
    assert matrix["python"] == [allowed[0], allowed[-1]]
    assert project["requires-python"] == f">={allowed[0]}"


def test_a_real_slicer_runs_the_self_test_of_each_module_and_installs_no_torch():
    recipe = re.search(r"^test-in-slicer:\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]
    for part in ("--testing", "--no-main-window", "MedTLSegment MedTLClassify", "slicer.testing.runUnitTest"):
        assert part in recipe
    commands = [step["run"] for step in jobs()["tests.self-test"]["steps"] if "run" in step]
    assert any("test-in-slicer" in command for command in commands)
    assert not any("setup" in command or "torch" in command.casefold() for command in commands)


def test_the_readme_says_that_they_were_not_run():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (paragraph,) = [line for line in readme.splitlines() if ".github/workflows" in line]
    assert "were not run yet" in paragraph
