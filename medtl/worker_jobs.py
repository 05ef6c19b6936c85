"""The jobs of the worker: a request in, the result that the command of the same name prints with `--json` out."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from .errors import InputError
from .progress import Progress, Stopwatch, rounded_seconds
from .results import ClassifiedBatch, ImportedModel, SegmentedBatch

if TYPE_CHECKING:
    from .evaluation.agreement import Agreement
    from .finetuning.files import TuningResult
    from .finetuning.suggest import SuggestedFile
    from .model.bundle import Model
    from .report.files import ReportedFile
    from .results import Trend
    from .trend.studies import StudyFiles

Request = dict[str, Any]
JobFunction = Callable[[Request, Progress], object]
Options = TypeVar("Options")


def build_options(kind: type[Options], given: Mapping[str, object], **more: object) -> Options:
    """The options of this kind, from those given and from `more`.

    Raises: InputError for a value of a wrong type.
    """
    values: dict[str, object] = dict(more)
    for name, allowed in types_of(kind).items():
        if name not in given or name in more:
            continue
        value = given[name]
        values[name] = Path(value) if Path in allowed and isinstance(value, str) else value
        if not isinstance(values[name], allowed) or (isinstance(value, bool) and bool not in allowed):
            wanted = " or ".join(each.__name__ for each in allowed)
            raise InputError(f"Expected {wanted} for the option {name}, found {value!r}. Correct it or leave it out.")
    return kind(**values)


def types_of(kind: type) -> dict[str, tuple[type, ...]]:
    """The types that each option of that kind may have."""
    hints = {name: get_args(hint) or (hint,) for name, hint in get_type_hints(kind).items()}
    return {name: tuple(get_origin(hint) or hint for hint in allowed) for name, allowed in hints.items()}


def check_names(given: Mapping[str, object], *kinds: type, without: str = "") -> None:
    """Raise InputError for an option that none of these kinds has; `without` is a field that is no option."""
    names = [name for kind in kinds for name in types_of(kind) if name != without]
    for name in given:
        if name not in names:
            raise InputError(f"Expected options among {', '.join(names)}, found {name!r}. Correct it or leave it out.")


@dataclass(frozen=True)
class DeviceOptions:
    """Where a model is loaded."""

    device: str = "auto"


@dataclass(frozen=True)
class SuggestOptions:
    """How many slices are proposed. Raises: InputError when there is none."""

    count: int = 5

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"Expected 1 slice or more for the option count, found {self.count}. Correct it.")


def warm_model(name: str, device: str, task: str = "segmentation") -> "Model":
    """The model on its device, kept from job to job until its files change."""
    from .model.store import find_model

    folder = find_model(name).resolve()
    stats = [file.stat() for file in sorted(folder.rglob("*"))]
    return _load(str(folder), device, task, tuple((stat.st_mtime_ns, stat.st_size) for stat in stats))


@functools.lru_cache(maxsize=3)
def _load(folder: str, device: str, task: str, state: tuple[tuple[int, int], ...]) -> "Model":
    # `state` is part of the key alone: a bundle that changed on disk is another model.
    from .model.bundle import load_model

    return load_model(folder, device, task)


def check_request(request: Request, *names: str) -> Request:
    """The request with options. Raises: InputError when one of these texts, or an object of options, is missing."""
    request = {"options": {}, **request}
    for name, kind in {**dict.fromkeys(names, str), "options": dict}.items():
        if not isinstance(request.get(name), kind) or request[name] == "":
            raise InputError(f"Expected {name} ({kind.__name__}), found {request.get(name)!r}. Send it with the job.")
    return request


def input_files(request: Request) -> tuple[Path, ...]:
    """The files of the input, a path or a list of paths, one a channel. Raises: InputError when it is neither."""
    given = request.get("input")
    paths = given if isinstance(given, list) else [given]
    if not paths or not all(isinstance(path, str) and path for path in paths):
        raise InputError(f"Expected input (str, or a list of str), found {given!r}. Send it with the job.")
    return tuple(map(Path, paths))


def run_segment(request: Request, progress: Progress) -> SegmentedBatch:
    """The batch of one case, whose input may be several volumes; `options` holds the reading, inference and output
    options side by side."""
    from .segmentation import InferenceOptions, OutputOptions, ReadOptions, segment_file

    request = check_request(request, "model", "output")
    sources = input_files(request)
    options = request["options"]
    check_names(options, ReadOptions, InferenceOptions, OutputOptions, DeviceOptions, without="labelmap")
    outputs = build_options(OutputOptions, options, labelmap=Path(request["output"]))
    reading, inference = build_options(ReadOptions, options), build_options(InferenceOptions, options)
    loading = Stopwatch(progress)
    loading("load", 0.0)
    model = warm_model(request["model"], build_options(DeviceOptions, options).device)
    loading("load", 1.0)
    loading.stop()
    result = segment_file(sources, model, outputs, reading, inference, progress)
    result = replace(result, seconds=rounded_seconds("segment", {**loading.seconds, **result.seconds}))
    return SegmentedBatch(model.card.name, model.sha256, (result,), ())


def run_finetune(request: Request, progress: Progress) -> "TuningResult":
    """What came of tuning on a list of SEEDs, whose images may lie anywhere on the user's disk."""
    from .finetuning.files import TuningFiles, finetune_files
    from .finetuning.run import FinetuneOptions, TimeBudget, ignore_values
    from .io.isolated import IsolatedReader

    request = check_request(request, "model", "seeds", "output")
    check_names(request["options"], FinetuneOptions)
    options = build_options(FinetuneOptions, request["options"])
    budget = TimeBudget(options.budget)
    on_values = getattr(progress, "note", ignore_values)  # the worker's own progress takes figures to draw, too
    files = TuningFiles(request["output"], seeds=Path(request["seeds"]))
    progress("load", 0.0)
    with IsolatedReader(progress) as reader:
        model = warm_model(request["model"], options.device)
        return finetune_files(model, files, options, progress, on_values, budget, reader)


