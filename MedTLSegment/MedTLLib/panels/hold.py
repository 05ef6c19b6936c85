"""A key that is held down."""

from collections.abc import Callable
from typing import Any

import qt
import slicer

from .shortcuts import Shortcut

LET_GO_MS = 60  # some remote desktops send a held key as many short presses


class HeldKey(qt.QWidget):  # type: ignore[misc]
    """Calls `onHold(True)` when a letter key goes down and `onHold(False)` when it comes up, once each.

    A shortcut gets the press wherever the focus is, except in text fields, but no release. So, only while the key is
    down, this object is an event filter of Slicer. Nothing happens while `parent` is hidden or before `listen(True)`.
    """

    def __init__(self, shortcut: Shortcut, parent: Any, onHold: Callable[[bool], None]) -> None:
        qt.QWidget.__init__(self)  # never shown: as in Slicer's own examples of event filters
        self.down = False
        self._onHold, self._code = onHold, ord(shortcut.keys)
        self._shortcut = qt.QShortcut(qt.QKeySequence(shortcut.keys), parent)
        self._shortcut.context = qt.Qt.ApplicationShortcut  # slice views may lie in a window of their own
        self._shortcut.autoRepeat = False
        self._shortcut.connect("activated()", self._press)
        self._later = qt.QTimer(parent)
        self._later.setSingleShot(True)
        self._later.connect("timeout()", self.release)
        self.listen(False)

    def listen(self, wanted: bool) -> None:
        """Take the key, or leave it to others."""
        self._shortcut.enabled = wanted
        if not wanted:
            self.release()

    def release(self) -> None:
        """The key is up."""
        self._later.stop()
        if self.down:
            self.down = False
            slicer.app.removeEventFilter(self)
            self._onHold(False)

    def _press(self) -> None:
        self._later.stop()
        if not self.down:
            self.down = True
            slicer.app.installEventFilter(self)
            self._onHold(True)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        kind = event.type()
        up = kind == qt.QEvent.KeyRelease and event.key() == self._code and not event.isAutoRepeat()
        if up or kind in (
            qt.QEvent.ApplicationDeactivate,
            qt.QEvent.WindowDeactivate,
        ):  # then no release comes
            self._later.start(LET_GO_MS)
        return False
