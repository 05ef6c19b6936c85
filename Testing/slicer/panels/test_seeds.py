"""SEED slices in the panel, used as an annotator does: correct a slice, say that it is right, go to the next."""

from dataclasses import replace
from typing import Any

import host
import numpy as np
import pytest
import qt
import slicer
import vtk
from panel_user import LESION, User, paint, tip, voxels

from medtl.phantom import head
from MedTLLib import samples
from MedTLLib.mrml import editors, views
from MedTLLib.seeds import marks, storage

CASE = head(1, (56, 56, 26), (3.5, 3.5, 5.0))
TRUTH = CASE.labelmap.array > 0
USED = np.flatnonzero(TRUTH.any((1, 2)))
FIRST, LAST = int(USED[0]), int(USED[-1])
PROPOSED = [FIRST + (2 * part + 1) * len(USED) // 10 for part in range(5)]  # the middle of each fifth


class Annotator(User):
    """Segments, opens the part SEED slices, looks at slices and says what is right."""

    def begin(self) -> None:
        self.volume = self.load(CASE)
        self.segmentation = self.segment(TRUTH)
        self.ui.seedsBox.collapsed = False

    def view(self, name: str = "Red") -> Any:
        return slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()

    def look_at(self, k: int, name: str = "Red", axis: int = 2) -> None:
        """Scroll a view to a slice of the volume along this index axis (2 is z)."""
        index = (np.array(self.volume.GetImageData().GetDimensions()) - 1) / 2
        index[axis] = k
        self.view(name).JumpSliceByOffsetting(*(to_ras(self.volume) @ (*index, 1.0))[:3])

    def slice(self, name: str = "Red", axis: int = 2) -> float:
        """The slice in the view, with a fraction where the view lies between two."""
        middle = slicer.util.arrayFromVTKMatrix(self.view(name).GetSliceToRAS())[:, 3]
        return round(float((np.linalg.inv(to_ras(self.volume)) @ middle)[axis]), 3)

    def corner(self, name: str = "Red") -> str:
        annotation = slicer.app.layoutManager().sliceWidget(name).sliceView().cornerAnnotation()
        return annotation.GetText(vtk.vtkCornerAnnotation.LowerRight) or ""

    def corners(self) -> list[str]:
        return [self.corner(name) for name in ("Red", "Green", "Yellow")]

    def listed(self) -> list[str]:
        shown = self.ui.seedsList
        return [shown.item(row).text() for row in range(shown.count)]

    def message(self) -> str:
        return str(self.ui.seedsMessageLabel.text) if self.ui.seedsMessageLabel.visible else ""

    def marked(self) -> dict[int, bool]:
        """The marked slices, and whether they are stale, as they are kept."""
        card = self.widget.segment.models.chosen().card
        return {m.index: m.stale for m in marks.marks(self.segmentation, self.volume, card)}

    def brush(self, k: int, column: int = 0, value: bool = True) -> None:
        """Paint a few voxels into a slice."""
        mask = voxels(self.segmentation, self.volume)
        mask[k, :3, column : column + 3] = value
        paint(self.segmentation, self.volume, mask)

    def sees(self, text: str) -> None:
        """Wait until the list says so."""
        host.process_until(lambda: text in self.listed(), 10, f"{text!r} in the list")

    def editor(self) -> Any:
        """The segment editor inside the panel."""
        return self.widget.seeds.correct.editor


def to_ras(volume: Any) -> np.ndarray:
    """Index (x, y, z, 1) to RAS mm."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def press(user: Annotator, key: str, repeats: int = 0) -> None:
    """Press a key as a user does, with the panel's window in front, and hold it for so many repeats."""
    slicer.app.processEvents()
    window = user.widget.parent.window()
    window.activateWindow()
    host.process_until(lambda: slicer.app.activeWindow() is not None, 10, "The window in front")
    code, down, up = getattr(qt.Qt, f"Key_{key}"), qt.QEvent.KeyPress, qt.QEvent.KeyRelease
    events = [(down, False), *[(down, True)] * repeats, (up, False)]
    for kind, again in events:
        event = qt.QKeyEvent(kind, code, qt.Qt.NoModifier, key.lower(), again)
        slicer.app.sendEvent(window.windowHandle(), event)
    slicer.app.processEvents()


@pytest.fixture
def user_class() -> type[Annotator]:
    return Annotator


BUTTONS = ("markButton", "unmarkButton", "nextSliceButton", "correctButton")


def grey(user: Annotator) -> list[str]:
    return [name for name in BUTTONS if not getattr(user.ui, name).enabled]


# Marking


def test_a_press_of_the_button_marks_the_slice_in_view_and_shows_the_next_one_that_is_proposed(user):
    user.begin()
    user.look_at(0)
    assert user.corner() == "0 of 5 SEEDs\nSlice 0: not marked"
    user.ui.nextSliceButton.click()
    assert user.slice() == PROPOSED[0]
    user.ui.markButton.click()
    assert user.marked() == {PROPOSED[0]: False}
    assert user.listed() == [f"Slice {PROPOSED[0]}: right"]
    assert user.slice() == PROPOSED[1]
    assert user.corner() == f"1 of 5 SEEDs\nSlice {PROPOSED[1]}: not marked"
    assert "1 of 5 SEEDs" in user.ui.seedsLabel.text


def test_a_jump_keeps_what_is_in_the_middle_of_the_view_and_the_other_views(user):
    user.begin()
    user.view().JumpSliceByCentering(*(to_ras(user.volume) @ (10, 20, 0, 1))[:3])
    green = slicer.util.arrayFromVTKMatrix(user.view("Green").GetSliceToRAS()).copy()
    user.ui.nextSliceButton.click()
    middle = np.linalg.inv(to_ras(user.volume)) @ (*views.middle_of(user.view()), 1.0)
    np.testing.assert_allclose(middle[:3], (10, 20, PROPOSED[0]), atol=0.01)
    np.testing.assert_array_equal(slicer.util.arrayFromVTKMatrix(user.view("Green").GetSliceToRAS()), green)


def test_with_the_key_alone_all_proposed_slices_become_seeds(user):
    user.begin()
    user.look_at(0)
    user.ui.nextSliceButton.click()
    for k in PROPOSED:
        assert user.slice() == k
        press(user, "S")
    assert user.marked() == dict.fromkeys(PROPOSED, False)
    assert "5 of 5 SEEDs" in user.corner()
    assert "No further slice is proposed" in user.message()


def test_a_key_that_is_held_down_marks_one_slice(user):
    user.begin()
    user.look_at(FIRST)
    press(user, "S", repeats=5)
    assert list(user.marked()) == [FIRST]


def test_an_unchanged_slice_and_one_without_a_label_are_seeds(user):
    user.begin()
    for k in (0, FIRST):
        user.look_at(k)
        user.ui.markButton.click()
    assert user.marked() == {0: False, FIRST: False}


def test_marking_changes_no_voxel(user):
    user.begin()
    user.ui.markButton.click()
    np.testing.assert_array_equal(voxels(user.segmentation, user.volume), TRUTH)


def test_more_than_five_are_counted_too(user):
    user.begin()
    for k in range(6):
        user.look_at(k)
        user.ui.markButton.click()
    assert user.corner().startswith("6 SEEDs\n")


def test_a_mark_is_taken_back_and_what_has_none_cannot_be(user):
    user.begin()
    user.look_at(FIRST)
    assert not user.ui.unmarkButton.enabled
    assert "not a SEED" in tip(user.ui.unmarkButton)
    user.ui.markButton.click()
    user.look_at(FIRST)
    assert user.corner() == f"1 of 5 SEEDs\nSlice {FIRST}: right"
    user.ui.unmarkButton.click()
    assert user.marked() == {}
    assert user.listed() == []
    assert user.corner() == f"0 of 5 SEEDs\nSlice {FIRST}: not marked"


# Edits


def test_edited_slices_are_listed_and_never_marked(user):
    user.begin()
    user.ui.correctButton.click()
    user.look_at(LAST)
    user.brush(LAST)
    user.sees(f"Slice {LAST}: edited, not marked")
    assert user.marked() == {}
    assert user.corner() == f"0 of 5 SEEDs\nSlice {LAST}: edited, not marked"
    user.ui.markButton.click()
    assert user.listed() == [f"Slice {LAST}: right"]


def test_an_edit_makes_a_mark_stale_where_all_can_see_it_and_undone_it_is_good_again(user):
    user.begin()
    user.look_at(FIRST)
    user.ui.markButton.click()
    user.look_at(FIRST)
    user.brush(FIRST)
    user.sees(f"Slice {FIRST}: edited since, mark again")
    assert user.corner() == f"0 of 5 SEEDs, 1 to mark again\nSlice {FIRST}: edited since, mark again"
    assert "0 of 5 SEEDs, 1 to mark again" in user.ui.seedsLabel.text
    user.brush(FIRST, value=False)
    user.sees(f"Slice {FIRST}: right")
    user.brush(FIRST)
    user.sees(f"Slice {FIRST}: edited since, mark again")
    user.ui.markButton.click()
    assert user.marked() == {FIRST: False}


def test_a_stale_mark_is_proposed_again(user):
    user.begin()
    user.look_at(0)
    user.ui.nextSliceButton.click()
    for _slice in PROPOSED:
        user.ui.markButton.click()
    user.brush(PROPOSED[2])
    user.ui.nextSliceButton.click()  # at once: what was painted a moment ago counts
    assert user.slice() == PROPOSED[2]


def test_many_strokes_are_read_once_when_the_user_pauses(user, monkeypatch):
    user.begin()
    user.ui.markButton.click()
    looked = []
    monkeypatch.setattr(marks, "edited", lambda *case: looked.append(1) or ())
    for column in range(8):
        user.brush(0, column)
    assert looked == []
    host.process_until(lambda: looked, 10, "A look")
    assert looked == [1]


def test_a_look_at_an_unchanged_case_is_not_repeated(user, monkeypatch):
    user.begin()
    looked = []
    monkeypatch.setattr(marks, "edited", lambda *case: looked.append(1) or ())
    user.ui.flipCheckBox.click()
    for k in range(10):
        user.look_at(k)
    assert looked == []


@pytest.mark.parametrize("signal", ["itemClicked", "itemActivated"])
def test_a_click_on_a_row_or_enter_goes_to_its_slice(user, signal):
    user.begin()
    user.look_at(0)
    user.ui.markButton.click()
    user.brush(LAST)
    user.sees(f"Slice {LAST}: edited, not marked")
    for row, k in enumerate((0, LAST)):
        getattr(user.ui.seedsList, signal).emit(user.ui.seedsList.item(row))
        assert user.slice() == k


# The view that counts


def test_where_the_view_crosses_several_slices_it_is_turned_first_and_nothing_is_marked(user):
    user.begin()
    user.view().SetOrientation("Axial")  # the phantom is tilted
    user.view().JumpSliceByCentering(*(to_ras(user.volume) @ (20, 20, FIRST + 0.3, 1))[:3])
    user.ui.markButton.click()
    assert user.marked() == {}
    assert "turned" in user.message()
    assert user.slice() == FIRST
    axes = to_ras(user.volume)[:3, :3]
    normal = slicer.util.arrayFromVTKMatrix(user.view().GetSliceToRAS())[:3, 2]
    assert abs(normal @ axes[:, 2]) / np.linalg.norm(axes[:, 2]) == pytest.approx(1.0, abs=1e-6)
    user.ui.markButton.click()
    assert list(user.marked()) == [FIRST]


def test_a_jump_turns_the_view(user):
    user.begin()
    user.view().SetOrientation("Axial")
    user.look_at(0)
    user.ui.nextSliceButton.click()
    assert user.slice() == PROPOSED[0]
    user.ui.markButton.click()
    assert list(user.marked()) == [PROPOSED[0]]


def test_a_view_of_another_image_is_not_marked(user):
    user.begin()
    user.look_at(FIRST)
    other = samples.volume_node(CASE.volume, "other")
    slicer.util.setSliceViewerLayers(background=other)
    user.ui.markButton.click()
    assert user.marked() == {}
    shown = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert shown.GetBackgroundVolumeID() == user.volume.GetID()
    user.look_at(FIRST)
    slicer.util.setSliceViewerLayers(background=other, foreground=user.volume)
    user.ui.markButton.click()
    assert list(user.marked()) == [FIRST]


@pytest.mark.parametrize(("plane", "name", "axis"), [("coronal", "Green", 1), ("sagittal", "Yellow", 0)])
def test_the_view_that_counts_is_that_of_the_models_plane(user, plane, name, axis):
    def other_plane(found):
        card = found.card
        return replace(found, card=replace(card, input=replace(card.input, plane=plane)))

    user.begin()
    assert "The Red view shows the slice to mark." in user.ui.seedsLabel.text
    models = user.widget.segment.models.installed
    models.entries = tuple(map(other_plane, models.entries))
    user.widget.seeds.update()
    assert f"The {name} view shows the slice to mark." in user.ui.seedsLabel.text
    user.look_at(20, name, axis)
    assert user.corner(name) == "0 of 5 SEEDs\nSlice 20: not marked"
    assert [text for text in user.corners() if text] == [user.corner(name)]
    user.ui.markButton.click()
    assert user.marked() == {20: False}
    assert user.slice(name, axis) != 20


def test_when_another_view_counts_the_text_goes_there(user):
    user.begin()
    assert user.corner("Red")
    user.view("Red").SetOrientation("Sagittal")
    user.view("Yellow").SetOrientation("Axial")
    assert "The Yellow view shows the slice to mark." in user.ui.seedsLabel.text
    assert user.corners() == ["", "", user.corner("Yellow")]


def test_without_a_view_of_that_plane_the_panel_says_so(user):
    user.begin()
    for name in ("Red", "Green", "Yellow"):
        user.view(name).SetOrientation("Sagittal")
    assert not user.ui.markButton.enabled
    assert tip(user.ui.markButton) == "No slice of the volume is in view. Press Next slice."
    user.ui.nextSliceButton.click()
    assert "Expected a view of axial slices, found none." in user.message()
    assert user.corners() == ["", "", ""]


def test_a_view_that_the_layout_hides_does_not_count(user):
    user.begin()
    user.view("Red").SetMappedInLayout(0)
    assert "view shows" not in user.ui.seedsLabel.text
    assert user.corner("Red") == ""


def test_beyond_the_volume_there_is_nothing_to_mark(user):
    user.begin()
    user.look_at(-5)
    assert not user.ui.markButton.enabled
    assert user.corner() == ""
    press(user, "S")
    assert user.marked() == {}
    assert "No slice of the volume is in view" in user.message()
    user.ui.nextSliceButton.click()
    assert user.slice() == PROPOSED[0]


def test_the_text_is_there_again_when_slicers_own_annotations_wiped_it(user):
    logic = slicer.app.applicationLogic().GetSliceLogic(user.view())
    annotation = slicer.app.layoutManager().sliceWidget("Red").sliceView().cornerAnnotation()
    # SliceViewAnnotations.py writes all four corners, of the lower right one an empty text, at each of these events.
    logic.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_event: annotation.SetText(1, ""))
    user.begin()
    user.look_at(FIRST)
    logic.Modified()
    assert user.corner() == f"0 of 5 SEEDs\nSlice {FIRST}: not marked"


