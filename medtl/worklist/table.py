"""A list as a CSV file: written for other programs, and read back into a list."""

import csv
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..cases import csv_lines
from ..errors import InputError
from ..io.write import write_whole
from .case import ListedCase
from .case_list import CaseList

FIRST = ("case", "state", "rating", "note", "user", "time", "seconds", "model", "seeds")
TAKEN = ("state", "rating", "note", "user", "time")  # columns that are read back


def write_table(cases: CaseList, path: Path, replace_file: bool = False) -> None:
    """Write all cases with their images (image, image_2, …) and results, paths relative to the file where they can be.

    Raises: InputError when the file is there already and may not be replaced, or cannot be written.
    """
    channels = max((len(case.images) for case in cases.cases.values()), default=1)
    images = ["image", *(f"image_{number}" for number in range(2, channels + 1))]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow((*FIRST, *images, "series", "label"))
    for case in cases.cases.values():
        own = (case.name, case.state, case.rating, case.note, case.user, case.time, round(case.seconds, 1))
        paths = [*map(str, case.images), *([""] * (channels - len(case.images)))]
        rows.writerow((*own, case.model, case.seeds, *paths, case.series, cases.result(case)))
    content = text.getvalue().encode("utf-8", "surrogateescape")
    write_whole(path, lambda part: part.write_bytes(content), replace=replace_file)


def read_table(cases: CaseList, path: Path) -> tuple[ListedCase, ...]:
    """The cases of the list that the file names in its column `case`, with the state, rating, note, user and time that
    it states; a column that is absent changes nothing.

    Raises: InputError when the file cannot be read, names a case that the list does not have or one twice, or states
    something that cannot be.
    """
    rows = [row for _number, row in csv_lines(path)[1]]
    names = [(row.get("case") or "").strip() for row in rows]
    if unknown := [name for name in names if name not in cases.cases]:
        raise InputError(
            f"Expected in the column case of {path} the names of cases of {cases.path}, found {unknown[0]!r}. "
            "Correct it, or take the line out."
        )
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f"Expected each case once in {path}, found {twice[0]} again. Take one line out.")
    return tuple(_changed(cases.cases[name], row, path) for name, row in zip(names, rows, strict=True))


def _changed(case: ListedCase, row: dict[str, str], path: Path) -> ListedCase:
    stated: dict[str, Any] = {name: row[name].strip() for name in TAKEN if row.get(name) is not None}
    rating = stated.pop("rating", None)
    if rating is None:
        number = case.rating
    elif rating.isdecimal() or not rating:
        number = int(rating) if rating else None
    else:
        raise InputError(f"Expected a rating of {case.name} from 1 to 5 in {path}, found {rating!r}. Correct it.")
    return replace(case, **stated, rating=number)
