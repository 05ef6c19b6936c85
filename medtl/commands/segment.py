"""`medtl segment`: plan the output of each input, then segment the inputs one after another."""

import argparse
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..errors import FAILURES, STOPPABLE, Cancelled, InputError
from ..progress import Stopwatch, TerminalProgress, rounded_seconds
from ..results import FailedInput, SegmentedBatch, SegmentedFile
from ..typed_json import encode
from ..worklist.case import check_name
from .console import exit_status, print_json, print_lines, print_warnings, report_failure, volume_text
from .terms import tell_terms

if TYPE_CHECKING:
    from ..cases import ListedImages
    from ..model.card import ModelCard
    from ..segmentation import InferenceOptions, ReadOptions


@dataclass(frozen=True)
class Job:
    """The files of an input, one a channel of the model, and the labelmap that will be written."""

    sources: tuple[Path, ...]
    output: Path

    @property
    def source(self) -> str:
        """The input as the results name it."""
        return ",".join(map(str, self.sources))


@dataclass
class Run:
    """The results and errors so far; an interrupt does not lose them."""

    model: str
    sha256: str | None = None
    results: list[SegmentedFile] = field(default_factory=list)
    errors: list[FailedInput] = field(default_factory=list)

    def batch(self) -> SegmentedBatch:
        """The object for --json."""
        return SegmentedBatch(self.model, self.sha256, tuple(self.results), tuple(self.errors))


def segment(args: argparse.Namespace, out: TextIO) -> int:
    """Segment every input; one that fails does not stop the others."""
    check_usage(args)
    folder = output_folder(args)
    run = Run(args.model)
    try:
        jobs = plan_jobs(args, folder, run)
        check_names(jobs, args)
        with new_folder(folder):
            status = segment_all(usable_jobs(jobs, args, run), args, run, out)
    except STOPPABLE as error:
        run.errors.append(report_failure(error, args))
        status = exit_status(error)
    if args.json:
        print_json(out, encode(run.batch()))
    return status


# --- before any work ---


def is_list(given: Path) -> bool:
    """True for an input that lists cases."""
    return given.suffix.lower() == ".csv"


def has_several(args: argparse.Namespace) -> bool:
    """True where several results may come."""
    return len(args.inputs) > 1 or is_list(args.inputs[0])


def output_folder(args: argparse.Namespace) -> Path | None:
    """The folder, where --output means one. Wrong usage ends the command."""
    from ..io.files import OUTPUTS, suffix_of

    output = Path(args.output)
    if output.is_dir() or args.output.endswith(("/", os.sep)):
        folder = True
    else:
        folder = has_several(args)
        suffix = suffix_of(output)
        if folder and (suffix in OUTPUTS or output.exists()):
            args.parser.error(f"several inputs need a folder as --output, found the file {output}")
        if not folder and suffix not in OUTPUTS:
            args.parser.error(
                f"expected --output to end in {', '.join(OUTPUTS)}, found {output} (a new folder's name ends in '/')"
            )
        if not folder and args.format not in (None, suffix):
            args.parser.error(f"--format {args.format} contradicts --output {output}: leave one of them out")
    return output if folder else None


def plan_jobs(args: argparse.Namespace, folder: Path | None, run: Run) -> list[Job]:
    """Each input with its output file. Inputs that lack a channel are errors of the run.

    Raises: InputError for a list that cannot be used; ModelError where its columns, or an input with commas, need the
    card of a model that cannot be read.
    """
    from ..io.files import OUTPUTS, stem_of

    suffix = args.format or OUTPUTS[0]
    jobs = []
    for given in args.inputs:
        if is_list(given):
            assert folder is not None
            jobs += [Job(one.images, folder / f"{check_name(one.case, given)}{suffix}") for one in listed(given, args)]
            continue
        try:
            sources = sources_of(given, args)
        except InputError as error:
            run.errors.append(report_failure(error, args, given, has_several(args)))
            continue
        jobs.append(Job(sources, folder / f"{stem_of(sources[0])}{suffix}" if folder else Path(args.output)))
    return jobs


def sources_of(given: Path, args: argparse.Namespace) -> tuple[Path, ...]:
    """The files that an input names, see `medtl.channels.split_input`; without a comma or "=" it is one, whatever the
    model is."""
    if not {",", "="} & set(str(given)):
        return (given,)
    from ..channels import split_input

    return split_input(given, card_of(args.model))


def listed(given: Path, args: argparse.Namespace) -> "tuple[ListedImages, ...]":
    """The cases of a CSV file."""
    from ..cases import read_images

    return read_images(given, card_of(args.model).input.channels)


def card_of(model: str) -> "ModelCard":
    """The card of a model by its name or folder."""
    from ..model.card import load_card
    from ..model.store import find_model

    return load_card(find_model(model))


