"""Segmentation from end to end: `python -m medtl.commands.demo --output DIR [--case PATH] [--model NAME|DIR]`.

Segments a synthetic head whose lesion is known, or a volume of your own, and shows the result.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..io import read
from ..io.isolated import IsolatedReader, Reader
from ..model.card import load_card
from ..model.store import find_model
from ..progress import Progress, Stopwatch, TerminalProgress, no_progress, rounded_seconds
from ..results import SegmentedFile
from .console import Parser, path_argument, print_lines, print_messages, print_warnings, run_command, volume_text
from .terms import add_accept_licence, tell_terms

if TYPE_CHECKING:
    from ..volume import Labelmap

ENOUGH = 0.70  # Dice of the phantom below which something is wrong with the installation or the model


@dataclass(frozen=True)
class DemoResult:
    """The figures of the segmentation, the files written, seconds by stage and all warnings; Dice and volume of the
    truth are None where it is not known."""

    result: SegmentedFile
    files: tuple[Path, ...]
    seconds: dict[str, float]
    warnings: tuple[str, ...]
    dice: float | None = None
    true_ml: float | None = None


def run(
    output: Path,
    case: Path | None = None,
    model: str = "glioma-flair",
    progress: Progress = no_progress,
    reader: Reader = read,
) -> DemoResult:
    """The result on a synthetic head, or on the user's `case`, whose truth is not known.

    Writes `*-demo.seg.nrrd`, `*-demo.nrrd` and `*-demo.png` into `output`, and replaces those of an earlier run.

    Raises: MedTLError as loading, reading, segmenting and writing do.
    """
    from ..evaluation.metrics import count
    from ..io.files import stem_of
    from ..io.write import write_labelmap
    from ..model.bundle import load_model
    from ..segmentation import OutputOptions, segment_file
    from .preview import write_preview

    make_folder(output, case)
    watch = Stopwatch(progress)
    watch("load", 0.0)
    loaded = load_model(model)
    truth = None
    if case is None:
        watch("phantom", 0.0)
        case, truth = write_phantom(output)
    watch.stop()
    files = tuple(output / f"{stem_of(case)}-demo{suffix}" for suffix in (".seg.nrrd", ".nrrd", ".png"))
    segmentation, labels, picture = files
    result = segment_file(case, loaded, OutputOptions(segmentation, force=True), progress=progress, reader=reader)
    watch("preview", 0.0)
    predicted = read.read_labelmap(segmentation)
    inexact = write_labelmap(labels, predicted)
    write_preview(picture, reader.read_volume(case), predicted, truth)
    watch.stop()
    seconds = rounded_seconds("demo", {**result.seconds, **watch.seconds})
    warnings = (*result.warnings, *predicted.warnings, *inexact)
    if truth is None:
        return DemoResult(result, files, seconds, warnings)
    counts = count(truth.array, predicted.array)
    true_ml = (counts.tp + counts.fn) * truth.geometry.voxel_ml
    return DemoResult(result, files, seconds, warnings, counts.overlaps["dice"], true_ml)


def make_folder(output: Path, case: Path | None) -> None:
    """Make the output folder, after checking that the case exists."""
    if case is not None and not case.exists():
        raise InputError(f"Expected a volume file or a DICOM folder, found nothing at {case}. Check the path.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Could not make the folder {output}: {error.strerror}. Choose another folder.") from error


def write_phantom(folder: Path) -> tuple[Path, "Labelmap"]:
    """The file of a synthetic head, and its truth."""
    from ..io.write import write_image
    from ..phantom import head

    made = head()
    path = folder / f"{made.volume.name}.nrrd"
    write_image(path, made.volume.array, made.volume.geometry)
    return path, made.labelmap


def describe(shown: DemoResult) -> list[str]:
    """The result in lines for people."""
    lines = [volume_text(segment) for segment in shown.result.segments]
    if shown.dice is not None:
        lines += [f"known truth: {shown.true_ml:.1f} mL", f"Dice against the known truth: {shown.dice:.3f}"]
    lines += [f"{stage}: {spent:.2f} s" for stage, spent in shown.seconds.items()]
    return lines + [f"written: {path}" for path in shown.files]


def main(argv: list[str] | None = None) -> int:
    """The exit status: 1 when something failed or the phantom's Dice is too low."""
    return run_command(lambda: command(argv), "--debug" in (sys.argv if argv is None else argv))


def command(argv: list[str] | None) -> int:
    """Run the demo and print its result; the exit status."""
    parser = Parser(prog="python -m medtl.commands.demo", description="Segment a synthetic head, or a volume.")
    parser.add_argument("--output", required=True, type=path_argument, metavar="DIR")
    parser.add_argument(
        "--case", type=path_argument, metavar="PATH", help="a volume of your own (default: a synthetic head)"
    )
    parser.add_argument("--model", default="glioma-flair", metavar="NAME|DIR")
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")
    add_accept_licence(parser)
    args = parser.parse_args(argv)
    progress = TerminalProgress()
    try:
        with IsolatedReader() as reader:
            folder = find_model(args.model)
            tell_terms(load_card(folder), folder, args)
            shown = run(args.output, args.case, args.model, progress, reader)
    finally:
        progress.close()
    print_warnings(shown.warnings)
    print_lines(sys.stdout, *describe(shown))
    if shown.dice is not None and shown.dice < ENOUGH:
        print_messages(f"medtl: the Dice {shown.dice:.3f} is below {ENOUGH:.2f}: run `medtl doctor`.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
