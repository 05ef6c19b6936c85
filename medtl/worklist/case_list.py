"""The list file: one SQLite file in the folder of the results, readable without MedTL.

Table `cases` has a row a case, `facts` what holds for the whole list, `holder` the process that works on it. Paths are
relative to the list's folder, so that it may move with its images. Each change is one short transaction, with a
rollback journal and not a write-ahead log, which network drives do not support.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..io.limits import check_regular
from ..io.write import write_whole
from .case import PLACES, SEGMENTED, FileState, ListedCase
from .disk import is_touched
from .find import Found
from .lock import Holder, this_process
from .places import result_of

NAME = "medtl-cases.sqlite"
VERSION = 1  # `user_version` of the file
APPLICATION = 0x4D65444C  # `application_id` of the file
WAIT_SECONDS = 5.0  # for another program's transaction
COLUMNS = (
    *("name", "image", "channels", "series", "state", "rating", "note", "user", "time", "seconds", "model", "seeds"),
    *("image_size", "image_mtime_ns", "image_sha256", "result_size", "result_mtime_ns", "result_sha256"),
)
SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE holder (user TEXT NOT NULL, computer TEXT NOT NULL, machine TEXT NOT NULL, process INTEGER NOT NULL,
                     since TEXT NOT NULL);
CREATE TABLE cases (
    position INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, image TEXT NOT NULL, channels TEXT NOT NULL,
    series TEXT NOT NULL,
    state TEXT NOT NULL, rating INTEGER, note TEXT NOT NULL, user TEXT NOT NULL, time TEXT NOT NULL,
    seconds REAL NOT NULL, model TEXT NOT NULL, seeds INTEGER NOT NULL,
    image_size INTEGER, image_mtime_ns INTEGER, image_sha256 TEXT,
    result_size INTEGER, result_mtime_ns INTEGER, result_sha256 TEXT);
"""
_held: set[Path] = set()  # the lists that this process has open


def list_in(path: Path) -> Path | None:
    """The list file that a path names: itself, or the one in a folder; None where there is none."""
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        return None
    with suppress(OSError), file.open("rb") as stream:
        return file if stream.read(16) == b"SQLite format 3\0" or file.name == NAME else None
    return file if file.name == NAME else None


