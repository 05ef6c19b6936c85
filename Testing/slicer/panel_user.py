"""A user in front of the panel, and an engine that answers when the test says so."""

import os
import time
from collections.abc import Callable, Sequence
from html import unescape
from pathlib import Path
from typing import Any

import host
import numpy as np
import qt
import slicer
from packaging.requirements import Requirement

from medtl import worker_jobs
from medtl.errors import Cancelled, MedTLError
from medtl.io.read import read_volume
from medtl.io.write import write_labelmap
from medtl.model.acceptance import accept
from medtl.model.store import list_models
from medtl.phantom import Phantom, head
from medtl.progress import no_progress
from medtl.typed_json import encode
from medtl.volume import Geometry, Labelmap, Segment
from MedTLLib import samples
from MedTLLib.jobs.run import Engine
from MedTLLib.jobs.shared import shared_engine
from MedTLLib.mrml import scene
from MedTLLib.packages import packages
from MedTLLib.packages.packages import Package

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "MedTLSegment" / "MedTLSegment.py"
MODEL = "glioma-flair"
LESION = f"{MODEL}.lesion"
SEGMENT = Segment(
    1,
    LESION,
    "Glioma (FLAIR abnormality)",
    (0.95, 0.25, 0.2),
    tags=(("MedTL.label", "lesion"), ("MedTL.model", MODEL)),
)
PHANTOM = head(1, (56, 56, 10), (3.5, 3.5, 12.0))


class FakeWorker:
    """An engine (`jobs.run.Engine`); `done`, `progress` and `error` answer the oldest job.

    A test may set what happens in the event loop: `then` after each job that is submitted, `between` before each
    deferred call. While `hears_cancel` is False, a job goes on after its cancel. `cancelled` has the jobs
    that were cancelled. The clock is `ahead` seconds.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.stderr = folder, ""
        self.state = "stopped"
        self.requests: list[dict[str, Any]] = []
        self.jobs: dict[int, tuple[Any, Any, Any, Any]] = {}
        self.cancelled: list[int] = []
        self.answers_cancel = True
        self.segments: tuple[Segment, ...] = (SEGMENT,)
        self.ahead = 0.0
        self.then: Callable[[], object] | None = None
        self.between: Callable[[], object] | None = None

    def submit(
        self, request: dict[str, Any], on_progress: Any, on_done: Any, on_error: Any, on_values: Any = None
    ) -> int:
        self.requests.append(request)
        self.jobs[len(self.requests)] = (on_progress, on_done, on_error, on_values)
        self.state = "starting" if self.state == "stopped" else "busy"
        if self.then is not None:
            qt.QTimer.singleShot(0, self.then)
        return len(self.requests)

    def later(self, call: Callable[[], None], milliseconds: int = 0) -> None:
        if self.between is not None:
            qt.QTimer.singleShot(0, self.between)
        qt.QTimer.singleShot(milliseconds, call)

    def now(self) -> float:
        return time.monotonic() + self.ahead

    def queued(self, job_id: int) -> bool:
        return job_id in self.jobs and job_id != min(self.jobs)

    def cancel(self, job_id: int) -> None:
        self.cancelled.append(job_id)
        if job_id in self.jobs and self.answers_cancel:
            on_error = self.jobs.pop(job_id)[2]
            slicer.app.processEvents()
            on_error("Cancelled", "The job was cancelled.", {})

    def stop(self) -> None:
        self.state = "stopped"
        for job_id in tuple(self.jobs):
            self.cancel(job_id)

    def progress(self, stage: str, fraction: float, left: float | None = None) -> None:
        self.state = "busy"
        self.jobs[min(self.jobs)][0](stage, fraction, left)

    def done(
        self, mask: np.ndarray = PHANTOM.labelmap.array, warnings: tuple[str, ...] = (), ml: float | None = 1.0
    ) -> None:
        """The job's output is this mask (Z, Y, X), on the grid of the volume that was handed over."""
        self.write(mask)
        self.answer({"warnings": list(warnings), "segments": [{"id": LESION, "volume_ml": ml}]})

    def write(self, mask: np.ndarray) -> None:
        """Write this mask as the job's output."""
        request = self.requests[min(self.jobs) - 1]
        first = request["input"] if isinstance(request["input"], str) else request["input"][0]
        geometry = read_volume(self.folder / first).geometry
        labels = mask if len(self.segments) > 1 else mask > 0
        labelmap = Labelmap(labels.astype(np.uint8), geometry, self.segments)
        write_labelmap(self.folder / request["output"], labelmap)

    def imports(self) -> None:
        """Do the oldest job, an import of a bundle, as the engine does."""
        try:
            result = encode(worker_jobs.run_import(self.requests[min(self.jobs) - 1], no_progress))
        except MedTLError as error:
            self.error(type(error).__name__, str(error))
            return
        self.state = "ready"
        self.jobs.pop(min(self.jobs))[1](result)

    def answer(self, *records: Any) -> None:
        """The job's answer has these records."""
        self.state = "ready"
        self.jobs.pop(min(self.jobs))[1]({"model": MODEL, "results": list(records), "errors": []})
        for _turn in range(4):  # the panel reads, fills and shows in turns of the event loop
            slicer.app.processEvents()

    def error(self, kind: str, message: str, **advice: float) -> None:
        self.jobs.pop(min(self.jobs))[2](kind, message, advice)