def test_over_the_image_of_another_patient_no_text_tells_of_this_one(user):
    user.begin()
    user.look_at(FIRST)
    user.ui.markButton.click()
    other = samples.volume_node(CASE.volume, "the next patient")
    shown = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    shown.SetBackgroundVolumeID(other.GetID())
    assert user.corner() == ""
    shown.SetBackgroundVolumeID(user.volume.GetID())
    assert user.corner().startswith("1 of 5 SEEDs")


def test_what_is_hidden_is_not_marked(user):
    user.begin()
    user.look_at(FIRST)
    user.segmentation.GetDisplayNode().SetVisibility(False)
    press(user, "S")
    assert user.marked() == {}
    assert f"{user.segmentation.GetName()} is hidden" in user.message()
    assert user.slice() == FIRST
    user.segmentation.GetDisplayNode().SetVisibility(True)
    press(user, "S")
    assert list(user.marked()) == [FIRST]


# Correct by hand


def test_one_click_puts_paint_into_the_hand_over_the_right_segment_and_image(user):
    user.begin()
    user.segmentation.GetSegmentation().AddEmptySegment("mine", "mine")
    user.ui.correctButton.click()
    editor = user.editor()
    assert user.ui.editorFrame.visible
    assert editor.segmentationNode() is user.segmentation
    assert editor.sourceVolumeNode() is user.volume
    assert editor.currentSegmentID() == LESION
    assert editor.activeEffect().name == "Paint"
    assert editor._host_observes
    user.ui.correctButton.click()
    assert not user.ui.editorFrame.visible
    assert editor.activeEffect() is None
    assert editor.segmentationNode() is None
    assert not editor._host_observes


