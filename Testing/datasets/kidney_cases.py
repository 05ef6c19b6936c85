"""Case lists of kidney and renal tumour on CT: `kidney-ct-slices` (own), and the kidneys of `liver-ct-a` and of
`totalseg-A`, a whole volume of `ct-volumes`.

    python Testing/datasets/kidney_cases.py --data DIR --output DIR

`--data` holds the three sets, unpacked. The output has `own.csv` (1 kidney, with its cysts; 2 tumour), `auxiliary.csv`
(1 kidney; cases with a kidney), and their images and labels. The spacing of `liver-ct-a`, which the source lost, is
set so that a body is as wide as those of known spacing.
"""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from liver_cases import SPACING

# The folder, patient (None: all of them) and new value of each value of the labels.
SETS: dict[str, list[tuple[str, str | None, Mapping[int, int]]]] = {
    "own.csv": [("kidney-ct-slices", None, {1: 1, 2: 2, 3: 1})],
    "auxiliary.csv": [("liver-ct-a", None, {2: 1}), ("ct-volumes", "totalseg-A", {2: 1, 3: 1})],
}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0."""
    parser = argparse.ArgumentParser(description="Write images, labels and case lists of kidneys on CT.")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    for listed, sources in SETS.items():
        rows = []
        for name, patient, values in sources:
            with (args.data / name / "cases-image.csv").open(encoding="utf-8", newline="") as file:
                chosen = [row for row in csv.DictReader(file) if patient in (None, row["patient"])]
            rows += [written(args.data / name, row, name, values, args.output) for row in chosen]
        rows = [row for row in rows if row]
        with (args.output / listed).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["image", "label", "patient", "site"])
            writer.writeheader()
            writer.writerows(rows)
        print(f"{args.output / listed}: {len(rows)} cases")
    return 0


def written(folder: Path, row: Mapping[str, str], name: str, values: Mapping[int, int], output: Path) -> dict[str, str]:
    """The row of a case in the new list, its files written; empty where none of the labels is there."""
    image, label = (sitk.ReadImage(str(folder / row[kind])) for kind in ("image", "label"))
    array = sitk.GetArrayFromImage(label)
    numbers = np.zeros(array.shape, np.uint8)
    for old, new in values.items():
        numbers[array == old] = new
    if not numbers.any():
        return {}
    made = sitk.GetImageFromArray(numbers)
    made.CopyInformation(label)
    entry = {"patient": f"{name}-{row['patient']}", "site": name}
    for kind, one in (("image", image), ("label", made)):
        if name in SPACING:
            one.SetSpacing((SPACING[name], SPACING[name], 5.0))
        entry[kind] = f"{name}-{row[kind]}"
        sitk.WriteImage(one, str(output / entry[kind]), useCompression=True)
    return entry


if __name__ == "__main__":
    sys.exit(main())
