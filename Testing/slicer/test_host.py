"""A scripted module in Slicer's form runs on the stand-in as it does in Slicer."""

import sys
from pathlib import Path

import ctk
import host
import numpy as np
import pytest
import qt
import slicer

MODULE = """
from typing import Annotated
import vtk
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer import vtkMRMLScalarVolumeNode


class Sample(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Sample")
        self.parent.categories = ["Segmentation"]
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    import SampleData
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Sample", sampleName="Phantom", uris="phantom:", fileNames="phantom.nrrd", nodeNames="Phantom")


@parameterNodeWrapper
class SampleParameterNode:
    inputVolume: vtkMRMLScalarVolumeNode
    threshold: Annotated[float, WithinRange(-100, 500)] = 100
    threads: Annotated[int, WithinRange(0, 64)] = 2
    device: Annotated[str, Choice(["auto", "cpu"])] = "auto"
    flip: bool = False
    note: str


class SampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.calls = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/Sample.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SampleLogic()
        self.parameters = self.logic.getParameterNode()
        self.tag = self.parameters.connectGui(self.ui)
        self.ui.applyButton.connect("clicked()", lambda: self.calls.append("apply"))

    def enter(self):
        self.calls.append("enter")

    def cleanup(self):
        self.calls.append("cleanup")
        self.removeObservers()


class SampleLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return SampleParameterNode(super().getParameterNode())


class SampleTest(ScriptedLoadableModuleTest):
    def runTest(self):
        slicer.mrmlScene.Clear()
        slicer.selfTestRan = True
"""

FORM = """<ui version="4.0">
 <class>Sample</class>
 <widget class="qMRMLWidget" name="Sample">
  <layout class="QFormLayout" name="formLayout">
   <item row="0" column="1"><widget class="qMRMLNodeComboBox" name="inputSelector">
     <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
     <property name="noneEnabled"><bool>true</bool></property>
     <property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property></widget></item>
   <item row="1" column="0" colspan="2"><widget class="ctkCollapsibleButton" name="advancedButton">
     <property name="text"><string>Advanced</string></property>
     <layout class="QFormLayout" name="advancedLayout">
      <item row="0" column="1"><widget class="ctkSliderWidget" name="thresholdSlider">
        <property name="SlicerParameterName" stdset="0"><string>threshold</string></property></widget></item>
      <item row="1" column="1"><widget class="QSpinBox" name="threadsBox">
        <property name="SlicerParameterName" stdset="0"><string>threads</string></property></widget></item>
      <item row="2" column="1"><widget class="QComboBox" name="deviceBox">
        <property name="SlicerParameterName" stdset="0"><string>device</string></property></widget></item>
      <item row="3" column="1"><widget class="QCheckBox" name="flipBox">
        <property name="SlicerParameterName" stdset="0"><string>flip</string></property></widget></item>
      <item row="4" column="1"><widget class="QLineEdit" name="noteEdit">
        <property name="SlicerParameterName" stdset="0"><string>note</string></property></widget></item>
     </layout></widget></item>
   <item row="2" column="0" colspan="2"><widget class="QPushButton" name="applyButton">
     <property name="text"><string>Apply</string></property></widget></item>
  </layout>
 </widget>
 <connections><connection>
   <sender>Sample</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
   <receiver>inputSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
 </connection></connections>
</ui>"""


@pytest.fixture
def module_file(tmp_path):
    (tmp_path / "Resources/UI").mkdir(parents=True)
    (tmp_path / "Resources/UI/Sample.ui").write_text(FORM)
    file = tmp_path / "Sample.py"
    file.write_text(MODULE)
    return file


@pytest.fixture
def widget(scene, module_file):
    path = sys.path[:]
    yield host.load_module(module_file)
    if hasattr(slicer.modules, "sample"):
        host.unload_module("Sample")
    sys.path[:] = path


@pytest.fixture
def volume(scene):
    return slicer.util.addVolumeFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5), name="Head")


def load_form(tmp_path: Path, text: str):
    file = tmp_path / "changed.ui"
    file.write_text(text)
    return slicer.util.loadUI(str(file))


def test_a_module_is_found_where_slicer_has_it(widget, module_file):
    assert slicer.modules.SampleWidget is widget
    assert slicer.util.getModuleWidget("Sample") is widget
    assert slicer.util.modulePath("Sample") == str(module_file)
    assert slicer.modules.sample.title == "Sample"
    assert slicer.modules.sample.widgetRepresentation() is slicer.modules.sample.widgetRepresentation()
    assert widget.calls == ["enter"]


def test_the_parameter_node_follows_the_widgets(widget, volume):
    ui, parameters = widget.ui, widget.parameters
    ui.inputSelector.setCurrentNode(volume)
    ui.thresholdSlider.value = 42
    ui.threadsBox.value = 8
    ui.deviceBox.currentIndex = 1
    ui.flipBox.click()
    ui.noteEdit.text = "left"
    found = (parameters.threshold, parameters.threads, parameters.device, parameters.flip, parameters.note)
    assert parameters.inputVolume is volume
    assert found == (42, 8, "cpu", True, "left")


