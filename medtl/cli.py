"""The command `medtl`: the one place that prints and sets an exit status.

Standard output is the result, standard error is talk. Exit status: 0 done, 1 an error (one line), 2 usage,
130 cancelled. torch and the like are imported inside the subcommands, so that `medtl --help` answers at once.
"""

import argparse
import contextlib
import json
import math
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from . import __version__
from .errors import Cancelled, InputError, MedTLError
from .progress import Stopwatch, TerminalReport

FORMATS = (".seg.nrrd", ".nrrd", ".nii.gz")
FAILURES = (MedTLError, OSError, MemoryError, RuntimeError, ValueError, ImportError, KeyboardInterrupt)


def main(argv: list[str] | None = None) -> int:
    """The exit status of the command given by `argv` (default: the process's own arguments)."""
    try:
        args = build_parser().parse_args(argv)
        with result_stream() as out:
            try:
                return int(args.run(args, out))
            except FAILURES as error:
                record = complain(error, args)
                if getattr(args, "json", False):
                    emit(out, {"errors": [record]})
                return status_of(error)
    except SystemExit as stop:  # argparse has said why
        return int(stop.code or 0)
    except BrokenPipeError:  # the reader of standard output went away, as `| head` does
        return 1


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; `args.run(args, out)` does the work."""
    parser = argparse.ArgumentParser(prog="medtl", description="Segment tumours on this computer. For research use.")
    parser.add_argument("--version", action="version", version=f"medtl {__version__}")
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def verb(run: Any, name: str, text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        # SUPPRESS: without it the default here would undo a --debug given before the verb
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        sub.set_defaults(run=run, parser=sub)
        return sub

    add_segment(verb(segment, "segment", "Write a segmentation that lies exactly on the input volume."))
    sub = verb(evaluate, "evaluate", "Compare a model with reference labels.")
    sub.add_argument("--model", required=True, metavar="NAME|DIR")
    sub.add_argument(
        "--cases", required=True, type=Path, metavar="CSV|DIR", help="image,label[,patient,site] or nnU-Net"
    )
    sub.add_argument("--binary", action="store_true", help="every label value above 0 is the model's one label")
    add_compute(sub)
    add_json(sub)
    sub = verb(train, "train", "Train a model by a recipe.")
    sub.add_argument("recipe", metavar="RECIPE")
    sub.add_argument("--cases", required=True, type=Path, metavar="CSV|DIR")
    sub.add_argument("--output", required=True, type=Path, metavar="DIR")
    sub.add_argument("--fold", type=natural, metavar="K", help="leave this fold of the training patients out")
    sub.add_argument("--encoder-weights", metavar="NAME|FILE", help="start from these instead of the recipe's")
    sub.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the output folder")
    add_json(verb(models, "models", "List the models that can be used by name."))
    sub = verb(import_, "import", "Copy a bundle (folder or zip) into your model store.")
    sub.add_argument("path", type=Path, metavar="PATH")
    sub = verb(export, "export", "Write a segmentation in another format.")
    sub.add_argument("segmentation", type=Path, metavar="SEGMENTATION")
    sub.add_argument("--output", required=True, type=Path, metavar="FILE", help=f"ends in {' or '.join(FORMATS)}")
    add_force(sub)
    sub = verb(phantom, "phantom", "Write a synthetic head with a known lesion.")
    sub.add_argument("folder", type=Path, metavar="DIR")
    add_json(verb(doctor, "doctor", "Say what is installed, what will be used and what is broken."))
    return parser


def add_segment(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl segment`."""
    sub.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="volume file, picture or DICOM folder")
    sub.add_argument("--model", required=True, metavar="NAME|DIR")
    sub.add_argument("--output", required=True, metavar="FILE|DIR", help="several inputs need a folder")
    sub.add_argument("--format", choices=FORMATS, help="of the results in a folder (default .seg.nrrd)")
    sub.add_argument("--probabilities", type=Path, metavar="FILE", help="also write the foreground probabilities here")
    sub.add_argument("--uncertainty", type=Path, metavar="FILE", help="also write the uncertainty per voxel here")
    sub.add_argument("--frame", type=natural, metavar="N", help="which volume of a 4D file, from 0")
    sub.add_argument("--component", type=natural, metavar="N", help="which component of a colour file, from 0")
    sub.add_argument("--series", metavar="UID", help="which series of a DICOM folder")
    sub.add_argument("--flip", action="store_true", help="average over mirror images: slower, a little better")
    sub.add_argument("--no-cleanup", action="store_true", help="keep small separate parts")
    add_compute(sub)
    add_force(sub)
    add_json(sub)


def add_compute(sub: argparse.ArgumentParser) -> None:
    """Add --device and --threads."""
    sub.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    sub.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all cores)")


