"""Measurements of masks: lesions, each with volume, diameters, surface and centre."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .diameters import in_plane, slices_of
from .labels import all_segments
from .results import LesionFigures, MeasuredLesion, MeasuredSegment, Point, SegmentFigures
from .volume import Geometry, Labelmap, Segment, label_boxes, voxel_counts

# Smaller parts are counted and not listed: most are noise, and a result may have thousands.
MIN_ML, MIN_VOXELS = 0.01, 3

# Distances of at most this many pairs of points, or of this many points, are in memory at once.
PAIRS = 4_000_000
# Up to so many voxels are compared directly, without looking for the outermost ones first.
DIRECT_VOXELS = 64
# Before pairs are compared, a long distance is looked for in so many steps from end to end.
SWEEPS = 3
# A warning is given where a second part has this share of the largest.
PART_SHARE = 0.1


@dataclass(frozen=True)
class Lesion:
    """A connected part of a mask, numbered from 1, the largest first.

    `diameter_mm` is the largest distance in 3D between the centres of two of its voxels, 0 for a single voxel.
    `centre` is the centre of the voxel of the lesion that lies nearest its centroid, LPS mm: inside also where the
    lesion is a ring. Volume and diameter are None where the spacing is not real.
    """

    number: int
    volume_ml: float | None
    diameter_mm: float | None
    centre: tuple[float, float, float]


def measure(labelmap: Labelmap, real_spacing: bool = True) -> tuple[SegmentFigures, ...]:
    """Volume (mL) and lesions of each segment of a labelmap; None for mL and mm where the spacing is not real. A value
    without a segment is a segment named by its value."""
    measured = []
    for segment, mask, start in _masks(labelmap):
        ml = np.count_nonzero(mask) * labelmap.geometry.voxel_ml if real_spacing else None
        parts = lesions(mask, labelmap.geometry, real_spacing, start)
        figures = tuple(LesionFigures(part.volume_ml, part.diameter_mm, part.centre) for part in parts)
        measured.append(SegmentFigures(segment.id, segment.name, ml, figures))
    return tuple(measured)


def measure_lesions(
    labelmap: Labelmap, min_ml: float | None = None, plane: str | None = None
) -> tuple[MeasuredSegment, ...]:
    """Every segment of a labelmap with all its lesions, each with mL, longest in-plane diameter, perpendicular, their
    ends (LPS mm), slice, surface and centre; the figures of `medtl measure` and of the panel.

    Args:
        labelmap: labels; a value without a segment is a segment named by its value. Where its `real_spacing` is False,
            lesions have only voxels and a centre.
        min_ml: smaller parts are counted, not listed; None for those under 0.01 mL or 3 voxels.
        plane: axial, coronal or sagittal slices; None for those of the image (`diameters.measuring_axis`).

    Returns:
        A `MeasuredSegment` each, in the order of the labelmap. All segments have their parts here; whether these are
        lesions or an organ's parts `medtl.labels.has_lesions` tells.
    """
    return tuple(
        MeasuredSegment(segment.id, segment.name, one.volume_ml, one.lesions, one.small, one.small_ml)
        for segment, mask, start in _masks(labelmap)
        for one in (measure_mask(mask, labelmap.geometry, labelmap.real_spacing, start, min_ml, plane),)
    )


@dataclass(frozen=True)
class MeasuredMask:
    """The fields of MeasuredSegment that a mask has, and the centre of its largest part, listed or not: None where it
    is empty."""

    volume_ml: float | None
    lesions: tuple[MeasuredLesion, ...]
    small: int
    small_ml: float | None
    centre: Point | None


def measure_mask(
    mask: np.ndarray,
    geometry: Geometry,
    real_spacing: bool = True,
    start: tuple[int, int, int] = (0, 0, 0),
    min_ml: float | None = None,
    plane: str | None = None,
    most: int | None = None,
) -> MeasuredMask:
    """The lesions of a mask (Z, Y, X) with their measures; arguments as in `lesions` and `measure_lesions`.

    Of more than `most` lesions only the largest are measured; the others count as small parts.
    """
    voxel_ml, slices = geometry.voxel_ml, slices_of(geometry, plane)
    parts = components(mask, start)
    large = listed(parts, geometry, real_spacing, min_ml)[:most]  # only these get diameters
    small = parts[len(large) :]
    ml = sum(map(len, parts)) * voxel_ml if real_spacing else None
    small_ml = sum(map(len, small)) * voxel_ml if real_spacing else None
    found = []
    for number, indices in enumerate(large, start=1):
        one = _lesion(number, indices, geometry, real_spacing)
        lines = in_plane(indices, slices) if real_spacing else None
        found.append(
            MeasuredLesion(
                number,
                len(indices),
                one.volume_ml,
                lines.longest if lines else None,
                lines.perpendicular if lines else None,
                lines.slice if lines else None,
                surface_mm2(indices, geometry.spacing) if real_spacing else None,
                one.diameter_mm,
                one.centre,
            )
        )
    centre = found[0].centre if found else _centre(parts[0], geometry.affine) if parts else None
    return MeasuredMask(ml, tuple(found), len(small), small_ml, centre)


def listed(
    parts: Sequence[np.ndarray], geometry: Geometry, real_spacing: bool = True, min_ml: float | None = None
) -> list[np.ndarray]:
    """Those of the parts (`components`) that are large enough to be listed; `min_ml` as in `measure_lesions`."""
    least = MIN_VOXELS if min_ml is None else 1.0
    if real_spacing:  # a part of just that volume is listed
        least = max(least, (MIN_ML if min_ml is None else min_ml) / geometry.voxel_ml * (1 - 1e-9))
    return [part for part in parts if len(part) >= least]


def _masks(labelmap: Labelmap) -> Iterator[tuple[Segment, np.ndarray, tuple[int, int, int]]]:
    """Each segment with its mask, cut to its box where none of its voxels is covered, and the mask's first index."""
    boxes, covered = label_boxes(labelmap.array), set(labelmap.covered[:, 0].tolist())
    for segment in all_segments(labelmap):
        if segment.value in covered:  # some of its voxels have another value
            yield segment, labelmap.mask(segment.value), (0, 0, 0)
            continue
        box = boxes.get(segment.value, (slice(0, 0),) * 3)
        start = (box[0].start, box[1].start, box[2].start)
        yield segment, labelmap.array[box] == segment.value, start


