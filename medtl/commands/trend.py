"""`medtl trend`: the volumes of one patient's studies, and what became of the lesions."""

import argparse
from typing import TextIO

from ..progress import TerminalProgress
from ..results import Trend
from ..typed_json import encode
from .console import print_json, print_lines, print_warnings


def trend(args: argparse.Namespace, out: TextIO) -> int:
    """Print the trend, and write it where that is asked for."""
    from ..io.files import identities
    from ..io.isolated import IsolatedReader
    from ..io.write import check_place
    from ..trend.checkerboard import checkerboards
    from ..trend.files import trend_files
    from ..trend.studies import parse_study

    for path, suffix, option in ((args.csv, ".csv", "--csv"), (args.checkerboard, ".png", "--checkerboard")):
        if path is not None and path.suffix.lower() != suffix:
            args.parser.error(f"expected {option} to end in {suffix}, found {path}")
    if args.checkerboard is not None and not args.register:
        args.parser.error("--checkerboard shows a registration: add --register")
    files = [parse_study(text) for text in args.studies]
    inputs = identities([path for one in files for path in (one.segmentation, one.image) if path is not None])
    outputs = [path for path in (args.csv, args.checkerboard) if path is not None]
    for path in outputs:
        check_place(path, inputs, args.force)
    progress = TerminalProgress()
    drawn = checkerboards(args.checkerboard, args.force)
    try:
        with IsolatedReader(data_outside=args.data_outside) as reader:
            found = trend_files(files, args.register, progress, reader, drawn)
    finally:
        progress.close()
    report(found, args, out)
    return 0


def report(found: Trend, args: argparse.Namespace, out: TextIO) -> None:
    """Print the trend, and write the table; warnings go to standard error."""
    from ..trend.table import lines_of, write_csv

    print_warnings(found.warnings)
    if args.csv is not None:
        write_csv(args.csv, found, args.force)
    if args.json:
        print_json(out, encode(found))
        return
    print_lines(out, *lines_of(found))
    print_lines(out, *(f"written: {path}" for path in (args.csv, args.checkerboard) if path is not None))
