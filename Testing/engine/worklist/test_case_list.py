"""The list file: made, read by other programs, changed, locked, damaged."""

import errno
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from medtl.errors import InputError
from medtl.worklist import case_list, lock
from medtl.worklist.case import STATES, FileState, ListedCase
from medtl.worklist.case_list import NAME, VERSION, list_in, make_list, open_list, read_list
from medtl.worklist.disk import state_of
from medtl.worklist.find import Found, find_cases

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for name in ("a.nrrd", "sub folder/b é.nii.gz"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


@pytest.fixture
def made(images: Path) -> Path:
    return make_list(images, find_cases(images), "beside", images)


def with_other_holder(path: Path, **facts: object) -> lock.Holder:
    """Another process has the list open."""
    holder = lock.Holder("Erika", "station-2", "othermachine", 17, "2026-01-02T03:04:05Z")
    holder = replace(holder, **facts)
    database = sqlite3.connect(path)
    database.execute("DELETE FROM holder")
    values = (holder.user, holder.computer, holder.machine, holder.process, holder.since)
    database.execute("INSERT INTO holder VALUES (?, ?, ?, ?, ?)", values)
    database.commit()
    database.close()
    return holder


# Made and read


def test_a_new_list_has_the_cases_in_order_and_where_their_results_go(made, images):
    listed = read_list(images)
    assert made == images / NAME
    assert list(listed.cases) == ["a", "b é"]
    assert listed.cases["b é"].images == (images / "sub folder/b é.nii.gz",)
    assert listed.result(listed.cases["b é"]) == images / "sub folder/b é.seg.nrrd"
    assert (listed.places, listed.source, listed.current, listed.holder) == ("beside", images, "", None)


def test_any_program_that_knows_sqlite_reads_it(made):
    database = sqlite3.connect(made)
    rows = database.execute("SELECT name, image, state FROM cases ORDER BY position").fetchall()
    assert rows == [("a", "a.nrrd", "open"), ("b é", "sub folder/b é.nii.gz", "open")]
    assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
    database.close()


def test_a_list_moves_with_its_images(made, images, tmp_path):
    images.rename(tmp_path / "elsewhere")
    listed = read_list(tmp_path / "elsewhere")
    assert all(image.is_file() for case in listed.cases.values() for image in case.images)


def test_a_result_that_is_there_already_counts_as_segmented(images):
    (images / "a.seg.nrrd").write_bytes(b"x")
    make_list(images, find_cases(images), "beside", images)
    assert [case.state for case in read_list(images).cases.values()] == ["segmented", "open"]


def test_the_channels_and_the_series_of_a_case_are_kept(tmp_path):
    found = Found((tmp_path / "t2.nrrd", tmp_path / "flair, 2.nrrd"), "c", "1.2.3")
    make_list(tmp_path / "results", [found], "folder")
    (case,) = read_list(tmp_path / "results").cases.values()
    assert (case.images, case.series) == (found.images, "1.2.3")


def test_a_list_is_never_overwritten(made, images):
    before = made.read_bytes()
    with pytest.raises(InputError, match="Open that list"):
        make_list(images, find_cases(images), "folder", images)
    assert made.read_bytes() == before


def test_two_cases_with_one_result_are_refused(tmp_path):
    found = [Found((tmp_path / part / "sub-1_T1w.nii.gz",), part) for part in ("raw", "source")]
    with pytest.raises(InputError, match="file of its own"):
        make_list(tmp_path, found, "bids")
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_would_replace_an_image_is_refused(tmp_path):
    with pytest.raises(InputError, match="file of its own"):
        make_list(tmp_path, [Found((tmp_path / "a.seg.nrrd",), "a")], "beside")


@pytest.mark.parametrize("name", ["../up", "a/b", "a\\b", "", ".hidden", "line\nbreak", "C:x"])
def test_a_name_that_no_file_can_have_is_refused(name, tmp_path):
    with pytest.raises(InputError, match="a file can have"):
        make_list(tmp_path, [Found((tmp_path / "a.nrrd",), name)], "folder")


def test_a_folder_that_cannot_be_made_is_an_error(images):
    with pytest.raises(InputError, match="Could not make the folder"):
        make_list(images / "a.nrrd" / "results", find_cases(images), "folder")


def test_a_folder_that_cannot_be_written_is_an_error_and_nothing_is_left(images, monkeypatch):
    def refuse(*arguments, **keywords):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(InputError, match=r"Read-only file system\. Choose a folder"):
        make_list(images, find_cases(images), "beside")
    assert list_in(images) is None


def test_a_place_for_the_results_that_cannot_be_written_is_refused_at_once(images, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != images / "sub folder")
    with pytest.raises(InputError, match=r"sub folder is read-only\. Choose another place"):
        make_list(tmp_path / "list", find_cases(images), "beside", images)
    assert not (tmp_path / "list").exists()
    make_list(tmp_path / "list", find_cases(images), "folder", images)


def test_a_name_that_is_not_unicode_is_an_error(tmp_path):
    image = Path(os.fsdecode(bytes(tmp_path) + b"/\xff.nrrd"))
    with pytest.raises(InputError, match="Unicode"):
        make_list(tmp_path, [Found((image,), "a")], "folder")


# Changed


def test_what_the_user_says_about_a_case_is_there_the_next_time(made):
    listed = open_list(made)
    case = replace(
        listed.cases["a"],
        state="reviewed",
        rating=4,
        note="blurred; é",
        user="Erika",
        time="2026-01-02T03:04:05Z",
        seconds=61.5,
        model="glioma-flair",
        seeds=3,
        image_file=FileState(1, 1_700_000_000_123_456_789, "ab"),
        result_file=FileState(2, 3, "cd"),
    )
    listed.change(case)
    listed.go_to("b é")
    listed.close()
    again = read_list(made)
    assert again.cases["a"] == case
    assert again.cases["b é"] == listed.cases["b é"]
    assert again.current == "b é"


@pytest.mark.parametrize("wrong", [{"state": "lost"}, {"rating": 0}, {"rating": 6}])
def test_what_cannot_be_said_is_refused(wrong):
    with pytest.raises(InputError):
        replace(ListedCase("a", ("a.nrrd",)), **wrong)


def test_the_cases_whose_files_are_not_what_they_were_are_named(made, images):
    listed = open_list(made)
    a, b = listed.cases.values()
    assert listed.touched() == ()
    listed.result(b).write_bytes(b"y")
    listed.change(replace(a, image_file=state_of(a.images)))
    listed.change(replace(b, result_file=state_of([listed.result(b)])))
    assert listed.touched() == ()
    os.utime(images / "a.nrrd", ns=(1, 1))
    assert listed.touched() == ("a",)
    listed.result(b).unlink()
    assert listed.touched() == ("a", "b é")
    listed.close()


def test_cases_that_came_later_are_added_at_the_end(made, images):
    listed = open_list(made)
    listed.add([Found((images / "0.nrrd",), "0")])
    with pytest.raises(InputError, match="file of its own"):
        listed.add([Found((images / "1.nrrd",), "a")])
    listed.close()
    assert list(read_list(made).cases) == ["a", "b é", "0"]


def test_a_list_that_was_only_read_cannot_be_changed(made):
    listed = read_list(made)
    with pytest.raises(InputError, match="closed"):
        listed.go_to("a")
    listed = open_list(made)
    listed.close()
    with pytest.raises(InputError, match="closed"):
        listed.change(listed.cases["a"])


def test_a_change_that_the_disk_does_not_take_leaves_the_list_as_it_was(made):
    listed = open_list(made)
    before = read_list(made).cases
    database = sqlite3.connect(made)
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.close()
    original = sqlite3.connect

    def full(*arguments, **keywords):
        connection = original(*arguments, **keywords)
        connection.execute(f"PRAGMA max_page_count = {pages}")  # as a disk without room for one page more
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", full)
        with pytest.raises(InputError, match=r"full.*Check its rights and the space"):
            listed.change(replace(listed.cases["a"], note="x" * 100_000))
    assert listed.cases == before == read_list(made).cases
    listed.change(replace(listed.cases["a"], note="short"))
    assert read_list(made).cases["a"].note == "short"
    listed.close()


def test_a_list_that_was_deleted_meanwhile_is_not_made_again_by_a_change(made):
    listed = open_list(made)
    made.unlink()
    with pytest.raises(InputError, match="deleted or moved"):
        listed.go_to("a")
    listed.close()
    assert not made.exists()


# Locked


def test_opened_twice_it_is_locked_and_says_who_where_and_since_when(made):
    with_other_holder(made)
    with pytest.raises(InputError, match="Erika on station-2 since 2026-01-02 03:04:05 UTC") as caught:
        open_list(made)
    assert caught.value.option == "take_over"
    assert read_list(made).holder.user == "Erika"  # looking is allowed


def test_opened_twice_in_one_process_it_is_locked_too(made):
    first = open_list(made)
    with pytest.raises(InputError, match="in use"):
        open_list(made)
    first.close()
    open_list(made).close()


def test_the_lock_of_a_process_of_this_computer_that_has_ended_is_taken_over(made):
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    with_other_holder(made, machine=lock.machine_tag(), process=int(done.stdout))
    listed = open_list(made)
    assert listed.holder.process == os.getpid()
    listed.close()


def test_the_lock_of_a_living_process_of_this_computer_is_not(made):
    with_other_holder(made, machine=lock.machine_tag(), process=os.getppid())
    with pytest.raises(InputError, match="in use"):
        open_list(made)


def test_a_process_that_was_killed_with_the_list_open_locks_nobody_out(made):
    code = "import os, sys; from medtl.worklist.case_list import open_list; from pathlib import Path\n"
    code += "listed = open_list(Path(sys.argv[1])); listed.go_to('a'); os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", code, str(made)], cwd=ROOT, check=False)
    assert killed.returncode == -9
    assert read_list(made).holder is not None
    listed = open_list(made)
    assert listed.current == "a"
    listed.close()


