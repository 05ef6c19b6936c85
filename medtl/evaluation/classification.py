"""Evaluation of a classifier on a case list, with intervals over patients: `medtl evaluate`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..cases import read_classified
from ..errors import FAILURES, Cancelled, explain
from ..io import read
from ..io.isolated import Reader
from ..progress import Progress, no_progress
from ..typed_json import OPTIONAL, SPREAD
from .metrics import CaseError, Figure, auc, draw_patients, rows_by_patient, value_table

if TYPE_CHECKING:
    from ..classification.classify import ClassifyOptions
    from ..model.bundle import Model

RESAMPLES = 1000
BINS = 15


@dataclass(frozen=True)
class ClassFigures:
    """Figures of `n` images of `patients` patients (see `point_figures`), and the confusion table: true classes in
    rows, predicted classes in columns."""

    n: int
    patients: int
    figures: Mapping[str, Figure] = field(default_factory=dict, metadata=SPREAD)
    confusion: tuple[tuple[int, ...], ...] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class ClassifiedCase:
    """One case of an evaluation: its true class (`label`), the most probable class, and probabilities by class id."""

    case: str
    patient: str
    label: str
    class_id: str = field(metadata={"key": "class"})
    probabilities: Mapping[str, float]
    abstained: bool
    score: float | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassEvaluation:
    """The figures of a model that classifies. Cases that it abstains from count like the others; `abstained` is their
    share, `accuracy_kept` the accuracy of the rest. JSON has the entries of `measured` beside the others."""

    model: str
    sha256: str
    classes: tuple[str, ...]
    measured: ClassFigures = field(metadata=SPREAD)
    abstained: float | None = field(default=None, metadata=OPTIONAL)
    accuracy_kept: float | None = None
    cases: tuple[ClassifiedCase, ...] = ()
    errors: tuple[CaseError, ...] = ()


def confusion(truth: np.ndarray, predicted: np.ndarray, count: int) -> np.ndarray:
    """The confusion table, int64 (count, count): true classes in rows, predicted classes in columns."""
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (truth, predicted), 1)
    return table


def class_aucs(truth: np.ndarray, probabilities: np.ndarray) -> list[float]:
    """The area under the ROC curve of each class against the others; NaN where one side is empty."""
    return [float(auc(value_table(truth == k, probabilities[:, k]))) for k in range(probabilities.shape[1])]


def calibration_error(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error of the best class in 15 bins of equal width (Guo 2017)."""
    best, right = probabilities.max(1), probabilities.argmax(1) == truth
    bins = np.minimum((best * BINS).astype(int), BINS - 1)
    gaps = [abs(float(np.sum(right[bins == b] - best[bins == b]))) for b in range(BINS)]
    return float(sum(gaps) / len(truth))


def finite_mean(values: np.ndarray) -> float:
    """The mean of the values that are not NaN; NaN where there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def point_figures(truth: np.ndarray, probabilities: np.ndarray, ids: Sequence[str]) -> dict[str, float]:
    """Accuracy, F1 (mean over classes, weighted by their size and unweighted), balanced accuracy, AUC (mean over
    classes, each against the rest), calibration error, and the recall of each class.

    `truth` int (n,), `probabilities` (n, classes).
    """
    table = confusion(truth, probabilities.argmax(1), len(ids))
    right, true, predicted = np.diag(table), table.sum(1), table.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / true
        f1 = np.where(true + predicted > 0, 2 * right / (true + predicted), np.nan)
    return {
        "accuracy": float(right.sum() / true.sum()),
        "f1_weighted": float(np.nansum(f1 * true) / true.sum()),
        "f1_macro": finite_mean(f1),
        "balanced_accuracy": finite_mean(recall),
        "auc": finite_mean(np.array(class_aucs(truth, probabilities))),
        "ece": calibration_error(truth, probabilities),
        **{f"recall_{name}": float(value) for name, value in zip(ids, recall, strict=True)},
    }


def class_figures(
    truth: np.ndarray, probabilities: np.ndarray, patients: Sequence[str], ids: Sequence[str]
) -> ClassFigures:
    """The figures of `point_figures`, their intervals by bootstrap over patients, and the confusion table. Every
    image counts, so a patient with many images weighs more."""
    groups = rows_by_patient(patients)
    rng = np.random.default_rng(0)
    samples: dict[str, list[float]] = {}
    for _ in range(RESAMPLES):
        rows = draw_patients(groups, rng)
        for name, value in point_figures(truth[rows], probabilities[rows], ids).items():
            samples.setdefault(name, []).append(value)
    figures = {}
    for name, value in point_figures(truth, probabilities, ids).items():
        finite = [v for v in samples[name] if np.isfinite(v)]
        low, high = np.percentile(finite, (2.5, 97.5)) if finite else (0.0, 0.0)
        interval = (float(low), float(high)) if finite else None
        figures[name] = Figure(value if np.isfinite(value) else None, interval)
    table = confusion(truth, probabilities.argmax(1), len(ids)).tolist()
    return ClassFigures(len(truth), len(groups), figures, tuple(tuple(row) for row in table))


def evaluate_classes(
    model: "Model",
    cases: Path,
    options: "ClassifyOptions",
    progress: Progress = no_progress,
    failed: Callable[[str, BaseException], None] | None = None,
    reader: Reader = read,
) -> ClassEvaluation:
    """The figures of a model that classifies on a case list (image, label, patient).

    A case that cannot be read or classified is one of `errors`, and `failed` is called with its name.

    Raises: InputError where the list cannot be read; Cancelled.
    """
    from ..classification.files import classify_file

    ids = tuple(tumour_class.id for tumour_class in model.card.classes)
    listed = read_classified(cases, ids)
    results, errors = [], []
    for number, case in enumerate(listed):
        progress("infer", number / len(listed))
        try:
            result = classify_file(case.image, model, options, reader=reader)
        except Cancelled:
            raise
        except FAILURES as error:
            errors.append(CaseError(case.case, explain(error)))
            if failed is not None:
                failed(case.case, error)
            continue
        figures = (result.class_id, result.probabilities, result.abstained, result.score, result.warnings)
        results.append(ClassifiedCase(case.case, case.patient, case.label, *figures))
    progress("infer", 1.0)
    return _evaluation(model, ids, results, tuple(errors))


def _evaluation(
    model: "Model", ids: tuple[str, ...], results: Sequence[ClassifiedCase], errors: tuple[CaseError, ...]
) -> ClassEvaluation:
    """The figures of the classified cases."""
    if not results:
        return ClassEvaluation(model.card.name, model.sha256, ids, ClassFigures(0, 0), errors=errors)
    truth = np.array([ids.index(case.label) for case in results])
    probabilities = np.array([[case.probabilities[name] for name in ids] for case in results])
    kept = np.array([not case.abstained for case in results])
    right = probabilities.argmax(1) == truth
    return ClassEvaluation(
        model.card.name,
        model.sha256,
        ids,
        class_figures(truth, probabilities, [case.patient for case in results], ids),
        float(1 - kept.mean()),
        float(right[kept].mean()) if kept.any() else None,
        tuple(results),
        errors,
    )
