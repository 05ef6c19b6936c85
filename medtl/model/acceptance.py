"""Which terms the user of this computer has accepted: a text file for each, which the command line and Slicer share.

A file belongs to a version of a family of models, with these terms. So a tuned model needs no new acceptance, and a new
version, or other terms, does.
"""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from ..errors import InputError
from ..io.into_place import move_into_place, temporary_folder
from .card import ModelCard
from .files import reason_of
from .store import user_store
from .terms import Terms

FOLDER = "accepted-terms"  # beside the user's models


def accepted_folder() -> Path:
    """The folder of the files."""
    return user_store().parent / FOLDER


def receipt_of(card: ModelCard, terms: Terms) -> Path:
    """The file that is there when these terms are accepted."""
    stated = json.dumps([card.family, card.version, terms.name, terms.text])
    return accepted_folder() / f"{card.family}-{hashlib.sha256(stated.encode()).hexdigest()[:16]}.txt"


def is_accepted(card: ModelCard, terms: Terms) -> bool:
    """True where the terms are permissive, or were accepted on this computer."""
    if terms.permissive:
        return True
    try:
        return receipt_of(card, terms).is_file()
    except OSError:
        return False


def accept(card: ModelCard, terms: Terms) -> Path:
    """The file that states that these terms were accepted.

    Raises: InputError when it cannot be written.
    """
    path = receipt_of(card, terms)
    day = datetime.now(UTC).date().isoformat()
    content = f"Accepted on {day}: the terms of {card.family} {card.version} ({terms.summary}).\n\n{terms.text}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(path.parent, ".part-") as temporary:
            part = temporary / path.name
            part.write_text(content, encoding="utf-8", errors="replace")
            move_into_place(part, path, replace=True)
    except OSError as error:
        raise InputError(
            f"Could not store in {path.parent} that the terms were accepted: {reason_of(error)}. "
            "Check space and rights."
        ) from error
    return path


def reminder(card: ModelCard, terms: Terms, folder: Path) -> str:
    """The line about terms that are not accepted; empty where they are. `folder` is that of the bundle."""
    if is_accepted(card, terms):
        return ""
    where = f"Read {folder / 'LICENSE'}" if terms.text else "Ask who made the model"
    return f"{card.name} {card.version}: {terms.summary}. {where} before you use it."
