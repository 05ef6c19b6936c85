"""How well a model does on labelled cases: `medtl evaluate`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cases import CaseFiles, read_cases
from ..errors import FAILURES, Cancelled, InputError, explain
from ..io import read
from ..io.isolated import Reader
from ..model.card import ModelCard
from ..progress import Progress, no_progress
from ..volume import Labelmap, Volume
from .metrics import OVERLAPS, TOLERANCE, Counts, Scores, auc, bootstrap_ci, by_patient, histogram, overlaps, score
from .metrics import pooled_ci as pooled_interval

if TYPE_CHECKING:
    from ..model.bundle import Model
    from ..segmentation import Segmentation, SegmentOptions

Segmenter = Callable[[Volume, "Model", "SegmentOptions", Progress], "Segmentation"]
Failed = Callable[[str, BaseException], None]  # told of a case that could not be evaluated, at once

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


@dataclass(frozen=True)
class _Outcome:
    """What came of a case: a score and a histogram (2, bins) of probabilities for each label of the model."""

    files: CaseFiles
    unit: str
    scores: tuple[Scores, ...]
    histograms: np.ndarray
    warnings: tuple[str, ...]


def evaluate(
    model: "Model",
    cases: Path,
    options: "SegmentOptions",
    progress: Progress = no_progress,
    binary: bool = False,
    segment: Segmenter | None = None,
    failed: Failed | None = None,
    reader: Reader = read,
) -> dict[str, Any]:
    """The figures of a model (`medtl.model.bundle.load_model`) on a case list or folder, ready for JSON.

    A figure of a case is the mean over the model's labels. Each figure has the mean and the median over patients
    (several cases of a patient are averaged first), the bootstrap 95 % interval of that mean, and `n`, the cases that
    have it: the conventions for empty masks stand in `metrics.py`. Figures in `pooled` are of all voxels together,
    with the interval over patients. Distances and the tolerance of the surface Dice are in `unit`: mm, px where no
    case states a spacing, or mixed, and then no mean of them is given. Volume errors are prediction minus truth.

    `binary`: every label value above 0 is the model's one label. `segment` stands in for `medtl.segmentation.segment`.

    A case that cannot be evaluated, because it cannot be read, its label lies on another grid than its image or holds a
    value that the model does not know, is one of `errors`, `failed` hears of it, and the figures are of the others:
    where none is left, there are none.

    Raises: InputError where the list cannot be read or `binary` does not fit the model; Cancelled.
    """
    card = model.card
    _check_binary(binary, card)
    listed = read_cases(cases)
    run = segment or _default_segment()
    options = replace(options, keep_probabilities=True)
    outcomes, errors = [], []
    for number, files in enumerate(listed):

        def inner(stage: str, fraction: float, done: float = number / len(listed)) -> None:
            progress("infer", done)

        try:
            inner("read", 0.0)
            volume, truth = reader.read_volume(files.image), reader.read_labelmap(files.label)
            masks = _true_masks(files, volume, truth, card, binary)
            outcomes.append(_outcome(files, volume, masks, run(volume, model, options, inner), card))
        except Cancelled:
            raise
        except FAILURES as error:
            errors.append({"case": files.case, "message": explain(error)})
            if failed is not None:
                failed(files.case, error)
    progress("infer", 1.0)
    figures = _figures(outcomes, card) if outcomes else {"n": 0, "patients": 0, "cases": []}
    return {"model": card.name, "sha256": card.sha256, "binary": binary, **figures, "errors": errors}


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


def _true_masks(files: CaseFiles, volume: Volume, truth: Labelmap, card: ModelCard, binary: bool) -> list[np.ndarray]:
    """The truth of each of the model's labels, bool (Z, Y, X).

    Segments that carry the model's ids are found by them, whatever their values are; else the values count.
    """
    if not volume.geometry.close_to(truth.geometry):
        raise InputError(
            f"Expected the label {files.label} on the grid of {files.image}, found {truth.geometry.size} voxels of "
            f"{truth.geometry.spacing} mm beside {volume.geometry.size} of {volume.geometry.spacing} mm, or another "
            "position. Resample the label onto the image."
        )
    if binary:
        return [truth.array > 0]
    found = {int(value) for value in np.unique(truth.array)} - {0}
    ids = {segment.id: segment.value for segment in truth.segments if segment.value in found}
    by_id = [ids.get(f"{card.name}.{label.id}") for label in card.labels]
    if found and found == {value for value in by_id if value is not None}:
        return [truth.array == value if value is not None else np.zeros(truth.array.shape, bool) for value in by_id]
    known = {label.value: label.name for label in card.labels}
    if found - known.keys():
        raise InputError(
            f"Expected the labels of {card.name} ({', '.join(f'{v} {n}' for v, n in known.items())}) in {files.label}, "
            f"found {', '.join(str(v) for v in sorted(found - known.keys()))}. Correct the values"
            + (", or use --binary to take every value above 0 as one label." if len(known) == 1 else ".")
        )
    return [truth.array == label.value for label in card.labels]


def _outcome(
    files: CaseFiles, volume: Volume, masks: Sequence[np.ndarray], result: "Segmentation", card: ModelCard
) -> _Outcome:
    assert result.probabilities is not None
    predicted = result.labelmap.array
    spacing, real = volume.geometry.spacing, volume.real_spacing
    return _Outcome(
        files,
        "mm" if real else "px",
        tuple(score(mask, predicted == label.value, spacing, real) for mask, label in zip(masks, card.labels)),
        np.stack([histogram(mask, chance) for mask, chance in zip(masks, result.probabilities, strict=True)]),
        tuple(result.warnings),
    )


def _label_figures(scores: Scores, table: np.ndarray) -> dict[str, float | None]:
    """The figures of one label in one case."""
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
    """The mean of what is known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _summary(values: Sequence[float | None], patients: Sequence[str]) -> dict[str, Any]:
    """Mean, its interval and median over patients, and the number of cases that have a value."""
    means = by_patient(values, patients)
    return {
        "mean": _mean(means),
        "ci95": list(bootstrap_ci(means)) if means else None,
        "median": float(np.median(means)) if means else None,
        "n": sum(value is not None for value in values),
    }


