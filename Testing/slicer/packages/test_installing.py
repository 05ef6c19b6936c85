"""What is installed, and what is said where it cannot be: by a process of its own, with a stand-in for pip."""

import errno
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import host
import pytest
import slicer
import slicer.packaging
from site_user import PATIENCE, REST, Site, digests, names

from medtl.errors import Cancelled, InputError
from medtl.requirements import X86_MAC
from MedTLLib.packages import consent, installing, needed, packages
from MedTLLib.packages.installing import WINDOWS_PATH

ROOT = Path(__file__).resolve().parents[3]


def test_where_slicer_s_own_numpy_must_change_the_page_says_so_and_only_then_it_is_free(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("numpy", "2.1")
    assert "Slicer's own packages stay as they are" in packages.plan(packages.missing())
    for module in (needed, consent):
        monkeypatch.setattr(module, "system_of", lambda: X86_MAC)
    monkeypatch.setattr(installing, "tested", lambda: ())  # they are those of the real system
    wanted = packages.missing()
    assert "numpy 2.1 becomes numpy<2,>=1.26" in packages.own_changes(wanted)
    text = packages.plan(wanted)
    assert packages.own_changes(wanted) in text
    assert X86_MAC.reason in text
    assert "stay as they are" not in text
    site.tell(versions={"torch": "2.2.2", "torchvision": "0.17.2", "monai": "1.4.0", "numpy": "1.26.4"})
    assert site.install() == ("numpy",)
    torch, rest = (call["constraints"] for call in site.calls if "--report" in call["arguments"])
    assert torch == ["numpy==2.1"]
    assert set(rest) == {"torch==2.2.2", "torchvision==0.17.2"}


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


def test_slicers_own_packages_are_byte_for_byte_as_before(site: Site) -> None:
    for name in ("numpy", "scipy", "SimpleITK", "vtk", "pydicom"):
        site.add(name, "9.1")
        (site.folder / name / "__init__.py").write_text(f"of = {name!r}\n")
    before = digests(site.folder)
    site.install()
    assert packages.missing() == ()
    after = digests(site.folder)
    assert {path: after.get(path) for path in before} == before
    assert len(after) > len(before)


def test_a_cancel_while_packages_are_fetched_ends_it_at_once_and_leaves_nothing(site: Site) -> None:
    before = digests(site.folder)
    site.tell(hangs="download")
    running = site.start()
    host.process_until((site.pip / "pip" / "here").exists, PATIENCE, "pip")
    running.cancel()
    site.wait()
    assert isinstance(site.error, Cancelled)
    assert digests(site.folder) == before
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
    script = f"import sys, pathlib; sys.path.insert(0, {str(ROOT)!r}); from medtl.installation.site import alone\n"
    script += f"with alone(pathlib.Path({str(site.folder)!r})): print('have it', flush=True); input()"
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


@pytest.mark.parametrize("stage", ["--target", "--report", "download", "--no-index"])
@pytest.mark.parametrize("said", ["ERROR: [Errno 28] No space left on device", "ERROR: getaddrinfo failed"])
def test_wherever_it_fails_nothing_is_lost(site: Site, stage: str, said: str) -> None:
    site.add("numpy", "2.1")
    site.add("timm")
    (site.folder / "timm-99.0.dist-info" / "RECORD").unlink()
    before = digests(site.folder)
    site.tell(fails={stage: said})
    with pytest.raises(InputError, match="disk is full" if "space" in said else "server cannot be reached"):
        site.install()
    assert digests(site.folder) == before
    assert not list(Path(tempfile.gettempdir()).glob("MedTL-*"))
    site.tell()
    site.install()
    assert packages.missing() == ()


def test_a_read_only_folder_gives_a_message_before_anyone_is_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**where: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\).*whoever manages this computer"):
        site.install()
    assert site.calls == []


def test_a_torch_that_stays_has_to_fit_the_new_torchvision(site: Site) -> None:
    site.add("torch", "2.14.1")
    site.install()
    (torch, _) = site.looked_for()
    assert torch == ["torchvision>=0.23", "torch==2.14.1"]


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
    before = digests(site.folder)
    site.tell(fails={"download": "ERROR: getaddrinfo failed"})
    with pytest.raises(InputError, match="server cannot be reached"):
        site.install()
    assert digests(site.folder) == before


def test_a_package_that_cannot_be_imported_is_named_and_repaired(site: Site) -> None:
    site.tell(code={"torchvision": "raise RuntimeError('operator torchvision::nms does not exist')"})
    with pytest.raises(InputError, match=r"torchvision could not be installed \(RuntimeError.*nms.*press Repair"):
        site.install()
    assert names(packages.missing()) == ["torchvision"]
    assert "nms" in packages.broken()["torchvision"]
    site.tell()
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


def test_too_long_paths_are_refused_before_a_file_is_written(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "longest_path", lambda: WINDOWS_PATH)
    site.tell(member=f"torch/{'a' * 250}.txt")
    with pytest.raises(InputError, match=r"259 are allowed.*folder with a short name.*LongPathsEnabled to 1"):
        site.install()
    assert not list(site.folder.glob("*.dist-info"))
