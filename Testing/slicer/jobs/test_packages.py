"""What is missing, what is asked, and what is installed: by a process of its own, with a stand-in for pip."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import host
import pytest
import slicer
import slicer.packaging
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from medtl.errors import Cancelled, InputError, MedTLError
from medtl.requirements import ARM_MAC, LINUX, OTHER, SYSTEMS, WINDOWS, X86_MAC, System, system_of
from MedTLLib.jobs import installation, installer, packages

SLICER_TESTS = Path(__file__).resolve().parents[1]
ROOT = SLICER_TESTS.parents[1]
REST = ["monai", "einops", "platformdirs", "safetensors", "segmentation-models-pytorch", "timm"]
PATIENCE = 120.0  # seconds until a wait is given up, on a loaded machine


class Site:
    """A Python of its own as Slicer's, whose folder of packages is on sys.path, and what was done to it."""

    def __init__(self, root: Path) -> None:
        venv.create(root / "python", with_pip=False, symlinks=True)
        self.python = root / "python" / "bin" / "python"
        (self.folder,) = (root / "python" / "lib").glob("python*/site-packages")
        self.pip = root / "pip"  # outside the folder of packages, so that that is empty
        (self.pip / "pip").mkdir(parents=True)
        shutil.copy(SLICER_TESTS / "fake_pip.py", self.pip / "pip" / "__main__.py")
        info = self.pip / "pip-26.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pip\nVersion: 26.0\n")
        (self.folder / "pip.pth").write_text(f"{self.pip}\n")
        self.tell()
        self.texts: list[str] = []
        self.fractions: list[float | None] = []
        self.changed: tuple[str, ...] | None = None
        self.error: MedTLError | None = None
        self.stopped = 0

    def tell(self, **told: Any) -> None:
        """What the stand-in for pip does."""
        (self.pip / "pip" / "told.json").write_text(json.dumps({"versions": {}, **told}))

    def add(self, name: str, version: str = "99.0") -> None:
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("")
        (info / "INSTALLER").write_text("pip\n")
        (info / "top_level.txt").write_text(f"{name.replace('-', '_')}\n")
        code = self.folder / name.replace("-", "_")
        code.mkdir(exist_ok=True)
        (code / "__init__.py").touch()

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls of pip: by which module, with which arguments and constraints."""
        log = self.pip / "pip" / "calls.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def looked_for(self) -> list[list[str]]:
        """The requirements of each group that pip was asked for."""
        asked = [call["arguments"] for call in self.calls if "--report" in call["arguments"]]
        return [[each for each in arguments if re.match(r"[a-z][\w-]*[<>=!]", each)] for arguments in asked]

    def start(self, **options: Any) -> Any:
        return packages.install(
            self._progress, self._done, self._error, self._stop, command=[str(self.python)], **options
        )

    def install(self, **options: Any) -> tuple[str, ...]:
        """Install and wait for the end."""
        running = self.start(**options)
        if running is None:
            return ()
        self.wait()
        if self.error is not None:
            raise self.error
        assert self.changed is not None
        return self.changed

    def wait(self) -> None:
        host.process_until(lambda: self.error is not None or self.changed is not None, PATIENCE, "The end")

    def _progress(self, text: str, fraction: float | None) -> None:
        self.texts.append(text)
        self.fractions.append(fraction)

    def _done(self, changed: tuple[str, ...]) -> None:
        self.changed = changed

    def _error(self, error: MedTLError) -> None:
        self.error = error

    def _stop(self) -> None:
        self.stopped += 1


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Slicer outside testing mode, with the PyTorch extension and nothing of the engine installed."""
    site = Site(tmp_path)
    monkeypatch.syspath_prepend(str(site.folder))
    monkeypatch.setattr(type(slicer.app), "testingEnabled", staticmethod(lambda: False))
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"purelib": str(site.folder)})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**11))
    monkeypatch.setattr(packages, "_not_importable", {})
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    extension = ModuleType("PyTorchUtils")
    extension.__spec__ = ModuleSpec("PyTorchUtils", None)
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
    site.add("numpy", "2.1")
    assert "Slicer's own packages stay as they are" in packages.plan(packages.missing())
    monkeypatch.setattr(packages, "system_of", lambda: X86_MAC)
    monkeypatch.setattr(packages, "_tested", lambda: ())  # they are those of the real system
    needed = packages.missing()
    assert "numpy 2.1 becomes numpy<2,>=1.26" in packages.own_changes(needed)
    text = packages.plan(needed)
    assert packages.own_changes(needed) in text
    assert X86_MAC.reason in text
    assert "stay as they are" not in text
    site.tell(versions={"torch": "2.2.2", "torchvision": "0.17.2", "monai": "1.4.0", "numpy": "1.26.4"})
    assert site.install() == ("numpy",)
    torch, rest = (call["constraints"] for call in site.calls if "--report" in call["arguments"])
    assert torch == ["numpy==2.1"]
    assert set(rest) == {"torch==2.2.2", "torchvision==0.17.2"}


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
    assert "torch, torchvision, from download.pytorch.org" in text
    assert f"{', '.join(REST)}, from pypi.org" in text
    assert f"About {download} to download" in text
    assert "on disk" in text
    assert "minutes" in text


