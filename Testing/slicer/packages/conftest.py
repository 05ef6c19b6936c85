"""Slicer's Python as far as packages are concerned."""

import shutil
import sys
import sysconfig
import tempfile
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import slicer
from site_user import Site

from MedTLLib.packages import installing, needed


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Slicer outside testing mode, with the PyTorch extension and nothing of the engine installed."""
    site = Site(tmp_path)
    monkeypatch.syspath_prepend(str(site.folder))
    monkeypatch.setattr(type(slicer.app), "testingEnabled", staticmethod(lambda: False))
    paths = {**sysconfig.get_paths(), "purelib": str(site.folder)}
    monkeypatch.setattr(sysconfig, "get_paths", lambda *given: paths)  # pydoc asks for others
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**11))
    monkeypatch.setattr(needed, "not_importable", {})
    monkeypatch.setattr(installing, "not_importable", needed.not_importable)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    extension = ModuleType("PyTorchUtils")
    extension.__spec__ = ModuleSpec("PyTorchUtils", None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    return site
