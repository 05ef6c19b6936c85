"""The report of a classification, as JSON or CSV. No torch: the panel writes it, too."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..io.write import write_whole

NOTE = "Research use, not for diagnosis."
COLUMNS = ("input", "class", "name", "abstained", "score", "threshold", "segmentation", "segment", "rule")


def write_report(path: Path, answer: Mapping[str, Any], replace: bool = True) -> None:
    """Write the object of `medtl classify --json` to a .json file as it is, or to a .csv file, a line an input.

    Raises: InputError for another suffix, or when it cannot be written; what was there stays then.
    """
    suffix = path.suffix.lower()
    if suffix not in (".json", ".csv"):
        raise InputError(f"Expected a report that ends in .json or .csv, found {path.name}. Rename it.")
    text = json.dumps({"note": NOTE, **answer}, indent=2) + "\n" if suffix == ".json" else as_csv(answer)

    def write(part: Path) -> None:
        part.write_text(text, encoding="utf-8", newline="")

    write_whole(path, write, replace)


def as_csv(answer: Mapping[str, Any]) -> str:
    """One line an input: what it is, what the model says of it, and which model."""
    results = answer["results"]
    classes = list(results[0]["probabilities"]) if results else []
    features = [f["name"] for f in results[0]["features"]] if results else []
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    head = [*COLUMNS, *(f"p_{name}" for name in classes), *features, "interval_low", "interval_high"]
    table.writerow([*head, "prevalence", "reasons", "image_sha256", "model", "version", "model_sha256", "note"])
    for one in results:
        values = {f["name"]: f["value"] for f in one["features"]}
        low, high = one["interval"] or (None, None)
        row = [one[name] for name in COLUMNS] + [one["probabilities"][name] for name in classes]
        row += [values.get(name) for name in features] + [low, high, one["prevalence"], " ".join(one["reasons"])]
        table.writerow([*row, one["image"]["sha256"], answer["model"], answer["version"], answer["sha256"], NOTE])
    return stream.getvalue()
