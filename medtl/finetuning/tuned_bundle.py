"""The bundle of a tuned model: its card, its figures and the texts of its parent.

Cases are numbered in it: a bundle contains no name of an image file and no hash of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..model.bundle import Model, save_bundle
from ..model.card import ModelCard, Parent, read_metadata
from ..model.files import read_text_file
from ..model.tuning_records import anonymise_training
from ..volume import Volume
from .finetune import Finetuned
from .guard import Change
from .run import FinetuneOptions
from .seed import Seed

MAX_NAMES = 400  # characters of labels' names in a description
FACTS = ("authors", "copyright", "data_source", "intended_use", "references")


def tuning_record(
    origin: Model, cases: Sequence[tuple[Volume, list[Seed]]], options: FinetuneOptions, outcome: dict[str, Any]
) -> dict[str, Any]:
    """The record of a tuning or training from another model: an entry of `training.tuned` in the new card."""
    seeds = [
        {"case": f"case {number}", "slice": seed.index, "labels": list(seed.labels)}
        for number, (_, group) in enumerate(cases, start=1)
        for seed in group
    ]
    return {
        "parent": {"name": origin.card.name, "sha256": origin.sha256},
        "medtl": __version__,
        "budget": options.budget,
        "strength": options.strength,
        "seed": options.seed,
        "seeds": seeds,
        **outcome,
    }


def tuned_card(parent: ModelCard, name: str, record: dict[str, Any]) -> ModelCard:
    """The card of the tuned model: its parent's inputs and labels, and how it was tuned."""
    training = {key: value for key, value in anonymise_training(parent.training).items() if key != "figures"}
    training["tuned"] = [*training.get("tuned", ()), record]
    return replace(
        parent,
        name=name,
        description=f"{parent.name} tuned on {_seeds(record)}; research use, not for diagnosis.",
        sha256="",
        training=training,
        parent=Parent(parent.name, parent.sha256, parent.family),
    )


def trained_structure_card(card: ModelCard, name: str, record: dict[str, Any]) -> ModelCard:
    """The card of a model that was trained on SEEDs alone. It has no parent: its labels are its own."""
    names = ", ".join(label.name for label in card.labels)
    names = names if len(names) <= MAX_NAMES else f"{len(card.labels)} structures"
    description = f"{names}, trained on {_seeds(record)}; research use, not for diagnosis."
    return replace(card, name=name, description=description, training={"tuned": [record]})


def _seeds(record: dict[str, Any]) -> str:
    unfinished = " (unfinished: stopped before the guard)" if record.get("unfinished") else ""
    return f"{len(record['seeds'])} SEED slices{unfinished}"


def outcome_of(tuned: Finetuned, seconds: float) -> dict[str, Any]:
    """The figures of a tuning, as its record and `medtl finetune --json` have them."""
    return {
        "verdict": tuned.verdict,
        "before": {"seeds": mean(tuned.seeds.before), "guard": mean(tuned.guard.before)},
        "after": {"seeds": mean(tuned.seeds.after), "guard": mean(tuned.guard.after)},
        "change": {
            "seeds": change(tuned.seeds),
            "guard": {"kind": tuned.guard_kind, **change(tuned.guard)},
        },
        "alpha": tuned.alpha,
        "steps": tuned.steps,
        "seconds": round(seconds, 2),
        "notes": list(tuned.warnings),
    }


def mean(values: np.ndarray | None) -> float | None:
    """The mean to four decimals; None without values."""
    return None if values is None or not len(values) else round(float(values.mean()), 4)


def change(values: Change) -> dict[str, Any]:
    """Mean change, its standard error and the number of slices or cases."""
    error = values.error
    return {
        "mean": mean(values.differences),
        "error": None if error is None else round(error, 4),
        "n": len(values.after),
    }


@dataclass(frozen=True)
class OriginTexts:
    """The licence of a model, and MONAI's entries of its metadata.json."""

    licence: str
    facts: dict[str, Any]


def texts_of(origin: Model) -> OriginTexts:
    """The texts that a model tuned from this one takes over.

    Raises: ModelError when they cannot be read, or are links, which may lead to any file.
    """
    facts = read_metadata(origin.folder)
    return OriginTexts(read_text_file(origin.folder, "LICENSE"), {key: facts[key] for key in FACTS if key in facts})


def write_bundle(folder: Path, card: ModelCard, state: dict[str, Any], origin: OriginTexts) -> ModelCard:
    """Write the bundle of a model that came from another, under the other's licence; its card with the weights' hash.

    Raises: InputError when it cannot be written.
    """
    prefix = card.networks[0].prefix
    weights = {prefix + key: value for key, value in state.items()}
    # The origin's intended use does not hold for a new structure.
    facts = {key: value for key, value in origin.facts.items() if card.parent or key != "intended_use"}
    return save_bundle(folder, card, weights, readme_of(card), origin.licence, facts)


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
