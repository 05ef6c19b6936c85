"""The model card: the block `medtl` of a bundle's metadata.json, as frozen dataclasses.

Every entry is checked: its type, its range and whether it agrees with the others. Nothing is evaluated.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import ModelError
from ..planes import PLANES
from ..typed_json import decode, encode
from .card_text import is_invisible
from .files import open_file, parse_json, reason_of
from .series_name import MAX_PHRASES, is_phrase, phrases_of_pattern
from .tuning_records import records_of

SCHEMAS = (1, 2)  # of cards that this MedTL reads; it writes the last
METADATA = "configs/metadata.json"
MAX_METADATA_BYTES = 8_000_000
TASKS = ("segmentation", "classification")
NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?"  # of a model: also of its folder and its segments
RESERVED = r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?"  # names of devices on Windows
MAX_CHANNELS, MAX_LABELS, MAX_RESAMPLE_NUMBERS = 16, 255, 1_000_000
MAX_NETWORKS, MAX_PATCH_VOXELS, MAX_RESCALINGS = 20, 512**3, 8
MAX_STRING = 4_000  # characters of any text of a card
DECISIONS = ("threshold", "argmax", "regions")
SCHEMES = ("zscore", "range", "fixed")
PLACEMENTS, WEIGHTINGS, PADDINGS = ("even", "fixed"), ("gaussian", "centred", "constant"), ("constant", "edge")
RESAMPLINGS, MIXTURES = ("areas", "points"), ("logits", "probabilities")
STORED = "stored"
FEW_PATIENTS = 30  # a model that learned from fewer is experimental


@dataclass(frozen=True)
class TumourClass:
    """One class of a classification model."""

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
    """The network's input.

    `plane`: slices are taken along the array axis nearest its normal. `spacing`: in-plane mm per pixel; a volume
    within the factor `spacing_tolerance` of it is not resampled. `scaling`: "tissue" divides by the level of deep
    tissue, "window" maps `window` (HU) to -1..1, "picture" scales each slice by itself (`classification.frames`) to
    `side` by `side` pixels. `neighbours`: number of slices on each side that are further channels, `neighbour_mm` mm
    apart (0: the next slices at any distance). `smoothing_mm` is the standard deviation of the Gaussian by which the
    probabilities of neighbouring slices are averaged; slices of unknown distance are not.
    """

    channels: tuple[str, ...] = ("FLAIR",)
    plane: str = "axial"
    spacing: float | None = None
    spacing_tolerance: float = 1.3
    scaling: str = "tissue"
    window: tuple[float, float] | None = None
    neighbours: int = 0
    neighbour_mm: float = 0.0
    smoothing_mm: float = 0.0
    side: int | None = None


@dataclass(frozen=True)
class Normalisation:
    """How the values of a channel are scaled: clipped to `limits`, then `(value - shift) / scale`.

    `scheme`: "zscore" takes the mean and the standard deviation of the image, "range" its lowest value and its range,
    "fixed" the numbers given. With `masked`, only the body (what is not 0 in any channel, with its holes) counts and is
    scaled; without `filled`, what is not 0 in this channel.
    """

    scheme: str = "zscore"
    masked: bool = False
    filled: bool = True
    limits: tuple[float, float] | None = None
    shift: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class WindowSpec:
    """The input of a network that sees windows of the resampled volume, several channels of it.

    `orientation`: the anatomical directions in which the x, y and z indices grow, such as "RAS"; "stored" takes the
    array as the file has it. `axes`: the (Z, Y, X) array axes in the network's order. `spacing` (mm) and `patch`
    (voxels of a window) along these; two numbers each for a network of slices, which lie along the first axis and keep
    its spacing. Without a `spacing` the volume keeps its own. `mirror`: axes of the window along which mirrored windows
    are averaged.

    Windows lie evenly and at most `step` of a patch apart, or, with the `placement` "fixed", in steps of that many
    whole voxels, the last one moved inside. `weights` of a window's voxels: "gaussian", of the deviation `sigma`
    (share of the patch) around the voxel behind the middle; "centred", around the middle and not below 0.001;
    "constant". A volume smaller than the patch is padded around it, by `fill` or with the `padding` "edge" by its
    border.

    `normalisation`: one a channel; each channel is scaled by all of `rescaling` after it. Both come before resampling,
    or after it without `normalise_first`. With `crop`, only the box around what is not 0 in any channel of the volume
    is computed; with `foreground`, only that around what exceeds 0 in any channel of the network's input.

    `order` and `logits_order` (0 or 1) are the degrees of the splines that resample the input and the output, and
    `thick_order` (0 or 1) that of both along an axis of thick slices: the longest spacing where it is over
    `thick_ratio` times the shortest (None: no axis is). By `resampling` the grids have the same outer borders
    ("areas"), or as in MONAI ("points") the same first voxel, or the same middle where the axes in a file are not
    exactly orthogonal; then `order` is 1, and no slices count as thick. `mixed`: what is interpolated between the
    voxels of the network.

    `bf16` allows bfloat16 where it is faster: it changes labels near borders.

    Source: Isensee et al. 2021 (nnU-Net); MONAI's `SlidingWindowInferer` and `Spacing` for what is not the default.
    """

    patch: tuple[int, ...]
    spacing: tuple[float, ...]
    normalisation: tuple[Normalisation, ...]
    orientation: str = STORED
    axes: tuple[int, int, int] = (0, 1, 2)
    step: float = 0.5
    mirror: tuple[int, ...] = ()
    crop: bool = True
    order: int = 3
    logits_order: int = 1
    thick_order: int = 0
    thick_ratio: float | None = 3.0
    bf16: bool = False
    placement: str = "even"
    weights: str = "gaussian"
    sigma: float = 0.125
    padding: str = "constant"
    fill: float = 0.0
    rescaling: tuple[Normalisation, ...] = ()
    normalise_first: bool = True
    foreground: bool = False
    resampling: str = "areas"
    mixed: str = "logits"

    @property
    def window(self) -> tuple[int, int, int]:
        """The voxels of a window along the three axes; a slice is one voxel deep."""
        height, width = self.patch[-2:]
        return (1 if len(self.patch) == 2 else self.patch[0]), height, width


@dataclass(frozen=True)
class RegionSpec:
    """The first of two stages: a network of two outputs, background and region, that finds where the networks of the
    model look. They see the box around all that it finds, `margin_mm` wider on each side, and their labels count where
    it found something within this margin along each axis; where it finds nothing, in the whole volume.

    Source: Zhu et al. 2022 (a coarse and a fine stage).
    """

    network: NetworkSpec
    windows: WindowSpec
    margin_mm: float = 20.0


@dataclass(frozen=True)
class Calibration:
    """`temperature` divides the logits; foreground is where its probability exceeds `threshold`."""

    temperature: float = 1.0
    threshold: float = 0.5


@dataclass(frozen=True)
class Abstention:
    """When a classifier abstains: the score of the input, "energy" (Liu 2020) or "mahalanobis" (Lee 2018),
    exceeds `threshold`, or the highest probability is below `min_probability`. Both scores grow with the distance from
    the training images."""

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
    the region in a labelmap whose segments name no region. `prevalence` is the share of the second class in training,
    which is the probability of a case without any measurement: the model abstains where its interval contains it.
    """

    intercept: float
    terms: tuple[Term, ...]
    resamples: tuple[tuple[float, ...], ...] = ()
    values: tuple[int, ...] = (1,)
    prevalence: float | None = None


