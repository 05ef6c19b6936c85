from typing import Annotated, Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.parameterNodeWrapper import parameterNodeWrapper, Choice, WithinRange

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode

from MedTLClassifyLib import job as classifyJob, result as classResult
from MedTLClassifyLib.panel import ClassifyPanel
from MedTLLib.module import ModuleLogic, ModuleWidget
from MedTLLib.panels.setup import SetupPanel


#
# MedTLClassify
#


class MedTLClassify(ScriptedLoadableModule):
    """Uses ScriptedLoadableModule base class, available at:
    https://github.com/Slicer/Slicer/blob/main/Base/Python/slicer/ScriptedLoadableModule.py
    """

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedTL Classify (brain tumours, MRI; renal tumours, CT)")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["MedTLSegment"]
        self.parent.contributors = ["The MedTL authors"]
        self.parent.helpText = _("""
Classifies a tumour of the brain (MRI, T1 with contrast) or of the kidney (CT), with the probability of each class, or
abstains. Choose a volume and, if there is one, the segment of the tumour, then press <b>Classify</b>. No image leaves
this computer. The models are for NON-COMMERCIAL USE ONLY. Research use, not for diagnosis.
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
    result: vtkMRMLTableNode  # what Result shows: the answer for the chosen input, or the last one
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    threads: Annotated[int, WithinRange(0, 256)] = 0  # of the model; 0 means all


#
# MedTLClassifyWidget
#


class MedTLClassifyWidget(ModuleWidget):
    """Uses ScriptedLoadableModuleWidget base class. Each part of the panel is a class in MedTLClassifyLib."""

    def makePanels(self) -> None:
        self.logic = MedTLClassifyLogic()
        self.classify = ClassifyPanel(self.ui, self.logic.run)
        self.setupPage = SetupPanel(self.ui, self.classify, self.ui.classifyButton, self.logic.packages)

    def choose(self, volume, segmentation, segmentId: str) -> None:
        """Choose the input, as MedTL Segment does; an empty segmentId is the segment that is most likely the tumour."""
        if self._parameterNode:
            self._parameterNode.inputVolume = volume
            self._parameterNode.segmentation = segmentation
            self._parameterNode.segmentId = segmentId

    def showParameterNode(self, parameterNode: MedTLClassifyParameterNode | None) -> None:
        self.classify.parameters = parameterNode

    def updatePanels(self) -> None:
        self.classify.update()

    def enterPanels(self) -> None:
        self.classify.enter()
        self.setupPage.check()

    def closeScene(self) -> None:
        self.classify.sceneClosed()

    def closePanels(self) -> None:
        self.classify.sceneClosed()


#
# MedTLClassifyLogic
#


class MedTLClassifyLogic(ModuleLogic):
    """Runs a model on a volume, without a panel.
    Uses ScriptedLoadableModuleLogic base class, available at:
    https://github.com/Slicer/Slicer/blob/main/Base/Python/slicer/ScriptedLoadableModule.py
    """

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
        Classify a volume and return what `medtl classify --json` prints; Slicer keeps processing events meanwhile.
        :param volumeNode: volume to be classified
        :param modelName: name of a model, "brain-tumour-4class" for instance
        :param segmentationNode: where the tumour is; by default the whole image is used
        :param segmentId: its segment; by default the one that MedTL segmented as a tumour, else the first
        The table of the answer stays in the scene.
        Raises ValueError on bad input and RuntimeError when the engine cannot run.
        """
        table = classifyJob.run(self.engine, self.packages, volumeNode, modelName, segmentationNode, segmentId)
        return classResult.report(classResult.read(table))


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
        """A heat map has the grid of its image, and hiding it restores the foreground."""
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
        if not panel.classify.models.installed.entries:
            self.assertIn("No model for classification", panel.classify.models.whyNone())
            self.delayDisplay("Test passed; no model for classification is installed, so none was tried")
        else:
            self.delayDisplay("Test passed; no model was tried")
