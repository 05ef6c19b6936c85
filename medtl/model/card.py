"""What a model says about itself: the block `medtl` of its bundle's metadata.json, as frozen dataclasses.

Read declaratively: every entry is checked against the type it must have, nothing is evaluated.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import ModelError
from ..typed_json import decode
from ..volume import PLANES

SCHEMA = 1
METADATA = "configs/metadata.json"
TASKS = ("segmentation", "classification")
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"  # of a model: also of its folder and its segments


@dataclass(frozen=True)
class TumourClass:
    """One answer of a classification model."""

    id: str
    name: str


@dataclass(frozen=True)
class Label:
    """One class of a segmentation model. Colour is RGB in 0..1; `snomed` names category, type and region codes."""

    value: int
    id: str
    name: str
    colour: tuple[float, float, float] = (0.9, 0.2, 0.2)
    snomed: str = ""


@dataclass(frozen=True)
class NetworkSpec:
    """A network of `medtl.model.networks.NETWORKS`; `prefix` is that of its weights in the safetensors file."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    prefix: str = ""


@dataclass(frozen=True)
class InputSpec:
    """What the network sees.

    `plane`: slices are taken along the array axis nearest its normal. `spacing`: in-plane mm per pixel; a volume
    within the factor `spacing_tolerance` of it is used as it is. `scaling`: "tissue" divides by the level of
    deep tissue, "window" maps `window` (HU) to -1..1, "picture" takes each slice by itself (`classification.frames`),
    `side` pixels a side. `neighbours`: slices on each side given as further channels, at `neighbour_mm` mm (0: the next
    slices, however far).
    """

    channels: tuple[str, ...] = ("FLAIR",)
    plane: str = "axial"
    spacing: float | None = None
    spacing_tolerance: float = 1.3
    scaling: str = "tissue"
    window: tuple[float, float] | None = None
    neighbours: int = 0
    neighbour_mm: float = 0.0
    side: int | None = None


@dataclass(frozen=True)
class Calibration:
    """`temperature` divides the logits; foreground is where its probability exceeds `threshold`."""

    temperature: float = 1.0
    threshold: float = 0.5


@dataclass(frozen=True)
class Abstention:
    """When a classification model does not know: where the score of the input, "energy" (Liu 2020) or "mahalanobis"
    (Lee 2018), both higher the stranger it is, exceeds `threshold`, or the best probability is below
    `min_probability`."""

    score: str
    threshold: float
    min_probability: float


@dataclass(frozen=True)
class Term:
    """A feature of `classification.shape` in a logistic model, with the mean and standard deviation that scale it."""

    feature: str
    mean: float
    deviation: float
    weight: float


@dataclass(frozen=True)
class Coefficients:
    """A logistic model in plain numbers: P(second class) = sigmoid(intercept + sum of weight * (x - mean) / deviation).

    `resamples` are the intercept and the weights of bootstrap fits, for the interval; `values` are the label values of
    the region in a labelmap whose segments say nothing else. `prevalence` is the share of the second class in training:
    what is known of a case before it is looked at, so the model abstains where the interval holds it.
    """

    intercept: float
    terms: tuple[Term, ...]
    resamples: tuple[tuple[float, ...], ...] = ()
    values: tuple[int, ...] = (1,)
    prevalence: float | None = None


@dataclass(frozen=True)
class Cleanup:
    """Connected components (26) under `min_ml` mL (where no spacing is known, as in pictures: under `min_pixels`), or
    under `min_share` of the largest one, are removed; holes of a slice are filled."""

    min_ml: float = 0.0
    min_share: float = 0.0
    fill_holes: bool = False
    min_pixels: int = 0