def add_force(sub: argparse.ArgumentParser) -> None:
    """Add --force."""
    sub.add_argument("--force", action="store_true", help="overwrite an existing output")


def add_json(sub: argparse.ArgumentParser) -> None:
    """Add --json."""
    sub.add_argument("--json", action="store_true", help="print one JSON object and nothing else on standard output")


def natural(text: str) -> int:
    """The whole number from 0 on that `text` states."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, found {text!r}")
    return int(text)


def positive(text: str) -> int:
    """The whole number from 1 on that `text` states."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text!r}")
    return int(text)


# --- segment ---


def segment(args: argparse.Namespace, out: TextIO) -> int:
    """Segment every input; one that fails does not stop the others."""
    jobs, folder = plan(args)
    answer: dict[str, Any] = {"model": args.model, "sha256": None, "results": [], "errors": []}
    refused = [(source, error) for source, output in jobs for error in refusals(source, output, jobs, args)]
    status = 1 if refused else 0
    for source, error in refused:
        answer["errors"].append(complain(error, args, source))
    if not refused:
        new_folder = folder is not None and not folder.exists()
        status = segment_all(jobs, folder, args, answer, out)
        if new_folder and folder is not None and folder.exists() and not answer["results"]:
            folder.rmdir()  # nothing came of it, so leave nothing behind
    if args.json:
        emit(out, answer)
    return status


def plan(args: argparse.Namespace) -> tuple[list[tuple[Path, Path]], Path | None]:
    """Each input with its output file, and the output folder where --output means one. Ends with usage otherwise."""
    from .volume import stem_of, suffix_of

    output = Path(args.output)
    for extra in (args.probabilities, args.uncertainty):
        if extra is not None and len(args.inputs) > 1:
            args.parser.error("--probabilities and --uncertainty go with one input: run the inputs one by one")
        if extra is not None and suffix_of(extra) not in (".nrrd", ".nii.gz"):
            args.parser.error(f"expected a file ending in .nrrd or .nii.gz, found {extra}")
    if output.is_dir() or args.output.endswith(("/", os.sep)):
        folder = True
    else:
        folder = len(args.inputs) > 1
        suffix = suffix_of(output)
        if folder and (suffix in FORMATS or output.exists()):
            args.parser.error(f"several inputs need a folder as --output, found the file {output}")
        if not folder and suffix not in FORMATS:
            args.parser.error(
                f"expected --output to end in {', '.join(FORMATS)}, found {output} (a new folder's name ends in '/')"
            )
        if not folder and args.format not in (None, suffix):
            args.parser.error(f"--format {args.format} contradicts --output {output}: leave one of them out")
    if not folder:
        return [(args.inputs[0], output)], None
    suffix = args.format or FORMATS[0]
    names = [path.resolve().name if path.is_dir() else stem_of(path) for path in args.inputs]
    return [(path, output / f"{name}{suffix}") for path, name in zip(args.inputs, names, strict=True)], output


def refusals(
    source: Path, output: Path, jobs: list[tuple[Path, Path]], args: argparse.Namespace
) -> Iterator[InputError]:
    """Why the outputs of one job cannot be written, found before any work."""
    inputs = {path.resolve() for path, _ in jobs}
    targets = [path for path in (output, args.probabilities, args.uncertainty) if path is not None]
    twins = [str(path) for path, other in jobs if other == output]
    if len(twins) > 1:
        yield InputError(f"{' and '.join(twins)} would both be written to {output}. Rename one or run them one by one.")
    if len({path.resolve() for path in targets}) < len(targets):
        yield InputError(f"Two outputs have the same name, {output}. Give each a file of its own.")
    new_folder = None if Path(args.output) == output else output.parent
    for path in targets:
        if path.resolve() in inputs:
            yield InputError(f"The output {path} is an input. Choose another output.")
        else:
            yield from refusal(path, args.force, new_folder)


def refusal(path: Path, force: bool, new_folder: Path | None = None) -> Iterator[InputError]:
    """Why the file `path` cannot be written; `new_folder` may be missing, its parent not."""
    folder = path.parent
    if folder == new_folder and not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        yield InputError(f"The folder {folder} does not exist. Create it or choose another output.")
    elif not os.access(folder, os.W_OK):
        yield InputError(f"The folder {folder} is read-only. Choose a folder that you may write to.")
    elif path.is_dir():
        yield InputError(f"Expected a file as output, {path} is a folder. Choose another output.")
    elif path.exists() and not force:
        yield InputError(f"The output {path} exists already. Choose another output, or --force to overwrite it.")


