"""The command `medtl`: its verbs and their options.

Results go to standard output, warnings and errors to standard error. torch is imported inside the verbs, so that
`medtl --help` answers at once.
"""

import argparse
import math
import re
import sys
from typing import Any, TextIO

from .. import __version__
from ..errors import STOPPABLE
from ..memory import keep_freed_memory
from ..planes import PLANES
from ..progress import TerminalProgress
from ..worklist.case import PLACES, STATES
from .console import (
    Parser,
    exit_status,
    non_empty,
    path_argument,
    print_error,
    print_json,
    print_lines,
    print_messages,
    print_warnings,
    result_stream,
    run_command,
)
from .evaluate import evaluate
from .finetune import AddCase, SetSlices
from .models import delete_model, export_model, import_, models
from .terms import add_accept_licence


def main(argv: list[str] | None = None) -> int:
    """The exit status of the command given by `argv` (default: the process's own arguments)."""
    keep_freed_memory()
    return run_command(lambda: command(argv), "--debug" in (sys.argv if argv is None else argv))


def command(argv: list[str] | None) -> int:
    """The exit status of the verb. Its error is printed, with --json also as an object."""
    args = build_parser().parse_args(argv)
    with result_stream() as out:
        try:
            return int(args.run(args, out))
        except STOPPABLE as error:
            record = {"input": None, "message": print_error(error, args)}
            if getattr(args, "json", False):
                print_json(out, {"errors": [record]})
            return exit_status(error)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; `args.run(args, out)` does the work."""
    parser = Parser(prog="medtl", description="Segment tumours on this computer. For research use.")
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
    add_finetune(verb(finetune, "finetune", "Tune a model on slices that you marked as right."))
    add_suggest(verb(suggest, "suggest", "Propose the slices to correct next."))
    add_classify(verb(classify, "classify", "Classify the tumour in an image, or abstain."))
    add_evaluate(verb(evaluate, "evaluate", "Compare a model with reference labels."))
    add_measure(verb(measure, "measure", "Measure the lesions of a segmentation: mL, diameters, surface."))
    add_trend(verb(trend, "trend", "Compare one patient's segmentations of several dates: mL, lesions, change."))
    add_cases(verb(cases, "cases", "Make or show the list of cases to work through, with states and ratings."))
    add_agree(verb(agree, "agree", "Compare the results of two readers."))
    add_report(verb(report, "report", "Write the report of a segmentation: one HTML file with pictures."))
    add_train(verb(train, "train", "Train a model by a recipe."))
    add_json(verb(models, "models", "List the models that can be used by name."))
    text = (
        "Copy a bundle (folder or zip) into your model store, or convert a results folder of nnU-Net 2 or a bundle of "
    )
    text += "MONAI's Model Zoo into one."
    add_import(verb(import_, "import", text))
    sub = verb(export_model, "export-model", "Write a model as a zip, to be imported elsewhere.")
    sub.add_argument("model", metavar="NAME|DIR")
    sub.add_argument("--output", required=True, type=path_argument, metavar="FILE.zip")
    add_force(sub)
    sub = verb(delete_model, "delete-model", "Delete a model of your model store.")
    sub.add_argument("model", metavar="NAME")
    sub = verb(export, "export", "Write a segmentation in another format.")
    sub.add_argument("segmentation", type=path_argument, metavar="SEGMENTATION")
    sub.add_argument("--output", required=True, type=path_argument, metavar="FILE", help="its suffix is the format")
    add_reading(sub)
    add_force(sub)
    sub = verb(phantom, "phantom", "Write a synthetic head with a known lesion.")
    sub.add_argument("folder", type=path_argument, metavar="DIR")
    add_pack(verb(pack, "pack", "Collect what a computer without network needs to install MedTL's packages."))
    add_doctor(verb(doctor, "doctor", "Show what is installed, what is used and what is broken."))
    return parser


def add_import(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl import`."""
    text = (
        "a bundle of MedTL or MONAI; or nnU-Net's TRAINER__PLANS__CONFIGURATION, the dataset's folder above it, or a "
    )
    text += "zip of any of these"
    sub.add_argument("path", type=path_argument, metavar="PATH", help=text)
    sub.add_argument("--name", metavar="NAME", help="of the model in your store")
    text = "names of the channels of a model of MONAI or nnU-Net in place of its own"
    sub.add_argument("--channels", type=comma_separated, metavar="FLAIR,T2", help=text)
    group = sub.add_argument_group("models of nnU-Net 2")
    group.add_argument("--configuration", metavar="NAME", help="which one, such as 3d_fullres, where there are several")
    text = "their numbers (default: every one there is), or all for nnU-Net's fold_all"
    group.add_argument("--folds", type=comma_separated, metavar="0,1,…|all", help=text)
    text = "how volumes lie: as their file stores them, which nnU-Net does, or turned so that the x index grows to the "
    text += "right, y to anterior and z to superior (RAS as nibabel has it); default: as nnU-Net's reader did"
    group.add_argument("--orientation", choices=("stored", "ras"), help=text)
    add_json(sub)


