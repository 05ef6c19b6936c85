"""What MedTL keeps on this computer: packages, models, accepted terms, temporary folders. It keeps no cache and no log.

Results and SEEDs lie where the user saves them, and choices in Slicer's settings; neither is listed.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .installation.installed import installed_by_medtl
from .io.into_place import TEMPORARY
from .model.acceptance import accepted_folder
from .model.store import user_store


@dataclass(frozen=True)
class Kept:
    """What is kept: a "package", whose `folder` has others, too; a "model"; the acceptances of "terms"; a "temporary"
    folder of a Slicer that runs, or that crashed."""

    kind: str
    name: str
    bytes: int
    folder: Path


def kept(site: Path) -> tuple[Kept, ...]:
    """All that MedTL keeps; packages are those of this Python, which it installs into `site`."""
    packages = (Kept("package", each.name, each.size, site) for each in installed_by_medtl(site))
    return (*packages, *kept_models(), *kept_terms(), *kept_temporarily())


def kept_models() -> tuple[Kept, ...]:
    """The imported and tuned models, and what an interrupted import left of one."""
    store = user_store()
    folders = sorted(store.iterdir()) if store.is_dir() else []
    return tuple(_kept("model", folder) for folder in folders if folder.is_dir())


def kept_terms() -> tuple[Kept, ...]:
    """The acceptances of terms, in one folder."""
    folder = accepted_folder()
    return (_kept("terms", folder),) if folder.is_dir() else ()


def kept_temporarily() -> Iterator[Kept]:
    """The temporary folders of Slicer's jobs and installations. The next Slicer removes those of one that crashed."""
    parent = Path(tempfile.gettempdir())
    name = re.compile(re.escape(TEMPORARY) + r"[0-9a-f]{8}-\d+-.*")
    with suppress(OSError):
        folders = sorted(folder for folder in parent.iterdir() if name.fullmatch(folder.name))
        yield from (_kept("temporary", folder) for folder in folders)


def _kept(kind: str, folder: Path) -> Kept:
    return Kept(kind, folder.name, size_of(folder), folder)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder that can be looked at."""
    size = 0
    for file in folder.rglob("*"):
        with suppress(OSError):  # another program has removed it, or it is another user's
            size += file.stat().st_size if file.is_file() else 0
    return size
