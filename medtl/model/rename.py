"""Gives a bundle another name. Its weights, figures and parents stay, and the card says what it was called."""

import json
from pathlib import Path

from .card import METADATA, load_card, read_metadata
from .files import read_text_file

README = "docs/README.md"


def rename(folder: Path, name: str) -> None:
    """Change the name of the bundle in this folder, in its card and in the title of its card for people. A model
    without a parent writes segments of its own under the new name.

    Raises: ModelError when it is no bundle; OSError when it cannot be written.
    """
    card = load_card(folder)
    if card.name == name:
        return
    metadata = read_metadata(folder)
    block = metadata["medtl"]
    training = block.get("training") or {}
    earlier = training.get("earlier_names")
    names = [*(earlier if isinstance(earlier, list) else ()), card.name]
    metadata["medtl"] = {**block, "name": name, "training": {**training, "earlier_names": names}}
    (folder / METADATA).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    if not (folder / README).exists():
        return
    title, _, rest = read_text_file(folder, README).partition("\n")
    if title.strip() == f"# {card.name}":
        text = f"# {name}\n\nThe model {card.name}, imported under this name.\n{rest}"
        (folder / README).write_text(text, encoding="utf-8")
