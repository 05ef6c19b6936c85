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
from medtl.requirements import ARM_MAC, LINUX, OTHER, SYSTEMS, WINDOWS, X86_MAC, System, system_of
from MedTLLib.jobs import packages

ROOT = Path(__file__).resolve().parents[3]
REST = ["monai", "einops", "platformdirs", "safetensors", "segmentation-models-pytorch", "timm"]


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


def test_where_slicer_s_own_numpy_must_change_the_page_says_so_and_only_then_it_is_free(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Slicer's own packages stay as they are" in packages.plan(packages.missing())
    monkeypatch.setattr(packages, "system_of", lambda: X86_MAC)
    needed = packages.missing()
    version = sys.modules["numpy"].__version__
    assert f"numpy {version} becomes numpy<2,>=1.26" in packages.own_changes(needed)
    text = packages.plan(needed)
    assert packages.own_changes(needed) in text
    assert X86_MAC.reason in text
    assert "stay as they are" not in text
    with pytest.raises(InputError):  # the stand-in for pip installs only what is new
        site.install()
    assert not any(line.startswith("numpy==2") for line in site.constraints)


def floors(system: System) -> list[Requirement]:
    """What the engine needs beside torch, and what its development needs."""
    return [each for each in dependencies(system, "dev") if each.name not in packages.TORCH]


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_the_tested_versions_satisfy_the_floors_and_both_files_agree(system: System) -> None:
    users, all_of_them = pins(packages.CONSTRAINTS, system), pins(ROOT / "Testing" / "constraints.txt", system)
    for floor in floors(system):
        (specifier,) = all_of_them[canonicalize_name(floor.name)].specifier
        assert specifier.operator == "=="
        assert floor.specifier.contains(specifier.version), floor
    assert {name: str(pin) for name, pin in all_of_them.items() if name in users} == {
        n: str(p) for n, p in users.items()
    }
    needed = {canonicalize_name(each.name) for each in dependencies(system)} - set(packages.TORCH)
    assert needed <= set(users)
    assert "pytest" not in users


def test_every_tested_version_has_hashes_and_torchs_own_packages_have_none_here() -> None:
    for path in (packages.CONSTRAINTS, ROOT / "Testing" / "constraints.txt"):
        text = path.read_text(encoding="utf-8")
        blocks = re.split(r"\n(?=[a-z])", text[re.search(r"^[a-z]", text, re.MULTILINE).start() :])
        assert len(blocks) == len(lines_of(path))
        assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", block) for block in blocks)
        assert [line for line in lines_of(path) if re.match("torch|nvidia|cuda|triton|sympy", line)] == []


def test_the_floors_of_torch_are_those_of_the_makefile() -> None:
    assert " ".join(f'"{each}"' for each in LINUX.requirements[:2]) in (ROOT / "Makefile").read_text()


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
    here = [str(each) for each in slicer.packaging.load_requirements(packages.REQUIREMENTS)]
    brought = ("torch", "torchvision", "numpy", "monai", "scipy", "SimpleITK", "pydicom", "pillow", "packaging")
    assert here == sorted(str(each) for each in dependencies() if each.name not in brought)


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
    assert site.deeds == ["asked", "worker stopped", ["monai>=1.6"]]
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
    assert str(caught.value).startswith("monai, einops" if torch_is_there else "PyTorch could not")
    assert len(site.deeds) == 3  # asked, stopped, tried: after a failure nothing else is tried
    assert "\n" not in str(caught.value)


def test_packages_that_are_still_missing_afterwards_are_named(site: Site) -> None:
    site.useless = True
    with pytest.raises(InputError, match="did not install PyTorch"):
        site.install()
    site.add("torch")
    site.add("torchvision")
    with pytest.raises(InputError, match=r"Expected monai, .* to be installed now"):
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
