from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.parameterNodeWrapper import parameterNodeWrapper, Choice, WithinRange

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode

from MedTLLib import samples
from MedTLLib.jobs import segment as segmentJob, terms
from MedTLLib.jobs.segment import Finished
from MedTLLib.module import ModuleLogic, ModuleWidget
from MedTLLib.panels import shortcuts
from MedTLLib.panels.cases import CasesPanel
from MedTLLib.panels.engine_python import EnginePythonPanel
from MedTLLib.panels.finetune import FinetunePanel
from MedTLLib.panels.guide import GuidePanel
from MedTLLib.panels.maintenance import MaintenancePanel
from MedTLLib.panels.report import ReportPanel
from MedTLLib.panels.results import ResultsPanel
from MedTLLib.panels.seeds import SeedsPanel
from MedTLLib.panels.segment import SegmentPanel
from MedTLLib.panels.setup import SetupPanel
from MedTLLib.panels.trend import TrendPanel


#
# MedTLSegment
#


class MedTLSegment(ScriptedLoadableModule):
    """Uses ScriptedLoadableModule base class."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedTL Segment (tumours and organs, MRI/CT)")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["The MedTL authors"]
        self.parent.helpText = _("""
Segments tumours and organs on MRI and CT, such as brain tumours on MRI or the liver on CT: choose a volume, press
<b>Segment</b>. <b>Card</b> says what a model segments, and how well. Correct a few slices, and <b>Fine-tune</b> makes
the model better on your images. No image leaves this computer. The models are for NON-COMMERCIAL USE ONLY. Research
use, not for diagnosis.
""")
        self.parent.helpText += shortcuts.helpText()
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
    resultSegmentation: vtkMRMLSegmentationNode  # what Results shows: the last result, or the one chosen after it
    onlySlice: bool = False  # write only the slice in the Red view
    onlyRegion: vtkMRMLMarkupsROINode  # write only inside this region
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    threads: Annotated[int, WithinRange(0, 256)] = 0  # of the model; 0 means all
    flip: bool = False  # average with the mirrored image
    keepDoubt: bool = True  # compute the uncertainty, too
    tuneBudget: Annotated[int, WithinRange(10, 86400)] = 60  # time budget of Fine-tune in seconds
    tuneStrength: Annotated[float, WithinRange(0.1, 2.0)] = 1.0  # how far Fine-tune may go from the model


#
# MedTLSegmentWidget
#


class MedTLSegmentWidget(ModuleWidget):
    """Uses ScriptedLoadableModuleWidget base class. Each part of the panel is a class in MedTLLib/panels."""

    def makePanels(self) -> None:
        self.logic = MedTLSegmentLogic()
        self.results = ResultsPanel(self.ui)
        self.segment = SegmentPanel(self.ui, self.logic.run, self.onFinished)
        self.seeds = SeedsPanel(self.ui, self.segment.models, self.results)
        self.cases = CasesPanel(self.ui, self.logic.run, self.segment, self.results)
        self.finetune = FinetunePanel(self.ui, self.logic.run, self.segment, self.onFinished, self.cases)
        self.trend = TrendPanel(self.ui, self.logic.run)
        self.report = ReportPanel(self.ui, self.logic.run, self.results)
        self.segment.followers.append(self.onUpdated)
        self.results.followers.append(self.onUpdated)
        self.setupPage = SetupPanel(self.ui, self.segment, self.ui.segmentButton, self.logic.packages)
        self.guide = GuidePanel(self.ui)
        self.enginePython = EnginePythonPanel(self.ui, self.logic.engine, self.setupPage.check)
        self.maintenance = MaintenancePanel(self.ui, self.logic.run, self.logic.packages, self.onRemoved)

    def onFinished(self, finished: Finished) -> None:
        """Called with each result."""
        self.results.show(finished)
        self.cases.finished(finished)

    def onUpdated(self) -> None:
        """Called after each update of the job controls and of the results."""
        self.trend.setupNeeded = self.report.setupNeeded = self.segment.setupNeeded
        self.report.update()
        self.trend.follow(self.results.segmentation())

    def onRemoved(self) -> None:
        """Called when models or packages were removed."""
        self.segment.readModels()
        self.setupPage.check()

    def showParameterNode(self, parameterNode: MedTLSegmentParameterNode | None) -> None:
        self.segment.parameters = self.results.parameters = self.guide.parameters = parameterNode

    def updatePanels(self) -> None:
        self.segment.update()
        self.results.update()
        self.seeds.update()
        self.guide.update()

    def enterPanels(self) -> None:
        self.segment.enter()
        self.setupPage.check()
        self.results.enter()
        self.cases.enter()
        self.seeds.enter()
        self.finetune.enter()

    def exitPanels(self) -> None:
        self.cases.exit()
        self.seeds.exit()
        self.finetune.exit()
        self.results.exit()

    def closeScene(self) -> None:
        self.cases.sceneClosed()
        self.finetune.sceneClosed()
        self.seeds.sceneClosed()
        self.results.sceneClosed()
        self.trend.sceneClosed()

    def closePanels(self) -> None:
        self.cases.close()
        self.results.sceneClosed()
        self.seeds.exit()
        self.finetune.close()


#
# MedTLSegmentLogic
#


class MedTLSegmentLogic(ModuleLogic):
    """Runs a model on a volume, without a panel.
    Uses ScriptedLoadableModuleLogic base class."""

    def getParameterNode(self):
        return MedTLSegmentParameterNode(super().getParameterNode())

    def process(
        self,
        volumeNode: vtkMRMLScalarVolumeNode | Sequence[vtkMRMLScalarVolumeNode],
        modelName: str,
        segmentationNode: vtkMRMLSegmentationNode | None = None,
    ) -> vtkMRMLSegmentationNode:
        """
        Segment a volume and return the segmentation; Slicer keeps processing events meanwhile.
        :param volumeNode: volume to be segmented; for a model of several channels a list of one a channel, in the
            order of the model's card. The result lies on the grid of the first.
        :param modelName: name of a model, "glioma-flair" for instance
        :param segmentationNode: segmentation to write into; by default a new one
        Raises ValueError on bad input and RuntimeError when the engine cannot run.
        """
        volumes = volumeNode if isinstance(volumeNode, Sequence) else [volumeNode]
        segmentJob.check(volumes, self.packages)
        terms.remind(modelName)
        return segmentJob.run(self.engine, volumes, segmentationNode, segmentJob.Choices(modelName))


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
        """A written segmentation has the voxels of the labels."""
        from MedTLLib.prediction import writer
        from MedTLLib.mrml import scene
        from medtl.phantom import head

        phantom = head(1, (64, 64, 8), (3.5, 3.5, 15.0))
        volume = samples.volume_node(phantom.volume)
        written = writer.write(phantom.labelmap, volume)
        segmentation = slicer.mrmlScene.GetNodeByID(written.segmentation_id)
        mask = scene.array_of(segmentation, written.segment_ids[0], volume)
        self.assertTrue((mask == (phantom.labelmap.array > 0)).all())

    def test_BadInputIsRefused(self):
        """No volume, or a model that is not there, is a ValueError and changes nothing."""
        logic = MedTLSegmentLogic()
        with self.assertRaises(ValueError):
            logic.process(None, "glioma-flair")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), 0)
        self.delayDisplay("Test passed")
