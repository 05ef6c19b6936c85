"""The terms of a model's weights: their name in metadata.json, and their text in LICENSE."""

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelError
from .card import read_metadata
from .card_text import is_invisible
from .files import read_text_file

LICENCE = "LICENSE"
# The licences that are known to allow every use, without what `_words` ignores. Every other one is not permissive, also
# one that is unknown or not stated.
PERMISSIVE = {
    *("apache 2.0", "bsd 2 clause", "bsd 3 clause", "cc by 3.0", "cc by 4.0", "cc0", "cc0 1.0", "mit"),
}
STATED = re.compile(r"(.{1,80}), see LICENSE")  # of the entry "copyright" of MedTL's own bundles


@dataclass(frozen=True)
class Terms:
    """`name` is that of the licence, empty where none is stated; `text` that of the file, empty where there is none."""

    name: str = ""
    text: str = ""

    @property
    def permissive(self) -> bool:
        """True where every use is allowed: nobody is asked to accept such terms."""
        return " ".join(_words(self.name)) in PERMISSIVE

    @property
    def summary(self) -> str:
        """The licence and what it excludes, in a line."""
        words = _words(self.name)
        if not self.name or self.permissive:
            return self.name or "terms not stated"
        if words == ["research", "use"]:
            return "RESEARCH USE ONLY"
        return f"{self.name}: {'NON-COMMERCIAL USE ONLY' if 'nc' in words else 'read the terms'}"


UNSTATED = Terms()


def terms_of(folder: Path) -> Terms:
    """The terms of a bundle folder.

    Raises: ModelError when its metadata.json cannot be read, or its LICENSE is a link or too large.
    """
    stated = read_metadata(folder).get("copyright")
    match = STATED.fullmatch(stated) if isinstance(stated, str) and not any(map(is_invisible, stated)) else None
    try:
        text = read_text_file(folder, LICENCE)
    except ModelError:
        if (folder / LICENCE).exists() or (folder / LICENCE).is_symlink():
            raise
        text = ""
    return Terms(match[1].strip() if match else "", text)


def _words(name: str) -> list[str]:
    """The parts of a licence's name: "CC BY-NC-SA 4.0" and "cc-by-nc-sa-4.0" have the same."""
    return re.split(r"[\s_-]+", name.strip().casefold())
