import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *


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
Will classify images and segmented lesions. There is no model for it yet: this module does nothing but say so.
""")
        self.parent.acknowledgementText = _("""
Part of MedTL. Research use, not for diagnosis.
""")


#
# MedTLClassifyWidget
#


class MedTLClassifyWidget(ScriptedLoadableModuleWidget):
    """Uses ScriptedLoadableModuleWidget base class, available at:
    https://github.com/Slicer/Slicer/blob/main/Base/Python/slicer/ScriptedLoadableModule.py
    """

    def setup(self) -> None:
        """Called when the user opens the module the first time and the widget is initialized."""
        ScriptedLoadableModuleWidget.setup(self)

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedTLClassify.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.ui.segmentButton.connect("clicked()", self.onSegmentButton)

    def onSegmentButton(self) -> None:
        """Open the module that works."""
        slicer.util.selectModule("MedTLSegment")


#
# MedTLClassifyTest
#


class MedTLClassifyTest(ScriptedLoadableModuleTest):
    """
    This is the test case for your scripted module.
    Uses ScriptedLoadableModuleTest base class, available at:
    https://github.com/Slicer/Slicer/blob/main/Base/Python/slicer/ScriptedLoadableModule.py
    """

    def setUp(self):
        """Do whatever is needed to reset the state - typically a scene clear will be enough."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run as few or as many tests as needed here."""
        self.setUp()
        self.test_OpensAndPromisesNothing()

    def test_OpensAndPromisesNothing(self):
        """The panel says that there is no classification yet."""
        self.delayDisplay("Starting the test")
        panel = slicer.modules.medtlclassify.widgetRepresentation().self()
        self.assertIn("not there yet", panel.ui.noteLabel.text)
        self.delayDisplay("Test passed")