class FakePackages:
    """The engine's packages: `needed` are missing until they are installed; `changed` are then in use.

    `failure` is what an installation raises; `own` is the question about Slicer's own packages. While `waits`, an
    installation goes on until the test calls what it was given: `progress`, `done` or `error`; while `hangs`, also
    after a cancel.
    """

    def __init__(self) -> None:
        self.needed: tuple[Requirement, ...] = ()
        self.changed: tuple[str, ...] = ()
        self.failure: MedTLError | None = None
        self.own, self.waits, self.hangs = "", False, False
        self.halves: dict[str, str] = {}
        self.tried = 0  # how often it was tried to import them

        self.ours: tuple[Package, ...] = ()  # what MedTL installed
        self.removed: list[str] = []

    def removable(self) -> tuple[Package, ...]:
        return self.ours

    def remove(
        self,
        names: Sequence[str],
        on_progress: Callable[[str, float | None], None],
        on_done: Callable[[], None],
        on_error: Callable[[MedTLError], None],
        stop_worker: Callable[[], None],
    ) -> Any:
        if self.failure is not None:
            raise self.failure
        self.progress, self.error = on_progress, on_error

        def done() -> None:
            self.removed += names
            self.ours = tuple(each for each in self.ours if each.name not in names)
            on_done()

        self.done = done
        if not self.waits:
            qt.QTimer.singleShot(0, done)
        return self

    def broken(self) -> dict[str, str]:
        return self.halves

    def try_imports(self, on_end: Callable[[], None]) -> None:
        self.tried += 1
        on_end()

    def missing(self) -> tuple[Requirement, ...]:
        return self.needed

    def plan(self, needed: Sequence[Requirement], pack: Path | None = None) -> str:
        return packages.plan(needed, pack)

    def own_changes(self, needed: Sequence[Requirement]) -> str:
        return self.own

    def install(
        self,
        on_progress: Callable[[str, float | None], None],
        on_done: Callable[[tuple[str, ...]], None],
        on_error: Callable[[MedTLError], None],
        stop_worker: Callable[[], None],
        pack: Path | None = None,
    ) -> Any:
        if self.failure is not None:
            raise self.failure
        self.progress, self.error = on_progress, on_error

        def done() -> None:
            self.needed = ()
            on_done(self.changed)

        self.done = done
        if not self.waits:
            qt.QTimer.singleShot(0, done)
        return self

    def cancel(self) -> None:
        if not self.hangs:
            self.error(Cancelled("The installation was cancelled."))


