"""The module `qt` as Slicer's Python has it: PySide6's classes with PythonQt's ways.

Properties are attributes, a new attribute on a C++ object is refused, a signal is named by its signature, and all of
Qt is one module. PySide6's own classes are changed in place, so that objects which C++ makes behave alike.
"""

import inspect
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

# Properties that Qt itself asks for by a virtual function, and the classes where it is one.
VIRTUAL = {"sizeHint": QtWidgets.QWidget, "minimumSizeHint": QtWidgets.QWidget, "text": QtWidgets.QProgressBar}
_dressed: set[type] = set()
_standins: set[type] = set()
_loading: list[str] = []


def make_qt() -> types.ModuleType:
    """The module `qt`. Call once; it changes PySide6's classes for the whole process."""
    qt = types.ModuleType("qt")
    for module in (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools):
        for name in dir(module):
            if not name.startswith("_"):
                setattr(qt, name, getattr(module, name))
    qobjects = [c for c in vars(qt).values() if isinstance(c, type) and issubclass(c, QtCore.QObject)]
    for cls in sorted(qobjects, key=lambda cls: len(cls.__mro__), reverse=True):
        _dress(cls)
    QtCore.QObject.className = lambda self: self.metaObject().className()
    QtCore.QObject.name = _property("objectName")
    QtWidgets.QWidget.delete = lambda self: self.deleteLater()
    QtCore.QTimer.singleShot = _SingleShot()
    return qt


def standin(cls: type) -> type:
    """The same class, treated as one of C++: strict like Qt's own. Its own state has names that start with `_host`."""
    _standins.add(cls)
    return cls


def stored(name: str, kind: Any, default: Any) -> QtCore.Property:
    """A property that remembers its value and does nothing else."""
    key = f"_host_{name}"

    def get(self: Any) -> Any:
        return self.__dict__.get(key, default)

    def set_(self: Any, value: Any) -> None:
        self.__dict__[key] = value

    return QtCore.Property(kind, get, set_)


def fixed(kind: Any, value: Any) -> QtCore.Property:
    """A property that cannot be set."""
    return QtCore.Property(kind, lambda self: value)


@contextmanager
def loading_a_form(path: str) -> Iterator[None]:
    """While PySide6's loader works."""
    _loading.append(path)
    try:
        yield
    finally:
        _loading.pop()


def standin_classes() -> frozenset[type]:
    """All classes that stand in for one of Slicer or CTK."""
    return frozenset(_standins)


def find_signal(sender: Any, signature: str) -> tuple[Any, int]:
    """The signal to connect to and the number of arguments that this signature passes.

    Raises:
        ValueError: there is no such signal, or not with these arguments.
    """
    wanted = QtCore.QMetaObject.normalizedSignature(signature).toStdString()
    name, _, arguments = wanted[:-1].partition("(")
    count = len(arguments.split(",")) if arguments else 0
    for cls in type(sender).__mro__:
        if wanted in cls.__dict__.get("_host_signals", {}):
            return getattr(sender, cls.__dict__["_host_signals"][wanted]), count
    if sender.metaObject().indexOfSignal(wanted) < 0:
        raise ValueError(f"{type(sender).__name__} has no signal {signature}.")
    signal = getattr(sender, name)
    try:
        return signal[arguments] if arguments else signal, count
    except (IndexError, KeyError, TypeError):  # only one overload
        return signal, count


def _dress(cls: type) -> None:
    _dressed.add(cls)
    original = cls.__getattribute__

    # Shiboken answers connect and disconnect before it looks into the class.
    def get(self: Any, name: str) -> Any:
        if name == "connect":
            return types.MethodType(_connect, self)
        if name == "disconnect":
            return types.MethodType(_disconnect, self)
        return original(self, name)

    meta = cls.staticMetaObject
    for n in range(meta.propertyCount()):
        name = meta.property(n).name()
        if n >= meta.propertyOffset() or name in cls.__dict__:  # a property hides the methods of derived classes
            setattr(
                cls, name, _virtual(cls.__dict__[name]) if issubclass(cls, VIRTUAL.get(name, ())) else _property(name)
            )
    cls.__getattribute__ = get
    cls.__setattr__ = _set_attribute


