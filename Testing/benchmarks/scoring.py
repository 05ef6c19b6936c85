"""The Dice of a model on cases."""

import numpy as np

from medtl.cases import CaseFiles
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
