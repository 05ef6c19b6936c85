"""Which slices to correct next: evenly spaced over what the model segments. Choosing by uncertainty did not do better
(`Testing/benchmarks/finetune_seeds.py`)."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..io import read
from ..io.isolated import Reader
from ..model.bundle import Model
from ..progress import Progress, no_progress
from ..segmentation import InferenceOptions, segment
from ..typed_json import SPREAD
from ..volume import Volume, array_axis


@dataclass(frozen=True)
class SuggestedSlice:
    """A slice to correct: its 0-based index along the array axis nearest the plane's normal, and a score from 0 to 1,
    highest in the middle."""

    index: int
    score: float


@dataclass(frozen=True)
class Suggestion:
    """The slices to correct next, in order, and the warnings of the segmentation that they come from."""

    slices: tuple[SuggestedSlice, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SuggestedFile:
    """The slices of a file to correct next, as `medtl suggest --json` prints them."""

    input: str
    model: str
    suggestion: Suggestion = field(metadata=SPREAD)


def suggest(
    volume: Volume, model: Model, count: int, options: InferenceOptions, progress: Progress = no_progress
) -> Suggestion:
    """Up to `count` slices to correct.

    Raises: as `segment` does.
    """
    result = segment(volume, model, options, progress)
    planes = np.moveaxis(result.labelmap.array, array_axis(volume.geometry, model.card.input.plane), 0)
    labelled = np.flatnonzero(planes.any(axis=(1, 2)))
    first, last = (int(labelled[0]), int(labelled[-1])) if len(labelled) else (0, len(planes) - 1)
    return Suggestion(evenly_spaced(first, last, count), result.warnings)


def evenly_spaced(first: int, last: int, count: int) -> tuple[SuggestedSlice, ...]:
    """`count` slices from `first` to `last`, both ends half a step away, scored by their nearness to the middle."""
    span = last - first + 1
    count = min(count, span)
    wanted = (first + (np.arange(count) + 0.5) * span / count).astype(int)
    middle = (first + last) / 2
    return tuple(
        SuggestedSlice(int(k), round(1.0 - abs(float(k) - middle) / span, 4))
        for k in np.unique(np.clip(wanted, first, last))
    )


def suggest_file(
    image: Path,
    model: Model,
    count: int,
    options: InferenceOptions,
    progress: Progress = no_progress,
    reader: Reader = read,
) -> SuggestedFile:
    """The slices of an image file to correct next.

    Raises: as reading and `segment` do.
    """
    progress("read", 0.0)
    suggestion = suggest(reader.read_volume(image), model, count, options, progress)
    return SuggestedFile(str(image), model.card.name, suggestion)
