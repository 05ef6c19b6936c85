"""What the widgets and the logic of both modules share: form, parameter node, scene events, the engine and its jobs."""

from typing import Any

import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from .jobs.run import Engine, JobRun
from .jobs.shared import shared_engine
from .mrml import views
from .packages.packages import Packages


class ModuleLogic(ScriptedLoadableModuleLogic):  # type: ignore[misc]
    """Has the engine, its packages and the job that runs; an engine that is not given is the one that modules share."""

    def __init__(self, engine: Engine | None = None, packages: Packages | None = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.engine = engine or shared_engine.take(self)
        self.packages = packages or shared_engine.packages
        self.run = JobRun(self.engine)

    def close(self) -> None:
        """End the job. The engine ends with its last user."""
        self.run.close()
        shared_engine.give_back(self)


class ModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):  # type: ignore[misc]
    """A module's widget: makes its panels in `makePanels` and passes events on to them.

    After `setup` failed, all other methods do nothing: one error is enough.
    """

    def __init__(self, parent: Any = None) -> None:
        """Called when the user opens the module the first time and the widget is initialized."""
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)  # needed for parameter node observation
        self.logic: Any = None
        self.isSetUp = False
        self._parameterNode: Any = None
        self._parameterNodeGuiTag: Any = None

    # What a module defines

    def makePanels(self) -> None:
        """Make the logic and the panels."""
        raise NotImplementedError

    def showParameterNode(self, parameterNode: Any) -> None:
        """Give the panels another parameter node, or None."""
        raise NotImplementedError

    def updatePanels(self) -> None:
        """Show what the parameter node says."""
        raise NotImplementedError

    def enterPanels(self) -> None:
        """The module is opened."""

    def exitPanels(self) -> None:
        """Another module is opened."""

    def closeScene(self) -> None:
        """The scene is closed, with every node that a panel holds."""

    def closePanels(self) -> None:
        """The widget is destroyed."""

    # What Slicer calls

    def setup(self) -> None:
        """Called when the user opens the module the first time and the widget is initialized."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.makePanels()
        self.initializeParameterNode()  # also needed after a reload
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)
        self.isSetUp = True

    def cleanup(self) -> None:
        """Called when the application closes and the module widget is destroyed."""
        if self.isSetUp:
            self.isSetUp = False
            self.closePanels()
            self.logic.close()
            self.setParameterNode(None)
            self.removeObservers()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        if self.isSetUp:
            self.initializeParameterNode()
            self.enterPanels()

    def exit(self) -> None:
        """Called each time the user opens a different module."""
        if self.isSetUp:
            self.exitPanels()

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """Called just before the scene is closed."""
        self.logic.run.scene_closed()
        self.closeScene()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        """Called just after the scene is closed, or another one was read."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Ensure parameter node exists and observed."""
        parameterNode = self.logic.getParameterNode()
        if not parameterNode.inputVolume:
            parameterNode.inputVolume = views.volume_in_view()
        self.setParameterNode(parameterNode)

    def setParameterNode(self, inputParameterNode: Any) -> None:
        """Set and observe parameter node, so that the GUI follows it."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParameterNode)
        self._parameterNode = inputParameterNode
        self.showParameterNode(inputParameterNode)
        if self._parameterNode:
            # The dynamic property "SlicerParameterName" in the .ui file says which widget shows which parameter.
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParameterNode)
        self.updatePanels()

    def _onParameterNode(self, caller: Any = None, event: Any = None) -> None:
        self.updatePanels()
