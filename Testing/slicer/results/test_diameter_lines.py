"""The drawn diameters are those of the table, and the table follows where a line is moved."""

import host
import numpy as np
import pytest
import slicer
from lesion_case import LESION, make_case, mask_of
from panel_user import paint

from medtl.errors import InputError
from MedTLLib.results import diameter_lines, volume_table
from MedTLLib.results.volume_table import IN_3D, LONGEST, PERPENDICULAR, SPACING, number_of


@pytest.fixture
def case():
    """A volume, a segmentation with three lesions, and its table."""
    host.new_scene()
    volume, segmentation = make_case()
    diameter_lines.measure(segmentation, volume)
    yield volume, segmentation, volume_table.table_of(segmentation)
    host.new_scene()


def ends(line) -> np.ndarray:
    return np.array([line.GetNthControlPointPositionWorld(n) for n in range(2)])


def figures(table, row: int) -> tuple[float, float]:
    return number_of(table, row, LONGEST), number_of(table, row, PERPENDICULAR)


def test_the_lines_have_the_lengths_of_the_table_and_lie_in_the_slice_at_a_right_angle(case):
    volume, segmentation, table = case
    longest, across = diameter_lines.draw(segmentation, volume, LESION, "2")
    assert (longest.GetLineLengthWorld(), across.GetLineLengthWorld()) == pytest.approx(figures(table, 2), rel=1e-5)
    assert longest.GetName() == "Glioma (FLAIR abnormality) 2 longest diameter"
    assert longest.GetNodeReference("MedTL.segmentation") is segmentation
    one, other = ends(longest), ends(across)
    assert abs((one[1] - one[0]) @ (other[1] - other[0])) < 1e-6
    index = np.linalg.inv(slicer.util.arrayFromVTKMatrix(_ijk_to_ras(volume))) @ np.c_[np.r_[one, other], np.ones(4)].T
    np.testing.assert_allclose(index[2], number_of(table, 2, volume_table.SLICE), atol=1e-5)


def _ijk_to_ras(volume):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def test_drawn_twice_they_are_the_same_lines(case):
    volume, segmentation, _table = case
    first = diameter_lines.draw(segmentation, volume, LESION, "1")
    assert diameter_lines.draw(segmentation, volume, LESION, "1") == first
    assert len(diameter_lines.lines_of(segmentation)) == 2


def test_the_table_follows_a_line_that_is_moved_and_its_segment_s_row_too(case):
    volume, segmentation, table = case
    longest, across = diameter_lines.draw(segmentation, volume, LESION, "2")
    whole, mine, other = figures(table, 0), figures(table, 2), figures(table, 1)
    start, end = ends(longest)
    longest.SetLineEndPositionWorld(start + (end - start) * 0.5)
    diameter_lines.follow(table, segmentation)
    assert figures(table, 2) == pytest.approx((mine[0] / 2, mine[1]), rel=1e-5)
    assert (figures(table, 0), figures(table, 1)) == (whole, other)
    longest.SetLineEndPositionWorld(start + (end - start) * 4)
    diameter_lines.follow(table, segmentation)
    assert figures(table, 0) == figures(table, 2) == pytest.approx((mine[0] * 4, mine[1]), rel=1e-5)
    assert across.GetLineLengthWorld() == pytest.approx(mine[1], rel=1e-5)


def test_measured_again_a_moved_line_stays_and_the_other_follows_the_lesion(case):
    volume, segmentation, table = case
    longest, across = diameter_lines.draw(segmentation, volume, LESION, "1")
    start, end = ends(longest)
    longest.SetLineEndPositionWorld(start + (end - start) * 0.75)
    moved = longest.GetLineLengthWorld()
    larger = mask_of(1, 2, 3)
    larger[2:5, 25:29, 12:30] = True
    paint(segmentation, volume, larger)
    diameter_lines.measure(segmentation, volume)
    measured = volume_table.rows_of(segmentation, volume)[1].diameters
    assert longest.GetLineLengthWorld() == pytest.approx(moved)
    assert across.GetLineLengthWorld() == pytest.approx(measured[1].mm)
    assert figures(table, 1) == pytest.approx((moved, measured[1].mm), rel=1e-5)
    diameter_lines.remove([longest])
    diameter_lines.measure(segmentation, volume)
    assert figures(table, 1) == pytest.approx((measured[0].mm, measured[1].mm), rel=1e-5)


