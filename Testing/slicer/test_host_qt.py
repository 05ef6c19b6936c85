"""PythonQt's ways on the stand-in: what Slicer refuses is refused, what it accepts does what it does there."""

import sys

import ctk
import host
import pytest
import qt
import slicer


@pytest.fixture
def button():
    return qt.QPushButton("Segment")


def test_a_property_is_an_attribute_and_no_function(button):
    button.text = "Cancel"
    button.enabled = False
    assert (button.text, button.enabled, button.isEnabled()) == ("Cancel", False, False)
    with pytest.raises(TypeError, match="not callable"):
        button.text()


def test_a_property_hides_the_methods_of_derived_classes(button):
    combo = qt.QComboBox()
    assert combo.sizeHint.width() > 0
    assert button.sizeHint.width() > 0


def test_a_plain_setter_works_where_qt_has_one(button):
    button.setText("Undo")
    assert button.text == "Undo"


@pytest.mark.parametrize("name", ["enabld", "_private", "note"])
def test_a_new_attribute_on_a_c_object_is_refused(button, name):
    with pytest.raises(AttributeError, match=name):
        setattr(button, name, True)


def test_a_new_attribute_on_a_stand_in_is_refused():
    with pytest.raises(AttributeError, match="enabld"):
        ctk.ctkCollapsibleButton().enabld = True
    with pytest.raises(AttributeError, match="nodeType"):
        slicer.qMRMLNodeComboBox().nodeType = "vtkMRMLScalarVolumeNode"
    with pytest.raises(AttributeError, match="medtl"):
        slicer.app.medtl = 1


def test_a_python_class_of_ones_own_takes_attributes():
    class Panel(qt.QWidget):
        pass

    panel = Panel()
    panel.state = "idle"
    assert panel.state == "idle"


def test_a_dynamic_property_can_be_set_once_it_is_there(button):
    button.setProperty("SlicerParameterName", "threshold")
    button.SlicerParameterName = "window"
    assert button.property("SlicerParameterName") == "window"


def test_a_property_refuses_what_it_cannot_hold(button):
    with pytest.raises(ValueError, match="text"):
        button.text = qt.QTimer
    with pytest.raises(AttributeError, match="cannot be set"):
        slicer.app.majorVersion = 6


def test_an_unknown_class_is_refused():
    with pytest.raises(AttributeError):
        qt.QSegmentButton  # noqa: B018
    with pytest.raises(AttributeError):
        ctk.ctkSegmentButton  # noqa: B018
    with pytest.raises(AttributeError):
        slicer.qMRMLModelPicker  # noqa: B018
    with pytest.raises(NotImplementedError, match="ctkComboBox"):
        ctk.ctkComboBox()


def test_a_name_that_only_slicer_core_has_is_refused():
    with pytest.raises(AttributeError):
        slicer.loadVolume  # noqa: B018
    assert callable(slicer.util.loadVolume)


@pytest.mark.parametrize("signature", ["clicked(int)", "pressd()", "clicked"])
def test_an_unknown_signal_or_signature_is_refused(button, signature):
    with pytest.raises(ValueError, match="QPushButton has no signal"):
        button.connect(signature, lambda: None)


def test_an_unknown_signal_of_a_stand_in_is_refused():
    with pytest.raises(ValueError, match="qMRMLNodeComboBox has no signal"):
        slicer.qMRMLNodeComboBox().connect("currentNodeChanged(vtkMRMLVolumeNode*)", lambda node: None)


def test_a_slot_gets_the_arguments_of_the_signature_that_it_takes(button):
    got = []
    button.connect("clicked()", lambda *arguments: got.append(arguments))
    button.connect("clicked(bool)", lambda *arguments: got.append(arguments))
    button.connect("clicked(bool)", lambda: got.append("none"))
    button.click()
    assert got == [(), (False,), "none"]


def test_a_slot_that_is_disconnected_is_not_called(button):
    got = []
    button.connect("clicked()", got.clear)
    assert button.disconnect("clicked()", got.clear)
    assert not button.disconnect("clicked()", got.clear)
    got.append(1)
    button.click()
    assert got == [1]


def test_a_bound_method_stays_connected_though_nobody_holds_its_object(button):
    got = []

    class Receiver:
        def on_click(self):
            got.append(1)

    button.connect("clicked()", Receiver().on_click)
    button.click()
    assert got == [1]


def test_an_exception_in_a_slot_is_collected(button):
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert "ZeroDivisionError" in host.errors.pop()


def test_an_exception_in_an_observer_is_collected(scene):
    def fail(caller, event):
        raise KeyError("lesion")

    tag = scene.AddObserver("ModifiedEvent", fail)
    scene.Modified()
    scene.RemoveObserver(tag)
    assert "lesion" in host.errors.pop()


def test_waiting_ends_with_the_condition_or_a_message():
    ticks = []
    timer = qt.QTimer()
    timer.connect("timeout()", lambda: ticks.append(1))
    timer.start(1)
    host.process_until(lambda: len(ticks) > 2, 5)
    with pytest.raises(AssertionError, match="The worker did not come true"):
        host.process_until(lambda: False, 0.05, "The worker")


def test_waiting_ends_with_an_error_in_a_slot(button):
    qt.QTimer.singleShot(0, lambda: 1 / 0)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        host.process_until(lambda: False, 5)
    host.errors.clear()


def test_single_shot_is_a_function_and_a_property():
    got = []
    qt.QTimer.singleShot(0, lambda: got.append(1))
    host.process_until(lambda: got, 5)
    timer = qt.QTimer()
    timer.singleShot = True
    assert timer.singleShot
    assert not timer.active


def test_a_process_is_read_as_it_writes_and_can_be_killed():
    lines, ends = [], []
    process = qt.QProcess()
    process.connect("readyReadStandardOutput()", lambda: lines.append(bytes(process.readAllStandardOutput().data())))
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ends.append(status))
    process.start(sys.executable, ["-u", "-c", "print('ready'); import time; time.sleep(60)"])
    host.process_until(lambda: lines, 20, "The first line")
    assert lines[0].split() == [b"ready"]
    process.kill()
    host.process_until(lambda: ends, 20, "The end")
    assert ends == [qt.QProcess.CrashExit]


def test_a_dialog_without_an_answer_raises_instead_of_waiting():
    with pytest.raises(AssertionError, match="Overwrite"):
        qt.QMessageBox.question(None, "MedTL", "Overwrite?")
    box = qt.QMessageBox()
    box.text = "Delete?"
    with pytest.raises(AssertionError, match="Delete"):
        box.exec_()


def test_a_dialog_gets_the_answer_that_was_prepared():
    host.answer("/a/model", lambda dialog: dialog.text)
    assert qt.QFileDialog.getExistingDirectory(None, "Import model") == "/a/model"
    box = qt.QMessageBox()
    box.text = "Sure?"
    assert box.exec_() == "Sure?"
    assert host.dialogs.shown[-1] == "QMessageBox: Sure?"


def test_settings_are_kept_in_a_folder_of_the_run():
    qt.QSettings().setValue("MedTL/exportFolder", "/out")
    assert slicer.app.userSettings().value("MedTL/exportFolder") == "/out"
    assert slicer.app.temporaryPath in qt.QSettings().fileName()
