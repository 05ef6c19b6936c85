"""Where a file is saved: the path that is suggested, and the one that the user's choice means. No Qt."""

import re
from collections.abc import Sequence
from pathlib import Path

FORBIDDEN = re.compile(r'[/\\:*?"<>|]')  # in file names, on one system or another


def suggested(name: str, suffix: str, folder: object = None) -> Path:
    """The path of a file of this name in the folder, without characters that a system forbids in names.

    The folder is the user's home where none was used yet.
    """
    return (Path(str(folder)) if folder else Path.home()) / f"{FORBIDDEN.sub('_', name)}{suffix}"


def chosen_path(chosen: str, formats: Sequence[str]) -> tuple[Path, bool]:
    """The path that the user chose, ending in one of the formats: the first where it has none of them.

    Also whether a file exists there that the dialog did not ask about, because its ending was added here.
    """
    path = Path(chosen)
    if path.name.lower().endswith(tuple(formats)):
        return path, False
    path = path.with_name(path.name + formats[0])
    return path, path.exists()
