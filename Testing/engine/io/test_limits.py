"""Limits on what a file may ask for."""

import os
import sys
import zipfile

import pytest

from medtl.errors import InputError
from medtl.io import limits
from medtl.io.limits import open_zip


def test_a_zip_is_read_as_zipfile_reads_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("big", bytes(limits.LARGEST_TABLE + 1))
    with open_zip(tmp_path / "a.zip") as archive:
        assert archive.read("big") == bytes(limits.LARGEST_TABLE + 1)


def test_a_zip_of_very_many_files_is_refused_before_they_are_listed(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(2000):
            archive.writestr(f"{number}", b"")
    monkeypatch.setattr(limits, "LARGEST_TABLE", 70_000)  # the search for a comment reads 65 KB
    with pytest.raises(zipfile.BadZipFile, match="its list of files takes more than"), open_zip(tmp_path / "a.zip"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_pipe_is_no_zip_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(InputError, match="Expected a regular file"), open_zip(tmp_path / "a.zip"):
        pass
