"""Whether files are still what they were: by size and time, and where these differ by their content."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ..io.files import data_files
from .case import FileState

CHUNK = 1 << 20


def state_of(paths: Iterable[Path]) -> FileState | None:
    """What the files (a header with its data, all files of a folder) are like now; None where one is missing or cannot
    be read."""
    try:
        files = [file for path in paths for file in data_files(path)]
        size, mtime_ns = _stat(files)
        digest = hashlib.sha256()
        for file in files:
            with file.open("rb") as stream:
                while block := stream.read(CHUNK):
                    digest.update(block)
    except OSError:
        return None
    return FileState(size, mtime_ns, digest.hexdigest()) if files else None


def state_since(paths: Iterable[Path], known: FileState | None) -> FileState | None:
    """What the files are like now: `known` itself where size and time are the same, without reading them."""
    paths = tuple(paths)
    if known is not None:
        try:
            if _stat([file for path in paths for file in data_files(path)]) == (known.size, known.mtime_ns):
                return known
        except OSError:
            return None
    return state_of(paths)


def is_touched(paths: Iterable[Path], known: FileState | None) -> bool:
    """True where files that were known have another size or time now, or are gone. Nothing is read, so it is quick;
    their content may be the same: see `is_changed`."""
    if known is None:
        return False
    paths, then = tuple(paths), (known.size, known.mtime_ns)
    try:
        if _stat(paths) == then:  # of single files, most of all: a header need not be read for the names of its data
            return False
        return _stat([file for path in paths for file in data_files(path)]) != then
    except OSError:
        return True


def is_changed(now: FileState | None, known: FileState | None) -> bool:
    """True where files that were known have other content now, or are gone."""
    return known is not None and (now is None or now.sha256 != known.sha256)


def _stat(files: Iterable[Path]) -> tuple[int, int]:
    """Bytes in all, and the time of the last change."""
    stats = [file.stat() for file in files]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)
