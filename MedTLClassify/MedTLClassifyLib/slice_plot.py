"""The votes of the slices: a plot of each class's probability, and a slider that goes to a slice."""

import itertools
from collections.abc import Sequence
from html import escape
from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.errors import InputError
from MedTLClassifyLib import result
from MedTLClassifyLib.result import Classification, Slice
from MedTLLib.mrml import views
from MedTLLib.panels.form import ResizeWatcher, showText

from .texts import sliceText

# Distinct also for people with red-green colour blindness. Source: Okabe and Ito, Color Universal Design, 2008.
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
DASHES = ("SolidLine", "DashLine", "DotLine", "DashDotLine")
EDGE = 6  # pixels
GREY, DARKEST = (128, 128, 128), 110  # behind the slices, darker for a higher weight


class VotesPanel:
    """Shown only for a model that uses more than one slice."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.classification: Classification | None = None
        self.volume: Any = None
        ui.votesButton.connect("contentsCollapsed(bool)", lambda collapsed: self.drawSoon())
        self._watcher = ResizeWatcher(ui.plotLabel, self.draw)
        ui.sliceSlider.connect("valueChanged(int)", self.onSlice)
        showText(ui.sliceLabel, "")

    def show(self, classification: Classification | None, volume: Any, stale: bool) -> None:
        """Show the slices behind this answer; `volume` is where the slider goes to a slice."""
        slices = classification.slices if classification else ()
        new = classification != self.classification
        self.classification, self.volume = classification, volume
        self.ui.votesButton.visible = len(slices) > 1
        for widget in (self.ui.plotLabel, self.ui.legendLabel, self.ui.sliceLabel):
            widget.enabled = not stale
        self.ui.sliceSlider.enabled = not stale and volume is not None
        self.ui.sliceSlider.toolTip = (
            _("Go to a slice.") if self.ui.sliceSlider.enabled else _("This result is not for the chosen volume.")
        )
        if classification is None or not new or len(slices) < 2:
            return
        blocked = self.ui.sliceSlider.blockSignals(True)
        self.ui.sliceSlider.setRange(slices[0].index, slices[-1].index)
        self.ui.sliceSlider.value = slices[0].index
        self.ui.sliceSlider.blockSignals(blocked)
        showText(self.ui.sliceLabel, _("The darker the grey, the more a slice counts."))
        names = [classification.name(each) for each in classification.probabilities]
        colours = itertools.cycle(COLOURS)
        parts = [
            f'<span style="color: {hexOf(next(colours))}">■</span>&nbsp;{escape(name).replace(" ", "&nbsp;")}'
            for name in names
        ]
        self.ui.legendLabel.text = " &nbsp; ".join(parts)
        self.drawSoon()

    def drawSoon(self) -> None:
        """Draw after the layout has set the size."""
        qt.QTimer.singleShot(0, self.draw)

    def draw(self) -> None:
        """Draw the curves as wide as the label."""
        if self.classification is None or len(self.classification.slices) < 2 or self.ui.votesButton.collapsed:
            return
        width, height = max(self.ui.plotLabel.width, 40), max(self.ui.plotLabel.height, 40)
        picture = qt.QPixmap(width, height)
        picture.fill(qt.QColor(0, 0, 0, 0))
        painter = qt.QPainter()
        painter.begin(picture)
        paint(painter, self.classification, (width, height), self.ui.plotLabel.palette.color(qt.QPalette.WindowText))
        painter.end()
        self.ui.plotLabel.setPixmap(picture)

    def onSlice(self, position: int) -> None:
        """Go to the slice nearest to where the slider is."""
        if self.classification is None or not self.classification.slices or self.volume is None:
            return
        index = min((one.index for one in self.classification.slices), key=lambda index: abs(index - position))
        try:
            goTo(self.volume, str(self.classification.record["plane"]), index)
            showText(self.ui.sliceLabel, sliceText(self.classification, index))
        except InputError as error:
            showText(self.ui.sliceLabel, str(error))


def goTo(volume: Any, plane: str, index: int) -> None:
    """Show a slice in the view of its plane; the views turn to the volume's planes where necessary.

    Raises: InputError when there is no view of that plane.
    """
    place, axis = result.place_of(volume, plane, index)
    view = views.view_along(volume, axis)
    if view is None or not views.is_one_slice(view, volume, axis):
        views.turn_to(volume)
        view = views.view_along(volume, axis)
    if view is None:
        raise InputError(
            _("Expected a view of {plane} slices, found none. Choose a layout that has one.").format(plane=plane)
        )
    views.go_to(view, place)


def curves(slices: Sequence[Slice], classId: str, size: tuple[int, int]) -> list[tuple[int, int]]:
    """The points of the curve of a class, in pixels from the left and the top: slices from left to right, probability
    0 at the bottom and 1 at the top."""
    first, last = slices[0].index, slices[-1].index
    width, height = size[0] - 1 - 2 * EDGE, size[1] - 1 - 2 * EDGE
    return [
        (
            EDGE + round(width * (one.index - first) / max(last - first, 1)),
            EDGE + round(height * (1 - float(one.probabilities[classId]))),
        )
        for one in slices
    ]


def paint(painter: Any, classification: Classification, size: tuple[int, int], ink: Any) -> None:
    """Paint the frame, the weight of each slice, and a curve for each class."""
    slices = classification.slices
    most = max(one.weight for one in slices)
    half = max(1, (size[0] - 2 * EDGE) // max(slices[-1].index - slices[0].index, 1) // 2)
    for (x, _y), one in zip(curves(slices, classification.best, size), slices, strict=True):
        shade = qt.QColor(*GREY, round(DARKEST * one.weight / most))
        painter.fillRect(x - half, EDGE, 2 * half, size[1] - 2 * EDGE, shade)
    painter.setPen(ink)
    painter.drawRect(EDGE, EDGE, size[0] - 1 - 2 * EDGE, size[1] - 1 - 2 * EDGE)
    styles = zip(itertools.cycle(COLOURS), itertools.cycle(DASHES))
    for classId, (colour, dash) in zip(classification.probabilities, styles):
        pen = qt.QPen(qt.QColor(*colour))
        pen.setWidth(2)
        pen.setStyle(getattr(qt.Qt, dash))
        painter.setPen(pen)
        for (x1, y1), (x2, y2) in itertools.pairwise(curves(slices, classId, size)):
            painter.drawLine(x1, y1, x2, y2)


def hexOf(colour: tuple[int, int, int]) -> str:
    """The colour as HTML writes it."""
    return "#" + "".join(f"{part:02x}" for part in colour)
