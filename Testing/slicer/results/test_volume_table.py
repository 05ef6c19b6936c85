"""The volume table has the figures of the command line, and a row leads to a place inside its lesion."""

import math

import numpy as np
import pytest
import slicer
import vtk

from medtl.errors import InputError
from medtl.measurement import lesions, measure_mask
from MedTLLib.mrml.scene import geometry_of
from MedTLLib.results import volume_table
from MedTLLib.results.volume_table import COLUMNS

TILTED = np.array([[0.0, -1.0, 0.0], [0.96, 0.0, -0.28], [0.28, 0.0, 0.96]]) @ np.diag([0.8, 0.9, 3.0])


@pytest.fixture
def volume(scene):
    """An oblique, anisotropic volume of 40×30×20 voxels."""
    matrix = np.eye(4)
    matrix[:3, :3] = TILTED
    matrix[:3, 3] = (5.0, -16.0, 7.0)
    return slicer.util.addVolumeFromArray(np.arange(24_000, dtype=np.int16).reshape(20, 30, 40), matrix, "T2")


@pytest.fixture
def masks() -> dict[str, np.ndarray]:
    """Two lesions of one label, a ring of another, which has no lesions, and a segment without voxels."""
    tumour, ring = np.zeros((2, 20, 30, 40), dtype=bool)
    tumour[2:4, 3:6, 4:8] = True
    tumour[10:15, 10:20, 20:35] = True
    ring[17, 5:15, 5:15] = True
    ring[17, 7:13, 7:13] = False
    return {"tumour": tumour, "ring": ring, "empty": np.zeros_like(tumour)}


@pytest.fixture
def segmentation(scene, volume, masks):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Result")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for segment_id, mask in masks.items():
        node.GetSegmentation().AddEmptySegment(segment_id, segment_id.title())
        if mask.any():
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segment_id, volume)
    return node


def column(table, name: str) -> list:
    values = table.GetTable().GetColumnByName(name)
    return [values.GetValue(row) for row in range(table.GetNumberOfRows())]


def test_a_segment_is_followed_by_its_lesions_the_largest_first_and_an_organ_is_one_row(segmentation, volume):
    table = volume_table.volume_table(segmentation, volume)
    assert column(table, "Segment") == ["Tumour", "Tumour", "Tumour", "Ring", "Empty"]
    assert column(table, "Lesion") == ["all", "1", "2", "all", "all"]


def test_the_figures_are_those_of_the_engine(segmentation, volume, masks):
    table = volume_table.volume_table(segmentation, volume)
    found = lesions(masks["tumour"], geometry_of(volume))
    ml, mm = column(table, "Volume mL"), column(table, "Largest diameter mm")
    assert ml[1:3] == pytest.approx([one.volume_ml for one in found], rel=1e-5)
    assert mm[1:3] == pytest.approx([one.diameter_mm for one in found], rel=1e-5)
    assert ml[0] == pytest.approx(np.count_nonzero(masks["tumour"]) * 0.8 * 0.9 * 3 / 1000, rel=1e-5)
    assert mm[0] == mm[1]
    assert (ml[4], mm[4]) == (0.0, 0.0)


def test_of_many_lesions_the_largest_are_listed_and_the_others_counted(segmentation, volume, masks, monkeypatch):
    monkeypatch.setattr(volume_table, "MOST", 1)
    table = volume_table.volume_table(segmentation, volume)
    assert column(table, "Lesion") == ["all", "1", "+1", "all", "all"]
    ml, mm, area = (column(table, name) for name in ("Volume mL", "Longest diameter mm", "Surface cm2"))
    assert ml[1] + ml[2] == pytest.approx(ml[0], rel=1e-5)
    assert math.isnan(mm[0])  # of lesions that are not measured nothing is known
    assert math.isnan(area[0])
    assert mm[1] > 0


