"""A user in front of the panel, and an engine that answers when the test says so."""

from html import unescape
from pathlib import Path
from typing import Any

import host
import numpy as np
import slicer

from medtl.io.read import read_volume
from medtl.io.write import write_labelmap
from medtl.phantom import Phantom, head
from medtl.volume import Geometry, Labelmap, Segment
from MedTLLib import samples
from MedTLLib.mrml import scene

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
    """The engine's process as the panel knows it; `done`, `progress` and `error` answer the oldest job."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.state, self.complaints = folder, "stopped", ""
        self.requests: list[dict[str, Any]] = []
        self.jobs: dict[int, tuple[Any, Any, Any]] = {}

    def submit(self, request: dict[str, Any], on_progress: Any, on_done: Any, on_error: Any) -> int:
        self.requests.append(request)
        self.jobs[len(self.requests)] = (on_progress, on_done, on_error)
        self.state = "starting" if self.state == "stopped" else "busy"
        return len(self.requests)

    def queued(self, job_id: int) -> bool:
        return job_id in self.jobs and job_id != min(self.jobs)

    def cancel(self, job_id: int) -> None:
        if job_id in self.jobs:
            on_error = self.jobs.pop(job_id)[2]
            slicer.app.processEvents()
            on_error("Cancelled", "The job was cancelled.")

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
        request = self.requests[min(self.jobs) - 1]
        geometry = read_volume(self.folder / request["input"]).geometry
        labelmap = Labelmap((mask > 0).astype(np.uint8), geometry, (SEGMENT,))
        write_labelmap(self.folder / request["output"], labelmap)
        record = {"warnings": list(warnings), "segments": [{"id": LESION, "volume_ml": ml}]}
        self.state = "ready"
        self.jobs.pop(min(self.jobs))[1]({"model": MODEL, "results": [record]})
        for _turn in range(3):  # the panel reads, fills and shows in turns of the event loop
            slicer.app.processEvents()

    def error(self, kind: str, message: str) -> None:
        self.jobs.pop(min(self.jobs))[2](kind, message)


class User:
    """Opens the panel and uses its controls."""

    module = MODULE
    engine: type[FakeWorker] = FakeWorker

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open()

    def open(self) -> None:
        self.widget = host.load_module(self.module)
        self.ui = self.widget.ui
        self.worker = self.engine(self.folder)
        self.widget.logic.worker = self.worker

    @property
    def chosen(self) -> Any:
        """The parameter node."""
        return self.widget._parameterNode

    def load(self, phantom: Phantom = PHANTOM, name: str = "head") -> Any:
        """Load a volume and choose it."""
        node = samples.volumeNode(phantom.volume, name)
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
