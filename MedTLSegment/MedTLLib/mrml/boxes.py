"""Boxes of voxels, (Z, Y, X): the part of a grid that is not empty, so that only it is processed. No Slicer."""

from collections.abc import Iterable

import numpy as np

Box = tuple[slice, slice, slice]


def box_of(values: np.ndarray, start: tuple[int, int, int] = (0, 0, 0)) -> Box | None:
    """The box around the voxels that are not 0; None where all are 0. `start` is the index of the first voxel."""
    slices = []
    for axis in range(3):
        used = np.flatnonzero(values.any(axis=tuple(other for other in range(3) if other != axis)))
        if not used.size:
            return None
        first, stop = int(used[0]), int(used[-1]) + 1
        values = values[(slice(None),) * axis + (slice(first, stop),)]
        slices.append(slice(start[axis] + first, start[axis] + stop))
    return slices[0], slices[1], slices[2]


def around(boxes: Iterable[Box | None], shape: tuple[int, int, int]) -> Box:
    """The box around all boxes, no larger than the grid; the grid's first voxel where there is none."""
    parts = [box for box in boxes if box is not None] or [(slice(0, 1),) * 3]
    slices = []
    for axis, count in enumerate(shape):
        first = min(max(0, min(part[axis].start for part in parts)), count - 1)
        stop = max(min(count, max(part[axis].stop for part in parts)), first + 1)
        slices.append(slice(first, stop))
    return slices[0], slices[1], slices[2]


def whole(shape: tuple[int, int, int]) -> Box:
    """The box of the whole grid."""
    z, y, x = shape
    return slice(0, z), slice(0, y), slice(0, x)


def start_of(box: Box) -> tuple[int, int, int]:
    """The index (z, y, x) of the first voxel."""
    return box[0].start, box[1].start, box[2].start


def shifted(box: Box, start: tuple[int, int, int]) -> Box:
    """A box inside another box as a box of the grid; `start` is where the outer box begins."""
    z, y, x = (slice(part.start + s, part.stop + s) for part, s in zip(box, start))
    return z, y, x


def within(box: Box, outer: Box) -> Box:
    """A box of the grid as the indices of an array of the outer box, which it lies in."""
    z, y, x = start_of(outer)
    return shifted(box, (-z, -y, -x))


def shape_of(box: Box) -> tuple[int, int, int]:
    """The number of voxels, (z, y, x)."""
    z, y, x = (part.stop - part.start for part in box)
    return z, y, x


def pasted(values: np.ndarray, start: tuple[int, int, int], box: Box) -> np.ndarray:
    """The part of the values (bool) that lies in the box: a new array of the box's shape.

    `start` is the index (z, y, x) of the first of the values.
    """
    part = np.zeros(shape_of(box), dtype=bool)
    offset = tuple(s - b for s, b in zip(start, start_of(box)))
    here = tuple(slice(max(0, s), max(0, min(n, s + m))) for s, n, m in zip(offset, part.shape, values.shape))
    there = tuple(slice(max(0, -s), max(0, min(m, n - s))) for s, n, m in zip(offset, part.shape, values.shape))
    part[here] = values[there]
    return part
