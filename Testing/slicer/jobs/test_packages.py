"""What is missing, what is asked, and what would be installed: pip and the PyTorch extension are replaced."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import slicer
import slicer.packaging
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from medtl.errors import Cancelled, InputError
from MedTLLib.jobs import packages

ROOT = Path(__file__).resolve().parents[3]
REST = ["einops", "monai", "platformdirs", "safetensors", "segmentation-models-pytorch", "timm"]


class Site:
    """An empty folder for packages, on sys.path, and what was done to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.deeds: list[Any] = []
        self.constraints: list[str] = []
        self.failure: Exception | None = None
        self.useless = False  # pip ends well and has installed nothing

    def add(self, name: str, version: str = "99.0", module: str = "") -> None:
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "top_level.txt").write_text(f"{module or name.replace('-', '_')}\n")

    def pip(self, requirements: list[str], constraints: Path, **options: Any) -> None:
        self.deeds.append(requirements)
        self.constraints = Path(constraints).read_text().splitlines()
        assert options["requester"] == "MedTLSegment"
        self._install([re.split(r"[>=]", each)[0] for each in requirements if ">" in each or each == "torchvision"])

    def torch(self, askConfirmation: bool = True, torchVersionRequirement: str = "") -> None:  # noqa: N803
        self.deeds.append(("torch", askConfirmation, torchVersionRequirement))
        self._install(["torch", "torchvision"])

    def ask(self, text: str) -> bool:
        self.deeds.append("asked")
        self.text = text
        return True

    def stop_worker(self) -> None:
        self.deeds.append("worker stopped")

    def install(self, **options: Any) -> tuple[str, ...]:
        return packages.install(self.ask, self.stop_worker, **options)

    def _install(self, names: list[str]) -> None:
        if self.failure:
            raise self.failure
        for name in names:
            if not self.useless:
                self.add(name)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Slicer outside testing mode, with the PyTorch extension, a network and nothing of the engine installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    site = Site(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(slicer.packaging, "pip_install", site.pip)
    monkeypatch.setattr(type(slicer.app), "testingEnabled", staticmethod(lambda: False))
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"purelib": str(folder)})
    monkeypatch.setattr(packages, "_reachable", lambda host: True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**11))
    extension = ModuleType("PyTorchUtils")
    extension.__spec__ = ModuleSpec("PyTorchUtils", None)
    extension.PyTorchUtilsLogic = lambda: SimpleNamespace(installTorch=site.torch)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    return site


def names(requirements: Any) -> list[str]:
    return [each.name for each in requirements]


def test_what_is_missing_is_listed_torch_first_without_importing_it(site: Site) -> None:
    assert names(packages.missing()) == ["torch", "torchvision", *REST]
    site.add("timm", "0.9")
    site.add("monai", "1.6.0")
    site.add("torch", "2.8.1+cu128")
    assert names(packages.missing()) == ["torchvision", *(name for name in REST if name != "monai")]
    assert "torch" not in sys.modules


def pins(path: Path) -> dict[str, Requirement]:
    """The requirements of a file with hashes, by canonical name."""
    lines = [line.rstrip(" \\") for line in path.read_text(encoding="utf-8").splitlines() if line[0] not in " #"]
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, lines)}


