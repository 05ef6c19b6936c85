"""The results: table of lesions, changes, undo, 3D, export."""

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from medtl.errors import InputError, MedTLError
from MedTLLib.jobs.segment import Finished, undo
from MedTLLib.mrml import views
from MedTLLib.mrml.tags import card_of
from MedTLLib.results import diameter_lines, export, volume_table

from .changes import ChangesPanel
from .diameters import DiametersPanel
from .doubt import DoubtPanel
from .form import askSavePath, enable, showText
from .layout import LayoutPanel
from .lesions import LesionsPanel


class ResultsPanel:
    """Shows one segmentation: the last result, or the one that the user chose to write into after it."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.parameters: Any = None
        self.finished: Finished | None = None  # what Undo takes back
        self._target = ""
        self.followers: list[Callable[[], None]] = []  # called after each update
        self.lesions = LesionsPanel(ui, self.volume, self.showMessage, self.update)
        self.diameters = DiametersPanel(ui, self.lesions)
        self.changes = ChangesPanel(ui, self.volume)
        self.doubt = DoubtPanel(ui, self.volume)
        self.layout = LayoutPanel(ui, self)
        ui.undoButton.connect("clicked()", self.onUndo)
        ui.show3DButton.connect("toggled(bool)", self.onShow3D)
        ui.tableButton.connect("clicked()", self.onTable)
        ui.exportButton.connect("clicked()", self.onExport)

    def show(self, finished: Finished) -> None:
        """Show the result of a run: table, views, warnings."""
        if finished.segmentation.GetScene() is None:  # the scene was closed meanwhile
            return
        self.finished = finished
        self.parameters.resultSegmentation = finished.segmentation
        warnings = list(finished.warnings)
        centre = None
        if finished.volume is not None:
            try:
                diameter_lines.measure(finished.segmentation, finished.volume)
                table = volume_table.table_of(finished.segmentation)
                centre = volume_table.main_place(table, finished.written.segment_ids, finished.segmentation)
            except InputError as error:
                warnings.append(str(error))
            card = card_of(finished.segmentation)
            window = card.display_window if card else None
            views.show_result(finished.volume, finished.segmentation, centre, window, finished.written.segment_ids)
        if not warnings and centre is None:
            warnings.append(_("Nothing was found."))
        self.showMessage(" ".join(warnings))
        self.update()

    def sceneClosed(self) -> None:
        """Nothing can be undone any more."""
        self.finished = None
        self.lesions.sceneClosed()
        self.diameters.close()
        self.changes.end()
        self.doubt.close()
        self.layout.exit()
        self.showMessage("")

    def exit(self) -> None:
        """Another module is opened."""
        self.lesions.exit()
        self.doubt.listen(False)
        self.layout.exit()

    def enter(self) -> None:
        """The module is opened."""
        self.doubt.listen(True)

    def segmentation(self) -> Any:
        """The segmentation that is shown, or None."""
        return self.parameters.resultSegmentation if self.parameters else None

    def volume(self) -> Any:
        """The volume that the segmentation is measured on.

        Raises: InputError when there is none (see `volume_table.volume_of`).
        """
        return volume_table.volume_of(self.segmentation(), self.parameters.inputVolume)

    def update(self) -> None:
        """Show what the parameter node says."""
        target = self.parameters.targetSegmentation if self.parameters else None
        if target is not None and target.GetID() != self._target:
            self.parameters.resultSegmentation = target
        self._target = target.GetID() if target else ""
        node = self.segmentation()
        nothing = _("There is no result yet. Press Segment, or choose a segmentation.")
        self.ui.nameLabel.text = node.GetName() if node else nothing
        self.lesions.update(node)
        self.diameters.update()
        self.changes.update(node, self.finished.written if self.finished else None)
        self.doubt.update(node)
        self.layout.update()
        undo = "" if self.finished else _("There is no prediction of this session to undo.")
        if self.finished and self.finished.segmentation is not node:
            undo = _("The last prediction is in {name}.").format(name=self.finished.segmentation.GetName())
        enable(self.ui.undoButton, undo, _("Undo the prediction. What you changed since then stays."))
        reason = "" if node else nothing
        enable(self.ui.show3DButton, reason, _("Show the surface in 3D. A large one takes some seconds."))
        enable(self.ui.tableButton, reason, _("Measure volumes and diameters again."))
        enable(self.ui.exportButton, reason, _("Save as .seg.nrrd, .nrrd or NIfTI."))
        blocked = self.ui.show3DButton.blockSignals(True)
        self.ui.show3DButton.checked = views.is_shown_3d(node)
        self.ui.show3DButton.blockSignals(blocked)
        for follow in self.followers:
            follow()

    def onTable(self) -> None:
        self.showMessage("")
        try:
            diameter_lines.measure(self.segmentation(), self.volume())
        except InputError as error:
            self.showMessage(str(error))
            slicer.mrmlScene.RemoveNode(volume_table.table_of(self.segmentation()))  # its figures are out of date
        self.update()

    def onUndo(self) -> None:
        """Revert the voxels of the last prediction that did not change since."""
        if self.finished is None:
            return
        finished = self.finished
        try:
            text = undo(finished)
        except InputError as error:
            self.showMessage(str(error))
            return
        self.finished = None
        if finished.segmentation.GetScene() is not None and volume_table.table_of(finished.segmentation) is not None:
            self.onTable()
            text = " ".join(part for part in (text, str(self.ui.resultLabel.text)) if part)
        self.showMessage(text)
        self.update()

    def onShow3D(self, shown: bool) -> None:
        with slicer.util.WaitCursor():
            views.show_3d(self.segmentation(), shown)

    def onExport(self) -> None:
        """Save the segmentation where the user chose, read it back and compare."""
        node, button = self.segmentation(), self.ui.exportButton
        path = askSavePath(button, _("Export segmentation"), export.suggested_path(node), export.formats())
        if path is None:
            return
        try:
            self.showMessage(export.export(node, self.volume(), path, card_of(node), replace=True))
        except MedTLError as error:
            self.showMessage(str(error))
            return
        export.remember(path)

    def showMessage(self, text: str) -> None:
        """Show a sentence below the results."""
        showText(self.ui.resultLabel, text)
