"""Case lists of `sts-t1` and `sts-ct` by the maker of the scanner.

    python Testing/datasets/sts_cases.py --cases sts-t1/cases-t1.csv

Beside the list it writes `all.csv`, in which `site` is the maker, and a list of each maker, such as `ge.csv`.
"""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

MAKERS = {"ge medical": "GE", "philips": "Philips", "siemens": "Siemens"}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0."""
    parser = argparse.ArgumentParser(description="Write case lists by the maker of the scanner.")
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV")
    path = parser.parse_args(argv).cases
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row | {"site": maker_of(row["site"])} for row in csv.DictReader(file)]
    write(path.with_name("all.csv"), rows)
    for maker in MAKERS.values():
        write(path.with_name(f"{maker.lower()}.csv"), [row for row in rows if row["site"] == maker])
    return 0


def maker_of(scanner: str) -> str:
    """The maker of a scanner that the set names, "unknown" for another one."""
    return next((maker for begin, maker in MAKERS.items() if scanner.lower().startswith(begin)), "unknown")


def write(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write a case list."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["image", "label", "patient", "site"])
        writer.writeheader()
        writer.writerows(rows)
    print(f"{path}: {len(rows)} cases")


if __name__ == "__main__":
    sys.exit(main())
