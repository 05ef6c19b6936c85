# ruff: noqa: N801, N802, N815
"""Stand-ins for `slicer.app` and its module manager."""

from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from host.files import qSlicerIOManager
from host.pythonqt import fixed, standin, stored
from host.views import qSlicerLayoutManager

Signal = QtCore.Signal


@standin
class qSlicerModuleManager(QtCore.QObject):
    """Tells of modules that come and go."""

    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)

    def modulesNames(self) -> list[str]:
        return [name for name in vars(slicer.moduleNames) if not name.startswith("_")]


@standin
class qSlicerApplication(QtWidgets.QApplication):
    """`slicer.app`, without a main window. Testing mode is off, as for a user: a confirmation is a box."""

    startupCompleted = Signal()
    temporaryPath = stored("temporaryPath", str, "")
    slicerHome = QtCore.Property(str, lambda self: self.temporaryPath)
    documentationBaseUrl = fixed(str, "https://slicer.readthedocs.io/en/latest/")
    majorVersion = fixed(int, 5)
    minorVersion = fixed(int, 12)
    os = fixed(str, "linux")
    mainApplicationName = fixed(str, "Slicer")

    def _hostStart(self, folder: Path) -> None:
        self.setApplicationName("Slicer")
        self.setOrganizationName("MedTL tests")
        self.setApplicationVersion("5.12.4-2026-01-01")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(folder / "settings"))
        self._host_settings = QtCore.QSettings()
        self._host_modules, self._host_io = qSlicerModuleManager(), qSlicerIOManager()
        self._host_logic: Any = None
        self._host_layout: qSlicerLayoutManager | None = None
        self.temporaryPath = str(folder)

    @staticmethod
    def testingEnabled() -> bool:
        return False

    def settings(self) -> QtCore.QSettings:
        return self._host_settings

    def userSettings(self) -> QtCore.QSettings:
        return self._host_settings

    def revisionUserSettings(self) -> QtCore.QSettings:
        return self._host_settings

    def moduleManager(self) -> qSlicerModuleManager:
        return self._host_modules

    def coreIOManager(self) -> qSlicerIOManager:
        return self._host_io

    def ioManager(self) -> qSlicerIOManager:
        return self._host_io

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def applicationLogic(self) -> Any:
        return self._host_logic

    def layoutManager(self) -> qSlicerLayoutManager | None:
        return self._host_layout

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def pauseRender(self) -> None:
        pass

    def resumeRender(self) -> None:
        pass

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def restart(self) -> None:
        raise RuntimeError("Slicer was to be restarted: no test does that.")
