"""Which slices to correct next: evenly spaced over what the model segments. Choosing by uncertainty did not do better
(`Testing/benchmarks/finetune_seeds.py`)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..channels import check_volumes, first_of, read_volumes
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
    volumes: Volume | Sequence[Volume],
    model: Model,
    count: int,
    options: InferenceOptions,
    progress: Progress = no_progress,
) -> Suggestion:
    """Up to `count` slices to correct, of the first volume where there are several.

    Raises: as `segment` does.
    """
    result = segment(volumes, model, options, progress)
    planes = np.moveaxis(result.labelmap.array, array_axis(first_of(volumes).geometry, model.card.input.plane), 0)
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
    sources: Path | Sequence[Path],
    model: Model,
    count: int,
    options: InferenceOptions,
    progress: Progress = no_progress,
    reader: Reader = read,
) -> SuggestedFile:
    """The slices of an image file, or of several, one a channel of the model, to correct next.

    Raises: as reading and `segment` do.
    """
    files = (sources,) if isinstance(sources, Path) else tuple(sources)
    check_volumes(model.card, len(files))
    progress("read", 0.0)
    suggestion = suggest(read_volumes(files, reader), model, count, options, progress)
    return SuggestedFile(",".join(map(str, files)), model.card.name, suggestion)
