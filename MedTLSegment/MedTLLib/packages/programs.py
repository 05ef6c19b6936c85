"""What a process of ours needs: program, environment, folder. Programs in the current folder are not run."""

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import qt
import slicer

import medtl
from medtl.io.into_place import TEMPORARY, owner_tag, sweep


def find_program(name: str, first: Iterable[Path] = ()) -> Path | None:
    """The program in these folders, else in a folder of PATH; None where it is in neither.

    `shutil.which` would look into the current folder first on Windows, where a program that came with an image may lie.
    """
    return program_in(name, (*first, *map(Path, os.environ.get("PATH", "").split(os.pathsep))))


def program_in(name: str, folders: Iterable[Path], windows: bool = os.name == "nt") -> Path | None:
    """The first file in these folders that is the program and can be run; folders that are not absolute are skipped."""
    files = (folder / (f"{name}.exe" if windows else name) for folder in folders if folder.is_absolute())
    return next((file for file in files if file.is_file() and os.access(file, os.X_OK)), None)


def find_launcher() -> Path | None:
    """PythonSlicer: beside Slicer's own program, else in a folder of PATH; None where it is in neither."""
    return find_program("PythonSlicer", (Path(sys.executable).parent, Path(str(slicer.app.slicerHome)) / "bin"))


def engine_folder() -> Path:
    """The folder of the package medtl."""
    return Path(medtl.__file__).resolve().parents[1]


def engine_environment(environment: Any = None) -> Any:
    """The environment of a process that imports medtl, a QProcessEnvironment; by default from Slicer's own."""
    environment = qt.QProcessEnvironment.systemEnvironment() if environment is None else environment
    environment.insert("PYTHONPATH", str(engine_folder()))
    return environment


def new_folder() -> Path:
    """A new temporary folder; those that a crashed Slicer left, with images of patients, are removed."""
    sweep(Path(tempfile.gettempdir()), TEMPORARY)
    return Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{owner_tag()}-"))