def check_usage(args: argparse.Namespace) -> None:
    """End the command where options contradict each other."""
    from ..io.files import OUTPUTS, suffix_of

    if args.format not in (None, *OUTPUTS):
        args.parser.error(f"expected one of {', '.join(OUTPUTS)} as --format, found {args.format}")
    for extra in (args.probabilities, args.uncertainty):
        if extra is not None and has_several(args):
            args.parser.error("--probabilities and --uncertainty go with one input: run the inputs one by one")
        if extra is not None and suffix_of(extra) not in (".nrrd", ".nii.gz"):
            args.parser.error(f"expected a file ending in .nrrd or .nii.gz, found {extra}")


def check_names(jobs: list[Job], args: argparse.Namespace) -> None:
    """Raise InputError when two results would be written to one file: the user must choose which is meant."""
    from ..io.write import check_different

    for output in {job.output for job in jobs}:
        sources = [job.source for job in jobs if job.output == output]
        if len(sources) > 1:
            raise InputError(
                f"{' and '.join(sources)} would both be written to {output}. Rename one or run them one by one."
            )
        check_different(outputs_of(output, args))


@contextlib.contextmanager
def new_folder(folder: Path | None) -> Iterator[None]:
    """Make the folder where it is missing; it is removed again when it stays empty."""
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


def usable_jobs(jobs: list[Job], args: argparse.Namespace, run: Run) -> list[Job]:
    """The jobs that can be started; the others are errors of the run."""
    from ..io.files import identities

    inputs: set[tuple[int, int]] = set()
    for job in jobs:
        with contextlib.suppress(*FAILURES):  # reading this input will give the reason
            inputs |= identities(job.sources)
    good = []
    for job in jobs:
        try:
            check_job(job, inputs, args)
        except FAILURES as error:
            run.errors.append(report_failure(error, args, job.source, has_several(args)))
        else:
            good.append(job)
    return good


def check_job(job: Job, inputs: set[tuple[int, int]], args: argparse.Namespace) -> None:
    """Raise InputError when the job cannot be started; `inputs` are the files that no output may replace."""
    from ..io.write import check_output

    for source in job.sources:
        if not source.exists():
            raise InputError(f"Expected a volume file or a DICOM folder, found nothing at {source}. Check the path.")
    for path in outputs_of(job.output, args):
        check_output(path, inputs, args.force)


def outputs_of(output: Path, args: argparse.Namespace) -> list[Path]:
    """All files of one job."""
    return [path for path in (output, args.probabilities, args.uncertainty) if path is not None]


# --- the work ---


def segment_all(jobs: list[Job], args: argparse.Namespace, run: Run, out: TextIO) -> int:
    """The exit status of segmenting the inputs; each result is printed as it comes."""
    if not jobs:  # before torch is imported, so that a mistyped path is answered at once
        return 1
    from ..io.isolated import IsolatedReader

    # Before torch is imported: the reader gets ready meanwhile.
    inputs = sum(len(job.sources) for job in jobs)
    with IsolatedReader(data_outside=args.data_outside, reads=inputs) as reader:
        from ..model.bundle import load_model
        from ..segmentation import OutputOptions, segment_file

        reading, inference = options_of(args)
        progress = TerminalProgress()
        loading = Stopwatch(progress)
        loading("load", 0.0)
        try:
            model = load_model(args.model, args.device)
        finally:
            progress.close()
        loading.stop()
        tell_terms(model.card, model.folder, args)
        run.model, run.sha256 = model.card.name, model.sha256
        for job in jobs:
            outputs = OutputOptions(job.output, args.probabilities, args.uncertainty, args.force)
            try:
                result = segment_file(job.sources, model, outputs, reading, inference, progress, reader)
            except STOPPABLE as error:
                progress.close()
                run.errors.append(report_failure(error, args, job.source, has_several(args)))
                if exit_status(error) == Cancelled.exit_code:
                    return Cancelled.exit_code
                continue
            progress.close()
            before = {} if run.results else loading.seconds  # the model is loaded once, for the first
            run.results.append(replace(result, seconds=rounded_seconds("segment", before | dict(result.seconds))))
            print_result(run.results[-1], args, out)
    return 1 if run.errors else 0


def options_of(args: argparse.Namespace) -> "tuple[ReadOptions, InferenceOptions]":
    """The options for reading and for inference."""
    from ..segmentation import InferenceOptions, ReadOptions

    reading = ReadOptions(args.frame, args.component, args.series)
    given = {"flip": args.flip, "mirror": not args.no_mirror, "cleanup": not args.no_cleanup}
    return reading, InferenceOptions(**given, threads=args.threads)


def print_result(result: SegmentedFile, args: argparse.Namespace, out: TextIO) -> None:
    """Print one result for people; its warnings go to standard error in any case."""
    print_warnings(result.warnings, result.input if has_several(args) else "")
    if not args.json:
        lines = [volume_text(figures) for figures in result.segments]
        lines += [] if any(figures.lesions for figures in result.segments) else ["nothing was found"]
        lines += [f"written: {path}" for path in outputs_of(Path(result.output), args)]
        lines.append("seconds: " + ", ".join(f"{stage} {spent:.2f}" for stage, spent in result.seconds.items()))
        print_lines(out, *lines)