def test_the_widgets_follow_the_parameter_node(widget, volume):
    ui, parameters = widget.ui, widget.parameters
    parameters.inputVolume = volume
    parameters.threshold = -3.5
    parameters.device = "cpu"
    parameters.flip = True
    assert ui.inputSelector.currentNode() is volume
    assert (ui.thresholdSlider.value, ui.deviceBox.currentText, ui.flipBox.checked) == (-3.5, "cpu", True)


def test_widgets_that_are_disconnected_stay_as_they_are(widget):
    widget.parameters.disconnectGui(widget.tag)
    widget.parameters.threads = 5
    assert widget.ui.threadsBox.value == 2


@pytest.mark.parametrize(("name", "value"), [("threshold", 1000.0), ("threads", 2.5), ("device", "cuda")])
def test_a_parameter_refuses_what_its_type_does_not_allow(widget, name, value):
    with pytest.raises((TypeError, ValueError)):
        setattr(widget.parameters, name, value)


def test_parameters_are_found_again_in_a_saved_scene(widget, volume, tmp_path):
    widget.parameters.inputVolume = volume
    widget.parameters.threads = 7
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    again = widget.logic.getParameterNode()
    assert (again.threads, again.inputVolume.GetName()) == (7, "Head")


def test_a_click_reaches_the_module(widget):
    widget.ui.applyButton.click()
    assert widget.calls[-1] == "apply"


def test_a_module_that_is_reloaded_has_a_new_widget(widget):
    slicer.util.reloadScriptedModule("Sample")
    assert widget.calls[-1] == "cleanup"
    assert slicer.modules.SampleWidget is not widget
    assert slicer.modules.SampleWidget.calls == ["enter"]


def test_a_module_that_is_unloaded_is_gone(widget):
    host.unload_module("Sample")
    assert widget.calls[-1] == "cleanup"
    assert not hasattr(slicer.modules, "sample")


def test_sample_data_is_registered_at_start(widget):
    import SampleData

    before = len(SampleData.sources)
    slicer.app.startupCompleted.emit()
    # Another module that a test loaded earlier may have hooked in, too.
    assert "Phantom" in [source.sampleName for source in SampleData.sources[before:]]
    with pytest.raises(TypeError, match="uris"):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(category="Sample", sampleName="None")


def test_the_self_test_of_a_module_runs(widget):
    slicer.selfTests["Sample"](msec=0)
    assert slicer.selfTestRan
    del slicer.selfTestRan


def test_the_panel_is_photographed_at_the_width_asked(widget, tmp_path):
    width, height = host.screenshot(widget.parent, tmp_path / "panel.png", 420)
    assert width == 420
    assert qt.QImage(str(tmp_path / "panel.png")).height() == height > 100


def test_a_class_without_a_plugin_becomes_a_plain_widget_with_a_warning(tmp_path):
    with pytest.warns(RuntimeWarning, match="custom widget of the class 'ctkSegmentButton'"):
        form = load_form(tmp_path, FORM.replace("ctkCollapsibleButton", "ctkSegmentButton"))
    assert type(slicer.util.childWidgetVariables(form).advancedButton) is qt.QWidget


@pytest.mark.parametrize("name", ["noneEnabled", "text"])
def test_a_form_with_an_unknown_property_is_refused(tmp_path, name):
    with pytest.raises(RuntimeError, match="has no property inventedName"):
        load_form(tmp_path, FORM.replace(f'name="{name}"', 'name="inventedName"'))


@pytest.mark.parametrize(
    ("known", "invented"),
    [
        ("mrmlSceneChanged(vtkMRMLScene*)</signal>", "sceneReplaced(vtkMRMLScene*)</signal>"),
        ("<slot>setMRMLScene", "<slot>setScene"),
        ("<receiver>inputSelector", "<receiver>outputSelector"),
    ],
)
def test_a_form_with_an_unknown_connection_is_refused(tmp_path, known, invented):
    with pytest.raises((AttributeError, RuntimeError, ValueError)):
        load_form(tmp_path, FORM.replace(known, invented))


def test_a_node_selector_lists_what_fits_and_follows_the_scene(scene, volume):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
    selector.setMRMLScene(scene)
    changes = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", changes.append)
    assert selector.currentNode() is volume  # without "None" the first one is chosen
    other = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Neck")
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    scene.AddNewNodeByClass("vtkMRMLTableNode", "Table")
    assert selector.nodeCount() == 2
    selector.setCurrentNode(other)
    scene.RemoveNode(other)
    assert (changes, selector.currentNode()) == ([other, volume], volume)
    scene.Clear()
    assert changes[-1] is None


def test_a_collapsed_section_hides_its_contents():
    section = ctk.ctkCollapsibleButton()
    box = qt.QCheckBox("Flip", section)
    hidden = qt.QLabel("later", section)
    hidden.hide()
    folds = []
    section.connect("contentsCollapsed(bool)", folds.append)
    section.show()
    section.collapsed = True
    assert (box.visible, folds) == (False, [True])
    section.collapsed = False
    assert (box.visible, hidden.visible) == (True, False)


