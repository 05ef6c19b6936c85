"""Keys of the panel that are pressed once: they work wherever the focus is, except while the user types."""

from collections.abc import Callable
from typing import Any

import qt

from .shortcuts import Shortcut


class Key:
    """Calls `onPress()`; nothing happens before `listen(True)`, while `parent` is hidden, or while a text is edited.

    A shortcut of a letter leaves text fields alone by itself, but not one with Alt or in a list that is being edited.
    """

    def __init__(self, shortcut: Shortcut, parent: Any, onPress: Callable[[], None]) -> None:
        self._onPress = onPress
        self._shortcut = qt.QShortcut(qt.QKeySequence(shortcut.keys), parent)
        self._shortcut.context = qt.Qt.ApplicationShortcut  # slice views may lie in a window of their own
        self._shortcut.autoRepeat = False  # a key held down must not act twice
        self._shortcut.connect("activated()", self._press)
        self.listen(False)

    def listen(self, wanted: bool) -> None:
        """Take the key, or leave it to others."""
        self._shortcut.enabled = wanted

    def _press(self) -> None:
        if not isTyping():
            self._onPress()


def isTyping() -> bool:
    """Whether the focus is in a field for text or numbers."""
    focus = qt.QApplication.focusWidget()
    fields = (qt.QLineEdit, qt.QTextEdit, qt.QPlainTextEdit, qt.QAbstractSpinBox)
    return isinstance(focus, fields) and not getattr(focus, "readOnly", False)
