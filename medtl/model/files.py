"""Reading the files of a bundle folder: regular files only, no links, bounded in size."""

import json
import math
import os
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

from ..errors import ModelError

MAX_TEXT_BYTES = 1_000_000
MAX_DEPTH = 40  # of JSON


def open_file(folder: Path, name: str, limit: int) -> BufferedReader:
    """The file `name` (with "/") of a bundle folder, open for reading.

    Raises: ModelError when it is missing, cannot be read, is a link or lies behind one, is no regular file or has more
    than `limit` bytes.
    """
    path = folder
    # These neither wait for the writer of a pipe nor follow a link that appeared meanwhile; Windows has neither.
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        for part in name.split("/"):
            path /= part
            if path.is_symlink():
                raise ModelError(f"Expected {name} in {folder}, found a link. Put the file itself there.")
        handle = os.open(path, flags)
    except (OSError, ValueError) as error:
        reason = "none" if isinstance(error, FileNotFoundError) else f"none that can be read ({reason_of(error)})"
        raise ModelError(f"Expected {name} in {folder}, found {reason}. Choose or import the model again.") from error
    status = os.fstat(handle)
    regular = stat.S_ISREG(status.st_mode)
    if not regular or status.st_size > limit:
        os.close(handle)
        found = f"{status.st_size / 1e6:.1f} MB" if regular else "a folder or a device"
        raise ModelError(f"Expected {name} in {folder} to be a file of at most {limit / 1e6:.0f} MB, found {found}.")
    return os.fdopen(handle, "rb")


def read_text_file(folder: Path, name: str, limit: int = MAX_TEXT_BYTES) -> str:
    """The text of a file of a bundle folder; what is not UTF-8 in it is replaced.

    Raises: ModelError as `open_file` does.
    """
    with open_file(folder, name, limit) as stream:
        return stream.read(limit).decode("utf-8", errors="replace")


def parse_json(content: bytes) -> Any:
    """The JSON value, strictly: UTF-8, finite numbers, no key twice, nested 40 deep at most.

    Raises: ValueError with the reason.
    """
    try:
        text = content.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _children(outer)]
    if level:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    return value


def reason_of(error: Exception) -> str:
    """What went wrong, without the path, which the rest of the message names."""
    return getattr(error, "strerror", None) or " ".join(str(error).split())[:160]


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for key, value in pairs:
        if key in entries:
            raise ValueError(f"it has {key[:40]!r} twice")
        entries[key] = value
    return entries