def test_slicer_s_own_functions_read_and_write_files(volume, tmp_path):
    array = slicer.util.arrayFromVolume(volume)
    assert slicer.util.saveNode(volume, str(tmp_path / "head.nrrd"))
    again = slicer.util.loadVolume(str(tmp_path / "head.nrrd"))
    assert (slicer.util.arrayFromVolume(again) == array).all()
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Parts")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("bright", "bright", (1, 0, 0))
    slicer.util.updateSegmentBinaryLabelmapFromArray((array > 30).astype(np.uint8), segmentation, "bright", volume)
    assert slicer.util.saveNode(segmentation, str(tmp_path / "parts.seg.nrrd"))
    parts = slicer.util.loadSegmentation(str(tmp_path / "parts.seg.nrrd"))
    assert (slicer.util.arrayFromSegmentBinaryLabelmap(parts, "bright", volume) == (array > 30)).all()
    with pytest.raises(RuntimeError, match=r"absent\.nrrd"):
        slicer.util.loadVolume(str(tmp_path / "absent.nrrd"))


def test_a_slice_is_drawn_with_its_segment_at_the_right_place(scene, tmp_path):
    array = np.full((8, 40, 40), 100, np.int16)
    array[0, 0, 0] = 0
    volume = slicer.util.addVolumeFromArray(array, ijkToRAS=np.diag([-1.0, -1.0, 2.0, 1.0]))
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("spot", "spot", (1, 0, 0))
    mask = np.zeros(array.shape, np.uint8)
    mask[:, 5:15, 25:35] = 1  # j small: anterior, above; i large: left, on the right of an axial view
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "spot", volume)
    host.render_slice(volume, segmentation, tmp_path / "slice.png", orientation="Axial", size=200)
    image = qt.QImage(str(tmp_path / "slice.png"))
    pixels = [(x, y, image.pixelColor(x, y)) for x in range(0, 200, 4) for y in range(0, 200, 4)]
    red = [(x, y) for x, y, colour in pixels if colour.red() - colour.green() > 40]
    assert len(red) > 50
    assert min(x for x, _ in red) > 100
    assert max(y for _, y in red) < 100


def test_the_views_of_a_layout_show_what_they_are_set_to(scene, volume):
    host.open_views()
    slicer.util.setSliceViewerLayers(background=volume, fit=True, rotateToVolumePlane=True)
    manager = slicer.app.layoutManager()
    assert manager.sliceViewNames() == ("Red", "Green", "Yellow")
    assert manager.sliceWidget("Green").mrmlSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()


def test_the_segment_editor_keeps_the_history_of_its_segmentation(scene, volume):
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("a", "a")
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(segmentation)
    editor.setSourceVolumeNode(volume)
    editor.saveStateForUndo()
    ones = np.ones((3, 4, 5), np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(ones, segmentation, "a", volume)
    editor.undo()
    assert not slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "a", volume).any()


def test_nothing_is_installed():
    from slicer import packaging

    assert packaging.pip_check("numpy>=1.20")
    assert not packaging.pip_check("no-such-package-of-medtl")
    host.answer(qt.QMessageBox.Cancel)
    with pytest.raises(RuntimeError, match="declined"):
        packaging.pip_ensure(["no-such-package-of-medtl"])


# What the real Slicer does, and a stand-in once did not


def test_a_node_gets_its_item_in_the_subject_hierarchy_by_itself_and_loses_it(scene, volume):
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert items.GetItemByDataNode(volume)
    scene.RemoveNode(volume)
    assert not items.GetItemByDataNode(volume)


def test_a_segment_of_a_node_that_was_hidden_before_it_was_added_is_an_error_in_the_log(scene):
    node = slicer.vtkMRMLSegmentationNode()
    node.SetHideFromEditors(True)
    scene.AddNode(node)
    assert not host.errors
    node.GetSegmentation().AddEmptySegment("a", "a")
    assert "Unable to find subject hierarchy item" in host.errors[0]
    host.errors.clear()


def test_a_confirmation_is_a_box_that_waits_for_an_answer():
    assert not slicer.app.testingEnabled()
    with pytest.raises(AssertionError, match=r"Go on\?"):
        slicer.util.confirmOkCancelDisplay("Go on?")
    host.answer(qt.QMessageBox.Ok, qt.QMessageBox.Cancel)
    assert slicer.util.confirmOkCancelDisplay("Go on?")
    assert not slicer.util.confirmOkCancelDisplay("Go on?")


def test_a_plain_tool_tip_comes_back_as_a_paragraph():
    button = qt.QPushButton()
    assert button.toolTip == ""
    button.toolTip = "Runs it."
    assert button.toolTip == "<p>Runs it.</p>"
    button.toolTip = "<b>Runs</b> it."
    assert button.toolTip == "<b>Runs</b> it."


def test_the_segment_editor_needs_as_much_height_as_the_real_one(scene):
    assert slicer.qMRMLSegmentEditorWidget().minimumHeight >= 458


def test_a_selector_without_anything_to_choose_says_what_to_select(scene):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(scene)
    assert selector.findChild(qt.QComboBox).currentText == "Select a Volume"