def _figures(outcomes: Sequence[_Outcome], card: ModelCard) -> dict[str, Any]:
    patients = [outcome.files.patient for outcome in outcomes]
    labels = [[_label_figures(*pair) for pair in zip(o.scores, o.histograms)] for o in outcomes]
    rows = [{name: _mean([label[name] for label in case]) for name in FIGURES} for case in labels]
    units = {outcome.unit for outcome in outcomes}
    mixed = len(units) > 1
    answer: dict[str, Any] = {
        "n": len(outcomes),
        "patients": len(set(patients)),
        "unit": "mixed" if mixed else units.pop(),
        "surface_tolerance": TOLERANCE,
    }
    for name in FIGURES:
        hidden = mixed and name in IN_UNITS
        answer[name] = _summary([None if hidden else row[name] for row in rows], patients)
    answer["pooled"] = _pooled(outcomes, patients)
    if len(card.labels) > 1:
        answer["labels"] = {
            label.id: _summary([case[i]["dice"] for case in labels], patients) for i, label in enumerate(card.labels)
        }
    answer["sites"] = {
        site: {"n": len(group), **{name: _mean([rows[i][name] for i in group]) for name in FIGURES}}
        for site in sorted({o.files.site for o in outcomes} - {""})
        for group in [[i for i, o in enumerate(outcomes) if o.files.site == site]]
    }
    answer["cases"] = [
        {
            "case": o.files.case,
            "patient": o.files.patient,
            "site": o.files.site,
            "unit": o.unit,
            **row,
            **({"labels": dict(zip((label.id for label in card.labels), case))} if len(card.labels) > 1 else {}),
            "warnings": list(o.warnings),
        }
        for o, row, case in zip(outcomes, rows, labels)
    ]
    return answer


def _pooled(outcomes: Sequence[_Outcome], patients: Sequence[str]) -> dict[str, Any]:
    """The figures of all voxels together, the mean over labels; the interval resamples patients."""
    groups = list(dict.fromkeys(patients))
    labels, bins = len(outcomes[0].scores), outcomes[0].histograms.shape[-1]
    counts = np.zeros((len(groups), labels, 3))
    tables = np.zeros((len(groups), labels, 2, bins), dtype=np.int64)
    for outcome in outcomes:
        patient = groups.index(outcome.files.patient)
        counts[patient] += [_voxels(scores.counts) for scores in outcome.scores]
        tables[patient] += outcome.histograms
    answer: dict[str, Any] = {}
    for name in OVERLAPS:

        def share(pooled: np.ndarray, name: str = name) -> np.ndarray:
            return np.asarray(overlaps(*np.moveaxis(pooled, -1, 0))[name].mean(-1))

        answer[name] = {"mean": float(share(counts.sum(0))), "ci95": list(pooled_interval(share, counts))}
    area = float(_area(tables.sum(0)))
    known = not np.isnan(area)
    answer["auc"] = {
        "mean": area if known else None,
        "ci95": list(pooled_interval(_area, tables, n=AUC_RESAMPLES)) if known else None,
    }
    return answer


def _voxels(counts: Counts) -> tuple[int, int, int]:
    return counts.tp, counts.fp, counts.fn


def _area(pooled: np.ndarray) -> np.ndarray:
    """AUC of histograms (…, labels, 2, bins), the mean over the labels that have one; NaN where none has."""
    areas = auc(pooled)
    known = ~np.isnan(areas)
    mean: np.ndarray = np.where(known, areas, 0.0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)
    return mean
