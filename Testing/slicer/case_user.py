"""A user who works through a case list, and an engine that answers when the test says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import host
import numpy as np
import qt
import slicer
from panel_user import LESION, PHANTOM, User, agree

from medtl.io.read import read_labelmap
from medtl.io.write import write_image
from medtl.phantom import head
from medtl.worklist.case_list import CaseList, read_list
from MedTLLib.jobs.run import Engine

TRUTH = PHANTOM.labelmap.array > 0


def write_cases(folder: Path, count: int = 3, names: Callable[[int], str] = "case {}".format) -> Path:
    """A folder of so many small heads, each another one."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        volume = head(number, (56, 56, 10), (3.5, 3.5, 12.0)).volume
        write_image(folder / f"{names(number)}.nrrd", volume.array, volume.geometry)
    return folder


class CaseUser(User):
    """Has the section Cases open."""

    def __init__(self, folder: Path, engine: Engine | None = None) -> None:
        super().__init__(folder, engine)

    def open(self) -> None:
        super().open()
        self.ui.casesBox.collapsed = False

    @property
    def cases(self) -> Any:
        return self.widget.cases

    def choose(self, images: Path, places: str = "beside", *answers: object) -> None:
        """Press Folder and choose this one; `answers` are those to further questions."""
        self.ui.placesCombo.currentIndex = self.ui.placesCombo.findData(places)
        host.answer(str(images), *answers)
        self.ui.folderButton.click()

    def press(self, key: Any, modifier: Any = qt.Qt.NoModifier, text: str = "", to: Any = None) -> None:
        """Press a key as a user does, with the panel's window in front."""
        window = self.widget.parent.window()
        window.activateWindow()
        slicer.app.processEvents()
        target = to or window
        for kind in (qt.QEvent.KeyPress, qt.QEvent.KeyRelease):
            slicer.app.notify(target, qt.QKeyEvent(kind, key, modifier, text))
        slicer.app.processEvents()

    def next(self) -> None:
        """Press N."""
        self.press(qt.Qt.Key_N, text="n")

    def settle(self) -> None:
        """Let the event loop turn a few times."""
        for _turn in range(4):
            slicer.app.processEvents()

    def answer(self, mask: np.ndarray = TRUTH) -> None:
        """The engine gives this mask for the oldest job."""
        self.worker.done(mask)
        self.settle()

    @property
    def name(self) -> str:
        """The case that is open."""
        return str(self.cases.session.name)

    @property
    def volume(self) -> Any:
        return self.chosen.inputVolume

    @property
    def segmentation(self) -> Any:
        return self.chosen.resultSegmentation

    def message(self) -> str:
        return str(self.ui.casesMessageLabel.text)

    def progress(self) -> str:
        return str(self.ui.casesProgressLabel.text)

    def table_rows(self) -> list[list[str]]:
        """The rows of the list that are filled."""
        table = self.ui.caseTable
        rows = (r for r in range(table.rowCount) if table.item(r, 0) is not None)
        return [[table.item(r, c).text() for c in range(table.columnCount)] for r in rows]

    def on_disk(self) -> CaseList:
        """The list as it is on disk."""
        return read_list(self.cases.session.list.path)

    def states(self) -> list[str]:
        return [case.state for case in self.on_disk().cases.values()]


def saved_mask(path: Path) -> np.ndarray:
    """Where the lesion is in a saved result, bool (Z, Y, X)."""
    labelmap = read_labelmap(path)
    value = next(segment.value for segment in labelmap.segments if segment.id == LESION)
    return labelmap.mask(value)


def names_in_scene() -> list[str]:
    """The volumes and segmentations of the scene that the user sees."""
    kinds = ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode")
    nodes = [node for kind in kinds for node in slicer.util.getNodesByClass(kind)]
    return sorted({node.GetName() for node in nodes if not node.GetHideFromEditors()})


__all__ = ["TRUTH", "CaseUser", "agree", "names_in_scene", "saved_mask", "write_cases"]
