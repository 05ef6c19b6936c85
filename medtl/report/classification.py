"""The classification that a report shows: read from what `medtl classify` wrote."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError

LARGEST_FILE = 20_000_000  # bytes


@dataclass(frozen=True)
class Classified:
    """The class of a tumour: the probability of each class by its name, the most probable one, and why the model
    abstains; `reasons` are empty where it does not."""

    model: str
    version: str
    sha256: str
    best: str
    probabilities: Mapping[str, float]
    reasons: tuple[str, ...]


def read_classification(path: Path) -> Classified:
    """The only result of a file that `medtl classify --json` or `--report FILE.json` gave.

    Raises: InputError when it cannot be read, is of another kind, or has no result or several.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise wrong_file(path, "a larger file")
        answer = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"Expected the result of medtl classify, could not read {path}: {error.strerror}. Check the path."
        ) from error
    except (ValueError, RecursionError) as error:
        raise wrong_file(path, "no JSON") from error
    return classified(answer, path)


def classified(answer: Any, path: Path) -> Classified:
    """The only result of such an object. Raises: InputError, see `read_classification`."""
    results = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(results, list):
        raise wrong_file(path, "another object")
    if len(results) != 1:
        raise wrong_file(path, f"{len(results)} results")
    one = results[0]
    try:
        names = one.get("names") or {}
        chances = {str(key): float(value) for key, value in one["probabilities"].items()}
        best = max(chances, key=lambda key: chances[key])
        reasons = tuple(map(str, one["reasons"]))
        if not all(0 <= chance <= 1 for chance in chances.values()) or bool(one["abstained"]) != bool(reasons):
            raise ValueError
        named = {str(names.get(key, one["name"] if key == best else key)): chance for key, chance in chances.items()}
        model, version, sha256 = (str(answer.get(key) or "") for key in ("model", "version", "sha256"))
        return Classified(
            model,
            version,
            sha256,
            str(names.get(best, one["name"])),
            named,
            reasons,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise wrong_file(path, "a result of another form") from error


def wrong_file(path: Path, found: str) -> InputError:
    """The error for a file that is no classification of one image."""
    return InputError(
        f"Expected the result of medtl classify for one image, found {found} in {path}. Classify this image with "
        "--report FILE.json."
    )
