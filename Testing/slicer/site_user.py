"""A Python of its own that stands for Slicer's, into whose folder of packages the panel installs."""

import hashlib
import json
import re
import shutil
import venv
from pathlib import Path
from typing import Any

import host

from medtl.errors import MedTLError
from MedTLLib.packages import packages

FAKE_PIP = Path(__file__).with_name("fake_pip.py")
REST = ["monai", "einops", "safetensors", "segmentation-models-pytorch", "timm"]
PATIENCE = 120.0  # seconds until a wait is given up, on a loaded machine


class Site:
    """A Python of its own as Slicer's, whose folder of packages is on sys.path, and what was done to it."""

    def __init__(self, root: Path) -> None:
        venv.create(root / "python", with_pip=False, symlinks=True)
        self.python = root / "python" / "bin" / "python"
        (self.folder,) = (root / "python" / "lib").glob("python*/site-packages")
        self.pip = root / "pip"  # outside the folder of packages, so that that is empty
        (self.pip / "pip").mkdir(parents=True)
        shutil.copy(FAKE_PIP, self.pip / "pip" / "__main__.py")
        info = self.pip / "pip-26.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pip\nVersion: 26.0\n")
        (self.folder / "pip.pth").write_text(f"{self.pip}\n")
        self.tell()
        self.texts: list[str] = []
        self.fractions: list[float | None] = []
        self.changed: tuple[str, ...] | None = None
        self.error: MedTLError | None = None
        self.stopped = 0

    def tell(self, **told: Any) -> None:
        """What the stand-in for pip does."""
        (self.pip / "pip" / "told.json").write_text(json.dumps({"versions": {}, **told}))

    def add(self, name: str, version: str = "99.0") -> None:
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("")
        (info / "INSTALLER").write_text("pip\n")
        (info / "top_level.txt").write_text(f"{name.replace('-', '_')}\n")
        code = self.folder / name.replace("-", "_")
        code.mkdir(exist_ok=True)
        (code / "__init__.py").touch()

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls of pip: by which module, with which arguments and constraints."""
        log = self.pip / "pip" / "calls.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def looked_for(self) -> list[list[str]]:
        """The requirements of each group that pip was asked for."""
        asked = [call["arguments"] for call in self.calls if "--report" in call["arguments"]]
        return [[each for each in arguments if re.match(r"[a-z][\w-]*[<>=!]", each)] for arguments in asked]

    def start(self, **options: Any) -> Any:
        self.changed = self.error = None
        return packages.install(
            self._progress, self._done, self._error, self._stop, command=[str(self.python)], **options
        )

    def install(self, **options: Any) -> tuple[str, ...]:
        """Install and wait for the end."""
        running = self.start(**options)
        if running is None:
            return ()
        self.wait()
        if self.error is not None:
            raise self.error
        assert self.changed is not None
        return self.changed

    def wait(self) -> None:
        host.process_until(lambda: self.error is not None or self.changed is not None, PATIENCE, "The end")

    def _progress(self, text: str, fraction: float | None) -> None:
        self.texts.append(text)
        self.fractions.append(fraction)

    def _done(self, changed: tuple[str, ...]) -> None:
        self.changed = changed

    def _error(self, error: MedTLError) -> None:
        self.error = error

    def _stop(self) -> None:
        self.stopped += 1


def digests(folder: Path) -> dict[str, str]:
    """The files of a folder of packages."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def names(requirements: Any) -> list[str]:
    return [each.name for each in requirements]