def add_segment(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl segment`."""
    text = "volume file, picture or DICOM folder; for a model of several channels one each, as T1C.nrrd,FLAIR.nrrd or "
    text += "FLAIR=a.nrrd,T1C=b.nrrd; or a CSV file with the columns image,image_2,… (or the channels' names) and "
    text += "optionally case"
    sub.add_argument("inputs", nargs="+", type=path_argument, metavar="INPUT", help=text)
    sub.add_argument("--model", required=True, metavar="NAME|DIR")
    text = "several inputs and a CSV file need a folder"
    sub.add_argument("--output", required=True, type=non_empty, metavar="FILE|DIR", help=text)
    sub.add_argument("--format", metavar="SUFFIX", help="of results in a folder: .seg.nrrd (default), .nrrd or .nii.gz")
    sub.add_argument(
        "--probabilities", type=path_argument, metavar="FILE", help="also write the foreground probabilities here"
    )
    sub.add_argument(
        "--uncertainty", type=path_argument, metavar="FILE", help="also write the uncertainty per voxel here"
    )
    sub.add_argument("--frame", type=non_negative_int, metavar="N", help="which volume of a 4D file, from 0")
    sub.add_argument("--component", type=non_negative_int, metavar="N", help="which component of a colour file, from 0")
    sub.add_argument("--series", metavar="UID", help="which series of a DICOM folder")
    text = "models of slices, as glioma-flair: average with the mirrored image: slower, a little better"
    sub.add_argument("--flip", action="store_true", help=text)
    text = (
        "models of windows, as sarcoma-mr: do not average mirrored windows: up to 8 times quicker, a little less exact"
    )
    sub.add_argument("--no-mirror", action="store_true", help=text)
    sub.add_argument("--no-cleanup", action="store_true", help="keep small separate parts")
    add_reading(sub)
    add_compute(sub)
    add_force(sub)
    add_json(sub)


def add_finetune(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl finetune`."""
    sub.add_argument("--model", required=True, metavar="NAME|DIR")
    sub.add_argument(
        "--case",
        nargs=2,
        type=path_argument,
        action=AddCase,
        dest="cases",
        default=[],
        metavar=("IMAGE", "LABEL"),
        help="an image (of several channels as for segment) and its labels; may be given several times",
    )
    text = "slices of the --case before it that are right as a whole: 0-based array indices along the axis nearest the "
    text += "model's plane normal; auto (default) is every slice that has a label"
    sub.add_argument("--slices", action=SetSlices, metavar="12,20,31|auto", help=text)
    sub.add_argument(
        "--seeds", type=path_argument, metavar="FILE", help="a list of SEED slices (.json), as Slicer saves it"
    )
    text = "learn these labels (ids; values 1, 2, …) from the SEEDs alone, starting from the encoder of --model"
    sub.add_argument("--new-structure", type=comma_separated, metavar="ID[,ID…]", help=text)
    sub.add_argument("--plane", metavar="PLANE", help="of a new structure: axial, coronal or sagittal")
    text = "of a new structure on CT: the window in HU, as -160 240"
    sub.add_argument("--window", type=float, nargs=2, metavar=("LOW", "HIGH"), help=text)
    text = (
        "accepted cases that the model must not get worse at: a CSV file, or a case list, of which the reviewed cases"
    )
    sub.add_argument("--guard", type=path_argument, metavar="CSV|DIR", help=text)
    sub.add_argument("--budget", type=float, default=60.0, metavar="S", help="seconds (default: 60)")
    sub.add_argument("--strength", type=float, default=1.0, metavar="X", help="how far to go, up to 2 (default: 1)")
    sub.add_argument("--output", required=True, type=non_empty, metavar="NAME|DIR", help="a name in your model store")
    sub.add_argument("--result", type=path_argument, metavar="FILE", help="this case's labelmap, SEEDs as drawn")
    add_reading(sub)
    add_compute(sub)
    add_force(sub)
    add_json(sub)


def add_suggest(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl suggest`."""
    text = "volume file, picture or DICOM folder; for a model of several channels as for segment"
    sub.add_argument("image", type=path_argument, metavar="IMAGE", help=text)
    sub.add_argument("--model", required=True, metavar="NAME|DIR")
    sub.add_argument("-n", dest="count", type=positive_int, default=5, metavar="N", help="how many slices (default: 5)")
    add_reading(sub)
    add_compute(sub)
    add_json(sub)


def add_classify(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl classify`."""
    text = "volume file, DICOM folder, picture or folder of pictures"
    sub.add_argument("inputs", nargs="+", type=path_argument, metavar="INPUT", help=text)
    sub.add_argument("--model", required=True, metavar="NAME|DIR")
    sub.add_argument("--segmentation", type=path_argument, metavar="FILE", help="a labelmap of the tumour")
    sub.add_argument("--segment", metavar="ID|VALUE", help="which segment of it (default: the only one)")
    sub.add_argument("--heatmap", type=path_argument, metavar="FILE.nrrd", help="also write a heat map")
    sub.add_argument("--report", type=path_argument, metavar="FILE", help="also write a report, .json or .csv")
    sub.add_argument("--frame", type=non_negative_int, metavar="N", help="which volume of a 4D file, from 0")
    sub.add_argument("--component", type=non_negative_int, metavar="N", help="which component of a colour file, from 0")
    sub.add_argument("--series", metavar="UID", help="which series of a DICOM folder")
    add_reading(sub)
    add_compute(sub)
    add_force(sub)
    add_json(sub)


def add_evaluate(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl evaluate`."""
    sub.add_argument("--model", required=True, metavar="NAME|DIR")
    sub.add_argument(
        "--cases",
        required=True,
        type=path_argument,
        metavar="CSV|DIR",
        help="image[,image_2],label[,case,patient,site], nnU-Net, or a case list: its reviewed cases",
    )
    sub.add_argument("--binary", action="store_true", help="every label value above 0 is the model's one label")
    sub.add_argument("--partial", action="store_true", help="labels that a case lacks were not drawn, and do not count")
    add_reading(sub)
    add_compute(sub)
    add_json(sub)


def add_measure(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl measure`."""
    sub.add_argument("segmentation", type=path_argument, metavar="SEGMENTATION")
    text = "the image that was segmented, for a segmentation that states no spacing"
    sub.add_argument("--image", type=path_argument, metavar="FILE", help=text)
    text = "slices that diameters are measured in (default: those that the image was taken in, see the manual)"
    sub.add_argument("--plane", choices=PLANES, help=text)
    text = "count smaller parts without listing them (default: those under 0.01 mL or 3 voxels)"
    sub.add_argument("--min-ml", type=non_negative_float, metavar="ML", help=text)
    sub.add_argument("--csv", type=path_argument, metavar="FILE.csv", help="also write the figures as a table")
    add_reading(sub)
    add_force(sub)
    add_json(sub)


def add_trend(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl trend`."""
    text = (
        "[DATE=]SEGMENTATION[,IMAGE]: 2026-01-31=tumour.seg.nrrd,flair.nrrd; no date where the image is a DICOM folder"
    )
    sub.add_argument("studies", nargs="+", type=non_empty, metavar="STUDY", help=text)
    text = "lay the images on each other by a rigid movement and match the lesions; refused where they do not fit"
    sub.add_argument("--register", action="store_true", help=text)
    text = "with --register, also draw the images in squares in turn, a row a date"
    sub.add_argument("--checkerboard", type=path_argument, metavar="FILE.png", help=text)
    sub.add_argument("--csv", type=path_argument, metavar="FILE.csv", help="also write the table")
    add_reading(sub)
    add_force(sub)
    add_json(sub)


def add_cases(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl cases`."""
    text = "folder of images, CSV file with the columns image,image_2,… and optionally case, or folder with a case list"
    sub.add_argument("path", type=path_argument, metavar="DIR|CSV", help=text)
    text = "where results go: beside each image (default), in one folder, or as derivatives of a BIDS data set"
    sub.add_argument("--results", choices=PLACES, help=text)
    text = (
        "folder of the list, and of the results in one folder (default: that of the images; of bids derivatives/medtl)"
    )
    sub.add_argument("--output", type=path_argument, metavar="DIR", help=text)
    text = "the columns of a CSV file that hold the images, where they are named after the channels"
    sub.add_argument("--channels", type=comma_separated, metavar="FLAIR,T2", help=text)
    sub.add_argument("--update", action="store_true", help="add the images that came since")
    sub.add_argument("--csv", type=path_argument, metavar="FILE", help="write the list as a CSV file")
    text = "take state, rating and note of the cases that this CSV file names"
    sub.add_argument("--import", dest="import_file", type=path_argument, metavar="FILE", help=text)
    sub.add_argument("--filter", metavar="TEXT", help="show the cases with these words in their name or note")
    sub.add_argument("--state", choices=STATES, help="show the cases in this state")
    text = "change a list that another process has open: only where you know that it has ended"
    sub.add_argument("--take-over", action="store_true", help=text)
    add_force(sub)
    add_json(sub)


def add_agree(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl agree`."""
    text = "folder with a case list or with labelmaps, or the list itself"
    sub.add_argument("first", type=path_argument, metavar="DIR", help=text)
    sub.add_argument("second", type=path_argument, metavar="DIR", help="the other reader's")
    sub.add_argument("--csv", type=path_argument, metavar="FILE", help="write a row for each label of each case")
    sub.add_argument("--plot", type=path_argument, metavar="FILE.svg", help="write the plot of Bland and Altman")
    add_reading(sub)
    add_force(sub)
    add_json(sub)


def add_report(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl report`."""
    add_studies(sub)
    sub.add_argument("--output", required=True, type=path_argument, metavar="FILE.html")
    text = "the class of the newest study, as medtl classify --report FILE.json wrote it"
    sub.add_argument("--classification", type=path_argument, metavar="FILE.json", help=text)
    text = "the uncertainty of the newest segmentation, as medtl segment --uncertainty wrote it"
    sub.add_argument("--uncertainty", type=path_argument, metavar="FILE", help=text)
    add_reading(sub)
    add_force(sub)
    add_json(sub)


def add_studies(sub: argparse.ArgumentParser) -> None:
    """Add the studies of one patient and --register."""
    text = (
        "[DATE=]SEGMENTATION[,IMAGE]: 2026-01-31=tumour.seg.nrrd,flair.nrrd; no date where the image is a DICOM folder"
    )
    sub.add_argument("studies", nargs="+", type=non_empty, metavar="STUDY", help=text)
    text = "lay the images on each other by a rigid movement and match the lesions; refused where they do not fit"
    sub.add_argument("--register", action="store_true", help=text)


def add_train(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl train`."""
    sub.add_argument("recipe", metavar="RECIPE")
    sub.add_argument("--cases", required=True, type=path_argument, metavar="CSV|DIR")
    sub.add_argument("--output", required=True, type=path_argument, metavar="DIR")
    sub.add_argument("--fold", type=non_negative_int, metavar="K", help="hold out this fold of the patients")
    sub.add_argument("--encoder-weights", metavar="NAME|FILE", help="start from these instead of the recipe's")
    sub.add_argument("--resume", action="store_true", help="continue from the last checkpoint in the output folder")
    add_reading(sub)


def add_doctor(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl doctor`."""
    text = "before that, remove packages that are installed by halves, and install them again"
    sub.add_argument("--repair", action="store_true", help=text)
    sub.add_argument("--yes", action="store_true", help="repair without asking")
    text = "instead, make a Python environment with all packages in this new folder, to be the engine in Slicer"
    sub.add_argument("--environment", type=path_argument, metavar="DIR", help=text)
    sub.add_argument("--torch-index", default="", metavar="URL", help="where PyTorch of the environment comes from")
    text = "instead, list what MedTL keeps on this computer, with sizes: packages it installed, models, accepted terms"
    sub.add_argument("--sizes", action="store_true", help=text)
    add_json(sub)


def add_pack(sub: argparse.ArgumentParser) -> None:
    """Add the options of `medtl pack`."""
    from ..pack import PLATFORMS, this_platform

    sub.epilog = "pip fetches the packages: its settings (index, proxy) hold, such as PIP_EXTRA_INDEX_URL for another "
    sub.epilog += "build of PyTorch. In 3D Slicer: MedTL Segment, Install from folder or zip."
    sub.add_argument("--output", required=True, type=path_argument, metavar="FILE.zip")
    here = this_platform()
    text = f"of that computer, {', '.join(PLATFORMS)}" + (f" (default: this one's, {here})" if here else "")
    sub.add_argument("--platform", choices=tuple(PLATFORMS), default=here, required=here is None, help=text)
    text = "version of that computer's Python (default: 3.12, that of 3D Slicer 5.12)"
    sub.add_argument("--python", type=python_version, default="3.12", metavar="3.12", help=text)
    sub.add_argument("--no-torch", action="store_true", help="leave PyTorch out, which is installed there already")
    add_force(sub)


def add_reading(sub: argparse.ArgumentParser) -> None:
    """Add --data-outside, which every command that reads images has."""
    text = "read detached data files that lie outside the folder of their header"
    sub.add_argument("--data-outside", action="store_true", help=text)


def add_compute(sub: argparse.ArgumentParser) -> None:
    """Add what every command that runs a model has: --device, --threads and --accept-licence."""
    sub.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    sub.add_argument("--threads", type=positive_int, metavar="N", help="CPU threads (default: all cores)")
    add_accept_licence(sub)


def add_force(sub: argparse.ArgumentParser) -> None:
    """Add --force."""
    sub.add_argument("--force", action="store_true", help="overwrite an existing output")


def add_json(sub: argparse.ArgumentParser) -> None:
    """Add --json."""
    sub.add_argument("--json", action="store_true", help="print one JSON object and nothing else on standard output")


def non_negative_int(text: str) -> int:
    """The whole number, 0 or more, that the text states."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, found {text!r}")
    return int(text)


def positive_int(text: str) -> int:
    """The whole number, 1 or more, that the text states."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text!r}")
    return int(text)


def non_negative_float(text: str) -> float:
    """The number, 0 or more and finite, that the text states."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number from 0 on, found {text!r}")
    return number


def python_version(text: str) -> str:
    """The version of Python that the text states, as 3.12."""
    if re.fullmatch(r"3\.\d{1,2}", text) is None:
        raise argparse.ArgumentTypeError(f"expected a version of Python such as 3.12, found {text!r}")
    return text


def comma_separated(text: str) -> tuple[str, ...]:
    """The parts of a list with commas."""
    return tuple(part.strip() for part in text.split(","))


# --- the verbs ---


def segment(args: argparse.Namespace, out: TextIO) -> int:
    """Segment every input."""
    from .segment import segment as segment_inputs

    return segment_inputs(args, out)


def finetune(args: argparse.Namespace, out: TextIO) -> int:
    """Tune a model on SEED slices."""
    from .finetune import finetune as tune

    return tune(args, out)


def suggest(args: argparse.Namespace, out: TextIO) -> int:
    """Propose slices."""
    from .finetune import suggest as propose

    return propose(args, out)


def classify(args: argparse.Namespace, out: TextIO) -> int:
    """Classify every input."""
    from .classify import classify as classify_inputs

    return classify_inputs(args, out)


def measure(args: argparse.Namespace, out: TextIO) -> int:
    """Measure the lesions of a segmentation."""
    from .measure import measure as measure_file

    return measure_file(args, out)


def trend(args: argparse.Namespace, out: TextIO) -> int:
    """Compare the segmentations of several dates."""
    from .trend import trend as compare

    return compare(args, out)


def cases(args: argparse.Namespace, out: TextIO) -> int:
    """Make or show a case list."""
    from .cases import cases as show_cases

    return show_cases(args, out)


def agree(args: argparse.Namespace, out: TextIO) -> int:
    """Compare two readers."""
    from .agree import agree as compare_readers

    return compare_readers(args, out)


def report(args: argparse.Namespace, out: TextIO) -> int:
    """Write a report."""
    from .report import report as write_report

    return write_report(args, out)


def train(args: argparse.Namespace, out: TextIO) -> int:
    """Train by a recipe and print the folder that holds the bundle."""
    from ..io.isolated import IsolatedReader

    progress = TerminalProgress()
    try:
        # Before torch is imported: the reader gets ready meanwhile.
        with IsolatedReader(data_outside=args.data_outside) as reader:
            from ..training.recipe import TrainingRun
            from ..training.train import train as fit

            run = TrainingRun(args.cases, args.output, args.fold, args.resume, args.encoder_weights)
            trained = fit(args.recipe, run, progress, reader)
    finally:
        progress.close()
    print_warnings(trained.warnings)
    print_lines(out, trained.folder)
    return 0


def export(args: argparse.Namespace, out: TextIO) -> int:
    """Write a segmentation in another format."""
    from ..io.files import OUTPUTS, identities, suffix_of
    from ..io.isolated import IsolatedReader
    from ..io.write import check_output, write_labelmap

    if suffix_of(args.output) not in OUTPUTS:
        args.parser.error(f"expected --output to end in {', '.join(OUTPUTS)}, found {args.output}")
    check_output(args.output, identities([args.segmentation]), args.force)
    with IsolatedReader(data_outside=args.data_outside) as reader:
        labelmap = reader.read_labelmap(args.segmentation)
    inexact = write_labelmap(args.output, labelmap, args.force)
    print_warnings((*labelmap.warnings, *inexact))
    print_lines(out, args.output)
    return 0


def phantom(args: argparse.Namespace, out: TextIO) -> int:
    """Write the phantom, its truth and the case list, and print the path of the list."""
    from ..phantom import write

    print_lines(out, write(args.folder))
    return 0


def pack(args: argparse.Namespace, out: TextIO) -> int:
    """Write a pack and print its path; what is in it is said on standard error."""
    from .pack import Target, make_pack

    progress = TerminalProgress()
    try:
        made = make_pack(args.output, Target(args.platform, args.python), not args.no_torch, args.force, progress)
    finally:
        progress.close()
    print_messages(
        f"{len(made.packages)} packages, {made.size / 1e6:.0f} MB, for {made.platform}, Python {made.python}"
    )
    print_lines(out, args.output)
    return 0


def doctor(args: argparse.Namespace, out: TextIO) -> int:
    """Print the state of the installation, after a repair where that is asked for; 1 when something is broken."""
    from ..kept import kept
    from ..typed_json import encode
    from .doctor import describe, describe_kept, examine, packages_folder
    from .repair import offer

    if args.environment:
        from .environment import make_environment

        print_lines(out, make_environment(args.environment, args.torch_index))
        return 0
    if args.sizes:
        found = kept(packages_folder())
        if args.json:
            print_json(out, {"kept": [encode(each) for each in found]})
        else:
            print_lines(out, *describe_kept(found))
        return 0
    if args.repair:
        offer(args.yes)
    state = examine()
    if args.json:
        print_json(out, encode(state))
    else:
        print_lines(out, *describe(state))
    return 1 if state.problems else 0


if __name__ == "__main__":
    sys.exit(main())