def _virtual(method: Any) -> property:
    """A property whose C++ function is virtual: Qt asks Python for it, which must not ask Qt again."""
    return property(lambda self: method(self))


def _property(name: str) -> property:
    def get(self: Any) -> Any:
        value = self.property(name)
        if name == "toolTip" and value and isinstance(self, QtWidgets.QWidget) and not QtGui.Qt.mightBeRichText(value):
            return f"<p>{value}</p>"  # Slicer wraps them so, that long ones are broken into lines
        return value

    def set_(self: Any, value: Any) -> None:
        meta = self.metaObject().property(self.metaObject().indexOfProperty(name))
        if not meta.isWritable():
            raise AttributeError(f"Property {name} of {type(self).__name__} cannot be set.")
        if not meta.write(self, value):
            raise ValueError(f"Property {name} of {type(self).__name__} does not take {value!r}.")

    return property(get, set_)


def _set_attribute(self: Any, name: str, value: Any) -> None:
    own_class = type(self) not in _dressed and type(self) not in _standins
    for cls in type(self).__mro__:
        found = cls.__dict__.get(name)
        if isinstance(found, QtCore.Property):
            if found.fset is None:
                raise AttributeError(f"Property {name} of {type(self).__name__} cannot be set.")
            found.fset(self, value)
            return
        if isinstance(found, property | _SingleShot):
            found.__set__(self, value)
            return
    if (
        own_class or name.startswith("_host") or isinstance(value, QtCore.SignalInstance)
    ):  # PySide6 keeps its signals so
        self.__dict__[name] = value
    elif _loading:  # PySide6 gives the top of a form its children as attributes, Slicer does not
        return
    elif name.encode() in [bytes(known.data()) for known in self.dynamicPropertyNames()]:
        self.setProperty(name, value)
    else:
        raise AttributeError(f"{type(self).__name__} has no property {name}, and C++ objects take no new attributes.")


def _connect(self: Any, signature: str, receiver: Any, slot: str | None = None) -> bool:
    function = receiver if slot is None else getattr(receiver, slot.partition("(")[0])
    signal, count = find_signal(self, signature)
    taken = _arguments_taken(function, count)

    def call(*arguments: Any) -> None:
        function(*arguments[:taken])

    signal.connect(call)
    # Kept: PythonQt holds what it calls, PySide6 would let a bound method go.
    self.__dict__.setdefault("_host_connections", []).append((_norm(signature), function, signal, call))
    return True


def _disconnect(self: Any, signature: str, receiver: Any = None, slot: str | None = None) -> bool:
    function = receiver if slot is None else getattr(receiver, slot.partition("(")[0])
    find_signal(self, signature)
    connections = self.__dict__.setdefault("_host_connections", [])
    gone = [c for c in connections if c[0] == _norm(signature) and (function is None or c[1] == function)]
    for connection in gone:
        connections.remove(connection)
        connection[2].disconnect(connection[3])
    return bool(gone)


def _norm(signature: str) -> str:
    return QtCore.QMetaObject.normalizedSignature(signature).toStdString()


def _arguments_taken(function: Callable[..., Any], count: int) -> int:
    """How many of a signal's arguments PythonQt passes: it cuts them for plain functions and methods alone."""
    if not inspect.isroutine(function) or not hasattr(function, "__code__"):
        return count
    code = function.__code__
    if code.co_flags & inspect.CO_VARARGS:
        return count
    return min(count, code.co_argcount - inspect.ismethod(function))


class _SingleShot:
    """`QTimer.singleShot`: a static function of the class and a property of an object, as in Slicer."""

    def __get__(self, timer: Any, cls: type) -> Any:
        return _single_shot if timer is None else timer.property("singleShot")

    def __set__(self, timer: Any, value: bool) -> None:
        timer.setProperty("singleShot", value)


def _single_shot(milliseconds: int, receiver: Any, slot: str | None = None) -> None:
    timer = QtCore.QTimer(QtCore.QCoreApplication.instance())
    timer.setSingleShot(True)
    _connect(timer, "timeout()", receiver, slot)
    _connect(timer, "timeout()", timer.deleteLater)
    timer.start(int(milliseconds))
