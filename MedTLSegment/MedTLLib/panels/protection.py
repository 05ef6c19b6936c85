"""The list of segments that a prediction may not take a voxel from."""

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedTLLib.prediction import writer
from MedTLLib.prediction.masks import protected_segments

from .form import enable, fitList
from .texts import plainTip


class ProtectionPanel:
    """Lists the segments of the target segmentation; a tick is a tag of the segment."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self._segmentation: Any = None
        self._rows: list[tuple[str, str, bool, bool]] | None = None
        ui.protectList.connect("itemChanged(QListWidgetItem*)", self.onItem)

    def update(self, segmentation: Any) -> None:
        """List the segments; without a segmentation none."""
        self._segmentation = segmentation
        rows = protectedRows(segmentation)
        shown = self.ui.protectList
        if rows == self._rows:
            return
        self._rows = rows
        blocked = shown.blockSignals(True)
        shown.clear()
        for segmentId, name, protected, completed in rows:
            item = qt.QListWidgetItem(name)
            item.setToolTip(plainTip(name))
            item.setData(qt.Qt.UserRole, segmentId)
            item.setCheckState(qt.Qt.Checked if protected else qt.Qt.Unchecked)
            if completed:  # only the Segment Editor changes that
                item.setFlags(qt.Qt.NoItemFlags)
            shown.addItem(item)
        shown.blockSignals(blocked)
        fitList(shown)
        none = "" if rows else _("Choose a segmentation under Result in: its segments are listed here.")
        enable(shown, none, _("Ticked segments lose no voxel to a prediction, as those whose status is Completed."))

    def onItem(self, item: Any) -> None:
        """Protect the segment from MedTL, or no longer."""
        segment = self._segmentation.GetSegmentation().GetSegment(item.data(qt.Qt.UserRole))
        if item.checkState() == qt.Qt.Checked:
            segment.SetTag(writer.PROTECTED_TAG, "1")
        else:
            segment.RemoveTag(writer.PROTECTED_TAG)


def protectedRows(segmentation: Any) -> list[tuple[str, str, bool, bool]]:
    """For each segment: id, name, whether it is protected, and whether its status Completed is the reason."""
    if segmentation is None:
        return []
    spared, rows = protected_segments(segmentation), []
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    for segmentId in segmentation.GetSegmentation().GetSegmentIDs():
        segment = segmentation.GetSegmentation().GetSegment(segmentId)
        completed = logic.GetSegmentStatus(segment) == logic.Completed
        rows.append((segmentId, segment.GetName(), segmentId in spared, completed))
    return rows
