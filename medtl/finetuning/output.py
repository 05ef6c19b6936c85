"""The output of a tuning: its folder, claimed from start to end, and the best checkpoint beside it."""

import errno
import itertools
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..errors import InputError, ModelError
from ..io.into_place import move_into_place
from ..model.card import load_card
from ..model.store import names_in

HEADER = "MedTL tuning"  # first line of a claim; the others name the checkpoints that the run made


class TuningOutput:
    """The output folder of a tuning, claimed while the context is entered, and its best checkpoint: a bundle
    NAME.best-N beside the output. A new checkpoint is whole before the old one is removed.

    The claim is the locked file .NAME.tuning. The system unlocks it whenever its process ends. So a later run with the
    same output knows that no process uses the checkpoints that the claim names, and removes them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint: Path | None = None
        self._count = 0
        self._claim: IO[str] | None = None

    def __enter__(self) -> "TuningOutput":
        """Raises: InputError when another run has claimed this output, or the folder cannot be written."""
        path = claim_path(self.folder)
        self._claim = claim(path)
        if self._claim is None:
            raise InputError(
                f"Expected {self.folder} free for this tuning, found another one that writes there. Wait for its end, "
                "or choose another output."
            )
        for checkpoint in checkpoints_in(self._claim, self.folder):
            if is_checkpoint(checkpoint):
                shutil.rmtree(checkpoint, ignore_errors=True)
        self._claim.seek(0)
        self._claim.truncate()
        self._write_line(HEADER)
        remove_dead_claims(self.folder.parent)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._claim is not None and self.checkpoint is None:
            release(self._claim, claim_path(self.folder))
        elif self._claim is not None:  # the claim still names the checkpoint, for the next run
            self._claim.close()
        self._claim = None

    def save(self, write: Callable[[Path], Any]) -> None:
        """Write a checkpoint with `write(folder)`, then remove the one before."""
        self._count += 1
        while os.path.lexists(newer := self.folder.with_name(f"{self.folder.name}.best-{self._count}")):
            self._count += 1
        self._write_line(newer.name)
        write(newer)
        self.drop()
        self.checkpoint = newer

    def drop(self) -> None:
        """Remove the checkpoint of this run."""
        if self.checkpoint is not None:
            shutil.rmtree(self.checkpoint, ignore_errors=True)
            self.checkpoint = None

    def settle(self) -> Path | None:
        """The folder of the checkpoint, which becomes the output unless that exists; None without a checkpoint."""
        kept, self.checkpoint = self.checkpoint, None
        if kept is None or os.path.lexists(self.folder):
            return kept
        with suppress(OSError, InputError):
            move_into_place(kept, self.folder, replace=False)
            return self.folder
        return kept

    def _write_line(self, line: str) -> None:
        if self._claim is not None:
            self._claim.write(f"{line}\n")
            self._claim.flush()


def free_folder(folder: Path) -> Path:
    """The folder, or if it exists the first of NAME-2, NAME-3, … that does not."""
    names = (folder.with_name(f"{folder.name[:58]}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain((folder,), names) if not os.path.lexists(path))


def is_checkpoint(folder: Path) -> bool:
    """True for a folder with the bundle of an unfinished tuning and nothing else."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    try:
        unfinished = load_card(folder).unfinished
    except ModelError:
        return False
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir()}
    return unfinished and files == set(names_in(folder))


def claim_path(folder: Path) -> Path:
    """The file that claims an output folder."""
    return folder.with_name(f".{folder.name}.tuning")


def claim(path: Path, create: bool = True) -> IO[str] | None:
    """The claim, open and locked; None where a running process has it, or where it does not exist and `create` is
    False.

    Raises: InputError when the file cannot be opened or is not ours.
    """
    while True:
        try:
            flags = os.O_RDWR | (os.O_CREAT if create else 0) | getattr(os, "O_NOFOLLOW", 0)
            stream = os.fdopen(os.open(path, flags, 0o644), "r+", encoding="utf-8", errors="replace")
        except FileNotFoundError as error:
            if not create:
                return None
            raise _cannot_write(path, error) from error
        except OSError as error:
            raise _cannot_write(path, error) from error
        if not lock(stream):
            stream.close()
            return None
        facts = os.fstat(stream.fileno())
        with suppress(OSError):
            if os.path.samestat(facts, path.stat()):  # else its owner removed it just now
                if not stat.S_ISREG(facts.st_mode) or (facts.st_size and stream.readline(100).strip() != HEADER):
                    stream.close()
                    raise InputError(f"Expected no file of another program at {path}, found one. Move it away.")
                return stream
        stream.close()


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(
        f"Could not write to the folder {path.parent}: {error.strerror}. Choose a folder that you may write to."
    )


def lock(stream: IO[str]) -> bool:
    """Lock the file for this process; False where another one has it. A file system without locks counts as free."""
    try:
        if sys.platform == "win32":
            import msvcrt

            stream.seek(1 << 20)  # beyond its text, which stays readable
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
            stream.seek(0)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True


def release(stream: IO[str], path: Path) -> None:
    """Remove the claim and unlock it."""
    if sys.platform == "win32":  # an open file cannot be removed there
        stream.close()
    with suppress(OSError):
        path.unlink()
    stream.close()


def checkpoints_in(stream: IO[str], folder: Path) -> list[Path]:
    """The checkpoints of an output folder that its claim names."""
    stream.seek(0)
    pattern = re.escape(folder.name) + r"\.best-[0-9]+"
    return [folder.with_name(name) for name in stream.read(1_000_000).splitlines() if re.fullmatch(pattern, name)]


def remove_dead_claims(folder: Path) -> None:
    """Remove the claims in this folder of runs that died and left no checkpoint."""
    for path in folder.glob(".*.tuning"):
        with suppress(InputError, OSError, ValueError):
            stream = claim(path, create=False)
            if stream is None:
                continue
            output = path.with_name(path.name.removeprefix(".").removesuffix(".tuning"))
            left = [checkpoint for checkpoint in checkpoints_in(stream, output) if os.path.lexists(checkpoint)]
            if left or path.stat().st_size == 0:
                stream.close()
            else:
                release(stream, path)
