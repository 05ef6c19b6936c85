"""The plot of Bland and Altman as an SVG: the difference of two volumes over their mean, a panel a label."""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from .agreement import Agreement, Differences, LabelAgreement

WIDTH, HEIGHT = 640, 360  # of a panel, in pixels
LEFT, RIGHT, TOP, BOTTOM = 70, 90, 40, 50  # margins of a panel
TICKS = 5


def plot(result: Agreement) -> str:
    """The text of an SVG with a panel for each label; a point's tool tip is the name of its case."""
    panels = []
    for number, (label, summary) in enumerate(result.labels.items()):
        points = [(case.case, one) for case in result.cases for one in case.labels if one.label == label]
        panels.append(
            f'<g transform="translate(0 {number * HEIGHT})">{_panel(label, points, summary.volume_difference_ml)}</g>'
        )
    height = HEIGHT * max(len(panels), 1)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
    head += 'font-family="sans-serif" font-size="12">'
    return "\n".join((head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *panels, "</svg>", ""))


def _panel(label: str, points: Sequence[tuple[str, LabelAgreement]], about: Differences) -> str:
    means = [(one.first_ml + one.second_ml) / 2 for _case, one in points]
    values = [one.difference_ml for _case, one in points]
    lines: Mapping[str, float] = {"mean": about.mean}
    if about.limits is not None:
        lines = {"mean": about.mean, "-1.96 SD": about.limits[0], "+1.96 SD": about.limits[1]}
    across, up = ticks(0.0, max(means)), ticks(min(0.0, *values, *lines.values()), max(0.0, *values, *lines.values()))

    def x_of(value: float) -> float:
        return LEFT + (value - across[0]) / (across[-1] - across[0]) * (WIDTH - LEFT - RIGHT)

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - (value - up[0]) / (up[-1] - up[0]) * (HEIGHT - TOP - BOTTOM)

    parts = [_text(WIDTH / 2, 20, f"{label} (n = {len(points)})", "middle", "bold")]
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value in across:
        parts += [_line(x_of(value), bottom, x_of(value), bottom + 5), _text(x_of(value), bottom + 18, f"{value:g}")]
    for value in up:
        parts += [
            _line(LEFT - 5, y_of(value), LEFT, y_of(value)),
            _text(LEFT - 8, y_of(value) + 4, f"{value:g}", "end"),
        ]
    parts += [_line(LEFT, bottom, right, bottom), _line(LEFT, TOP, LEFT, bottom)]
    for name, value in lines.items():
        dashes = "" if name == "mean" else ' stroke-dasharray="6 4"'
        parts.append(_line(LEFT, y_of(value), right, y_of(value), f'stroke="#c33"{dashes}'))
        parts.append(_text(right + 4, y_of(value) + 4, f"{name} {value:.3g}", "start"))
    for (case, _one), mean, value in zip(points, means, values, strict=True):
        parts.append(
            f'<circle cx="{x_of(mean):.1f}" cy="{y_of(value):.1f}" r="4" fill="#36c" fill-opacity="0.6">'
            f"<title>{_plain(case)}</title></circle>"
        )
    parts.append(_text((LEFT + right) / 2, HEIGHT - 12, "mean of both volumes, mL"))
    turned = f'transform="rotate(-90 16 {(TOP + bottom) / 2})"'
    parts.append(_text(16, (TOP + bottom) / 2, "second - first, mL", "middle", more=turned))
    return "".join(parts)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, evenly spaced, from at most `low` to at least `high`; at least two."""
    span = max(high - low, 1e-6)
    power = 10 ** math.floor(math.log10(span / TICKS))
    step = next(each * power for each in (1, 2, 5, 10) if each * power * TICKS >= span * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def _line(x1: float, y1: float, x2: float, y2: float, stroke: str = 'stroke="black"') -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {stroke}/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", weight: str = "normal", more: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" {more}'
    return f"<text {place}>{_plain(text)}</text>"


def _plain(text: str) -> str:
    """The text as XML can hold it."""
    return escape("".join(c if c.isprintable() else " " for c in text))
