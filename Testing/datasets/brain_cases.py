"""The case lists of `brain-tumour-4class`: the official split, and one that separates patients as far as possible.

    python Testing/datasets/brain_cases.py --data DIR --output DIR [--seed 0] [--unseen-batch]
        [--sheet PNG] [--candidates PNG]

`DIR` of `--data` holds `index.csv`, `tumour-outlines.csv`, `Training` and `Testing`. Output: `official.csv` and
`near-patient.csv` with the columns image,label,patient,split,fold,mask. `patient` is the near-patient group, `fold`
(0 to 4) divides the training groups, and `mask` is where the tumour was drawn, if it was. `official.csv` also has
`leak`: 1 if a training picture shows the slice of a test picture. A picture whose class differs from that of its
figshare slice gets the class of figshare, except in the official test, which stays as published.

Groups. Within a class figshare's numbers run through the same patients in the same order, first in axial slices, then
in coronal, then in sagittal ones; the contact sheet of the pictures shows it. `SECTIONS` has the borders, read from
that sheet; a batch is a run through patients of its own. A slice's position in its section is about its patient's
position in the batch, so a bin of equal shares of the three planes holds two to three patients. One group are the
pictures of a bin, of a slice (`slice_group`, `dup_group` of the index), and the pairs in `brain_matches.csv`: slices,
by figshare number or picture name, that look as if of one head and were checked by eye (patients with two numbers, and
slices that were sharpened, brightened or cropped again).

Split. The test has bins in a row: the last of the first batch of gliomas, of the meningiomas and of the pituitary
tumours, about a fifth of the latter two. A bin's border cuts through a patient, and planes are out of step by a patient
or two, more in the first batch of gliomas, whose last patients have no axial slices. So the groups within `MARGIN` bins
of the test are "left-out", on neither side. The gliomas of 1841 to 3062 stay in training, because their patients recur
there under several numbers. Pictures that are not from figshare are drawn by `--seed`. `--unseen-batch` writes a harder
split: all gliomas of the first batch are the test. The default was chosen after a network trained without any of them
had missed two thirds of them. `BIN` and `MARGIN` were set with the folds by patient that the set's author published, so
that no fold lies on both sides; the folds are not used here.

What remains, so near-patient and not by patient: a patient who recurs far away and looks different there, one whose
planes are out of step by more than the margin, slices of one head among the pictures that are not from figshare, since
nothing links them; and between folds, which have no margin, the patients at the borders. A bin is several patients and
a patient may be in two bins, so intervals over groups are approximate.

Printed are the pictures, slices and groups of each class and side, and how similar the heads of each test slice and of
the nearest training slice are (correlation of their details at 128 pixels; 0.9 and more is usually the same slice).
`--sheet` draws the 20 closest of these pairs, `--candidates` the 100 closest pairs of groups that are not neighbours:
check these before you add a line to `brain_matches.csv`.
"""

import argparse
import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from brain_outlines import Outline, mask_of, read_outlines
from brain_pairs import (
    CLASSES,
    Picture,
    candidates,
    closest_to_training,
    draw_pairs,
    head,
    histogram,
    one_a_slice,
    read_pictures,
    table,
)
from near_patient import Place, around, bins_of, folds_in_runs, folds_of_groups, hold_out_groups, joined
from PIL import Image

from medtl.errors import InputError, MedTLError
from medtl.io.write import write_whole

