"""Saving a segmentation some time after its last change, so that a crash costs no more."""

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.util import VTKObservationMixin

# The pause is longer where saving takes long, so that it does not disturb.
PAUSE_MS, SHARE = 2_000, 0.05
EVENTS = (slicer.vtkSegmentation.SourceRepresentationModified, slicer.vtkSegmentation.SegmentModified)


class QuietSave(VTKObservationMixin):  # type: ignore[misc]
    """Calls `save()` in a pause after a change of the watched segmentation. SEED marks are a change, too."""

    def __init__(self, parent: Any, save: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._save, self.pause = save, PAUSE_MS
        self._timer = qt.QTimer(parent)
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self.onPause)

    def watch(self, segmentation: Any) -> None:
        """Watch this segmentation and no other; None for none."""
        self.stop()
        self.removeObservers()
        if segmentation is not None:
            for event in EVENTS:
                self.addObserver(segmentation, event, self.onChange)

    def stop(self) -> None:
        """What was changed until now is saved."""
        self._timer.stop()

    def took(self, seconds: float) -> None:
        """Saving took so long."""
        self.pause = max(PAUSE_MS, round(1000 * seconds / SHARE))

    def onChange(self, caller: Any, event: Any) -> None:
        self._timer.start(self.pause)

    def onPause(self) -> None:
        """Save now, unless the user is in the middle of a stroke."""
        if qt.QApplication.mouseButtons() != qt.Qt.NoButton:
            self._timer.start(self.pause)
        else:
            self._save()
