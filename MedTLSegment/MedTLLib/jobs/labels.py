"""Which labels of a model the user wants in the segmentation; remembered for each model. No Qt."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import slicer

from medtl.labels import LABEL_TAG
from medtl.model.card import ModelCard
from medtl.volume import Labelmap

UNWANTED = "MedTL/unwantedLabels"  # the user's setting, by the name of the model: ids, as JSON


def wanted_labels(card: ModelCard) -> tuple[str, ...]:
    """The ids of the labels that the user wants of this model, in its order; all, unless the user chose."""
    try:
        unwanted = json.loads(str(slicer.app.userSettings().value(f"{UNWANTED}/{card.name}") or "[]"))
    except ValueError:  # edited by hand
        unwanted = []
    return tuple(label.id for label in card.labels if label.id not in unwanted)


def remember(card: ModelCard, wanted: Iterable[str]) -> None:
    """Want these labels of this model from now on, also in other scenes and after a restart."""
    unwanted = [label.id for label in card.labels if label.id not in set(wanted)]
    slicer.app.userSettings().setValue(f"{UNWANTED}/{card.name}", json.dumps(unwanted))


def only_wanted(labelmap: Labelmap, wanted: Sequence[str]) -> Labelmap:
    """The labelmap with the segments of these labels alone."""
    segments = tuple(segment for segment in labelmap.segments if dict(segment.tags).get(LABEL_TAG) in wanted)
    kept = np.zeros(int(labelmap.array.max(initial=0)) + 1, labelmap.array.dtype)
    for segment in segments:
        kept[segment.value : segment.value + 1] = segment.value
    return replace(labelmap, array=kept[labelmap.array], segments=segments)
