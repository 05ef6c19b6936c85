# ruff: noqa: N801, N802, N815
"""Stand-ins for scripted modules: what the application holds of each, and its panel."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from host.mrml_widgets import qSlicerWidget
from host.pythonqt import standin, stored


@standin
class qSlicerScriptedLoadableModule(QtCore.QObject):
    """A scripted module: what its Python class fills in, and its panel."""

    title = stored("title", str, "")
    categories = stored("categories", "QStringList", [])
    dependencies = stored("dependencies", "QStringList", [])
    contributors = stored("contributors", "QStringList", [])
    associatedNodeTypes = stored("associatedNodeTypes", "QStringList", [])
    helpText = stored("helpText", str, "")
    acknowledgementText = stored("acknowledgementText", str, "")
    icon = stored("icon", QtGui.QIcon, QtGui.QIcon())
    hidden = stored("hidden", bool, False)
    index = stored("index", int, -1)
    path = QtCore.Property(str, lambda self: str(self._host_path))
    _host_panel: Any = None

    # `name` is the object's name on every other QObject: this property hides it.
    name = QtCore.Property(str, lambda self: self._host_path.stem)

    def logic(self) -> None:
        return None

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def widgetRepresentation(self) -> Any:
        if self._host_panel is None:
            self._host_panel = qSlicerScriptedLoadableModuleWidget()
            self._host_panel._host_make(self._host_path)
        return self._host_panel


@standin
class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The frame of a module's panel, around its Python widget."""

    _host_entered = False
    isEntered = QtCore.Property(bool, lambda self: self._host_entered)
    moduleName = QtCore.Property(str, lambda self: self._host_path.stem)

    def _host_make(self, path: Path) -> None:
        self._host_path = path
        if self.layout() is None:
            self.setLayout(QtWidgets.QVBoxLayout())
            self.setMRMLScene(slicer.mrmlScene)
        cls = getattr(sys.modules[path.stem], f"{path.stem}Widget")
        self._host_self = cls(self)
        setattr(slicer.modules, f"{path.stem}Widget", self._host_self)
        self._host_self.setup()

    def self(self) -> Any:
        return self._host_self

    def reload(self) -> None:
        self._host_make(self._host_path)
        if self._host_entered:
            self._host_call("enter")

    def enter(self) -> None:
        self._host_entered = True
        self._host_call("enter")

    def exit(self) -> None:
        self._host_entered = False
        self._host_call("exit")

    def _host_call(self, name: str) -> None:
        function: Callable[[], None] | None = getattr(self._host_self, name, None)
        if function is not None:
            function()


def module_panel(panel: QtWidgets.QWidget, width: int, height: int) -> QtWidgets.QScrollArea:
    """A scroll area with the panel in it, a stretch below: what does not fit is reached by scrolling down."""
    area, inside = QtWidgets.QScrollArea(), QtWidgets.QWidget()
    inside.setLayout(QtWidgets.QVBoxLayout())
    inside.layout().setContentsMargins(0, 0, 0, 0)
    inside.layout().addWidget(panel, stretch=1)
    panel.layout().setContentsMargins(0, 0, 0, 0)
    panel.setSizePolicy(QtWidgets.QSizePolicy.Ignored, panel.sizePolicy.verticalPolicy())
    area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
    area.setWidgetResizable(True)
    area.setWidget(inside)
    area.resize(width, height)
    panel._host_area = area  # else it is gone when the test ends, and the panel with it
    panel.show()
    area.show()
    QtWidgets.QApplication.processEvents()
    return area


def load(path: Path) -> Any:
    """The module's Python widget, entered, as Slicer makes it: file, module class, panel, `setup()`.

    Its folder enters `sys.path`. Where the module is loaded already, that one is unloaded first.
    """
    name = path.stem
    if hasattr(slicer.modules, name.lower()):
        unload(name)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"Expected a Python file, found {path}.")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    module = qSlicerScriptedLoadableModule()
    module._host_path = path
    setattr(slicer.modules, f"{name}Instance", getattr(sys.modules[name], name)(module))
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.moduleNames, name, name)
    slicer.app.moduleManager().moduleLoaded.emit(name)
    panel = module.widgetRepresentation()
    panel.show()
    panel.enter()
    return panel.self()


def unload(name: str) -> None:
    """Takes the module away as Slicer does at its end: `cleanup()` runs, the panel is deleted."""
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    panel = getattr(slicer.modules, name.lower()).widgetRepresentation()
    panel.hide()
    panel.setParent(None)
    panel.deleteLater()
    for known in (f"{name}Instance", f"{name}Widget", name.lower()):
        delattr(slicer.modules, known)
    delattr(slicer.moduleNames, name)
    sys.modules.pop(name, None)
    slicer.app.processEvents()