def test_diameters_surface_and_slice_are_those_of_the_engine(segmentation, volume, masks):
    table = volume_table.volume_table(segmentation, volume)
    for rows, name in (((1, 2), "tumour"), ((3,), "ring")):
        found = measure_mask(masks[name], geometry_of(volume)).lesions
        for row, one in zip(rows, found, strict=True):
            figures = [column(table, each)[row] for each in COLUMNS[3:7]]
            expected = [one.longest.mm, one.perpendicular.mm, one.surface_mm2 / 100, one.slice]
            assert figures == pytest.approx(expected, rel=1e-5)
    whole, first, second = (column(table, "Surface cm2")[row] for row in range(3))
    assert whole == pytest.approx(first + second, rel=1e-5)
    assert [column(table, each)[0] for each in COLUMNS[3:5]] == [column(table, each)[1] for each in COLUMNS[3:5]]
    assert column(table, "Segment ID") == ["tumour", "tumour", "tumour", "ring", "empty"]


def test_parts_that_are_too_small_are_one_row_with_their_number(segmentation, volume, masks):
    dots = masks["tumour"].copy()
    dots[6, 1:29:2, 1] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(dots.astype(np.uint8), segmentation, "tumour", volume)
    table = volume_table.volume_table(segmentation, volume)
    assert column(table, "Lesion") == ["all", "1", "2", "+14", "all", "all"]
    assert column(table, "Volume mL")[3] == pytest.approx(14 * 0.8 * 0.9 * 3 / 1000, rel=1e-5)
    assert volume_table.centre_of(table, 3) is None


def test_a_segment_of_small_parts_only_still_leads_to_one(segmentation, volume):
    dot = np.zeros((20, 30, 40), np.uint8)
    dot[3, 4, 5] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(dot, segmentation, "tumour", volume)
    table = volume_table.volume_table(segmentation, volume)
    assert column(table, "Lesion")[:2] == ["all", "+1"]
    matrix = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(matrix)
    assert matrix.MultiplyPoint((*volume_table.centre_of(table, 0), 1.0))[:3] == pytest.approx((5, 4, 3), abs=1e-4)


def old_table(segmentation, scene):
    """A table as MedTL 0.1 made it."""
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Result volumes")
    for name, values in {
        "Segment": ["Tumour", "Tumour", "Ring"],
        "Lesion": ["all", "1", "all"],
        "Volume mL": [3.0, 3.0, 1.0],
        "Largest diameter mm": [12.0, 12.0, 5.0],
        **{axis: [1.0, 2.0, float("nan")] for axis in "RAS"},
    }.items():
        column = vtk.vtkStringArray() if name in ("Segment", "Lesion") else vtk.vtkDoubleArray()
        column.SetName(name)
        for value in values:
            column.InsertNextValue(value)
        table.AddColumn(column)
    table.SetNodeReferenceID(volume_table.SEGMENTATION_ROLE, segmentation.GetID())
    return table


def test_a_table_of_an_older_version_is_read_and_measured_anew_as_a_whole(segmentation, volume, scene):
    table = old_table(segmentation, scene)
    assert volume_table.table_of(segmentation) is table
    assert volume_table.segment_of(table, 1, segmentation) == "tumour"
    assert volume_table.number_of(table, 1, volume_table.ML) == 3.0
    assert math.isnan(volume_table.number_of(table, 1, volume_table.LONGEST))
    assert volume_table.main_place(table, ("tumour",), segmentation) == (2.0, 2.0, 2.0)
    volume_table.update_table(segmentation, volume, ["ring"])
    assert column(table, "Segment ID") == ["tumour", "tumour", "tumour", "ring", "empty"]


def test_one_segment_alone_is_measured_again_and_a_new_one_too(segmentation, volume, masks):
    table = volume_table.volume_table(segmentation, volume)
    one = masks["tumour"].copy()
    one[2:4] = False
    for segment_id, mask in (("tumour", one), ("ring", np.zeros_like(one))):
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), segmentation, segment_id, volume)
    rows = volume_table.update_table(segmentation, volume, ["tumour"])
    assert [(row.segment_id, row.lesion) for row in rows] == [("tumour", "all"), ("tumour", "1")]
    assert column(table, "Lesion") == ["all", "1", "all", "all"]
    assert column(table, "Volume mL")[2] > 0  # of before
    segmentation.GetSegmentation().AddEmptySegment("new", "New")
    volume_table.update_table(segmentation, volume, ["tumour"])  # it is not in the table: all are measured
    assert column(table, "Segment ID") == ["tumour", "tumour", "ring", "empty", "new"]
    assert column(table, "Volume mL")[2] == 0