class User:
    """Opens the panel and uses its controls; the modules share the engine that is given, or else a new fake one, and
    the packages, of which none is missing. The terms of the models that are there were accepted before."""

    module = MODULE
    make_worker: type[FakeWorker] = FakeWorker

    def __init__(self, folder: Path, engine: Engine | None = None) -> None:
        self.folder, self.engine = folder, engine
        self.packages = FakePackages()
        self.shared_before: Any = None
        accept_terms()
        self.open()

    def open(self) -> None:
        """Load the module, with a new engine where none was given."""
        self.worker: Any = self.engine or self.make_worker(self.folder)
        before = shared_engine.replace(lambda: self.worker, self.packages)
        self.shared_before = self.shared_before or before
        self.widget = host.load_module(self.module)
        self.ui = self.widget.ui

    def close(self) -> None:
        """Unload the module where it is loaded."""
        if hasattr(slicer.modules, self.module.stem.lower()):
            host.unload_module(self.module.stem)
        shared_engine.replace(*self.shared_before)

    @property
    def chosen(self) -> Any:
        """The parameter node."""
        return self.widget._parameterNode

    def load(self, phantom: Phantom = PHANTOM, name: str = "head") -> Any:
        """Load a volume and choose it."""
        node = samples.volume_node(phantom.volume, name)
        self.ui.inputSelector.setCurrentNode(node)
        return node

    def segment(self, mask: np.ndarray = PHANTOM.labelmap.array) -> Any:
        """Press Segment, wait for the result, which is the mask; the segmentation node."""
        self.ui.segmentButton.click()
        self.worker.done(mask)
        return self.chosen.resultSegmentation

    def status(self) -> str:
        return str(self.ui.statusLabel.text)

    def result(self) -> str:
        return str(self.ui.resultLabel.text)

    def rows(self) -> list[list[str]]:
        """What the volume table shows."""
        table = self.ui.resultTable
        return [[table.item(r, c).text() for c in range(table.columnCount)] for r in range(table.rowCount)]


def accept_terms() -> None:
    """Accept the terms of all models that are there; only in a home of the test's own."""
    assert os.environ.get("MEDTL_HOME"), "the test needs a home of its own: set MEDTL_HOME"
    for entry in list_models():
        if entry.card is not None:
            accept(entry.card, entry.terms)


def agree(*answers: bool) -> list[str]:
    """Prepare the answers to the next questions, in turn; the list fills with what is asked."""
    asked: list[str] = []

    def answer(yes: bool) -> Callable[[Any], Any]:
        def press(dialog: Any) -> Any:
            asked.append(str(dialog.text))
            return qt.QMessageBox.Ok if yes else qt.QMessageBox.Cancel

        return press

    host.answer(*map(answer, answers))
    return asked


def voxels(segmentation: Any, volume: Any, segment_id: str = LESION) -> np.ndarray:
    """Where the segment is on the volume's grid, bool (Z, Y, X)."""
    return scene.array_of(segmentation, segment_id, volume)


def paint(segmentation: Any, volume: Any, mask: np.ndarray, segment_id: str = LESION) -> None:
    """Make the mask the segment, as a user with a brush does."""
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), segmentation, segment_id, volume)


def grid(node: Any) -> Geometry:
    return scene.geometry_of(node)


def tip(widget: Any) -> str:
    """The tool tip as the user reads it."""
    return unescape(str(widget.toolTip).removeprefix("<p>").removesuffix("</p>"))


def tick(user: User, *rows: int) -> None:
    """Tick these rows of what is stored, and no other."""
    table = user.ui.storageTable
    for row in range(table.rowCount):
        table.item(row, 0).setCheckState(qt.Qt.Checked if row in rows else qt.Qt.Unchecked)
