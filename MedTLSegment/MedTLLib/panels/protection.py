"""The list of segments that a prediction may not take a voxel from."""

from typing import Any

import qt
from slicer.i18n import tr as _

from MedTLLib.prediction.masks import is_completed, protect, protected_segments

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
        none = "" if rows else _("Choose a segmentation under Result in. Its segments are listed here.")
        enable(
            shown,
            none,
            _("Ticked segments, and those with the status Completed, lose no voxel to a prediction."),
        )

    def onItem(self, item: Any) -> None:
        """Protect the segment from MedTL, or stop protecting it."""
        protect(self._segmentation, item.data(qt.Qt.UserRole), item.checkState() == qt.Qt.Checked)


def protectedRows(segmentation: Any) -> list[tuple[str, str, bool, bool]]:
    """For each segment: id, name, whether it is protected, and whether its status Completed is the reason."""
    if segmentation is None:
        return []
    protected, rows = protected_segments(segmentation), []
    for segmentId in segmentation.GetSegmentation().GetSegmentIDs():
        name = segmentation.GetSegmentation().GetSegment(segmentId).GetName()
        rows.append((segmentId, name, segmentId in protected, is_completed(segmentation, segmentId)))
    return rows
