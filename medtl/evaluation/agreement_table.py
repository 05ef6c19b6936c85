"""The agreement of two readers as a CSV file: a row for each label of each case."""

import csv
import io
from pathlib import Path

from ..io.write import write_whole
from .agreement import Agreement

COLUMNS = (
    *("case", "label", "dice", "hd95_mm", "first_ml", "second_ml", "difference_ml"),
    *("first_rating", "second_rating"),
)


def write_rows(result: Agreement, path: Path, replace: bool) -> None:
    """Write a CSV file with a row for each label of each case. Raises: InputError as `write_whole` does."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for case in result.cases:
        for one in case.labels:
            figures = (one.dice, one.hd95, one.first_ml, one.second_ml, one.difference_ml)
            numbers = ["" if value is None else f"{value:.6g}" for value in figures]
            rows.writerow((case.case, one.label, *numbers, case.first_rating, case.second_rating))
    content = text.getvalue().encode("utf-8", "replace")
    write_whole(path, lambda part: part.write_bytes(content), replace)