def segment_all(
    jobs: list[tuple[Path, Path]], folder: Path | None, args: argparse.Namespace, answer: dict[str, Any], out: TextIO
) -> int:
    """Fill `answer`, print each result as it comes; the exit status."""
    present = [job for job in jobs if job[0].exists()]
    for source, _ in jobs:
        if not source.exists():
            missing = InputError(
                f"Expected a volume file or a DICOM folder, found nothing at {source}. Check the path."
            )
            answer["errors"].append(complain(missing, args, source))
    if not present:  # before torch is imported, so that a mistyped path is answered at once
        return 1
    from .bundle import load_model
    from .segment import SegmentOptions, segment_file

    report = TerminalReport()
    loading = Stopwatch(report)
    try:
        loading("load", 0.0)
        model = load_model(args.model, args.device)
    except FAILURES as error:
        report.close()
        answer["errors"].append(complain(error, args))
        return status_of(error)
    loading.stop()
    report.close()
    answer.update(model=model.card.name, sha256=model.sha256)
    threads = {} if args.threads is None else {"threads": args.threads}
    options = SegmentOptions(
        frame=args.frame,
        component=args.component,
        series=args.series,
        flip=args.flip,
        cleanup=not args.no_cleanup,
        device=args.device,
        probabilities=args.probabilities,
        uncertainty=args.uncertainty,
        force=args.force,
        **threads,
    )
    for source, output in present:
        try:
            if folder is not None:
                folder.mkdir(exist_ok=True)
            result = segment_file(source, model, output, options, report)
        except FAILURES as error:
            report.close()
            answer["errors"].append(complain(error, args, source))
            if status_of(error) == Cancelled.exit_code:
                return Cancelled.exit_code
            continue
        report.close()
        if not answer["results"]:  # the model is loaded once, for the first
            result["seconds"] = loading.seconds | result["seconds"]
        answer["results"].append(result)
        show_result(result, args, out)
    return 1 if answer["errors"] else 0


def show_result(result: dict[str, Any], args: argparse.Namespace, out: TextIO) -> None:
    """Print one result for people; its warnings go to standard error in any case."""
    about = f" {result['input']}:" if len(args.inputs) > 1 else ""
    for warning in result["warnings"]:
        print(f"medtl: warning:{about} {warning}", file=sys.stderr)
    if not args.json:
        print("\n".join(result_lines(result, [args.probabilities, args.uncertainty])), file=out, flush=True)


def result_lines(result: dict[str, Any], extras: list[Path | None]) -> list[str]:
    """A result in words: mL per segment, what was written, seconds per stage."""
    lines = []
    for item in result["segments"]:
        ml = item["volume_ml"]
        lines.append(f"{item['name']}: " + ("volume unknown, no real spacing" if ml is None else f"{ml:.1f} mL"))
    lines += [f"written: {path}" for path in (result["output"], *extras) if path is not None]
    lines.append("seconds: " + ", ".join(f"{stage} {spent:.2f}" for stage, spent in result["seconds"].items()))
    return lines


# --- the other verbs ---


def evaluate(args: argparse.Namespace, out: TextIO) -> int:
    """Print a model's figures on labelled cases."""
    answer: dict[str, Any] = {"model": args.model, "n": 0, "cases": []}
    report = TerminalReport()
    try:
        if not args.cases.exists():
            raise InputError(
                f"Expected a CSV file or a folder of cases, found nothing at {args.cases}. Check the path."
            )
        from .bundle import load_model
        from .segment import SegmentOptions
        from .training.evaluate import evaluate as measure

        report("load", 0.0)
        model = load_model(args.model, args.device)
        threads = {} if args.threads is None else {"threads": args.threads}
        options = SegmentOptions(device=args.device, **threads)
        answer = measure(model, args.cases, options, report, binary=args.binary)
        status = 1 if answer.get("errors") else 0
    except FAILURES as error:
        status = status_of(error)
        report.close()
        answer["errors"] = [complain(error, args)]
    report.close()
    if args.json:
        emit(out, answer)
    elif answer["cases"]:
        print("\n".join(figure_lines(answer)), file=out)
    return status


def figure_lines(answer: dict[str, Any]) -> list[str]:
    """The figures of an evaluation as a table: name, mean, 95 % CI."""
    rows = {name: value for name, value in answer.items() if isinstance(value, dict) and "mean" in value}
    rows |= {f"pooled {name}": value for name, value in answer.get("pooled", {}).items()}
    rows |= {f"dice {label}": value for label, value in answer.get("labels", {}).items()}
    width = max([len(name) for name in rows] + [5])
    lines = [f"{answer['model']}: n = {answer['n']}", f"{'':<{width}}  {'mean':>8}  95 % CI"]
    for name, value in rows.items():
        low, high = value.get("ci95") or (None, None)
        lines.append(f"{name:<{width}}  {number(value['mean']):>8}  [{number(low)}, {number(high)}]")
    return lines