@pytest.mark.parametrize(
    ("row", "segment", "lesion"), [(0, "tumour", 0), (1, "tumour", 0), (2, "tumour", 1), (3, "ring", 0)]
)
def test_a_row_leads_to_a_voxel_of_its_lesion(segmentation, volume, masks, row, segment, lesion):
    table = volume_table.volume_table(segmentation, volume)
    matrix = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(matrix)
    place = matrix.MultiplyPoint((*volume_table.centre_of(table, row), 1.0))[:3]
    index = np.rint(place).astype(int)
    np.testing.assert_allclose(place, index, atol=1e-3)
    assert masks[segment][tuple(index[::-1])]
    assert (index[2] < 5) == (lesion == 1)


@pytest.mark.parametrize(
    ("segments", "row"),
    [(("ring", "tumour"), 1), (("ring", "empty"), 3), (("empty",), None)],
    ids=["largest lesion", "largest organ", "nothing"],
)
def test_the_place_to_show_is_in_the_largest_lesion_else_in_the_largest_segment(segmentation, volume, segments, row):
    table = volume_table.volume_table(segmentation, volume)
    place = volume_table.main_place(table, segments, segmentation)
    assert place == (None if row is None else volume_table.centre_of(table, row))


def test_an_empty_segment_leads_nowhere(segmentation, volume):
    table = volume_table.volume_table(segmentation, volume)
    assert volume_table.centre_of(table, 4) is None


def test_the_table_is_filled_anew_and_keeps_its_node(segmentation, volume, scene):
    table = volume_table.volume_table(segmentation, volume)
    segmentation.GetSegmentation().RemoveSegment("tumour")
    assert volume_table.volume_table(segmentation, volume, table) is table
    assert column(table, "Segment") == ["Ring", "Empty"]
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1


def test_the_table_lies_beside_the_volume_and_knows_its_segmentation(segmentation, volume, scene):
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = items.CreateStudyItem(items.GetSceneItemID(), "Study")
    items.CreateItem(study, volume)
    table = volume_table.volume_table(segmentation, volume)
    assert items.GetItemParent(items.GetItemByDataNode(table)) == study
    assert table.GetNodeReference(volume_table.SEGMENTATION_ROLE) is segmentation
    assert table.GetName() == "Result volumes"


def test_a_table_that_was_saved_and_read_again_still_leads_to_the_lesion(segmentation, volume, scene, tmp_path):
    table = volume_table.volume_table(segmentation, volume)
    storage = scene.AddNewNodeByClass("vtkMRMLTableStorageNode")
    storage.SetFileName(str(tmp_path / "volumes.tsv"))
    assert storage.WriteData(table)
    again = scene.AddNewNodeByClass("vtkMRMLTableNode")
    assert storage.ReadData(again)
    for row in range(5):
        assert volume_table.centre_of(again, row) == pytest.approx(volume_table.centre_of(table, row))


def test_without_real_spacing_no_figures_are_given(segmentation, volume):
    table = volume_table.volume_table(segmentation, volume, real_spacing=False)
    assert all(math.isnan(value) for value in column(table, "Volume mL") + column(table, "Largest diameter mm"))
    assert volume_table.centre_of(table, 1) is not None
    assert volume_table.rows_of(segmentation, volume, real_spacing=False)[0].volume_ml is None


def test_a_row_that_is_not_there_is_refused_with_the_reason(segmentation, volume, scene):
    table = volume_table.volume_table(segmentation, volume)
    with pytest.raises(InputError, match="Expected row 6 of a volume table, found Result volumes with 5 rows"):
        volume_table.centre_of(table, 5)
    with pytest.raises(InputError, match="found other with 0 rows and the columns none"):
        volume_table.centre_of(scene.AddNewNodeByClass("vtkMRMLTableNode", "other"), 0)


def test_a_segmentation_under_a_transform_is_refused_and_the_table_stays(segmentation, volume, scene):
    table = volume_table.volume_table(segmentation, volume)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(InputError, match="found Result under the transform Moved"):
        volume_table.volume_table(segmentation, volume, table)
    assert table.GetNumberOfRows() == 5
