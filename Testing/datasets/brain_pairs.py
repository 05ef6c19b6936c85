"""The pictures of `brain-tumour-4class` and the pairs that look alike, with contact sheets; for `brain_cases.py`."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from near_patient import Pair, closest, closest_groups, details, versions_of
from PIL import Image, ImageDraw

from medtl.classification.frames import frame_slice
from medtl.errors import InputError
from medtl.io.write import write_whole

CLASSES = ("glioma", "meningioma", "pituitary", "notumor")
SIDE = 128
TURNS = (-4.0, 4.0)
BINS = (-1.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TILE, GAP, COLUMNS = 160, 16, 5


@dataclass(frozen=True)
class Picture:
    """A line of the index. `label` is the class, `published` that of its folder; `source_index` is figshare's."""

    path: Path
    label: str
    published: str
    official_test: bool
    dup_group: str
    slice_group: str
    source_index: int | None
    mirrored: bool


def read_pictures(folder: Path) -> list[Picture]:
    """Every picture of the index, in its order.

    Raises: InputError for a missing file or column, or a class that is not one of the four.
    """
    outlined = {row["source_index"]: row["class"] for row in table(folder / "tumour-outlines.csv")}
    pictures = []
    for row in table(folder / "index.csv"):
        try:
            figshare = row["source_index"] if row["source"] == "figshare" else None
            picture = Picture(
                folder.resolve() / row["split"] / row["class"] / row["name"],
                outlined[figshare] if figshare else row["class"],
                row["class"],
                row["split"] == "Testing",
                row["dup_group"],
                row["slice_group"],
                int(figshare) if figshare else None,
                row["source_mirrored"] == "hflip",
            )
        except (KeyError, ValueError) as error:
            raise InputError(
                f"Expected the columns and numbers of brain-tumour-4class in {folder / 'index.csv'}, found none for "
                f"{error} in the line of {row.get('name', 'a picture without a name')}. Take the file as published."
            ) from error
        if picture.label not in CLASSES:
            raise InputError(f"Expected a class of {', '.join(CLASSES)}, found {picture.label} in {folder}.")
        pictures.append(picture)
    return pictures


def table(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file by column.

    Raises: InputError when it is missing.
    """
    if not path.is_file():
        raise InputError(f"Expected the file {path}, found none. Give the folder of brain-tumour-4class as --data.")
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def one_a_slice(pictures: Sequence[Picture]) -> list[int]:
    """The place of one picture of each slice, one that is not mirrored where there is such."""
    first: dict[str, int] = {}
    for n in sorted(range(len(pictures)), key=lambda n: (pictures[n].mirrored, n)):
        first.setdefault(pictures[n].slice_group, n)
    return sorted(first.values())


def head(picture: Picture) -> np.ndarray:
    """The details of the head, (SIDE, SIDE), figshare's mirrored ones turned back."""
    frame = frame_slice(grey(picture), SIDE)
    return details(frame.image) if frame else np.zeros((SIDE, SIDE), np.float32)


def grey(picture: Picture) -> np.ndarray:
    """The picture as float32 (rows, columns), figshare's mirrored ones turned back."""
    with Image.open(picture.path) as opened:
        values = np.asarray(opened.convert("L"), dtype=np.float32)
    return values[:, ::-1] if picture.mirrored else values


def closest_to_training(images: Sequence[np.ndarray], sides: Sequence[str]) -> list[Pair]:
    """For each test picture the training picture most like it."""
    held = [n for n, side in enumerate(sides) if side == "test"]
    others = [n for n, side in enumerate(sides) if side == "train"]
    versions = versions_of([images[n] for n in others], TURNS, mirrored=True)
    found = closest(versions_of([images[n] for n in held], (), mirrored=False)[0], versions)
    return [Pair(held[pair.first], others[pair.second], pair.correlation) for pair in found]


def candidates(images: Sequence[np.ndarray], groups: Sequence[str]) -> list[Pair]:
    """The closest pictures of every two groups, best first."""
    number = {group: n for n, group in enumerate(dict.fromkeys(groups))}
    versions = versions_of(images, TURNS, mirrored=True)
    return closest_groups(versions[0], versions, [number[group] for group in groups])


def histogram(pictures: Sequence[Picture], pairs: Sequence[Pair], classes: Sequence[str]) -> str:
    """How many test slices of each class are how much like the closest training slice."""
    heads = [f"{low:.2f} to {high:.2f}" for low, high in pairwise(BINS)]
    lines = [
        f"| closest training slice | {' | '.join(heads)} | largest | pair |",
        f"| --- {'| --- ' * (len(heads) + 2)}|",
    ]
    for kind in classes:
        of_kind = [pair for pair in pairs if pictures[pair.first].label == kind]
        counts, _ = np.histogram([pair.correlation for pair in of_kind], BINS)
        best = max(of_kind, key=lambda pair: pair.correlation)
        lines.append(
            f"| {kind} | {' | '.join(str(count) for count in counts)} | {best.correlation:.2f} "
            f"| {caption(pictures[best.first])}, {caption(pictures[best.second])} |"
        )
    return "\n".join(lines)


def caption(picture: Picture) -> str:
    """The figshare number, else the picture's name."""
    return str(picture.source_index) if picture.source_index is not None else picture.path.stem


def draw_pairs(path: Path, pictures: Sequence[Picture], pairs: Sequence[Pair]) -> None:
    """Draw each pair side by side with its names and correlation."""
    rows = -(-len(pairs) // COLUMNS)
    sheet = Image.new("L", (COLUMNS * (2 * TILE + GAP), rows * (TILE + GAP)))
    draw = ImageDraw.Draw(sheet)
    for n, pair in enumerate(pairs):
        x, y = (n % COLUMNS) * (2 * TILE + GAP), (n // COLUMNS) * (TILE + GAP)
        for place, picture in enumerate((pictures[pair.first], pictures[pair.second])):
            frame = frame_slice(grey(picture), TILE)
            if frame:
                tile = Image.fromarray(((frame.image + 1) * 127).astype(np.uint8))
                sheet.paste(tile, (x + place * TILE, y + GAP - 4))
            draw.text((x + place * TILE + 2, y), caption(picture), fill=255)
        draw.text((x + 2 * TILE - 28, y), f"{pair.correlation:.2f}", fill=255)
    write_whole(path, lambda part: sheet.save(part, format="PNG"))
