"""Unfinished output: nothing is overwritten in the last moment, and what dead runs left is deleted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medtl.errors import InputError
from medtl.io import into_place
from medtl.io.into_place import is_running, move_into_place, owner_tag, sweep, temporary_folder

ROOT = Path(__file__).resolve().parents[3]
WAITS = """
import sys
from pathlib import Path
from medtl.io.into_place import temporary_folder
with temporary_folder(Path(sys.argv[1]), sys.argv[2]) as folder:
    (folder / "half").write_text("half")
    print(folder.name, flush=True)
    sys.stdin.read()
"""


def no_links(monkeypatch):
    def refuse(*arguments, **keywords):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)


def content(path):
    return {f.relative_to(path).as_posix(): f.read_text() for f in sorted(path.rglob("*")) if f.is_file()}


def made(path, text="new"):
    path.write_text(text)
    return path


@pytest.fixture(params=["with hard links", "without hard links"])
def links(request, monkeypatch):
    if request.param == "without hard links":
        no_links(monkeypatch)


@pytest.mark.parametrize("replace", [False, True])
def test_a_file_moves_to_a_free_name(links, replace, tmp_path):
    move_into_place(made(tmp_path / "part"), tmp_path / "target", replace)
    assert content(tmp_path) == {"target": "new"}


def test_a_file_that_appeared_is_replaced_only_where_that_is_allowed(links, tmp_path):
    part, target = made(tmp_path / "part"), made(tmp_path / "target", "theirs")
    with pytest.raises(InputError, match="target exists already") as caught:
        move_into_place(part, target, replace=False)
    assert caught.value.option == "force"
    assert content(tmp_path) == {"part": "new", "target": "theirs"}
    move_into_place(part, target, replace=True)
    assert content(tmp_path) == {"target": "new"}


def test_a_link_that_leads_nowhere_is_in_the_way_too(links, tmp_path):
    (tmp_path / "target").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="exists already"):
        move_into_place(made(tmp_path / "part"), tmp_path / "target", replace=False)
    assert (tmp_path / "target").is_symlink()
    assert not (tmp_path / "nothing").exists()


def test_without_hard_links_a_failing_rename_leaves_no_empty_file(tmp_path, monkeypatch):
    no_links(monkeypatch)
    part = made(tmp_path / "part")

    def refuse(self, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError):
        move_into_place(part, tmp_path / "target", replace=False)
    assert content(tmp_path) == {"part": "new"}


@pytest.mark.parametrize("there", ["empty folder", "full folder", "file", "link"])
@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_never_replaces_anything(there, replace, tmp_path):
    part, target = tmp_path / "part", tmp_path / "target"
    part.mkdir()
    made(part / "weights")
    if there == "file":
        made(target, "theirs")
    elif there == "link":
        target.symlink_to(tmp_path / "nothing")
    else:
        target.mkdir()
        if there == "full folder":
            made(target / "weights", "theirs")
    before = content(tmp_path)
    with pytest.raises(InputError, match="exists already"):
        move_into_place(part, target, replace)
    assert content(tmp_path) == before
    assert os.path.lexists(target)


def test_a_folder_moves_to_a_free_name(tmp_path):
    (tmp_path / "part").mkdir()
    made(tmp_path / "part" / "weights")
    move_into_place(tmp_path / "part", tmp_path / "target", replace=False)
    assert content(tmp_path) == {"target/weights": "new"}


def test_what_somebody_puts_into_the_reserved_folder_is_not_lost(tmp_path, monkeypatch):
    part, target = tmp_path / "part", tmp_path / "target"
    part.mkdir()
    made(part / "weights")
    rename = Path.rename

    def late(self, to):
        made(to / "theirs", "theirs")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(InputError, match="exists already"):
        move_into_place(part, target, replace=False)
    assert content(tmp_path) == {"part/weights": "new", "target/theirs": "theirs"}


def test_a_temporary_folder_is_gone_afterwards(tmp_path):
    with temporary_folder(tmp_path) as folder:
        made(folder / "half")
        assert folder.name.startswith(f".medtl-{owner_tag()}-")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), temporary_folder(tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_open_temporary_folders_can_be_deleted_at_once(tmp_path):
    with temporary_folder(tmp_path) as folder:
        made(folder / "half")
        into_place.remove_temporary_folders()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
@pytest.mark.parametrize("prefix", [".medtl-", ".part-"])
def test_the_folder_of_a_killed_run_is_deleted_by_the_next_one_and_that_of_a_living_one_stays(tmp_path, prefix):
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", WAITS, str(tmp_path), prefix],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for _ in range(2)
    ]
    try:
        dead, living = (run.stdout.readline().decode().strip() for run in runs)
        assert sorted(f.name for f in tmp_path.iterdir()) == sorted([dead, living])
        runs[0].send_signal(signal.SIGKILL)
        runs[0].wait(30)
        assert (tmp_path / dead).is_dir()
        with temporary_folder(tmp_path, prefix) as own:
            assert {f.name for f in tmp_path.iterdir()} == {living, own.name}
    finally:
        for run in runs:
            run.kill()
            run.communicate()


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait(30)
    return process.pid


def test_only_what_a_dead_process_of_this_machine_made_is_swept(tmp_path):
    machine, own = owner_tag().split("-")
    dead = ended_process()
    stays = [
        f".medtl-00000000-{dead}-abc",  # another machine
        f".medtl-{machine}-{own}-abc",  # this process
        f".medtl-{machine}-{dead}",  # no name of ours
        f".medtl-{machine}-x{dead}-abc",
        f"a.medtl-{machine}-{dead}-abc",
        ".medtl-abc",
    ]
    for name in stays:
        (tmp_path / name).mkdir()
    (tmp_path / f".medtl-{machine}-{dead}-abc").mkdir()
    made(tmp_path / f".medtl-{machine}-{dead}-abc" / "half")
    made(tmp_path / f".medtl-{machine}-{dead}-file")
    sweep(tmp_path)
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted(stays)


def test_a_link_is_swept_and_not_what_it_leads_to(tmp_path):
    machine, _ = owner_tag().split("-")
    precious = tmp_path / "precious"
    precious.mkdir()
    made(precious / "data")
    (tmp_path / f".medtl-{machine}-{ended_process()}-link").symlink_to(precious)
    sweep(tmp_path)
    assert content(tmp_path) == {"precious/data": "new"}


def test_a_process_is_running_until_it_has_ended():
    assert is_running(os.getpid())
    assert not is_running(ended_process())
    assert is_running(10**10)  # no process id: nothing can be said, so nothing is deleted


def test_sweeping_where_there_is_no_folder_is_no_error(tmp_path):
    sweep(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []
