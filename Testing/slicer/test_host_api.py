"""The stand-in invents nothing: what it offers is what Slicer 5.12 has, by the manifests in ../shared/slicer-api."""

import importlib
import inspect
import sys
from pathlib import Path

import pytest
from host import application, ctk_widgets, editor, files, modules, mrml_widgets, views
from host.pythonqt import standin_classes
from PySide6 import QtCore

SLICER_API = Path(__file__).resolve().parents[2].parent / "shared" / "slicer-api"
LAYER = Path(importlib.import_module("host").LAYER)
LAYER_MODULES = (
    "SampleData",
    "slicer.ScriptedLoadableModule",
    "slicer.i18n",
    "slicer.packaging",
    "slicer.parameterNodeWrapper",
)
MODULES = (application, ctk_widgets, editor, files, modules, mrml_widgets, views)
CLASSES = sorted(
    (c for c in standin_classes() if c.__module__ in [m.__name__ for m in MODULES]), key=lambda c: c.__name__
)


@pytest.fixture(scope="module")
def api():
    if not SLICER_API.is_dir():
        pytest.skip(f"The names that Slicer offers are not at hand: no folder {SLICER_API}.")
    sys.path.insert(0, str(SLICER_API))
    try:
        return importlib.import_module("slicer_api").Api()
    finally:
        sys.path.remove(str(SLICER_API))


def members_of(cls: type) -> dict[str, object]:
    """What the stand-in adds to Qt's class."""
    ours = [c for c in cls.__mro__ if c.__module__.startswith("host.")]
    return {name: value for c in ours for name, value in vars(c).items() if not name.startswith("_")}


def differences(api, cls: type) -> list[str]:
    """What of a stand-in class Slicer does not have, or has as something else."""
    found = []
    for name, value in members_of(cls).items():
        kind = api.member(cls.__name__, name)
        if isinstance(value, QtCore.Signal):
            expected = ("signal",)
        elif isinstance(value, QtCore.Property):
            expected = ("property", "readonly") if value.fset is None else ("property",)
        else:
            expected = ("method", "enum")
        if name != "staticMetaObject" and kind not in expected:
            found.append(f"{cls.__name__}.{name}: {kind or 'absent'} in Slicer, here {expected[0]}")
    for signature in signals_of(cls):
        if not api.has(cls.__name__, ("signals",), signature):
            found.append(f"{cls.__name__}: no signal {signature} in Slicer")
    return found


def signals_of(cls: type) -> list[str]:
    """The signatures of the signals that the stand-in adds."""
    spelled = [str(value) for value in members_of(cls).values() if isinstance(value, QtCore.Signal)]
    return [s for s in spelled if "PyObject" not in s] + [
        s for c in cls.__mro__ for s in vars(c).get("_host_signals", ())
    ]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_stand_in_class_has_only_what_slicer_has(api, cls):
    assert differences(api, cls) == []


def test_an_invented_member_is_found(api, monkeypatch):
    cls = ctk_widgets.ctkCollapsibleButton
    monkeypatch.setattr(cls, "foldAway", lambda self: None, raising=False)
    assert differences(api, cls) == ["ctkCollapsibleButton.foldAway: absent in Slicer, here method"]


def test_a_property_that_slicer_has_as_a_method_is_found(api, monkeypatch):
    cls = mrml_widgets.qMRMLNodeComboBox
    monkeypatch.setattr(cls, "nodeCount", QtCore.Property(int, lambda self: 0))
    assert len(differences(api, cls)) == 1


def test_an_invented_signal_is_found(api, monkeypatch):
    cls = mrml_widgets.qMRMLNodeComboBox
    monkeypatch.setitem(cls._host_signals, "currentNodeChanged(int)", "currentNodeChanged")
    assert differences(api, cls) == ["qMRMLNodeComboBox: no signal currentNodeChanged(int) in Slicer"]


def layer_differences(api, name: str, module) -> list[str]:
    """What of our Python layer Slicer's does not have: functions, classes, methods, parameters."""
    found = []
    own = {n: v for n, v in vars(module).items() if getattr(v, "__module__", "") == name and not n.startswith("_")}
    for n, value in own.items():
        if api.entry(f"{name}.{n}") is None and n not in exports(api, name):
            found.append(f"{name}.{n}")
        elif inspect.isfunction(value):
            found += too_many_parameters(api, f"{name}.{n}", value)
        else:
            methods = {m: f for m, f in vars(value).items() if inspect.isroutine(f) and not m.startswith("_")}
            found += [f"{name}.{n}.{m}" for m in methods if api.parameters(f"{name}.{n}.{m}") is None]
            for method, function in methods.items():
                found += too_many_parameters(api, f"{name}.{n}.{method}", function)
    return found


def exports(api, name: str) -> set[str]:
    """The names of a module, or of a package's parts that it takes over."""
    parts = [module for module in api.modules if module == name or module.startswith(f"{name}.")]
    return {exported for part in parts for exported in api.exports(part)}


def too_many_parameters(api, dotted: str, function) -> list[str]:
    known = api.parameters(dotted)
    if known is None:
        return []
    known = {parameter.rstrip("=").lstrip("*") for parameter in known}
    return [f"{dotted}({p})" for p in inspect.signature(function).parameters if p not in known and p != "self"]


@pytest.mark.parametrize("name", LAYER_MODULES)
def test_our_python_layer_has_only_what_slicers_has(api, name):
    module = importlib.import_module(name)
    if not Path(module.__file__).is_relative_to(LAYER):
        pytest.skip("MEDTL_SLICER_PYTHON names Slicer's own.")
    assert layer_differences(api, name, module) == []


def test_an_invented_parameter_is_found(api):
    def pip_check(req, quietly=False): ...

    assert too_many_parameters(api, "slicer.packaging.pip_check", pip_check) == ["slicer.packaging.pip_check(quietly)"]
