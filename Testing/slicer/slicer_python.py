"""A Python of its own in place of Slicer's, with the real pip and no package, and an index of tiny wheels."""

import shutil
import sys
import sysconfig
import tempfile
import venv
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pip
import pytest
import slicer
from tiny_wheels import only_index, small_index, wheel

from medtl.commands import pack as pack_command
from medtl.pack import this_platform, this_python
from MedTLLib.packages import consent, installing, needed, problems, process

# light-the-torch runs pip with another index.
TOOL = "import runpy\nrunpy.run_module('pip', run_name='__main__', alter_sys=True)\n"


class SlicerPython:
    """`index` is the folder that pip finds wheels in; `folder` takes what is installed, and is on sys.path."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.index = root, root / "index"
        venv.create(root / "python", with_pip=False, symlinks=True)
        self.python = root / "python" / "bin" / "python"
        (self.folder,) = (root / "python" / "lib").glob("python*/site-packages")
        tools = root / "tools"  # outside the folder of packages, so that that is empty
        tools.mkdir()
        (tools / "pip").symlink_to(Path(pip.__file__).parent)
        info = tools / f"pip-{pip.__version__}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pip\nVersion: {pip.__version__}\n")
        (self.folder / "pip.pth").write_text(f"{tools}\n")
        self.constraints = small_index(self.index)
        wheel(self.index, "light-the-torch", "0.8.1", main=TOOL)
        only_index(self.index, monkeypatch)
        for module, name in ((pack_command, "constraints_file"), (installing, "CONSTRAINTS")):
            monkeypatch.setattr(module, name, self.constraints if name.isupper() else lambda: self.constraints)
        monkeypatch.syspath_prepend(str(self.folder))
        monkeypatch.setattr(type(slicer.app), "testingEnabled", staticmethod(lambda: False))
        paths = {**sysconfig.get_paths(), "purelib": str(self.folder)}
        monkeypatch.setattr(sysconfig, "get_paths", lambda *given: paths)  # pydoc asks for others
        monkeypatch.setattr(process, "find_launcher", lambda: self.python)
        needed.not_importable.clear()
        for module in (consent, problems):
            monkeypatch.setattr(module, "costs", lambda needed: [(0, 0, 0)])
        (root / "temporary").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(root / "temporary"))
        extension = ModuleType("PyTorchUtils")
        extension.__spec__ = ModuleSpec("PyTorchUtils", None)
        monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)

    def has(self, name: str, version: str) -> None:
        """Install a package whose code says that it was here before."""
        built = self.root / "built"
        built.mkdir(exist_ok=True)
        shutil.unpack_archive(wheel(built, name, version, code="before = True\n"), self.folder, "zip")
        (self.folder / f"{name}-{version}.dist-info" / "INSTALLER").write_text("pip\n")

    def pack(self, torch: bool = True) -> Path:
        """Make a pack for this Python, and give its path."""
        path = self.root / "pack.zip"
        pack_command.make_pack(path, pack_command.Target(this_platform() or "linux", this_python()), torch)
        return path

    def installed(self) -> dict[str, str]:
        """The versions of what is installed, by name."""
        return dict(sorted(path.name.removesuffix(".dist-info").split("-") for path in self.folder.glob("*.dist-info")))

    def files(self) -> dict[str, bytes]:
        """The files in the folder of packages."""
        return {str(path): path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}
