"""Programs on this computer, found without looking into the current folder. No Qt."""

import os
from collections.abc import Iterable
from pathlib import Path


def find_program(name: str, first: Iterable[Path] = ()) -> Path | None:
    """The program in these folders, else in a folder of PATH; None where it is in neither.

    `shutil.which` would look into the current folder first on Windows, where a program that came with an image may lie.
    """
    return program_in(name, (*first, *map(Path, os.environ.get("PATH", "").split(os.pathsep))))


def program_in(name: str, folders: Iterable[Path], windows: bool = os.name == "nt") -> Path | None:
    """The first file in these folders that is the program and can be run; folders that are not absolute are skipped."""
    files = (folder / (f"{name}.exe" if windows else name) for folder in folders if folder.is_absolute())
    return next((file for file in files if file.is_file() and os.access(file, os.X_OK)), None)