def make_list(folder: Path, found: Sequence[Found], places: str, source: Path | None = None) -> Path:
    """The file of a new list of these cases, in this folder, which is made where it is missing. A case whose result is
    there already counts as segmented. `source` is the folder in which the images were found.

    Raises: InputError when there is a list already, two cases have one result, a result is an image of the list, or the
    folder cannot be written.
    """
    cases = [ListedCase(each.name, tuple(map(str, each.images)), each.series) for each in found]
    results = _check_results(cases, places, folder)
    cases = [replace(c, state=SEGMENTED) if r.is_file() else c for c, r in zip(cases, results, strict=True)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Could not make the folder {folder}: {error.strerror}. Choose another one.") from error
    facts = {"places": places, "source": "" if source is None else _stored(source, folder), "current": ""}
    path = folder / NAME

    def write(part: Path) -> None:
        with _transaction(part) as database:
            for statement in SCHEMA.split(";"):
                database.execute(statement)
            database.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
            _insert(database, cases, folder, 0)

    if path.exists():
        raise InputError(f"Expected a folder without a case list, found {path}. Open that list, or choose another one.")
    write_whole(path, write, replace=False)
    return path


def _check_results(cases: Sequence[ListedCase], places: str, folder: Path) -> list[Path]:
    """The result of each case, all different from each other and from every image, in folders that can be written.

    Raises: InputError else.
    """
    images = {os.path.normcase(image) for case in cases for image in case.images}
    results: dict[str, ListedCase] = {}
    paths = []
    for case in cases:
        result = result_of(case.name, case.images[0], places, folder)
        key = os.path.normcase(result)
        if key in results or key in images:
            other = results[key].images[0] if key in results else result
            raise InputError(
                f"Expected a file of its own for the result of {case.images[0]}, found that {result} is also that of "
                f"{other}. Rename one, or choose another place for the results."
            )
        results[key] = case
        paths.append(result)
    for parent in dict.fromkeys(path.parent for path in paths):
        there = next(each for each in (parent, *parent.absolute().parents) if each.exists())
        if not os.access(there, os.W_OK):
            raise InputError(f"The folder {there} is read-only. Choose another place for the results.")
    return paths


def read_list(path: Path) -> "CaseList":
    """The list at a path (see `list_in`), to look at: it cannot be changed.

    Raises: InputError when there is none, it is damaged, or a newer MedTL wrote it.
    """
    path = _file_of(path)
    with _connected(path) as database:
        return _read(database, path)


def open_list(path: Path, take_over: bool = False) -> "CaseList":
    """The list at a path (see `list_in`), which nobody else can change until it is closed. The lock of a process that
    has ended on this computer is taken over; with `take_over` that of any process.

    Raises: InputError as `read_list` does; when it is locked, who has it open, where and since when, with the option
    "take_over"; when it cannot be written.
    """
    path = _file_of(path)
    with _transaction(path) as database:
        listed = _read(database, path)
        if (other := listed.holder) is not None and not take_over:
            mine = other.is_this_process and path.resolve() not in _held
            if other.may_live and not mine:
                raise InputError(
                    f"The case list {path} is in use: {other.text}. Close it there first.", option="take_over"
                )
        listed.holder, listed.is_mine = this_process(), True
        database.execute("DELETE FROM holder")
        database.execute("INSERT INTO holder VALUES (?, ?, ?, ?, ?)", astuple(listed.holder))
    _held.add(path.resolve())
    return listed


class CaseList:
    """The cases by name, in their order. `places` says where results go, `source` in which folder the images were
    found, `current` which case the user was at; `holder` has the list open, None for nobody.

    A list from `open_list` can be changed; close it.
    """

    def __init__(
        self, path: Path, facts: Mapping[str, str], cases: Sequence[ListedCase], holder: Holder | None
    ) -> None:
        self.path, self.holder, self.is_mine = path, holder, False
        self.places = facts["places"]
        self.source = Path(_restored(facts["source"], f"{self.folder}{os.sep}")) if facts.get("source") else None
        self.current = facts.get("current", "")
        self.cases = {case.name: case for case in cases}

    @property
    def folder(self) -> Path:
        """The folder that the list lies in."""
        return self.path.parent

    def result(self, case: ListedCase) -> Path:
        """The file for the segmentation of the case; it may not be there."""
        return result_of(case.name, case.images[0], self.places, self.folder)

    def touched(self) -> tuple[str, ...]:
        """The names of the cases whose image or result has another size or time than when the case was opened last, or
        is gone: see `disk.is_touched`. Cases that were never opened are not among them."""
        return tuple(
            case.name
            for case in self.cases.values()
            if (case.image_file is not None and is_touched(case.images, case.image_file))
            or (case.result_file is not None and is_touched([self.result(case)], case.result_file))
        )

    def change(self, case: ListedCase) -> None:
        """Store the case in place of the one of its name.

        Raises: InputError when the list was taken over or cannot be written; it is unchanged then.
        """
        values = _row(case, self.folder)
        assignments = ", ".join(f"{column} = ?" for column in COLUMNS)
        with self._changing() as database:
            database.execute(f"UPDATE cases SET {assignments} WHERE name = ?", (*values, case.name))
        self.cases[case.name] = case

    def change_all(self, cases: Sequence[ListedCase]) -> None:
        """Store these cases, all or none. Raises: InputError as `change` does."""
        assignments = ", ".join(f"{column} = ?" for column in COLUMNS)
        with self._changing() as database:
            rows = [(*_row(case, self.folder), case.name) for case in cases]
            database.executemany(f"UPDATE cases SET {assignments} WHERE name = ?", rows)
        self.cases.update((case.name, case) for case in cases)

    def add(self, found: Sequence[Found]) -> None:
        """Add cases at the end. Raises: InputError as `change` and `make_list` do."""
        cases = [ListedCase(each.name, tuple(map(str, each.images)), each.series) for each in found]
        _check_results([*self.cases.values(), *cases], self.places, self.folder)
        with self._changing() as database:
            _insert(database, cases, self.folder, len(self.cases))
        self.cases.update((case.name, case) for case in cases)

    def go_to(self, name: str) -> None:
        """Store that the user is at this case. Raises: InputError as `change` does."""
        with self._changing() as database:
            database.execute("INSERT OR REPLACE INTO facts VALUES ('current', ?)", (name,))
        self.current = name

    def close(self) -> None:
        """Let others change the list. Nothing is raised: what was to be stored is stored."""
        if self.is_mine:
            with suppress(InputError), self._changing() as database:
                database.execute("DELETE FROM holder")
            _held.discard(self.path.resolve())
            self.is_mine = False

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, as long as the list is still ours."""
        if not self.is_mine or self.holder is None:
            raise InputError(f"Expected the case list {self.path} open for work, found it closed. Open it again.")
        if not self.path.is_file():
            raise InputError(f"Expected the case list {self.path}, found it deleted or moved. Open it where it is now.")
        with _transaction(self.path) as database:
            row = database.execute("SELECT user, computer, machine, process, since FROM holder").fetchone()
            if row is None or Holder(*row) != self.holder:
                other = "somebody" if row is None else Holder(*row).text
                raise InputError(f"The case list {self.path} was taken over by {other}. Open it again when it is free.")
            yield database


# --- the file ---


def _file_of(path: Path) -> Path:
    file = list_in(path)
    if file is None:
        raise InputError(f"Expected a case list ({NAME}), found none at {path}. Make one first.")
    return file


def _read(database: sqlite3.Connection, path: Path) -> CaseList:
    if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise InputError(f"Expected a case list of MedTL, found another database: {path}. Choose another file.")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise InputError(
            f"Expected a case list of version {VERSION}, found version {version}: {path}. A newer MedTL wrote it; "
            "update MedTL."
        )
    try:
        facts = dict(database.execute("SELECT name, value FROM facts"))
        row = database.execute("SELECT user, computer, machine, process, since FROM holder").fetchone()
        if facts["places"] not in PLACES:
            raise ValueError(f"results in the place {facts['places']!r}")
        folder = f"{path.parent}{os.sep}"
        rows = database.execute(f"SELECT {', '.join(COLUMNS)} FROM cases ORDER BY position")
        return CaseList(path, facts, [_case(each, folder) for each in rows], None if row is None else Holder(*row))
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"Expected a whole case list, found a damaged one: {path} ({error}). Restore it.") from error


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """The database; what SQLite raises becomes an InputError."""
    try:
        if path.exists():
            check_regular(path)
        with closing(sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            yield database
    except (OSError, sqlite3.Error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        advice = "Check its rights and the space there, and whether it is a case list."
        if "locked" in reason:
            advice = "Another program has it open just now: try again."
        raise InputError(f"Could not use the case list {path}: {reason}. {advice}") from error


@contextmanager
def _transaction(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction that is written as a whole, or not at all where the work inside raises."""
    with _connected(path) as database:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has rolled it back already
                database.execute("ROLLBACK")
            raise


def _insert(database: sqlite3.Connection, cases: Sequence[ListedCase], folder: Path, start: int) -> None:
    marks = ", ".join("?" for _ in range(len(COLUMNS) + 1))
    rows = [(start + number, *_row(case, folder)) for number, case in enumerate(cases, start=1)]
    database.executemany(f"INSERT INTO cases (position, {', '.join(COLUMNS)}) VALUES ({marks})", rows)


def _row(case: ListedCase, folder: Path) -> tuple[Any, ...]:
    first, *others = (_stored(file, folder) for file in case.files)
    own = (case.state, case.rating, case.note, case.user, case.time, case.seconds, case.model, case.seeds)
    files = [(None, None, None) if state is None else astuple(state) for state in (case.image_file, case.result_file)]
    return case.name, first, json.dumps(others) if others else "", case.series, *own, *files[0], *files[1]


def _case(row: tuple[Any, ...], folder: str) -> ListedCase:
    name, image, others, series, state, rating, note, user, time, seconds, model, seeds, *known = row
    files = tuple(_restored(each, folder) for each in (image, *(json.loads(others) if others else ())))
    image_file, result_file = (None if part[0] is None else FileState(*part) for part in (known[:3], known[3:]))
    return ListedCase(
        name, files, series, state, rating, note, user, time, float(seconds), model, int(seeds), image_file, result_file
    )


def _restored(text: str, folder: str) -> str:
    absolute = text.startswith("/") or text[1:2] == ":"  # as `_stored` leaves those on another drive
    return os.path.normpath(text if absolute else folder + text)


def _stored(path: str | Path, folder: Path) -> str:
    """The path relative to the list's folder; as it is where they are on different drives.

    Raises: InputError for a name that is not Unicode.
    """
    try:
        text = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        text = Path(path).absolute().as_posix()
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"Expected a name of letters that Unicode has, found {text!r}. Rename it.") from error
    return text
