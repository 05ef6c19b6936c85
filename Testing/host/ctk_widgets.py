# ruff: noqa: N801, N802, N815
"""Stand-ins for CTK's widgets that our forms use: the same names, properties and signals, much less inside."""

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from host.pythonqt import standin, stored

Signal = QtCore.Signal


def row(widget: QtWidgets.QWidget, *parts: QtWidgets.QWidget) -> None:
    """Lays the parts out beside each other, the first one stretched."""
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part, stretch=1 if part is parts[0] else 0)


@standin
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A title that folds what is below it away."""

    contentsCollapsed = Signal(bool)
    flat = stored("flat", bool, False)
    collapsedHeight = stored("collapsedHeight", int, 10)
    contentsLineWidth = stored("contentsLineWidth", int, 1)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setCheckable(True)
        self.setChecked(True)
        self._host_title = self.fontMetrics().height() + 8
        self.setContentsMargins(0, self._host_title, 0, 0)
        self.setMinimumHeight(self._host_title)
        self.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        self.toggled.connect(lambda checked: ctkCollapsibleButton._fold(self, not checked))

    def _collapsed(self) -> bool:
        return not self.isChecked()

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, _collapsed, _set_collapsed)

    def _fold(self, collapsed: bool) -> None:
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                self._show_or_hide(child, collapsed)
        self.setMaximumHeight(self._host_title if collapsed else 16777215)
        self.contentsCollapsed.emit(collapsed)

    @staticmethod
    def _show_or_hide(child: QtWidgets.QWidget, collapsed: bool) -> None:
        if collapsed:
            child.__dict__["_host_hidden"] = child.isHidden()
            child.hide()
        elif not child.__dict__.pop("_host_hidden", False):
            child.show()

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        if event.added() and self._collapsed() and isinstance(event.child(), QtWidgets.QWidget):
            self._show_or_hide(event.child(), True)
        super().childEvent(event)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() <= self._host_title

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, self._host_title)
        painter.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, (self._host_title - 10) // 2, 10, 10)
        kind = QtWidgets.QStyle.PE_IndicatorArrowRight if self._collapsed() else QtWidgets.QStyle.PE_IndicatorArrowDown
        painter.drawPrimitive(kind, arrow)
        inside = option.rect.adjusted(24, 0, -4, 0)
        painter.drawItemText(
            inside, int(QtCore.Qt.AlignVCenter | QtCore.Qt.TextShowMnemonic), self.palette, self.isEnabled(), self.text
        )


@standin
class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a number that agree."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    pageStep = stored("pageStep", float, 10.0)
    tracking = stored("tracking", bool, True)
    tickInterval = stored("tickInterval", float, 0.0)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._host_slider, self._host_box = QtWidgets.QSlider(QtCore.Qt.Horizontal), QtWidgets.QDoubleSpinBox()
        self._host_slider.setObjectName("Slider")
        self._host_box.setObjectName("SpinBox")
        self._host_slider.setRange(0, 1000)
        row(self, self._host_slider, self._host_box)
        self._host_slider.valueChanged.connect(lambda n: self._from_slider(n))
        self._host_box.valueChanged.connect(lambda value: self._from_box(value))
        self.setFocusProxy(self._host_slider)

    def _from_slider(self, n: int) -> None:
        low, high = self._host_box.minimum, self._host_box.maximum
        if n != self._position():
            self._host_box.setValue(low + (high - low) * n / 1000)

    def _from_box(self, value: float) -> None:
        self._host_slider.setValue(self._position())
        self.valueChanged.emit(value)

    def _position(self) -> int:
        low, high = self._host_box.minimum, self._host_box.maximum
        return round(1000 * (self._host_box.value - low) / (high - low)) if high > low else 0

    def setValue(self, value: float) -> None:
        self._host_box.setValue(float(value))

    def setDecimals(self, decimals: int) -> None:
        self._host_box.setDecimals(decimals)

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._host_box.setVisible(visible)

    value = QtCore.Property(float, lambda self: self._host_box.value, setValue)
    minimum = QtCore.Property(float, lambda self: self._host_box.minimum, lambda self, v: self._host_box.setMinimum(v))
    maximum = QtCore.Property(float, lambda self: self._host_box.maximum, lambda self, v: self._host_box.setMaximum(v))
    decimals = QtCore.Property(int, lambda self: self._host_box.decimals, setDecimals)
    suffix = QtCore.Property(str, lambda self: self._host_box.suffix, lambda self, v: self._host_box.setSuffix(v))
    prefix = QtCore.Property(str, lambda self: self._host_box.prefix, lambda self, v: self._host_box.setPrefix(v))
    singleStep = QtCore.Property(
        float, lambda self: self._host_box.singleStep, lambda self, v: self._host_box.setSingleStep(v)
    )


@standin
class ctkPathLineEdit(QtWidgets.QWidget):
    """A path to type, to choose from the last ones or to browse for."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    Files, Dirs, Drives, Readable, Writable, Executable = 2, 1, 4, 16, 32, 64
    filters = stored("filters", int, 3)
    nameFilters = stored("nameFilters", "QStringList", [])
    settingKey = stored("settingKey", str, "")
    label = stored("label", str, "")
    options = stored("options", int, 0)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._host_box, self._host_button = QtWidgets.QComboBox(), QtWidgets.QToolButton()
        self._host_box.setEditable(True)
        self._host_box.setSizePolicy(QtWidgets.QSizePolicy.Ignored, QtWidgets.QSizePolicy.Fixed)
        self._host_button.setText("…")
        row(self, self._host_box, self._host_button)
        self._host_box.editTextChanged.connect(lambda path: self.currentPathChanged.emit(path))
        self._host_button.clicked.connect(lambda: self.browse())
        self.setFocusProxy(self._host_box)

    def comboBox(self) -> QtWidgets.QComboBox:
        return self._host_box

    def setCurrentPath(self, path: str) -> None:
        self._host_box.setEditText(path)

    currentPath = QtCore.Property(str, lambda self: self._host_box.currentText, setCurrentPath)

    def addCurrentPathToHistory(self) -> None:
        if self._host_box.findText(self.currentPath) < 0:
            self._host_box.insertItem(0, self.currentPath)

    def browse(self) -> None:
        dialog = QtWidgets.QFileDialog
        if int(self.filters) & self.Dirs and not int(self.filters) & self.Files:
            path = dialog.getExistingDirectory(self, self.label, self.currentPath)
        elif int(self.filters) & self.Writable:
            path = dialog.getSaveFileName(self, self.label, self.currentPath, ";;".join(self.nameFilters))
        else:
            path = dialog.getOpenFileName(self, self.label, self.currentPath, ";;".join(self.nameFilters))
        if path:
            self.setCurrentPath(path)


@standin
class ctkMessageBox(QtWidgets.QMessageBox):
    """A question with a box to tick that it need not be asked again."""

    dontShowAgainVisible = stored("dontShowAgainVisible", bool, False)
    dontShowAgainSettingsKey = stored("dontShowAgainSettingsKey", str, "")
