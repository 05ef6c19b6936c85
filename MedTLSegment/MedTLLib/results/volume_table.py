"""The volume table: mL, largest diameter and place of each segment, and of each lesion, as a table node. No Qt.

The figures are those of `medtl.measurement`, as `medtl segment --json` has them, to six digits. An organ is one row;
`medtl.labels.has_lesions` tells which segments have lesions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.labels import has_lesions
from medtl.measurement import lesions

from ..mrml.boxes import start_of
from ..mrml.scene import check_segmentation, check_volume, geometry_of, place_beside
from ..mrml.segments import check_place, mask_of

ALL = "all"
COLUMNS = ("Segment", "Lesion", "Volume mL", "Largest diameter mm", "R", "A", "S")
SEGMENTATION_ROLE = "MedTL.segmentation"
SPACING = "MedTL.spacing"  # attribute of a segmentation, "unknown" where the image states no spacing: then no mL, no mm


@dataclass(frozen=True)
class Row:
    """A segment as a whole (`lesion` 0), or one of its lesions, numbered from 1, the largest first.

    `diameter_mm` of a segment is that of its widest part; `centre` (RAS mm) lies inside its largest part and is None
    where the segment is empty. Volume and diameter are None where the spacing is not real.
    """

    segment_id: str
    segment: str
    lesion: int
    volume_ml: float | None
    diameter_mm: float | None
    centre: tuple[float, float, float] | None


def rows_of(segmentation: Any, volume: Any, real_spacing: bool = True) -> list[Row]:
    """Each segment, in the segmentation's order, followed by its lesions where it has such, measured on the volume's
    grid.

    Raises: InputError when either lies under a transform or the volume cannot be segmented.
    """
    check_segmentation(segmentation)
    check_volume(volume)
    segments, geometry = segmentation.GetSegmentation(), geometry_of(volume)
    rows = []
    for segment_id in segments.GetSegmentIDs():
        name = segments.GetSegment(segment_id).GetName()
        mask, box = mask_of(segmentation, segment_id, geometry)
        parts = lesions(mask, geometry, real_spacing, start_of(box))
        lesion_rows = [
            Row(segment_id, name, one.number, one.volume_ml, one.diameter_mm, _ras(one.centre))
            for one in (parts if has_lesions(segment_id, name) else ())
        ]
        ml = sum((one.volume_ml or 0.0) for one in parts) if real_spacing else None
        mm = max((one.diameter_mm or 0.0 for one in parts), default=0.0) if real_spacing else None
        rows += [Row(segment_id, name, 0, ml, mm, _ras(parts[0].centre) if parts else None), *lesion_rows]
    return rows


def _ras(lps: tuple[float, float, float]) -> tuple[float, float, float]:
    left, posterior, superior = lps
    return -left, -posterior, superior


def volume_table(segmentation: Any, volume: Any, table: Any = None, real_spacing: bool = True) -> Any:
    """The table node with the rows of `rows_of`: `table`, refilled, or a new one beside the volume.

    `real_spacing` is False where the volume's file states none: volumes and diameters are NaN then. The table refers to
    its segmentation in the role MedTL.segmentation.

    Raises: InputError as `rows_of`; the table is then as it was.
    """
    rows = rows_of(segmentation, volume, real_spacing)
    if table is None:
        scene = segmentation.GetScene()
        table = scene.AddNewNodeByClass(
            "vtkMRMLTableNode", scene.GenerateUniqueName(f"{segmentation.GetName()} volumes")
        )
        place_beside(table, volume)
    modifying = table.StartModify()
    try:
        table.RemoveAllColumns()
        for column in _columns(rows):
            table.AddColumn(column)
        table.SetColumnUnitLabel("Volume mL", "mL")
        for name in COLUMNS[3:]:
            table.SetColumnUnitLabel(name, "mm")
        for name in COLUMNS:
            table.SetColumnTitle(name, name)
        table.SetUseColumnTitleAsColumnHeader(True)
        table.SetLocked(True)  # a measured figure is not edited by hand
        table.SetNodeReferenceID(SEGMENTATION_ROLE, segmentation.GetID())
    finally:
        table.EndModify(modifying)
    return table


def update_table(segmentation: Any, volume: Any) -> Any:
    """The segmentation's volume table, refilled, or a new one.

    Raises: InputError as `rows_of`.
    """
    return volume_table(segmentation, volume, table_of(segmentation), has_real_spacing(segmentation))


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
    segments = segmentation.GetSegmentation()
    names = {segments.GetSegment(each).GetName() for each in segment_ids if segments.GetSegment(each)}
    rows = [
        (table.GetCellText(row, 1) != ALL, table.GetTable().GetValue(row, 2).ToDouble(), row)
        for row in range(table.GetNumberOfRows())
        if table.GetCellText(row, 0) in names and centre_of(table, row) is not None
    ]
    return centre_of(table, max(rows)[-1]) if rows else None


def _columns(rows: list[Row]) -> list[Any]:
    columns = []
    for name in COLUMNS:
        column = vtk.vtkStringArray() if name in COLUMNS[:2] else vtk.vtkDoubleArray()
        column.SetName(name)
        columns.append(column)
    for row in rows:
        columns[0].InsertNextValue(row.segment)
        columns[1].InsertNextValue(str(row.lesion or ALL))
        for column, value in zip(columns[2:], (row.volume_ml, row.diameter_mm, *(row.centre or (None,) * 3))):
            column.InsertNextValue(float("nan") if value is None else float(f"{value:.6g}"))
    return columns


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
