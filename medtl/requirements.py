"""The packages that the engine needs. Versions of PyTorch, numpy and MONAI differ by the kind of computer; why is said
here. Loads no torch.

pyproject.toml says the same by environment markers.
"""

import importlib.metadata
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

# The same on all kinds of computers.
COMMON = (
    *("packaging>=23.0", "pillow>=12.3", "safetensors>=0.4.3", "scipy>=1.11", "einops>=0.7", "pydicom>=3.0.2"),
    *("SimpleITK>=2.5.7", "timm>=1.0.22", "segmentation-models-pytorch>=0.5", "jinja2>=3.1.6"),
)


@dataclass(frozen=True)
class System:
    """A kind of computer, and the versions that it gets, as pip writes them. `reason` says why they differ from those
    of the other kinds; it is empty where they do not."""

    name: str
    torch: str = ">=2.8"
    torchvision: str = ">=0.23"
    numpy: str = ">=1.26"
    monai: str = ">=1.6"
    reason: str = ""

    @property
    def requirements(self) -> tuple[str, ...]:
        """The four packages with their versions, as pip reads them."""
        names = ("torch", "torchvision", "numpy", "monai")
        return tuple(f"{name}{getattr(self, name)}" for name in names)


# Sources: the lists of files, and the metadata in the wheels, of torch, torchvision and MONAI on pypi.org.
X86_MAC = System(
    "macOS on x86_64 (Intel, or under Rosetta)",
    torch=">=2.1.2,<2.3",
    torchvision=">=0.16.2,<0.18",
    numpy=">=1.26,<2",
    monai=">=1.4,<1.5",
    reason="PyTorch 2.2 is the last one for Macs with x86_64, for Python up to 3.12. It needs numpy below 2, and "
    "MONAI 1.4 is the newest that accepts both.",
)
WINDOWS = System(
    "Windows",
    torch=">=2.8,!=2.13.*",
    reason="PyTorch 2.13 has file names of up to 167 characters, too long for Windows in most folders.",
)
LINUX, ARM_MAC, OTHER = System("Linux"), System("macOS on Apple silicon"), System("another system")
SYSTEMS = (X86_MAC, WINDOWS, LINUX, ARM_MAC, OTHER)


def system_of(system: str = sys.platform, processor: str | None = None) -> System:
    """The kind of computer, from the names that `sys.platform` and `platform.machine()` give; by default this one."""
    if system == "darwin":
        processor = platform.machine() if processor is None else processor
        return X86_MAC if processor == "x86_64" else ARM_MAC
    return {"win32": WINDOWS, "linux": LINUX}.get(system, OTHER)


def engine_requirements(system: System | None = None) -> tuple[str, ...]:
    """All packages that the engine needs on a kind of computer, by default this one, as pip reads them."""
    return (*(system or system_of()).requirements, *COMMON)


def version_of(package: str) -> str | None:
    """The installed version, without importing the package; None where it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def unmet(requirements: Iterable[str], version_of: Callable[[str], str | None] = version_of) -> dict[str, str | None]:
    """The requirements whose package is missing or has a version that does not fit, and the version that is there.

    Without the package packaging no version is compared.
    """
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:
        return {each: None for each in requirements if version_of(each.partition(">")[0].partition("<")[0]) is None}
    found = {each: version_of(Requirement(each).name) for each in requirements}
    return {
        each: version
        for each, version in found.items()
        if version is None or not Requirement(each).specifier.contains(version, prereleases=True)
    }
