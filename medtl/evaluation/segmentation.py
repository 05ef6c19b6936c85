"""Evaluation of a model that segments on labelled cases: `medtl evaluate`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..cases import CaseFiles
from ..channels import first_of, read_volumes
from ..errors import FAILURES, Cancelled, InputError, explain
from ..io import read
from ..io.isolated import Reader
from ..labels import describe_segments, label_segments, label_values, unknown_values
from ..model.card import ModelCard
from ..progress import Progress, no_progress
from ..typed_json import OPTIONAL, SPREAD
from ..volume import Labelmap, Volume, check_same_grid
from ..worklist.test_set import labelled_cases
from .metrics import (
    OVERLAPS,
    TOLERANCE,
    CaseError,
    Counts,
    Figure,
    Scores,
    auc,
    bootstrap_ci,
    by_patient,
    histogram,
    overlaps,
    pooled_ci,
    score,
)

if TYPE_CHECKING:
    from ..model.bundle import Model
    from ..segmentation import InferenceOptions, Segmentation

Segmenter = Callable[[Volume | tuple[Volume, ...], "Model", "InferenceOptions", Progress], "Segmentation"]
Failed = Callable[[str, BaseException], None]  # called at once with a case that cannot be evaluated

FIGURES = (
    *OVERLAPS,
    "auc",
    "hd95",
    "surface_dice",
    "volume_error_ml",
    "volume_error_relative",
    "lesion_sensitivity",
    "false_positives_per_case",
)
IN_UNITS = ("hd95", "surface_dice")
AUC_RESAMPLES = 2000

Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class PatientFigure(Figure):
    """A figure over patients; `n` is the number of cases that have it."""

    median: float | None
    n: int


@dataclass(frozen=True)
class CaseFigures:
    """The figures of one case, the mean over the model's labels; `labels` has those of each label by its id, where the
    model has several. Distances are in `unit`. JSON has the entries of `figures` beside the others."""

    case: str
    patient: str
    site: str
    unit: str
    figures: Figures = field(metadata=SPREAD)
    labels: Mapping[str, Figures] | None = field(metadata=OPTIONAL)
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class SiteFigures:
    """Mean figures of the `n` cases of a site."""

    n: int
    figures: Figures = field(metadata=SPREAD)


@dataclass(frozen=True)
class Evaluation:
    """The figures of a model on labelled cases.

    `figures` are over patients (several cases of a patient are averaged first); `pooled` are of all voxels together;
    `labels` is the Dice of each label, where the model has several. Distances and the tolerance of the surface Dice
    are in `unit`: mm, px where no case states a spacing, or mixed, and then no mean of them is given. Volume errors are
    prediction minus truth. Without any case there are no figures.
    """

    model: str
    sha256: str
    binary: bool
    n: int = 0
    patients: int = 0
    unit: str | None = field(default=None, metadata=OPTIONAL)
    surface_tolerance: float | None = field(default=None, metadata=OPTIONAL)
    figures: Mapping[str, PatientFigure] = field(default_factory=dict, metadata=SPREAD)
    pooled: Mapping[str, Figure] | None = field(default=None, metadata=OPTIONAL)
    labels: Mapping[str, PatientFigure] | None = field(default=None, metadata=OPTIONAL)
    sites: Mapping[str, SiteFigures] | None = field(default=None, metadata=OPTIONAL)
    cases: tuple[CaseFigures, ...] = ()
    errors: tuple[CaseError, ...] = ()


@dataclass(frozen=True)
class _Truth:
    """The true mask of each of the model's labels, bool (Z, Y, X), and warnings about how they were found."""

    masks: tuple[np.ndarray, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Outcome:
    """A case's score (None where the label is unknown) and histogram (2, bins) of probabilities for each label."""

    files: CaseFiles
    unit: str
    scores: tuple[Scores | None, ...]
    histograms: np.ndarray
    warnings: tuple[str, ...]


def evaluate(
    model: "Model",
    cases: Path,
    options: "InferenceOptions",
    progress: Progress = no_progress,
    binary: bool = False,
    segment: Segmenter | None = None,
    failed: Failed | None = None,
    reader: Reader = read,
    partial: bool = False,
) -> Evaluation:
    """The figures of a model (`medtl.model.bundle.load_model`) on labelled cases (see `labelled_cases`), with the
    bootstrap 95 % intervals over patients (None for one patient). `metrics.py` states the conventions for empty masks.

    `binary`: every label value above 0 is the model's one label. `partial`: a label that no voxel of a case has was not
    drawn there and does not count in that case. `segment` stands in for `medtl.segmentation.segment`.

    A case that cannot be evaluated is listed in `errors`, `failed` is called with it, and the figures are of the other
    cases. Reasons: it cannot be read, its label lies on another grid than its image, or has values that the model does
    not know.

    Raises: InputError where the list cannot be read or `binary` does not fit the model; Cancelled.
    """
    card = model.card
    _check_binary(binary, card)
    listed = labelled_cases(cases, card.input.channels)
    run = segment or _default_segment()
    options = replace(options, keep_probabilities=True)
    outcomes, errors = [], []
    for number, files in enumerate(listed):

        def inner(stage: str, fraction: float, done: float = number / len(listed)) -> None:
            progress("infer", done)

        try:
            inner("read", 0.0)
            volumes, labelmap = read_volumes(files.images, reader, files.series), reader.read_labelmap(files.label)
            truth = _truth(files, first_of(volumes), labelmap, card, binary)
            result = run(volumes, model, options, inner)
            outcomes.append(_outcome(files, first_of(volumes), truth, result, card, partial))
        except Cancelled:
            raise
        except FAILURES as error:
            errors.append(CaseError(files.case, explain(error)))
            if failed is not None:
                failed(files.case, error)
    progress("infer", 1.0)
    return _evaluation(outcomes, card, binary, tuple(errors))


def _check_binary(binary: bool, card: ModelCard) -> None:
    if binary and len(card.labels) != 1:
        raise InputError(
            f"Expected a model of one label for a binary evaluation, found {len(card.labels)} in {card.name}. "
            "Leave the option out, or choose another model."
        )


def _default_segment() -> Segmenter:
    # Imported here because it loads torch.
    from ..segmentation import segment

    return segment


def _truth(files: CaseFiles, volume: Volume, labelmap: Labelmap, card: ModelCard, binary: bool) -> _Truth:
    """The truth of each of the model's labels: the whole segment that `medtl.labels` finds, also where other segments
    overlap it."""
    check_same_grid(labelmap.geometry, volume.geometry, files.label, files.image)
    if binary:
        return _Truth((labelmap.array > 0,), labelmap.warnings)
    values = label_values(labelmap, card)
    own = label_segments(labelmap.segments, card).values()
    others = [segment for segment in labelmap.segments if own and segment not in own]
    unknown = sorted({*unknown_values(labelmap, values)} - {segment.value for segment in others})
    if unknown:
        known = [f"{values[label.id]} {label.name}" for label in card.labels if label.id in values]
        raise InputError(
            f"Expected the labels of {card.name} ({', '.join(known)}) in {files.label}, found "
            f"{', '.join(map(str, unknown))}. Correct the values"
            + (", or use --binary to take every value above 0 as one label." if len(card.labels) == 1 else ".")
        )
    empty = np.zeros(labelmap.array.shape, bool)
    masks = tuple(labelmap.mask(values[label.id]) if label.id in values else empty for label in card.labels)
    warnings = list(labelmap.warnings)
    if others:
        warnings.append(f"Not labels of {card.name}, so not compared: {describe_segments(others)}.")
    if missing := [label.name for label in card.labels if label.id not in values]:
        warnings.append(f"No segment was found for {', '.join(missing)}; it counts as empty in the truth.")
    return _Truth(masks, tuple(warnings))


def _outcome(
    files: CaseFiles, volume: Volume, truth: _Truth, result: "Segmentation", card: ModelCard, partial: bool
) -> _Outcome:
    assert result.probabilities is not None
    predicted = result.labelmap.array
    spacing, real = volume.geometry.spacing, volume.real_spacing
    known = [bool(mask.any()) or not partial for mask in truth.masks]
    scores = [
        score(mask, predicted == label.value, spacing, real) if counts else None
        for mask, label, counts in zip(truth.masks, card.labels, known, strict=True)
    ]
    tables = np.stack([histogram(mask, p) for mask, p in zip(truth.masks, result.probabilities, strict=True)])
    tables[np.logical_not(known)] = 0
    return _Outcome(
        files,
        "mm" if real else "px",
        tuple(scores),
        tables,
        (*truth.warnings, *result.warnings),
    )


def _label_figures(scores: Scores | None, table: np.ndarray) -> dict[str, float | None]:
    """The figures of one label in one case; None where it is unknown."""
    if scores is None:
        return dict.fromkeys(FIGURES)
    area = float(auc(table))
    return {
        **{name: getattr(scores, name) for name in OVERLAPS},
        "auc": None if np.isnan(area) else area,
        "hd95": scores.hd95,
        "surface_dice": scores.surface_dice,
        "volume_error_ml": scores.volume_error_ml,
        "volume_error_relative": scores.volume_error_relative,
        "lesion_sensitivity": scores.lesions.sensitivity,
        "false_positives_per_case": float(scores.lesions.false_positives),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are not None."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _over_patients(values: Sequence[float | None], patients: Sequence[str]) -> PatientFigure:
    """Mean, its interval and median over patients, and the number of cases that have a value."""
    means = by_patient(values, patients)
    count = sum(value is not None for value in values)
    if not means:
        return PatientFigure(None, None, None, count)
    ci95 = bootstrap_ci(means) if len(means) > 1 else None  # one patient has no interval
    return PatientFigure(_mean(means), ci95, float(np.median(means)), count)


def _evaluation(
    outcomes: Sequence[_Outcome], card: ModelCard, binary: bool, errors: tuple[CaseError, ...]
) -> Evaluation:
    """The figures of the cases."""
    if not outcomes:
        return Evaluation(card.name, card.sha256, binary, errors=errors)
    patients = [outcome.files.patient for outcome in outcomes]
    ids = [label.id for label in card.labels]
    by_label = [[_label_figures(*pair) for pair in zip(o.scores, o.histograms)] for o in outcomes]
    rows = [{name: _mean([figures[name] for figures in case]) for name in FIGURES} for case in by_label]
    units = {outcome.unit for outcome in outcomes}
    mixed = len(units) > 1
    figures = {
        name: _over_patients([None if mixed and name in IN_UNITS else row[name] for row in rows], patients)
        for name in FIGURES
    }
    labels = {name: _over_patients([case[i]["dice"] for case in by_label], patients) for i, name in enumerate(ids)}
    return Evaluation(
        card.name,
        card.sha256,
        binary,
        n=len(outcomes),
        patients=len(set(patients)),
        unit="mixed" if mixed else units.pop(),
        surface_tolerance=TOLERANCE,
        figures=figures,
        pooled=_pooled(outcomes, patients),
        labels=labels if len(ids) > 1 else None,
        sites=_by_site(outcomes, rows),
        cases=tuple(
            CaseFigures(
                o.files.case,
                o.files.patient,
                o.files.site,
                o.unit,
                row,
                dict(zip(ids, case, strict=True)) if len(ids) > 1 else None,
                o.warnings,
            )
            for o, row, case in zip(outcomes, rows, by_label)
        ),
        errors=errors,
    )


def _by_site(outcomes: Sequence[_Outcome], rows: Sequence[Figures]) -> dict[str, SiteFigures]:
    """The mean figures of each site; `rows` are the figures of the cases."""
    sites = {}
    for site in sorted({outcome.files.site for outcome in outcomes} - {""}):
        group = [row for outcome, row in zip(outcomes, rows) if outcome.files.site == site]
        sites[site] = SiteFigures(len(group), {name: _mean([row[name] for row in group]) for name in FIGURES})
    return sites


def _pooled(outcomes: Sequence[_Outcome], patients: Sequence[str]) -> dict[str, Figure]:
    """The figures of all voxels together, the mean over labels; the interval resamples patients."""
    groups = list(dict.fromkeys(patients))
    labels, bins = len(outcomes[0].scores), outcomes[0].histograms.shape[-1]
    counts = np.zeros((len(groups), labels, 3))
    tables = np.zeros((len(groups), labels, 2, bins), dtype=np.int64)
    for outcome in outcomes:
        patient = groups.index(outcome.files.patient)
        counts[patient] += [_voxels(scores.counts) if scores else (0, 0, 0) for scores in outcome.scores]
        tables[patient] += outcome.histograms
    figures: dict[str, Figure] = {}
    for name in OVERLAPS:

        def share(pooled: np.ndarray, name: str = name) -> np.ndarray:
            return np.asarray(overlaps(*np.moveaxis(pooled, -1, 0))[name].mean(-1))

        figures[name] = Figure(float(share(counts.sum(0))), pooled_ci(share, counts) if len(groups) > 1 else None)
    area = float(_area(tables.sum(0)))
    known = not np.isnan(area)
    interval = pooled_ci(_area, tables, n=AUC_RESAMPLES) if known and len(groups) > 1 else None
    figures["auc"] = Figure(area if known else None, interval)
    return figures


def _voxels(counts: Counts) -> tuple[int, int, int]:
    return counts.tp, counts.fp, counts.fn


def _area(pooled: np.ndarray) -> np.ndarray:
    """AUC of histograms (…, labels, 2, bins), the mean over the labels that have one; NaN where none has."""
    areas = auc(pooled)
    known = ~np.isnan(areas)
    mean: np.ndarray = np.where(known, areas, 0.0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)
    return mean
