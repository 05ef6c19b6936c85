"""The case list of `glioma-flair`: FLAIR of `lgg-flair`, `brats` and `brats2013`.

    python Testing/datasets/glioma_cases.py --data DIR --output CSV

`--data` holds the three sets, unpacked. The cases of `brats` whose site is TCGA-LGG are left out: their patients may be
those of `lgg-flair`.
"""

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path

SETS = ("lgg-flair", "brats", "brats2013")
LEFT_OUT = "TCGA-LGG"  # a site


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0."""
    parser = argparse.ArgumentParser(description="Write the case list of glioma-flair.")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR")
    parser.add_argument("--output", required=True, type=Path, metavar="CSV")
    args = parser.parse_args(argv)
    rows = []
    for name in SETS:
        folder = args.data / name
        with (folder / "cases-flair.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if name == "brats" and row["site"] == LEFT_OUT:
                    continue
                for kind in ("image", "label"):
                    row[kind] = Path(os.path.relpath(folder / row[kind], args.output.parent)).as_posix()
                rows.append(row | {"site": f"{name} {row['site']}"})
    with args.output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["image", "label", "patient", "site"])
        writer.writeheader()
        writer.writerows(rows)
    print(f"{args.output}: {len(rows)} cases")
    return 0


if __name__ == "__main__":
    sys.exit(main())
