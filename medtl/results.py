"""The figures of a job, as the commands print them with `--json` and the worker sends them (see `typed_json`).

The order of the fields is the order of the entries.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LesionFigures:
    """A connected part of a segment: mL, mm, and its centre in LPS mm; None where the spacing is not real."""

    volume_ml: float | None
    diameter_mm: float | None
    centre: tuple[float, float, float]


@dataclass(frozen=True)
class SegmentFigures:
    """A segment of a written labelmap, its lesions from the largest on."""

    id: str
    name: str
    volume_ml: float | None
    lesions: tuple[LesionFigures, ...]


@dataclass(frozen=True)
class SegmentedFile:
    """One segmented input, as `medtl segment --json` prints it in `results`; `seconds` by stage, to the millisecond."""

    input: str
    output: str
    segments: tuple[SegmentFigures, ...]
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class FailedInput:
    """An input without a result, as `--json` prints it in `errors`; `input` is None for an error of the whole run."""

    input: str | None
    message: str


@dataclass(frozen=True)
class SegmentedBatch:
    """The object that `medtl segment --json` prints; `sha256` is that of the weights, None where none were loaded."""

    model: str
    sha256: str | None
    results: tuple[SegmentedFile, ...]
    errors: tuple[FailedInput, ...]
