"""Case lists of the liver on CT: slices of `liver-ct-a`, `-b`, `-c`, and the whole volumes of `ct-volumes`.

    python Testing/datasets/liver_cases.py --data DIR --output DIR

`--data` holds the four sets, unpacked. The output has images whose spacing is set where the source lost it, labels with
1 for the liver (with its tumours), and the lists `train.csv` (a and totalseg-A: what ships may be trained on them),
`a.csv`, `b.csv`, `c.csv` and `outside.csv` (ircadb17).
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import SimpleITK as sitk

# mm in plane. The sources lost it; this makes a body as wide as those of known spacing.
SPACING = {"liver-ct-a": 0.75, "liver-ct-b": 1.5, "liver-ct-c": 0.75}
# Values of the liver and what lies in it.
VALUES = {"liver-ct-a": (1,), "liver-ct-b": (1,), "liver-ct-c": (1,), "ircadb17": (1, 2), "totalseg-A": (5,)}
LISTS = {
    "train.csv": ("liver-ct-a", "totalseg-A"),
    "a.csv": ("liver-ct-a",),
    "b.csv": ("liver-ct-b",),
    "c.csv": ("liver-ct-c",),
    "outside.csv": ("ircadb17",),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0."""
    parser = argparse.ArgumentParser(description="Write images, labels and case lists of the liver on CT.")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, str]]] = {name: [] for name in VALUES}
    for folder in (*SPACING, "ct-volumes"):
        with (args.data / folder / "cases-image.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                name = folder if folder in VALUES else row["patient"]
                if name not in VALUES:  # the tissues of totalseg-A
                    continue
                rows[name].append(written(args.data / folder, row, name, args.output))
    for listed, names in LISTS.items():
        with (args.output / listed).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["image", "label", "patient", "site"])
            writer.writeheader()
            writer.writerows(row for name in names for row in rows[name])
        print(f"{args.output / listed}: {sum(len(rows[name]) for name in names)} cases")
    return 0


def written(folder: Path, row: dict[str, str], name: str, output: Path) -> dict[str, str]:
    """The row of a case in the new list, its files written."""
    entry = {"patient": f"{name}-{row['patient']}", "site": name}
    for kind in ("image", "label"):
        image = sitk.ReadImage(str(folder / row[kind]))
        if kind == "label":
            values = sitk.Cast(image, sitk.sitkUInt16)
            image = sitk.Image(values.GetSize(), sitk.sitkUInt8)
            image.CopyInformation(values)
            for value in VALUES[name]:
                image = image | (values == value)
        if name in SPACING:
            image.SetSpacing((SPACING[name], SPACING[name], 5.0))
        entry[kind] = f"{name}-{row[kind]}"
        sitk.WriteImage(image, str(output / entry[kind]), useCompression=True)
    return entry


if __name__ == "__main__":
    sys.exit(main())
