"""A picture of a segmentation: slices through the lesion with contours, seen as radiologists see them."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..drawing import draw_contours, draw_slice, label_tile, tile_size, window
from ..io.write import write_whole
from ..upright import SIDES, view_of
from ..volume import Labelmap, Volume, check_same_grid

PREDICTION, TRUTH = (255, 214, 0), (0, 230, 118)
CAPTION = "research use, not for diagnosis"
GAP, LINE = 4, 22  # pixels between tiles, and of one line of text


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
