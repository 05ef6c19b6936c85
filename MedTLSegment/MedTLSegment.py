from pathlib import Path
from typing import Annotated

import vtk

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin
from slicer.parameterNodeWrapper import parameterNodeWrapper, Choice, WithinRange

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode

from MedTLLib.jobs import segment as segment_job
from MedTLLib import samples
from MedTLLib.mrml import views
from MedTLLib.panels.finetune import FinetunePanel
from MedTLLib.panels.maintenance import MaintenancePanel
from MedTLLib.panels.results import ResultsPanel
from MedTLLib.panels.seeds import SeedsPanel
from MedTLLib.panels.segment import SegmentPanel
from MedTLLib.panels.setup import SetupPanel
from MedTLLib.jobs.worker import Worker, shared


#
# MedTLSegment
#


class MedTLSegment(ScriptedLoadableModule):
    """Uses ScriptedLoadableModule base class."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedTL Segment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["The MedTL authors"]
        self.parent.helpText = _("""
Segments tumours in the loaded image: choose a volume, press <b>Segment</b>. No image leaves this computer.
Research use, not for diagnosis.
""")
        self.parent.acknowledgementText = _("Models are trained on public data that each model's card names.")
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Add the phantom to the Sample Data module."""
    samples.register(Path(__file__).parent / "Resources/Icons")


#
# MedTLSegmentParameterNode
#


@parameterNodeWrapper
class MedTLSegmentParameterNode:
    """The parameters needed by module."""

    inputVolume: vtkMRMLScalarVolumeNode  # the volume to segment
    modelName: str  # the model that segments it
    allModels: bool = False  # list models that do not fit the volume, too
    targetSegmentation: vtkMRMLSegmentationNode  # takes the result; none for a new one
    replaceEdits: bool = False  # overwrite slices that were edited by hand
    resultSegmentation: vtkMRMLSegmentationNode  # Results is about it: the last result, or the one chosen since
    onlySlice: bool = False  # write the slice in the Red view alone
    onlyRegion: vtkMRMLMarkupsROINode  # write what is inside alone
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    threads: Annotated[int, WithinRange(0, 256)] = 0  # of the model; 0 means all
    flip: bool = False  # average with the mirrored image
    tuneBudget: Annotated[int, WithinRange(10, 3600)] = 60  # seconds that Fine-tune takes
    tuneStrength: Annotated[float, WithinRange(0.1, 2.0)] = 1.0  # how far Fine-tune may go from the model


#
# MedTLSegmentWidget
#


class MedTLSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Uses ScriptedLoadableModuleWidget base class."""

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

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedTLSegment.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = MedTLSegmentLogic(shared())

        # Each part of the panel is a class of its own, in MedTLLib/panels.
        self.results = ResultsPanel(self.ui)
        self.segment = SegmentPanel(self.ui, self.logic, self.results.show)
        self.seeds = SeedsPanel(self.ui, self.segment.models, self.results)
        self.finetune = FinetunePanel(self.ui, self.logic, self.segment, self.results.show)
        self.setupPage = SetupPanel(self.ui, self.logic, self.segment, self.ui.segmentButton)
        self.maintenance = MaintenancePanel(self.ui, self.logic, self.segment)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)

        # Make sure parameter node is initialized (needed for module reload)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the application closes and the module widget is destroyed."""
        self.seeds.exit()
        self.finetune.close()
        self.setParameterNode(None)
        self.removeObservers()
        self.logic.worker.stop()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()
        self.segment.enter()
        self.setupPage.check()
        self.seeds.enter()
        self.finetune.enter()

    def exit(self) -> None:
        """Called each time the user opens a different module."""
        self.seeds.exit()
        self.finetune.exit()

    def onSceneStartClose(self, caller, event) -> None:
        """Called just before the scene is closed."""
        self.segment.abandon()
        self.finetune.abandon()
        self.seeds.forget()
        self.results.forget()
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

    def setParameterNode(self, inputParameterNode: MedTLSegmentParameterNode | None) -> None:
        """Set and observe parameter node, so that the GUI follows it."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self._parameterNode = inputParameterNode
        self.segment.parameters = self.results.parameters = inputParameterNode
        if self._parameterNode:
            # The dynamic property "SlicerParameterName" in the .ui file says which widget shows which parameter.
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self._update()

    def _update(self, caller=None, event=None) -> None:
        self.segment.update()
        self.results.update()
        self.seeds.update()


#
# MedTLSegmentLogic
#


class MedTLSegmentLogic(ScriptedLoadableModuleLogic):
    """Runs a model on a volume, without a panel.
    Uses ScriptedLoadableModuleLogic base class."""

    def __init__(self, worker: Worker | None = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.worker = worker or Worker()

    def getParameterNode(self):
        return MedTLSegmentParameterNode(super().getParameterNode())

    def process(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        modelName: str,
        segmentationNode: vtkMRMLSegmentationNode | None = None,
    ) -> vtkMRMLSegmentationNode:
        """
        Segment a volume and return the segmentation; Slicer stays alive meanwhile.
        :param volumeNode: volume to be segmented
        :param modelName: name of a model, "glioma-flair" for instance
        :param segmentationNode: segmentation to write into; a new one when left out
        Raises ValueError on bad input and RuntimeError when the engine cannot run.
        """
        segment_job.check(volumeNode)
        return segment_job.run(self.worker, volumeNode, segmentationNode, segment_job.Choices(modelName))


#
# MedTLSegmentTest
#


class MedTLSegmentTest(ScriptedLoadableModuleTest):
    """
    What can be tested inside Slicer without the engine's packages.
    Uses ScriptedLoadableModuleTest base class."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_PhantomKeepsItsPlace()
        self.setUp()
        self.test_BadInputIsRefused()

    def test_PhantomKeepsItsPlace(self):
        """What is written into a segmentation lies where the labels are, voxel by voxel."""
        from MedTLLib.prediction import writer
        from MedTLLib.mrml import scene
        from medtl.phantom import head

        phantom = head(1, (64, 64, 8), (3.5, 3.5, 15.0))
        volume = samples.volumeNode(phantom.volume)
        written = writer.write(phantom.labelmap, volume)
        segmentation = slicer.mrmlScene.GetNodeByID(written.segmentation_id)
        found = scene.array_of(segmentation, written.segment_ids[0], volume)
        self.assertTrue((found == (phantom.labelmap.array > 0)).all())

    def test_BadInputIsRefused(self):
        """No volume, or a model that is not there, is a ValueError and changes nothing."""
        logic = MedTLSegmentLogic()
        with self.assertRaises(ValueError):
            logic.process(None, "glioma-flair")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), 0)
        self.delayDisplay("Test passed")