@pytest.mark.parametrize("height", [400, 900])
def test_the_editor_opens_where_the_user_sees_it_and_its_button(user, height):
    area = host.open_panel(user.widget, 340, height)
    user.begin()
    user.ui.correctButton.click()
    host.process_until(lambda: visible_in(area, user.ui.correctButton), 5, "The button in the visible part")
    frame = visible_part(area, user.ui.editorFrame)
    assert frame.height() == user.ui.editorFrame.height or frame.height() > height / 2


def visible_part(area: Any, widget: Any) -> Any:
    """What of the widget lies in the visible part of the scroll area."""
    place = qt.QRect(widget.mapTo(area.viewport(), qt.QPoint(0, 0)), widget.size)
    return place.intersected(area.viewport().rect)


def visible_in(area: Any, widget: Any) -> bool:
    return bool(visible_part(area, widget).size() == widget.size)


def test_the_list_of_slices_is_as_high_as_its_rows_up_to_ten(user):
    user.begin()
    shown = user.ui.seedsList
    for k in range(12):
        user.look_at(k)
        user.ui.markButton.click()
        slicer.app.processEvents()
        assert shown.viewport().height == min(shown.count, 10) * shown.sizeHintForRow(0)
    assert shown.count == 12


def test_after_the_editor_was_closed_the_form_is_as_high_as_before_and_no_label_is_stretched(user):
    area = host.open_panel(user.widget, 340, 2000)
    panel = slicer.modules.medtlsegment.widgetRepresentation()

    def height() -> int:
        return int(area.widget().heightForWidth(340))

    def stretched() -> list[str]:
        labels = [each for each in area.findChildren(qt.QLabel) if each.visible and each.wordWrap]
        assert len(labels) >= 5
        return [each.name for each in labels if each.height > each.heightForWidth(each.width) + 2]

    user.begin()
    host.process_until(lambda: not stretched(), 5, "Labels as high as their text")
    before = height()
    user.ui.correctButton.click()
    host.process_until(lambda: height() > before + 400, 5, "The height of the editor")
    panel.exit()
    panel.enter()
    user.ui.correctButton.click()
    host.process_until(lambda: height() == before and not stretched(), 5, "The form as it was before")