def test_a_lock_can_be_taken_over_and_the_other_one_notices(made):
    first = open_list(made)
    with_other_holder(made)
    with pytest.raises(InputError, match="taken over by Erika on station-2"):
        first.go_to("a")
    first.close()
    assert read_list(made).holder.user == "Erika"
    second = open_list(made, take_over=True)
    second.go_to("a")
    second.close()
    assert read_list(made).holder is None


def test_two_processes_never_both_open_a_list(made):
    code = "import sys; from medtl.worklist.case_list import open_list; from pathlib import Path\n"
    code += "open_list(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(made)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    loser = [process for process in processes if "open" not in process.stdout.readline()]
    answers = [process.communicate()[1] for process in processes]
    assert len(loser) == 2
    assert sum("is in use" in answer for answer in answers) == 2


# Not a list


def test_a_list_of_a_newer_version_is_refused_and_not_touched(made):
    database = sqlite3.connect(made)
    database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()
    before = made.read_bytes()
    for use in (read_list, open_list):
        with pytest.raises(InputError, match=f"version {VERSION}, found version {VERSION + 1}.*update MedTL"):
            use(made)
    assert made.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("UPDATE cases SET state = 'odd'", id="state"),
        pytest.param("UPDATE cases SET rating = 9", id="rating"),
        pytest.param("UPDATE cases SET rating = 'a'", id="rating of letters"),
        pytest.param("UPDATE cases SET name = '../x' WHERE position = 1", id="name"),
        pytest.param("UPDATE cases SET image = x'00' WHERE position = 1", id="bytes for a path"),
        pytest.param("UPDATE cases SET channels = '{' WHERE position = 1", id="channels"),
        pytest.param("UPDATE cases SET seconds = 'long'", id="seconds"),
        pytest.param("UPDATE facts SET value = 'moon' WHERE name = 'places'", id="places"),
        pytest.param("DELETE FROM facts", id="no facts"),
        pytest.param("DROP TABLE cases", id="no cases"),
        pytest.param("PRAGMA application_id = 7", id="another program's"),
    ],
)
def test_a_damaged_list_is_one_error(damage, made):
    database = sqlite3.connect(made)
    database.execute(damage)
    database.commit()
    database.close()
    for use in (read_list, open_list):
        with pytest.raises(InputError):
            use(made)


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0" + bytes(200)])
def test_a_file_that_is_no_database_is_one_error(content, tmp_path):
    path = tmp_path / NAME
    path.write_bytes(content)
    with pytest.raises(InputError, match="case list"):
        read_list(path)


def test_a_cut_list_is_one_error(made):
    made.write_bytes(made.read_bytes()[:3000])
    with pytest.raises(InputError, match="case list"):
        read_list(made)


def test_what_is_no_list_is_none(tmp_path):
    (tmp_path / "cases.csv").write_text("image\n")
    assert list_in(tmp_path) is None
    assert list_in(tmp_path / "cases.csv") is None
    assert list_in(tmp_path / "nothing") is None
    with pytest.raises(InputError, match="Make one first"):
        open_list(tmp_path)


def test_every_state_can_be_stored(made):
    listed = open_list(made)
    for state in STATES:
        listed.change(replace(listed.cases["a"], state=state))
        assert case_list.read_list(made).cases["a"].state == state
    listed.close()
