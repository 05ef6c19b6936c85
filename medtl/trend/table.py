"""A trend as text, a line a date, and as CSV."""

from collections.abc import Iterator
from pathlib import Path

from ..classification.report import csv_text
from ..io.write import write_whole
from ..results import Trend, TrendRow, TrendValue

COLUMNS = (
    *("label", "lesion", "date", "volume_ml", "longest_mm", "perpendicular_mm", "lesions_of_the_date"),
    *("change_to_first_percent", "change_to_previous_percent", "change_to_smallest_percent", "events", "note"),
)
HEAD = ("", "date", "mL", "mm × mm", "to first", "to previous", "to smallest", "")


def lines_of(trend: Trend) -> list[str]:
    """The trend for people: columns under their heads."""
    table: list[tuple[str, ...]] = [HEAD]
    for row in trend.rows:
        for number, value in enumerate(row.values):
            name = f"  {lesion_name(row)}" if row.lesion else row.name
            table.append((name if number == 0 else "", *cells_of(value), events_text(value)))
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = []
    for cells in table:
        name, date, *numbers, events = cells
        padded = [text.rjust(width) for text, width in zip(numbers, widths[2:-1])]
        lines.append("  ".join([name.ljust(widths[0]), date.ljust(widths[1]), *padded, events]).rstrip())
    lines += [
        f"similarity of {one.date} to {trend.studies[0].date}: {one.similarity:.2f}"
        for one in trend.studies
        if one.similarity is not None
    ]
    return [*lines, trend.note]


def lesion_name(row: TrendRow) -> str:
    """A lesion by its numbers at the newest date, as its segmentation is measured alone; one that is not there by those
    of the last date that has it."""
    value = next((value for value in reversed(row.values) if value.lesions), row.values[-1])
    numbers = ", ".join(map(str, value.lesions))
    text = f"lesion {numbers}" if len(value.lesions) == 1 else f"lesions {numbers}"
    return text if value is row.values[-1] else f"{text} of {value.date}"


def full_name(row: TrendRow) -> str:
    """A label's name, with that of its lesion."""
    return f"{row.name}, {lesion_name(row)}" if row.lesion else row.name


def cells_of(value: TrendValue) -> tuple[str, ...]:
    """Date, mL, mm and the three changes; a dash for what is not known."""
    changes = (value.change_to_first, value.change_to_previous, value.change_to_smallest)
    return value.date or "–", number_text(value.volume_ml), diameters_text(value), *map(percent_text, changes)


def diameters_text(value: TrendValue) -> str:
    """The two diameters, mm; a dash for none."""
    if value.longest_mm is None or value.perpendicular_mm is None:
        return "–"
    return f"{value.longest_mm:.1f} × {value.perpendicular_mm:.1f}"


def number_text(value: float | None) -> str:
    """The number with two decimals; a dash for none."""
    return "–" if value is None else f"{value:.2f}"


def percent_text(change: float | None) -> str:
    """A change with its sign, in whole per cent; a dash for none."""
    return "–" if change is None else f"{change:+.0f} %".replace("-", "−")


def events_text(value: TrendValue) -> str:
    """What happened to a lesion, and how many parts it has where these are several."""
    parts = f"{len(value.parts_ml)} parts" if len(value.parts_ml) > 1 else ""
    return ", ".join(filter(None, (*value.events, parts)))


def write_csv(path: Path, trend: Trend, replace: bool) -> None:
    """Write the trend as CSV, a line for each row and date; numbers with four decimals.

    Raises: InputError when it cannot be written, or without `replace` exists.
    """
    text = csv_text([list(COLUMNS), *csv_rows(trend)])
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8", newline=""), replace)


def csv_rows(trend: Trend) -> Iterator[list[object]]:
    """The cells of each line below the head."""
    for row in trend.rows:
        for value in row.values:
            figures = (value.volume_ml, value.longest_mm, value.perpendicular_mm)
            changes = (value.change_to_first, value.change_to_previous, value.change_to_smallest)
            yield [
                *(
                    row.name,
                    row.lesion or "all",
                    value.date,
                    *map(_rounded, figures),
                    " ".join(map(str, value.lesions)),
                ),
                *(*map(_rounded, changes), " ".join(value.events), trend.note),
            ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