def test_torch_is_installed_first_by_the_tool_of_its_extension_and_nothing_is_imported(site: Site) -> None:
    site.add("SimpleITK", "2.5.7")
    assert site.install() == ()
    assert packages.missing() == ()
    assert site.stopped == 1
    torch, rest = site.looked_for()
    assert torch == ["torch>=2.8", "torchvision>=0.23"]
    assert [re.split(">", each)[0] for each in rest] == REST
    by_tool = [call for call in site.calls if call["by"] == "light_the_torch"]
    assert [call["arguments"][1] for call in by_tool] == ["--dry-run"]
    first, second = (call["constraints"] for call in site.calls if "--report" in call["arguments"])
    assert first == ["simpleitk==2.5.7"]
    assert {"torch==99.0", "torchvision==99.0", "simpleitk==2.5.7"} < set(second)
    assert not {"torch", "torchvision", "monai"} & set(sys.modules)
    assert not list(site.folder.glob("light_the_torch*"))  # the tool is no package of Slicer's
    assert not list(Path(tempfile.gettempdir()).glob("MedTL-*"))


def test_the_panel_hears_what_is_done_and_how_far_it_is(site: Site) -> None:
    site.add("torch")
    site.add("torchvision")
    site.install()
    what = ", ".join(REST)
    assert site.texts[0] == f"Looking for {what}…"
    assert "Downloading monai…" in site.texts
    assert site.texts[-2] == f"Writing {what}… Cancel waits for its end."
    assert 0.5 in site.fractions


def test_only_what_is_missing_is_installed_and_nothing_when_all_is_there(site: Site) -> None:
    for name in ("torch", "torchvision", *REST[1:]):
        site.add(name)
    site.install()
    assert site.looked_for() == [["monai>=1.6"]]
    assert site.start() is None
    assert site.stopped == 1


def test_in_testing_mode_nothing_is_installed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(slicer.app), "testingEnabled", staticmethod(lambda: True))
    with pytest.raises(InputError, match="testing mode"):
        site.install()
    assert site.calls == []


def test_a_restart_is_advised_where_a_changed_package_is_loaded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("einops", "0.1")
    monkeypatch.setitem(sys.modules, "einops", ModuleType("einops"))
    assert site.install() == ("einops",)


def test_while_it_runs_slicer_knows_and_a_second_installation_is_refused(site: Site) -> None:
    site.tell(hangs="--report")
    running = site.start()
    host.process_until((site.pip / "pip" / "here").exists, PATIENCE, "pip")
    assert slicer.packaging.isPipInstallInProgress()
    with pytest.raises(InputError, match="Wait for its end"):
        site.start()
    running.cancel()
    site.wait()
    assert not slicer.packaging.isPipInstallInProgress()


def test_a_cancel_while_packages_are_fetched_ends_it_at_once_and_leaves_nothing(site: Site) -> None:
    before = sorted(site.folder.rglob("*"))
    site.tell(hangs="download")
    running = site.start()
    host.process_until((site.pip / "pip" / "here").exists, PATIENCE, "pip")
    running.cancel()
    site.wait()
    assert isinstance(site.error, Cancelled)
    assert sorted(site.folder.rglob("*")) == before
    assert not list(Path(tempfile.gettempdir()).glob("MedTL-*"))


