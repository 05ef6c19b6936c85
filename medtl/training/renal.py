"""A recipe for a model that classifies by shape: labelmaps and diagnoses in, a model of plain numbers out.

The model is a logistic regression with an L1 penalty, which drops features, on the shape of the tumour. The strength of
the penalty is chosen, and the figures are measured, by nested cross-validation by patient. After each fit the intercept
is set so that the mean probability is the share of malignant tumours in the training data.
"""

import hashlib
import importlib.metadata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from ..cases import read_classified
from ..classification.region import region_of
from ..classification.shape import feature_value, shape_features
from ..errors import InputError
from ..evaluation.metrics import draw_patients, rows_by_patient
from ..evaluation.reliability import INTERVAL_RESAMPLES, bootstrap, log_loss, reliability, scores
from ..io import read
from ..io.isolated import Reader
from ..model.bundle import save_bundle
from ..model.card import Coefficients, ModelCard, Term
from ..progress import Progress, no_progress
from ..volume import voxels_sha256
from .recipe import TrainedBundle, TrainingRun, bundle_folder, named_warnings

FOLDS = 5
REPEATS = 10
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)  # of scikit-learn: the higher, the weaker the penalty
RESAMPLES = 100
SEED = 0


@dataclass(frozen=True)
class Table:
    """Cases in rows: names and hashes of the labelmaps, patients (n,), malignant bool (n,), features float64 (n, m);
    `warnings` of reading, each after the case's name."""

    cases: tuple[str, ...]
    sha256: tuple[str, ...]
    patients: np.ndarray
    malignant: np.ndarray
    features: tuple[str, ...]
    values: np.ndarray
    warnings: tuple[str, ...] = ()

    def only(self, *features: str) -> "Table":
        """The table with only these features of a model, see `medtl.classification.shape.measured`."""
        rows = [dict(zip(self.features, row)) for row in self.values]
        values = np.array([[feature_value(row, feature) for feature in features] for row in rows])
        return replace(self, features=features, values=values)


@dataclass(frozen=True)
class Fitted:
    """A logistic model on scaled features; `strength` is scikit-learn's C, chosen by cross-validation."""

    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray
    intercept: float
    strength: float

    def probability(self, values: np.ndarray) -> np.ndarray:
        """P(malignant) (n,) of features (n, m)."""
        return np.asarray(expit(self.intercept + (values - self.mean) / self.deviation @ self.weights))


@dataclass(frozen=True)
class ShapeRecipe:
    """How a model that classifies by shape is made: its card (before training), the features it uses, the label values
    of the tumour in the training labelmaps, and its texts; `readme(coefficients, figures)` is the card for people."""

    card: ModelCard
    features: tuple[str, ...]
    values: tuple[int, ...]
    readme: Callable[[Coefficients, Mapping[str, Any]], str]
    licence: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def train(self, run: TrainingRun, progress: Progress = no_progress, reader: Reader = read) -> TrainedBundle:
        """The bundle in the folder `run.output`/NAME, fitted to all cases of a CSV file, with its figures from nested
        cross-validation. The columns are image (the labelmap), label (the class) and patient.

        Raises: InputError for cases or options that cannot be used, too few of a class, an output that is taken, or
        without scikit-learn.
        """
        if run.fold is not None or run.resume or run.encoder_weights:
            raise InputError(f"{self.card.name} is fitted at once: leave --fold, --resume and --encoder-weights out.")
        if find_spec("sklearn") is None:
            raise InputError(
                "Expected the package scikit-learn for this training. Install it: pip install 'medtl[renal]'."
            )
        bundle = bundle_folder(self.card, run)
        table = self.read_table(run.cases, progress, reader).only(*self.features)
        check_table(table)
        models = fold_models(table, REPEATS, progress=progress)
        measured_figures = figures(table, *out_of_fold(models, table.values), progress)
        coefficients = replace(final_model(table, progress), values=self.values)
        run.output.mkdir(exist_ok=True)
        training = training_record(table, measured_figures)
        card = replace(self.card, coefficients=coefficients, training=training)
        readme = self.readme(coefficients, measured_figures)
        save_bundle(bundle, card, {}, readme, self.licence, self.facts)
        return TrainedBundle(bundle, table.warnings)

    def read_table(self, cases: Path, progress: Progress = no_progress, reader: Reader = read) -> Table:
        """All shape features of the tumours of a CSV file's labelmaps.

        Raises: InputError naming the labelmap that cannot be used.
        """
        classes = tuple(tumour_class.id for tumour_class in self.card.classes)
        listed = read_classified(cases, classes)
        shapes, hashes = [], []
        warnings: list[str] = []
        for done, case in enumerate(listed):
            progress("measure", done / len(listed))
            labels = reader.read_labelmap(case.image)
            try:
                shapes.append(shape_features(region_of(labels, None, self.values), labels.geometry).values)
            except InputError as error:
                raise InputError(f"{error} The labelmap is {case.image}.") from error
            hashes.append(voxels_sha256(labels.array))
            warnings += named_warnings(case.case, labels.warnings)
        progress("measure", 1.0)
        return Table(
            tuple(case.case for case in listed),
            tuple(hashes),
            np.array([case.patient for case in listed]),
            np.array([case.label == classes[1] for case in listed]),
            tuple(shapes[0]),
            np.array([list(shape.values()) for shape in shapes]),
            tuple(warnings),
        )