def test_the_editor_of_the_panel_keeps_its_settings_from_slicers_own(user):
    user.begin()
    user.ui.correctButton.click()
    own = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    assert user.editor().mrmlSegmentEditorNode() is not own.mrmlSegmentEditorNode()


def test_the_key_works_while_the_editor_is_open(user):
    user.begin()
    user.look_at(FIRST)
    user.ui.correctButton.click()
    press(user, "S")
    assert list(user.marked()) == [FIRST]


def test_undo_in_the_editor_takes_back_the_mark_and_no_paint(user):
    user.begin()
    user.look_at(FIRST)
    user.ui.correctButton.click()
    user.editor().saveStateForUndo()
    user.brush(FIRST)
    user.ui.markButton.click()
    assert list(user.marked()) == [FIRST]
    painted = voxels(user.segmentation, user.volume)
    press(user, "Z")
    assert user.marked() == {}
    np.testing.assert_array_equal(voxels(user.segmentation, user.volume), painted)
    user.sees(f"Slice {FIRST}: edited, not marked")
    press(user, "Z")
    np.testing.assert_array_equal(voxels(user.segmentation, user.volume), TRUTH)


def test_undo_in_slicers_own_editor_takes_back_the_mark_alone(user):
    user.begin()
    user.look_at(FIRST)
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(user.segmentation)
    user.ui.markButton.click()
    user.look_at(FIRST)
    user.ui.unmarkButton.click()
    editor.undo()
    assert list(user.marked()) == [FIRST]
    editor.undo()
    assert user.marked() == {}


