"""Masks of pictures from the borders of the tumours on figshare's slices (`tumour-outlines.csv`)."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

GRID = 512  # outlines are in pixels of the source's slices


@dataclass(frozen=True)
class Outline:
    """A tumour's class and border, float (n, 2): x, y on the 512×512 grid."""

    kind: str
    border: np.ndarray


def read_outlines(path: Path) -> dict[int, Outline]:
    """The outlines by `source_index`."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            int(row["source_index"]): Outline(
                row["class"], np.array([point.split() for point in row["border_xy_512"].split(";")], dtype=np.float64)
            )
            for row in csv.DictReader(file)
        }


def mask_of(border: np.ndarray, mirrored: bool, size: tuple[int, int]) -> Image.Image:
    """The inside of an outline, 1 in the pixels at least half inside, on a picture of that size (width, height)."""
    x = GRID - 1 - border[:, 0] if mirrored else border[:, 0]
    drawn = Image.new("L", (GRID, GRID))
    ImageDraw.Draw(drawn).polygon(list(zip(x.tolist(), border[:, 1].tolist(), strict=True)), fill=255)
    return drawn.resize(size, Image.Resampling.BOX).point(lambda share: share >= 128)