def check_table(table: Table) -> None:
    """Raise InputError when the table is too small to be split twice, or a patient has tumours of both classes."""
    both = set(table.patients[table.malignant]) & set(table.patients[~table.malignant])
    if both:
        raise InputError(f"Expected one diagnosis for a patient, found both for {min(both)}. Correct the list.")
    counts = [len(set(table.patients[table.malignant == value])) for value in (True, False)]
    if min(counts) < 2 * FOLDS:
        raise InputError(
            f"Expected at least {2 * FOLDS} patients of each class, found {counts[0]} malignant and {counts[1]} benign."
            " Add cases."
        )
    for name, column in zip(table.features, table.values.T):
        if np.ptp(column) == 0:
            raise InputError(f"Expected tumours of different shapes, found {name} the same in all. Add cases.")


def splits(malignant: np.ndarray, patients: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to train and to test on, FOLDS times: by patient, the classes spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return list(folds.split(np.zeros((len(malignant), 1)), malignant, patients))


def fit(
    values: np.ndarray,
    malignant: np.ndarray,
    patients: np.ndarray,
    seed: int = SEED,
    balanced: bool = True,
    strengths: Sequence[float] = STRENGTHS,
) -> Fitted:
    """The model of these rows; the strength of its penalty has the smallest log loss in cross-validation by patient.

    `balanced` gives both classes the same total weight in the fit; the intercept is set back to their true share.
    """
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    scaled = (values - mean) / deviation
    inner = splits(malignant, patients, seed)
    losses = []
    for strength in strengths:
        odds = np.zeros(len(malignant))
        for train, test in inner:
            odds[test] = (
                logistic(strength, balanced).fit(scaled[train], malignant[train]).decision_function(scaled[test])
            )
        losses.append(log_loss(malignant, expit(odds + unbiased_intercept(odds, malignant.mean()))))
    strength = strengths[int(np.argmin(losses))]
    weights = logistic(strength, balanced).fit(scaled, malignant).coef_[0]
    return Fitted(mean, deviation, weights, unbiased_intercept(scaled @ weights, malignant.mean()), strength)


def logistic(strength: float, balanced: bool) -> Any:
    """scikit-learn's logistic regression with an L1 penalty."""
    from sklearn.linear_model import LogisticRegression

    weight = "balanced" if balanced else None
    # This solver also shrinks the intercept. The scaling reduces that, and `unbiased_intercept` replaces the intercept.
    return LogisticRegression(
        C=strength, l1_ratio=1.0, solver="liblinear", class_weight=weight, intercept_scaling=10, random_state=SEED
    )


def unbiased_intercept(scores: np.ndarray, share: float) -> float:
    """The intercept that makes the mean probability of these log-odds `share`, above 0 and below 1."""
    low, high = -50.0 - float(scores.max()), 50.0 - float(scores.min())
    return float(brentq(lambda intercept: expit(scores + intercept).mean() - share, low, high))


def fold_models(
    table: Table,
    repeats: int = REPEATS,
    balanced: bool = True,
    strengths: Sequence[float] = STRENGTHS,
    progress: Progress = no_progress,
) -> list[list[tuple[np.ndarray, Fitted]]]:
    """For each repeat and fold: the rows held out, and the model fitted to the others."""
    models: list[list[tuple[np.ndarray, Fitted]]] = []
    for repeat in range(repeats):
        models.append([])
        for number, (train, test) in enumerate(splits(table.malignant, table.patients, SEED + repeat)):
            progress("validate", (repeat + number / FOLDS) / repeats)
            rows = table.values[train], table.malignant[train], table.patients[train]
            model = fit(*rows, SEED + repeat, balanced, strengths)
            models[-1].append((test, model))
    progress("validate", 1.0)
    return models


def out_of_fold(models: list[list[tuple[np.ndarray, Fitted]]], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P(malignant) (repeats, n) of each row of features by the model not trained on its patient, and the number
    (repeats, n) of that fold."""
    probabilities, folds = np.zeros((len(models), len(values))), np.zeros((len(models), len(values)), dtype=np.int64)
    for repeat, models_of_repeat in enumerate(models):
        for number, (test, model) in enumerate(models_of_repeat):
            probabilities[repeat, test] = model.probability(values[test])
            folds[repeat, test] = number
    return probabilities, folds


def final_model(table: Table, progress: Progress = no_progress) -> Coefficients:
    """The model of all cases, with fits to bootstrap resamples of the patients, each with its own choice of penalty;
    their weights, to five digits, are of features scaled as for the model itself."""
    model = fit(table.values, table.malignant, table.patients)
    rng, groups = np.random.default_rng(SEED), rows_by_patient(table.patients)
    resamples: list[tuple[float, ...]] = []
    while len(resamples) < RESAMPLES:
        progress("resample", len(resamples) / RESAMPLES)
        rows = draw_patients(groups, rng)
        if any(len(set(table.patients[rows][table.malignant[rows] == value])) < FOLDS for value in (True, False)):
            continue
        resampled = fit(table.values[rows], table.malignant[rows], table.patients[rows])
        weights = resampled.weights * model.deviation / resampled.deviation
        shift = resampled.weights @ ((model.mean - resampled.mean) / resampled.deviation)
        resamples.append(tuple(float(f"{x:.5g}") for x in (resampled.intercept + shift, *weights)))
    progress("resample", 1.0)
    terms = tuple(
        Term(name, float(mean), float(deviation), float(weight))
        for name, mean, deviation, weight in zip(table.features, model.mean, model.deviation, model.weights)
    )
    prevalence = round(float(table.malignant.mean()), 4)
    return Coefficients(float(model.intercept), terms, tuple(resamples), prevalence=prevalence)


def figures(
    table: Table, probabilities: np.ndarray, folds: np.ndarray, progress: Progress = no_progress
) -> dict[str, Any]:
    """Figures of what `out_of_fold` gives, each the mean over the repeats, with its 95 % interval from resampling
    patients; and the reliability of the first repeat."""

    def all_figures(rows: np.ndarray) -> np.ndarray:
        repeats = [scores(table.malignant[rows], p[rows], f[rows]) for p, f in zip(probabilities, folds)]
        means: np.ndarray = np.mean([list(row.values()) for row in repeats], axis=0)
        return means

    names = list(scores(table.malignant, probabilities[0], folds[0]))
    values = all_figures(np.arange(len(table.cases)))
    limits = bootstrap(all_figures, table.malignant, table.patients, INTERVAL_RESAMPLES, progress)
    return {
        "n": len(table.cases),
        "patients": len(set(table.patients)),
        "benign": int(np.count_nonzero(~table.malignant)),
        "prevalence": round(float(table.malignant.mean()), 4),
        **{
            name: {"mean": round(float(v), 4), "ci95": [round(float(x), 4) for x in limit]}
            for name, v, limit in zip(names, values, limits.T)
        },
        "reliability": [
            {name: round(value, 4) for name, value in row.items()}
            for row in reliability(table.malignant, probabilities[0])
        ],
    }


def training_record(table: Table, measured_figures: dict[str, Any]) -> dict[str, Any]:
    """The card's entry on the training."""
    return {
        "split": {
            "by": "patient; figures from repeated nested cross-validation, the model itself from all cases",
            "seed": SEED,
            "folds": FOLDS,
            "repeats": REPEATS,
            "train": dict(zip(table.cases, table.sha256)),
            "test": {},
        },
        "classes": dict(Counter("malignant" if value else "benign" for value in table.malignant)),
        "figures": measured_figures,
        "versions": {name: importlib.metadata.version(name) for name in ("scikit-learn", "SimpleITK", "numpy")},
        "list_sha256": hashlib.sha256("\n".join(sorted(table.cases)).encode()).hexdigest(),
    }