def lesions(
    mask: np.ndarray, geometry: Geometry, real_spacing: bool = True, start: tuple[int, int, int] = (0, 0, 0)
) -> tuple[Lesion, ...]:
    """The connected parts (26 neighbours) of a mask (Z, Y, X), the largest first; `start` is the index (z, y, x) of its
    first voxel on the grid."""
    parts = components(mask, start)
    return tuple(_lesion(number, part, geometry, real_spacing) for number, part in enumerate(parts, start=1))


def _lesion(number: int, indices: np.ndarray, geometry: Geometry, real_spacing: bool) -> Lesion:
    """The lesion of these voxels (n, 3), (x, y, z)."""
    affine = geometry.affine
    ml = len(indices) * geometry.voxel_ml if real_spacing else None
    ends = outermost(indices) if len(indices) > DIRECT_VOXELS else indices
    mm = largest_distance(ends @ affine[:3, :3].T) if real_spacing else None
    return Lesion(number, ml, mm, _centre(indices, affine))


def _centre(indices: np.ndarray, affine: np.ndarray) -> Point:
    """The centre of the voxel (x, y, z) among these that lies nearest their mean, LPS mm."""
    x, y, z = (float(v) for v in affine[:3, :3] @ nearest_to_middle(indices, affine) + affine[:3, 3])
    return x, y, z


def surface_mm2(indices: np.ndarray, spacing: tuple[float, float, float]) -> float:
    """The area of the surface of these voxels, int (n, 3), (x, y, z), in mm², estimated from how often lines in 13
    directions cross it.

    Of a ball with a radius of 5 voxels or more it is right to 2 % (to 12 % where slices are six times as thick as a
    pixel is wide). Flat faces along the grid are underestimated: a cube by 9 to 13 % (10 to 30 voxels a side), and by
    up to 45 % where slices are thick.

    Source: Lehmann and Legland, Insight Journal 2012 (Crofton formula); SimpleITK, LabelShapeStatisticsImageFilter.
    """
    shifted = indices - indices.min(axis=0) + 1
    array = np.zeros((np.ptp(indices, axis=0) + 3)[::-1], np.uint8)
    for begin in range(0, len(shifted), PAIRS):
        array[tuple(shifted[begin : begin + PAIRS].T[::-1])] = 1
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.ComputePerimeterOn()
    statistics.Execute(image)
    return float(statistics.GetPerimeter(1))


