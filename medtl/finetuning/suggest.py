"""Which slice next: evenly spaced over what the model found, which active choices have yet to beat."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..io.read import read_volume
from ..model.bundle import Model
from ..progress import Progress, no_progress
from ..segmentation import InferenceOptions, segment
from ..typed_json import encode
from ..volume import Volume, array_axis


@dataclass(frozen=True)
class Suggestion:
    """Slices to correct, each as {"index", "score"}: 0-based along the array axis nearest the plane's normal, the
    middle one with the highest score; and the warnings of segmenting."""

    slices: list[dict[str, float | int]]
    warnings: tuple[str, ...]


def suggest(
    volume: Volume, model: Model, count: int, options: InferenceOptions, progress: Progress = no_progress
) -> Suggestion:
    """Up to `count` slices to correct.

    Raises: as `segment` does.
    """
    result = segment(volume, model, options, progress)
    planes = np.moveaxis(result.labelmap.array, array_axis(volume.geometry, model.card.input.plane), 0)
    there = np.flatnonzero(planes.any(axis=(1, 2)))
    first, last = (int(there[0]), int(there[-1])) if len(there) else (0, len(planes) - 1)
    return Suggestion(evenly_spaced(first, last, count), result.warnings)


def evenly_spaced(first: int, last: int, count: int) -> list[dict[str, float | int]]:
    """`count` slices from `first` to `last`, both ends half a step away, scored by their nearness to the middle."""
    span = last - first + 1
    wanted = (first + (np.arange(count) + 0.5) * span / count).astype(int)
    middle = (first + last) / 2
    return [
        {"index": int(k), "score": round(1.0 - abs(float(k) - middle) / span, 4)}
        for k in np.unique(np.clip(wanted, first, last))
    ]


def suggest_file(
    image: Path, model: Model, count: int, options: InferenceOptions, progress: Progress = no_progress
) -> dict[str, Any]:
    """The object of `medtl suggest --json`.

    Raises: as reading and `segment` do.
    """
    progress("read", 0.0)
    volume = read_volume(image)
    suggestion = suggest(volume, model, count, options, progress)
    return {"input": str(image), "model": model.card.name, **encode(suggestion)}
