"""All stand-in classes that forms and modules reach by name, as `ctk.X` and `slicer.X`."""

from typing import Any

from PySide6 import QtWidgets

from host import ctk_widgets, editor, modules, mrml_widgets


def _name_only(name: str) -> type:
    """A class that Slicer's own Python layer asks for by name; our modules do not use it."""

    def refuse(self: Any, *arguments: Any) -> None:
        raise NotImplementedError(f"The stand-in has no {name}: see Testing/host.")

    return type(name, (QtWidgets.QWidget,), {"__init__": refuse})


CTK: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        ctk_widgets.ctkCollapsibleButton,
        ctk_widgets.ctkMessageBox,
        ctk_widgets.ctkPathLineEdit,
        ctk_widgets.ctkSliderWidget,
    )
}
SLICER: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        editor.qMRMLSegmentEditorWidget,
        modules.qSlicerScriptedLoadableModule,
        modules.qSlicerScriptedLoadableModuleWidget,
        mrml_widgets.qMRMLNodeComboBox,
        mrml_widgets.qMRMLWidget,
        mrml_widgets.qSlicerWidget,
    )
}
CTK_NAMES = (
    *("ctkCheckBox", "ctkCheckablePushButton", "ctkColorPickerButton", "ctkComboBox", "ctkDirectoryButton"),
    *("ctkDoubleRangeSlider", "ctkDoubleSlider", "ctkDoubleSpinBox", "ctkRangeWidget"),
)
SLICER_NAMES = (
    *("qMRMLCheckableNodeComboBox", "qMRMLRangeWidget", "qMRMLSegmentSelectorWidget", "qMRMLSliderWidget"),
    *("qMRMLSpinBox", "qMRMLSubjectHierarchyComboBox"),
)
CTK |= {name: _name_only(name) for name in CTK_NAMES}
SLICER |= {name: _name_only(name) for name in SLICER_NAMES}
