"""The case lists of `tumour-t1c`: T1 with contrast and the tumour's outline, or no tumour.

    python Testing/datasets/t1c_cases.py --pictures DIR --split CSV --brats CSV --output DIR

`--pictures`: `brain-tumour-4class` with its `index.csv` and `tumour-outlines.csv` (the figshare set of Cheng 2017).
`--split`: the near-patient split that `brain_cases.py` writes (columns image,patient,split). `--brats`: the T1c cases
of BraTS. Output: `train.csv`, `test.csv` and `outside.csv` for `medtl train` and `medtl evaluate` (the column site is
the picture's class, or brats), and the labels that they name.

A slice of figshare is in the lists once, even if several pictures show it. The pictures without tumour show some 500
slices many times, rotated, sharpened or brightened: training has all that differ, the test one for each slice. Of the
first BraTS case by name only the slices away from the tumour are in training; the others are the outside test, with the
tumour's core as label (labels 1 and 4: what enhances and what it encloses), as the outlines are drawn.
"""

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from brain_outlines import Outline, mask_of, read_outlines
from PIL import Image
from scipy import ndimage

from medtl.cases import CaseFiles, read_cases
from medtl.errors import InputError, MedTLError
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.volume import Labelmap

CORE = (1, 4)
MARGIN = 3  # slices next to a tumour show some of it
SIDES = ("train", "test")


@dataclass(frozen=True)
class Picture:
    """A picture of the set; `source_index` is that of figshare, None for the others. Pictures of one `dup_group` are
    the same, those of one `slice_group` show the same slice."""

    path: Path
    kind: str
    dup_group: str
    slice_group: str
    source_index: int | None
    mirrored: bool


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when something cannot be used."""
    parser = argparse.ArgumentParser(description="Write the case lists of tumour-t1c.")
    parser.add_argument("--pictures", required=True, type=Path, metavar="DIR")
    parser.add_argument("--split", required=True, type=Path, metavar="CSV")
    parser.add_argument("--brats", required=True, type=Path, metavar="CSV")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    args = parser.parse_args(argv)
    try:
        (args.output / "labels").mkdir(parents=True, exist_ok=True)
        lists = picture_cases(args.pictures, args.split, args.output / "labels")
        first, *others = sorted(read_cases(args.brats), key=lambda case: case.case)
        lists["train"].append(tumour_free_case(first, args.output / "labels"))
        lists["outside"] = [core_case(case, args.output / "labels") for case in others]
        for name, cases in lists.items():
            write_list(args.output / f"{name}.csv", cases)
            sites = [case.site for case in cases]
            counts = ", ".join(f"{sites.count(site)} {site}" for site in sorted(set(sites)))
            print(f"{name}: {len(cases)} cases of {len({case.patient for case in cases})} groups ({counts})")
    except (MedTLError, OSError) as error:
        print(f"t1c_cases: {error}", file=sys.stderr)
        return 1
    return 0


def picture_cases(folder: Path, split: Path, labels: Path) -> dict[str, list[CaseFiles]]:
    """The cases of each side; their labels are written into `labels`."""
    outlines = read_outlines(folder / "tumour-outlines.csv")
    groups, known = read_split(split), read_pictures(folder)
    if missing := [name_of(picture.path) for picture in known if name_of(picture.path) not in groups]:
        raise InputError(f"Expected all pictures of {folder} in {split}, found no {missing[0]}. Make the split again.")
    shown: dict[tuple[str, ...], list[Picture]] = defaultdict(list)
    for picture in known:
        if picture.source_index is not None:
            shown["figshare", str(picture.source_index)].append(picture)
        elif picture.kind == "notumor":  # else a tumour without an outline
            _, side = groups[name_of(picture.path)]
            shown[side, picture.slice_group if side == "test" else picture.dup_group].append(picture)
    cases: dict[str, list[CaseFiles]] = {side: [] for side in SIDES}
    for pictures in shown.values():
        patient, side = one_group(pictures, groups)
        if side not in SIDES:  # left out between the two
            continue
        picture = min(pictures, key=lambda picture: (picture.mirrored, picture.path.name))
        kind, label = write_label(picture, outlines, labels)
        cases[side].append(CaseFiles(picture.path.stem, picture.path, label, patient, kind))
    return cases


def one_group(pictures: Sequence[Picture], groups: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Group and side of pictures of one slice.

    Raises: InputError where they have several.
    """
    found = {groups[name_of(picture.path)] for picture in pictures}
    if len(found) > 1:
        raise InputError(
            f"Expected all pictures of a slice in one group, found {name_of(pictures[0].path)} in "
            f"{', '.join(sorted(patient for patient, _ in found))}. Make the split again."
        )
    return found.pop()


