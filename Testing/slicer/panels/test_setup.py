"""From a Slicer without the engine's packages to a result: over the network, which is a folder here, and by a pack."""

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import host
import pytest
import qt
import slicer
from panel_user import PHANTOM, ROOT, User, voxels
from slicer_python import SlicerPython
from tiny_wheels import no_network, wheel

from MedTLLib.jobs.worker import Worker
from MedTLLib.packages import packages

ENGINE_PYTHON = os.environ.get("MEDTL_ENGINE_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
PATIENCE = 300.0  # seconds until a wait is given up, on a loaded machine
NEW = {"einops", "monai", "numpy", "safetensors", "segmentation_models_pytorch", "timm"}
OF_TORCH = {"cuda_nvrtc", "cuda_toolkit", "mpmath", "sympy", "torch", "torchvision"}


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlicerPython:
    """Slicer's Python without any of the engine's packages."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    return SlicerPython(tmp_path / "slicer", monkeypatch)


@pytest.fixture
def user(tmp_path: Path, python: SlicerPython) -> Iterator[User]:
    """The panel with the real installer, and an engine that the test answers for."""
    host.new_scene()
    user = WithInstaller(tmp_path / "worker")
    user.load()
    yield user
    user.close()
    host.new_scene()


class WithInstaller(User):
    """The panel whose packages are really installed."""

    def open(self) -> None:
        self.packages = packages  # type: ignore[assignment]
        super().open()

    def said(self) -> str:
        return str(self.ui.setupStatusLabel.text)

    def install(self) -> None:
        """Press Install and wait for the end."""
        self.ui.setupButton.click()
        self.wait()

    def install_from(self, path: Path, agrees: bool = True) -> None:
        """Choose a pack, answer the question, and wait for the end."""
        host.answer(str(path), lambda dialog: qt.QMessageBox.Ok if agrees else qt.QMessageBox.Cancel)
        self.ui.setupPackButton.click()
        self.wait()

    def wait(self) -> None:
        host.process_until(lambda: self.widget.setupPage.installation is None, PATIENCE, "The end")
        slicer.app.processEvents()


@pytest.mark.skipif(not Path(ENGINE_PYTHON).exists(), reason="no interpreter with torch: make setup")
def test_from_nothing_installed_to_a_result(python, tmp_path, monkeypatch):
    """The packages are tiny ones from a local index, the installer and pip are the real ones; so is the engine, which
    has real packages in a Python of its own."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "engine").mkdir()
    worker = Worker([ENGINE_PYTHON, "-u", "-P", "-m", "medtl.worker"], tmp_path / "engine")
    host.new_scene()
    user = WithInstaller(worker.folder, worker)
    try:
        volume = user.load()
        assert user.ui.setupBox.visible
        assert not user.ui.runBox.visible
        assert "torch, torchvision, from download.pytorch.org" in user.ui.setupTextLabel.text
        user.install()
        assert not user.ui.setupBox.visible, user.said()
        assert set(python.installed()) == NEW | OF_TORCH
        host.process_until(lambda: user.chosen.resultSegmentation, PATIENCE, "The result")
        assert voxels(user.chosen.resultSegmentation, volume).any()
    finally:
        user.close()
        worker.stop()
        host.new_scene()


@pytest.mark.parametrize("unpacked", [False, True], ids=["zip", "folder"])
def test_a_pack_without_torch_is_installed_where_torch_is_and_no_network(unpacked, user, python, monkeypatch):
    python.has("torch", "2.12.1")
    python.has("torchvision", "0.27.1")
    before = python.files()
    pack = python.pack(torch=False)
    no_network(monkeypatch)
    if unpacked:
        with zipfile.ZipFile(pack) as archive:
            archive.extractall(python.root / "unpacked")
        pack = python.root / "unpacked" / "pack.json"
    user.widget.enter()
    user.install_from(pack)
    assert not user.ui.setupBox.visible, user.said()
    assert set(python.installed()) >= NEW - {"numpy"}
    after = python.files()
    assert {path: after.get(path) for path in before} == before  # torch is as it was
    assert len(user.worker.requests) == 1  # the job that needed the packages goes on
    user.worker.done(PHANTOM.labelmap.array)
    assert user.chosen.resultSegmentation is not None
    assert not list((python.root / "temporary").glob("MedTL-*"))


def test_a_whole_pack_is_installed_without_network_and_without_the_pytorch_extension(user, python, monkeypatch):
    pack = python.pack()
    no_network(monkeypatch)
    monkeypatch.delitem(sys.modules, "PyTorchUtils")
    user.install_from(pack)
    assert not user.ui.setupBox.visible, user.said()
    assert set(python.installed()) >= OF_TORCH
    assert "nothing is downloaded" in host.dialogs.shown[-1]
    assert str(pack) in host.dialogs.shown[-1]


def test_who_does_not_agree_gets_nothing(user, python):
    before = python.files()
    user.install_from(python.pack(), agrees=False)
    host.answer("")
    user.ui.setupPackButton.click()
    assert python.files() == before
    assert user.ui.setupBox.visible


def altered(pack: Path, alter: dict[str, bytes | None], **entries: object) -> Path:
    """A pack with other files, and with other entries of its pack.json."""
    with zipfile.ZipFile(pack) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["pack.json"] = json.dumps({**json.loads(files["pack.json"]), **entries}).encode()
    path = pack.with_name("altered.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**files, **alter}.items():
            if content is not None:
                archive.writestr(name, content)
    return path


def test_a_pack_that_cannot_be_used_is_refused_in_a_sentence_and_nothing_changes(user, python, tmp_path, monkeypatch):
    good = python.pack(torch=False)
    before = python.files()
    no_network(monkeypatch)

    def refused(path: Path) -> str:
        """What is said about a pack that is refused before a question."""
        host.answer(str(path))
        user.ui.setupPackButton.click()
        assert python.files() == before
        assert user.widget.setupPage.installation is None
        return user.said()

    assert "Expected torch, torchvision in the pack, found none" in refused(good)
    python.has("torch", "2.12.1")
    python.has("torchvision", "0.27.1")
    before = python.files()
    user.widget.enter()
    assert "found one for --platform windows" in refused(altered(good, {}, platform="windows"))
    assert "--python 3.9" in refused(altered(good, {}, python="3.9"))
    assert "Install a newer MedTL" in refused(altered(good, {}, format=2))
    assert "leads out of it" in refused(altered(good, {"../evil.whl": b"evil"}))
    assert "no part of a pack" in refused(altered(good, {}, files={"../evil.whl": {"size": 1, "sha256": ""}}))
    cut = tmp_path / "cut.zip"
    cut.write_bytes(good.read_bytes()[:-100])
    assert "Copy it again from where it was made" in refused(cut)
    assert "Check the path" in refused(tmp_path / "gone.zip")
    # What only reading every file shows is said by the installer.
    changed = wheel(tmp_path, "monai", "1.6.1", code="print('changed')\n")
    user.install_from(altered(good, {f"wheels/{changed.name}": changed.read_bytes()}))
    assert "monai-1.6.1-py3-none-any.whl is" in user.said()
    assert "Copy it again from where it was made" in user.said()
    user.install_from(altered(good, {f"wheels/{changed.name}": None}))
    assert "monai-1.6.1-py3-none-any.whl is missing" in user.said()
    assert python.files() == before
    assert not list((python.root / "temporary").glob("MedTL-*"))


@pytest.mark.parametrize("width", [300, 500])
def test_the_page_fits_into_a_narrow_panel(width, user, tmp_path):
    user.widget.enter()
    assert host.screenshot(user.widget.parent, tmp_path / "page.png", width)[0] == width
