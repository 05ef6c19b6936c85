"""Files of a bundle folder are read only where they are plain files that lie in it."""

import os
from pathlib import Path

import pytest

from medtl.errors import ModelError
from medtl.model.files import open_file, read_text_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bundle" / "docs").mkdir(parents=True)
    (tmp_path / "bundle" / "LICENSE").write_bytes(b"Terms \xff")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    return tmp_path / "bundle"


def test_a_text_is_read_and_what_is_not_utf8_is_replaced(folder):
    assert read_text_file(folder, "LICENSE") == "Terms \ufffd"


def test_a_link_is_not_followed_wherever_it_lies(folder):
    (folder / "docs" / "README.md").symlink_to(folder.parent / "secret" / "key")
    (folder / "configs").symlink_to(folder.parent / "secret")
    (folder / "gone").symlink_to("nowhere")
    for name in ("docs/README.md", "configs/key", "gone"):
        with pytest.raises(ModelError, match=r"found a link\. Put the file itself there"):
            read_text_file(folder, name)


def test_a_link_that_appears_after_the_look_is_not_followed(folder, monkeypatch):
    (folder / "other").symlink_to(folder.parent / "secret" / "key")
    monkeypatch.setattr(Path, "is_symlink", lambda path: False)
    with pytest.raises(ModelError, match="found none that can be read"):
        read_text_file(folder, "other")


def test_a_folder_that_is_a_link_itself_is_the_users_choice(folder):
    (folder.parent / "link").symlink_to(folder)
    assert read_text_file(folder.parent / "link", "LICENSE").startswith("Terms")


def test_pipes_devices_and_folders_are_refused_at_once(folder):
    os.mkfifo(folder / "pipe")
    for name in ("pipe", "docs"):
        with pytest.raises(ModelError, match="found a folder or a device"):
            read_text_file(folder, name)
    with pytest.raises(ModelError, match="found a folder or a device"):
        read_text_file(Path("/dev"), "zero")


def test_a_file_over_the_limit_is_refused_before_it_is_read(folder):
    with (folder / "big").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ModelError, match=r"at most 1 MB, found 1000000\.0 MB"):
        read_text_file(folder, "big")
    with pytest.raises(ModelError, match="at most 0 MB"):
        open_file(folder, "LICENSE", 3)


@pytest.mark.parametrize("name", ["none", "docs/none", "LICENSE/none", "x" * 5000, "a\0b"])
def test_what_is_not_there_is_said_in_one_line(name, folder):
    with pytest.raises(ModelError, match="found none") as raised:
        read_text_file(folder, name)
    assert "\n" not in str(raised.value)