def test_undo_in_the_editor_takes_back_a_prediction_and_no_paint(user):
    user.begin()
    user.ui.correctButton.click()
    user.ui.targetSelector.setCurrentNode(user.segmentation)
    user.brush(0)
    painted = voxels(user.segmentation, user.volume)
    user.segment(np.roll(TRUTH, 4, axis=2))
    assert not (voxels(user.segmentation, user.volume) == painted).all()
    press(user, "Z")
    np.testing.assert_array_equal(voxels(user.segmentation, user.volume), painted)


def test_the_editor_lets_go_when_the_module_is_left_and_is_there_again_afterwards(user):
    user.begin()
    user.ui.correctButton.click()
    user.widget.parent.exit()
    assert user.editor().activeEffect() is None
    assert user.editor().segmentationNode() is None
    assert not user.editor()._host_observes
    assert user.editor()._host_keys == []
    user.widget.parent.enter()
    assert user.editor().segmentationNode() is user.segmentation
    assert user.editor().activeEffect().name == "Paint"


def test_the_editor_follows_the_segmentation(user):
    user.begin()
    user.ui.correctButton.click()
    second = user.segment(np.roll(TRUTH, 4, axis=2))
    assert second is not user.segmentation
    assert user.editor().segmentationNode() is second


@pytest.mark.parametrize("replace_edits", [False, True])
def test_a_slice_that_was_marked_unchanged_is_not_overwritten_by_the_next_prediction(user, replace_edits):
    user.begin()
    user.look_at(FIRST)
    user.ui.markButton.click()
    user.ui.targetSelector.setCurrentNode(user.segmentation)
    user.ui.replaceEditsCheckBox.checked = replace_edits
    moved = np.roll(TRUTH, 4, axis=2)
    user.segment(moved)
    expected = moved.copy()
    if not replace_edits:
        expected[FIRST] = TRUTH[FIRST]
        assert "Slices that you marked as right were kept: 1." in user.result()
    np.testing.assert_array_equal(voxels(user.segmentation, user.volume), expected)
    assert user.marked() == {FIRST: replace_edits}


