"""A curve that grows while a job runs, drawn into a label: PythonQt's widgets do not call a paintEvent in Python."""

import itertools
from collections.abc import Sequence
from typing import Any

import qt

LINE = (70, 130, 200)  # visible on light and on dark
EDGE = 4  # pixels


def points(
    values: Sequence[tuple[float, float]], size: tuple[int, int], longest: float, top: float
) -> tuple[tuple[int, int], ...]:
    """The points (x, y) of a curve of (seconds, value), in pixels from the left and the top of a picture.

    The picture has this `size` (width, height); `longest` seconds fill its width, the value `top` its height, and 0 is
    at the bottom. There is one point for each column of pixels, the mean of the values in it.
    """
    columns: dict[int, list[float]] = {}
    for seconds, value in values:
        columns.setdefault(round(min(max(seconds / longest, 0.0), 1.0) * (size[0] - 1)), []).append(value)
    room = size[1] - 1 - 2 * EDGE
    heights = {x: min(max(sum(column) / len(column) / top, 0.0), 1.0) for x, column in columns.items()}
    return tuple((x, round(EDGE + room * (1 - heights[x]))) for x in sorted(heights))


def draw(label: Any, curves: Sequence[Sequence[tuple[float, float]]], longest: float, text: str) -> None:
    """Draw curves of (seconds, value) on one scale into a QLabel, with a text in its upper right corner."""
    width, height = max(label.width, 4 * EDGE), max(label.height, 4 * EDGE)
    top = max((value for curve in curves for _, value in curve), default=0.0) or 1.0
    picture = qt.QPixmap(width, height)
    picture.fill(qt.QColor(0, 0, 0, 0))
    painter = qt.QPainter()
    painter.begin(picture)
    pen = qt.QPen(qt.QColor(*LINE))
    pen.setWidth(2)
    painter.setPen(pen)
    for curve in curves:
        run = points(curve, (width, height), longest, top)
        for (x1, y1), (x2, y2) in itertools.pairwise(run):
            painter.drawLine(x1, y1, x2, y2)
    painter.setPen(label.palette.color(qt.QPalette.WindowText))
    painter.drawText(EDGE, EDGE, width - 2 * EDGE, height, int(qt.Qt.AlignRight | qt.Qt.AlignTop), text)
    painter.end()
    label.setPixmap(picture)