def test_a_line_stays_with_its_lesion_when_the_numbers_change(case):
    volume, segmentation, table = case
    longest, _across = diameter_lines.draw(segmentation, volume, LESION, "2")
    paint(segmentation, volume, mask_of(2, 3))
    diameter_lines.measure(segmentation, volume)
    assert volume_table.lesion_of(table, diameter_lines.row_of(longest, table, segmentation)) == "1"
    paint(segmentation, volume, mask_of(3))
    diameter_lines.measure(segmentation, volume)
    assert diameter_lines.row_of(longest, table, segmentation) is None  # not the next best lesion's
    assert figures(table, 1)[0] == pytest.approx(volume_table.rows_of(segmentation, volume)[1].diameters[0].mm, 1e-5)


def test_only_the_segment_that_was_drawn_on_is_measured_again(case, monkeypatch):
    volume, segmentation, table = case
    segmentation.GetSegmentation().AddEmptySegment("organ", "Brain")
    paint(segmentation, volume, np.ones_like(mask_of(1)), "organ")
    diameter_lines.measure(segmentation, volume)
    before = [table.GetCellText(5, n) for n in range(table.GetNumberOfColumns())]
    measured = []
    real = volume_table.measure_mask
    monkeypatch.setattr(
        volume_table, "measure_mask", lambda *given, **named: measured.append(given) or real(*given, **named)
    )
    paint(segmentation, volume, mask_of(1, 2))
    diameter_lines.measure(segmentation, volume, [LESION])
    assert len(measured) == 1
    assert [volume_table.lesion_of(table, n) for n in range(table.GetNumberOfRows())] == ["all", "1", "2", "+1", "all"]
    assert [table.GetCellText(4, n) for n in range(table.GetNumberOfColumns())] == before


def test_an_organ_s_own_diameters_can_be_drawn(case):
    volume, segmentation, _table = case
    segmentation.GetSegmentation().AddEmptySegment("organ", "Brain")
    paint(segmentation, volume, mask_of(1), "organ")
    longest, _across = diameter_lines.draw(segmentation, volume, "organ", "all")
    table = volume_table.table_of(segmentation)
    assert longest.GetLineLengthWorld() == pytest.approx(number_of(table, table.GetNumberOfRows() - 1, LONGEST), 1e-5)


def test_without_a_real_spacing_or_a_lesion_nothing_is_drawn(case):
    volume, segmentation, _table = case
    segmentation.SetAttribute(SPACING, "unknown")
    with pytest.raises(InputError, match="measured in mm"):
        diameter_lines.draw(segmentation, volume, LESION, "1")
    segmentation.RemoveAttribute(SPACING)
    with pytest.raises(InputError, match="measured in mm"):
        diameter_lines.draw(segmentation, volume, LESION, "9")
    assert diameter_lines.lines_of(segmentation) == []


def test_the_lines_of_a_scene_that_is_read_again_are_known(case, tmp_path):
    volume, segmentation, table = case
    longest, _across = diameter_lines.draw(segmentation, volume, LESION, "1")
    start, end = ends(longest)
    longest.SetLineEndPositionWorld(start + (end - start) * 0.75)
    moved, in_3d = longest.GetLineLengthWorld(), number_of(table, 1, IN_3D)
    for line in diameter_lines.lines_of(segmentation):
        line.AddDefaultStorageNode()  # as Slicer does when it saves
    path = tmp_path / "scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path))
    slicer.mrmlScene.Clear()
    slicer.mrmlScene.ReadFromMRB(str(path), True)
    (again,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    table = volume_table.table_of(again)
    assert len(diameter_lines.lines_of(again)) == 2
    diameter_lines.follow(table, again)
    assert number_of(table, 1, LONGEST) == pytest.approx(moved, rel=1e-5)
    assert number_of(table, 1, IN_3D) == pytest.approx(in_3d)


@pytest.mark.parametrize("text", ["", "null", "[1]", '["a", 1, 2]', "[1, 2, NaN]", "{"])
def test_a_line_with_attributes_of_another_program_is_none_of_ours(case, text):
    volume, segmentation, table = case
    longest, _across = diameter_lines.draw(segmentation, volume, LESION, "1")
    longest.SetAttribute(diameter_lines.PLACE, text)
    assert longest not in diameter_lines.lines_of(segmentation)
    diameter_lines.follow(table, segmentation)


def test_a_line_that_lost_an_end_changes_nothing(case):
    volume, segmentation, table = case
    longest, _across = diameter_lines.draw(segmentation, volume, LESION, "1")
    before = figures(table, 1)
    longest.RemoveNthControlPoint(1)
    diameter_lines.follow(table, segmentation)
    assert figures(table, 1) == before
    diameter_lines.measure(segmentation, volume)
    assert figures(table, 1) == before
