"""A user with studies of several dates, and an engine that really compares them."""

import contextlib
from dataclasses import replace
from typing import Any

import numpy as np
import slicer
from panel_user import LESION, SEGMENT, FakeWorker, User

from medtl import worker_jobs
from medtl.errors import MedTLError
from medtl.io.write import write_image
from medtl.labels import ALGORITHM_TAG, SHA256_TAG
from medtl.model.card import load_card
from medtl.model.store import find_model
from medtl.phantom import Phantom, head
from medtl.progress import no_progress
from medtl.typed_json import encode
from medtl.volume import Labelmap, Segment
from MedTLLib import samples
from MedTLLib.prediction import writer
from MedTLLib.results.studies import set_date

CARD = load_card(find_model("glioma-flair"))
SHA256 = CARD.sha256
MADE = replace(SEGMENT, tags=(*SEGMENT.tags, (ALGORITHM_TAG, f"glioma-flair {CARD.version}"), (SHA256_TAG, SHA256)))
FIRST = head(1, (64, 64, 16), (3.5, 3.5, 8.0))
SECOND = head(1, (60, 56, 20), (3.8, 4.0, 7.0))


def ball(phantom: Phantom, ras: tuple[float, float, float], mm: float) -> np.ndarray:
    """A ball around a place, RAS mm: bool (Z, Y, X)."""
    geometry = phantom.volume.geometry
    index = np.stack(np.indices(geometry.shape)[::-1], axis=-1)
    place = index @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    return np.linalg.norm(place - np.array(ras) * (-1, -1, 1), axis=-1) < mm


def segmented(
    phantom: Phantom, mask: np.ndarray, name: str, date: str = "", segment: Segment = MADE
) -> tuple[Any, Any]:
    """A volume, and the segmentation that a model wrote for it, with this date."""
    volume = samples.volume_node(phantom.volume, name)
    labels = Labelmap(mask.astype(np.uint8), phantom.volume.geometry, (segment,))
    node = slicer.mrmlScene.GetNodeByID(writer.write(labels, volume, name=f"{name} labels").segmentation_id)
    set_date(node, date)
    return volume, node


class StudyWorker(FakeWorker):
    """Compares dates as the engine does. `doubt` is written with a result of Segment, where it is asked for."""

    doubt: np.ndarray | None = None

    def write(self, mask: np.ndarray) -> None:
        super().write(mask)
        path = self.requests[min(self.jobs) - 1]["options"].get("uncertainty")
        if path and self.doubt is not None:
            write_image(self.folder / path, self.doubt.astype(np.float32), FIRST.volume.geometry)

    def compare(self) -> None:
        """Do the oldest job, a comparison."""
        with contextlib.chdir(self.folder):
            try:
                result = encode(worker_jobs.run_trend(self.requests[min(self.jobs) - 1], no_progress))
            except MedTLError as error:
                self.error(type(error).__name__, str(error))
                return
        self.finish(result)

    def finish(self, result: Any) -> None:
        """Answer the oldest job."""
        self.state = "ready"
        self.jobs.pop(min(self.jobs))[1](result)
        for _turn in range(4):
            slicer.app.processEvents()


class StudyUser(User):
    """Compares dates."""

    make_worker = StudyWorker

    def tick(self, *names: str) -> None:
        """Tick these segmentations, and no other."""
        import qt

        for row in range(self.ui.studyTable.rowCount):
            item = self.ui.studyTable.item(row, 0)
            wanted = qt.Qt.Checked if item.text() in names else qt.Qt.Unchecked
            if item.checkState() != wanted:
                item.setCheckState(wanted)
                slicer.app.processEvents()

    def table(self, name: str) -> list[list[str]]:
        """What a table of the panel shows."""
        table = getattr(self.ui, name)
        return [
            [table.item(r, c).text() if table.item(r, c) else "" for c in range(table.columnCount)]
            for r in range(table.rowCount)
        ]


__all__ = ["FIRST", "LESION", "MADE", "SECOND", "SHA256", "StudyUser", "StudyWorker", "ball", "segmented"]
