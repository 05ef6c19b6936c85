"""Unfinished output: temporary folders beside it, the move into place, and the leftovers of dead runs.

The name of everything that a run may leave behind has an owner tag, `<machine>-<process id>`. So a later run recognises
the leftovers of a dead run and keeps files of running processes and of other machines on a shared disk.
"""

import functools
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError

PREFIX = ".medtl-"
TEMPORARY = "MedTL-"  # of Slicer's folders in the system's temporary one

_open: set[Path] = set()  # the temporary folders of this process


@contextmanager
def temporary_folder(parent: Path, prefix: str = PREFIX) -> Iterator[Path]:
    """A new folder in `parent`, deleted at the end; leftovers of dead runs with the same prefix are deleted first.

    Raises: OSError when it cannot be made.
    """
    sweep(parent, prefix)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f"{prefix}{owner_tag()}-"))
    _open.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _open.discard(folder)


def remove_temporary_folders() -> None:
    """Delete the temporary folders that are open, when the process ends without unwinding."""
    for folder in tuple(_open):
        shutil.rmtree(folder, ignore_errors=True)


def owner_tag() -> str:
    """The part of a file name that states the process that made it: machine and process id."""
    return f"{machine_tag()}-{os.getpid()}"


def sweep(parent: Path, prefix: str = PREFIX) -> None:
    """Delete the files and folders in `parent` named `<prefix><owner tag>-…` whose process has ended.

    Those of living processes, of other machines and of other containers stay.
    """
    name = re.compile(re.escape(f"{prefix}{machine_tag()}-") + r"(\d{1,10})-.*", re.DOTALL)
    with suppress(OSError):  # no such folder, or it cannot be listed: writing into it gives the reason
        for entry in parent.iterdir():
            owner = name.fullmatch(entry.name)
            if owner is None or is_running(int(owner[1])):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                with suppress(OSError):
                    entry.unlink()


@functools.cache
def machine_tag() -> str:
    """Eight letters that identify this machine and, in a container, its process ids."""
    node = uuid.getnode()
    address = "" if node >> 40 & 1 else str(node)  # this bit marks a random number in place of a network address
    try:
        processes = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        processes = ""
    return hashlib.sha256(f"{platform.node()}|{address}|{processes}".encode()).hexdigest()[:8]


def is_running(process_id: int) -> bool:
    """True where a process of this number exists on this machine, whoever runs it."""
    if sys.platform == "win32":
        import ctypes

        still_active, access_denied, query_limited_information = 259, 5, 0x1000
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = kernel.OpenProcess(query_limited_information, False, process_id)
        if not handle:
            return ctypes.get_last_error() == access_denied
        code = ctypes.c_ulong(still_active)
        kernel.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))
        kernel.CloseHandle(ctypes.c_void_p(handle))
        return code.value == still_active
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no number of a process
        return True
    return True


def move_into_place(part: Path, target: Path, replace: bool) -> None:
    """Rename a finished file or folder to `target`, on the same disk.

    Without `replace` nothing is overwritten, not even what appears at this very moment. Folders are never replaced.

    Raises: InputError when something is at `target` and may not be replaced; OSError when renaming fails.
    """
    try:
        if part.is_dir():
            _move_folder(part, target)
        elif replace:
            part.replace(target)
        else:
            _move_file(part, target)
    except FileExistsError as error:
        raise already_exists(target, "The output") from error


def check_parent(path: Path) -> None:
    """Raise InputError when the folder that the output is to lie in does not exist."""
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist. Create it or choose another output.")


def already_exists(path: Path, what: str) -> InputError:
    """The error that an output exists; `what` is the first words of its message."""
    return InputError(f"{what} {path} exists already. Choose another name.", option="force")


def _move_folder(part: Path, target: Path) -> None:
    if os.name == "nt":  # renaming replaces nothing there
        part.rename(target)
        return
    target.mkdir()  # fails where something exists; renaming alone would replace an empty folder
    try:
        part.rename(target)
    except BaseException as error:
        with suppress(OSError):
            target.rmdir()
        if os.path.lexists(target):  # another program has put something into it
            raise FileExistsError(str(target)) from error
        raise


def _move_file(part: Path, target: Path) -> None:
    if os.name == "nt":
        part.rename(target)
        return
    try:
        os.link(part, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):  # a file system without hard links
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # fails where something exists
        try:
            part.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    else:
        part.unlink()
