"""`renal-malignancy`: a renal tumour benign or malignant, by the shape of its segment alone."""

from collections.abc import Mapping
from typing import Any

from ...classification.shape import FEATURES as LABELS
from ...classification.shape import LOG
from ...model.card import Coefficients, Gate, InputSpec, ModelCard, TumourClass
from ..recipe import text_of
from ..renal import ShapeRecipe

VALUES = (2,)  # KiTS: 1 kidney, 2 tumour, 3 cyst
# Of a brain, as series and files are called.
NOT_RENAL = ("*brain*", "*head*", "*skull*", "*cereb*", "*flair*", "*mprage*", "*glioma*", "*brats*")
EXTENT_MM = (280.0, 600.0)  # field of view of an adult's abdomen on CT
# One for the size, because volume and long axis are nearly equivalent, and all features of form.
FEATURES = ("log_volume", "sphericity", "elongation", "flatness", "extent")

FACTS = {
    "authors": "The MedTL authors",
    "copyright": "CC BY-NC-SA 4.0, see LICENSE",
    "data_source": "KiTS23 (Heller et al.)",
    "intended_use": "Research on renal tumours. Not for diagnosis.",
    "references": [
        "Heller et al.: The KiTS21 Challenge, arXiv:2307.01984; The KiTS19 Challenge Data, arXiv:1904.00445",
        "Zhu et al. 2022: radiomics and deep features of renal tumours on small CT samples",
    ],
}

FIGURES = {
    "auc": "AUC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "brier": "Brier score",
    "brier_skill": "Brier skill (0: no better than the share alone)",
    "slope": "Calibration slope (1: right, below 1: too sure)",
    "ece": "Expected calibration error",
}


def readme(coefficients: Coefficients, figures: Mapping[str, Any]) -> str:
    """The card for people, with the figures of `medtl.training.renal.figures`."""
    return text_of("renal_malignancy.md").format(
        features=len(coefficients.terms),
        resamples=len(coefficients.resamples),
        n=figures["n"],
        benign=figures["benign"],
        malignant=figures["n"] - figures["benign"],
        prevalence=f"{figures['prevalence']:.1%}".replace("%", " %"),
        table=markdown(coefficients, figures),
    )


def markdown(coefficients: Coefficients, figures: Mapping[str, Any]) -> str:
    """The figures and the model as tables."""
    lines = ["| | mean (95 % confidence interval) |", "| --- | --- |"]
    lines += [f"| {label} | {interval(figures[name])} |" for name, label in FIGURES.items()]
    lines += [
        "",
        f"Nested cross-validation by patient, repeated, on outlines by readers; n = {figures['n']} "
        f"({figures['benign']} benign); intervals by bootstrap over patients. Sensitivity and specificity: malignant "
        "is what lies above the share of malignant tumours. Reliability in bins of equal count, of one repeat:",
        "",
        "| n | predicted | observed |",
        "| --- | --- | --- |",
        *(f"| {b['n']} | {b['predicted']:.3f} | {b['observed']:.3f} |" for b in figures["reliability"]),
        "",
        "| feature | mean ± SD | log-odds of malignant per SD |",
        "| --- | --- | --- |",
        *(f"| {label(t.feature)} | {t.mean:.3g} ± {t.deviation:.2g} | {t.weight:+.2f} |" for t in coefficients.terms),
    ]
    return "\n".join(lines)


def label(feature: str) -> str:
    """What people read for a model's feature."""
    name = feature.removeprefix(LOG)
    return LABELS[name] if name == feature else f"Logarithm of: {LABELS[name]}"


def interval(figure: Mapping[str, Any]) -> str:
    """A mean and its interval."""
    low, high = figure["ci95"]
    return f"{figure['mean']:.3f} ({low:.3f} to {high:.3f})"


RECIPE = ShapeRecipe(
    card=ModelCard(
        name="renal-malignancy",
        version="1.0.0",
        description="Renal tumour benign or malignant, by the shape of its segment; research use, not for diagnosis.",
        task="classification",
        labels=(),
        networks=(),
        input=InputSpec(channels=("segmentation",)),
        sha256="",
        gate=Gate(modality="CT", not_sequence=NOT_RENAL, extent_mm=EXTENT_MM),
        classes=(TumourClass("benign", "Benign"), TumourClass("malignant", "Malignant")),
    ),
    features=FEATURES,
    values=VALUES,
    readme=readme,
    licence=text_of("renal_malignancy_licence.txt"),
    facts=FACTS,
)
