"""How well probabilities of classes fit the truth, with intervals over patients: `medtl evaluate` of a classifier."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from ..cases import read_classified
from ..errors import FAILURES, Cancelled, explain
from ..io import read
from ..io.isolated import Reader
from ..progress import Progress, no_progress

if TYPE_CHECKING:
    from ..model.bundle import Model

RESAMPLES = 1000
BINS = 15


def confusion(truth: np.ndarray, found: np.ndarray, count: int) -> np.ndarray:
    """How often the true class (rows) was called which (columns), int64 (count, count)."""
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (truth, found), 1)
    return table


def one_against_rest(truth: np.ndarray, probabilities: np.ndarray) -> list[float]:
    """The area under the ROC curve of each class against the others (Mann and Whitney); NaN where one side is empty."""
    areas = []
    for k in range(probabilities.shape[1]):
        mine = truth == k
        positive, negative = int(mine.sum()), int((~mine).sum())
        if not positive or not negative:
            areas.append(float("nan"))
            continue
        ranks = rankdata(probabilities[:, k])
        areas.append(float((ranks[mine].sum() - positive * (positive + 1) / 2) / (positive * negative)))
    return areas


def calibration_error(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error of the best class in 15 bins of equal width (Guo 2017)."""
    best, right = probabilities.max(1), probabilities.argmax(1) == truth
    bins = np.minimum((best * BINS).astype(int), BINS - 1)
    gaps = [abs(float(np.sum(right[bins == b] - best[bins == b]))) for b in range(BINS)]
    return float(sum(gaps) / len(truth))


def plain_figures(truth: np.ndarray, probabilities: np.ndarray, ids: Sequence[str]) -> dict[str, float]:
    """Accuracy, F1 (weighted by the classes' numbers, and their plain mean), balanced accuracy, AUC (mean over classes,
    each against the rest), calibration error, and the recall of each class.

    `truth` int (n,), `probabilities` (n, classes).
    """
    found = probabilities.argmax(1)
    table = confusion(truth, found, len(ids))
    right, truly, called = np.diag(table), table.sum(1), table.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / truly
        f1 = np.where(truly + called > 0, 2 * right / (truly + called), np.nan)
    return {
        "accuracy": float(right.sum() / truly.sum()),
        "f1_weighted": float(np.nansum(f1 * truly) / truly.sum()),
        "f1_macro": float(np.nanmean(f1)),
        "balanced_accuracy": float(np.nanmean(recall)),
        "auc": float(np.nanmean(one_against_rest(truth, probabilities))),
        "ece": calibration_error(truth, probabilities),
        **{f"recall_{name}": float(value) for name, value in zip(ids, recall, strict=True)},
    }


def class_figures(
    truth: np.ndarray, probabilities: np.ndarray, patients: Sequence[str], ids: Sequence[str]
) -> dict[str, Any]:
    """Each figure of `plain_figures` as {"mean", "ci95"}, the interval by bootstrap over patients, and the confusion
    table; pictures count, so a patient of many weighs more."""
    names, place = np.unique(np.asarray(patients), return_inverse=True)
    members = [np.flatnonzero(place == k) for k in range(len(names))]
    random = np.random.default_rng(0)
    samples: dict[str, list[float]] = {}
    for _ in range(RESAMPLES):
        drawn = np.concatenate([members[k] for k in random.integers(0, len(members), len(members))])
        for name, value in plain_figures(truth[drawn], probabilities[drawn], ids).items():
            samples.setdefault(name, []).append(value)
    figures: dict[str, Any] = {"n": len(truth), "patients": len(names)}
    for name, value in plain_figures(truth, probabilities, ids).items():
        known = [v for v in samples[name] if np.isfinite(v)]
        interval = [float(v) for v in np.percentile(known, (2.5, 97.5))] if known else None
        figures[name] = {"mean": value if np.isfinite(value) else None, "ci95": interval}
    return figures | {"confusion": confusion(truth, probabilities.argmax(1), len(ids)).tolist()}


def evaluate_classes(
    model: "Model",
    cases: Path,
    options: Any,
    progress: Progress = no_progress,
    failed: Callable[[str, BaseException], None] | None = None,
    reader: Reader = read,
) -> dict[str, Any]:
    """The figures of a model that classifies on a case list (image, label, patient), ready for JSON.

    A case that cannot be read or classified is one of `errors`. Cases that the model abstains from count like the
    others; `abstained` is their share, `accuracy_kept` the accuracy of the rest.

    Raises: InputError where the list cannot be read; Cancelled.
    """
    from ..classification.classify import classify_file

    ids = tuple(one.id for one in model.card.classes)
    listed = read_classified(cases, ids)
    rows, errors = [], []
    for number, case in enumerate(listed):
        progress("infer", number / len(listed))
        try:
            rows.append((case, classify_file(case.image, model, options, reader=reader)))
        except Cancelled:
            raise
        except FAILURES as error:
            errors.append({"case": case.case, "message": explain(error)})
            if failed is not None:
                failed(case.case, error)
    progress("infer", 1.0)
    answer: dict[str, Any] = {"model": model.card.name, "sha256": model.sha256, "classes": list(ids)}
    if not rows:
        return answer | {"n": 0, "patients": 0, "cases": [], "errors": errors}
    truth = np.array([ids.index(case.label) for case, _ in rows])
    probabilities = np.array([[found["probabilities"][name] for name in ids] for _, found in rows])
    kept = np.array([not found["abstained"] for _, found in rows])
    right = probabilities.argmax(1) == truth
    return {
        **answer,
        **class_figures(truth, probabilities, [case.patient for case, _ in rows], ids),
        "abstained": float(1 - kept.mean()),
        "accuracy_kept": float(right[kept].mean()) if kept.any() else None,
        "cases": [case_record(case.case, case.patient, case.label, found) for case, found in rows],
        "errors": errors,
    }


def case_record(case: str, patient: str, label: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """One case of an evaluation."""
    chosen = {name: found[name] for name in ("class", "probabilities", "abstained", "score")}
    return {"case": case, "patient": patient, "label": label, **chosen}