def test_a_cancel_while_packages_are_written_waits_for_their_end(site: Site) -> None:
    site.tell(hangs="--no-index")
    running = site.start()
    host.process_until((site.pip / "pip" / "here").exists, PATIENCE, "pip")
    running.cancel()
    (site.pip / "pip" / "go").touch()
    site.wait()
    assert isinstance(site.error, Cancelled)
    assert names(packages.missing()) == REST  # torch, which was being written, is whole; nothing came after it
    assert len(site.looked_for()) == 1


def test_two_slicers_do_not_install_into_one_folder(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", tempfile.gettempdir())
    script = f"import sys; sys.path.insert(0, {str(installation.SCRIPT.parent)!r}); import installer, pathlib\n"
    script += f"with installer.alone(pathlib.Path({str(site.folder)!r})): print('have it', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"have it\n"
        with pytest.raises(InputError, match="Another Slicer installs packages into the same folder"):
            site.install()
        assert other.stdin is not None
        other.stdin.close()
    assert site.calls == []


def test_without_the_pytorch_extension_the_user_is_asked_to_install_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "PyTorchUtils")
    with pytest.raises(InputError, match="Install it in the Extensions Manager"):
        site.install()
    assert site.calls == []
    site.add("torch")
    site.add("torchvision")
    assert site.install() == ()  # where torch is there, nobody needs it


def test_a_folder_that_cannot_be_written_gives_a_message_before_anyone_is_asked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"purelib": str(site.folder / "nowhere")})
    with pytest.raises(InputError, match=r"nowhere, which cannot be written \(No such file.*folder of your own"):
        site.install()
    assert site.calls == []


def test_a_full_disk_gives_a_message_before_anyone_is_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=500 * 10**6))
    with pytest.raises(InputError, match=r"Expected .* GB free in .*, found 500 MB\. Make room"):
        site.install()
    assert site.calls == []


def test_another_installation_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicer.packaging, "isPipInstallInProgress", lambda: True)
    with pytest.raises(InputError, match="Wait for its end"):
        site.install()
    assert site.calls == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("WARNING: NewConnectionError: getaddrinfo failed\nERROR: No matching distribution found for torch", "network"),
        ("ERROR: OSError: 407 Proxy Authentication Required", "The proxy asks for a name and a password"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "The disk is full"),
        ("ERROR: [WinError 5] Access is denied: 'torch.dll'", "Close other windows of Slicer"),
        ("ERROR: Exception:\nTraceback\nTypeError: an argument is missing", r"\(TypeError: an argument is missing\)"),
        ("ERROR: Cannot install monai: conflicting dependencies", r"conflicting dependencies\).*Slicer's log"),
    ],
)
def test_what_goes_wrong_is_one_sentence_with_what_to_do(site: Site, said: str, words: str) -> None:
    site.tell(fails={"--report": said})
    with pytest.raises(InputError, match=words) as caught:
        site.install()
    assert str(caught.value).startswith("torch, torchvision could not be installed")
    assert "\n" not in str(caught.value)
    assert len(site.looked_for()) == 1  # nothing is tried after a failure
    assert not list(site.folder.glob("*.dist-info"))


def test_packages_that_are_still_missing_afterwards_are_named(site: Site) -> None:
    site.tell(versions={"monai": "0.1"})
    with pytest.raises(InputError, match="Expected monai to be installed now"):
        site.install()


