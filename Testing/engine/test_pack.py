"""Only a whole, unchanged pack for this computer is unpacked; everything else is refused in a sentence."""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_wheels import wheel

from medtl.errors import InputError
from medtl.pack import check_fits, read_pack, this_platform, this_python, unpack

WHEEL = "wheels/monai-1.6.1-py3-none-any.whl"
Change = Callable[[dict[str, bytes]], object]


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a small pack."""
    folder.mkdir()
    wheel(folder, "monai", "1.6.1")
    files = {WHEEL: next(folder.iterdir()).read_bytes(), "install.html": b"<p>", "licences.md": b"# Licences"}
    return files | {"models/a.zip": b"a model"}


def manifest(files: dict[str, bytes], **entries: Any) -> bytes:
    listed = {name: {"size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items()}
    about = {"format": 1, "medtl": "0.1.0", "platform": this_platform() or "linux", "python": this_python()}
    return json.dumps({**about, "files": listed, **entries}).encode()


def write(path: Path, files: dict[str, bytes]) -> Path:
    """Write the files as a zip, or as a folder where the path is none of a zip."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """The files of a good pack with its manifest."""
    good = contents(tmp_path / "built")
    return {"pack.json": manifest(good), **good}


@pytest.mark.parametrize("name", ["pack.zip", "pack"])
def test_a_pack_is_unpacked_as_it_was_packed(name, files, tmp_path):
    path = write(tmp_path / name, files)
    pack = read_pack(path)
    check_fits(pack, path)
    assert pack.packages == {"monai"}
    told: list[float] = []
    unpack(path, tmp_path / "out", told.append)
    for each, content in files.items():
        assert each == "pack.json" or (tmp_path / "out" / each).read_bytes() == content
    assert told[-1] == 1.0
    assert told == sorted(told)


def test_a_wheel_that_the_pack_does_not_list_stays_where_it_is(files, tmp_path):
    path = write(tmp_path / "pack", {**files, "wheels/evil-1.0-py3-none-any.whl": b"evil"})
    unpack(path, tmp_path / "out")
    assert [each.name for each in (tmp_path / "out" / "wheels").iterdir()] == [Path(WHEEL).name]


CHANGES: dict[str, tuple[Change, str]] = {
    "a changed wheel": (lambda f: f.update({WHEEL: f[WHEEL].replace(b"1.6.1", b"6.6.6")}), "damaged or was changed"),
    "a longer wheel": (lambda f: f.update({WHEEL: f[WHEEL] + b"x"}), "too large"),
    "a shorter wheel": (lambda f: f.update({WHEEL: f[WHEEL][:-1]}), "damaged or was changed"),
    "a missing wheel": (lambda f: f.pop(WHEEL), "is missing"),
    "no manifest": (lambda f: f.pop("pack.json"), "pack.json is missing"),
    "a manifest that is no JSON": (lambda f: f.update({"pack.json": b"{"}), "pack.json cannot be read"),
    "a manifest that is a list": (lambda f: f.update({"pack.json": b"[]"}), "no pack of MedTL"),
    "a manifest without files": (lambda f: f.update({"pack.json": b'{"format": 1}'}), "expected the entries"),
    "a newer format": (lambda f: f.update({"pack.json": b'{"format": 2, "new": 1}'}), "format 2.*newer MedTL"),
    "a manifest that is too large": (lambda f: f.update({"pack.json": b" " * 1_000_001}), "too large"),
}


@pytest.mark.parametrize("name", ["pack.zip", "pack"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_pack_that_is_not_as_it_was_made_is_refused(change, name, files, tmp_path):
    alter, words = CHANGES[change]
    alter(files)
    path = write(tmp_path / name, files)
    with pytest.raises(InputError, match=words) as caught:
        unpack(path, tmp_path / "out")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 100, 1000, -1])
def test_a_zip_that_was_cut_off_is_refused(size, files, tmp_path):
    path = write(tmp_path / "pack.zip", files)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"Expected a whole pack.*Copy it again"):
        read_pack(path)


@pytest.mark.parametrize(
    "unsafe", ["../evil.whl", "wheels/../../evil.whl", "/evil.whl", "wheels/a/evil.whl", "wheels\\evil.whl", "evil.py"]
)
@pytest.mark.parametrize("name", ["pack.zip", "pack"])
def test_a_pack_that_lists_an_unsafe_path_is_refused(unsafe, name, files, tmp_path):
    listed = manifest({unsafe: b"evil"})
    path = write(tmp_path / "in" / name if name == "pack" else tmp_path / name, {**files, "pack.json": listed})
    with pytest.raises(InputError, match=r"no part of a pack.*Do not trust it"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("unsafe", ["../evil.whl", "/evil.whl", "C:evil.whl", "..\\evil.whl"])
def test_a_zip_that_holds_an_unsafe_path_is_refused(unsafe, files, tmp_path):
    path = write(tmp_path / "pack.zip", {**files, unsafe: b"evil"})
    with pytest.raises(InputError, match="leads out of it"):
        unpack(path, tmp_path / "out")
    assert not list(tmp_path.rglob("*evil*"))


def test_a_link_in_a_folder_is_not_followed(files, tmp_path):
    path = write(tmp_path / "pack", files)
    shutil.move(path / WHEEL, tmp_path / "elsewhere.whl")
    (path / WHEEL).symlink_to(tmp_path / "elsewhere.whl")
    with pytest.raises(InputError, match="a link"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("name", ["nothing.zip", "text.zip", "model.zip", "empty"])
def test_what_is_no_pack_is_refused(name, tmp_path):
    (tmp_path / "text.zip").write_text("hello")
    write(tmp_path / "model.zip", {"configs/metadata.json": b"{}"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        read_pack(tmp_path / name)


@pytest.mark.parametrize(
    ("entries", "system", "words"),
    [
        (
            {"platform": "windows"},
            ("linux", "x86_64"),
            "--platform linux .*, found one for --platform windows",
        ),
        ({"platform": "macos-arm64"}, ("darwin", "x86_64"), "--platform macos-x86_64"),
        ({"platform": "linux"}, ("linux", "aarch64"), "aarch64, which cannot be made"),
        ({"platform": "linux", "python": "2.7"}, ("linux", "x86_64"), "--python 2.7"),
    ],
)
def test_a_pack_for_another_computer_or_python_is_refused(entries, system, words, files, tmp_path):
    path = write(tmp_path / "pack.zip", {**files, "pack.json": manifest({}, **entries)})
    with pytest.raises(InputError, match=words):
        check_fits(read_pack(path), path, *system)


@pytest.mark.parametrize(
    ("system", "key"),
    [
        (("linux", "x86_64"), "linux"),
        (("win32", "AMD64"), "windows"),
        (("darwin", "x86_64"), "macos-x86_64"),
        (("darwin", "arm64"), "macos-arm64"),
        (("linux", "aarch64"), None),
        (("freebsd14", "amd64"), None),
    ],
)
def test_the_kind_of_a_computer(system, key):
    assert this_platform(*system) == key


def test_without_room_nothing_is_unpacked(files, tmp_path, monkeypatch):
    path = write(tmp_path / "pack.zip", files)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 0))  # type: ignore
    with pytest.raises(InputError, match=r"free to unpack .*Make room"):
        unpack(path, tmp_path / "out")


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_byte_that_differs_never_gives_another_file(data, files, tmp_path):
    """What is unpacked is what was packed, or an InputError says why not."""
    path, out = write(tmp_path / "pack.zip", files), tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        unpack(path, out)
    except InputError:
        return
    for name in out.rglob("*.whl"):
        assert name.read_bytes() == files[f"wheels/{name.name}"]


def test_reading_a_pack_needs_the_standard_library_alone(tmp_path):
    """Slicer's Python unpacks a pack before it has any package."""
    code = "import sys; sys.modules.update(dict.fromkeys(['numpy', 'SimpleITK', 'packaging', 'platformdirs']))\n"
    code += "import medtl.pack"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
