"""Makes a Python environment that can be the engine of MedTL in Slicer. Needs no package itself."""

import shutil
import subprocess
import venv
from pathlib import Path

from ..errors import InputError
from ..requirements import engine_requirements
from .console import print_messages


def make_environment(folder: Path, torch_index: str = "") -> Path:
    """The Python of a new environment in this folder, with the engine's packages; what pip says is shown.

    PyTorch comes from `torch_index`, by default from pip's own index. Where something fails no folder is left.

    Raises: InputError when the folder is not empty, or pip fails.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"Expected a new folder for the environment, found something at {folder}. Name another one.")
    torch, rest = engine_requirements()[:2], engine_requirements()[2:]  # first and together: they must match
    try:
        venv.create(folder, with_pip=True)
        places = (folder / "bin" / "python", folder / "Scripts" / "python.exe")
        python = next(path.absolute() for path in places if path.is_file())
        install = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
        subprocess.run([*install, *(["--index-url", torch_index] if torch_index else []), *torch], check=True)
        subprocess.run([*install, *torch, *rest], check=True)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(folder, ignore_errors=True)
        text = f"The environment could not be made: exit status {error.returncode}, the reason is above."
        raise InputError(f"{text} Check the network, its proxy and the disk, and try again.") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    print_messages("In Slicer: enter this path in MedTL Segment, Advanced, Engine; or set MEDTL_ENGINE_PYTHON to it.")
    return python
