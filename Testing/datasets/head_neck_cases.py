"""CT of `openkbp-ct` in HU, and its case list.

    python Testing/datasets/head_neck_cases.py --data openkbp-ct --output DIR

The set's values are HU + 1024, clipped at 0 and 4095. The output has images in HU, the labels, and `cases.csv`.
"""

import argparse
import csv
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import SimpleITK as sitk

OFFSET = 1024


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0."""
    parser = argparse.ArgumentParser(description="Write CT in HU, labels and a case list of head and neck.")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    listed = args.data / "cases-ct.csv"
    with listed.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        image = sitk.ReadImage(str(args.data / row["image"]), sitk.sitkInt16) - OFFSET
        sitk.WriteImage(image, str(args.output / row["image"]), useCompression=True)
        shutil.copyfile(args.data / row["label"], args.output / row["label"])
    shutil.copyfile(listed, args.output / "cases.csv")
    print(f"{args.output / 'cases.csv'}: {len(rows)} cases")
    return 0


if __name__ == "__main__":
    sys.exit(main())
