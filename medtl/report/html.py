"""A report as one HTML file: no network, no script, one page when printed."""

from pathlib import Path

from .. import __version__
from ..io.write import write_whole
from ..trend.plot import Plot, shown_rows
from ..trend.table import diameters_text, events_text, lesion_name, percent_text
from ..trend.trend import NOTE
from .content import Finding, Report
from .side import NOTE as SIDE_NOTE
from .side import SIDES

TEMPLATE = "report.html.j2"
TILE_MM = (0, 60, 38, 22)  # height of a picture in print, by the number of lesions that have some
MOST_ROWS, MOST_DATES = 6, 5  # of the trend's table
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, EDGE = (
    520,
    150,
    40,
    22,
    16,
    40,
)  # of the plot and its margins, in units of the drawing


def render(report: Report) -> str:
    """The text of the HTML file. Names and texts from files are escaped: they cannot be markup."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"ml": ml_text, "mm": mm_text, "change": percent_text, "share": share_text}
    environment.filters |= {"diameters": diameters_text, "events": events_text}
    trend_rows = shown_rows(report.trend.rows) if report.trend is not None else []
    dates = [study.date for study in report.trend.studies] if report.trend is not None else []
    columns = [n for n in range(len(dates)) if n == 0 or n > len(dates) - MOST_DATES]  # the first and the newest
    return environment.get_template(TEMPLATE).render(
        report=report,
        plot=None if report.plot is None else drawn(report.plot),
        trend_rows=trend_rows[:MOST_ROWS],
        columns=columns,
        days=[dates[n] for n in columns],
        left_out=max(0, len(trend_rows) - MOST_ROWS),
        version=__version__,
        note=NOTE,
        lesion_name=lesion_name,
        sides=SIDES,
        side_note=SIDE_NOTE,
        tile_mm=TILE_MM[min(len(report.pictured), len(TILE_MM) - 1)],
    )


def write_html(path: Path, report: Report, replace: bool) -> None:
    """Write the report whole or not at all.

    Raises: InputError when it cannot be written, or without `replace` exists.
    """
    text = render(report)
    # Names of segments may hold bytes that are no text.
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8", errors="backslashreplace"), replace)


def ml_text(value: float | None) -> str:
    """mL with two digits after the point; a dash for none."""
    return "–" if value is None else f"{value:.2f}"


def mm_text(finding: Finding) -> str:
    """Both diameters, mm; a dash for none."""
    if finding.longest_mm is None or finding.perpendicular_mm is None:
        return "–"
    return f"{finding.longest_mm:.1f} × {finding.perpendicular_mm:.1f}"


def share_text(chance: float) -> str:
    """A probability in whole per cent; never 0 % or 100 %."""
    return "<1 %" if chance < 0.005 else ">99 %" if chance > 0.995 else f"{100 * chance:.0f} %"


def drawn(plot: Plot) -> dict[str, object]:
    """The plot in units of the drawing, from the left and the top."""

    def x(place: float) -> float:
        return round(LEFT + place * (WIDTH - LEFT - EDGE), 1)

    def y(place: float) -> float:
        return round(TOP + (1 - place) * (HEIGHT - BOTTOM - TOP), 1)

    lines = [
        {
            "name": line.name,
            "colour": line.colour,
            "dash": line.dash,
            "runs": [[(x(a), y(b)) for a, b in run] for run in line.runs],
        }
        for line in plot.lines
    ]
    ticks = [(f"{ml:g}", y(place)) for ml, place in plot.ticks]
    dates = [(day, x(place)) for day, place in plot.dates]
    # Names of dates that lie near each other would overlap.
    shown: list[tuple[str, float]] = []
    for day, place in [dates[0], dates[-1], *dates[1:-1]]:
        if all(abs(place - other) > 62 for _, other in shown):
            shown.append((day, place))
    box = {"width": WIDTH, "height": HEIGHT, "left": x(0), "right": x(1), "bottom": y(0), "top": y(1)}
    return {"lines": lines, "ticks": ticks, "dates": dates, "names": shown, **box}
