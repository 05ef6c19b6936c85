# ruff: noqa: N802
"""A form (.ui) becomes widgets: Qt's own loader, strict about every property and connection."""

import warnings
import xml.etree.ElementTree as ET
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from host.pythonqt import find_signal, loading_a_form, standin

MARGINS = ("leftMargin", "topMargin", "rightMargin", "bottomMargin", "margin")
ONLY_IN_FORMS = {
    "QLabel": ("buddy",),
    "QFormLayout": MARGINS,
    "QGridLayout": (*MARGINS, "horizontalSpacing", "verticalSpacing"),
    "QHBoxLayout": MARGINS,
    "QVBoxLayout": MARGINS,
}


@standin
class QUiLoader(QtUiTools.QUiLoader):
    """`qt.QUiLoader` with the stand-ins by name. Of a class without a plugin it makes a plain QWidget and warns."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._host_unknown: list[str] = []

    classes: dict[str, type] = {}  # noqa: RUF012

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        cls = self.classes.get(class_name)
        if cls is not None:
            widget = cls(parent)
        elif class_name.startswith("Q"):
            widget = super().createWidget(class_name, parent, name)
        else:
            self._host_unknown.append(class_name)
            widget = QtWidgets.QWidget(parent)
        widget.setObjectName(name)
        return widget

    def load(self, device: Any, parent: Any = None) -> Any:
        form = ET.fromstring(bytes(device.readAll().data()))
        connections = form.find("connections")
        if connections is not None:
            form.remove(connections)  # Qt's loader cannot spell signals with VTK's classes
        data = QtCore.QBuffer()
        data.setData(ET.tostring(form))
        data.open(QtCore.QIODevice.ReadOnly)
        with loading_a_form(device.fileName()):
            widget = super().load(data, parent)
        for class_name in self._host_unknown:
            text = f"unable to create a custom widget of the class '{class_name}'; defaulting to base class 'QWidget'."
            warnings.warn(f"QFormBuilder was {text}", RuntimeWarning, stacklevel=2)
        named = {child.objectName: child for child in (widget, *widget.findChildren(QtCore.QObject))}
        for element in (*form.iter("widget"), *form.iter("layout"), *form.iter("action")):
            _check_properties(element, named.get(element.get("name", "")))
        for connection in form.iter("connection") if connections is None else connections:
            _connect(connection, named)
        return widget


def _check_properties(element: ET.Element, made: Any) -> None:
    has_no_plugin = type(made) is QtWidgets.QWidget and element.get("class") != "QWidget"
    if made is None or has_no_plugin:
        return
    for given in element.findall("property"):
        name = given.get("name", "")
        known = made.metaObject().indexOfProperty(name) >= 0 or name in ONLY_IN_FORMS.get(element.get("class", ""), ())
        if given.get("stdset") != "0" and not known:
            raise RuntimeError(f"{element.get('class')} {element.get('name')} has no property {name}.")


def _connect(connection: ET.Element, named: dict[str, Any]) -> None:
    text = {part: connection.findtext(part, "") for part in ("sender", "signal", "receiver", "slot")}
    for end in ("sender", "receiver"):
        if text[end] not in named:
            raise RuntimeError(f"The form connects {text[end]}, which it does not have.")
    slot = getattr(named[text["receiver"]], text["slot"].partition("(")[0])
    find_signal(named[text["sender"]], text["signal"])
    named[text["sender"]].connect(text["signal"], slot)
