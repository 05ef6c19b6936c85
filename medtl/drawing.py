"""Slices as pictures, seen as radiologists see them: upright, in true proportions, with contours."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import SimpleITK as sitk
from PIL import Image, ImageDraw, ImageFont

from .planes import PLANES
from .upright import SIDES, plane_view
from .volume import Geometry, Volume, to_sitk

SQUARES = 8  # of a checkerboard along the longer side of a slice
GAP = 4  # pixels between tiles


def window(array: np.ndarray) -> tuple[float, float]:
    """Grey levels of black and white: percentiles of what is above the background, robust against a few outliers."""
    step = max(1, round((array.size / 2e6) ** (1 / 3)))  # two million voxels are enough
    values = array[:: min(step, array.shape[0]), ::step, ::step].astype(np.float32)
    values = values[np.isfinite(values)]
    inside = values[values > values.min()] if values.size else values
    if not inside.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(inside, (1.0, 99.5)))
    return low, max(high, low + 1e-6 * max(1.0, abs(low)))


def tile_size(shape: tuple[int, ...], spacing: tuple[float, ...]) -> tuple[int, int]:
    """Width and height of a tile in pixels: true proportions, no voxel smaller than a pixel up to 512 pixels."""
    height, width = (n * mm for n, mm in zip(shape, spacing, strict=True))
    longest = max(height, width)
    pixels = min(512.0, max(256.0, longest / min(spacing)))
    return max(1, round(width / longest * pixels)), max(1, round(height / longest * pixels))


def draw_slice(array: np.ndarray, low: float, high: float, size: tuple[int, int]) -> Image.Image:
    """One slice in grey at the tile's size, as RGB."""
    grey = (np.nan_to_num(array.astype(np.float32), nan=low, posinf=high, neginf=low) - low) / (high - low)
    picture = Image.fromarray(np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8))
    return picture.resize(size, Image.Resampling.BICUBIC).convert("RGB")


def draw_contours(tile: Image.Image, labels: np.ndarray, colour: tuple[int, int, int], width: int) -> None:
    """Draw the border of each label on the tile, `width` pixels (1 or 2) wide."""
    for value in np.unique(labels[labels > 0]):
        mask = Image.fromarray(np.where(labels == value, 255, 0).astype(np.uint8))
        inside = np.asarray(mask.resize(tile.size, Image.Resampling.BILINEAR)) > 127
        border = inside & ~shrunk(inside)
        if width > 1:
            border |= ~inside & ~shrunk(~inside)
        tile.paste(colour, mask=Image.fromarray(np.where(border, 255, 0).astype(np.uint8)))


def shrunk(mask: np.ndarray) -> np.ndarray:
    """The mask without the pixels that touch its outside by an edge; the picture's margin is no outside."""
    padded = np.pad(mask, 1, mode="edge")
    kept: np.ndarray = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & mask
    return kept


def label_tile(tile: Image.Image, text: str, sides: tuple[str, str]) -> Image.Image:
    """The tile with its slice number and the patient's sides written on it."""
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(13)
    middle = tile.height / 2
    draw.text((4, 2), text, fill=(200, 200, 200), font=font)
    draw.text(
        (4, middle), sides[0], fill=(200, 200, 200), font=font, anchor="lm", stroke_width=1, stroke_fill=(0, 0, 0)
    )
    draw.text(
        (tile.width - 4, middle),
        sides[1],
        fill=(200, 200, 200),
        font=font,
        anchor="rm",
        stroke_width=1,
        stroke_fill=(0, 0, 0),
    )
    return tile


def checkerboard(first: Volume, other: Volume, matrix: np.ndarray, text: str = "") -> Image.Image:
    """Squares of two images in turn, in an axial, a coronal and a sagittal slice through the middle of the first one,
    with a text in the first.

    `matrix` (4, 4), LPS mm to LPS mm, leads from a point of the first image to that of the other. Where the images lie
    on each other, outlines run on from square to square.
    """
    tiles = [_checkered(first, other, matrix, plane) for plane in range(len(PLANES))]
    return in_a_row([label_tile(tile, text if not n else "", SIDES[n]) for n, tile in enumerate(tiles)])


def in_a_row(tiles: Sequence[Image.Image], down: bool = False) -> Image.Image:
    """One picture of several beside each other, or below each other."""
    width, height = ([tile.size[n] for tile in tiles] for n in (0, 1))
    gaps = GAP * (len(tiles) - 1)
    size = (max(width), sum(height) + gaps) if down else (sum(width) + gaps, max(height))
    sheet, place = Image.new("RGB", size), 0
    for tile in tiles:
        sheet.paste(tile, (0, place) if down else (place, 0))
        place += tile.size[1 if down else 0] + GAP
    return sheet


def _checkered(first: Volume, other: Volume, matrix: np.ndarray, plane: int) -> Image.Image:
    view = plane_view(first.geometry, plane)
    image = view.of(first.array)
    middle = len(image) // 2
    index = len(image) - 1 - middle if 0 in view.flips else middle
    slab = _one_slice(first.geometry, 2 - view.order[0], index)
    moved = sitk.Resample(
        to_sitk(other.array.astype(np.float32), other.geometry),
        to_sitk(np.zeros(slab.shape, np.uint8), slab),
        sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist()),
        sitk.sitkLinear,
        float(other.array.min()),
        sitk.sitkFloat32,
    )
    low, high = window(first.array)
    box = box_around(image[middle] > low + 0.1 * (high - low))
    size = tile_size(image[middle][box].shape, view.spacing[1:])
    one = draw_slice(image[middle][box], low, high, size)
    two = draw_slice(view.of(sitk.GetArrayFromImage(moved))[0][box], *window(other.array), size)
    side = max(size) / SQUARES
    rows, columns = (np.arange(n) // side for n in (size[1], size[0]))
    odd = (rows[:, None] + columns) % 2 == 1
    one.paste(two, mask=Image.fromarray(np.where(odd, 255, 0).astype(np.uint8)))
    return one


def box_around(mask: np.ndarray, margin: int = 2) -> tuple[slice, ...]:
    """The box around what is set in a slice, with a margin of so many pixels; the whole slice where nothing is."""
    box = []
    for axis, count in enumerate(mask.shape):
        used = np.flatnonzero(mask.any(axis=1 - axis))
        box.append(slice(max(0, used[0] - margin), min(count, used[-1] + 1 + margin)) if used.size else slice(0, count))
    return tuple(box)


def _one_slice(geometry: Geometry, axis: int, index: int) -> Geometry:
    """The grid of one slice across an index axis (0 is x)."""
    nx, ny, nz = (1 if n == axis else count for n, count in enumerate(geometry.size))
    place = geometry.affine @ [*(index if n == axis else 0 for n in range(3)), 1.0]
    x, y, z = (float(mm) for mm in place[:3])
    return replace(geometry, size=(nx, ny, nz), origin=(x, y, z))
