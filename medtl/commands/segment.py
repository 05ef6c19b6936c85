"""`medtl segment`: which input becomes which file, and the work, one input after another."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ..errors import FAILURES, STOPPABLE, Cancelled, InputError
from ..progress import Stopwatch, TerminalProgress
from .console import complain, emit, in_order, say, status_of, volume_line

Job = tuple[Path, Path]  # input, output


def segment(args: argparse.Namespace, out: TextIO) -> int:
    """Segment every input; one that fails does not stop the others."""
    jobs, folder = plan(args)
    answer: dict[str, Any] = {"model": args.model, "sha256": None, "results": [], "errors": []}
    try:
        check_names(jobs, args)
        with made(folder):
            status = segment_all(usable(jobs, args, answer), args, answer, out)
    except STOPPABLE as error:
        answer["errors"].append(failed(error, args))
        status = status_of(error)
    if args.json:
        emit(out, answer)
    return status


# --- before any work ---


def plan(args: argparse.Namespace) -> tuple[list[Job], Path | None]:
    """Each input with its output file, and the output folder where --output means one. Ends with usage otherwise."""
    from ..io.files import OUTPUTS, stem_of, suffix_of

    check_usage(args)
    output = Path(args.output)
    if output.is_dir() or args.output.endswith(("/", os.sep)):
        folder = True
    else:
        folder = len(args.inputs) > 1
        suffix = suffix_of(output)
        if folder and (suffix in OUTPUTS or output.exists()):
            args.parser.error(f"several inputs need a folder as --output, found the file {output}")
        if not folder and suffix not in OUTPUTS:
            args.parser.error(
                f"expected --output to end in {', '.join(OUTPUTS)}, found {output} (a new folder's name ends in '/')"
            )
        if not folder and args.format not in (None, suffix):
            args.parser.error(f"--format {args.format} contradicts --output {output}: leave one of them out")
    if not folder:
        return [(args.inputs[0], output)], None
    suffix = args.format or OUTPUTS[0]
    return [(path, output / f"{stem_of(path)}{suffix}") for path in args.inputs], output


def check_usage(args: argparse.Namespace) -> None:
    """End with usage where options contradict each other."""
    from ..io.files import OUTPUTS, suffix_of

    if args.format not in (None, *OUTPUTS):
        args.parser.error(f"expected one of {', '.join(OUTPUTS)} as --format, found {args.format}")
    for extra in (args.probabilities, args.uncertainty):
        if extra is not None and len(args.inputs) > 1:
            args.parser.error("--probabilities and --uncertainty go with one input: run the inputs one by one")
        if extra is not None and suffix_of(extra) not in (".nrrd", ".nii.gz"):
            args.parser.error(f"expected a file ending in .nrrd or .nii.gz, found {extra}")


def check_names(jobs: list[Job], args: argparse.Namespace) -> None:
    """Raise InputError when one file would be written twice: which of the results is meant is for the user to say."""
    for output in {output for _, output in jobs}:
        sources = [str(source) for source, other in jobs if other == output]
        if len(sources) > 1:
            raise InputError(
                f"{' and '.join(sources)} would both be written to {output}. Rename one or run them one by one."
            )
        targets = outputs_of(output, args)
        if len({path.resolve() for path in targets}) < len(targets):
            raise InputError(f"Two outputs have the same name, {output}. Give each a file of its own.")


@contextlib.contextmanager
def made(folder: Path | None) -> Iterator[None]:
    """Make the folder where it is missing; it vanishes again when nothing came to lie in it."""
    if folder is None or folder.exists():
        yield
        return
    try:
        folder.mkdir()
    except OSError as error:
        raise InputError(f"Could not make the folder {folder}: {error.strerror}. Choose another output.") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it holds a result
            folder.rmdir()


def usable(jobs: list[Job], args: argparse.Namespace, answer: dict[str, Any]) -> list[Job]:
    """The jobs that can be begun; the others are errors in `answer`."""
    from ..io.files import identities
    from ..io.write import check_output

    inputs = identities(source for source, _ in jobs)
    good = []
    for source, output in jobs:
        try:
            if not source.exists():
                raise InputError(
                    f"Expected a volume file or a DICOM folder, found nothing at {source}. Check the path."
                )
            for path in outputs_of(output, args):
                check_output(path, inputs, args.force)
        except FAILURES as error:
            answer["errors"].append(failed(error, args, source))
        else:
            good.append((source, output))
    return good


def outputs_of(output: Path, args: argparse.Namespace) -> list[Path]:
    """All files of one job."""
    return [path for path in (output, args.probabilities, args.uncertainty) if path is not None]


# --- the work ---


def segment_all(jobs: list[Job], args: argparse.Namespace, answer: dict[str, Any], out: TextIO) -> int:
    """Fill `answer`, print each result as it comes; the exit status."""
    if not jobs:  # before torch is imported, so that a mistyped path is answered at once
        return 1
    from ..io.isolated import reader_of
    from ..model.bundle import load_model
    from ..segmentation import segment_file

    progress = TerminalProgress()
    loading = Stopwatch(progress)
    loading("load", 0.0)
    try:
        model = load_model(args.model, args.device)
    finally:
        progress.close()
    loading.stop()
    answer.update(model=model.card.name, sha256=model.sha256)
    options = options_of(args)
    with reader_of(len(jobs), progress) as reader:
        for source, output in jobs:
            try:
                result = segment_file(source, model, output, options, progress, reader)
            except STOPPABLE as error:
                progress.close()
                answer["errors"].append(failed(error, args, source))
                if status_of(error) == Cancelled.exit_code:
                    return Cancelled.exit_code
                continue
            progress.close()
            before = {} if answer["results"] else loading.seconds  # the model is loaded once, for the first
            result["seconds"] = in_order(before | result["seconds"])
            answer["results"].append(result)
            show(result, args, out)
    return 1 if answer["errors"] else 0


def options_of(args: argparse.Namespace) -> Any:
    """The SegmentOptions that the arguments state."""
    from ..segmentation import SegmentOptions

    return SegmentOptions(
        frame=args.frame,
        component=args.component,
        series=args.series,
        flip=args.flip,
        cleanup=not args.no_cleanup,
        device=args.device,
        threads=args.threads,
        probabilities=args.probabilities,
        uncertainty=args.uncertainty,
        force=args.force,
    )


def show(result: dict[str, Any], args: argparse.Namespace, out: TextIO) -> None:
    """Print one result for people; its warnings go to standard error in any case."""
    about = f" {result['input']}:" if len(args.inputs) > 1 else ""
    say(sys.stderr, *(f"medtl: warning:{about} {warning}" for warning in result["warnings"]))
    if not args.json:
        lines = [volume_line(item) for item in result["segments"]]
        lines += [f"written: {path}" for path in outputs_of(Path(result["output"]), args)]
        lines.append("seconds: " + ", ".join(f"{stage} {spent:.2f}" for stage, spent in result["seconds"].items()))
        say(out, *lines)


def failed(error: BaseException, args: argparse.Namespace, source: Path | None = None) -> dict[str, str | None]:
    """Print the error; its record for --json."""
    about = "" if source is None or len(args.inputs) == 1 else source
    return {"input": None if source is None else str(source), "message": complain(error, args.debug, about)}
