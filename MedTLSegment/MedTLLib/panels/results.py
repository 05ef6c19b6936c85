"""The results: volume table, undo, 3D, export."""

import re
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from medtl.errors import InputError, MedTLError, ModelError
from medtl.model.card import ModelCard, load_card
from medtl.model.store import find_model
from MedTLLib.jobs.segment import SPACING, Finished
from MedTLLib.mrml import editors, scene, views
from MedTLLib.mrml.segments import check_place
from MedTLLib.mrml.tags import MODEL_TAG, tag_of
from MedTLLib.prediction import writer
from MedTLLib.results import volume_table
from MedTLLib.results.export import export

from .form import confirm, enable, fillTable, say

FORMATS = (".seg.nrrd", ".nrrd", ".nii.gz")
FORBIDDEN = re.compile(r'[/\\:*?"<>|]')  # in file names, on one system or another
FOLDER, SUFFIX = "MedTL/exportFolder", "MedTL/exportSuffix"


class ResultsPanel:
    """Shows one segmentation: the last result, or the one that the user has chosen since to write into."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.parameters: Any = None
        self.finished: Finished | None = None  # what Undo takes back
        self._filled: tuple[object, ...] | None = None
        self._target = ""
        ui.resultTable.connect("cellClicked(int,int)", self.onRow)
        ui.resultTable.connect("cellActivated(int,int)", self.onRow)
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
        notes = list(finished.notes)
        centre = None
        if finished.volume is not None:
            try:
                table = self.measure(finished.segmentation, finished.volume)
                centre = largest(table, finished.written.segment_ids, finished.segmentation)
            except InputError as error:
                notes.append(str(error))
            card = cardOf(finished.segmentation)
            window = card.input.window if card else None
            views.show_result(finished.volume, finished.segmentation, centre, window, finished.written.segment_ids)
        if not notes and centre is None:
            notes.append(_("Nothing was found."))
        self.say(" ".join(notes))
        self.update()

    def forget(self) -> None:
        """The scene is closed: nothing can be undone any more."""
        self.finished = None
        self.say("")

    def segmentation(self) -> Any:
        """The segmentation that is shown, or None."""
        return self.parameters.resultSegmentation if self.parameters else None

    def volume(self) -> Any:
        """The volume whose grid the segments lie on: the one they were made on, or the input volume.

        Raises: InputError when there is none: on another grid the figures would differ.
        """
        node = self.segmentation()
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        for volume in (node.GetNodeReference(role), self.parameters.inputVolume):
            try:
                check_place(node, node.GetSegmentation().GetSegmentIDs(), scene.geometry_of(volume))
                return volume
            except (AttributeError, InputError):  # no volume, or none with an image; the segments are on another grid
                continue
        raise InputError(
            _(
                "Expected the volume that {name} was made on, found none of its grid. Load it, and choose it above."
            ).format(name=node.GetName())
        )

    def update(self) -> None:
        """Show what the parameter node says."""
        target = self.parameters.targetSegmentation if self.parameters else None
        if target is not None and target.GetID() != self._target:
            self.parameters.resultSegmentation = target
        self._target = target.GetID() if target else ""
        node = self.segmentation()
        nothing = _("There is no result yet. Press Segment, or choose a segmentation.")
        self.ui.nameLabel.text = node.GetName() if node else nothing
        self._fill(tableOf(node))
        undo = "" if self.finished else _("There is no prediction of this session to take back.")
        if self.finished and self.finished.segmentation is not node:
            undo = _("The last prediction is in {name}.").format(name=self.finished.segmentation.GetName())
        enable(self.ui.undoButton, undo, _("Take back what the prediction changed; what you changed since stays."))
        reason = "" if node else nothing
        enable(self.ui.show3DButton, reason, _("Make the surface and show it; large ones take seconds."))
        enable(self.ui.tableButton, reason, _("Measure volumes and diameters again."))
        enable(self.ui.exportButton, reason, _("Save as .seg.nrrd, .nrrd or NIfTI."))
        blocked = self.ui.show3DButton.blockSignals(True)
        self.ui.show3DButton.checked = shown3D(node)
        self.ui.show3DButton.blockSignals(blocked)

    def measure(self, segmentation: Any, volume: Any) -> Any:
        """The table of this segmentation, refilled."""
        real = segmentation.GetAttribute(SPACING) != "unknown"
        return volume_table.volume_table(segmentation, volume, tableOf(segmentation), real)

    def _fill(self, table: Any) -> None:
        key = (table.GetID(), table.GetMTime()) if table else ()
        if key == self._filled:
            return
        self._filled = key
        columns = (_("Segment"), _("mL"), _("mm"))
        rows = [rowTexts(table, row) for row in range(table.GetNumberOfRows() if table else 0)]
        fillTable(self.ui.resultTable, columns, rows, wide=0, numbers=1)
        self.ui.resultTable.visible = bool(rows)

    def onRow(self, row: int, column: int) -> None:
        """Centre the views on the lesion of a row."""
        table = tableOf(self.segmentation())
        if table is None:  # deleted meanwhile
            self.update()
            return
        try:
            centre = volume_table.centre_of(table, row)
        except InputError as error:
            self.say(str(error))
            return
        if centre is None:
            self.say(_("This segment is empty."))
        else:
            views.jump(centre)

    def onTable(self) -> None:
        self.say("")
        try:
            self.measure(self.segmentation(), self.volume())
        except InputError as error:
            self.say(str(error))
            slicer.mrmlScene.RemoveNode(tableOf(self.segmentation()))  # its figures are out of date
        self.update()

    def onUndo(self) -> None:
        """Revert the voxels of the last prediction that did not change since."""
        if self.finished is None:
            return
        finished = self.finished
        table = tableOf(finished.segmentation)
        if finished.segmentation.GetParentTransformNode():
            self.say(_("The segmentation is under a transform. Take it out, then Undo works."))
            return
        editors.open_editor(finished.segmentation)
        try:
            reverted, left = writer.undo(finished.written)
        except InputError as error:
            self.say(str(error))
            return
        self.finished = None
        text = _("Taken back: {count} voxels.").format(count=reverted)
        if left:
            text += " " + _("Left, for they were changed since: {count}.").format(count=left)
        if finished.segmentation.GetScene() is None:  # it held nothing but the prediction
            slicer.mrmlScene.RemoveNode(table)
        elif table is not None:
            self.onTable()
            text = " ".join(part for part in (text, str(self.ui.resultLabel.text)) if part)
        self.say(text)
        self.update()

    def onShow3D(self, shown: bool) -> None:
        node = self.segmentation()
        if node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
        if shown:
            with slicer.util.WaitCursor():
                node.CreateClosedSurfaceRepresentation()
        node.GetDisplayNode().SetVisibility3D(shown)
        if shown:
            views.reset_3d()

    def onExport(self) -> None:
        """Save the segmentation where the user chose, read it back and compare."""
        settings = slicer.app.userSettings()
        suffix = str(settings.value(SUFFIX, FORMATS[0]))
        node = self.segmentation()
        folder = Path(str(settings.value(FOLDER, str(Path.home()))))
        path = self.askPath(folder / f"{FORBIDDEN.sub('_', node.GetName())}{suffix}")
        if path is None:
            return
        if not path.name.lower().endswith(FORMATS):  # typed without: the dialog has not asked whether to replace it
            path = path.with_name(path.name + suffix)
            question = _("{path} exists already. Replace it?").format(path=path)
            if path.exists() and not confirm(question):
                return
        try:
            self.say(export(node, self.volume(), path, cardOf(node), replace=True))
        except MedTLError as error:
            self.say(str(error))
            return
        settings.setValue(FOLDER, str(path.parent))
        settings.setValue(SUFFIX, next(each for each in FORMATS if path.name.lower().endswith(each)))

    def askPath(self, suggested: Path) -> Path | None:
        """The file that the user chose; the dialog asks before one is replaced."""
        kinds = [f"*{suffix}" for suffix in sorted(FORMATS, key=lambda each: not suggested.name.endswith(each))]
        chosen = qt.QFileDialog.getSaveFileName(
            self.ui.exportButton, _("Export segmentation"), str(suggested), ";;".join(kinds)
        )
        return Path(chosen) if chosen else None

    def say(self, text: str) -> None:
        """Show a sentence below the results."""
        say(self.ui.resultLabel, text)


def tableOf(segmentation: Any) -> Any:
    """The volume table of a segmentation, or None; also after the scene was saved and read again."""
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode") if segmentation else []
    return next(
        (each for each in tables if each.GetNodeReference(volume_table.SEGMENTATION_ROLE) is segmentation), None
    )


def shown3D(segmentation: Any) -> bool:
    """Whether the surface is there and shown."""
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    return bool(
        segmentation
        and segmentation.GetDisplayNode()
        and segmentation.GetDisplayNode().GetVisibility3D()
        and segmentation.GetSegmentation().ContainsRepresentation(surface)
    )


def rowTexts(table: Any, row: int) -> list[str]:
    """What a row of the volume table shows: a segment's name or "Lesion 1", mL with two digits after the point, mm with
    one."""
    lesion = table.GetCellText(row, 1)
    first = table.GetCellText(row, 0) if lesion == volume_table.ALL else _("Lesion {number}").format(number=lesion)
    ml, mm = (table.GetTable().GetValue(row, column).ToDouble() for column in (2, 3))
    return [str(first), "–" if ml != ml else f"{ml:.2f}", "–" if mm != mm else f"{mm:.1f}"]


def largest(table: Any, segmentIds: tuple[str, ...], segmentation: Any) -> tuple[float, float, float] | None:
    """The centre (RAS mm) of the largest lesion of these segments; None where all are empty."""
    segments = segmentation.GetSegmentation()
    names = {segments.GetSegment(each).GetName() for each in segmentIds if segments.GetSegment(each)}
    rows = [
        (table.GetTable().GetValue(row, 2).ToDouble(), row)
        for row in range(table.GetNumberOfRows())
        if table.GetCellText(row, 0) in names and table.GetCellText(row, 1) == "1"
    ]
    return volume_table.centre_of(table, max(rows)[1]) if rows else None


def cardOf(segmentation: Any) -> ModelCard | None:
    """The card of the model that made the first predicted segment; None where there is none or it is not installed."""
    segments = segmentation.GetSegmentation()
    for segmentId in segments.GetSegmentIDs():
        name = tag_of(segments.GetSegment(segmentId), MODEL_TAG)
        if name:
            try:
                return load_card(find_model(name))
            except ModelError:
                return None
    return None
