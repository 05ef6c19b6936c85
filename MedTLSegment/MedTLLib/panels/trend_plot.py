"""The plot of a comparison of dates, drawn into a label: PythonQt's widgets do not call a paintEvent in Python."""

import itertools
from html import escape
from typing import Any

import qt

from medtl.trend.plot import Plot

LEFT, TOP, RIGHT, BOTTOM = 40, 8, 8, 20  # pixels around the lines
DOT = 3  # pixels, radius
GRID = (128, 128, 128, 90)
APART = 74  # pixels between the names of two dates


def draw(label: Any, plot: Plot) -> None:
    """Draw the lines over the dates, volumes from 0 in mL."""
    width, height = max(label.width, LEFT + RIGHT + 20), max(label.height, TOP + BOTTOM + 20)

    def place(x: float, y: float) -> tuple[int, int]:
        return LEFT + round(x * (width - LEFT - RIGHT)), TOP + round((1 - y) * (height - TOP - BOTTOM))

    picture = qt.QPixmap(width, height)
    picture.fill(qt.QColor(0, 0, 0, 0))
    painter = qt.QPainter()
    painter.begin(picture)
    ink = label.palette.color(qt.QPalette.WindowText)
    for ml, y in plot.ticks:
        start, end = place(0, y), place(1, y)
        painter.setPen(qt.QColor(*GRID))
        painter.drawLine(*start, *end)
        painter.setPen(ink)
        right = int(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        painter.drawText(0, start[1] - 8, LEFT - 6, 16, right, f"{ml:g}")
    shown: list[int] = []
    for date, x in (plot.dates[0], plot.dates[-1], *plot.dates[1:-1]):
        left = min(max(place(x, 0)[0] - APART // 2, 0), width - APART)
        if all(abs(left - other) >= APART for other in shown):
            shown.append(left)
            painter.drawText(left, height - BOTTOM + 2, APART, BOTTOM - 2, int(qt.Qt.AlignCenter), date)
    for line in plot.lines:
        pen = qt.QPen(qt.QColor(line.colour))
        pen.setWidth(2)
        pen.setStyle({"": qt.Qt.SolidLine, "7 3": qt.Qt.DashLine}.get(line.dash, qt.Qt.DotLine))
        for run in line.runs:
            points = [place(*point) for point in run]
            painter.setPen(pen)
            for start, end in itertools.pairwise(points):
                painter.drawLine(*start, *end)
            for x, y in points:
                painter.fillRect(x - DOT, y - DOT, 2 * DOT, 2 * DOT, qt.QColor(line.colour))
    painter.end()
    label.setPixmap(picture)


def key(plot: Plot) -> str:
    """The names of the lines beside their colours, as HTML: names come from files and are escaped."""
    return "<br>".join(f'<span style="color: {line.colour}">■</span>&nbsp;{escape(line.name)}' for line in plot.lines)
