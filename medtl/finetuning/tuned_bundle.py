"""The bundle of a tuned model: its card, its figures and the texts of its parent.

Cases are numbered in it: a bundle contains no name of an image file and no hash of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from .. import __version__
from ..counted import counted
from ..model.bundle import Model, is_half, save_bundle
from ..model.card import ModelCard, Parent, read_metadata
from ..model.files import read_text_file
from ..model.tuning_records import anonymise_training
from ..typed_json import OPTIONAL, SPREAD, encode
from .finetune import Finetuned
from .guard import Change
from .run import FinetuneOptions
from .seed import Seed

MAX_NAMES = 400  # characters of labels' names in a description
FACTS = ("authors", "copyright", "data_source", "intended_use", "references")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Origin:
    """The model that a tuning started from; `sha256` is that of its weights."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Watched(Generic[Value]):
    """A value of the held-out SEEDs and one of the guard set."""

    seeds: Value
    guard: Value


@dataclass(frozen=True)
class ChangeFigures:
    """Mean change of Dice, its standard error and the number of slices or cases; `kind` is that of the guard set."""

    kind: str | None = field(metadata=OPTIONAL)
    mean: float | None
    error: float | None
    n: int


@dataclass(frozen=True)
class Outcome:
    """The figures of a tuning; `before` and `after` are mean Dice, `alpha` lies between the old weights (0) and the
    tuned ones (1)."""

    verdict: str
    before: Watched[float | None]
    after: Watched[float | None]
    change: Watched[ChangeFigures]
    alpha: float
    steps: int
    seconds: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Unfinished:
    """What is known of a tuning that stopped before the guard."""

    alpha: float
    unfinished: bool = True


@dataclass(frozen=True)
class SeedRecord:
    """A SEED slice; `case` is a number, as in "case 1"."""

    case: str
    slice: int
    labels: tuple[str, ...]


@dataclass(frozen=True)
class TuningRecord:
    """A tuning or training from another model: an entry of `training.tuned` in the new card."""

    parent: Origin
    medtl: str
    budget: float
    strength: float
    seed: int
    seeds: tuple[SeedRecord, ...]
    outcome: Outcome | Unfinished = field(metadata=SPREAD)


def tuning_record(
    origin: Model,
    cases: Sequence[tuple[object, Sequence[Seed]]],
    options: FinetuneOptions,
    outcome: Outcome | Unfinished,
) -> TuningRecord:
    """The record of a tuning on these cases."""
    seeds = tuple(
        SeedRecord(f"case {number}", seed.index, seed.labels)
        for number, (_, group) in enumerate(cases, start=1)
        for seed in group
    )
    return TuningRecord(origin_of(origin), __version__, options.budget, options.strength, options.seed, seeds, outcome)


def origin_of(model: Model) -> Origin:
    """The model, as the record of a tuning names it."""
    return Origin(model.card.name, model.sha256)


def tuned_card(parent: ModelCard, name: str, record: TuningRecord) -> ModelCard:
    """The card of the tuned model: its parent's inputs and labels, and how it was tuned."""
    training = {key: value for key, value in anonymise_training(parent.training).items() if key != "figures"}
    training["tuned"] = [*training.get("tuned", ()), encode(record)]
    return replace(
        parent,
        name=name,
        description=f"{parent.name} tuned on {_seeds(record)}; research use, not for diagnosis.",
        sha256="",
        training=training,
        parent=Parent(parent.name, parent.sha256, parent.family),
    )


def trained_structure_card(card: ModelCard, name: str, record: TuningRecord) -> ModelCard:
    """The card of a model that was trained on SEEDs alone. It has no parent: its labels are its own."""
    names = ", ".join(label.name for label in card.labels)
    names = names if len(names) <= MAX_NAMES else f"{len(card.labels)} structures"
    description = f"{names}, trained on {_seeds(record)}; research use, not for diagnosis."
    return replace(card, name=name, description=description, training={"tuned": [encode(record)]})


