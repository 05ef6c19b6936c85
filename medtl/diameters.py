"""The longest diameter of a lesion in a slice, and the longest one across it on the same slice.

In a slice the voxels of a lesion that touch (8 neighbours) are one region. Its outline runs midway between the centre
of a voxel inside and that of one outside, as 3D Slicer and PyRadiomics draw it, so a row of ten voxels of 1 mm is 10 mm
long and a single voxel 1 mm.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

from .planes import PLANES
from .results import Diameter, Point
from .volume import Geometry, slice_axis

SAME_MM = 1e-6  # lengths that differ by less count as equal
ALIKE = 0.05  # spacings that differ by less than this share count as equal
FEW = 32  # points that are compared directly
PAIRS = 4_000_000  # of an outline's places and lines that are in memory at once, and voxels that are placed at once


@dataclass(frozen=True)
class InPlane:
    """The two diameters of a lesion, and the slice that they lie in: its 0-based index along the slices' axis."""

    longest: Diameter
    perpendicular: Diameter
    slice: int


@dataclass(frozen=True)
class Slices:
    """The slices that diameters are measured in: the index `axis` along which they lie (0 is x), and the places of
    their voxels. `step` leads from slice to slice, `origin` is the first voxel, LPS mm. In a slice, the indices along
    the two `others` axes times `to_mm` (2, 2) are mm along two directions at right angles, which are the columns of
    `frame` (3, 2): distances are those in the world."""

    axis: int
    others: tuple[int, int]
    origin: np.ndarray
    step: np.ndarray
    frame: np.ndarray
    to_mm: np.ndarray

    def place(self, k: float, point: np.ndarray) -> np.ndarray:
        """The place in LPS mm (…, 3) of points (…, 2) in mm in slice k."""
        place: np.ndarray = self.origin + k * self.step + point @ self.frame.T
        return place


def slices_of(geometry: Geometry, plane: str | None = None) -> Slices:
    """The slices of a plane; without one, see `measuring_axis`."""
    axis = measuring_axis(geometry, plane)
    a, b = (other for other in range(3) if other != axis)
    frame, to_mm = np.linalg.qr(geometry.affine[:3, [a, b]])
    return Slices(axis, (a, b), geometry.affine[:3, 3], geometry.affine[:3, axis], frame, to_mm)


def measuring_axis(geometry: Geometry, plane: str | None = None) -> int:
    """The index axis (0 is x) along which lie the slices that diameters are measured in.

    Without a plane these are the slices that the image was taken in: their axis is the one whose spacing differs from
    the other two. Where all three are alike (within 5 %) the slices are the axial ones.
    """
    if plane is not None:
        return slice_axis(plane, geometry.direction)
    spacing = geometry.spacing
    if max(spacing) <= (1 + ALIKE) * min(spacing):
        return slice_axis("axial", geometry.direction)

    def unlikeness(axis: int) -> float:
        """How much the spacings of the other two axes differ."""
        a, b = (spacing[other] for other in range(3) if other != axis)
        return max(a, b) / min(a, b)

    return min(range(3), key=unlikeness)


def plane_of(geometry: Geometry, axis: int) -> str:
    """The name of the plane that slices along this index axis (0 is x) are nearest to."""
    return PLANES[2 - int(np.argmax(np.abs(geometry.axes[:, axis])))]


def in_plane(indices: np.ndarray, slices: Slices) -> InPlane:
    """The diameters of a lesion of these voxels, int (n, 3), (x, y, z), at least one.

    The longest diameter is the largest distance between two points of the outline of one region in one slice. The
    perpendicular is the longest line at a right angle to it between two points of the same outline; both may leave the
    lesion where its outline is hollow. Exact to 1e-6 mm. Of several equally long, that with the longer perpendicular
    counts, then the one nearest the middle of the lesion.

    Source: Eisenhauer et al. 2009 (RECIST 1.1) and Wen et al. 2010 (RANO) for the two diameters; outline as in
    van Griethuysen et al. 2017 (PyRadiomics), "Maximum 2D diameter (Slice)".
    """
    corner, planes = _planes(indices, (slices.axis, *slices.others))
    first, to_mm = corner[list(slices.others)], slices.to_mm.T
    found: list[tuple[float, int, np.ndarray, np.ndarray]] = []  # length, slice, outline and its corners
    longest = 0.0
    for bound, k in sorted(((_bound(plane, to_mm), k) for k, plane in enumerate(planes)), reverse=True):
        if bound < longest - SAME_MM:
            break
        for region in regions(planes[k]):
            lines = (outline(region) + first) @ to_mm
            corners = _corners(lines.reshape(-1, 2))
            length = float(_distances(corners).max())
            if length > longest - SAME_MM:
                found.append((length, k + int(corner[slices.axis]), lines, corners))
                longest = max(longest, length)
    pairs = [
        (*across(lines, ends), k, ends)
        for length, k, lines, corners in found
        if length > longest - SAME_MM
        for ends in corners[np.argwhere(np.triu(_distances(corners)) > longest - SAME_MM)]
    ]
    widest = max(width for width, *_ in pairs)
    middle = indices.mean(axis=0)
    at = slices.to_mm @ middle[list(slices.others)]

    def away(pair: tuple[float, np.ndarray, int, np.ndarray]) -> float:
        """The distance between the longest diameter's middle and the lesion's."""
        _, _, k, ends = pair
        apart = slices.place(k, ends.mean(axis=0)) - slices.place(middle[slices.axis], at)
        return float(np.linalg.norm(apart))

    width, ends_across, k, ends = min((one for one in pairs if one[0] > widest - SAME_MM), key=away)
    return InPlane(
        Diameter(longest, _points(slices.place(k, ends))), Diameter(width, _points(slices.place(k, ends_across))), k
    )


