"""`medtl measure`: the lesions of a segmentation with volume, diameters and surface."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ..classification.report import NOTE, csv_text
from ..counted import counted
from ..errors import InputError
from ..io.files import identities
from ..io.isolated import IsolatedReader
from ..io.write import check_place, write_whole
from ..labels import has_lesions
from ..results import Diameter, MeasuredFile, MeasuredLesion, MeasuredSegment, Point
from ..typed_json import encode
from ..volume import Labelmap, on_grid_of
from .console import print_json, print_lines, print_warnings

ALL = "all"
ENDS = [f"{line}_{end}_{axis}" for line in ("longest", "perpendicular") for end in (1, 2) for axis in "lps"]
COLUMNS = (
    *("segmentation", "segment_id", "segment", "lesion", "voxels", "volume_ml", "longest_mm", "perpendicular_mm"),
    *("plane", "slice", "surface_mm2", "diameter_3d_mm", "centre_l", "centre_p", "centre_s", *ENDS),
    *("small_parts", "small_ml", "note"),
)


def measure(args: argparse.Namespace, out: TextIO) -> int:
    """Measure the lesions of a segmentation and print them; with --csv also write them."""
    if args.csv is not None:
        if args.csv.suffix.lower() != ".csv":
            args.parser.error(f"expected --csv to end in .csv, found {args.csv}")
        given = [args.segmentation, *([args.image] if args.image else [])]
        check_place(args.csv, identities(given), args.force)
    measured = measured_file(args)
    if args.csv is not None:
        text = csv_text([list(COLUMNS), *csv_rows(measured)])
        write_whole(args.csv, lambda part: store_text(part, text), args.force)
    print_warnings(measured.warnings)
    if args.json:
        print_json(out, encode(measured))
    else:
        print_lines(out, *lines_of(measured), *([f"written: {args.csv}"] if args.csv else []))
    return 0


def store_text(part: Path, text: str) -> None:
    """Write the text; the name of an input may hold bytes that are no text."""
    part.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def measured_file(args: argparse.Namespace) -> MeasuredFile:
    """The figures of the segmentation.

    Raises: InputError when a file cannot be read, they do not lie on one grid, or no spacing is known.
    """
    from ..diameters import measuring_axis, plane_of
    from ..measurement import MIN_ML, MIN_VOXELS, measure_lesions

    with IsolatedReader(data_outside=args.data_outside) as reader:
        labelmap = with_spacing(reader.read_labelmap(args.segmentation), reader, args)
    geometry, least = labelmap.geometry, args.min_ml
    return MeasuredFile(
        str(args.segmentation),
        str(args.image) if args.image else None,
        plane_of(geometry, measuring_axis(geometry, args.plane)),
        MIN_ML if least is None else least,
        MIN_VOXELS if least is None else 1,
        measure_lesions(labelmap, min_ml=least, plane=args.plane),
        labelmap.warnings,
    )


def with_spacing(labelmap: Labelmap, reader: IsolatedReader, args: argparse.Namespace) -> Labelmap:
    """The labelmap on a grid whose spacing is real: its own, or that of the image.

    Raises: InputError when there is none, or the image has another grid.
    """
    if args.image is None:
        if labelmap.real_spacing:
            return labelmap
        raise InputError(
            f"Expected a spacing in mm, found none in {args.segmentation}: without it there are no mL and no mm. Name "
            "the image that was segmented.",
            option="image",
        )
    image = reader.read_volume(args.image)
    if not image.real_spacing:
        raise InputError(
            f"Expected an image that states its spacing in mm, found none in {args.image}: without it there are no mL "
            "and no mm. Export the image with its spacing."
        )
    return on_grid_of(image, labelmap, args.segmentation, args.image)


# --- for people ---


def lines_of(measured: MeasuredFile) -> Iterator[str]:
    """A line a segment, each followed by a table of its lesions."""
    if not measured.segments:
        yield "no segments: no voxel has a label"
    for segment in measured.segments:
        yield summary(segment, measured)
        if segment.lesions:
            yield f"  {'':>6} {'mL':>9} {'mm × mm':>15} {'slice':>6} {'cm²':>8}  place (mm)"
        for one in segment.lesions:
            yield lesion_line(one)
    yield f"Diameters lie in {measured.plane} slices. {NOTE}"


def summary(segment: MeasuredSegment, measured: MeasuredFile) -> str:
    """A segment's volume and the number of its lesions."""
    line = f"{segment.name}: {segment.volume_ml:.2f} mL"
    one = "lesion" if has_lesions(segment.id, segment.name) else "part"
    count = len(segment.lesions)
    line += f", {counted(count, f'1 {one}', f'{{count}} {one}s')}" if count else ""
    if segment.small:
        voxels = f" or {measured.min_voxels} voxels" if measured.min_voxels > 1 else ""
        line += f", {segment.small} under {measured.min_ml:g} mL{voxels} not listed ({segment.small_ml:.2f} mL)"
    return line


def lesion_line(one: MeasuredLesion) -> str:
    """A lesion's figures, in the columns of the table."""
    assert one.longest is not None
    assert one.perpendicular is not None
    assert one.surface_mm2 is not None
    lines = f"{one.longest.mm:.1f} × {one.perpendicular.mm:.1f}"
    return (
        f"  {one.number:>6} {one.volume_ml:>9.2f} {lines:>15} {one.slice:>6} {one.surface_mm2 / 100:>8.1f}  "
        f"{place_text(one.centre)}"
    )


def place_text(place: Point) -> str:
    """A place, given in LPS mm, by the directions of the body: L 12, P 30, S 45."""
    pairs = (("L", "R"), ("P", "A"), ("S", "I"))
    return ", ".join(f"{pair[mm < 0]} {abs(mm):.0f}" for pair, mm in zip(pairs, place, strict=True))


# --- for spreadsheets ---


def csv_rows(measured: MeasuredFile) -> Iterator[list[Any]]:
    """A row a segment ("all"), each followed by one a lesion."""
    for segment in measured.segments:
        whole: list[Any] = [measured.segmentation, segment.id, segment.name, ALL, "", segment.volume_ml]
        yield [*whole, *[""] * (len(COLUMNS) - len(whole) - 3), segment.small, segment.small_ml, NOTE]
        for one in segment.lesions:
            lesion = [measured.segmentation, segment.id, segment.name, one.number, one.voxels, one.volume_ml]
            assert one.longest is not None
            assert one.perpendicular is not None
            mm = [one.longest.mm, one.perpendicular.mm, measured.plane, one.slice, one.surface_mm2, one.diameter_mm]
            yield [*lesion, *mm, *one.centre, *ends_of(one.longest), *ends_of(one.perpendicular), "", "", NOTE]


def ends_of(line: Diameter) -> list[float]:
    """The coordinates of both ends."""
    return [mm for end in line.ends for mm in end]
