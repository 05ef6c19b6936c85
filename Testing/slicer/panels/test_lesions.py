"""The table of lesions as a user works with it: tick, click, split, draw, and see what changed."""

import host
import numpy as np
import pytest
import qt
import slicer
from lesion_case import ALL, BOXES, LESION, mask_of, ras
from panel_user import SEGMENT, User, paint, tip, voxels

from MedTLLib.prediction import writer
from MedTLLib.results import diameter_lines, volume_table

NAME = SEGMENT.name


@pytest.fixture
def user(user: User) -> User:
    """The panel is open with a result of three lesions and a voxel on its own."""
    user.load()
    user.segment(ALL)
    return user


def names(user: User) -> list[str]:
    return [row[0] for row in user.rows()]


def settle() -> None:
    for _turn in range(4):
        slicer.app.processEvents()


def tick(user: User, name: str, wanted: bool) -> None:
    """Click the box of the row with this name."""
    item = user.ui.resultTable.item(names(user).index(name), 0)
    item.setCheckState(qt.Qt.Checked if wanted else qt.Qt.Unchecked)
    settle()


def choose(user: User, name: str) -> None:
    user.ui.resultTable.setCurrentCell(names(user).index(name), 0)


def result(user: User):
    return user.chosen.resultSegmentation


def volume(user: User):
    return user.chosen.inputVolume


def click_in_view(user: User, ijk: tuple[int, int, int]) -> None:
    """What Slicer's place mode does with a click in a view."""
    active = slicer.app.applicationLogic().GetSelectionNode().GetActivePlaceNodeID()
    slicer.mrmlScene.GetNodeByID(active).AddControlPointWorld(*ras(volume(user), ijk))
    settle()


def inside(number: int) -> tuple[int, int, int]:
    z, y, x = (part.start for part in BOXES[number - 1])
    return x, y, z


# The list


def test_lesions_are_listed_by_size_with_their_figures_and_all_of_them_in_the_tip(user):
    assert names(user) == [NAME, "Lesion 1", "Lesion 2", "Lesion 3", "1 smaller"]
    one = volume_table.rows_of(result(user), volume(user))[1]
    assert user.rows()[1][1:] == [
        f"{one.volume_ml:.2f}",
        f"{one.diameters[0].mm:.1f} × {one.diameters[1].mm:.1f}",
        f"{one.surface_mm2 / 100:.1f}",
    ]
    text = user.ui.resultTable.item(1, 0).toolTip()
    for part in ("Lesion 1", "longest diameter in a slice", "perpendicular", "on slice 3", "surface", "in 3D"):
        assert part in text
    user.ui.resultTable.cellClicked.emit(4, 0)
    assert user.result() == "Counted, not listed: parts under 0.01 mL or 3 voxels, and all but the 300 largest."


def test_a_table_of_an_older_version_is_shown_with_dashes(user):
    table = volume_table.table_of(result(user))
    for name in volume_table.COLUMNS[3:7]:
        table.RemoveColumn(table.GetColumnIndex(name))
    table.RemoveColumn(table.GetColumnIndex("Segment ID"))
    user.widget.updatePanels()
    assert user.rows()[1][2:] == ["–", "–"]
    tick(user, "Lesion 2", False)
    assert names(user)[-1] == "Rejected"
    assert "–" not in user.rows()[1]


def test_a_table_that_is_none_of_ours_breaks_nothing(user):
    table = volume_table.table_of(result(user))
    table.RemoveAllColumns()
    user.widget.updatePanels()
    assert user.rows() == []
    user.ui.tableButton.click()
    assert len(user.rows()) == 5


# Reject and accept


def test_one_click_in_the_list_rejects_a_lesion_and_another_one_brings_it_back(user):
    tick(user, "Lesion 2", False)
    np.testing.assert_array_equal(voxels(result(user), volume(user)), mask_of(1, 3))
    assert names(user) == [NAME, "Lesion 1", "Lesion 2", "1 smaller", "Rejected"]
    assert user.rows()[-1] == ["Rejected", "29.40", "–", "–"]
    assert user.result().startswith("Rejected: 29.40 mL. It counts as an edit by hand.")
    assert writer.edited_slices(result(user), volume(user), (LESION,)) == (6, 7)
    tick(user, "Rejected", True)
    np.testing.assert_array_equal(voxels(result(user), volume(user)), ALL)
    assert names(user) == [NAME, "Lesion 1", "Lesion 2", "Lesion 3", "1 smaller"]
    assert user.result() == "Accepted: 29.40 mL."


