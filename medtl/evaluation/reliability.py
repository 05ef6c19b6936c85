"""Figures of the probabilities of a two-class model: ranking, calibration, and skill over the prevalence alone.

`positive` is bool (n,), `probability` float64 (n,) that of the positive class.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit

from ..progress import Progress, no_progress
from .metrics import draw_patients, ranked_pairs, rows_by_patient, value_table

BINS = 5
INTERVAL_RESAMPLES = 1000


def log_loss(positive: np.ndarray, probability: np.ndarray) -> float:
    """The mean negative log-likelihood."""
    right = np.where(positive, probability, 1 - probability)
    return float(-np.log(np.maximum(right, 1e-12)).mean())


def scores(positive: np.ndarray, probability: np.ndarray, folds: np.ndarray) -> dict[str, float]:
    """AUC; sensitivity and specificity where positive means more probable than the share of positive cases; Brier
    score and its skill over that share; calibration slope; expected calibration error in bins of equal count.

    `folds` (n,) are the numbers of the models that gave the probabilities, see `auc`.
    """
    share = positive.mean()
    brier = float(((probability - positive) ** 2).mean())
    bins = reliability(positive, probability)
    return {
        "auc": auc(positive, probability, folds),
        "sensitivity": float((probability > share)[positive].mean()),
        "specificity": float((probability <= share)[~positive].mean()),
        "brier": brier,
        "brier_skill": 1 - brier / float(share * (1 - share)),
        "slope": calibration_slope(positive, probability),
        "ece": sum(b["n"] * abs(b["predicted"] - b["observed"]) for b in bins) / len(positive),
    }


def auc(positive: np.ndarray, probability: np.ndarray, folds: np.ndarray) -> float:
    """The share of pairs, one positive and one not, that are ranked right, ties counting half; NaN without a pair.

    Only pairs of one fold count. A fold with more positives has fewer of them to train on, so across folds even models
    without any skill are below 0.5 (Parker et al., BMC Bioinformatics 2007, 8:326).
    """
    tables = (value_table(positive[folds == fold], probability[folds == fold]) for fold in np.unique(folds))
    right, pairs = np.sum([ranked_pairs(table) for table in tables], axis=0)
    return float(right / pairs) if pairs else float("nan")


def calibration_slope(positive: np.ndarray, probability: np.ndarray) -> float:
    """The slope of a logistic regression of the outcome on the log-odds (Cox 1958): 1 is right, below 1 overconfident.
    NaN where all probabilities are the same; by Newton's method."""
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    design = np.stack([np.ones(len(clipped)), np.log(clipped / (1 - clipped))], axis=1)
    if np.ptp(design[:, 1]) < 1e-9:
        return float("nan")
    beta = np.array([0.0, 1.0])
    for _ in range(25):
        fitted = expit(design @ beta)
        hessian = design.T * (fitted * (1 - fitted)) @ design + 1e-9 * np.eye(2)
        step = np.clip(np.linalg.solve(hessian, design.T @ (positive - fitted)), -2, 2)
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    return float(beta[1])


def reliability(positive: np.ndarray, probability: np.ndarray) -> list[dict[str, Any]]:
    """Bins of equal count by probability: n, mean predicted and observed share of positive."""
    order = np.argsort(probability, kind="stable")
    return [
        {
            "n": len(rows),
            "predicted": float(probability[rows].mean()),
            "observed": float(positive[rows].mean()),
        }
        for rows in np.array_split(order, BINS)
        if len(rows)
    ]


def bootstrap(
    figure: Callable[[np.ndarray], Any],
    positive: np.ndarray,
    patients: np.ndarray,
    n: int = INTERVAL_RESAMPLES,
    progress: Progress = no_progress,
) -> np.ndarray:
    """The 95 % intervals (2, …) of the figures of rows: percentiles of `n` resamples of patients, those of one class
    alone left out."""
    rng, figures = np.random.default_rng(0), []
    groups = rows_by_patient(patients)
    for done in range(n):
        progress("intervals", done / n)
        rows = draw_patients(groups, rng)
        if 0 < np.count_nonzero(positive[rows]) < len(rows):
            figures.append(figure(rows))
    progress("intervals", 1.0)
    limits: np.ndarray = np.nanpercentile(np.array(figures), (2.5, 97.5), axis=0)
    return limits
