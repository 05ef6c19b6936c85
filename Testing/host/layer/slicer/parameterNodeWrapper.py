# ruff: noqa: N802, N803, N815
"""Typed access to a parameter node, bound to the widgets of a form: the part of Slicer's that our modules use.

What is stored in the node is what Slicer stores, so that a scene of one opens in the other.
"""

import enum
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
import vtk

__all__ = ["Choice", "Default", "Maximum", "Minimum", "WithinRange", "parameterNodeWrapper"]


@dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float

    def _check(self, value: Any) -> bool:
        return self.minimum <= value <= self.maximum


@dataclass(frozen=True)
class Minimum:
    minimum: float

    def _check(self, value: Any) -> bool:
        return value >= self.minimum


@dataclass(frozen=True)
class Maximum:
    maximum: float

    def _check(self, value: Any) -> bool:
        return value <= self.maximum


class Choice:
    def __init__(self, choices: typing.Iterable[Any]) -> None:
        self.choices = tuple(choices)

    def _check(self, value: Any) -> bool:
        return value in self.choices


@dataclass(frozen=True)
class Default:
    value: Any


# What Slicer writes into a node for each type, and what a field without a default holds.
EMPTY = {bool: False, int: 0, float: 0.0, str: "", Path: Path()}
# The property of a widget that holds a value of these types, and the signal that tells of a change: as Slicer binds.
WIDGETS = {
    qt.QCheckBox: ("checked", "stateChanged(int)", (bool,)),
    qt.QPushButton: ("checked", "toggled(bool)", (bool,)),
    qt.QSpinBox: ("value", "valueChanged(int)", (int,)),
    qt.QSlider: ("value", "valueChanged(int)", (int,)),
    qt.QDoubleSpinBox: ("value", "valueChanged(double)", (int, float)),
    ctk.ctkSliderWidget: ("value", "valueChanged(double)", (int, float)),
    qt.QLabel: ("text", "", (str,)),
    qt.QLineEdit: ("text", "textChanged(QString)", (str,)),
    ctk.ctkPathLineEdit: ("currentPath", "currentPathChanged(QString)", (str, Path)),
    qt.QComboBox: ("currentText", "currentIndexChanged(int)", (bool, int, float, str)),
}


class _Parameter:
    """One typed field, kept in the node under its name."""

    def __init__(self, name: str, annotation: Any, default: Any) -> None:
        self.name = name
        self.kind, *annotations = typing.get_args(annotation) if hasattr(annotation, "__metadata__") else [annotation]
        self.validators = [a for a in annotations if not isinstance(a, Default)]
        self.is_node = isinstance(self.kind, type) and issubclass(self.kind, slicer.vtkMRMLNode)
        self.is_enum = isinstance(self.kind, type) and issubclass(self.kind, enum.Enum)
        if not (self.is_node or self.is_enum or self.kind in EMPTY):
            raise TypeError(f"The stand-in keeps no parameter of type {self.kind}: see {Path(__file__).name}.")
        empty = next(iter(self.kind)) if self.is_enum else EMPTY.get(self.kind)
        given = [a.value for a in annotations if isinstance(a, Default)]
        self.default = default if default is not None else given[0] if given else empty

    def read(self, node: Any) -> Any:
        if not node.HasParameter(self.name):  # a scene that is closed empties the node
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.is_enum:
            return self.kind[text]
        return text == "True" if self.kind is bool else self.kind(text)

    def write(self, node: Any, value: Any) -> None:
        self._check(value)
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if self.is_enum else str(value))

    def _check(self, value: Any) -> None:
        allowed = {float: (int, float), Path: (str, Path)}.get(self.kind, self.kind)
        if not isinstance(value, allowed) and not (self.is_node and value is None):
            raise TypeError(f"Expected a {self.kind.__name__} for {self.name}, found {value!r}.")
        for validator in self.validators:
            if not validator._check(value):
                raise ValueError(f"{self.name} cannot be {value!r}: {validator}.")