def test_a_click_on_a_rejected_row_shows_where_it_was(user):
    centre = np.array(volume_table.centre_of(volume_table.table_of(result(user)), 2))
    tick(user, "Lesion 2", False)
    user.ui.resultTable.cellClicked.emit(names(user).index("Rejected"), 1)
    node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 3], centre, atol=1e-3)


def test_the_space_bar_ticks_too(user):
    choose(user, "Lesion 3")
    event = qt.QKeyEvent(qt.QEvent.KeyPress, qt.Qt.Key_Space, qt.Qt.NoModifier, " ")
    slicer.app.sendEvent(user.ui.resultTable, event)
    settle()
    np.testing.assert_array_equal(voxels(result(user), volume(user)), mask_of(1, 2))


def test_one_click_in_a_view_rejects_and_accepts(user):
    user.ui.pickButton.click()
    assert user.result().startswith("Click a lesion in a slice view")
    click_in_view(user, inside(1))
    np.testing.assert_array_equal(voxels(result(user), volume(user)), mask_of(2, 3))
    click_in_view(user, (0, 0, 0))
    assert "There is no lesion where you clicked" in user.result()
    click_in_view(user, inside(1))
    np.testing.assert_array_equal(voxels(result(user), volume(user)), ALL)
    user.ui.pickButton.click()
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode") == []


@pytest.mark.parametrize("way", ["escape", "module", "scene"])
def test_clicks_are_ordinary_again_when_the_user_leaves(user, way):
    user.ui.pickButton.click()
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    if way == "escape":
        interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    elif way == "module":
        user.widget.exit()
    else:
        slicer.mrmlScene.Clear()
    settle()
    assert not user.ui.pickButton.checked
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode") == []


def test_a_protected_segment_keeps_its_lesion_and_its_tick(user):
    user.ui.targetSelector.setCurrentNode(result(user))
    user.ui.protectList.item(0).setCheckState(qt.Qt.Checked)
    tick(user, "Lesion 2", False)
    assert "is protected" in user.result()
    np.testing.assert_array_equal(voxels(result(user), volume(user)), ALL)
    assert user.ui.resultTable.item(2, 0).checkState() == qt.Qt.Checked


def test_a_lesion_that_was_painted_away_meanwhile_is_refused(user):
    paint(result(user), volume(user), mask_of(1, 3))
    tick(user, "Lesion 2", False)
    assert user.result() == "There is no lesion at this place any more. Press Update."
    assert user.ui.resultTable.item(2, 0).checkState() == qt.Qt.Checked


def test_rejected_lesions_go_with_the_scene(user):
    tick(user, "Lesion 2", False)
    slicer.mrmlScene.Clear()
    settle()
    assert user.rows() == []
    user.load()
    user.segment(ALL)
    assert "Rejected" not in names(user)


def test_another_segmentation_has_its_own_rejected_lesions(user):
    tick(user, "Lesion 2", False)
    first = result(user)
    user.segment(ALL)
    assert "Rejected" not in names(user)
    user.ui.targetSelector.setCurrentNode(first)
    assert "Rejected" in names(user)


def test_figures_of_a_rejected_lesion_without_spacing_are_voxels(user):
    user.ui.segmentButton.click()
    user.worker.done(ALL, ml=None)
    tick(user, "Lesion 2", False)
    assert user.result().startswith("Rejected: 200 voxels.")
    assert user.rows()[-1] == ["Rejected", "–", "–", "–"]


# Split and merge


