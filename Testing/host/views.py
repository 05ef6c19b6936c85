# ruff: noqa: N801, N802, N815
"""Stand-ins for the layout manager and its slice views: the nodes and logic are real, nothing is drawn."""

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from host.pythonqt import fixed, standin

SLICES = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}


@standin
class qMRMLSliceView(QtWidgets.QWidget):
    """What a slice view draws on: nothing but the text in its corners."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._host_corners = vtk.vtkCornerAnnotation()

    def cornerAnnotation(self) -> vtk.vtkCornerAnnotation:
        return self._host_corners

    def scheduleRender(self) -> None:
        pass


@standin
class qMRMLSliceWidget(QtWidgets.QWidget):
    """One slice view."""

    def _hostStart(self, logic: Any) -> None:
        self._host_logic, self._host_view = logic, qMRMLSliceView()

    def sliceView(self) -> qMRMLSliceView:
        return self._host_view

    def sliceLogic(self) -> Any:
        return self._host_logic

    def mrmlSliceNode(self) -> Any:
        return self._host_logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._host_logic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self._host_logic.FitSliceToBackground()


@standin
class qSlicerLayoutManager(QtCore.QObject):
    """The three slice views of the usual layout; of the 3D view only whether it was reset."""

    threeDViewCount = fixed(int, 1)
    tableViewCount = fixed(int, 0)
    plotViewCount = fixed(int, 0)

    def _hostStart(self) -> None:
        application = slicer.app.applicationLogic()
        if application.GetSliceLogics() is None:
            application.SetSliceLogics(vtk.vtkCollection())
        self._host_widgets, self._host_resets = {}, 0
        for name, orientation in SLICES.items():
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLApplicationLogic(application)
            logic.SetMRMLScene(slicer.mrmlScene)
            logic.AddSliceNode(name).SetOrientation(orientation)
            logic.ResizeSliceNode(300, 300)
            logic.GetSliceNode().SetMappedInLayout(1)
            application.GetSliceLogics().AddItem(logic)
            self._host_widgets[name] = qMRMLSliceWidget()
            self._host_widgets[name]._hostStart(logic)

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._host_widgets)

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        return self._host_widgets.get(name)

    def mrmlSliceLogics(self) -> Any:
        return slicer.app.applicationLogic().GetSliceLogics()

    def resetThreeDViews(self) -> None:
        self._host_resets += 1

    def resetSliceViews(self) -> None:
        for widget in self._host_widgets.values():
            widget.fitSliceToBackground()