@pytest.mark.parametrize("command", [["/no/such/python"], [sys.executable, "-c", "import sys; sys.exit('broken')"]])
def test_a_python_that_cannot_be_used_is_a_sentence(
    site: Site, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.install(site._progress, site._done, site._error, site._stop, command=command)
    site.wait()
    assert isinstance(site.error, InputError)
    assert "could not be installed" in str(site.error)
    assert not slicer.packaging.isPipInstallInProgress()


def test_what_is_installed_by_halves_is_named_removed_and_installed_again(site: Site) -> None:
    for name in ("torch", "torchvision", *REST):
        site.add(name)
    kept = sorted(site.folder.glob("*.dist-info"))
    for name in ("timm", "torch"):
        (site.folder / f"{name}-99.0.dist-info" / "RECORD").unlink()
        (site.folder / name / "half.py").touch()
    assert names(packages.missing()) == ["torch", "timm"]
    assert "Repair removes what is broken" in packages.plan(packages.missing())
    assert "timm: version 99.0 is installed only in part" in packages.plan(packages.missing())
    site.install()
    assert packages.missing() == ()
    assert sorted(site.folder.glob("*.dist-info")) == kept
    assert not list(site.folder.rglob("half.py"))
    assert not list(site.folder.glob(".medtl-removed-*"))


def test_where_a_repair_fails_what_was_there_is_put_back(site: Site) -> None:
    for name in ("torch", "torchvision", *REST):
        site.add(name)
    (site.folder / "timm-99.0.dist-info" / "RECORD").unlink()
    before = sorted(site.folder.rglob("*"))
    site.tell(fails={"download": "ERROR: getaddrinfo failed"})
    with pytest.raises(InputError, match="server cannot be reached"):
        site.install()
    assert sorted(site.folder.rglob("*")) == before


def test_a_package_that_cannot_be_imported_is_named_and_repaired(site: Site) -> None:
    site.tell(code={"torchvision": "raise RuntimeError('operator torchvision::nms does not exist')"})
    with pytest.raises(InputError, match=r"torchvision could not be installed \(RuntimeError.*nms.*press Repair"):
        site.install()
    assert names(packages.missing()) == ["torchvision"]
    assert "nms" in packages.broken()["torchvision"]
    site.tell()
    site.error = None
    site.install()
    assert packages.missing() == ()


def test_a_package_that_ends_the_process_is_found_without_installing(site: Site) -> None:
    for name in ("torch", "torchvision", *REST):
        site.add(name)
    assert packages.broken() == {}
    (site.folder / "monai" / "__init__.py").write_text("import os\nos._exit(3)\n")
    ended: list[bool] = []
    packages.try_imports(lambda: ended.append(True), command=[str(site.python)])
    host.process_until(lambda: ended, PATIENCE, "The end")
    assert packages.broken() == {"monai": "exit status 3"}


PREFIX = r"C:\Users\someone\AppData\Local\slicer.org\3D Slicer 5.12.3\lib\Python\Lib\site-packages"
OF_TORCH_2_13 = "torch-2.13.0.dist-info/licenses/third_party/kineto/libkineto/third_party/dynolog/third_party/"
OF_TORCH_2_13 += "prometheus-cpp/3rdparty/civetweb/src/third_party/duktape-1.5.2/LICENSE.txt"


@pytest.mark.parametrize(
    ("prefix", "files", "length"),
    [
        (PREFIX, ["torch/__init__.py", OF_TORCH_2_13], 0),
        (PREFIX.replace("someone", "someone.with.a.name"), ["torch/__init__.py", OF_TORCH_2_13], 267),
        (r"C:\S", [OF_TORCH_2_13], 0),
        ("C:" + "x" * 90, ["a" * 166], 0),
        ("C:" + "x" * 90, ["a" * 167], 260),
        ("C:" + "x" * 90, ["torch-2.0.data/purelib/" + "a" * 166], 0),
        ("C:" + "x" * 90, ["a" * 155 + "/b"], 250),  # the folder is too long
        ("C:" + "x" * 90, ["a" * 154 + "/b"], 0),
        (PREFIX, [], 0),
    ],
)
def test_paths_that_windows_does_not_take_are_found_in_the_lists_of_the_wheels(
    prefix: str, files: list[str], length: int
) -> None:
    assert len(OF_TORCH_2_13) == 167
    assert len(installer.too_long(files, prefix, packages.WINDOWS_PATH)) == length


def test_too_long_paths_are_refused_before_a_file_is_written(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_longest_path", lambda: packages.WINDOWS_PATH)
    site.tell(member=f"torch/{'a' * 250}.txt")
    with pytest.raises(InputError, match=r"259 are allowed.*folder with a short name.*LongPathsEnabled to 1"):
        site.install()
    assert not list(site.folder.glob("*.dist-info"))