def floors() -> list[Requirement]:
    """What the engine needs beside torch, and what its development needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["dev"]])
    return [each for each in needed if each.name not in ("torch", "torchvision")]


def test_the_tested_versions_satisfy_the_floors_and_both_files_agree() -> None:
    users, all_of_them = pins(packages.CONSTRAINTS), pins(ROOT / "Testing" / "constraints.txt")
    for floor in floors():
        (specifier,) = all_of_them[canonicalize_name(floor.name)].specifier
        assert specifier.operator == "=="
        assert floor.specifier.contains(specifier.version), floor
    assert {name: str(pin) for name, pin in all_of_them.items() if name in users} == {
        n: str(p) for n, p in users.items()
    }
    engine = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = {canonicalize_name(Requirement(each).name) for each in engine} - {"torch", "torchvision"}
    assert needed <= set(users)
    assert "pytest" not in users


def test_every_tested_version_has_hashes_and_torchs_own_packages_have_none_here() -> None:
    for path in (packages.CONSTRAINTS, ROOT / "Testing" / "constraints.txt"):
        text = path.read_text(encoding="utf-8")
        blocks = re.split(r"\n(?=[a-z])", text[re.search(r"^[a-z]", text, re.MULTILINE).start() :])
        assert len(blocks) == len(pins(path))
        assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", block) for block in blocks)
        assert [name for name in pins(path) if re.match("torch|nvidia|cuda|triton|sympy", name)] == []


def test_the_floors_of_torch_are_those_of_the_engine_and_the_makefile() -> None:
    engine = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    floors = [each for each in engine if each.startswith("torch")]
    assert floors == [str(each) for each in packages.TORCH]
    assert " ".join(f'"{each}"' for each in floors) in (ROOT / "Makefile").read_text()


def test_pip_gets_the_tested_versions_of_what_is_new_and_leaves_the_rest_as_it_is(site: Site) -> None:
    tested = {name: str(pin.specifier) for name, pin in pins(packages.CONSTRAINTS).items()}
    site.add("tqdm", "4.50")
    site.add("monai", "1.0")  # too old, so it is replaced
    site.install()
    given = dict(re.match("(.*?)(==.*)", line).groups() for line in site.constraints)
    assert len(given) == len(site.constraints)
    for name in ("einops", "timm", "monai", "huggingface-hub"):
        assert given[name] == tested[name]
    assert "tqdm" not in given
    assert given["numpy"] == f"=={sys.modules['numpy'].__version__}"
    assert not any("sha256" in line for line in site.constraints)
    if sys.platform != "win32":
        assert "colorama" not in given


def test_the_list_of_packages_is_that_of_the_engine_without_torch_and_what_slicer_brings() -> None:
    engine = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    here = [str(each) for each in slicer.packaging.load_requirements(packages.REQUIREMENTS)]
    brought = ("torch", "torchvision", "numpy", "scipy", "SimpleITK", "pydicom", "pillow")
    assert here == sorted(each for each in engine if each.split(">")[0] not in brought)


@pytest.mark.parametrize(("folder", "download"), [("path", "3.0 GB"), ("here", "325 MB"), (None, "325 MB")])
def test_the_plan_says_what_comes_from_where_and_what_it_costs(
    site: Site, folder: str | None, download: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVIDIA's program in a folder of PATH means CUDA, in the current folder it means nothing."""
    for name in ("path", "here"):
        (tmp_path / name).mkdir()
    if folder is not None:
        (tmp_path / folder / "nvidia-smi").touch(0o755)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PATH", os.pathsep.join(["", ".", str(tmp_path / "path")]))
    text = packages.plan(packages.missing())
    assert "torch, torchvision, by the PyTorch extension from download.pytorch.org" in text
    assert f"{', '.join(REST)}, from pypi.org" in text
    assert f"About {download} to download" in text
    assert "on disk" in text
    assert "minutes" in text


def test_the_plan_of_a_folder_downloads_nothing(site: Site, tmp_path: Path) -> None:
    text = packages.plan(packages.missing(), wheels=tmp_path)
    assert text.count(f"from {tmp_path}") == 2
    assert "nothing is downloaded" in text
    assert "pypi.org" not in text


def test_after_consent_torch_is_installed_first_and_the_rest_keeps_what_is_there(site: Site) -> None:
    assert site.install() == ()
    first, second, third, (*rest,) = site.deeds
    assert (first, second, third) == ("asked", "worker stopped", ("torch", False, ">=2.8"))
    assert [re.split(">", each)[0] for each in rest] == REST
    assert site.text.splitlines()[1].startswith("– torch, torchvision")
    assert {"torch==99.0", "torchvision==99.0"} < set(site.constraints)
    assert f"numpy=={sys.modules['numpy'].__version__}" in site.constraints
    assert packages.missing() == ()


def test_only_what_is_missing_is_installed_and_nothing_is_asked_when_all_is_there(site: Site) -> None:
    for name in ("torch", "torchvision", *REST[1:]):
        site.add(name)
    site.install()
    assert site.deeds == ["asked", "worker stopped", ["einops>=0.7"]]
    assert "torch" not in site.text.splitlines()[1]
    site.deeds.clear()
    assert site.install() == ()
    assert site.deeds == []


