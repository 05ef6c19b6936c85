"""A picture of a segmentation: slices through the lesion with contours, seen as radiologists see them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..io.write import write_whole
from ..preprocess import ORIENTATIONS, in_order, orient, turn
from ..volume import Geometry, Labelmap, Volume, check_same_grid

PREDICTION, TRUTH = (255, 214, 0), (0, 230, 118)
CAPTION = "research use, not for diagnosis"
GAP, LINE = 4, 22  # pixels between tiles, and of one line of text
# Image left and right of axial, coronal and sagittal slices: patients are seen from the feet, the front and the left.
SIDES = {0: ("R", "L"), 1: ("R", "L"), 2: ("A", "P")}


@dataclass(frozen=True)
class View:
    """How an array (Z, Y, X) becomes upright slices: (slice, row, column), spacing in mm in this order.

    `order` are array axes, `flips` those to reverse afterwards (`medtl.preprocess.turn`); `plane` is an index into
    `ORIENTATIONS`: 0 axial, 1 coronal, 2 sagittal.
    """

    order: tuple[int, int, int]
    flips: tuple[int, ...]
    spacing: tuple[float, float, float]
    plane: int

    def of(self, array: np.ndarray) -> np.ndarray:
        """The array as (slice, row, column); a view, nothing is copied."""
        return turn(array, self.order, self.flips)


def view_of(geometry: Geometry) -> View:
    """The axial view of a grid, patient right on image left, anterior on top; the plane itself where depth is 1.

    An oblique grid is shown along its own axes, each taken for the nearest patient axis.
    """
    turns = [orient(geometry, name) for name in ORIENTATIONS]
    plane = next((n for n, (order, _) in enumerate(turns) if geometry.shape[order[0]] == 1), 0)
    order, flips = turns[plane]
    return View(order, flips, in_order(geometry.spacing[::-1], order), plane)


def write_preview(
    path: Path, volume: Volume, labelmap: Labelmap, truth: Labelmap | None = None, slices: int = 9
) -> None:
    """Write a PNG of `slices` slices through the lesion: the prediction's contour yellow, the truth's green.

    Raises: InputError when the labels lie on another grid than the volume, or the file cannot be written.
    """
    for labels in (labelmap, truth):
        if labels is not None:
            check_same_grid(labels.geometry, volume.geometry, "labels", volume.name)
    view = view_of(volume.geometry)
    image = view.of(volume.array)
    masks = [(view.of(labelmap.array), PREDICTION, 2)]
    if truth is not None:
        masks.append((view.of(truth.array), TRUTH, 1))
    low, high = window(volume.array)
    indices = chosen_slices(np.logical_or.reduce([mask.any(axis=(1, 2)) for mask, _, _ in masks]), slices)
    size = tile_size(image.shape[1:], view.spacing[1:])
    tiles = []
    for index in indices:
        tile = draw_slice(image[index], low, high, size)
        for mask, colour, width in masks:
            draw_contours(tile, mask[index], colour, width)
        tiles.append(label_tile(tile, f"{index + 1}/{len(image)}", SIDES[view.plane]))
    picture = montage(tiles, volume.name, truth is not None)
    write_whole(path, lambda part: picture.save(part, format="PNG"))


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


def chosen_slices(lesion: np.ndarray, count: int) -> list[int]:
    """At most `count` slice indices, rising: spread over the slices with a lesion, else over the middle of all."""
    depth = len(lesion)
    hits = np.flatnonzero(lesion)
    first, last = (int(hits[0]), int(hits[-1])) if hits.size else (round(0.1 * (depth - 1)), round(0.9 * (depth - 1)))
    missing = count - (last - first + 1)
    if missing > 0:  # a small lesion: show its neighbourhood too
        first = max(0, min(first - missing // 2, depth - count))
        last = min(depth - 1, first + count - 1)
    return sorted({int(i) for i in np.rint(np.linspace(first, last, count))})


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


def montage(tiles: list[Image.Image], name: str, with_truth: bool) -> Image.Image:
    """The tiles in rows, with a legend and the caption below."""
    columns = int(np.ceil(np.sqrt(len(tiles))))
    rows = -(-len(tiles) // columns)
    width, height = tiles[0].size
    inner = columns * (width + GAP) - GAP
    sheet = Image.new("RGB", (max(inner, 420), rows * (height + GAP) + 2 * LINE + GAP))
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        sheet.paste(tile, (column * (width + GAP), row * (height + GAP)))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    top, left = rows * (height + GAP) + 2, 6
    legend = [("segmentation", PREDICTION)] + [("truth", TRUTH)] * with_truth
    for text, colour in legend:
        draw.rectangle((left, top + 9, left + 16, top + 10), fill=colour)
        draw.text((left + 22, top), text, fill=(230, 230, 230), font=font)
        left += 36 + round(draw.textlength(text, font=font))
    plain_name = name.encode("ascii", "replace").decode()[:40]  # the built-in font has no more
    draw.text((6, top + LINE), f"{plain_name}: {CAPTION}", fill=(230, 230, 230), font=font)
    return sheet
