"""What the user is asked before packages are installed."""

import os
from pathlib import Path

import pytest
from site_user import REST, Site

from MedTLLib.packages import packages


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