def test_lesions_are_split_into_segments_and_merged_by_the_same_button(user):
    user.ui.splitButton.click()
    assert names(user) == [NAME, "1 smaller", f"{NAME} 1", f"{NAME} 2", f"{NAME} 3"]
    assert user.ui.splitButton.text == "Merge lesions"
    assert "Merge them before you segment" in user.result()
    assert user.rows()[0][1:] == ["0.15", "–", "–"]
    user.ui.pickButton.click()
    click_in_view(user, inside(2))
    assert names(user)[3:5] == [f"{NAME} 2", "Rejected"]
    click_in_view(user, inside(2))
    user.ui.pickButton.click()
    user.ui.targetSelector.setCurrentNode(result(user))
    assert not user.ui.segmentButton.enabled
    assert "Press Merge lesions" in tip(user.ui.segmentButton)
    choose(user, f"{NAME} 2")
    user.ui.splitButton.click()
    np.testing.assert_array_equal(voxels(result(user), volume(user)), ALL)
    assert names(user) == [NAME, "Lesion 1", "Lesion 2", "Lesion 3", "1 smaller"]
    assert user.ui.segmentButton.enabled
    assert user.result() == "Merged: 3 segments."


def test_a_single_lesion_is_not_split_and_the_button_says_why(user):
    for lesion in ("Lesion 3", "Lesion 2"):
        tick(user, lesion, False)
    assert not user.ui.splitButton.enabled
    assert tip(user.ui.splitButton) == "This segment has not several lesions."


# Diameters


def test_the_chosen_lesion_s_diameters_are_drawn_the_table_follows_and_they_are_removed(user):
    choose(user, "Lesion 2")
    user.ui.diametersButton.click()
    settle()
    lines = diameter_lines.lines_of(result(user))
    assert len(lines) == 2
    assert user.ui.diametersButton.text == "Remove diameters"
    before = user.rows()[2][2]
    start, end = (np.array(lines[0].GetNthControlPointPositionWorld(n)) for n in range(2))
    lines[0].SetLineEndPositionWorld(start + (end - start) / 2)
    settle()
    assert user.rows()[2][2] == f"{lines[0].GetLineLengthWorld():.1f} × {lines[1].GetLineLengthWorld():.1f}" != before
    user.ui.diametersButton.click()
    settle()
    assert diameter_lines.lines_of(result(user)) == []
    assert user.rows()[2][2] == before
    assert user.ui.diametersButton.text == "Draw diameters"


def test_a_line_that_is_deleted_elsewhere_gives_the_measured_figure_back(user):
    user.ui.diametersButton.click()
    settle()
    before = user.rows()[1][2]
    (longest, _across) = diameter_lines.lines_of(result(user))
    start, end = (np.array(longest.GetNthControlPointPositionWorld(n)) for n in range(2))
    longest.SetLineEndPositionWorld(start + (end - start) * 2)
    settle()
    assert user.rows()[1][2] != before
    slicer.mrmlScene.RemoveNode(longest)
    settle()
    assert user.rows()[1][2] == before


def test_a_rejected_lesion_takes_its_lines_along(user):
    choose(user, "Lesion 2")
    user.ui.diametersButton.click()
    choose(user, "Lesion 1")
    user.ui.diametersButton.click()
    tick(user, "Lesion 2", False)
    assert {line.GetName() for line in diameter_lines.lines_of(result(user))} == {
        f"{NAME} 1 longest diameter",
        f"{NAME} 1 perpendicular",
    }


def test_without_real_spacing_no_diameter_is_drawn_and_the_button_says_why(user):
    user.ui.segmentButton.click()
    user.worker.done(ALL, ml=None)
    assert not user.ui.diametersButton.enabled
    assert tip(user.ui.diametersButton) == "The image states no spacing, so there are no mm."


def test_lines_and_observers_end_with_the_scene(user):
    user.ui.diametersButton.click()
    slicer.mrmlScene.Clear()
    settle()
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode") == []
    assert not user.widget.results.diameters.Observations


# What changed


def listed(user: User) -> list[str]:
    return [user.ui.changesList.item(n).text() for n in range(user.ui.changesList.count)]


def overlays() -> list:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in nodes if node.GetHideFromEditors()]


