"""The doctor finds what is broken and says what to do."""

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from medtl.commands import doctor
from medtl.requirements import LINUX, X86_MAC
from medtl.typed_json import encode

VERSIONS = {"torch": "2.14.1+cpu", "torchvision": "0.29.1+cpu", "numpy": "2.4.6", "monai": "1.6.1"}
HEALTHY = json.dumps({"device": "cpu", "device_name": "", "threads": 2})


@pytest.fixture
def computer(monkeypatch, tmp_path):
    """A healthy computer, whose parts a test may break."""
    parts = SimpleNamespace(returncode=0, stdout=HEALTHY + "\n", stderr="")
    model = SimpleNamespace(name="fake", source="shipped", folder=Path("fake"), problem="")
    parts.models = [model]
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path))
    monkeypatch.setattr(doctor.subprocess, "run", lambda *args, **kwargs: parts)
    monkeypatch.setattr(doctor, "list_models", lambda: tuple(parts.models))
    monkeypatch.setattr(doctor, "free_memory_gb", lambda: 7.5)
    monkeypatch.setattr(doctor, "version_of", lambda name: VERSIONS.get(name, "1.0"))
    monkeypatch.setattr(doctor, "system_of", lambda: LINUX)
    parts.unimportable = {}
    monkeypatch.setattr(doctor, "unimportable", lambda names: parts.unimportable)
    parts.site = tmp_path / "site"
    parts.site.mkdir()
    monkeypatch.setattr(doctor.sysconfig, "get_paths", lambda: {"purelib": str(parts.site)})
    return parts


def test_a_healthy_computer_has_no_problems(computer, tmp_path):
    state = doctor.examine()
    assert state.problems == ()
    assert (state.torch.device, state.store.model_store) == ("cpu", str(tmp_path / "models"))
    assert json.loads(json.dumps(encode(state))) == encode(state)
    lines = doctor.describe(state)
    assert "device: cpu, 2 CPU threads" in lines
    assert "model fake (shipped): ok" in lines
    assert any(line.startswith("bf16: decided") for line in lines)
    assert lines[-1] == "Nothing is broken."


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        ("RuntimeError: operator torchvision::nms does not exist", "torch and torchvision do not match"),
        ("OSError: libtorch.so: undefined symbol: x", "torch and torchvision do not match"),
        ("ImportError: something else", "cannot be imported (ImportError: something else)"),
        ("", "cannot be imported (exit status 1)"),
    ],
)
def test_torch_that_does_not_import_is_explained(stderr, message, computer):
    computer.returncode, computer.stderr = 1, stderr
    (problem,) = doctor.examine().problems
    assert message in problem
    assert "Install both from one index" in problem


def test_torch_that_never_answers_is_a_problem_too(computer, monkeypatch):
    def hang(*args, **kwargs):
        raise subprocess.TimeoutExpired("python", 300)

    monkeypatch.setattr(doctor.subprocess, "run", hang)
    (problem,) = doctor.examine().problems
    assert "could not be tried" in problem


def test_damaged_and_missing_models_are_named(computer):
    computer.models.append(SimpleNamespace(name="torn", source="user", folder=Path("t"), problem="weights are damaged"))
    state = doctor.examine()
    assert state.problems == ("Model torn: weights are damaged",)
    assert "problem: Model torn: weights are damaged" in doctor.describe(state)
    computer.models.clear()
    assert doctor.examine().problems == ("No usable model. Install MedTL again, or add one: medtl import PATH",)


def test_missing_packages_little_memory_and_a_locked_store_are_problems(computer, monkeypatch):
    monkeypatch.setattr(doctor, "version_of", lambda name: None if name == "torchvision" else VERSIONS.get(name, "1.0"))
    monkeypatch.setattr(doctor, "free_memory_gb", lambda: 0.5)
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    problems = doctor.examine().problems
    assert [text.split()[0] for text in problems] == ["Missing", "The", "Only"]
    assert "pip install torchvision" in problems[0]
    assert "MEDTL_HOME" in problems[1]


def test_versions_that_the_system_cannot_use_are_problems_with_the_reason(computer, monkeypatch):
    monkeypatch.setattr(doctor, "system_of", lambda: X86_MAC)
    problems = doctor.examine().problems
    assert [re.split("[<>=!]", text.split()[1])[0] for text in problems] == ["torch", "torchvision", "numpy", "monai"]
    for text in problems:
        assert X86_MAC.reason in text
    assert "found 2.4.6" in problems[2]
    assert 'pip install "numpy>=1.26,<2"' in problems[2]
    fits = {"torch": "2.2.2", "torchvision": "0.17.2", "numpy": "1.26.4", "monai": "1.4.0"}
    monkeypatch.setattr(doctor, "version_of", lambda name: fits.get(name, "1.0"))
    state = doctor.examine()
    assert state.problems == ()
    assert f"system: {X86_MAC.name}. {X86_MAC.reason}" in doctor.describe(state)


def test_a_package_that_is_installed_by_halves_is_a_problem_with_its_repair(computer):
    for name, code in (("torch-2.14.1.dist-info", "torch"), ("timm-1.0.9.dist-info", "timm")):
        (computer.site / name).mkdir()
        (computer.site / code).mkdir()
    torch, timm = doctor.examine().problems
    assert torch.startswith("Expected torch installed as a whole, found: version 2.14.1 is installed only in part.")
    assert f"delete {computer.site / 'torch'}, {computer.site / 'torch-2.14.1.dist-info'}. Install both" in torch
    assert "run: medtl doctor --repair" in torch
    assert timm.endswith("Run: pip install timm)")


def test_a_package_that_cannot_be_imported_is_a_problem_with_its_repair(computer):
    (computer.site / "timm").mkdir()
    computer.unimportable = {"timm": "it cannot be imported (exit status 3)"}
    (problem,) = doctor.examine().problems
    assert problem.startswith("Expected timm installed as a whole, found: it cannot be imported (exit status 3).")
    assert f"medtl doctor --repair (or delete {computer.site / 'timm'}. Run: pip install timm)" in problem


def test_a_memory_that_is_unknown_is_no_problem(computer, monkeypatch):
    monkeypatch.setattr(doctor, "free_memory_gb", lambda: None)
    state = doctor.examine()
    assert state.problems == ()
    assert any("free memory: unknown" in line for line in doctor.describe(state))


def test_versions_come_from_the_installation():
    assert doctor.version_of("numpy")
    assert doctor.version_of("no-such-package-here") is None
