"""`medtl report`: the report of a segmentation as one HTML file."""

import argparse
from typing import TextIO

from ..progress import TerminalProgress
from ..typed_json import encode
from .console import print_json, print_lines, print_warnings


def report(args: argparse.Namespace, out: TextIO) -> int:
    """Write the report of the newest study."""
    from ..io.files import identities
    from ..io.isolated import IsolatedReader
    from ..io.write import check_place
    from ..report.files import ReportFiles, report_files
    from ..trend.studies import parse_study

    if args.output.suffix.lower() not in (".html", ".htm"):
        args.parser.error(f"expected --output to end in .html, found {args.output}")
    studies = tuple(parse_study(text) for text in args.studies)
    given = [path for one in studies for path in (one.segmentation, one.image)]
    inputs = [path for path in (*given, args.classification, args.uncertainty) if path is not None]
    check_place(args.output, identities(inputs), args.force)
    files = ReportFiles(studies, args.output, args.classification, args.uncertainty, None, args.register, args.force)
    progress = TerminalProgress()
    try:
        with IsolatedReader(data_outside=args.data_outside) as reader:
            done = report_files(files, progress, reader)
    finally:
        progress.close()
    print_warnings(done.warnings)
    if args.json:
        print_json(out, encode(done))
    else:
        print_lines(out, f"written: {done.output}")
    return 0