def test_what_was_edited_is_shown_listed_and_hidden_again(user):
    tick(user, "Lesion 2", False)
    user.ui.changesButton.click()
    assert user.ui.changesBox.visible
    assert user.ui.changesLabel.text == "Added (blue): 0.00 mL. Taken away (orange): 29.40 mL. 2 slices:"
    assert listed(user) == ["Slice 6: +0 −1225 mm²", "Slice 7: +0 −1225 mm²"]
    (overlay,) = overlays()
    np.testing.assert_array_equal(voxels(overlay, volume(user), "removed"), mask_of(2, small=False))
    user.ui.changesList.itemClicked.emit(user.ui.changesList.item(1))
    node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    at = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 3]
    np.testing.assert_allclose(at, (np.array(ras(volume(user), (39, 34, 7))) + ras(volume(user), (40, 35, 7))) / 2)
    user.ui.changesButton.click()
    assert overlays() == []
    assert not user.ui.changesBox.visible


def test_after_a_new_result_the_list_says_what_it_changed_and_the_edits_are_one_choice_away(user):
    user.ui.targetSelector.setCurrentNode(result(user))
    user.segment(mask_of(1, 2))
    user.ui.changesButton.click()
    texts = [user.ui.sinceCombo.itemText(n) for n in range(user.ui.sinceCombo.count)]
    assert texts == ["Since before the last result", "Since the last result: by hand"]
    assert listed(user) == ["Slice 8: +0 −245 mm²"]
    user.ui.sinceCombo.currentIndex = 1
    assert user.ui.changesLabel.text == "Nothing changed."
    assert not user.ui.changesList.visible


def test_an_edit_while_they_are_shown_is_shown_when_the_user_pauses(user):
    user.ui.changesButton.click()
    assert user.ui.changesLabel.text == "Nothing changed."
    user.widget.exit()
    user.widget.parent.hide()  # the Segment Editor is open
    paint(result(user), volume(user), mask_of(1, 3))
    host.process_until(lambda: listed(user), 10, "The list of changes")
    assert listed(user) == ["Slice 6: +0 −1225 mm²", "Slice 7: +0 −1225 mm²"]


def test_without_spacing_changes_are_voxels(user):
    user.ui.segmentButton.click()
    user.worker.done(ALL, ml=None)
    tick(user, "Lesion 2", False)
    user.ui.changesButton.click()
    assert user.ui.changesLabel.text == "Added (blue): 0 voxels. Taken away (orange): 200 voxels. 2 slices:"
    assert listed(user)[0] == "Slice 6: +0 −100 voxels"


def test_a_segmentation_of_the_user_s_has_nothing_to_compare_with(user):
    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    mine.CreateDefaultDisplayNodes()
    mine.SetReferenceImageGeometryParameterFromVolumeNode(volume(user))
    mine.GetSegmentation().AddEmptySegment("a", "Tumour")
    paint(mine, volume(user), ALL, "a")
    user.ui.targetSelector.setCurrentNode(mine)
    user.ui.changesButton.click()
    assert user.ui.changesLabel.text == "There is no earlier state to compare with: no prediction, and no file."
    assert not user.ui.sinceCombo.visible
    assert overlays() == []


def test_changes_end_with_the_scene(user):
    user.ui.changesButton.click()
    slicer.mrmlScene.Clear()
    settle()
    assert not user.ui.changesButton.checked
    assert not user.ui.changesBox.visible
    assert overlays() == []


# Looks


@pytest.mark.parametrize("width", [500, 300])
def test_all_of_it_fits_into_the_panel(user, tmp_path, width):
    tick(user, "Lesion 2", False)
    user.ui.changesButton.click()
    user.ui.diametersButton.click()
    settle()
    assert host.screenshot(user.widget.parent, tmp_path / "panel.png", width)[0] == width
    settle()
    table = user.ui.resultTable
    assert table.isColumnHidden(3) == (width == 300)
    assert table.horizontalHeader().length() <= table.viewport().width
    for button in (user.ui.pickButton, user.ui.diametersButton, user.ui.splitButton, user.ui.changesButton):
        assert button.width >= button.minimumSizeHint.width()