def number(value: float | None) -> str:
    """Three decimals, or a dash where there is nothing to state."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def train(args: argparse.Namespace, out: TextIO) -> int:
    """Train by a recipe and print the folder that holds the bundle."""
    from .training.train import train as fit

    report = TerminalReport()
    try:
        folder = fit(
            args.recipe,
            args.cases,
            args.output,
            fold=args.fold,
            resume=args.resume,
            encoder_weights=args.encoder_weights,
            report=report,
        )
    finally:
        report.close()
    print(folder, file=out)
    return 0


def models(args: argparse.Namespace, out: TextIO) -> int:
    """List the models, damaged ones with what is wrong."""
    from .bundle import list_models

    found = list_models()
    if args.json:
        records = [
            {
                "name": item.name,
                "version": item.card.version if item.card else None,
                "task": item.card.task if item.card else None,
                "source": item.source,
                "folder": str(item.folder),
                "problem": item.problem or None,
            }
            for item in found
        ]
        emit(out, {"models": records})
        return 0
    for item in found:
        about = f"{item.card.version}  {item.card.task}" if item.card else "-"
        print(f"{item.name}  {about}  {item.source}" + (f"  {item.problem}" if item.problem else ""), file=out)
    if not found:
        print("medtl: no models yet: `medtl import PATH` adds a bundle", file=sys.stderr)
    return 0


def import_(args: argparse.Namespace, out: TextIO) -> int:
    """Take a bundle into the user's store and print where it went."""
    from .bundle import import_bundle

    print(import_bundle(args.path), file=out)
    return 0


def export(args: argparse.Namespace, out: TextIO) -> int:
    """Write a segmentation in another format."""
    from .volume import read_labelmap, suffix_of, write_labelmap

    if suffix_of(args.output) not in FORMATS:
        args.parser.error(f"expected --output to end in {', '.join(FORMATS)}, found {args.output}")
    if args.output.resolve() == args.segmentation.resolve():
        raise InputError(f"The output {args.output} is the input. Choose another output.")
    for error in refusal(args.output, args.force):
        raise error
    write_labelmap(args.output, read_labelmap(args.segmentation))
    print(args.output, file=out)
    return 0


def phantom(args: argparse.Namespace, out: TextIO) -> int:
    """Write the phantom, its truth and the case list, and print the path of the list."""
    from .phantom import write

    print(write(args.folder), file=out)
    return 0


def doctor(args: argparse.Namespace, out: TextIO) -> int:
    """Print the state of the installation; 1 when something is broken."""
    from .doctor import describe, examine

    state = examine()
    if args.json:
        emit(out, state)
    else:
        print("\n".join(describe(state)), file=out)
    return 1 if state["problems"] else 0


# --- streams ---


@contextlib.contextmanager
def result_stream() -> Iterator[TextIO]:
    """The stream for results. Whatever libraries print to standard output meanwhile goes to standard error."""
    stdout = sys.stdout
    try:
        real = stdout.fileno() == 1
    except (OSError, ValueError, AttributeError):  # replaced by a buffer, as tests do
        real = False
    with contextlib.redirect_stdout(sys.stderr):
        if not real:
            yield stdout
            return
        stdout.flush()
        saved = os.dup(1)
        os.dup2(2, 1)
        try:
            # paths and names that the terminal cannot show must not end in an error
            with os.fdopen(os.dup(saved), "w", encoding=stdout.encoding, errors="backslashreplace") as out:
                yield out
        finally:
            os.dup2(saved, 1)
            os.close(saved)


def complain(error: BaseException, args: argparse.Namespace, source: Path | None = None) -> dict[str, str | None]:
    """Print the error in one line (the traceback before it with --debug); its record for --json."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt | Cancelled):
        text = text or "Cancelled."
    elif not isinstance(error, MedTLError):
        text = f"{type(error).__name__}: {text} (--debug shows where)"
    if args.debug:
        traceback.print_exception(error, file=sys.stderr)
    several = source is not None and len(args.inputs) > 1 and str(source) not in text
    about = f"{source}: " if several else ""
    print(f"medtl: {about}{text}", file=sys.stderr)
    return {"input": None if source is None else str(source), "message": text}


def status_of(error: BaseException) -> int:
    """The exit status that an error stands for."""
    if isinstance(error, KeyboardInterrupt):
        return Cancelled.exit_code
    return error.exit_code if isinstance(error, MedTLError) else 1


def emit(out: TextIO, record: dict[str, Any]) -> None:
    """Print the record as one line of JSON; NaN and infinity, which JSON lacks, as null."""
    print(json.dumps(plain(record), allow_nan=False, default=str), file=out, flush=True)


def plain(value: Any) -> Any:
    """`value` without NaN and infinity."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
