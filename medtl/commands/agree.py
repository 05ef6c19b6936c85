"""`medtl agree`: how far two readers agree."""

import argparse
from typing import TYPE_CHECKING, TextIO

from ..counted import counted
from ..io.into_place import already_exists
from ..io.write import check_different, write_whole
from ..progress import TerminalProgress
from ..typed_json import encode
from .console import print_error, print_json, print_lines, print_warnings

if TYPE_CHECKING:
    from ..evaluation.agreement import Agreement


def agree(args: argparse.Namespace, out: TextIO) -> int:
    """Print the agreement of two readers; a case that cannot be compared does not stop the others."""
    outputs = [path for path in (args.csv, args.plot) if path is not None]
    check_different(outputs)
    if not args.force and (there := [path for path in outputs if path.exists()]):
        raise already_exists(there[0], "The output")
    progress = TerminalProgress()

    def failed(case: str, error: BaseException) -> None:
        progress.close()
        print_error(error, args, case)

    try:
        result = compare(args, progress, failed)
    finally:
        progress.close()
    if args.csv is not None:
        from ..evaluation.agreement_table import write_rows

        write_rows(result, args.csv, args.force)
    if args.plot is not None:
        from ..evaluation.bland_altman import plot

        content = plot(result).encode("utf-8", "replace")
        write_whole(args.plot, lambda part: part.write_bytes(content), args.force)
    if args.json:
        print_json(out, encode(result))
    else:
        print_lines(out, *lines_of(result))
    for case in result.cases:
        print_warnings(case.warnings, case.case)
    return 1 if result.errors else 0


def compare(args: argparse.Namespace, progress: TerminalProgress, failed: object) -> "Agreement":
    """The agreement; the results are read in another process, so that none ends the work."""
    from ..evaluation.agreement import agreement
    from ..io.isolated import IsolatedReader

    with IsolatedReader(data_outside=args.data_outside) as reader:
        return agreement(args.first, args.second, reader, progress, failed)  # type: ignore[arg-type]


def lines_of(result: "Agreement") -> list[str]:
    """The agreement as a table: a row a label, then the ratings and what only one reader has."""
    failed = f" ({len(result.errors)} failed)" if result.errors else ""
    width = max([len(label) for label in result.labels] + [5])
    lines = [
        f"n = {result.n}{failed}",
        f"{'':<{width}}  {'Dice':>6}  {'HD95 mm':>8}  {'mL':>8}  95 % of the differences",
    ]
    for label, one in result.labels.items():
        about = one.volume_difference_ml
        limits = "-" if about.limits is None else f"{about.limits[0]:.2f} to {about.limits[1]:.2f} mL"
        cells = (f"{decimals(one.dice.mean, 3):>6}", f"{decimals(one.hd95.mean, 1):>8}", f"{about.mean:>+8.2f}")
        lines.append("  ".join((f"{label:<{width}}", *cells, limits)))
    ratings = result.ratings
    if ratings.n:
        weighted = decimals(ratings.weighted_kappa, 3)
        cases = counted(ratings.n, "1 case", "{count} cases")
        lines.append(f"ratings of {cases}: kappa {decimals(ratings.kappa, 3)}, weighted {weighted}")
    for name, alone in ((result.first, result.only_first), (result.second, result.only_second)):
        lines += [f"only in {name}: {', '.join(alone)}"] if alone else []
    return lines


def decimals(value: float | None, count: int) -> str:
    """So many decimals, or a dash where there is nothing to state."""
    return "-" if value is None else f"{value:.{count}f}"
