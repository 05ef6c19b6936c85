"""The volume table: mL, diameters, surface and place of each segment, and of each lesion, as a table node. No Qt.

The figures are those of `medtl.measurement`, as `medtl measure` has them, to six digits. An organ is one row;
`medtl.labels.has_lesions` tells which segments have lesions. Tables of older versions lack some columns.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.labels import has_lesions
from medtl.measurement import measure_mask
from medtl.results import Diameter, MeasuredLesion, Point

from ..mrml.boxes import start_of
from ..mrml.pieces import origin_of
from ..mrml.scene import check_segmentation, check_volume, geometry_of, place_beside
from ..mrml.segments import check_place, mask_of

ALL = "all"
SMALL = "+"  # before the number of parts that are too small to be listed
MOST = 300  # lesions of a segment, the largest: to measure one takes a millisecond or more, in Slicer's own process
ML, LONGEST, PERPENDICULAR, SURFACE = "Volume mL", "Longest diameter mm", "Perpendicular mm", "Surface cm2"
SLICE, IN_3D, SEGMENT_ID = "Slice", "Largest diameter mm", "Segment ID"
COLUMNS = ("Segment", "Lesion", ML, LONGEST, PERPENDICULAR, SURFACE, SLICE, IN_3D, "R", "A", "S", SEGMENT_ID)
TEXTS = (COLUMNS[0], COLUMNS[1], SEGMENT_ID)
UNITS = {ML: "mL", SURFACE: "cm2", **dict.fromkeys((LONGEST, PERPENDICULAR, IN_3D, "R", "A", "S"), "mm")}
SEGMENTATION_ROLE = "MedTL.segmentation"
SPACING = "MedTL.spacing"  # attribute of a segmentation, "unknown" where the image states no spacing: then no mL, no mm


@dataclass(frozen=True)
class Row:
    """A segment as a whole (`lesion` "all"), one of its lesions (from "1" on, the largest first), or the parts of it
    that are not listed ("+3"): too small, or beyond the MOST largest.

    `diameters` are the longest one in a slice and that across it, in slice number `slice`; those of a segment are of
    its lesion with the longest one. `surface_mm2` of a segment is that of its lesions together. `diameter_mm` is in 3D.
    `centre` (RAS mm) lies inside the lesion, of a segment in its largest part. What is not known is None: all figures
    where the spacing is not real, all but the volume of small parts and of an empty segment, the diameters and surface
    of a segment with more than MOST lesions.
    """

    segment_id: str
    segment: str
    lesion: str
    volume_ml: float | None
    diameters: tuple[Diameter, Diameter] | None = None
    slice: int | None = None
    surface_mm2: float | None = None
    diameter_mm: float | None = None
    centre: tuple[float, float, float] | None = None


def rows_of(
    segmentation: Any, volume: Any, real_spacing: bool = True, only: Collection[str] | None = None
) -> list[Row]:
    """Each segment, or `only` those of these ids, in the segmentation's order, followed by its lesions where it has
    such, measured on the volume's grid.

    Raises: InputError when either lies under a transform or the volume cannot be segmented.
    """
    check_segmentation(segmentation)
    check_volume(volume)
    segments, geometry = segmentation.GetSegmentation(), geometry_of(volume)
    rows = []
    for segment_id in segments.GetSegmentIDs():
        if only is not None and segment_id not in only:
            continue
        name = segments.GetSegment(segment_id).GetName()
        mask, box = mask_of(segmentation, segment_id, geometry)
        found = measure_mask(mask, geometry, real_spacing, start_of(box), most=MOST)
        parts = [_row(segment_id, name, one) for one in found.lesions]
        whole = Row(segment_id, name, ALL, found.volume_ml, centre=_ras(found.centre))
        rows.append(whole if len(parts) == MOST and found.small else _whole(whole, parts))
        if has_lesions(segment_id, name) and origin_of(segmentation, segment_id) is None:  # a piece is one lesion
            rows += parts
            rows += [Row(segment_id, name, f"{SMALL}{found.small}", found.small_ml)] if found.small else []
    return rows


def _row(segment_id: str, name: str, one: MeasuredLesion) -> Row:
    diameters = (one.longest, one.perpendicular) if one.longest and one.perpendicular else None
    ml, area, in_3d = one.volume_ml, one.surface_mm2, one.diameter_mm
    return Row(segment_id, name, str(one.number), ml, diameters, one.slice, area, in_3d, _ras(one.centre))


def _whole(row: Row, parts: Sequence[Row]) -> Row:
    """The row of a segment that has these parts."""
    if row.volume_ml is None or (row.volume_ml > 0 and not parts):  # no spacing, or small parts alone
        return row
    widest = max(parts, key=lambda part: part.diameters[0].mm if part.diameters else 0.0, default=row)
    area = sum(part.surface_mm2 or 0.0 for part in parts)
    in_3d = max((part.diameter_mm or 0.0 for part in parts), default=0.0)
    return replace(row, diameters=widest.diameters, slice=widest.slice, surface_mm2=area, diameter_mm=in_3d)


def _ras(lps: Point | None) -> Point | None:
    return (-lps[0], -lps[1], lps[2]) if lps else None


def volume_table(segmentation: Any, volume: Any, table: Any = None, real_spacing: bool = True) -> Any:
    """The table node with the rows of `rows_of`: `table`, refilled, or a new one beside the volume.

    `real_spacing` is False where the volume's file states none: volumes and diameters are NaN then. The table refers to
    its segmentation in the role MedTL.segmentation.

    Raises: InputError as `rows_of`; the table is then as it was.
    """
    rows = rows_of(segmentation, volume, real_spacing)
    if table is None:
        table = _new_table(segmentation, volume)
    _fill(table, [_cells(row) for row in rows])
    return table


def update_table(segmentation: Any, volume: Any, only: Collection[str] | None = None) -> list[Row]:
    """The rows that were measured: all, or those of the segments with these ids where the others are in the table. The
    segmentation's volume table, or a new one, has all rows then.

    Raises: InputError as `rows_of`; the table is then as it was.
    """
    table, ids = table_of(segmentation), segmentation.GetSegmentation().GetSegmentIDs()
    before = _cells_of(table) if table is not None and table.GetTable().GetColumnByName(SEGMENT_ID) else []
    if not {*ids} <= {cells[-1] for cells in before} | {*(only or ())}:
        only = None
    rows = rows_of(segmentation, volume, has_real_spacing(segmentation), only)
    cells = [_cells(row) for row in rows]
    if only is not None:
        cells += [each for each in before if each[-1] in ids and each[-1] not in only]
        cells.sort(key=lambda each: ids.index(each[-1]))  # stable: a segment's rows stay in their order
    _fill(table or _new_table(segmentation, volume), cells)
    return rows


def _new_table(segmentation: Any, volume: Any) -> Any:
    scene = segmentation.GetScene()
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(f"{segmentation.GetName()} volumes"))
    table.SetNodeReferenceID(SEGMENTATION_ROLE, segmentation.GetID())
    place_beside(table, volume)
    return table


def _cells(row: Row) -> list[Any]:
    """What the row has in each of the columns."""
    longest, perpendicular = row.diameters or (None, None)
    numbers = (
        row.volume_ml,
        longest.mm if longest else None,
        perpendicular.mm if perpendicular else None,
        None if row.surface_mm2 is None else row.surface_mm2 / 100,
        row.slice,
        row.diameter_mm,
        *(row.centre or (None,) * 3),
    )
    return [row.segment, row.lesion, *map(_rounded, numbers), row.segment_id]


def _cells_of(table: Any) -> list[list[Any]]:
    """The rows of a table with all columns."""
    columns = [table.GetTable().GetColumnByName(name) for name in COLUMNS]
    return [
        [
            column.GetVariantValue(row).ToString() if name in TEXTS else column.GetVariantValue(row).ToDouble()
            for name, column in zip(COLUMNS, columns)
        ]
        for row in range(table.GetNumberOfRows())
    ]


def _fill(table: Any, rows: list[list[Any]]) -> None:
    """Replace all columns of the table."""
    modifying = table.StartModify()
    try:
        table.RemoveAllColumns()
        for n, name in enumerate(COLUMNS):
            column = vtk.vtkStringArray() if name in TEXTS else vtk.vtkDoubleArray()
            column.SetName(name)
            for cells in rows:
                column.InsertNextValue(cells[n])
            table.AddColumn(column)
            table.SetColumnTitle(name, name)
        for name, unit in UNITS.items():
            table.SetColumnUnitLabel(name, unit)
        table.SetUseColumnTitleAsColumnHeader(True)
        table.SetLocked(True)  # a measured figure is not edited by hand
    finally:
        table.EndModify(modifying)


def table_of(segmentation: Any) -> Any:
    """The volume table of a segmentation, or None; also after the scene was saved and read again."""
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode") if segmentation else []
    return next((each for each in tables if each.GetNodeReference(SEGMENTATION_ROLE) is segmentation), None)


def has_real_spacing(segmentation: Any) -> bool:
    """Whether the image that the segmentation was made on states its spacing."""
    return bool(segmentation.GetAttribute(SPACING) != "unknown")


def volume_of(segmentation: Any, input_volume: Any) -> Any:
    """The volume whose grid the segments lie on: the one they were made on, or the input volume.

    Raises: InputError when there is none: on another grid the figures would differ.
    """
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    for volume in (segmentation.GetNodeReference(role), input_volume):
        try:
            check_place(segmentation, segmentation.GetSegmentation().GetSegmentIDs(), geometry_of(volume))
            return volume
        except (AttributeError, InputError):  # no volume, or none with an image; the segments are on another grid
            continue
    raise InputError(
        _("Expected the volume that {name} was made on, found none of its grid. Load it, and choose it above.").format(
            name=segmentation.GetName()
        )
    )


def main_place(table: Any, segment_ids: tuple[str, ...], segmentation: Any) -> tuple[float, float, float] | None:
    """A place (RAS mm) inside the largest lesion of these segments, without lesions inside the largest segment; None
    where all are empty."""
    rows = [
        (lesion_of(table, row) != ALL, number_of(table, row, ML), row)
        for row in range(table.GetNumberOfRows())
        if segment_of(table, row, segmentation) in segment_ids and centre_of(table, row) is not None
    ]
    return centre_of(table, max(rows)[-1]) if rows else None


def _rounded(number: float | None) -> float:
    return float("nan") if number is None else float(f"{number:.6g}")


def set_number(table: Any, row: int, name: str, number: float) -> None:
    """Put a figure into a row (from 0) of the column of this name."""
    table.GetTable().SetValueByName(row, name, vtk.vtkVariant(_rounded(number)))
    table.Modified()


def lesion_of(table: Any, row: int) -> str:
    """What the row (from 0) is about: "all", the number of a lesion, or "+3"."""
    return str(table.GetCellText(row, 1))


def segment_of(table: Any, row: int, segmentation: Any) -> str:
    """The id of the row's segment; of a table of an older version the first segment of that name, empty for none."""
    column, segments = table.GetTable().GetColumnByName(SEGMENT_ID), segmentation.GetSegmentation()
    if column is not None:
        return str(column.GetVariantValue(row).ToString())
    return str(segments.GetSegmentIdBySegmentName(table.GetCellText(row, 0)) or "")


def number_of(table: Any, row: int, name: str) -> float:
    """A figure of a row (from 0); NaN where it is not known or the table has no such column."""
    column = table.GetTable().GetColumnByName(name)
    return float("nan") if column is None else float(column.GetVariantValue(row).ToDouble())


def centre_of(table: Any, row: int) -> tuple[float, float, float] | None:
    """A place inside the lesion of that row (from 0), RAS mm; None where the segment is empty.

    Raises: InputError when the table is not a volume table or has no such row.
    """
    columns = [table.GetTable().GetColumnByName(name) for name in ("R", "A", "S")]
    if None in columns or not 0 <= row < table.GetNumberOfRows():
        raise InputError(
            f"Expected row {row + 1} of a volume table, found {table.GetName()} with {table.GetNumberOfRows()} rows "
            f"and the columns {', '.join(table.GetColumnName(n) for n in range(table.GetNumberOfColumns())) or 'none'}."
            " Make the table again."
        )
    r, a, s = (column.GetVariantValue(row).ToDouble() for column in columns)  # numbers also after the table was a file
    return (r, a, s) if np.isfinite([r, a, s]).all() else None