def write_label(picture: Picture, outlines: Mapping[int, Outline], folder: Path) -> tuple[str, Path]:
    """The picture's class and its label's file; tumour-free pictures of one size share theirs."""
    with Image.open(picture.path) as opened:
        size = opened.size
    if picture.source_index is None:
        kind, mask, name = picture.kind, Image.new("L", size), f"none-{size[0]}x{size[1]}"
    else:
        # Where the picture's folder says another class than the outline's source, the source knows.
        outline = outlines[picture.source_index]
        kind, mask, name = outline.kind, mask_of(outline.border, picture.mirrored, size), picture.path.stem
    mask.save(folder / f"{name}.png")
    return kind, folder / f"{name}.png"


def read_pictures(folder: Path) -> list[Picture]:
    """All pictures of the index."""
    return [
        Picture(
            folder / row["split"] / row["class"] / row["name"],
            row["class"],
            row["dup_group"],
            row["slice_group"],
            int(row["source_index"]) if row["source"] == "figshare" else None,
            row["source_mirrored"] == "hflip",
        )
        for row in rows_of(folder / "index.csv")
    ]


def read_split(path: Path) -> Mapping[str, tuple[str, str]]:
    """Group and side of each picture by its name (see `name_of`).

    Raises: InputError for a group on both sides.
    """
    found = {name_of(Path(row["image"])): (row["patient"], row["split"]) for row in rows_of(path)}
    sides = dict(found.values())
    if both := sorted({patient for patient, side in found.values() if sides[patient] != side}):
        raise InputError(f"Expected each group on one side in {path}, found {both[0]} on both. Make the split again.")
    return found


def name_of(picture: Path) -> str:
    """The last three parts of a picture's path: Training or Testing, class, file."""
    return "/".join(picture.parts[-3:])


def rows_of(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tumour_free_case(case: CaseFiles, folder: Path) -> CaseFiles:
    """The slices of a volume that show brain and lie away from the tumour, as a volume of their own."""
    volume, truth = read_volume(case.image), read_labelmap(case.label).array > 0
    near = ndimage.binary_dilation(truth.any((1, 2)), iterations=MARGIN)
    chosen = ~near & ((volume.array > 0).mean((1, 2)) > 0.02)
    grid = replace(volume.geometry, size=(*volume.geometry.size[:2], int(chosen.sum())))
    image, label = folder / f"{case.case}-free.nrrd", folder / f"{case.case}-free-label.nrrd"
    write_image(image, volume.array[chosen], grid)
    write_labelmap(label, Labelmap(np.zeros(grid.shape, np.uint8), grid))
    return CaseFiles(image.stem, image, label, case.patient, "brats")


def core_case(case: CaseFiles, folder: Path) -> CaseFiles:
    """The case with the tumour's core as its only label."""
    truth = read_labelmap(case.label)
    label = folder / f"{case.case}-core.nrrd"
    write_labelmap(label, Labelmap(np.isin(truth.array, CORE).astype(np.uint8), truth.geometry))
    return replace(case, label=label, site="brats")


def write_list(path: Path, cases: Sequence[CaseFiles]) -> None:
    """Write the CSV file that lists these cases."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "label", "patient", "site"))
        rows.writerows((case.image.resolve(), case.label.resolve(), case.patient, case.site) for case in cases)


if __name__ == "__main__":
    sys.exit(main())
