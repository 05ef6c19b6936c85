"""A stand-in for 3D Slicer: real MRML, Qt with PythonQt's ways, and no application. See README.md beside this file.

host.start()
widget = host.load_module(Path("MedTLSegment/MedTLSegment.py"))
widget.ui.segmentButton.click()
host.process_until(lambda: widget.ui.segmentButton.enabled, 10)
"""

import atexit
import ctypes
import os
import shutil
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

TESTING = Path(__file__).resolve().parents[1]
LAYER = Path(__file__).parent / "layer"
REAL_LAYER = os.environ.get("MEDTL_SLICER_PYTHON", "") and str(Path(os.environ["MEDTL_SLICER_PYTHON"]).resolve())
LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
}
errors: list[str] = []
_started: list[Any] = []


def start() -> Any:
    """The package `slicer`, ready: `slicer.app`, an empty scene, `qt` and `ctk`. Further calls change nothing."""
    if not _started:
        if sys.version_info < (3, 12):
            # PySide6 6.12 gives away a reference to the None or bool that some calls return, and here these can still
            # die: a long run would end in "deallocating None".
            for constant in (None, True, False):
                ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 30
        from host import dialogs
        from host.pythonqt import make_qt

        qt, ctk = make_qt(), types.ModuleType("ctk")
        sys.modules.update(qt=qt, ctk=ctk)
        sys.excepthook = _collect
        dialogs.prepare()
        slicer = _slicer_package()
        from host import application, loader, widgets

        loader.QUiLoader.classes = widgets.CTK | widgets.SLICER
        qt.QUiLoader = loader.QUiLoader
        vars(ctk).update(widgets.CTK)
        vars(slicer).update(widgets.SLICER)
        folder = Path(tempfile.mkdtemp(prefix="MedTL-host-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        slicer.app = application.qSlicerApplication(["Slicer"])
        slicer.app._hostStart(folder)
        _started.append(slicer)
        new_scene()
    return _started[0]


def new_scene() -> Any:
    """A new, empty scene in place of the old one, with the logic of Slicer's modules that ours use."""
    from host.editor import SegmentEditorModule
    from host.subject_hierarchy import observe

    slicer = _started[0]
    if getattr(slicer, "mrmlScene", None) is not None:
        slicer.mrmlScene.Clear(True)
    scene, application = slicer.vtkMRMLScene(), slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    cache, transfer = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    cache.SetRemoteCacheDirectory(slicer.app.temporaryPath)
    transfer.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(transfer)
    slicer.mrmlScene, slicer.app._host_logic, slicer.app._host_layout = scene, application, None
    slicer.vtkMRMLScene.GlobalWarningDisplayOff()  # of colour and terminology files that slicer-core lacks
    for name, cls in LOGICS.items():
        logic = getattr(slicer, cls)()
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
        logic.SetMRMLScene(scene)
        setattr(slicer.modules, name.lower(), types.SimpleNamespace(name=name, logic=lambda logic=logic: logic))
        setattr(slicer.moduleNames, name, name)
    slicer.vtkMRMLScene.GlobalWarningDisplayOn()
    slicer.modules.segmenteditor = SegmentEditorModule()
    slicer.moduleNames.SegmentEditor = "SegmentEditor"
    observe(scene, errors)
    return scene


def open_views() -> None:
    """Gives `slicer.app` a layout with the Red, Green and Yellow slice views, until the next scene."""
    from host.views import qSlicerLayoutManager

    slicer = _started[0]
    slicer.app._host_layout = qSlicerLayoutManager()
    slicer.app._host_layout._hostStart()


def open_panel(widget: Any, width: int, height: int) -> Any:
    """The scroll area (QScrollArea) of this size in pixels with the module's panel in it, as in Slicer's main window.

    `widget` is what `load_module` returned. Without a call the panel stands alone, as high as it needs.
    """
    from host.modules import module_panel

    return module_panel(widget.parent, width, height)


def open_layout(arrangement: int) -> Any:
    """Slicer's own layout node in the scene, with this layout; the node. No views follow it."""
    import slicer

    other = slicer.vtkMRMLScene()
    logic = slicer.vtkMRMLLayoutLogic()
    logic.SetMRMLScene(other)  # one that lives as long as the logic: it adds Slicer's own layouts
    node = slicer.vtkMRMLLayoutNode()
    node.SetSingletonTag("vtkMRMLLayoutNode")
    node = slicer.mrmlScene.AddNode(node)
    for number in map(int, logic.GetLayoutNode().GetLayoutIndices()):
        node.AddLayoutDescription(number, logic.GetLayoutNode().GetLayoutDescription(number))
    logic.SetMRMLScene(None)
    node.SetViewArrangement(arrangement)
    return node


def load_module(path: Path | str) -> Any:
    """The Python widget of the scripted module in this file, shown and entered."""
    start()
    from host.modules import load

    return load(Path(path).resolve())


def unload_module(name: str) -> None:
    """The module is gone, after its `cleanup()`."""
    from host.modules import unload

    unload(name)


def process_until(condition: Callable[[], object], seconds: float = 10.0, waiting_for: str = "") -> None:
    """Returns as soon as the condition holds; Qt's events are processed meanwhile.

    Raises:
        AssertionError: it did not within these seconds, or a slot raised.
    """
    deadline = time.monotonic() + seconds
    app = _started[0].app
    while not condition():
        if errors:
            raise AssertionError(f"An error in a slot:\n{errors[0]}")
        if time.monotonic() > deadline:
            raise AssertionError(f"{waiting_for or 'The condition'} did not come true within {seconds:g} s.")
        app.processEvents()
        time.sleep(0.002)


def screenshot(widget: Any, path: Path, width: int = 0) -> tuple[int, int]:
    """The size in pixels of the PNG written: `width` wide and as high as the widget needs (0: as it stands).

    A widget that does not fit into `width` comes out wider: compare.
    """
    app = _started[0].app
    app.processEvents()
    if width:
        widget.resize(width, 10)
        app.processEvents()
        height = widget.heightForWidth(width) if widget.hasHeightForWidth() else widget.sizeHint.height()
        widget.resize(width, height)
    app.processEvents()
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = widget.grab()
    if not picture.save(str(path)):
        raise OSError(f"Expected to write {path}, could not.")
    return picture.width(), picture.height()


def render_slice(volume: Any, segmentation: Any, path: Path, **options: Any) -> None:
    """Writes a slice of the volume with the segmentation over it as a PNG: see render.py."""
    from host.render import render_slice

    render_slice(volume, segmentation, path, **options)


def answer(*prepared: Any) -> None:
    """Prepares what the next modal dialogs return, in turn: a value, or a function of the dialog that gives it.

    A dialog without an answer raises. What was asked stands in `host.dialogs.shown`.
    """
    from host import dialogs

    dialogs.answers.extend(prepared)


def _collect(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """What an exception in a slot or an observer becomes: Qt and VTK only print it."""
    text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(text)
    errors.append(text)


def _slicer_package() -> Any:
    """Slicer's package: slicer-core's with our own Python layer, or the real one that MEDTL_SLICER_PYTHON names."""
    if REAL_LAYER:
        sys.path.insert(0, REAL_LAYER)
        kits = types.ModuleType("slicer.kits")
        kits.available_kits = ["slicer_core"]
        sys.modules["slicer.kits"] = kits
    # slicer-core takes every folder named `slicer` beside a path for a part of itself: also Testing/slicer.
    path, sys.path = sys.path, [p for p in sys.path if Path(p).resolve() != TESTING]
    import slicer
    import slicer.util
    import slicer_core

    sys.path = path

    for name, module in vars(slicer_core).items():  # the names that Slicer's build gives these libraries
        if isinstance(module, types.ModuleType) and not name.startswith("_"):
            sys.modules.setdefault(f"{name}Python", module)
    if not REAL_LAYER:
        slicer.__path__.append(str(LAYER / "slicer"))
        for name, value in vars(slicer.util).items():  # slicer-core puts these there, Slicer does not
            if not name.startswith("__") and name != "vtk" and vars(slicer).get(name) is value:
                delattr(slicer, name)
        for name in ("modules", "moduleNames"):
            sys.modules[f"slicer.{name}"] = types.ModuleType(f"slicer.{name}")
            setattr(slicer, name, sys.modules[f"slicer.{name}"])
    sys.path.append(str(LAYER))
    return slicer
