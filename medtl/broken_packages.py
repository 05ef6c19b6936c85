"""Python packages that are installed by halves, as an interrupted installation leaves them; none is imported."""

import re
import sysconfig
from collections.abc import Iterable
from importlib.metadata import PathDistribution
from pathlib import Path

# Folders of code, of packages whose name does not say it.
FOLDERS = {
    "torch": ("torch", "torchgen", "functorch"),
    "torchvision": ("torchvision", "torchvision.libs"),
    "simpleitk": ("SimpleITK",),
    "pillow": ("PIL",),
}


def broken_packages(names: Iterable[str], folder: Path | None = None) -> dict[str, str]:
    """What is wrong with each of these packages in a folder, by default the one where this Python installs; whole and
    missing packages are left out."""
    folder = folder or Path(sysconfig.get_paths()["purelib"])
    found = {name: installations_of(name, folder) for name in names}
    problems = {name: problem for name, there in found.items() if (problem := problem_of(name, there))}
    pair = {name: found[name][0] for name in ("torch", "torchvision") if found.get(name)}
    if len(pair) == 2 and not problems.keys() & pair.keys() and (problem := mismatch(**pair)):
        problems |= dict.fromkeys(pair, problem)
    return problems


def installations_of(name: str, folder: Path) -> list[Path]:
    """The .dist-info folders of a package; more than one where an upgrade was interrupted."""
    pattern = re.compile(re.sub(r"[-_.]+", "[-_.]+", name) + r"-[^-]+\.dist-info", re.IGNORECASE)
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return [entry for entry in entries if pattern.fullmatch(entry.name)]


def problem_of(name: str, there: list[Path]) -> str:
    """What is wrong with the installations of one package; empty where nothing is."""
    versions = [path.name.removesuffix(".dist-info").rpartition("-")[2] for path in there]
    if len(there) > 1:
        return f"{len(there)} versions are installed: {', '.join(versions)}"
    for path, version in zip(there, versions, strict=True):
        record = (path / "RECORD").is_file() or not by_pip(path)
        if not (path / "METADATA").is_file() or not record:
            return f"version {version} is installed only in part"
        if code := code_that_is_gone(name, path):
            return f"of version {version} the code is gone: {code}"
    return ""


def code_that_is_gone(name: str, info: Path) -> str:
    """The first file of a package's modules that its RECORD lists and that is not there, as an interrupted removal
    leaves it; empty where all are there, or RECORD lists none."""
    try:
        lines = (info / "RECORD").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    files = {line.partition(",")[0] for line in lines}
    modules = (f"{module}/__init__.py" for module in code_of(name))
    return next((file for file in modules if file in files and not (info.parent / file).is_file()), "")


def by_pip(info: Path) -> bool:
    """Whether pip installed it, or was interrupted; other installers, such as Debian's, write no RECORD."""
    installer = info / "INSTALLER"
    return not installer.is_file() or installer.read_text(encoding="utf-8").strip() == "pip"


def mismatch(torch: Path, torchvision: Path) -> str:
    """Why this torch and this torchvision cannot be used together, from their .dist-info; empty where they can.

    torchvision names its one version of torch; both must be built for the same device, which the part after + says.
    """
    vision = PathDistribution(torchvision)
    full, full_vision = PathDistribution(torch).version, vision.version
    (version, _, build), (_, _, vision_build) = full.partition("+"), full_vision.partition("+")
    wanted = [found[1] for line in vision.requires or () if (found := re.match(r"torch *\(?==([\w.]+)", line))]
    if wanted and version not in wanted:
        return f"torchvision {full_vision} needs torch {wanted[0]}, found {full}"
    if build and vision_build and build != vision_build:
        return f"torch is built for {build}, torchvision for {vision_build}"
    return ""


def code_of(name: str) -> tuple[str, ...]:
    """The names of a package's folders of code; the first one is that of the module that is imported."""
    return FOLDERS.get(name.lower(), (name.replace("-", "_"),))


def module_of(name: str) -> str:
    """The module that a package is imported by."""
    return code_of(name)[0]


def paths_of(name: str, folder: Path) -> list[Path]:
    """What has to go before a broken package is installed again: its folders of code and its .dist-info."""
    there = (folder / each for each in code_of(name))
    return [*(each for each in there if each.exists()), *installations_of(name, folder)]
