"""What a model says about itself: the block `medtl` of its bundle's metadata.json, as frozen dataclasses.

Read declaratively: every entry is checked against the type it must have, nothing is evaluated.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from .errors import ModelError

SCHEMA = 1
METADATA = "configs/metadata.json"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"  # of a model: also of its folder and its segments
PLANES = ("axial", "coronal", "sagittal")


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
    """A network of `medtl.networks.NETWORKS`; `prefix` is that of its weights in the safetensors file."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    prefix: str = ""


@dataclass(frozen=True)
class InputSpec:
    """What the network sees.

    `plane`: slices are taken along the array axis nearest its normal. `spacing`: in-plane mm per pixel; a volume
    within the factor `spacing_tolerance` of it is used as it is. `scaling`: "tissue" divides by the level of
    deep tissue, "window" maps `window` (HU) to -1..1. `neighbours`: slices on each side given as further channels, at
    `neighbour_mm` mm (0: the next slices, however far).
    """

    channels: tuple[str, ...] = ("FLAIR",)
    plane: str = "axial"
    spacing: float | None = None
    spacing_tolerance: float = 1.3
    scaling: str = "tissue"
    window: tuple[float, float] | None = None
    neighbours: int = 0
    neighbour_mm: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """`temperature` divides the logits; foreground is where its probability exceeds `threshold`."""

    temperature: float = 1.0
    threshold: float = 0.5


@dataclass(frozen=True)
class Cleanup:
    """Connected components (26) under `min_ml` mL, or under `min_share` of the largest one, are removed; holes of a
    slice are filled."""

    min_ml: float = 0.0
    min_share: float = 0.0
    fill_holes: bool = False


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
    values = [label.value for label in card.labels]
    ids = [label.id for label in card.labels]
    problem = ""
    if wrong := [name for name in (card.name, card.family) if not re.fullmatch(NAME, name)]:
        problem = f"the name {wrong[0]!r}; use letters, digits, '.', '_' and '-'"
    elif card.task != "segmentation":
        problem = f"the task {card.task!r}; this MedTL runs segmentation"
    elif (
        not card.labels
        or len(set(values)) < len(values)
        or len(set(ids)) < len(ids)
        or not all(0 < v < 65535 for v in values)
    ):
        problem = f"the label values {values} and ids {ids}; they must be unique, values from 1 to 65534"
    elif len(card.networks) != 1:
        problem = f"{len(card.networks)} networks; this MedTL runs models of one network"
    elif card.input.plane not in PLANES:
        problem = f"the plane {card.input.plane!r}; planes are {', '.join(PLANES)}"
    elif card.input.scaling not in ("tissue", "window") or (
        (card.input.scaling == "window") != (card.input.window is not None)
    ):
        problem = f"the scaling {card.input.scaling!r}; it is 'tissue', or 'window' with a window in HU"
    elif not is_range(card.input.window) or not is_range(card.gate.extent_mm):
        problem = f"the window {card.input.window} and the extent {card.gate.extent_mm}; the lower limit comes first"
    elif not card.input.channels or not 0 <= card.input.neighbours <= 16:
        problem = f"{len(card.input.channels)} channels and {card.input.neighbours} neighbours; use 1 or more, 0 to 16"
    elif not (card.input.spacing is None or 0 < card.input.spacing < math.inf) or not card.input.spacing_tolerance >= 1:
        problem = f"the spacing {card.input.spacing} and its tolerance; they are above 0 mm and at least 1"
    elif not (card.calibration.temperature > 0 and 0 < card.calibration.threshold < 1):
        problem = f"the calibration {card.calibration}; temperature is above 0, threshold between 0 and 1"
    elif not (is_pattern(card.gate.sequence) and is_pattern(card.gate.not_sequence)):
        problem = f"the patterns {card.gate.sequence!r} and {card.gate.not_sequence!r}; use regular expressions"
    if problem:
        raise ModelError(f"{path} states {problem}.")


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


def decode(kind: Any, value: Any, where: str) -> Any:
    """The JSON value as that type: dataclasses, tuples, mappings, optionals and plain values. Nothing is converted
    silently but int to float.

    Raises: ModelError naming the place when the value does not fit.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        return None if value is None else decode(next(a for a in arguments if a is not type(None)), value, where)
    if is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind, globals())
        if unknown := sorted(set(value) - set(hints)):
            raise ModelError(f"{where}: unknown entry {unknown[0]!r}; it may need a newer MedTL.")
        given = {k: decode(hints[k], v, f"{where}: {k}") for k, v in value.items()}
        try:
            return kind(**given)  # type: ignore[operator]
        except TypeError as error:
            needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
            raise ModelError(
                f"{where}: expected the entries {', '.join(needed)}, found {', '.join(given) or 'none'}."
            ) from error
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) == len(value):
            return tuple(decode(k, v, where) for k, v in zip(kinds, value, strict=True))
    elif origin is not None and issubclass(origin, Mapping) and isinstance(value, dict):
        return MappingProxyType({k: decode(arguments[1], v, f"{where}: {k}") for k, v in value.items()})
    elif kind is float and (type(value) is float or (type(value) is int and abs(value) < 2**1023)):
        return float(value)
    elif isinstance(kind, type) and type(value) is kind:
        return value
    raise ModelError(f"{where}: expected {getattr(kind, '__name__', kind)}, found {str(value)[:80]!r}.")


def encode(value: Any) -> Any:
    """The value as JSON has it; the inverse of `decode`."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    return value