HERE = Path(__file__).resolve().parent
MATCHES = HERE / "brain_matches.csv"
SHARE, FOLDS = 0.2, 5
SIDES = ("train", "test", "left-out")
SECTIONS = {  # first and last number
    "meningioma 1": {"axial": ((1, 208),), "coronal": ((211, 441),), "sagittal": ((442, 708),)},
    "meningioma 2": {"axial": ((3063, 3063),), "coronal": ((3064, 3064),)},
    "pituitary 1": {
        "axial": ((709, 714), (922, 1024)),
        "coronal": ((918, 921), (1034, 1165)),
        "sagittal": ((1166, 1282),),
    },
    "pituitary 2": {
        "axial": ((1025, 1033), (1283, 1455)),
        "coronal": ((1456, 1639),),
        "sagittal": ((1640, 1840),),
    },
    "glioma 1": {
        "axial": ((209, 210), (715, 746)),
        "coronal": ((747, 778), (781, 817)),
        "sagittal": ((779, 780), (818, 917)),
    },
    "glioma 2": {
        "axial": ((1841, 2241), (2344, 2402)),
        "coronal": ((2403, 2441), (2242, 2343), (2546, 2730), (2442, 2539)),
        "sagittal": ((2540, 2545), (2822, 3029), (2731, 2821), (3030, 3062)),
    },
}  # 59 is a pituitary tumour and 3030 a meningioma, alone among others
BIN = 24  # slices; figshare has 13 a patient
TEST_FROM = {"glioma 1": 5, "meningioma 1": 23, "pituitary 2": 16}  # the first bin of the test, of 9, 29 and 24
MARGIN = 3  # bins
SHOWN, CANDIDATES = 20, 100


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the data cannot be used."""
    parser = argparse.ArgumentParser(description="Write the case lists of brain-tumour-4class.")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unseen-batch", action="store_true", help="test on the whole first batch of gliomas")
    parser.add_argument(
        "--sheet", type=Path, metavar="PNG", help="draw the closest pairs of a test and a training picture"
    )
    parser.add_argument("--candidates", type=Path, metavar="PNG", help="draw the closest pairs of groups far apart")
    args = parser.parse_args(argv)
    try:
        pictures = read_pictures(args.data)
        groups = groups_of(pictures)
        test_from = TEST_FROM | ({"glioma 1": 0} if args.unseen_batch else {})
        sides = near_patient_sides(pictures, groups, args.seed, test_from)
        masks = write_masks(pictures, read_outlines(args.data / "tumour-outlines.csv"), args.output / "masks")
        write_near_patient(args.output / "near-patient.csv", pictures, groups, sides, masks, args.seed)
        write_official(args.output / "official.csv", pictures, groups, masks, args.seed)
        print(summary(pictures, groups, sides))
        shown = one_a_slice(pictures)
        images = [head(pictures[n]) for n in shown]
        pairs = closest_to_training(images, [sides[n] for n in shown])
        shown_pictures = [pictures[n] for n in shown]
        print(histogram(shown_pictures, pairs, CLASSES))
        if args.sheet:
            draw_pairs(args.sheet, shown_pictures, sorted(pairs, key=lambda pair: -pair.correlation)[:SHOWN])
        if args.candidates:
            places = places_of(shown_pictures)
            found = candidates(images, [groups[n] for n in shown])
            far = [pair for pair in found if not neighbours(places[pair.first], places[pair.second])]
            draw_pairs(args.candidates, shown_pictures, far[:CANDIDATES])
    except (MedTLError, OSError) as error:
        print(f"brain_cases: {error}", file=sys.stderr)
        return 1
    return 0


def groups_of(pictures: Sequence[Picture]) -> list[str]:
    """The near-patient group of each picture, named after its first figshare number, else its first picture.

    Raises: InputError when a pair names what is not there.
    """
    slice_of = {str(p.source_index): p.slice_group for p in pictures if p.source_index is not None}
    slice_of |= {p.path.stem: p.slice_group for p in pictures}
    of_slice: dict[str, list[str]] = defaultdict(list)
    for number, match in enumerate(read_matches(MATCHES)):
        for name in match:
            if name not in slice_of:
                raise InputError(
                    f"Expected a picture {name}, which {MATCHES.name} names, found none. Correct the name."
                )
            of_slice[slice_of[name]].append(f"match {number}")
    keys = [
        [
            f"slice {p.slice_group}",
            f"same {p.dup_group}",
            *of_slice[p.slice_group],
            *([f"bin {place}"] if place else []),
        ]
        for p, place in zip(pictures, places_of(pictures), strict=True)
    ]
    members: dict[int, list[Picture]] = defaultdict(list)
    numbers = joined(keys)
    for number, picture in zip(numbers, pictures, strict=True):
        members[number].append(picture)
    names = {number: group_name(of_group) for number, of_group in members.items()}
    return [names[number] for number in numbers]


def group_name(members: Sequence[Picture]) -> str:
    """The same whatever the order of the pictures."""
    figshare = [p.source_index for p in members if p.source_index is not None]
    return f"figshare-{min(figshare):04d}" if figshare else min(p.path.stem for p in members)


def places_of(pictures: Sequence[Picture]) -> list[Place | None]:
    """Batch and bin of each picture of figshare."""
    bins = bins_of(SECTIONS, BIN)
    return [None if p.source_index is None else bins[p.source_index] for p in pictures]


def read_matches(path: Path) -> list[tuple[str, str]]:
    """Pairs of figshare numbers or names of pictures that show one patient."""
    return [(row["one"], row["other"]) for row in table(path)]


def neighbours(one: Place | None, other: Place | None) -> bool:
    """Whether two places are within MARGIN bins of one batch, where slices look alike since they are of one patient."""
    return one is not None and other is not None and one[0] == other[0] and abs(one[1] - other[1]) <= MARGIN


def near_patient_sides(
    pictures: Sequence[Picture], groups: Sequence[str], seed: int, test_from: Mapping[str, int] = TEST_FROM
) -> list[str]:
    """The side of each picture in the near-patient split, one of SIDES; of a batch, bins from `test_from` are test."""
    places = places_of(pictures)
    placed = {group for place, group in zip(places, groups, strict=True) if place}
    test = {
        group
        for place, group in zip(places, groups, strict=True)
        if place and place[0] in test_from and place[1] >= test_from[place[0]]
    }
    left_out = around(places, groups, test, MARGIN)
    others = [(group, p.label) for p, group in zip(pictures, groups, strict=True) if group not in placed]
    test |= hold_out_groups([group for group, _ in others], [label for _, label in others], SHARE, seed)
    return ["test" if group in test else "left-out" if group in left_out else "train" for group in groups]


def folds_of(pictures: Sequence[Picture], groups: Sequence[str], training: Sequence[bool], seed: int) -> dict[str, int]:
    """A fold for each group with pictures in the training: in runs along the bins, what has none dealt by class."""
    learned = [n for n, chosen in enumerate(training) if chosen]
    places = places_of(pictures)
    placed = [(place, groups[n]) for n in learned if (place := places[n])]
    folds = folds_in_runs([place for place, _ in placed], [group for _, group in placed], FOLDS)
    others = [n for n in learned if groups[n] not in folds]
    return folds | folds_of_groups([groups[n] for n in others], [pictures[n].label for n in others], FOLDS, seed)


def write_masks(pictures: Sequence[Picture], outlines: Mapping[int, Outline], folder: Path) -> list[str]:
    """Write where the tumour is in each picture that has an outline; the files, "" for the others, beside the lists."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for p in pictures:
        names.append("" if p.source_index is None else f"{folder.name}/{p.path.stem}.png")
        if p.source_index is not None:
            with Image.open(p.path) as picture:
                size = picture.size
            mask_of(outlines[p.source_index].border, p.mirrored, size).save(folder / f"{p.path.stem}.png")
    return names


