"""Case lists of `sts-t1` and `sts-ct` by the maker of the scanner.

    python Testing/datasets/sts_cases.py --cases sts-t1/cases-t1.csv
    python Testing/datasets/sts_cases.py --cases sts-ct/cases-ct.csv --like sts-t1/all.csv

Beside the list it writes `all.csv`, in which `site` is the maker, and a list of each maker, such as `ge.csv`. With
`--like`, a patient has the site of that list, so that both lists have the same patients in each fold.
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
    parser.add_argument("--like", type=Path, metavar="CSV")
    args = parser.parse_args(argv)
    path = args.cases
    sites = {row["patient"]: row["site"] for row in read(args.like)} if args.like else {}
    rows = [row | {"site": sites.get(row["patient"]) or maker_of(row["site"])} for row in read(path)]
    write(path.with_name("all.csv"), rows)
    for maker in MAKERS.values():
        write(path.with_name(f"{maker.lower()}.csv"), [row for row in rows if row["site"] == maker])
    return 0


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a case list."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


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