def test_who_declines_gets_nothing_installed(site: Site) -> None:
    with pytest.raises(Cancelled, match=r"Nothing was installed\."):
        packages.install(lambda text: False, site.stop_worker)
    assert site.deeds == []


def test_in_testing_mode_nothing_is_asked_and_nothing_installed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(slicer.app), "testingEnabled", staticmethod(lambda: True))
    with pytest.raises(InputError, match="testing mode"):
        site.install()
    assert site.deeds == []


def test_a_restart_is_advised_where_a_changed_package_is_loaded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "einops", ModuleType("einops"))
    assert site.install() == ("einops",)


def test_without_the_pytorch_extension_the_user_is_asked_to_install_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "PyTorchUtils")
    with pytest.raises(InputError, match="Install it in the Extensions Manager"):
        site.install()
    assert site.deeds == []
    site.add("torch")
    site.add("torchvision")
    assert site.install() == ()  # where torch is there, nobody needs it


def test_a_folder_that_cannot_be_written_gives_a_message_before_anyone_is_asked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"purelib": str(site.folder / "nowhere")})
    with pytest.raises(InputError, match=r"nowhere, which cannot be written \(No such file.*folder of your own"):
        site.install()
    assert site.deeds == []


def test_a_full_disk_gives_a_message_before_anyone_is_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=500 * 10**6))
    with pytest.raises(InputError, match=r"Expected .* GB free in .*, found 500 MB\. Make room"):
        site.install()
    assert site.deeds == []


def test_another_installation_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicer.packaging, "isPipInstallInProgress", lambda: True)
    with pytest.raises(InputError, match="Wait for its end"):
        site.install()
    assert site.deeds == []


@pytest.mark.parametrize("torch_is_there", [False, True])
@pytest.mark.parametrize(
    ("network", "failure", "words"),
    [
        (False, subprocess.CalledProcessError(1, "pip install"), "cannot be reached. Check the network"),
        (True, subprocess.CalledProcessError(1, "pip install"), "non-zero exit status 1.*Python console"),
        (True, PermissionError(13, "Access is denied"), "Access is denied.*restart it and try again"),
    ],
)
def test_what_goes_wrong_is_one_sentence_with_what_to_do(
    site: Site,
    torch_is_there: bool,
    network: bool,
    failure: Exception,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if torch_is_there:
        site.add("torch")
        site.add("torchvision")
    site.failure = failure
    monkeypatch.setattr(packages, "_reachable", lambda host: network)
    with pytest.raises(InputError, match=words) as caught:
        site.install()
    assert str(caught.value).startswith("einops, monai" if torch_is_there else "PyTorch could not")
    assert len(site.deeds) == 3  # asked, stopped, tried: after a failure nothing else is tried
    assert "\n" not in str(caught.value)


def test_packages_that_are_still_missing_afterwards_are_named(site: Site) -> None:
    site.useless = True
    with pytest.raises(InputError, match="did not install PyTorch"):
        site.install()
    site.add("torch")
    site.add("torchvision")
    with pytest.raises(InputError, match=r"Expected einops, .* to be installed now"):
        site.install()


def test_a_folder_of_wheels_needs_consent_but_no_network_and_no_extension(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "PyTorchUtils")
    wheels = tmp_path / "a folder"
    wheels.mkdir()
    with pytest.raises(InputError, match=r"Expected a folder with wheels .* found none in .*a folder"):
        site.install(wheels=wheels)
    assert site.deeds == []
    (wheels / "einops-99.0-py3-none-any.whl").touch()
    site.install(wheels=wheels)
    first, second, arguments = site.deeds
    assert not any(line.startswith("timm") for line in site.constraints)  # a folder has the versions that it has
    assert (first, second) == ("asked", "worker stopped")
    assert arguments[:3] == ["--no-index", "--find-links", str(wheels)]
    assert [re.split(">", each)[0] for each in arguments[3:]] == ["torch", "torchvision", *REST]
    assert packages.missing() == ()