# When there is nothing to mark, and why


def test_without_a_result_the_buttons_are_grey_and_say_why(user):
    user.ui.seedsBox.collapsed = False
    assert grey(user) == list(BUTTONS)
    for name in BUTTONS:
        assert tip(getattr(user.ui, name)) == user.message() != ""
    user.load(CASE)
    user.segment(TRUTH)
    assert grey(user) == ["unmarkButton"]
    assert user.message() == ""


def test_what_does_not_fit_gives_a_message_and_better_times_are_noticed(user):
    user.begin()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    user.segmentation.SetAndObserveTransformNodeID(transform.GetID())
    host.process_until(lambda: grey(user) == list(BUTTONS), 10, "Grey buttons")
    assert "under the transform shift" in user.message()
    user.segmentation.SetAndObserveTransformNodeID(None)
    host.process_until(lambda: user.ui.markButton.enabled, 10, "Buttons")
    user.volume.SetAndObserveTransformNodeID(transform.GetID())
    host.process_until(lambda: grey(user) == list(BUTTONS), 10, "Grey buttons")
    user.volume.SetAndObserveTransformNodeID(None)
    host.process_until(lambda: user.ui.markButton.enabled, 10, "Buttons")


def test_a_segment_that_is_removed_gives_a_message(user):
    user.begin()
    user.segmentation.GetSegmentation().RemoveSegment(LESION)
    host.process_until(lambda: grey(user) == list(BUTTONS), 10, "Grey buttons")
    assert "found none for" in user.message()
    assert user.corner() == ""


