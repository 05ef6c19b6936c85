"""The reading process of `medtl.io.isolated` with a reader that fails as the name of a file says."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

from medtl.io import isolated, read
from medtl.volume import Labelmap, Volume

COMMAND = (sys.executable, "-P", __file__)


def fail(path: Path) -> None:
    """Fail where the name of the file is that of a failure."""
    name = path.name.partition(".")[0]
    if name == "crash":
        ctypes.string_at(0)
    if name == "exit":
        os.write(1, b"a library says farewell\n")
        os._exit(3)
    if name == "killed":
        os.kill(os.getpid(), 9)
    if name == "hang":  # as C code does, it holds Python's lock
        library = ctypes.PyDLL(None if os.name == "posix" else "msvcrt")
        library.sleep(60) if os.name == "posix" else library._sleep(60_000)
    if name == "bug":
        raise ZeroDivisionError("one\nbug")


class FailingReader:
    """Reads as `medtl.io.read` does, but for some names."""

    def read_volume(self, path: Path, **options: Any) -> Volume:
        """The volume, where the name is not one of a failure."""
        fail(path)
        return read.read_volume(path, **options)

    def read_labelmap(self, path: Path) -> Labelmap:
        """The labelmap, where the name is not one of a failure."""
        fail(path)
        return read.read_labelmap(path)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    isolated.serve(Path(sys.argv[1]), FailingReader(), sys.stdin.buffer, answers)