def run_suggest(request: Request, progress: Progress) -> "SuggestedFile":
    """The slices of one input to correct next; `count` is among the options."""
    from .finetuning.suggest import suggest_file
    from .segmentation import InferenceOptions, OutputOptions, ReadOptions

    request = check_request(request, "model")
    sources, options = input_files(request), request["options"]
    check_names(
        options, ReadOptions, InferenceOptions, OutputOptions, DeviceOptions, SuggestOptions, without="labelmap"
    )
    count, inference = build_options(SuggestOptions, options).count, build_options(InferenceOptions, options)
    progress("load", 0.0)
    model = warm_model(request["model"], build_options(DeviceOptions, options).device)
    return suggest_file(sources, model, count, inference, progress)


def run_classify(request: Request, progress: Progress) -> ClassifiedBatch:
    """The batch of one input."""
    from .classification.classify import ClassifyOptions
    from .classification.files import classify_file

    request = check_request(request, "model", "input")
    check_names(request["options"], ClassifyOptions)
    options = build_options(ClassifyOptions, request["options"])
    progress("load", 0.0)
    model = warm_model(request["model"], options.device, "classification")
    result = classify_file(Path(request["input"]), model, options, progress)
    return ClassifiedBatch(model.card.name, model.card.version, model.sha256, (result,), ())


@dataclass(frozen=True)
class TrendOptions:
    """How studies are compared: `register` matches lesions; `checkerboard` is a picture of the registrations."""

    register: bool = False
    checkerboard: Path | None = None


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows beside its studies, see `medtl.report.files.ReportFiles`."""

    classification: Path | None = None
    uncertainty: Path | None = None
    trend: Path | None = None
    register: bool = False
    force: bool = False
    by_hand: str | None = None


def study_files(request: Request) -> "tuple[StudyFiles, ...]":
    """The studies of a request: a list of objects with a `segmentation`, and optionally an `image` and a `date`.

    Raises: InputError for another input.
    """
    from .trend.studies import StudyFiles, check_date

    studies = []
    given = request.get("input")
    for one in given if isinstance(given, list) and given else [None]:
        names = ("segmentation", "image", "date")
        texts = one if isinstance(one, dict) else {}
        if not texts.get("segmentation") or not all(
            name in names and isinstance(text, str) for name, text in texts.items()
        ):
            raise InputError(
                f"Expected studies with the texts {', '.join(names)}, found {one!r}. Send them with the job."
            )
        if texts.get("date"):
            check_date(texts["date"])
        image = Path(texts["image"]) if texts.get("image") else None
        studies.append(StudyFiles(Path(texts["segmentation"]), image, texts.get("date", "")))
    return tuple(studies)


def run_trend(request: Request, progress: Progress) -> "Trend":
    """The trend of one patient's studies."""
    from .trend.checkerboard import checkerboards
    from .trend.files import trend_files

    request = check_request(request)
    check_names(request["options"], TrendOptions)
    options = build_options(TrendOptions, request["options"])
    trend = trend_files(
        study_files(request), options.register, progress, on_registered=checkerboards(options.checkerboard, True)
    )
    progress("write", 1.0)
    return trend


def run_report(request: Request, progress: Progress) -> "ReportedFile":
    """The report of one patient's newest study."""
    from .report.files import ReportFiles, report_files

    request = check_request(request, "output")
    check_names(request["options"], ReportOptions)
    options = build_options(ReportOptions, request["options"])
    files = ReportFiles(study_files(request), Path(request["output"]), **vars(options))
    return report_files(files, progress)


@dataclass(frozen=True)
class AgreeOptions:
    """Where the table of the cases goes, as `medtl agree --csv`."""

    csv: Path | None = None


def run_agree(request: Request, progress: Progress) -> "Agreement":
    """The agreement of two readers, whose results are read in another process."""
    from .evaluation.agreement import agreement
    from .evaluation.agreement_table import write_rows
    from .io.isolated import IsolatedReader

    request = check_request(request)
    check_names(request["options"], AgreeOptions)
    options, readers = build_options(AgreeOptions, request["options"]), input_files(request)
    if len(readers) != 2:
        raise InputError(f"Expected the results of two readers, found {len(readers)}. Send them with the job.")
    with IsolatedReader() as reader:
        result = agreement(*readers, reader, progress)
    if options.csv is not None:
        write_rows(result, options.csv, replace=False)
    progress("write", 1.0)
    return result


def run_import(request: Request, progress: Progress) -> ImportedModel:
    """The model that was brought into the user's store."""
    from .model.import_model import import_model
    from .model.nnunet import ImportOptions

    request = check_request(request, "input")
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in request["options"].items()}
    check_names(given, ImportOptions)
    folder = import_model(Path(request["input"]), build_options(ImportOptions, given), progress)
    return ImportedModel(folder.name, str(folder))


def warm_up() -> None:
    """Import what every job needs, while the user is still choosing."""
    from . import segmentation  # noqa: F401
    from .model import timm_networks  # noqa: F401  (of the models that ship)


JOBS: dict[str, JobFunction] = {
    "segment": run_segment,
    "finetune": run_finetune,
    "suggest": run_suggest,
    "classify": run_classify,
    "import": run_import,
    "trend": run_trend,
    "report": run_report,
    "agree": run_agree,
}
