"""`medtl pack`: collects in one zip what a computer without network needs. pip fetches the wheels, from the index that
its own settings name.

pip resolves for the computer that it runs on: it evaluates the markers of requirements there. So the versions come from
the constraints of MedTL, which are complete but for torch, and every package is fetched by itself, for the other
computer; the requirements in the wheels say what torch needs.
"""

import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from importlib.util import find_spec
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

from .. import __version__
from ..errors import InputError
from ..installation.pip import kind_of, progress_options, read_output, reason_of
from ..io.into_place import already_exists, check_parent
from ..io.write import write_whole
from ..model.files import read_text_file
from ..model.store import export_bundle, list_models
from ..pack import BLOCK, FORMAT, MANIFEST, PLATFORMS, Pack, PackedFile, Platform
from ..progress import Progress, no_progress
from ..typed_json import encode

TORCH = ("torch", "torchvision")
PLATFORM_SYSTEM = {"linux": "Linux", "win32": "Windows", "darwin": "Darwin"}
# What to do, by the kinds of `installation.pip`.
ADVICE = {
    "proxy": "The proxy refuses. Set HTTPS_PROXY with name and password.",
    "disk": "The disk is full. Make room, or choose an output on another disk.",
    "network": "The index of packages cannot be reached. Check the network and pip's settings.",
}
CHANGED = "A wheel is not the tested one: do not use this index, or make the constraints anew."


@dataclass(frozen=True)
class Target:
    """The computer that a pack is for: a key of PLATFORMS and the version of its Python."""

    key: str
    python: str

    @property
    def platform(self) -> Platform:
        """What is known about that kind of computer."""
        return PLATFORMS[self.key]

    @property
    def environment(self) -> dict[str, str]:
        """What the markers of requirements see there."""
        name, processor = self.platform.sys_platform, self.platform.processor
        return {
            **{key: str(value) for key, value in default_environment().items()},
            "sys_platform": name,
            "platform_system": PLATFORM_SYSTEM[name],
            "platform_machine": processor,
            "os_name": "nt" if name == "win32" else "posix",
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }

    def applies(self, requirement: Requirement, extras: Sequence[str] = ()) -> bool:
        """Whether the marker of a requirement holds there, with one of these extras or none."""
        marker, seen = requirement.marker, self.environment
        return marker is None or any(marker.evaluate({**seen, "extra": extra}) for extra in ("", *extras))

    def __str__(self) -> str:
        return f"--platform {self.key} --python {self.python}"


