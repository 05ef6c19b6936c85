"""The diameters of a lesion as lines in the slice views, which the table follows."""

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from MedTLLib.mrml import views
from MedTLLib.results import diameter_lines, volume_table
from MedTLLib.results.lesion_rows import to_draw

from .form import enable
from .lesions import LesionsPanel


class DiametersPanel(VTKObservationMixin):  # type: ignore[misc]
    """One button: it draws the lines of the lesion that is chosen in the table, or removes them."""

    def __init__(self, ui: Any, lesions: LesionsPanel) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.lesions = ui, lesions
        self._lines: list[Any] = []
        self._waits = False
        ui.diametersButton.connect("clicked()", self.onButton)

    def update(self) -> None:
        """Show what can be done for the chosen row, and follow the lines of the segmentation."""
        self._observe(diameter_lines.lines_of(self.lesions.segmentation))
        node, table = self.lesions.segmentation, self.lesions.table
        row = to_draw(self.lesions.rows, table, self.lesions.chosen) if table is not None else None
        drawn = bool(row and diameter_lines.lines_of_row(node, table, row.segment_id, row.lesion))
        self.ui.diametersButton.text = _("Remove diameters") if drawn else _("Draw diameters")
        reason = "" if row else _("Nothing is measured in mm here.")
        if node is not None and not volume_table.has_real_spacing(node):
            reason = _("The image states no spacing, so there are no mm.")
        help = _("Draw the two diameters of the lesion as lines. Where you move an end, the table follows.")
        enable(self.ui.diametersButton, reason, help)

    def onButton(self) -> None:
        """Draw the lines and go to their slice, or remove them."""
        node, table = self.lesions.segmentation, self.lesions.table
        row = to_draw(self.lesions.rows, table, self.lesions.chosen) if table is not None else None
        if row is None:
            return

        def step() -> str:
            drawn = diameter_lines.lines_of_row(node, table, row.segment_id, row.lesion)
            if drawn:
                diameter_lines.remove(drawn)
                return ""
            lines = diameter_lines.draw(node, self.lesions.volume(), row.segment_id, row.lesion)
            views.jump(diameter_lines.middle_of(lines[0]))
            return str(_("Move an end of a line, and the table follows."))

        self.lesions.act(step, row.segment_id)

    def close(self) -> None:
        """The scene is closed, or the module ends."""
        self._observe([])

    def _observe(self, lines: list[Any]) -> None:
        """Observe these lines, and no others."""
        if len(lines) == len(self._lines) and all(a is b for a, b in zip(lines, self._lines)):
            return
        self._lines = lines
        self.removeObservers()
        for line in lines:
            self.addObserver(line, line.PointModifiedEvent, self.onLine)
        if lines:
            self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self.onLine)

    def onLine(self, caller: Any, event: Any) -> None:
        """A line was moved, or a node removed: look once, for a moved end calls twice."""
        if not self._waits:
            self._waits = True
            qt.QTimer.singleShot(0, self.follow)

    def follow(self) -> None:
        """The table has the lengths of the lines; where one was removed, what was measured."""
        self._waits = False
        node, table = self.lesions.segmentation, self.lesions.table
        if node is None or table is None:
            return
        gone = [line for line in self._lines if line.GetScene() is not slicer.mrmlScene]
        for segmentId in dict.fromkeys(line.GetAttribute(diameter_lines.SEGMENT) for line in gone):
            self._lines = [line for line in self._lines if line not in gone]
            self.lesions.act(lambda: str(self.ui.resultLabel.text), segmentId)
        diameter_lines.follow(table, node)
        self.lesions.onMeasured()
