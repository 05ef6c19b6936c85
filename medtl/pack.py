"""A pack: what a computer without network needs to install MedTL's packages. `medtl pack` makes it.

pack.json      what it is for, and the size and SHA-256 of every other file: `Pack`
install.html   how to install it, for people
licences.md    the licences of what is in it
wheels/*.whl   packages
models/*.zip   the models that come with MedTL, as `medtl import` takes them

A pack is a zip, or the folder that it was unpacked to. Needs no package beside the standard library.
"""

import hashlib
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import InputError, ModelError
from .io.limits import BAD_ZIP, members_of, open_zip
from .model.files import open_file, parse_json, reason_of
from .requirements import ARM_MAC, LINUX, WINDOWS, X86_MAC, System
from .typed_json import decode

FORMAT = 1
MANIFEST = "pack.json"
NAMES = r"install\.html|licences\.md|wheels/[\w.+-]{1,200}\.whl|models/[\w.-]{1,100}\.zip"
MAX_MANIFEST_BYTES = 1_000_000
BLOCK = 1 << 20
GB = 1e9


@dataclass(frozen=True)
class Platform:
    """What packs are made for: a kind of computer, what `sys.platform` and `platform.machine()` say there, and the
    newest tags of wheels that run there, as pip takes them."""

    system: System
    sys_platform: str
    processor: str
    tags: tuple[str, ...]


# PyTorch's wheels need glibc 2.28, and macOS 14 on Apple silicon.
PLATFORMS = {
    "linux": Platform(
        LINUX, "linux", "x86_64", (*(f"manylinux_2_{n}_x86_64" for n in range(28, 4, -1)), "manylinux2014_x86_64")
    ),
    "windows": Platform(WINDOWS, "win32", "AMD64", ("win_amd64",)),
    "macos-x86_64": Platform(X86_MAC, "darwin", "x86_64", ("macosx_12_0_x86_64",)),
    "macos-arm64": Platform(ARM_MAC, "darwin", "arm64", ("macosx_14_0_arm64",)),
}


@dataclass(frozen=True)
class PackedFile:
    """The size in bytes of a file of a pack, and its SHA-256, hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Pack:
    """What a pack is for and what is in it: `platform` is a key of `PLATFORMS`, `python` a version as "3.12"."""

    format: int
    medtl: str
    platform: str
    python: str
    files: Mapping[str, PackedFile]

    @property
    def packages(self) -> frozenset[str]:
        """The names of the packages in it, as pip compares names."""
        names = (name.partition("/")[2].partition("-")[0] for name in self.files if name.endswith(".whl"))
        return frozenset(map(canonical, names))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


def canonical(name: str) -> str:
    """The name of a package, as pip compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def this_platform(sys_platform: str = sys.platform, processor: str | None = None) -> str | None:
    """The key of `PLATFORMS` for a computer, by default this one; None where packs for it cannot be made."""
    here = sys_platform, platform.machine() if processor is None else processor
    return next((key for key, each in PLATFORMS.items() if (each.sys_platform, each.processor) == here), None)


def this_python() -> str:
    """The version of this Python, as "3.12"."""
    return ".".join(map(str, sys.version_info[:2]))


def read_pack(path: Path) -> Pack:
    """What the pack at `path` is for; its other files are not read.

    Raises: InputError when it is none, is damaged, or needs a newer MedTL.
    """
    with opened(path) as open_member:
        try:
            with open_member(MANIFEST, MAX_MANIFEST_BYTES) as stream:
                entries = parse_json(stream.read(MAX_MANIFEST_BYTES))
        except ValueError as error:
            raise damaged(path, f"{MANIFEST} cannot be read, {error}") from error
    version = entries.get("format") if isinstance(entries, dict) else None
    if type(version) is int and version > FORMAT:
        raise InputError(
            f"Expected a pack of format {FORMAT}, found format {version} in {path}. Install a newer MedTL, or make the "
            "pack with the MedTL that is installed here."
        )
    try:
        pack: Pack = decode(Pack, entries, MANIFEST)
    except ModelError as error:
        raise InputError(f"{path} is no pack of MedTL: {error} Make it again by `medtl pack`.") from error
    if unsafe := [name for name in pack.files if re.fullmatch(NAMES, name) is None]:
        raise InputError(f"{path} lists a file that is no part of a pack: {unsafe[0][:80]!r}. Do not trust it.")
    return pack


def check_fits(pack: Pack, path: Path, sys_platform: str = sys.platform, processor: str | None = None) -> None:
    """Raise InputError when the pack is for another kind of computer or another Python than these, by default those
    that run this."""
    here, python = this_platform(sys_platform, processor), this_python()
    if pack.platform != here or pack.python != python:
        machine = platform.machine() if processor is None else processor
        wanted = f"--platform {here}" if here else f"one for {sys_platform} on {machine}, which cannot be made"
        raise InputError(
            f"Expected a pack for this computer ({wanted} --python {python}), found one for --platform "
            f"{pack.platform[:40]} --python {pack.python[:10]}: {path}. Make another one by `medtl pack`."
        )


def unpack(path: Path, folder: Path, progress: Callable[[float], None] = lambda fraction: None) -> None:
    """Copy the files of a pack into a new folder; each has the size and the SHA-256 that the pack states.

    Raises: InputError when the pack is damaged or was changed, or there is no room; what `progress` raises.
    """
    pack = read_pack(path)
    folder.mkdir(parents=True)
    free = shutil.disk_usage(folder).free
    if pack.size > free:
        raise InputError(
            f"Expected {pack.size / GB:.1f} GB free to unpack {path}, found {free / GB:.1f} GB in {folder.parent}. "
            "Make room and try again."
        )
    done = 0
    with opened(path) as open_member:
        for name, file in pack.files.items():
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            with open_member(name, file.size) as stream, target.open("xb") as out:
                sha256, left = hashlib.sha256(), file.size + 1
                while block := stream.read(min(BLOCK, left)):
                    out.write(block)
                    sha256.update(block)
                    left, done = left - len(block), done + len(block)
                    progress(min(done / max(pack.size, 1), 1.0))
            if left != 1 or sha256.hexdigest() != file.sha256:
                raise damaged(path, f"{name} is damaged or was changed")


@contextmanager
def opened(path: Path) -> Iterator[Callable[[str, int], IO[bytes]]]:
    """A function that opens a file of the pack, a zip or a folder, by its name and its largest size.

    Raises: InputError when there is no pack, it is damaged or not to be trusted, or the disk is full meanwhile.
    """
    try:
        if path.is_dir():

            def open_in_folder(name: str, limit: int) -> IO[bytes]:
                try:
                    return open_file(path, name, limit)
                except ModelError as error:  # it is about models
                    raise damaged(path, f"{name} is missing, too large or a link") from error

            yield open_in_folder
            return
        with open_zip(path) as archive:
            members = {member.filename: member for member in members_of(archive, path)}

            def open_member(name: str, limit: int) -> IO[bytes]:
                if name not in members or members[name].file_size > limit:
                    raise damaged(path, f"{name} is missing or too large")
                return archive.open(members[name])

            yield open_member
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"Could not unpack {path}: {reason}. Check the path and the space on the disk.") from error
    except BAD_ZIP as error:
        raise damaged(path, reason_of(error)) from error
    except ModelError as error:
        raise InputError(str(error)) from error


def damaged(path: Path, reason: str) -> InputError:
    """The error that a pack is not as it was made."""
    return InputError(f"Expected a whole pack of MedTL, found {path}: {reason}. Copy it again from where it was made.")
