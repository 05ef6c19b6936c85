"""The report of classifications, as JSON or CSV. No torch: the panel writes it, too."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..io.write import write_whole

NOTE = "Research use, not for diagnosis."
COLUMNS = ("input", "class", "name", "abstained", "score", "threshold", "segmentation", "segment", "rule")
# A spreadsheet runs a cell that begins so as a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")


def write_report(path: Path, answer: Mapping[str, Any], replace: bool = True) -> None:
    """Write the object of `medtl classify --json` to a .json file as it is, or to a .csv file, a line an input.

    Raises: InputError for another suffix, or when it cannot be written; an existing file is then unchanged.
    """
    suffix = path.suffix.lower()
    if suffix not in (".json", ".csv"):
        raise InputError(f"Expected a report that ends in .json or .csv, found {path.name}. Rename it.")
    text = json.dumps({"note": NOTE, **answer}, indent=2) + "\n" if suffix == ".json" else as_csv(answer)

    def write(part: Path) -> None:
        # The name of an input may hold bytes that are no text.
        part.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")

    write_whole(path, write, replace)


def as_csv(answer: Mapping[str, Any]) -> str:
    """One line an input: its name, the classification, and the model."""
    results = answer["results"]
    classes = list(results[0]["probabilities"]) if results else []
    features = [f["name"] for f in results[0]["features"]] if results else []
    head = [*COLUMNS, *(f"p_{name}" for name in classes), *features, "interval_low", "interval_high"]
    rows: list[list[Any]] = [
        [*head, "prevalence", "reasons", "image_sha256", "model", "version", "model_sha256", "note"]
    ]
    for result in results:
        values = {f["name"]: f["value"] for f in result["features"]}
        low, high = result["interval"] or (None, None)
        row = [result[name] for name in COLUMNS] + [result["probabilities"][name] for name in classes]
        row += [values.get(name) for name in features] + [low, high, result["prevalence"], " ".join(result["reasons"])]
        rows.append([*row, result["image"]["sha256"], answer["model"], answer["version"], answer["sha256"], NOTE])
    return csv_text(rows)


def csv_text(rows: list[list[Any]]) -> str:
    """The rows as CSV. A text that begins like a formula gets an apostrophe in front, so that no spreadsheet runs it;
    numbers are unchanged.

    Source: OWASP, CSV Injection.
    """
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([[_safe(cell) for cell in row] for row in rows])
    return stream.getvalue()


def _safe(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\r", "\n")  # csv does not quote it
    return f"'{cell}" if cell.lstrip(" \u00a0\u3000").startswith(FORMULA_STARTS) else cell


def usual_probability(prevalence: float | None, classes: Iterable[str], class_id: str) -> float | None:
    """The share of a class in training, to compare its probability with; `prevalence` is that of the second of the
    `classes`, None where it is not stated."""
    return prevalence if prevalence is None or class_id == list(classes)[1] else 1 - prevalence
