"""The wheels that pip chose: fetched, and checked before a file of them is written."""

import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

from .pip import Pip, Problem, progress_options


def fetch(items: Sequence[Mapping[str, Any]], folder: Path, what: str, pip: Pip) -> list[Path]:
    """The wheels of pip's report, those of the network in `folder`. Raises: Problem."""
    wheels, remote = [], []
    for item in items:
        url, hashes = item["download_info"]["url"], item["download_info"].get("archive_info", {}).get("hashes", {})
        parts = urlparse(url)
        if parts.scheme == "file":
            wheels.append(Path(url2pathname(parts.path)))
        else:
            wheels.append(folder / unquote(parts.path).rpartition("/")[2])
            remote.append(url + (f"#sha256={hashes['sha256']}" if "sha256" in hashes else ""))
    if remote:
        pip.run(["download", "--no-deps", *progress_options(), "--dest", str(folder), *remote], "download", what)
    return wheels


def check_disk(wheels: Sequence[Path], site: Path, what: str) -> None:
    """Raise Problem when what is in the wheels does not fit on the disk of the packages."""
    needed, free = sum(info.file_size for info in files_of(wheels)), shutil.disk_usage(site).free
    if needed > free:
        raise Problem("disk", what, f"{needed / 1e9:.1f} GB > {free / 1e9:.1f} GB: {site}")


def too_long(names: Iterable[str], prefix: str, longest: int) -> str:
    """The longest path that files of wheels get below the prefix, "" where all of them may be as long as they are.

    Windows wants room for twelve more characters in a folder.
    """
    places = (re.sub(r"^[^/]+\.data/(?:pure|plat)lib/", "", name) for name in names)
    path = max((f"{prefix}\\{place}".replace("/", "\\") for place in places), key=needed_length, default="")
    return path if needed_length(path) > longest else ""


def needed_length(path: str) -> int:
    """How long paths must be allowed to be for a path, on Windows."""
    return max(len(path), len(path.rpartition("\\")[0]) + 12)


def files_of(wheels: Sequence[Path]) -> Iterator[zipfile.ZipInfo]:
    """The files that the wheels list."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            yield from archive.infolist()