def nearest_to_middle(indices: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The voxel (x, y, z) among the indices (n, 3) that is nearest their mean, in mm."""
    middle, best = indices.mean(axis=0), np.inf
    nearest: np.ndarray = indices[0]
    for begin in range(0, len(indices), PAIRS):  # the places of all voxels of a large organ would fill the memory
        away = (((indices[begin : begin + PAIRS] - middle) @ affine[:3, :3].T) ** 2).sum(axis=1)
        if (least := away.min()) < best:
            best, nearest = least, indices[begin + away.argmin()]
    return nearest


def components(mask: np.ndarray, corner: tuple[int, int, int] = (0, 0, 0)) -> list[np.ndarray]:
    """Voxel indices, int32 (n, 3), (x, y, z), of each connected part (26 neighbours), the largest first, then array
    order. `corner` is the index (Z, Y, X) of the mask's first voxel."""
    extents = [np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    if not extents[0].size:
        return []
    box = tuple(slice(extent[0], extent[-1] + 1) for extent in extents)
    inside = mask[box].astype(bool, copy=False).view(np.uint8)
    numbered = sitk.ConnectedComponent(sitk.GetImageFromArray(inside), True)
    parts = sitk.GetArrayViewFromImage(numbered)
    sizes = voxel_counts(parts)[1:]
    # A body has 50 million voxels: each plane's are sorted by part, and put behind those of the planes before.
    indices = np.empty((sizes.sum(), 3), np.int32)
    ends = np.cumsum(sizes)
    free = ends - sizes  # the next place of each part
    for z, plane in enumerate(parts):
        found = np.flatnonzero(plane)
        numbers = plane.ravel()[found] - 1
        order = np.argsort(numbers, kind="stable")  # voxels of a part stay in array order
        there, first, count = np.unique(numbers[order], return_index=True, return_counts=True)
        places = np.arange(len(found)) + np.repeat(free[there] - first, count)
        free[there] += count
        y, x = np.divmod(found[order], plane.shape[1])
        for axis, values in enumerate((x, y, np.full(len(found), z))):
            indices[places, axis] = values + int(extents[2 - axis][0]) + corner[2 - axis]
    return sorted(np.split(indices, ends[:-1]), key=len, reverse=True)


def outermost(indices: np.ndarray) -> np.ndarray:
    """The voxels among `indices` (n, 3) that have a neighbour among them on one side at most along each axis.

    Only these can be ends of the largest diameter: of two neighbours on both sides of a voxel one is farther away.
    """
    inside = np.zeros(np.ptp(indices, axis=0) + 3, dtype=bool)
    corner, outer = indices.min(axis=0) - 1, []
    for begin in range(0, len(indices), PAIRS):  # indexing makes 24 bytes of a voxel
        inside[tuple((indices[begin : begin + PAIRS] - corner).T)] = True
    deep = max(1, PAIRS // inside[0].size)
    for first in range(1, len(inside) - 1, deep):
        last = min(first + deep, len(inside) - 1)
        slab = inside[first:last]
        rim = slab & ~(inside[first - 1 : last - 1] & inside[first + 1 : last + 1])
        rim[:, 1:-1] &= ~(slab[:, :-2] & slab[:, 2:])
        rim[:, :, 1:-1] &= ~(slab[:, :, :-2] & slab[:, :, 2:])
        outer.append(np.argwhere(rim) + corner + np.array((first, 0, 0)))
    return np.concatenate(outer)


def largest_distance(points: np.ndarray) -> float:
    """The largest distance between two of the points (n, 3), exact."""
    if len(points) == 1:  # most of the lesions of a noisy result
        return 0.0
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    radius = np.sqrt(((points - middle) ** 2).sum(axis=1))
    order = np.argsort(-radius)
    points, radius = points[order], radius[order]
    best, row, end = 0.0, 0, 0
    for _sweep in range(SWEEPS):  # from one end to the other: a long distance rules most pairs out
        gaps = ((points - points[end]) ** 2).sum(axis=1)
        end = int(gaps.argmax())
        best = max(best, float(np.sqrt(gaps[end])))
    # A pair is no farther apart than the sum of its distances from the middle: the outer points come first, and it
    # ends where no later pair can be longer.
    while row < len(points) and 2 * radius[row] > best:
        rivals = points[row : row + np.searchsorted(-(radius[row:] + radius[row]), -best)]
        count = max(1, PAIRS // max(1, len(rivals)))
        chunk = points[row : row + count]
        gaps = ((chunk[:, None, :] - rivals[None, :, :]) ** 2).sum(axis=2)
        best = max(best, float(np.sqrt(gaps.max(initial=0.0))))
        row += count
    return best


def largest_part(region: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """The largest connected part (26 neighbours) of a region, bool (Z, Y, X); a warning where others are large."""
    parts = components(region)
    if len(parts) < 2:
        return region, ()
    alone = np.zeros_like(region)
    alone[tuple(parts[0].T[::-1])] = True
    return alone, part_warning(parts)


def part_warning(parts: list[np.ndarray]) -> tuple[str, ...]:
    """The warning that a region has more parts (`components`) of a relevant size than the largest, which is used."""
    others = sum(len(part) >= PART_SHARE * len(parts[0]) for part in parts[1:])
    return (f"The segment has {others + 1} large parts; only the largest is used.",) if others else ()
