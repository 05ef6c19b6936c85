"""The figures of a job, as the commands print them with `--json` and the worker sends them (see `typed_json`).

The order of the fields is the order of the entries.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


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


Point = tuple[float, float, float]  # LPS mm


@dataclass(frozen=True)
class Diameter:
    """A straight line across a lesion in a slice: its length in mm and its two ends, LPS mm, on the outline."""

    mm: float
    ends: tuple[Point, Point]


@dataclass(frozen=True)
class MeasuredLesion:
    """A lesion with its measures, numbered from 1, the largest first: `voxels`, `volume_ml`; the `longest` diameter in
    a slice, the `perpendicular` one on the same `slice` (0-based index along the axis of the slices), see
    `medtl.diameters`; `surface_mm2`, see `medtl.measurement.surface_mm2`; `diameter_mm` and `centre` as LesionFigures.

    All but `voxels` and `centre` are None where the spacing is not real.
    """

    number: int
    voxels: int
    volume_ml: float | None
    longest: Diameter | None
    perpendicular: Diameter | None
    slice: int | None
    surface_mm2: float | None
    diameter_mm: float | None
    centre: Point


@dataclass(frozen=True)
class MeasuredSegment:
    """A segment with its lesions (parts, where it is an organ), the largest first. `volume_ml` is that of all its
    voxels. `small` parts are under the smallest volume that is listed; they have `small_ml` together. mL are None where
    the spacing is not real."""

    id: str
    name: str
    volume_ml: float | None
    lesions: tuple[MeasuredLesion, ...]
    small: int
    small_ml: float | None


@dataclass(frozen=True)
class MeasuredFile:
    """The object that `medtl measure --json` prints: `image` is None where the segmentation states the spacing; the
    diameters lie in slices of the `plane`; parts under `min_ml` or `min_voxels` are counted and not listed."""

    segmentation: str
    image: str | None
    plane: str
    min_ml: float
    min_voxels: int
    segments: tuple[MeasuredSegment, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class SegmentedFile:
    """One segmented input, as `medtl segment --json` prints it in `results`; `seconds` by stage, to the millisecond.
    `precision` is that of the network: fp32, or bf16 where the processor gains by it and the model allows it."""

    input: str
    output: str
    segments: tuple[SegmentFigures, ...]
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]
    precision: str


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


@dataclass(frozen=True)
class Feature:
    """A feature of a model: `contribution` is what it adds to the log-odds of the second class."""

    name: str
    label: str
    value: float
    contribution: float


@dataclass(frozen=True)
class SliceRecord:
    """A slice's index, its weight in the mean, and its probabilities by class id."""

    index: int
    weight: float
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class ImageRecord:
    """The image that was classified; `spacing` (x, y, z) is None where it is not real."""

    sha256: str
    size: tuple[int, int, int]
    spacing: tuple[float, float, float] | None
    modality: str | None
    description: str | None


@dataclass(frozen=True)
class ClassifiedFile:
    """The classification of a file, with numbers rounded to 4 decimals: one result of `medtl classify --json`.

    `class_id` and `name` are those of the most probable class, also where the model abstains; `votes` are the slices by
    their most probable class.
    """

    class_id: str = field(metadata={"key": "class"})
    name: str
    probabilities: Mapping[str, float]
    abstained: bool
    reasons: tuple[str, ...]
    score: float | None
    threshold: float | None
    plane: str | None
    votes: Mapping[str, int]
    slices: tuple[SliceRecord, ...]
    rule: str
    features: tuple[Feature, ...]
    interval: tuple[float, ...] | None
    prevalence: float | None
    image: ImageRecord
    input: str
    segmentation: str | None
    segment: str | None
    heatmap: str | None
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class ClassifiedBatch:
    """The object that `medtl classify --json` prints; `sha256` is that of the weights, None where none were loaded."""

    model: str
    version: str | None
    sha256: str | None
    results: tuple[ClassifiedFile, ...]
    errors: tuple[FailedInput, ...]


@dataclass(frozen=True)
class ImportedModel:
    """The object that `medtl import --json` prints: the model's name and its folder in the user's store."""

    model: str
    folder: str


@dataclass(frozen=True)
class TrendValue:
    """A label, or a lesion of it, at a date (YYYY-MM-DD, empty where it is not known).

    `volume_ml` is None where the segmentation of that date lacks the label, 0 where it has it without a voxel. Of the
    part with the longest diameter, `longest_mm` and `perpendicular_mm` (see `medtl.diameters`) are None where there is
    none. `lesions` are the numbers of its parts at that date, as `medtl measure` has them, and `parts_ml` their mL.

    The changes are per cent of the first, the previous and the smallest earlier volume; None where there is none, or it
    is 0. `events` is what happened to a lesion since the date before: new, vanished, merged, split.
    """

    date: str
    volume_ml: float | None
    longest_mm: float | None
    perpendicular_mm: float | None
    lesions: tuple[int, ...]
    parts_ml: tuple[float, ...]
    change_to_first: float | None
    change_to_previous: float | None
    change_to_smallest: float | None
    events: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrendRow:
    """A label as a whole (`lesion` 0), or one of its lesions, numbered from 1, those of the newest date first. Lesions
    that are one at some date count as one at all."""

    id: str
    name: str
    lesion: int
    values: tuple[TrendValue, ...]


@dataclass(frozen=True)
class TrendStudy:
    """A date, and the similarity of its image to that of the first date after registration; None where it was not
    registered (see `medtl.registration`)."""

    date: str
    similarity: float | None


@dataclass(frozen=True)
class Trend:
    """The object that `medtl trend --json` prints. Lesions have rows only where they were `matched` between dates.
    Neither file names nor anything else that names a patient is in it."""

    studies: tuple[TrendStudy, ...]
    matched: bool
    rows: tuple[TrendRow, ...]
    warnings: tuple[str, ...]
    note: str
