"""The list of segments that a prediction may not take a voxel from."""

from typing import Any

import qt
from slicer.i18n import tr as _

from MedTLLib import predictions

from .form import enable


class ProtectionPanel:
    """Is about the segmentation that was chosen to write into; what is ticked is a tag of the segment."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self._segmentation: Any = None
        self._rows: list[tuple[str, str, bool]] | None = None
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
        for segmentId, name, protected in rows:
            item = qt.QListWidgetItem(name)
            item.setData(qt.Qt.UserRole, segmentId)
            item.setCheckState(qt.Qt.Checked if protected else qt.Qt.Unchecked)
            shown.addItem(item)
        shown.blockSignals(blocked)
        none = "" if rows else _("Choose a segmentation under Result in: its segments are listed here.")
        enable(shown, none, _("Ticked segments lose no voxel to a prediction, as those whose status is Completed."))

    def onItem(self, item: Any) -> None:
        """Mark the segment as protected from MedTL, or no longer."""
        segment = self._segmentation.GetSegmentation().GetSegment(item.data(qt.Qt.UserRole))
        if item.checkState() == qt.Qt.Checked:
            segment.SetTag(predictions.PROTECTED_TAG, "1")
        else:
            segment.RemoveTag(predictions.PROTECTED_TAG)


def protectedRows(segmentation: Any) -> list[tuple[str, str, bool]]:
    """Id, name and protection of each segment."""
    if segmentation is None:
        return []
    rows = []
    for segmentId in segmentation.GetSegmentation().GetSegmentIDs():
        segment = segmentation.GetSegmentation().GetSegment(segmentId)
        rows.append((segmentId, segment.GetName(), segment.HasTag(predictions.PROTECTED_TAG)))
    return rows