def _planes(indices: np.ndarray, order: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The index (x, y, z) of the first voxel of the box around these, and the box, bool, its axes in this order."""
    corner = indices.min(axis=0)
    planes = np.zeros((indices.max(axis=0) - corner + 1)[list(order)], dtype=bool)
    for begin in range(0, len(indices), PAIRS):
        part = indices[begin : begin + PAIRS] - corner
        planes[tuple(part[:, axis] for axis in order)] = True
    return corner, planes


def _bound(plane: np.ndarray, to_mm: np.ndarray) -> float:
    """A length that no diameter in the slice exceeds, mm; below 0 for an empty slice."""
    if not plane.any():
        return -1.0
    down, right = (np.ptp(np.flatnonzero(plane.any(axis=other))) + 1 for other in (1, 0))
    diagonals = np.array(((down, right), (down, -right))) @ to_mm
    return float(np.hypot(*diagonals.T).max())


def _corners(points: np.ndarray) -> np.ndarray:
    """The points (n, 2) among which the two farthest are: all of a few, else those of the convex hull."""
    chosen: np.ndarray = points if len(points) <= FEW else points[ConvexHull(points).vertices]
    return np.unique(chosen, axis=0)


def _distances(points: np.ndarray) -> np.ndarray:
    """The distance between each two of the points (n, 2): (n, n)."""
    apart = points[:, None] - points[None]
    distances: np.ndarray = np.hypot(apart[..., 0], apart[..., 1])
    return distances


def regions(plane: np.ndarray) -> Iterator[np.ndarray]:
    """Each region (8 neighbours) of a slice, bool, of the slice's shape."""
    numbers, count = ndimage.label(plane, np.ones((3, 3)))
    yield from (numbers == number for number in range(1, count + 1))


# The lines of an outline in a square of four voxel centres, by which of these lie inside: 1 for the first, 2 for its
# neighbour along the second axis, 4 along the first, 8 for the one opposite. Each joins the middles of two sides.
_TOP, _BOTTOM, _LEFT, _RIGHT = (0.0, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 1.0)
_CORNERS = ((_TOP, _LEFT), (_TOP, _RIGHT), (_LEFT, _BOTTOM), (_BOTTOM, _RIGHT))  # one voxel inside, or all others
_ACROSS, _DOWN = (_LEFT, _RIGHT), (_TOP, _BOTTOM)
_NONE = (_TOP, _TOP)
# fmt: off
_LINES = np.array((
    _NONE, _CORNERS[0], _CORNERS[1], _ACROSS, _CORNERS[2], _DOWN, _CORNERS[0], _CORNERS[3],
    _CORNERS[3], _CORNERS[1], _DOWN, _CORNERS[2], _ACROSS, _CORNERS[1], _CORNERS[0], _NONE,
))
# fmt: on
_SECOND = {6: _CORNERS[3], 9: _CORNERS[2]}  # voxels that touch at a corner are joined


def outline(region: np.ndarray) -> np.ndarray:
    """The lines of the outline of a region in a slice, float64 (n, 2 ends, 2), in indices of the array."""
    inside = np.zeros((region.shape[0] + 2, region.shape[1] + 2), np.uint8)
    inside[1:-1, 1:-1] = region
    kinds = inside[:-1, :-1] + 2 * inside[:-1, 1:] + 4 * inside[1:, :-1] + 8 * inside[1:, 1:]
    squares = np.argwhere((kinds > 0) & (kinds < 15))
    kinds = kinds[tuple(squares.T)]
    corner = squares[:, None, :] - 1.0
    second = [corner[kinds == kind] + np.array(line) for kind, line in _SECOND.items()]
    return np.concatenate([corner + _LINES[kinds], *second])


def across(lines: np.ndarray, ends: np.ndarray) -> tuple[float, np.ndarray]:
    """The longest distance between two points of an outline, lines (n, 2 ends, 2) in mm, whose joining line is at a
    right angle to that between `ends` (2, 2); and these points, (2, 2). Of several that nearest the middle counts."""
    along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    normal = np.array((-along[1], along[0]))
    place, height = lines @ along, lines @ normal
    turned = place[:, 0] > place[:, 1]
    place[turned], height[turned] = place[turned, ::-1], height[turned, ::-1]
    run = place[:, 1] - place[:, 0]
    upright = run <= SAME_MM  # all of such a line lies at one place
    slope = np.where(upright, 0.0, (height[:, 1] - height[:, 0]) / np.where(upright, 1.0, run))
    least, most = np.where(upright[:, None], np.sort(height, axis=1), height[:, :1]).T
    # The distance is linear between the corners of the outline, so the longest is at a corner.
    places = np.unique(place)
    low, high = np.empty(len(places)), np.empty(len(places))
    count = max(1, PAIRS // len(lines))
    for begin in range(0, len(places), count):
        at = places[begin : begin + count, None]
        crossed = (place[:, 0] - SAME_MM <= at) & (at <= place[:, 1] + SAME_MM)
        rise = slope * np.clip(at - place[:, 0], 0, run)
        low[begin : begin + count] = np.where(crossed, least + rise, np.inf).min(axis=1)
        high[begin : begin + count] = np.where(crossed, most + rise, -np.inf).max(axis=1)
    width = high - low
    widest = np.flatnonzero(width > width.max() - SAME_MM)
    best = widest[np.argmin(np.abs(places[widest] - (ends @ along).mean()))]
    points = places[best] * along + np.array((low[best], high[best]))[:, None] * normal
    return float(width[best]), points


def _points(ends: np.ndarray) -> tuple[Point, Point]:
    first, last = ((float(x), float(y), float(z)) for x, y, z in ends)
    return first, last
