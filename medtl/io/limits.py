"""Limits on what a file may claim, checked before anything is allocated or read."""

import io
import os
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ..errors import InputError, ModelError

LARGEST_HEADER = 4 << 20  # bytes of a text header
MOST_LINES = 65_536  # lines of a text header, and data files that it names
LARGEST_DATA = 16 << 30  # bytes of voxels of one volume in memory
LARGEST_TABLE = 4_000_000  # bytes of a zip's list of members, some 40,000 of them
# What zipfile raises for a damaged or hostile file.
BAD_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, ValueError, LookupError, EOFError)


def check_regular(path: Path) -> None:
    """Raise InputError where the path is a pipe, a device or a socket: opening one can block for ever.

    Raises: OSError where nothing is there.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"Expected a regular file, found another kind of file at {path}. Choose a file.")


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip, open for reading. Its list of members, which is read as a whole, is bounded.

    Raises: InputError where the path is a pipe or a device; BadZipFile where it is no zip or its list is too long;
    OSError where it cannot be opened.
    """
    check_regular(path)
    with _BoundedReads(path) as stream, zipfile.ZipFile(stream) as archive:
        stream.bounded = False
        yield archive


def members_of(archive: zipfile.ZipFile, source: Path) -> list[zipfile.ZipInfo]:
    """The files of a zip, all checked.

    Raises: ModelError as `check_member` does, or when two have one name.
    """
    members = [member for member in archive.infolist() if not member.is_dir()]
    for member in members:
        check_member(member, source)
    if len({str(PurePosixPath(member.filename)).casefold() for member in members}) < len(members):
        raise ModelError(f"{source} holds two files of one name. Do not trust it.")
    return members


def check_member(member: zipfile.ZipInfo, source: Path) -> None:
    """Raise ModelError when a file of a zip leads out of it, is a link, or is packed in a way whose unpacking
    has no bound."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    link = stat.S_ISLNK(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or ":" in member.filename or link:
        raise ModelError(f"{source} holds {member.filename[:80]!r}, which leads out of it. Do not trust it.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelError(
            f"Expected a zip whose files are stored or deflated, {source} has another compression. Pack it again."
        )


class _BoundedReads(io.FileIO):
    """A file that refuses, while it is `bounded`, to read more than LARGEST_TABLE bytes at once."""

    bounded = True

    def read(self, size: int | None = -1, /) -> bytes:
        if self.bounded:
            wanted = os.fstat(self.fileno()).st_size - self.tell() if size is None or size < 0 else size
            if wanted > LARGEST_TABLE:
                raise zipfile.BadZipFile(f"its list of files takes more than {LARGEST_TABLE // 10**6} MB")
        return super().read(size) or b""


def check_memory(size: int, path: Path) -> None:
    """Raise InputError where `size` bytes, which the file promises, are more than the limit or than free memory."""
    free = free_memory()
    limit = LARGEST_DATA if free is None else min(LARGEST_DATA, free)
    if size > limit:
        raise InputError(
            f"Expected voxels of at most {limit / 1e9:.3g} GB (memory that is free, and never more than "
            f"{LARGEST_DATA / 1e9:.3g} GB), found a header that states {size / 1e9:.3g} GB: {path}. "
            "Check its header, or crop the volume."
        )


def free_memory() -> int | None:
    """Bytes of memory that can be used without swapping, or None where the system does not report it."""
    if sys.platform == "win32":
        return _free_memory_of_windows()
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):  # not Linux: all memory of the computer
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (OSError, ValueError):
            return None


def _free_memory_of_windows() -> int | None:
    if sys.platform != "win32":
        return None
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "all_pages", "free_pages")),
            *((name, ctypes.c_ulonglong) for name in ("all_virtual", "free_virtual", "extended")),
        )

    status = Status(length=ctypes.sizeof(Status))
    return int(status.free) if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None