@dataclass(frozen=True)
class Cleanup:
    """Which connected components (26 neighbours) are removed: those under `min_ml` mL (where the spacing is unknown, as
    in pictures, under `min_pixels`), and those under `min_share` of the largest. `fill_holes` fills holes in slices.
    `anchor` is the id of a label: where it is found, parts of other labels that do not touch it are removed."""

    min_ml: float = 0.0
    min_share: float = 0.0
    fill_holes: bool = False
    min_pixels: int = 0
    anchor: str = ""


@dataclass(frozen=True)
class Gate:
    """What an input should be like; where it is not, the user gets a warning with the reason.

    `modality` is that of DICOM. A series description that matches a phrase (`medtl.model.series_name`) of
    `not_sequence` and none of `sequence` is of another sequence. `extent_mm` is the range of the in-plane field of
    view; `statistics` has the usual range of entries of `Prepared.statistics`.
    """

    modality: str = ""
    sequence: tuple[str, ...] = ()
    not_sequence: tuple[str, ...] = ()
    extent_mm: tuple[float, float] | None = None
    statistics: Mapping[str, tuple[float, float]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Parent:
    """The model that this one was tuned from; `family` is the first model of the line, None where it is the parent."""

    name: str
    sha256: str
    family: str | None = None


@dataclass(frozen=True)
class ModelCard:
    """The card of a model: the block `medtl` of metadata.json, with MONAI's version and description.

    `windows` is for a network that sees windows; of `input`, only `channels` and `plane` (that of SEED slices) count
    then. Several `networks` are folds: they differ in their weights alone, and their logits are averaged. `decision`:
    "threshold" takes the likeliest label where all foreground together exceeds the threshold, "argmax" the likeliest
    class, "regions" (one output a label, no background) each label whose probability exceeds the threshold, the later
    one where regions overlap. `region` is the first stage of a model of two stages.
    """

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
    windows: WindowSpec | None = None
    decision: str = "threshold"
    region: RegionSpec | None = None

    @property
    def unfinished(self) -> bool:
        """True for the best model so far of a tuning that was stopped."""
        records = records_of(self.training)
        return bool(records) and isinstance(records[-1], Mapping) and bool(records[-1].get("unfinished"))

    @property
    def imported(self) -> Mapping[str, Any] | None:
        """Where a model comes from that another program trained; None for a model of MedTL's own."""
        about = self.training.get("imported")
        return about if isinstance(about, Mapping) else None

    @property
    def experimental(self) -> bool:
        """True for a model of MedTL's own that learned from fewer than 30 patients."""
        split = self.training.get("split")
        if not isinstance(split, Mapping) or not isinstance(split.get("train"), Mapping):
            return False
        patients = split.get("patients", len(split["train"]))
        return isinstance(patients, int) and patients < FEW_PATIENTS

    @property
    def display_window(self) -> tuple[float, float] | None:
        """The limits, in the volume's units (HU), between which the model sees its first channel; None where they
        depend on the image."""
        if self.windows is not None and self.windows.normalisation:
            first = self.windows.normalisation[0]
            return first.limits if first.scheme == "fixed" else None
        return self.input.window

    @property
    def family(self) -> str:
        """The name of the first model of the line: all models tuned from it write the same segments."""
        return self.name if self.parent is None else self.parent.family or self.parent.name


def load_card(folder: Path) -> ModelCard:
    """The card of a bundle folder.

    Raises: ModelError when metadata.json is missing or no JSON, or an entry is missing, unknown or not plausible.
    """
    path = folder / METADATA
    metadata = read_metadata(folder)
    block = metadata.get("medtl")
    if not isinstance(block, dict):
        raise ModelError(f"{path} has no block 'medtl': a MONAI bundle, but not one that MedTL can run.")
    schema = block.get("schema")
    if type(schema) is not int or schema not in SCHEMAS:
        raise ModelError(
            f"{path} has schema {str(schema)[:40]}, expected {SCHEMAS[0]} to {SCHEMAS[-1]}. Update MedTL or the model."
        )
    values = {key: value for key, value in block.items() if key != "schema"}
    values |= {key: metadata.get(key) for key in ("version", "description")}
    if isinstance(values.get("gate"), dict):
        values["gate"] = translate_patterns(values["gate"], path)
    card: ModelCard = decode(ModelCard, values, str(path))
    check_card(card, path)
    return card


def read_metadata(folder: Path) -> dict[str, Any]:
    """The entries of metadata.json of a bundle folder.

    Raises: ModelError when it is missing, too large, a link or no JSON object.
    """
    with open_file(folder, METADATA, MAX_METADATA_BYTES) as stream:
        content = stream.read(MAX_METADATA_BYTES)
    try:
        metadata = parse_json(content)
        if not isinstance(metadata, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        raise ModelError(
            f"{folder / METADATA} is not valid JSON ({reason_of(error)}). Import the model again."
        ) from error
    return metadata


def translate_patterns(gate: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The gate's JSON with phrases in place of the regular expressions of older cards.

    Raises: ModelError when an expression is more than plain words.
    """
    answer = dict(gate)
    for key in ("sequence", "not_sequence"):
        if isinstance(pattern := gate.get(key), str):
            phrases = phrases_of_pattern(pattern)
            if phrases is None:
                raise ModelError(
                    f"{path} states the regular expression {pattern[:60]!r} for {key}; these are no longer run. "
                    "Write a list of words, or get a newer version of the model."
                )
            answer[key] = list(phrases)
    return answer


def check_card(card: ModelCard, where: Path | str) -> None:
    """Raise ModelError when the card contradicts itself or has an impossible value."""
    if wrong := [name for name in (card.name, card.family) if not is_name(name)]:
        problem = f"the name {wrong[0][:80]!r}; use up to 64 letters, digits, '.', '_' and '-'"
    elif card.task not in TASKS:
        problem = f"the task {card.task[:40]!r}; this MedTL runs {' and '.join(TASKS)}"
    else:
        of_task = classification_problem if card.task == "classification" else segmentation_problem
        problem = text_problem(card) or of_task(card) or common_problem(card) or range_problem(card)
    if problem:
        raise ModelError(f"{where} states {problem}.")


def is_name(text: str) -> bool:
    """True for a possible name of a model: a folder on every system can have it."""
    return re.fullmatch(NAME, text) is not None and re.fullmatch(RESERVED, text) is None


def text_problem(card: ModelCard) -> str:
    """What is wrong with the texts of the card; empty when nothing is."""
    for text in strings_of(encode(card)):
        if len(text) > MAX_STRING:
            return f"a text of {len(text)} characters, {text[:40]!r}…; use at most {MAX_STRING}"
        if not text.isprintable() and any(is_invisible(character) for character in text):
            return f"the text {text[:80]!r}; use no line breaks and no invisible characters"
    return ""


def strings_of(value: Any) -> Iterator[str]:
    """All texts in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from strings_of(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings_of(inner)


def segmentation_problem(card: ModelCard) -> str:
    """What is wrong with the card of a model that segments; empty when nothing is."""
    if card.classes or card.coefficients or card.abstention:
        return "classes, coefficients or an abstention; those belong to the task 'classification'"
    values = [label.value for label in card.labels]
    ids = [label.id.casefold() for label in card.labels]
    if not 1 <= len(values) <= MAX_LABELS:
        return f"{len(values)} labels; a model that segments has 1 to {MAX_LABELS}"
    if wrong := [value for value in values if not 0 < value < 65535]:
        return f"the label value {str(wrong[0])[:40]}; label values are from 1 to 65534"
    if len(set(values)) < len(values) or len(set(ids)) < len(ids):
        return "a label value or id twice; they must be unique"
    if unclear := [one.id for one in card.labels if not (one.id.strip() and one.name.strip()) or "|" in one.id]:
        return f"the label {unclear[0][:40]!r}; a label has an id and a name, and no '|' in its id"
    if card.decision not in DECISIONS:
        return f"the decision {card.decision[:40]!r}; it is one of {', '.join(DECISIONS)}"
    if card.windows is not None:
        return windows_problem(card, card.windows) or region_problem(card, card.windows)
    if card.region is not None:
        return "a region without windows; only a model that sees windows has two stages"
    if len(card.networks) != 1 or card.decision == "regions":
        return f"{len(card.networks)} networks or regions; a model of slices has one network, and no regions"
    if card.input.scaling not in ("tissue", "window") or (
        (card.input.scaling == "window") != (card.input.window is not None)
    ):
        return f"the scaling {card.input.scaling[:40]!r}; it is 'tissue', or 'window' with a window in HU"
    return ""


def windows_problem(card: ModelCard, spec: WindowSpec) -> str:
    """What is wrong with the windows and the networks of the card; empty when nothing is."""
    dimensions = len(spec.patch)
    if dimensions not in (2, 3) or len(spec.spacing) not in (0, dimensions):
        return f"a patch of {dimensions} and a spacing of {len(spec.spacing)} axes; both have 2, or both 3"
    if min(spec.patch) < 1 or math.prod(spec.patch) > MAX_PATCH_VOXELS:
        return f"a patch of {' x '.join(map(str, spec.patch))[:60]} voxels; it has 1 to {MAX_PATCH_VOXELS:,}"
    if sorted(spec.axes) != [0, 1, 2] or not set(spec.mirror) <= set(range(dimensions)):
        return "axes that are no order of 0, 1, 2, or a mirrored axis that the patch does not have"
    if spec.orientation != STORED and not is_orientation(spec.orientation):
        return f"the orientation {spec.orientation[:40]!r}; it is {STORED!r}, or three letters such as 'RAS'"
    if len(spec.normalisation) != len(card.input.channels):
        return f"{len(spec.normalisation)} normalisations for {len(card.input.channels)} channels; each needs one"
    scalings = (*spec.normalisation, *spec.rescaling)
    if len(spec.rescaling) > MAX_RESCALINGS:
        return f"{len(spec.rescaling)} further scalings; it has at most {MAX_RESCALINGS}"
    if wrong := [one.scheme for one in scalings if one.scheme not in SCHEMES]:
        return f"the normalisation {wrong[0][:40]!r}; it is one of {', '.join(SCHEMES)}"
    if not all(is_range(one.limits) for one in scalings):
        return "limits of a normalisation that are no range; the lower limit comes first"
    for what, value, known in (
        ("placement", spec.placement, PLACEMENTS),
        ("weights", spec.weights, WEIGHTINGS),
        ("padding", spec.padding, PADDINGS),
        ("resampling", spec.resampling, RESAMPLINGS),
        ("mixed outputs", spec.mixed, MIXTURES),
    ):
        if value not in known:
            return f"{value[:40]!r} for the {what} of windows; known are {', '.join(known)}"
    if spec.resampling == "points" and (spec.order != 1 or spec.logits_order > 1 or spec.thick_ratio is not None):
        return "splines of another degree than 1 or thick slices, which the resampling by points does not have"
    if not 1 <= len(card.networks) <= MAX_NETWORKS:
        return f"{len(card.networks)} networks; a model that segments has 1 to {MAX_NETWORKS}"
    first = card.networks[0]
    if any((one.name, one.arguments) != (first.name, first.arguments) for one in card.networks):
        return "networks that differ; folds have one name and the same arguments"
    if len({one.prefix for one in card.networks}) < len(card.networks):
        return "the same prefix for two networks; each has its own weights"
    return ""


def region_problem(card: ModelCard, spec: WindowSpec) -> str:
    """What is wrong with the first stage of the card; empty when nothing is, or there is none."""
    first = card.region
    if first is None:
        return ""
    if (first.windows.orientation, first.windows.axes) != (spec.orientation, spec.axes):
        return "a first stage with other axes than the second; both stages turn the volume alike"
    if first.network.prefix in [one.prefix for one in card.networks]:
        return "the same prefix for the networks of both stages; each has its own weights"
    if not 0 <= first.margin_mm <= 1000:
        return f"a margin of {str(first.margin_mm)[:40]} mm; it lies between 0 and 1000"
    found = region_card(card)
    return windows_problem(found, first.windows) or range_problem(found)


def region_card(card: ModelCard) -> ModelCard:
    """The card of the first stage, as of a model of one label."""
    assert card.region is not None
    return replace(
        card,
        labels=(Label(1, "region", "Region"),),
        networks=(card.region.network,),
        windows=card.region.windows,
        decision="argmax",
        calibration=Calibration(),
        cleanup=Cleanup(),
        region=None,
    )


def is_orientation(text: str) -> bool:
    """True for one letter of each of the pairs R and L, A and P, S and I."""
    return len(text) == 3 and all(sum(letter in text for letter in pair) == 1 for pair in ("RL", "AP", "SI"))


def classification_problem(card: ModelCard) -> str:
    """What is wrong with the card of a model that classifies; empty when nothing is."""
    ids = [tumour_class.id for tumour_class in card.classes]
    if not 2 <= len(ids) <= MAX_LABELS or len(set(ids)) < len(ids) or card.labels or card.windows:
        return (
            f"{len(ids)} classes and {len(card.labels)} labels; it needs 2 classes or more, unique, and no labels or "
            "windows"
        )
    if (len(card.networks), card.coefficients is not None) not in ((1, False), (0, True)):
        return f"{len(card.networks)} networks; a model that classifies has one, or coefficients and none"
    if wrong := [one.id for one in card.classes if not one.id.strip() or not one.name.strip()]:
        return f"the class {wrong[0][:40]!r}; a class has an id and a name"
    if card.networks and (card.input.scaling != "picture" or not 32 <= (card.input.side or 0) <= 1024):
        return f"the scaling {card.input.scaling[:40]!r} and another side; it is 'picture', with a side of 32 to 1024"
    if card.abstention and card.abstention.score not in ("energy", "mahalanobis"):
        return f"the score {card.abstention.score[:40]!r}; it is 'energy' or 'mahalanobis'"
    model = card.coefficients
    if model is not None:
        wanted = 1 + len(model.terms)
        if len(ids) != 2 or not all(term.deviation > 0 for term in model.terms):
            return "coefficients that are no logistic model; it takes two classes, and deviations above 0"
        if any(len(sample) != wanted for sample in model.resamples):
            return f"resamples of another length than {wanted}, the intercept and the weights"
    return ""


def common_problem(card: ModelCard) -> str:
    """What is wrong with the rest of the card; empty when nothing is."""
    spec = card.input
    if spec.plane not in PLANES:
        return f"the plane {spec.plane[:40]!r}; planes are {', '.join(PLANES)}"
    if not is_range(spec.window) or not is_range(card.gate.extent_mm):
        return "a window or an extent that is no range; the lower limit comes first"
    if not 1 <= len(spec.channels) <= MAX_CHANNELS:
        return f"{len(spec.channels)} channels; use 1 to {MAX_CHANNELS}"
    if len(spec.channels) > 1 and card.windows is None:
        return f"{len(spec.channels)} channels; only a model that sees windows has several"
    if not 0 < card.calibration.threshold < 1:
        return f"the threshold {card.calibration.threshold:g}; it lies between 0 and 1"
    if card.cleanup.anchor and card.cleanup.anchor not in [label.id for label in card.labels]:
        return f"the anchor {card.cleanup.anchor[:40]!r} of the clean-up; it is the id of one of its labels"
    phrases = (*card.gate.sequence, *card.gate.not_sequence)
    if len(phrases) > MAX_PHRASES:
        return f"{len(phrases)} phrases for the sequence; use at most {MAX_PHRASES}"
    if wrong := [phrase for phrase in phrases if not is_phrase(phrase)]:
        return f"the phrase {wrong[0][:80]!r} for the sequence; use words such as 'dwi', 't1*' or '*flair* -t1*'"
    return ""


def range_problem(card: ModelCard) -> str:
    """The first number of the card that is outside its plausible range, with the range; empty when there is none."""
    for what, values, low, high in ranges(card):
        for value in values:
            if not low <= value <= high:  # so neither is NaN
                return f"the {what} {str(value)[:40]}; it lies between {low:g} and {high:g}"
    return ""


def ranges(card: ModelCard) -> Iterator[tuple[str, Sequence[float], float, float]]:
    """The name of each number, its values in the card, and its lowest and highest plausible value."""
    spec, cleanup, model = card.input, card.cleanup, card.coefficients
    yield "spacing", () if spec.spacing is None else (spec.spacing,), 0.001, 100  # mm
    yield "spacing tolerance", (spec.spacing_tolerance,), 1, 100
    yield "window limit", spec.window or (), -1e5, 1e5  # HU
    yield "width of the window", () if spec.window is None else (spec.window[1] - spec.window[0],), 0.001, 2e5  # HU
    yield "number of neighbours", (spec.neighbours,), 0, 16
    yield "distance of neighbours", (spec.neighbour_mm,), 0, 1000
    yield "smoothing across slices", (spec.smoothing_mm,), 0, 20
    if (windows := card.windows) is not None:
        yield "spacing", windows.spacing, 0.001, 1000  # mm
        yield "step of the windows", (windows.step,), 0.1, 1
        yield "order of a spline", (windows.order,), 0, 5
        yield "order of a spline of logits", (windows.logits_order, windows.thick_order), 0, 1
        yield "ratio of thick slices", () if windows.thick_ratio is None else (windows.thick_ratio,), 1, 1000
        yield "deviation of the weights", (windows.sigma,), 0.01, 10
        yield "value around the volume", (windows.fill,), -1e9, 1e9
        for one in (*windows.normalisation, *windows.rescaling):
            yield "limit of a normalisation", one.limits or (), -1e9, 1e9
            yield "shift of a normalisation", (one.shift,), -1e9, 1e9
            yield "scale of a normalisation", (one.scale,), 1e-9, 1e9
    yield "side", () if spec.side is None else (spec.side,), 32, 1024
    yield "temperature", (card.calibration.temperature,), 0.001, 1000
    yield "smallest volume in mL", (cleanup.min_ml,), 0, 1e5
    yield "smallest share", (cleanup.min_share,), 0, 1
    yield "smallest number of pixels", (cleanup.min_pixels,), 0, 1e9
    yield "extent in mm", card.gate.extent_mm or (), 0, 1e5
    yield "statistic", [limit for pair in card.gate.statistics.values() for limit in pair], -1e6, 1e6
    yield "colour", [part for label in card.labels for part in label.colour], 0, 1
    if card.abstention is not None:
        yield "threshold of the score", (card.abstention.threshold,), -1e9, 1e9
        yield "smallest probability", (card.abstention.min_probability,), 0, 1
    if model is not None:
        yield "coefficient", (model.intercept, *(x for t in model.terms for x in (t.mean, t.weight))), -1e9, 1e9
        yield "deviation", [term.deviation for term in model.terms], 1e-9, 1e9
        yield "number of resamples", (sum(map(len, model.resamples)),), 0, MAX_RESAMPLE_NUMBERS
        yield "coefficient of a resample", [number for sample in model.resamples for number in sample], -1e9, 1e9
        yield "label value", model.values, 1, 65535
        yield "prevalence", () if model.prevalence is None else (model.prevalence,), 0, 1


def is_range(limits: tuple[float, float] | None) -> bool:
    """True for two finite limits in order, and for none."""
    return limits is None or (limits[0] < limits[1] and math.isfinite(limits[0]) and math.isfinite(limits[1]))
