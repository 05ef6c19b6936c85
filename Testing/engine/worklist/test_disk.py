"""Whether a file changed: by size, time and content."""

import os

import pytest

from medtl.worklist import disk
from medtl.worklist.disk import is_changed, is_touched, state_of, state_since


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"content")
    return path


def test_the_same_size_and_time_are_not_read_again(file, monkeypatch):
    known = state_of([file])
    monkeypatch.setattr(disk, "state_of", lambda paths: pytest.fail("it was read"))
    assert state_since([file], known) is known


def test_another_time_alone_is_no_change(file):
    known = state_of([file])
    os.utime(file, (1, 1))
    now = state_since([file], known)
    assert now.mtime_ns == 1_000_000_000
    assert not is_changed(now, known)


def test_other_content_of_the_same_size_is_a_change(file):
    known = state_of([file])
    file.write_bytes(b"CONTENT")
    os.utime(file, ns=(known.mtime_ns + 1, known.mtime_ns + 1))
    assert is_changed(state_since([file], known), known)


def test_a_file_that_is_gone_is_a_change(file):
    known = state_of([file])
    file.unlink()
    assert state_since([file], known) is None
    assert is_changed(None, known)


def test_nothing_known_is_no_change(file):
    assert not is_changed(state_since([file], None), None)


def test_a_folder_counts_with_all_its_files(tmp_path):
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / name).write_bytes(b"x")
    known = state_of([tmp_path])
    assert known.size == 2
    (tmp_path / "3.dcm").write_bytes(b"x")
    assert is_changed(state_since([tmp_path], known), known)


def test_the_detached_data_of_a_header_count(tmp_path):
    header = tmp_path / "a.nhdr"
    header.write_text(
        "NRRD0004\ntype: uchar\ndimension: 1\nsizes: 3\nencoding: raw\ndata file: a.raw\n", encoding="ascii"
    )
    (tmp_path / "a.raw").write_bytes(b"abc")
    known = state_of([header])
    (tmp_path / "a.raw").write_bytes(b"xyz")
    os.utime(tmp_path / "a.raw", (1e9, 2e9))
    assert is_changed(state_since([header], known), known)


def test_by_size_and_time_alone_nothing_is_hashed(file, monkeypatch):
    known = state_of([file])
    monkeypatch.setattr(disk.hashlib, "sha256", lambda: pytest.fail("it was read"))
    assert not is_touched([file], known)
    assert not is_touched([file], None)
    os.utime(file, (1, 1))
    assert is_touched([file], known)
    os.utime(file, ns=(known.mtime_ns, known.mtime_ns))
    assert not is_touched([file], known)
    file.write_bytes(b"longer content")
    os.utime(file, ns=(known.mtime_ns, known.mtime_ns))
    assert is_touched([file], known)
    file.unlink()
    assert is_touched([file], known)
