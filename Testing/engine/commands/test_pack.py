"""What a pack has for each computer, from a small index in a folder; pip is the real one."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from tiny_wheels import no_network, only_index, small_index, wheel

from medtl.commands import pack
from medtl.commands.cli import main
from medtl.errors import InputError
from medtl.pack import PLATFORMS, read_pack

REST = ["einops", "monai", "numpy", "safetensors", "segmentation_models_pytorch", "timm"]
OF_TORCH = ["mpmath", "sympy", "torch", "torchvision"]


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The folder of wheels that pip finds, and no other."""
    constraints = small_index(tmp_path / "index")
    monkeypatch.setattr(pack, "constraints_file", lambda: constraints)
    only_index(tmp_path / "index", monkeypatch)
    small = [entry for entry in pack.list_models() if entry.name == "renal-malignancy"]
    monkeypatch.setattr(pack, "list_models", lambda: small)
    return tmp_path / "index"


def versions(path: Path) -> dict[str, str]:
    """The versions of the wheels in a pack, by name."""
    with zipfile.ZipFile(path) as archive:
        wheels = [name.removeprefix("wheels/") for name in archive.namelist() if name.endswith(".whl")]
    return dict(sorted(name.split("-")[:2] for name in wheels))


@pytest.mark.parametrize(
    ("key", "more", "torch", "numpy"),
    [
        ("linux", ["cuda_nvrtc", "cuda_toolkit"], "2.13.1", "2.4.6"),
        ("windows", ["colorama"], "2.12.1", "2.4.6"),  # none of 2.13
        ("macos-arm64", [], "2.13.1", "2.4.6"),
        ("macos-x86_64", [], "2.2.2", "1.26.4"),
    ],
)
def test_a_pack_has_what_the_engine_needs_on_that_computer(key, more, torch, numpy, index, tmp_path, capsys):
    out = tmp_path / "pack.zip"
    assert main(["pack", "--output", str(out), "--platform", key, "--python", "3.12"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert f"for {key}, Python 3.12" in captured.err
    found = versions(out)
    assert sorted(found) == sorted([*REST, *OF_TORCH, *more])
    assert (found["torch"], found["numpy"], found["mpmath"]) == (torch, numpy, "1.3.0")
    assert [path.name for path in tmp_path.iterdir() if path != index] == ["pack.zip"]


def test_a_pack_states_the_hash_of_every_file_and_has_licences_models_and_a_page(index, tmp_path):
    out = tmp_path / "pack.zip"
    assert main(["pack", "--output", str(out), "--platform", "linux", "--no-torch"]) == 0
    assert sorted(versions(out)) == REST
    with zipfile.ZipFile(out) as archive:
        manifest = json.loads(archive.read("pack.json"))
        assert {*manifest["files"], "pack.json"} == set(archive.namelist())
        for name, file in manifest["files"].items():
            content = archive.read(name)
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file["size"], file["sha256"])
        assert "models/renal-malignancy.zip" in manifest["files"]
        licences, page = archive.read("licences.md").decode(), archive.read("install.html").decode()
    assert "| monai | 1.6.1 | MIT |" in licences
    assert "## Model renal-malignancy" in licences
    assert "Install from folder or zip" in page
    assert "PyTorch is not in this pack" in page
    assert (manifest["platform"], manifest["python"]) == ("linux", "3.12")
    assert read_pack(out).packages == {name.replace("_", "-") for name in REST}


def left(tmp_path: Path) -> set[str]:
    return {path.name for path in tmp_path.iterdir()}


def test_a_package_without_a_wheel_for_that_computer_is_named_and_nothing_is_left(index, tmp_path, capsys):
    (index / "cuda_nvrtc-13.0-py3-none-manylinux_2_17_x86_64.whl").unlink()
    wheel(index, "cuda-nvrtc", "13.0", tag="py3-none-win_amd64")
    assert main(["pack", "--output", str(tmp_path / "pack.zip"), "--platform", "linux"]) == 1
    assert "no wheel of cuda-nvrtc for --platform linux --python 3.12" in capsys.readouterr().err
    assert left(tmp_path) == {"index"}


def test_without_network_a_sentence_says_so_and_nothing_is_left(index, tmp_path, monkeypatch, capsys):
    no_network(monkeypatch)
    assert main(["pack", "--output", str(tmp_path / "pack.zip"), "--platform", "linux"]) == 1
    error = capsys.readouterr().err
    assert "The index of packages cannot be reached" in error
    assert error.count("\n") == 1
    assert left(tmp_path) == {"index"}


def test_a_wheel_that_is_not_the_tested_one_is_refused(index, tmp_path, capsys):
    wheel(index, "monai", "1.6.1", code="print('changed')\n")
    assert main(["pack", "--output", str(tmp_path / "pack.zip"), "--platform", "linux"]) == 1
    assert "A wheel is not the tested one" in capsys.readouterr().err
    assert left(tmp_path) == {"index"}


def test_packages_that_do_not_fit_together_are_refused(index, tmp_path, capsys):
    wheel(index, "sympy", "1.15.0", ["numpy<2"])
    assert main(["pack", "--output", str(tmp_path / "pack.zip"), "--platform", "linux"]) == 1
    assert "sympy needs numpy<2, found 2.4.6" in capsys.readouterr().err


def test_a_disk_that_gets_full_leaves_the_pack_that_was_there(index, tmp_path, monkeypatch, capsys):
    out = tmp_path / "pack.zip"
    out.write_text("older")
    arguments = ["pack", "--output", str(out), "--platform", "linux", "--no-torch"]
    assert main(arguments) == 1
    assert "exists already" in capsys.readouterr().err

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(pack.shutil, "copyfileobj", full)
        assert main([*arguments, "--force"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert out.read_text() == "older"
    assert left(tmp_path) == {"index", "pack.zip"}
    assert main([*arguments, "--force"]) == 0
    assert sorted(versions(out)) == REST


def test_a_cancel_leaves_nothing(index, tmp_path):
    def cancel(stage: str, fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack.make_pack(tmp_path / "pack.zip", pack.Target("linux", "3.12"), torch=False, progress=cancel)
    assert left(tmp_path) == {"index"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("ERROR: OSError: 407 Proxy Authentication Required", "The proxy refuses"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "The disk is full"),
        ("WARNING: getaddrinfo failed\nERROR: No matching distribution found for torch", "cannot be reached"),
        ("ERROR: No matching distribution found for torch==2.2.2", "no wheel of torch for --platform linux"),
        ("", "pip said nothing"),
    ],
)
def test_what_pip_says_becomes_a_sentence(said, words):
    text = pack.explain(said.splitlines(), pack.Target("linux", "3.12"))
    assert words in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--output", "pack.tar"], 1, "ends in .zip"),
        (["--output", "nowhere/pack.zip"], 1, "nowhere does not exist"),
        (["--output", "pack.zip", "--python", "3"], 2, "such as 3.12"),
        (["--output", "pack.zip", "--platform", "beos"], 2, "invalid choice"),
        (["--output", ""], 2, "expected a path"),
        ([], 2, "--output"),
    ],
)
def test_wrong_arguments_are_a_sentence(arguments, status, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["pack", *arguments, *(() if "--platform" in arguments else ("--platform", "linux"))]) == status
    assert words in capsys.readouterr().err
    assert left(tmp_path) == set()


def test_where_pip_is_missing_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="-m ensurepip"):
        pack.make_pack(tmp_path / "pack.zip", pack.Target("linux", "3.12"))


@pytest.mark.parametrize("key", PLATFORMS)
def test_the_tested_versions_of_a_computer_are_those_that_it_may_have(key):
    """Those of the real constraints."""
    found = [Requirement(line.partition(" --hash")[0]) for line in pack.tested(pack.Target(key, "3.12"))]
    assert len({each.name for each in found}) == len(found)
    assert all("--hash=sha256:" in line for line in pack.tested(pack.Target(key, "3.12")))
    pins = {each.name: next(iter(each.specifier)).version for each in found}
    system = PLATFORMS[key].system
    assert SpecifierSet(system.numpy).contains(pins["numpy"])
    assert SpecifierSet(system.monai).contains(pins["monai"])
    assert ("colorama" in pins) == (key == "windows")