class _Binding:
    """A widget that shows a parameter."""

    def __init__(self, widget: Any, parameter: _Parameter) -> None:
        self.widget, self.parameter = widget, parameter
        self.choices: list[Any] = []
        if type(widget) is slicer.qMRMLNodeComboBox and parameter.is_node:
            self.signal = "currentNodeChanged(vtkMRMLNode*)"
            return
        self.property, self.signal, kinds = WIDGETS.get(type(widget), ("", "", ()))
        if parameter.kind not in kinds and not (parameter.is_enum and type(widget) is qt.QComboBox):
            raise RuntimeError(
                f"Unable to bind {parameter.kind} to {type(widget).__name__}: see {Path(__file__).name}."
            )
        if type(widget) is qt.QComboBox:
            self._fill()
        elif parameter.kind in (int, float):
            self._set_limits()

    def read(self) -> Any:
        if self.parameter.is_node:
            return self.widget.currentNode()
        if self.choices:
            return self.choices[self.widget.currentIndex]
        return self.parameter.kind(getattr(self.widget, self.property))

    def write(self, value: Any) -> None:
        if self.parameter.is_node:
            self.widget.setCurrentNode(value)
        elif self.choices:
            self.widget.currentIndex = self.choices.index(value)
        elif self.read() != value:
            setattr(self.widget, self.property, str(value) if isinstance(value, Path) else value)

    def _fill(self) -> None:
        """As in Slicer, the box shows the choices themselves, whatever stood in it."""
        if self.parameter.is_enum:
            self.choices = list(self.parameter.kind)
        else:
            self.choices = [c for v in self.parameter.validators if isinstance(v, Choice) for c in v.choices]
        if not self.choices:
            raise RuntimeError(f"A QComboBox for {self.parameter.name} needs the annotation Choice.")
        label = getattr(self.parameter.kind, "label", lambda member: member.name) if self.parameter.is_enum else str
        self.widget.clear()
        self.widget.addItems([label(choice) for choice in self.choices])

    def _set_limits(self) -> None:
        limits = {}
        for validator in self.parameter.validators:
            limits |= {end: getattr(validator, end) for end in ("minimum", "maximum") if hasattr(validator, end)}
        if len(limits) < 2 and type(self.widget) in (qt.QSlider, ctk.ctkSliderWidget):
            raise RuntimeError(f"A slider for {self.parameter.name} needs limits: annotate WithinRange.")
        far = 2**31 - 1 if type(self.widget) is qt.QSpinBox else float("inf")
        self.widget.setProperty("minimum", limits.get("minimum", -far))
        self.widget.setProperty("maximum", limits.get("maximum", far))


class _Wrapper:
    """What every wrapped class gains."""

    allParameters: dict[str, _Parameter]

    def __init__(self, parameterNode: Any) -> None:
        self.__dict__.update(parameterNode=parameterNode, _bindings={}, _updating=False)
        for parameter in self.allParameters.values():
            parameter.read(parameterNode)

    def getValue(self, name: str) -> Any:
        return getattr(self, name)

    def setValue(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, before: Any) -> Any:
        return self.parameterNode.EndModify(before)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> Any:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: Any) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def connectGui(self, gui: Any) -> int:
        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "isWidgetType") else vars(gui).values()
        named = {w.property("SlicerParameterName"): w for w in widgets if w.property("SlicerParameterName")}
        return self.connectParametersToGui(named)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        for name in mapping:
            if name not in self.allParameters:
                raise ValueError(f"Cannot find a parameter named {name}: it has {', '.join(self.allParameters)}.")
        bindings = [_Binding(widget, self.allParameters[name]) for name, widget in mapping.items()]
        connected = []
        for binding in bindings:
            binding.write(getattr(self, binding.parameter.name))
            changed = self._gui_changed(binding)
            if binding.signal:
                binding.widget.connect(binding.signal, changed)
            connected.append((binding, changed))
        tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._update_gui())
        self._bindings[tag] = connected
        return tag

    def disconnectGui(self, tag: Any) -> None:
        connected = self._bindings.pop(tag, None)
        if connected is None:
            return
        for binding, changed in connected:
            if binding.signal:
                binding.widget.disconnect(binding.signal, changed)
        self.RemoveObserver(tag)

    def _gui_changed(self, binding: _Binding) -> Callable[[], None]:
        def changed() -> None:
            if not self._updating:
                setattr(self, binding.parameter.name, binding.read())

        return changed

    def _update_gui(self) -> None:
        if self._updating:
            return
        self.__dict__["_updating"] = True
        try:
            for connected in self._bindings.values():
                for binding, _ in connected:
                    binding.write(getattr(self, binding.parameter.name))
        finally:
            self.__dict__["_updating"] = False


def parameterNodeWrapper(classtype: type) -> type:
    """The class with typed fields, kept in the parameter node that its constructor takes."""
    annotations = typing.get_type_hints(classtype, include_extras=True)
    parameters = {name: _Parameter(name, a, getattr(classtype, name, None)) for name, a in annotations.items()}
    members = {name: _field(parameter) for name, parameter in parameters.items()}
    kept = {n: v for n, v in vars(classtype).items() if n not in members and n not in ("__dict__", "__weakref__")}
    return type(classtype.__name__, (_Wrapper,), {**kept, **members, "allParameters": parameters})


def _field(parameter: _Parameter) -> property:
    return property(
        lambda self: parameter.read(self.parameterNode),
        lambda self, value: parameter.write(self.parameterNode, value),
    )
