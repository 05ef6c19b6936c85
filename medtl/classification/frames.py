"""The frame of a slice: what a classifier of pictures gets of it, and the way back for the heat map.

Every slice is scaled by itself: cut to the box of the head, made square, resampled to one size. Pictures and slices of
volumes go through the same function, in training and in use.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from ..preprocess import air_level
from ..volume import Geometry

MARGIN = 0.03  # of the head's longer side, on each side
BODY = 0.1  # of the brightest tissue: what is darker is air
THICKER = 1.2  # slices are acquired along an axis whose spacing is this many times the next one


@dataclass(frozen=True)
class Framed:
    """A slice in its frame: `image` float32 (side, side), -1 for air to 1; the frame's `top`, `left`, `rows` and
    `columns` in pixels of the slice, where the slice's own edge is 0; `area`, the head's share of the slice."""

    image: np.ndarray
    top: float
    left: float
    rows: float
    columns: float
    area: float


def frame_slice(plane: np.ndarray, side: int, pixel: tuple[float, float] = (1.0, 1.0)) -> Framed | None:
    """A slice (rows, columns) in its frame; None where it shows nothing. `pixel` is (row, column) spacing."""
    values = plane.astype(np.float32)
    floor = air_level(values)
    values = np.maximum(values - floor, 0)
    lit = values[values > 0.02 * float(values.max())]
    if lit.size < 16:
        return None
    values = np.minimum(values / float(np.percentile(lit, 99.5)), 1.0)
    parts, count = ndimage.label(ndimage.gaussian_filter(values, 1.0) > BODY)
    if count == 0:
        return None
    # Burned-in letters and specks beside the head are small.
    head = parts == 1 + int(np.argmax(np.bincount(parts.ravel(), minlength=count + 1)[1:]))
    rows, columns = (np.flatnonzero(head.any(axis=1 - axis)) for axis in (0, 1))
    low = (float(rows[0]), float(columns[0]))
    high = (float(rows[-1] + 1), float(columns[-1] + 1))
    longest = max((b - a) * mm for a, b, mm in zip(low, high, pixel, strict=True)) * (1 + 2 * MARGIN)
    size = [longest / mm for mm in pixel]
    start = [(a + b - n) / 2 for a, b, n in zip(low, high, size, strict=True)]
    area = float(ndimage.binary_fill_holes(head).mean())
    return Framed(_cut(values, start, size, side) * 2 - 1, start[0], start[1], size[0], size[1], area)


def resample_to_frame(values: np.ndarray, frame: Framed) -> np.ndarray:
    """Other values of the slice (rows, columns), resampled to where `frame` has its image, float32 (side, side)."""
    return _cut(values.astype(np.float32), [frame.top, frame.left], [frame.rows, frame.columns], len(frame.image))


def _cut(values: np.ndarray, start: list[float], size: list[float], side: int) -> np.ndarray:
    """The frame, resampled with smoothing before shrinking; 0 beyond the slice."""
    before = [max(0, int(np.ceil(-a))) for a in start]
    after = [max(0, int(np.ceil(a + n - m))) for a, n, m in zip(start, size, values.shape, strict=True)]
    padded = np.pad(values, list(zip(before, after, strict=True)))
    top, left = (a + b for a, b in zip(start, before, strict=True))
    box = (left, top, min(left + size[1], padded.shape[1]), min(top + size[0], padded.shape[0]))
    picture = Image.fromarray(padded).resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(picture, dtype=np.float32)


def resample_from_frame(heat: np.ndarray, frame: Framed, shape: tuple[int, int]) -> np.ndarray:
    """A map (h, w) over the frame on the slice's own pixels, float32 `shape`, linear, 0 outside the frame."""
    sides = zip(heat.shape, (frame.top, frame.left), (frame.rows, frame.columns), shape, strict=True)
    places = [(np.arange(m) + 0.5 - start) / size * n - 0.5 for n, start, size, m in sides]
    inside = [(p >= -0.5) & (p <= n - 0.5) for p, n in zip(places, heat.shape, strict=True)]
    grid = np.meshgrid(*(np.clip(p, 0, n - 1) for p, n in zip(places, heat.shape, strict=True)), indexing="ij")
    values = ndimage.map_coordinates(heat.astype(np.float32), grid, order=1)
    return np.asarray(values * np.logical_and.outer(*inside), dtype=np.float32)


def acquired_plane(geometry: Geometry) -> str:
    """The plane in which a volume was acquired: that of its thick slices, axial where there are none."""
    z, y, x = geometry.spacing[::-1]
    spacing = {0: z, 1: y, 2: x}
    thick = max(spacing, key=lambda axis: spacing[axis])
    if geometry.size[2] == 1:
        thick = 0
    elif spacing[thick] < THICKER * sorted(spacing.values())[1]:
        return "axial"
    normal = np.abs(geometry.axes[:, 2 - thick])  # LPS
    return ("sagittal", "coronal", "axial")[int(np.argmax(normal))]