@dataclass(frozen=True)
class Gate:
    """What an input must look like, else a warning with the reason.

    `modality` is DICOM's; a series description that matches `not_sequence` and not `sequence` is another sequence.
    Extents are in-plane field of view in mm; `statistics` maps a name of `Prepared.statistics` to its
    usual range.
    """

    modality: str = ""
    sequence: str = ""
    not_sequence: str = ""
    extent_mm: tuple[float, float] | None = None
    statistics: Mapping[str, tuple[float, float]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Parent:
    """The model this one was tuned from; `family` is the first of the line, None where that is the parent itself."""

    name: str
    sha256: str
    family: str | None = None


@dataclass(frozen=True)
class ModelCard:
    """What a bundle says about its model: the block `medtl` of metadata.json, with MONAI's version and description."""

    name: str
    version: str
    description: str
    task: str
    labels: tuple[Label, ...]
    networks: tuple[NetworkSpec, ...]
    input: InputSpec
    sha256: str
    calibration: Calibration = Calibration()
    cleanup: Cleanup = Cleanup()
    gate: Gate = Gate()
    training: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    parent: Parent | None = None
    classes: tuple[TumourClass, ...] = ()
    coefficients: Coefficients | None = None
    abstention: Abstention | None = None

    @property
    def unfinished(self) -> bool:
        """True for the best model so far of a tuning that was stopped."""
        records = _records(self.training)
        return bool(records) and isinstance(records[-1], Mapping) and bool(records[-1].get("unfinished"))

    @property
    def family(self) -> str:
        """The model that this one and its relatives were tuned from: they write the same segments."""
        return self.name if self.parent is None else self.parent.family or self.parent.name


def load_card(folder: Path) -> ModelCard:
    """The card of a bundle folder.

    Raises: ModelError when metadata.json is missing, is not JSON or does not say what a card must.
    """
    path = folder / METADATA
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"Expected {METADATA} in {folder}, found none. Choose the folder of a model.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON ({error}). Import the model again.") from error
    block = metadata.get("medtl") if isinstance(metadata, dict) else None
    if not isinstance(block, dict):
        raise ModelError(f"{path} has no block 'medtl': a MONAI bundle, but not one that MedTL can run.")
    if block.get("schema") != SCHEMA:
        raise ModelError(f"{path} has schema {block.get('schema')}, expected {SCHEMA}. Update MedTL or the model.")
    content = {k: v for k, v in block.items() if k != "schema"}
    content |= {k: metadata.get(k) for k in ("version", "description")}
    card: ModelCard = decode(ModelCard, content, str(path))
    check_card(card, path)
    return card


def check_card(card: ModelCard, path: Path) -> None:
    """Raise ModelError when the card contradicts itself."""
    if wrong := [name for name in (card.name, card.family) if not re.fullmatch(NAME, name)]:
        problem = f"the name {wrong[0]!r}; use letters, digits, '.', '_' and '-'"
    elif card.task not in TASKS:
        problem = f"the task {card.task!r}; this MedTL runs {' and '.join(TASKS)}"
    else:
        of_task = classification_problem if card.task == "classification" else segmentation_problem
        problem = of_task(card) or common_problem(card)
    if problem:
        raise ModelError(f"{path} states {problem}.")


def segmentation_problem(card: ModelCard) -> str:
    """What is wrong with the card of a model that segments; empty when nothing is."""
    values = [label.value for label in card.labels]
    ids = [label.id for label in card.labels]
    if (
        not card.labels
        or len(set(values)) < len(values)
        or len(set(ids)) < len(ids)
        or not all(0 < v < 65535 for v in values)
    ):
        return f"the label values {values} and ids {ids}; they must be unique, values from 1 to 65534"
    if len(card.networks) != 1:
        return f"{len(card.networks)} networks; this MedTL runs models of one network"
    if card.input.scaling not in ("tissue", "window") or (
        (card.input.scaling == "window") != (card.input.window is not None)
    ):
        return f"the scaling {card.input.scaling!r}; it is 'tissue', or 'window' with a window in HU"
    if card.classes or card.coefficients or card.abstention:
        return "classes, coefficients or an abstention; those belong to the task 'classification'"
    return ""


def classification_problem(card: ModelCard) -> str:
    """What is wrong with the card of a model that classifies; empty when nothing is."""
    ids = [one.id for one in card.classes]
    if len(ids) < 2 or len(set(ids)) < len(ids) or card.labels:
        return f"the classes {ids} and {len(card.labels)} labels; it needs two classes or more, unique, and no labels"
    if (len(card.networks), card.coefficients is not None) not in ((1, False), (0, True)):
        return f"{len(card.networks)} networks; a model that classifies has one, or coefficients and none"
    if card.networks and (card.input.scaling != "picture" or not 32 <= (card.input.side or 0) <= 1024):
        return f"the scaling {card.input.scaling!r}, side {card.input.side}; it is 'picture', with 32 to 1024 pixels"
    if card.abstention and card.abstention.score not in ("energy", "mahalanobis"):
        return f"the score {card.abstention.score!r}; it is 'energy' or 'mahalanobis'"
    model = card.coefficients
    if model is not None:
        wanted = 1 + len(model.terms)
        numbers = [model.intercept, *(x for t in model.terms for x in (t.mean, t.deviation, t.weight))]
        numbers += [x for sample in model.resamples for x in sample]
        if len(ids) != 2 or not all(math.isfinite(x) for x in numbers) or not all(t.deviation > 0 for t in model.terms):
            return "coefficients that are no logistic model; it takes two classes, finite numbers, deviations above 0"
        if any(len(sample) != wanted for sample in model.resamples):
            return f"resamples of another length than {wanted}, the intercept and the weights"
        if model.prevalence is not None and not 0 <= model.prevalence <= 1:
            return f"the prevalence {model.prevalence}; it is a share, from 0 to 1"
    return ""


