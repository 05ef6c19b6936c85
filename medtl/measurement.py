"""Measurements of masks: lesions, each with volume, largest diameter and centre."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .labels import all_segments
from .results import LesionFigures, SegmentFigures
from .volume import Geometry, Labelmap, label_boxes, voxel_counts

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
    measured, boxes, covered = [], label_boxes(labelmap.array), set(labelmap.covered[:, 0].tolist())
    for segment in all_segments(labelmap):
        if segment.value in covered:  # some of its voxels have another value
            start, mask = (0, 0, 0), labelmap.mask(segment.value)
        else:
            box = boxes.get(segment.value, (slice(0, 0),) * 3)
            start, mask = (box[0].start, box[1].start, box[2].start), labelmap.array[box] == segment.value
        ml = np.count_nonzero(mask) * labelmap.geometry.voxel_ml if real_spacing else None
        parts = lesions(mask, labelmap.geometry, real_spacing, start)
        figures = tuple(LesionFigures(part.volume_ml, part.diameter_mm, part.centre) for part in parts)
        measured.append(SegmentFigures(segment.id, segment.name, ml, figures))
    return tuple(measured)


def lesions(
    mask: np.ndarray, geometry: Geometry, real_spacing: bool = True, start: tuple[int, int, int] = (0, 0, 0)
) -> tuple[Lesion, ...]:
    """The connected parts (26 neighbours) of a mask (Z, Y, X), the largest first; `start` is the index (z, y, x) of its
    first voxel on the grid."""
    parts, affine, voxel_ml = [], geometry.affine, geometry.voxel_ml
    for number, indices in enumerate(components(mask, start), start=1):
        x, y, z = (float(v) for v in affine[:3, :3] @ nearest_to_middle(indices, affine) + affine[:3, 3])
        ml = len(indices) * voxel_ml if real_spacing else None
        ends = outermost(indices) if len(indices) > DIRECT_VOXELS else indices
        mm = largest_distance(ends @ affine[:3, :3].T) if real_spacing else None
        parts.append(Lesion(number, ml, mm, (x, y, z)))
    return tuple(parts)


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