def test_a_model_of_another_family_gives_a_message(user):
    user.begin()
    models = user.widget.segment.models.installed
    models.entries = tuple(replace(found, card=replace(found.card, name="other")) for found in models.entries)
    user.widget.seeds.update()
    assert "Expected a segment for each label of other" in user.message()
    assert grey(user) == list(BUTTONS)


def test_a_segmentation_that_is_deleted_is_let_go(user):
    user.begin()
    user.ui.correctButton.click()
    slicer.mrmlScene.RemoveNode(user.segmentation)
    assert grey(user) == list(BUTTONS)
    assert user.corners() == ["", "", ""]
    assert user.editor().segmentationNode() is None


def test_an_error_is_a_sentence_and_nothing_else_happens(user, monkeypatch):
    user.begin()
    user.look_at(FIRST)
    user.ui.correctButton.click()
    newer = '{"schema": 9, "marks": []}'
    user.segmentation.GetSegmentation().GetSegment(LESION).SetTag(storage.TAG, newer)
    states = []
    monkeypatch.setattr(editors, "open_editor", states.append)
    user.ui.markButton.click()
    assert "newer version of MedTL" in user.message()
    assert user.slice() == FIRST
    assert states == []
    value = vtk.reference("")
    user.segmentation.GetSegmentation().GetSegment(LESION).GetTag(storage.TAG, value)
    assert str(value) == newer


def test_damaged_marks_give_a_message(user):
    user.begin()
    user.segmentation.GetSegmentation().GetSegment(LESION).SetTag(storage.TAG, "{")
    host.process_until(lambda: "damaged" in user.message(), 10, "The message")
    user.ui.markButton.click()
    assert "damaged" not in user.message()
    assert len(user.marked()) == 1


# Keys, and what is left behind


def test_after_the_module_is_left_the_key_the_text_and_the_observers_are_gone(user):
    user.begin()
    user.look_at(FIRST)
    user.widget.parent.exit()
    press(user, "S")
    assert user.marked() == {}
    assert user.corners() == ["", "", ""]
    assert user.widget.seeds.Observations == []
    user.look_at(LAST)
    user.brush(LAST)
    slicer.app.processEvents()
    assert user.corners() == ["", "", ""]
    user.widget.parent.enter()
    assert user.corner() == f"0 of 5 SEEDs\nSlice {LAST}: edited, not marked"
    press(user, "S")
    assert list(user.marked()) == [LAST]


def test_a_folded_part_does_nothing(user):
    user.begin()
    user.look_at(FIRST)
    user.ui.seedsBox.collapsed = True
    press(user, "S")
    assert user.marked() == {}
    assert user.corners() == ["", "", ""]
    assert user.widget.seeds.Observations == []
    user.ui.seedsBox.collapsed = False
    press(user, "S")
    assert list(user.marked()) == [FIRST]


def test_a_letter_typed_into_a_text_field_marks_nothing(user):
    user.begin()
    user.look_at(FIRST)
    field = qt.QLineEdit(user.widget.parent)
    field.show()
    field.setFocus()
    press(user, "S")
    assert user.marked() == {}
    assert field.text == "s"


