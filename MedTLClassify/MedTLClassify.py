from typing import Annotated, Any

import vtk

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin
from slicer.parameterNodeWrapper import parameterNodeWrapper, Choice, WithinRange

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode

from MedTLClassifyLib.panel import ClassifyPanel
from MedTLClassifyLib import result as class_result, job as classify_job
from MedTLLib.mrml import views
from MedTLLib.panels.setup import SetupPanel
from MedTLLib.jobs.worker import Worker, shared


#
# MedTLClassify
#


class MedTLClassify(ScriptedLoadableModule):
    """Uses ScriptedLoadableModule base class, available at:
    https://github.com/Slicer/Slicer/blob/main/Base/Python/slicer/ScriptedLoadableModule.py
    """

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedTL Classify")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["MedTLSegment"]
        self.parent.contributors = ["The MedTL authors"]
        self.parent.helpText = _("""
Says which class a tumour is of, how sure that is, and when it does not know: choose a volume, where there is one the
segment of the tumour, press <b>Classify</b>. No image leaves this computer. Research use, not for diagnosis.
""")
        self.parent.acknowledgementText = _("Models are trained on public data that each model's card names.")


#
# MedTLClassifyParameterNode
#


@parameterNodeWrapper
class MedTLClassifyParameterNode:
    """The parameters needed by module."""

    inputVolume: vtkMRMLScalarVolumeNode  # the volume to classify
    segmentation: vtkMRMLSegmentationNode  # where the tumour is; none for the whole image
    segmentId: str  # the segment of the tumour
    modelName: str  # the model that classifies it
    allModels: bool = False  # list models that do not fit the volume, too
    result: vtkMRMLTableNode  # what Result shows: the answer for what is chosen, or the last one
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    threads: Annotated[int, WithinRange(0, 256)] = 0  # of the model; 0 means all


#
# MedTLClassifyWidget
#


class MedTLClassifyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Uses ScriptedLoadableModuleWidget base class, available at:
    https://github.com/Slicer/Slicer/blob/main/Base/Python/slicer/ScriptedLoadableModule.py
    """

    def __init__(self, parent=None) -> None:
        """Called when the user opens the module the first time and the widget is initialized."""
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)  # needed for parameter node observation
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self) -> None:
        """Called when the user opens the module the first time and the widget is initialized."""
        ScriptedLoadableModuleWidget.setup(self)

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedTLClassify.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = MedTLClassifyLogic(shared())

        # Each part of the panel is a class of its own, in MedTLClassifyLib.
        self.classify = ClassifyPanel(self.ui, self.logic)
        self.setupPage = SetupPanel(self.ui, self.logic, self.classify, self.ui.classifyButton)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)

        # Make sure parameter node is initialized (needed for module reload)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the application closes and the module widget is destroyed."""
        self.classify.forget()
        self.setParameterNode(None)
        self.removeObservers()
        if self.logic.worker.state == "ready":  # else it is not there, or works for the other module
            self.logic.worker.stop()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()
        self.classify.enter()
        self.setupPage.check()

    def onSceneStartClose(self, caller, event) -> None:
        """Called just before the scene is closed."""
        self.classify.forget()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        """Called just after the scene is closed, or another one was read."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Ensure parameter node exists and observed."""
        parameterNode = self.logic.getParameterNode()
        if not parameterNode.inputVolume:
            parameterNode.inputVolume = views.volume_in_view()
        self.setParameterNode(parameterNode)

    def setParameterNode(self, inputParameterNode: MedTLClassifyParameterNode | None) -> None:
        """Set and observe parameter node, so that the GUI follows it."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.classify.update)
        self._parameterNode = inputParameterNode
        self.classify.parameters = inputParameterNode
        if self._parameterNode:
            # The dynamic property "SlicerParameterName" in the .ui file says which widget shows which parameter.
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.classify.update)
        self.classify.update()


#
# MedTLClassifyLogic
#


class MedTLClassifyLogic(ScriptedLoadableModuleLogic):
    """Runs a model on a volume, without a panel.
    Uses ScriptedLoadableModuleLogic base class, available at:
    https://github.com/Slicer/Slicer/blob/main/Base/Python/slicer/ScriptedLoadableModule.py
    """

    def __init__(self, worker: Worker | None = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.worker = worker or Worker()

    def getParameterNode(self):
        return MedTLClassifyParameterNode(super().getParameterNode())

    def process(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        modelName: str,
        segmentationNode: vtkMRMLSegmentationNode | None = None,
        segmentId: str = "",
    ) -> dict[str, Any]:
        """
        Classify a volume and return what `medtl classify --json` says of it; Slicer stays alive meanwhile.
        :param volumeNode: volume to be classified
        :param modelName: name of a model, "brain-tumour-4class" for instance
        :param segmentationNode: where the tumour is; the whole image when left out
        :param segmentId: its segment; when left out the one that MedTL segmented as a tumour, else the first
        The table of the answer stays in the scene.
        Raises ValueError on bad input and RuntimeError when the engine cannot run.
        """
        table = classify_job.run(self.worker, volumeNode, modelName, segmentationNode, segmentId)
        return class_result.report(class_result.read(table))


#
# MedTLClassifyTest
#


class MedTLClassifyTest(ScriptedLoadableModuleTest):
    """
    What can be tested inside Slicer without a trained model.
    Uses ScriptedLoadableModuleTest base class, available at:
    https://github.com/Slicer/Slicer/blob/main/Base/Python/slicer/ScriptedLoadableModule.py
    """

    def setUp(self):
        """Do whatever is needed to reset the state - typically a scene clear will be enough."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run as few or as many tests as needed here."""
        self.setUp()
        self.test_HeatMapKeepsItsPlace()
        self.setUp()
        self.test_BadInputIsRefused()

    def test_HeatMapKeepsItsPlace(self):
        """A heat map lies on the grid of its image, voxel by voxel, and what was in front comes back."""
        import numpy as np
        from medtl.phantom import head
        from MedTLClassifyLib import heatmaps
        from MedTLLib import samples
        from MedTLLib.mrml import scene

        phantom = head(1, (64, 64, 8), (3.5, 3.5, 15.0))
        volume = samples.volume_node(phantom.volume)
        heat = (phantom.labelmap.array > 0).astype(np.float32)
        node = heatmaps.put(heat, phantom.volume.geometry, "heat map")
        self.assertTrue((slicer.util.arrayFromVolume(node) == heat).all())
        self.assertTrue(scene.geometry_of(node).close_to(scene.geometry_of(volume)))
        heatmaps.show(node, volume)
        heatmaps.hide()
        self.assertFalse(heatmaps.shown(node))

    def test_BadInputIsRefused(self):
        """No volume, or a model that is not there, is a ValueError and changes nothing."""
        logic = MedTLClassifyLogic()
        with self.assertRaises(ValueError):
            logic.process(None, "brain-tumour-4class")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode"), 0)
        panel = slicer.modules.medtlclassify.widgetRepresentation().self()
        if not panel.classify.models.models:
            self.assertIn("No model for classification", panel.classify.models.whyNone())
            self.delayDisplay("Test passed; no model for classification is installed, so none was tried")
        else:
            self.delayDisplay("Test passed; no model was tried")
