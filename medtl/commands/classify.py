"""`medtl classify`: classify inputs one after another, and write a report."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from ..classification.report import usual_probability, write_report
from ..errors import FAILURES, STOPPABLE, Cancelled, InputError
from ..io.into_place import already_exists
from ..progress import Stopwatch, TerminalProgress, rounded_seconds
from ..results import ClassifiedBatch, ClassifiedFile, FailedInput
from ..typed_json import encode
from .console import exit_status, print_json, print_lines, print_warnings, report_failure
from .terms import tell_terms


@dataclass
class Run:
    """The results and errors so far; an interrupt does not lose them."""

    model: str
    version: str | None = None
    sha256: str | None = None
    results: list[ClassifiedFile] = field(default_factory=list)
    errors: list[FailedInput] = field(default_factory=list)

    def batch(self) -> ClassifiedBatch:
        """The object for --json."""
        return ClassifiedBatch(self.model, self.version, self.sha256, tuple(self.results), tuple(self.errors))


def classify(args: argparse.Namespace, out: TextIO) -> int:
    """Classify every input; one that fails does not stop the others."""
    run = Run(args.model)
    if len(args.inputs) > 1 and (args.heatmap or args.segmentation):
        args.parser.error("--heatmap and --segmentation go with one input: run the inputs one by one")
    if args.report is not None and args.report.suffix.lower() not in (".json", ".csv"):
        args.parser.error(f"expected --report to end in .json or .csv, found {args.report}")
    try:
        inputs = expand_folders(args, run)
        if len(inputs) > 1 and (args.heatmap or args.segmentation):
            raise InputError("Expected one picture with --heatmap or --segmentation, found a folder of them.")
        if args.report is not None:
            check_report(args.report, args.force)
        status = classify_all(inputs, args, run, out)
        if args.report is not None:
            write_report(args.report, encode(run.batch()), args.force)
            if not args.json:
                print_lines(out, f"written: {args.report}")
    except STOPPABLE as error:
        run.errors.append(report_failure(error, args))
        status = exit_status(error)
    if args.json:
        print_json(out, encode(run.batch()))
    return status


def check_report(path: Path, force: bool) -> None:
    """Raise InputError, before any work, where the report could not be written."""
    if path.is_dir():
        raise InputError(f"Expected a file name for the report, found the folder {path}. Choose a file.")
    if path.exists() and not force:
        raise already_exists(path, "The report")
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist. Create it or choose another report.")


def expand_folders(args: argparse.Namespace, run: Run) -> list[Path]:
    """The inputs, each folder of pictures replaced by its pictures. An input that cannot be listed is an error of the
    run; the only input raises it."""
    inputs = []
    for path in args.inputs:
        try:
            inputs += pictures_of(path)
        except FAILURES as error:
            if len(args.inputs) == 1:
                raise
            run.errors.append(report_failure(error, args, path, several=True))
    return inputs


def pictures_of(path: Path) -> list[Path]:
    """The pictures of a folder that holds pictures and no DICOM, else the input itself.

    Raises: InputError when there is nothing, or a folder holds pictures beside volumes.
    """
    from ..io.dicom_file import is_dicom, visible_files
    from ..io.files import PICTURES, VOLUMES, suffix_of

    if not path.exists():
        raise InputError(f"Expected a volume, a picture or a folder, found nothing at {path}. Check the path.")
    if not path.is_dir() or any(is_dicom(file) for file in visible_files(path)):
        return [path]
    files = [file for file in visible_files(path) if file.parent == path]
    pictures = [file for file in files if suffix_of(file) in PICTURES]
    volumes = [file for file in files if suffix_of(file) in VOLUMES]
    if pictures and volumes:
        raise InputError(
            f"Expected pictures or a DICOM series in {path}, found pictures and volumes ({pictures[0].name}, "
            f"{volumes[0].name}). Give the files one by one."
        )
    return pictures or [path]


def classify_all(inputs: Sequence[Path], args: argparse.Namespace, run: Run, out: TextIO) -> int:
    """The exit status of classifying the inputs; each result is printed as it comes."""
    from ..io.isolated import IsolatedReader

    # Before torch is imported: the reader gets ready meanwhile.
    with IsolatedReader(data_outside=args.data_outside) as reader:
        from ..classification.classify import ClassifyOptions
        from ..classification.files import classify_file
        from ..model.bundle import load_model

        progress = TerminalProgress()
        loading = Stopwatch(progress)
        loading("load", 0.0)
        try:
            model = load_model(args.model, args.device, "classification")
        finally:
            progress.close()
        loading.stop()
        tell_terms(model.card, model.folder, args)
        run.model, run.version, run.sha256 = model.card.name, model.card.version, model.sha256
        names = ("segmentation", "segment", "heatmap", "frame", "component", "series", "device", "threads", "force")
        options = ClassifyOptions(**{name: getattr(args, name) for name in names})
        for source in inputs:
            try:
                result = classify_file(source, model, options, progress, reader)
            except STOPPABLE as error:
                progress.close()
                run.errors.append(report_failure(error, args, source, len(inputs) > 1))
                if exit_status(error) == Cancelled.exit_code:
                    return Cancelled.exit_code
                continue
            progress.close()
            before = {} if run.results else loading.seconds  # the model is loaded once, for the first
            run.results.append(replace(result, seconds=rounded_seconds("classify", before | dict(result.seconds))))
            print_result(result, args, len(inputs) > 1, out)
    return 1 if run.errors else 0


def print_result(result: ClassifiedFile, args: argparse.Namespace, several: bool, out: TextIO) -> None:
    """Print one result for people; warnings go to standard error in any case."""
    print_warnings(result.warnings, result.input if several else "")
    if args.json:
        return
    best = result.probabilities[result.class_id]
    verdict = "uncertain: review" if result.abstained else result.name
    share = usual_probability(result.prevalence, result.probabilities, result.class_id)
    usual = "" if share is None else f", usual: {share:.1%}"
    lines = [f"{result.input}: {verdict} ({result.name} {best:.1%}{usual}). Research use, not for diagnosis."]
    lines += [f"  {reason}" for reason in result.reasons]
    lines += [f"  {name} {p:.1%}" for name, p in result.probabilities.items()]
    if votes := votes_sentence(result):
        lines.append(f"  {votes}")
    lines += [f"  {f.label} {f.value:g}: {f.contribution:+.2f}" for f in result.features]
    if result.interval:
        low, high = result.interval
        lines.append(f"  95 % interval of {list(result.probabilities)[1]}: {low:.0%} to {high:.0%}")
    if result.heatmap:
        lines.append(f"written: {result.heatmap}")
    print_lines(out, *lines)


def votes_sentence(result: ClassifiedFile) -> str:
    """The votes of the slices in a sentence; empty for one slice and for a model that uses none."""
    count = len(result.slices)
    if count < 2:
        return ""
    name = result.class_id
    return f"{result.votes.get(name, 0)} of {count} slices say {name}. {result.rule}"