def common_problem(card: ModelCard) -> str:
    """What is wrong with the rest of the card; empty when nothing is."""
    spec = card.input
    if spec.plane not in PLANES:
        return f"the plane {spec.plane!r}; planes are {', '.join(PLANES)}"
    if not is_range(spec.window) or not is_range(card.gate.extent_mm):
        return f"the window {spec.window} and the extent {card.gate.extent_mm}; the lower limit comes first"
    if not spec.channels or not 0 <= spec.neighbours <= 16:
        return f"{len(spec.channels)} channels and {spec.neighbours} neighbours; use 1 or more, 0 to 16"
    if not (spec.spacing is None or 0 < spec.spacing < math.inf) or not spec.spacing_tolerance >= 1:
        return f"the spacing {spec.spacing} and its tolerance; they are above 0 mm and at least 1"
    if not (card.calibration.temperature > 0 and 0 < card.calibration.threshold < 1):
        return f"the calibration {card.calibration}; temperature is above 0, threshold between 0 and 1"
    if not (is_pattern(card.gate.sequence) and is_pattern(card.gate.not_sequence)):
        return f"the patterns {card.gate.sequence!r} and {card.gate.not_sequence!r}; use regular expressions"
    return ""


def is_range(limits: tuple[float, float] | None) -> bool:
    """True for two finite limits in order, and for none."""
    return limits is None or (limits[0] < limits[1] and math.isfinite(limits[0]) and math.isfinite(limits[1]))


def is_pattern(text: str) -> bool:
    """True when the text is a regular expression."""
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def anonymised(training: Mapping[str, Any]) -> dict[str, Any]:
    """A card's entry `training` in which the cases of each tuning are numbered: "case 1" instead of a file name, and no
    hash of an image's voxels. Slices, labels and counts stay; what is numbered already stays as it is."""
    records = [_anonymous_record(record) for record in _records(training)]
    return {**training, **({"tuned": records} if records else {})}


def anonymised_readme(text: str, training: Mapping[str, Any]) -> str:
    """The card for people of a tuned model with its cases numbered as `anonymised` numbers them."""
    lines = text.split("\n")
    for record in _records(training):
        start = 0
        for seed, numbered in zip(_seeds(record), _seeds(_anonymous_record(record)), strict=True):
            line = f"- {seed.get('case')}, slice {seed.get('slice')}"
            if line in lines[start:]:
                start = lines.index(line, start)
                lines[start] = f"- {numbered['case']}, slice {seed.get('slice')}"
                start += 1
    return "\n".join(lines)


def _anonymous_record(record: Any) -> Any:
    """The record of a tuning without names and hashes of images."""
    if not _seeds(record):
        return record
    cases: dict[tuple[str, str], str] = {}
    seeds = []
    for seed in _seeds(record):
        image = (str(seed.get("case")), str(seed.get("image_sha256")))
        number = cases.setdefault(image, f"case {len(cases) + 1}")
        seeds.append({"case": number, **{key: seed[key] for key in ("slice", "labels") if key in seed}})
    return {**record, "seeds": seeds}


def _records(training: Mapping[str, Any]) -> Sequence[Any]:
    """The records of the tunings; none where the entry has another form."""
    records = training.get("tuned")
    return records if isinstance(records, list | tuple) else ()


def _seeds(record: Any) -> Sequence[Mapping[str, Any]]:
    """The SEEDs of the record of a tuning."""
    seeds = record.get("seeds") if isinstance(record, Mapping) else None
    return [seed for seed in seeds if isinstance(seed, Mapping)] if isinstance(seeds, list | tuple) else []