def constraints_file() -> Path:
    """The tested versions with their hashes: in a checkout, an installed extension or an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    name = "constraints.txt"
    places = (
        package.parent / "MedTLSegment" / "Resources" / name,
        package.parent / "Resources" / name,
        package / f"_{name}",
    )
    return next((place for place in places if place.is_file()), places[0])


def make_pack(
    output: Path, target: Target, torch: bool = True, force: bool = False, progress: Progress = no_progress
) -> Pack:
    """What is in the pack that was written to `output`, whole or not at all; without `torch` it lacks torch and what
    only torch needs.

    Raises: InputError when the output exists (without `force`) or cannot be written, or a package cannot be had.
    """
    if output.suffix.lower() != ".zip" or output.is_dir():
        raise InputError(f"Expected an output that ends in .zip, found {output}. Rename it.")
    if os.path.lexists(output) and not force:
        raise already_exists(output, "The output")
    check_parent(output)
    if find_spec("pip") is None:
        raise InputError(f"Expected pip in {sys.executable}, found none. Run: {sys.executable} -m ensurepip")

    def write(part: Path) -> Pack:
        folder = part.parent / "pack"
        (folder / "models").mkdir(parents=True)
        collect(folder / "wheels", target, torch, progress)
        models = [entry for entry in list_models() if entry.source == "shipped" and entry.card]
        for entry in models:
            export_bundle(str(entry.folder), folder / "models" / f"{entry.name}.zip")
        licences = {entry.name: read_text_file(entry.folder, "LICENSE") for entry in models}
        (folder / "licences.md").write_text(licence_list(folder / "wheels", licences), encoding="utf-8")
        (folder / "install.html").write_text(page(target, torch, sizes(folder)), encoding="utf-8")
        files = {path.relative_to(folder).as_posix(): packed(path) for path in sorted(folder.rglob("*.*"))}
        pack = Pack(FORMAT, __version__, target.key, target.python, files)
        (folder / MANIFEST).write_text(json.dumps(encode(pack), indent=1) + "\n", encoding="utf-8")
        with zipfile.ZipFile(part, "w") as archive:  # wheels are compressed already
            for number, name in enumerate((MANIFEST, *files)):
                progress("write", number / len(files))
                with (folder / name).open("rb") as stream, archive.open(name, "w", force_zip64=True) as out:
                    shutil.copyfileobj(stream, out, BLOCK)
        return pack

    return write_whole(output, write, force)


# --- wheels ---


def collect(folder: Path, target: Target, torch: bool, progress: Progress) -> None:
    """Fetch into the folder all that the engine needs on the target. Raises: InputError as `fetch` does."""
    fetch(folder, target, tested(target), progress)
    if torch:
        fetch_torch(folder, target, progress)
    while missing := unmet(folder, target, () if torch else TORCH):
        fetch(folder, target, missing, progress)
    if unfit := next(unfitting(folder, target), None):
        raise InputError(f"The packages of this index do not fit together: {unfit}. Try another --python, or later.")


def tested(target: Target) -> list[str]:
    """The tested versions for the target, with their hashes, as pip reads them."""
    text = constraints_file().read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split(" --hash") for line in text.splitlines() if line and line[0] not in "# "]
    pins = [(Requirement(first), hashes) for first, *hashes in lines]
    return [
        f"{pin.name}{pin.specifier}" + "".join(f" --hash{each.rstrip()}" for each in hashes)
        for pin, hashes in pins
        if target.applies(pin)
    ]


def fetch_torch(folder: Path, target: Target, progress: Progress) -> None:
    """Fetch the newest torchvision whose torch is one for the target, and that torch."""
    system = target.platform.system
    vision = SpecifierSet(system.torchvision)
    while True:
        fetch(folder, target, [f"torchvision{vision}"], progress)
        path, about = next((path, about) for path, about in wheels(folder).items() if about["Name"] == "torchvision")
        wanted = next((each for each in requirements(about) if each.name == "torch"), Requirement("torch"))
        version = next((each.version for each in wanted.specifier if each.operator == "=="), None)
        if version is None or SpecifierSet(system.torch).contains(version, prereleases=True):
            fetch(folder, target, [f"torch{wanted.specifier & SpecifierSet(system.torch)}"], progress)
            return
        path.unlink()
        vision &= SpecifierSet(f"!={about['Version']}")


def fetch(folder: Path, target: Target, wanted: Sequence[str], progress: Progress) -> None:
    """Fetch the wheels of these requirements alone. Raises: InputError when pip cannot."""
    folder.mkdir(exist_ok=True)
    listed = folder.parent.parent / "requirements.txt"
    listed.write_text("".join(f"{each}\n" for each in wanted), encoding="utf-8")
    tags = [text for tag in target.platform.tags for text in ("--platform", tag)]
    command = [
        *(sys.executable, "-u", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"),
        *("--disable-pip-version-check", "--implementation", "cp", "--python-version", target.python, *tags),
        *progress_options(),
        *("--dest", str(folder), "-r", str(listed)),
    ]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as pip:
        try:
            lines = read_output(pip.stdout or (), progress, lambda line: None)
        except BaseException:
            pip.kill()
            raise
    if pip.returncode:
        raise InputError(explain(lines, target))


def explain(lines: Sequence[str], target: Target) -> str:
    """Why pip failed, in a sentence with what to do."""
    text = "\n".join(lines)
    reason = reason_of(lines) or "pip said nothing"
    advice = CHANGED if re.search("hashes", text, re.IGNORECASE) else ADVICE.get(kind_of(text), "")
    if not advice and (found := re.search(r"No matching distribution found for ([\w.-]+)", text)):
        return f"There is no wheel of {found[1]} for {target}. Choose another --python or --platform. ({reason})"
    return f"The packages could not be fetched. {advice or 'Try again.'} ({reason})"


def wheels(folder: Path) -> dict[Path, Message]:
    """The wheels in a folder with their metadata."""
    found = {}
    for path in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(path) as wheel:
            name = next(each for each in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", each))
            found[path] = HeaderParser().parsestr(wheel.read(name).decode("utf-8", "replace"))
    return found


def requirements(about: Message) -> list[Requirement]:
    """What the metadata of a wheel requires."""
    return [Requirement(line) for line in about.get_all("Requires-Dist", [])]


def needed(folder: Path, target: Target) -> Iterator[tuple[str, Requirement]]:
    """Every requirement of the wheels that holds on the target, after the name of the wheel."""
    given = {str(canonicalize_name(about["Name"])): requirements(about) for about in wheels(folder).values()}
    extras: dict[str, set[str]] = defaultdict(set)
    count = -1
    while count < (count := sum(map(len, extras.values()))):  # until no more extras are asked for
        found = [(name, each) for name in given for each in given[name] if target.applies(each, sorted(extras[name]))]
        for _, each in found:
            extras[canonicalize_name(each.name)] |= each.extras
    yield from found


def unmet(folder: Path, target: Target, without: Sequence[str]) -> list[str]:
    """What the wheels require that is not there, but for the packages `without`, as pip reads it."""
    there = {parse_wheel_filename(path.name)[0] for path in wheels(folder)} | set(without)
    wanted: dict[str, SpecifierSet] = {}
    for _, each in needed(folder, target):
        name = str(canonicalize_name(each.name))
        if name not in there:
            wanted[name] = wanted.get(name, SpecifierSet()) & each.specifier
    return [f"{name}{specifier}" for name, specifier in wanted.items()]


def unfitting(folder: Path, target: Target) -> Iterator[str]:
    """The requirements that the wheels there do not meet, in words."""
    there = {name: version for name, version, *_ in (parse_wheel_filename(path.name) for path in wheels(folder))}
    for name, each in needed(folder, target):
        version = there.get(canonicalize_name(each.name))
        if version is not None and not each.specifier.contains(version, prereleases=True):
            yield f"{name} needs {each.name}{each.specifier}, found {version}"


# --- the other files ---


def packed(path: Path) -> PackedFile:
    """The size and SHA-256 of a file."""
    with path.open("rb") as stream:
        return PackedFile(path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())


def sizes(folder: Path) -> str:
    """How much lies in a folder, in words."""
    count, size = len(list(folder.rglob("*.whl"))), sum(path.stat().st_size for path in folder.rglob("*.*"))
    return f"{count} packages, {size / 1e9:.1f} GB" if size >= 1e9 else f"{count} packages, {size / 1e6:.0f} MB"


def licence_list(folder: Path, models: Mapping[str, str]) -> str:
    """The licences of the wheels in a folder, as their metadata state them, and the terms of models, in Markdown."""
    rows = [f"| {about['Name']} | {about['Version']} | {licence_of(about)} |" for about in wheels(folder).values()]
    terms = [f"## Model {name}\n\n```text\n{text.strip()}\n```" for name, text in models.items()]
    table = ["| package | version | licence |", "| --- | --- | --- |", *rows]
    head = "# Licences\n\nOf packages as their authors state them; the texts are in the wheels.\n"
    return "\n".join([head, *table, "", "\n\n".join(terms), ""])


def licence_of(about: Message) -> str:
    """The licence that the metadata of a wheel state, in one line."""
    classifiers = [line for line in about.get_all("Classifier", []) if line.startswith("License ::")]
    stated = about["License-Expression"] or "; ".join(line.rpartition(" :: ")[2] for line in classifiers)
    lines = (stated or about["License"] or "").strip().splitlines()
    return (lines[0].replace("|", "/")[:100] if lines else "") or "not stated"


def page(target: Target, torch: bool, size: str) -> str:
    """How to install the pack, for people, in HTML."""
    system, python = html.escape(target.platform.system.name), html.escape(target.python)
    lacks = "" if torch else "<p>PyTorch is not in this pack: it must be installed already.</p>"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>MedTL without network</title>
<style>body {{ font: 16px/1.5 sans-serif; max-width: 44em; margin: 2em auto; padding: 0 1em }}</style></head><body>
<h1>Install MedTL's packages without network</h1>
<p>For {system}, Python {python}; {size}. Made by MedTL {__version__}. Research use, not for diagnosis.</p>
{lacks}
<h2>In 3D Slicer</h2>
<ol>
<li>Copy the pack to the computer: the zip as it is, or the folder that it was unpacked to.</li>
<li>Install the extension MedTL there, from a file, in Slicer's Extensions Manager.</li>
<li>Open <i>MedTL Segment</i>, press <b>Install from folder or zip…</b> and choose the zip, or pack.json in the
folder.</li>
</ol>
<p>MedTL compares the SHA-256 of every file with pack.json before it installs anything. Nothing is downloaded.</p>
<h2>In another Python {python}</h2>
<p>Unpack the zip, and in its folder run:</p>
<pre>python -m pip install --no-index --find-links wheels {" ".join(named(target, torch))}</pre>
<p>The folder models has the models that come with MedTL; <code>medtl import</code> takes each. The licences are listed
in licences.md.</p>
</body></html>
"""


def named(target: Target, torch: bool) -> list[str]:
    """The names of the packages to ask pip for: the others are what these require."""
    lines = (line.partition(" --hash")[0].partition("=")[0] for line in tested(target))
    return [*(TORCH if torch else ()), *lines]