def _seeds(record: TuningRecord) -> str:
    unfinished = " (unfinished: stopped before the guard)" if isinstance(record.outcome, Unfinished) else ""
    return counted(len(record.seeds), "1 SEED slice", "{count} SEED slices") + unfinished


def outcome_of(tuned: Finetuned, seconds: float) -> Outcome:
    """The figures of a tuning that took this time."""
    seeds, guard = tuned.seeds, tuned.guard
    return Outcome(
        tuned.verdict,
        Watched(mean(seeds.before), mean(guard.before)),
        Watched(mean(seeds.after), mean(guard.after)),
        Watched(change_figures(seeds), change_figures(guard, tuned.guard_kind)),
        tuned.alpha,
        tuned.steps,
        round(seconds, 2),
        tuned.warnings,
    )


def mean(values: np.ndarray | None) -> float | None:
    """The mean to four decimals; None without values."""
    return None if values is None or not len(values) else round(float(values.mean()), 4)


def change_figures(change: Change, kind: str | None = None) -> ChangeFigures:
    """The figures of a change, to four decimals."""
    error = change.error
    return ChangeFigures(kind, mean(change.differences), None if error is None else round(error, 4), len(change.after))


@dataclass(frozen=True)
class Inherited:
    """What a model takes over from the one that it came from: the licence, MONAI's entries of metadata.json, whether
    the weights are kept as fp16, and the weights of the first stage, by their names in the file."""

    licence: str
    facts: dict[str, Any]
    half: bool
    region: dict[str, Any] = field(default_factory=dict)


def inherited_from(origin: Model) -> Inherited:
    """What a model tuned from this one takes over.

    Raises: ModelError when they cannot be read, or are links, which may lead to any file.
    """
    facts = read_metadata(origin.folder)
    kept = {key: facts[key] for key in FACTS if key in facts}
    region: dict[str, Any] = {}
    if origin.region is not None:
        (stage,), (network,) = origin.region.card.networks, origin.region.networks
        region = {stage.prefix + key: value for key, value in network.state_dict().items()}
    return Inherited(read_text_file(origin.folder, "LICENSE"), kept, is_half(origin.folder), region)


def write_bundle(folder: Path, card: ModelCard, states: Sequence[dict[str, Any]], origin: Inherited) -> ModelCard:
    """Write the bundle of a model that came from another, with the weights of each of its networks, under the other's
    licence and in its precision; its card with the weights' hash.

    Raises: InputError when it cannot be written.
    """
    folds = zip(card.networks, states, strict=True)
    weights = {fold.prefix + key: value for fold, state in folds for key, value in state.items()}
    weights |= origin.region
    # The origin's intended use does not hold for a new structure.
    facts = {key: value for key, value in origin.facts.items() if card.parent or key != "intended_use"}
    return save_bundle(folder, card, weights, readme_of(card), origin.licence, facts, origin.half)


def readme_of(card: ModelCard) -> str:
    """The card for people."""
    record = card.training["tuned"][-1]
    origin = f"{record['parent']['name']} ({record['parent']['sha256'][:12]}…)"
    lines = [f"- {seed['case']}, slice {seed['slice']}" for seed in record["seeds"]]
    if card.parent:
        made = f"{origin}, tuned by MedTL {record['medtl']} on these SEED slices:"
    else:
        made = f"Trained by MedTL {record['medtl']}, starting from the encoder of {origin}, on these SEED slices:"
    verdict = record.get("verdict")
    outcome = f"Verdict of the guard: {verdict}." if verdict else "Stopped before the guard compared it."
    return (
        f"# {card.name}\n\n{made}\n\n" + "\n".join(lines) + f"\n\n{outcome} Figures are in `configs/metadata.json`. "
        f"The licence is that of {record['parent']['name']}, see LICENSE. **Research use, not for diagnosis.**\n"
    )
