"""The Dice of a model on cases."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from medtl.cases import CaseFiles, read_cases
from medtl.evaluation.metrics import dice
from medtl.io.read import read_labelmap, read_volume
from medtl.model.bundle import Model
from medtl.segmentation import InferenceOptions, segment


def dice_of(model: Model, case: CaseFiles, options: InferenceOptions) -> float:
    """The mean Dice over the labels that the case shows; with one label, of all that is labelled."""
    truth, labels = read_labelmap(case.label).array, model.card.labels
    found = segment(read_volume(case.image), model, options).labelmap.array
    if len(labels) == 1:
        return dice(truth > 0, found > 0)
    shown = [label.value for label in labels if (truth == label.value).any()]
    return float(np.mean([dice(truth == value, found == value) for value in shown]))


def bf16_less_fp32(model: Model, cases: Path, options: InferenceOptions) -> str:
    """The mean Dice in bf16 less that in fp32, and the largest difference of a case, over the cases held out."""
    held = set(model.card.training["split"]["test"])
    less = []
    for case in read_cases(cases):
        if case.case in held:
            full, half = (dice_of(replace(model, bf16=bf16), case, options) for bf16 in (False, True))
            less.append(half - full)
    return f"{np.mean(less):+.4f}, at most {np.abs(less).max():.4f}, n = {len(less)}"