def write_near_patient(
    path: Path,
    pictures: Sequence[Picture],
    groups: Sequence[str],
    sides: Sequence[str],
    masks: Sequence[str],
    seed: int,
) -> None:
    """Write the list of the near-patient split."""
    folds = folds_of(pictures, groups, [side == "train" for side in sides], seed)
    rows = [
        {"image": p.path, "label": p.label, "patient": group, "split": side, "mask": mask}
        | ({"fold": folds[group]} if side == "train" else {})
        for p, group, side, mask in zip(pictures, groups, sides, masks, strict=True)
    ]
    write_list(path, ("image", "label", "patient", "split", "fold", "mask"), rows)


def write_official(
    path: Path, pictures: Sequence[Picture], groups: Sequence[str], masks: Sequence[str], seed: int
) -> None:
    """Write the list of the official split."""
    trained_on = {p.slice_group for p in pictures if not p.official_test}
    folds = folds_of(pictures, groups, [not p.official_test for p in pictures], seed)
    rows = []
    for p, group, mask in zip(pictures, groups, masks, strict=True):
        row = {"image": p.path, "patient": group, "mask": mask}
        if p.official_test:
            row |= {"label": p.published, "split": "test", "leak": int(p.slice_group in trained_on)}
        else:
            row |= {"label": p.label, "split": "train", "fold": folds[group]}
        rows.append(row)
    write_list(path, ("image", "label", "patient", "split", "fold", "mask", "leak"), rows)


def write_list(path: Path, columns: Sequence[str], rows: Sequence[dict[str, object]]) -> None:
    """Write a case list; the file is whole or not there."""

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    write_whole(path, write)


def summary(pictures: Sequence[Picture], groups: Sequence[str], sides: Sequence[str]) -> str:
    """Pictures, slices and groups of each class and side, and what the official test shares with its training."""
    lines = [
        "| near-patient split | class | pictures | slices | groups | largest group |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for side in SIDES:
        for kind in CLASSES:
            chosen = [
                (p.slice_group, group)
                for p, group, own in zip(pictures, groups, sides, strict=True)
                if own == side and p.label == kind
            ]
            sizes = Counter(group for _, group in chosen)
            largest = max(sizes, key=lambda group: sizes[group], default="")
            lines.append(
                f"| {side} | {kind} | {len(chosen)} | {len({s for s, _ in chosen})} "
                f"| {len(sizes)} | {largest} ({sizes[largest]}) |"
            )
    trained_on = {p.slice_group for p in pictures if not p.official_test}
    official = [(p, p.slice_group in trained_on) for p in pictures if p.official_test]
    alone = Counter(p.published for p, leaks in official if not leaks)
    lines += [
        "",
        f"Official split: {len(pictures) - len(official)} pictures to train on, {len(official)} to test, of which "
        f"{sum(alone.values())} show a slice that no training picture shows "
        f"({', '.join(f'{alone[kind]} {kind}' for kind in CLASSES)}).",
        f"Labels taken from figshare: {', '.join(p.path.stem for p in pictures if p.label != p.published) or 'none'}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
