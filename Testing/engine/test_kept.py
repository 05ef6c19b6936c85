"""What MedTL keeps on this computer is listed with the sizes that the file system has, and nothing else is."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from medtl import kept as module
from medtl.commands import doctor
from medtl.commands.cli import main
from medtl.installation.record import write_record
from medtl.io.into_place import machine_tag
from medtl.kept import kept, kept_models, size_of
from medtl.model.acceptance import accepted_folder
from medtl.model.store import user_store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A computer on which MedTL keeps nothing; its folder of packages is `site`."""
    for name in ("home", "site", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(doctor, "packages_folder", lambda: tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def add_package(site: Path, name: str, size: int) -> None:
    """A package as pip leaves it: its RECORD states sizes, but not its own."""
    write(site / name / "__init__.py", size)
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"{name}/__init__.py,,{size}\n{name}-1.0.dist-info/RECORD,,\n")


def fill(home: Path) -> None:
    """One of each kind, and things beside them that are not MedTL's."""
    add_package(home / "site", "ours_one", 3_000_000)
    add_package(home / "site", "slicers", 500)
    write_record(home / "site", {"ours-one": "1.0", "gone": "2.0", "slicers": "0.9"})
    write(user_store() / "mine" / "models" / "model.safetensors", 7_500_000)
    write(user_store() / "mine" / "docs" / "README.md", 11)
    write(user_store() / "a file", 40)
    write(accepted_folder() / "terms.txt", 1_200)
    write(home / "temporary" / f"MedTL-{machine_tag()}-{os.getpid()}-abc" / "job-1" / "image.nrrd", 2_000_000)
    write(home / "temporary" / "MedTL-of-a-user" / "notes.txt", 9)


def test_each_kind_is_listed_with_its_size_and_folder(home):
    fill(home)
    found = kept(home / "site")
    assert [(each.kind, each.name, each.bytes) for each in found] == [
        ("package", "ours-one", 3_000_000),
        ("model", "mine", 7_500_011),
        ("terms", "accepted-terms", 1_200),
        ("temporary", f"MedTL-{machine_tag()}-{os.getpid()}-abc", 2_000_000),
    ]
    assert found[0].folder == home / "site"
    for each in found[1:]:
        assert each.bytes == sum(file.stat().st_size for file in each.folder.rglob("*") if file.is_file())


def test_nothing_is_listed_where_nothing_is_kept(home):
    assert kept(home / "site") == ()


def test_the_command_prints_megabytes_their_sum_and_json(home, capsys):
    fill(home)
    assert main(["doctor", "--sizes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["package", "3.0", "MB", "ours-one", str(home / "site")]
    assert lines[1].split() == ["model", "7.5", "MB", "mine", str(user_store() / "mine")]
    assert lines[-1].split() == ["in", "all", "12.5", "MB"]
    assert main(["doctor", "--sizes", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)["kept"]
    assert [(each["kind"], each["bytes"]) for each in records][1] == ("model", 7_500_011)
    assert records[1]["folder"] == str(user_store() / "mine")


def test_what_vanishes_while_it_is_looked_at_is_no_error(home, monkeypatch):
    write(user_store() / "mine" / "a", 5)
    (user_store() / "mine" / "b").symlink_to(home / "nowhere")
    assert kept_models()[0].bytes == 5
    monkeypatch.setattr(module.Path, "is_file", lambda path: True)
    assert size_of(user_store() / "mine") == 5
