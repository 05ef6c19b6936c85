"""`renal-malignancy`: a renal tumour benign or malignant, by the shape of its segment alone."""

from collections.abc import Mapping
from typing import Any

from ...classification.shape import FEATURES as LABELS
from ...classification.shape import LOG
from ...model.card import Coefficients, Gate, InputSpec, ModelCard, TumourClass

NAME = "renal-malignancy"
CLASSES = (TumourClass("benign", "Benign"), TumourClass("malignant", "Malignant"))
VALUES = (2,)  # KiTS: 1 kidney, 2 tumour, 3 cyst
# Of a brain, as series and files are called.
NOT_RENAL = ("*brain*", "*head*", "*skull*", "*cereb*", "*flair*", "*mprage*", "*glioma*", "*brats*")
EXTENT_MM = (280.0, 600.0)  # field of view of an adult's abdomen on CT
# One for the size, because volume and long axis say the same, and all there are for form.
FEATURES = ("log_volume", "sphericity", "elongation", "flatness", "extent")

README = """# renal-malignancy

Says how probable it is that a renal tumour is malignant, from the **shape of its segment alone**: no grey value is
looked at. **Research use, not for diagnosis.**

- **Model**: logistic regression with an L1 penalty on {features} shape features of the largest connected part, as
  plain numbers in `configs/metadata.json`; nothing is run but a sum. {resamples} fits to resampled patients give the
  interval.
- **Trained on**: the tumour labels of {n} cases of KiTS23 with a diagnosis ({benign} benign, {malignant} malignant).
- **The probabilities are those of that collection**, where {prevalence} of the tumours were malignant: the intercept
  is set so. Where benign tumours are more frequent, every probability here is too high. Read it against {prevalence},
  not against 50 %: what the shape has to say is whether the probability lies above or below.
- **Uncertain: review**, where the 95 % interval of the probability holds {prevalence}: then the shape says nothing
  beyond what is known without a look. That is so for nearly nine tumours of ten. The others come out as "malignant",
  with a probability above or below that share; in cross-validation these answers were no better than the share itself
  (`docs/classify.md`).
- **What it is worth**: little. Small tumours are benign more often, and that is all there is: in cross-validation the
  volume alone ranks slightly better than volume and form together. The choices of this model were made on the same
  folds as its figures, which are kind to it by that (`docs/classify.md` has the model first settled on, too).
- **Made by**: `medtl train renal-malignancy --cases cases.csv --output DIR`; `Testing/benchmarks/renal.py` writes the
  list. Its columns are image (the labelmap), label (`malignant` or `benign`), patient.
- **After**: Zhu et al. 2022 (radiomics and deep features of small renal CT samples); data Heller et al. (KiTS).
- **Licence**: see `LICENSE` (CC BY-NC-SA 4.0: not for commercial use).
- **Known limits**: tumours that were operated on, of one collection, so neither those watched nor those treated
  otherwise; few benign ones, mostly oncocytomas and angiomyolipomas; outlines by trained readers: a smaller or larger
  outline changes the answer (`docs/classify.md`). No grey values, age, sex or growth. Of several tumours the largest
  alone is judged. Never tested on another collection.

{table}
"""

LICENCE = """Coefficients of the model renal-malignancy
Copyright the MedTL authors

These coefficients are licensed under the Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International
License (CC BY-NC-SA 4.0): https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode

They were fitted to the segmentations and diagnoses of
- KiTS23, the 2023 Kidney and Kidney Tumor Segmentation Challenge, CC BY-NC-SA 4.0: Heller et al., "The KiTS21
  Challenge: Automatic segmentation of kidneys, renal tumors, and renal cysts in corticomedullary-phase CT",
  arXiv:2307.01984, and "The KiTS19 Challenge Data", arXiv:1904.00445.

Research use, not for diagnosis. The code of MedTL is under another licence, see the LICENSE beside it.
"""

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


def card(coefficients: Coefficients, training: Mapping[str, Any]) -> ModelCard:
    """The card of the model of these coefficients."""
    return ModelCard(
        name=NAME,
        version="1.0.0",
        description="Renal tumour benign or malignant, by the shape of its segment; research use, not for diagnosis.",
        task="classification",
        labels=(),
        networks=(),
        input=InputSpec(channels=("segmentation",)),
        sha256="",
        gate=Gate(modality="CT", not_sequence=NOT_RENAL, extent_mm=EXTENT_MM),
        training=training,
        classes=CLASSES,
        coefficients=coefficients,
    )


def readme(coefficients: Coefficients, figures: Mapping[str, Any]) -> str:
    """The card for people, with the figures of `medtl.training.renal.figures`."""
    return README.format(
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