def test_a_reload_keeps_the_marks_and_leaves_one_key_and_no_old_observer(user):
    user.begin()
    user.look_at(FIRST)
    user.ui.correctButton.click()
    user.ui.markButton.click()
    old = user.widget.seeds
    slicer.util.reloadScriptedModule("MedTLSegment")
    user.widget = slicer.modules.MedTLSegmentWidget
    user.ui = user.widget.ui
    assert old.Observations == []
    assert user.corners() == ["", "", ""]
    user.ui.seedsBox.collapsed = False
    assert user.listed() == [f"Slice {FIRST}: right"]
    user.look_at(LAST)
    press(user, "S")
    assert user.marked() == {FIRST: False, LAST: False}


def test_a_closed_scene_leaves_no_text_and_the_next_one_starts_anew(user):
    user.begin()
    user.ui.markButton.click()
    user.ui.correctButton.click()
    slicer.mrmlScene.Clear()
    assert user.corners() == ["", "", ""]
    assert user.listed() == []
    assert grey(user) == list(BUTTONS)
    assert not user.ui.editorFrame.visible
    press(user, "S")
    user.begin()
    assert user.listed() == []
    user.look_at(FIRST)
    press(user, "S")
    assert list(user.marked()) == [FIRST]
    user.ui.correctButton.click()
    assert user.editor().segmentationNode() is user.segmentation


def test_another_segmentation_has_its_own_marks(user):
    user.begin()
    user.look_at(FIRST)
    user.ui.markButton.click()
    first, second = user.segmentation, user.segment(TRUTH)
    assert user.listed() == []
    assert user.corner().startswith("0 of 5 SEEDs")
    user.brush(LAST)  # in the first one: nobody looks at it any more
    user.ui.targetSelector.setCurrentNode(first)
    assert user.listed() == [f"Slice {FIRST}: right", f"Slice {LAST}: edited, not marked"]
    user.chosen.resultSegmentation = second
    assert user.listed() == []


# Nothing is lost


def test_the_saved_seg_nrrd_alone_keeps_the_marks(user, tmp_path):
    user.begin()
    user.look_at(FIRST)
    user.ui.markButton.click()
    path = tmp_path / "head.seg.nrrd"
    slicer.util.saveNode(user.segmentation, str(path))
    slicer.mrmlScene.Clear()
    user.volume = user.load(CASE)
    user.segmentation = slicer.util.loadSegmentation(str(path))
    slicer.util.setSliceViewerLayers(background=user.volume, fit=True, rotateToVolumePlane=True)
    user.ui.targetSelector.setCurrentNode(user.segmentation)
    user.look_at(FIRST)
    assert user.corner() == f"1 of 5 SEEDs\nSlice {FIRST}: right"
    assert user.listed()[0] == f"Slice {FIRST}: right"


def test_a_saved_scene_opens_with_its_marks(user, tmp_path):
    user.begin()
    user.look_at(FIRST)
    user.ui.markButton.click()
    path = tmp_path / "scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path))
    slicer.mrmlScene.Clear()
    slicer.mrmlScene.ReadFromMRB(str(path), True)
    assert user.listed() == [f"Slice {FIRST}: right"]


# The form


@pytest.mark.parametrize("width", [480, 300])
def test_the_part_fits_into_the_panel(user, tmp_path, width):
    def fits(name: str) -> None:
        assert host.screenshot(user.widget.parent, tmp_path / f"{name}.png", width)[0] == width
        slicer.app.processEvents()
        for label in (user.ui.seedsLabel, user.ui.seedsMessageLabel):
            assert not label.visible or label.height >= label.heightForWidth(label.width)
        user.widget.parent.resize(width, 2000)  # from now on there is room enough for what comes

    user.ui.seedsBox.collapsed = False
    fits("nothing")
    user.begin()
    fits("begun")
    for k in (FIRST, LAST):
        user.look_at(k)
        user.ui.markButton.click()
    user.brush(FIRST)
    user.brush(0)
    user.sees("Slice 0: edited, not marked")
    user.ui.correctButton.click()
    fits("marked")
