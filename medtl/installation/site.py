"""The folder of packages: one process at a time installs into it, and what a failed repair took out is put back."""

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .pip import Problem


@contextmanager
def alone(site: Path) -> Iterator[None]:
    """Let no other process install into the folder, whichever Slicer started it. Raises: Problem when one does."""
    tag = hashlib.sha256(str(site.resolve()).encode()).hexdigest()[:12]
    with (Path(tempfile.gettempdir()) / f"medtl-install-{tag}.lock").open("a") as file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Problem("busy", "", str(error)) from error
        yield


@contextmanager
def put_back_on_failure(paths: Iterator[Path], site: Path) -> Iterator[None]:
    """Take these files and folders out of the folder of packages for good, unless the work inside fails."""
    moved: list[tuple[Path, Path]] = []
    aside = Path(tempfile.mkdtemp(dir=site, prefix=".medtl-removed-"))  # on the same disk: renaming is quick
    try:
        for path in paths:
            if path.parent == site and path.exists():
                path.rename(aside / path.name)
                moved.append((path, aside / path.name))
        yield
    except BaseException:
        for path, place in moved:
            if path.exists():  # a new one is there
                shutil.rmtree(place, ignore_errors=True)
            else:
                with suppress(OSError):  # what cannot be put back stays aside
                    place.rename(path)
        with suppress(OSError):
            aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)
