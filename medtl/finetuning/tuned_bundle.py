"""The bundle of a tuned model: its card, its figures and what of its parent goes with it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import ModelError
from ..model.bundle import Model, save_bundle
from ..model.card import METADATA, ModelCard, Parent
from ..volume import Volume
from .finetune import Finetuned, FinetuneOptions
from .guard import Change
from .seed import Seed

FACTS = ("authors", "copyright", "data_source", "intended_use", "references")


def record_of(
    origin: Model, given: Sequence[tuple[Volume, list[Seed]]], options: FinetuneOptions, facts: dict[str, Any]
) -> dict[str, Any]:
    """How a model was tuned, or learned, from another one: the entry of `training` in its card."""
    seeds = [
        {"case": seed.case, "image_sha256": seed.sha256, "slice": seed.index, "labels": list(seed.labels)}
        for _, group in given
        for seed in group
    ]
    return {
        "parent": {"name": origin.card.name, "sha256": origin.sha256},
        "medtl": __version__,
        "budget": options.budget,
        "strength": options.strength,
        "seed": options.seed,
        "seeds": seeds,
        **facts,
    }


def tuned_card(parent: ModelCard, name: str, record: dict[str, Any]) -> ModelCard:
    """The card of the tuned model: its parent's inputs and labels, and how it was tuned."""
    training = {key: value for key, value in parent.training.items() if key != "figures"}  # those are its parent's
    training["tuned"] = [*parent.training.get("tuned", ()), record]
    return replace(
        parent,
        name=name,
        description=f"{parent.name} tuned on {len(record['seeds'])} SEED slices; research use, not for diagnosis.",
        sha256="",
        training=training,
        parent=Parent(parent.name, parent.sha256, parent.family),
    )


def learned_card(card: ModelCard, record: dict[str, Any]) -> ModelCard:
    """The card of a model that was learned from SEEDs alone. It has no parent: its labels are its own."""
    names = ", ".join(label.name for label in card.labels)
    text = f"{names}, learned from {len(record['seeds'])} SEED slices; research use, not for diagnosis."
    return replace(card, description=text, training={"tuned": [record]})


def facts_of(done: Finetuned, seconds: float) -> dict[str, Any]:
    """What came of a tuning."""
    return {
        "verdict": done.verdict,
        "before": {"seeds": mean(done.seeds.before), "guard": mean(done.guard.before)},
        "after": {"seeds": mean(done.seeds.after), "guard": mean(done.guard.after)},
        "change": {
            "seeds": change(done.seeds),
            "guard": {"kind": done.guard_kind, **change(done.guard)},
        },
        "alpha": done.alpha,
        "steps": done.steps,
        "seconds": round(seconds, 2),
        "notes": list(done.notes),
    }


def mean(values: Any) -> float | None:
    """The mean, four decimals; None of nothing."""
    return round(float(values.mean()), 4) if len(values) else None


def change(values: Change) -> dict[str, Any]:
    """Mean change, its standard error and the number it is of."""
    count = len(values.before)
    error = values.error
    return {
        "mean": round(values.mean, 4) if count else None,
        "error": None if error is None else round(error, 4),
        "n": count,
    }


def write_bundle(folder: Path, card: ModelCard, state: dict[str, Any], origin: Model) -> ModelCard:
    """Write the bundle of a model that came from another: its licence is that one's.

    Raises: InputError when it cannot be written; ModelError when the origin's texts cannot be read.
    """
    try:
        licence = (origin.folder / "LICENSE").read_text(encoding="utf-8")
        facts = json.loads((origin.folder / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"Expected LICENSE and {METADATA} in {origin.folder}, found none readable.") from error
    prefix = card.networks[0].prefix
    weights = {prefix + key: value for key, value in state.items()}
    # What the origin is meant for says nothing of a structure that is new.
    kept = {key: facts[key] for key in FACTS if key in facts and (card.parent or key != "intended_use")}
    return save_bundle(folder, card, weights, readme_of(card), licence, kept)


def readme_of(card: ModelCard) -> str:
    """The card for people."""
    record = card.training["tuned"][-1]
    origin = f"{record['parent']['name']} ({record['parent']['sha256'][:12]}…)"
    lines = [f"- {seed['case']}, slice {seed['slice']}" for seed in record["seeds"]]
    if card.parent:
        made = f"{origin}, tuned by MedTL {record['medtl']} on these SEED slices:"
    else:
        made = f"Learned by MedTL {record['medtl']}, its encoder begun as that of {origin}, from these SEED slices:"
    verdict = record.get("verdict")
    judged = f"Verdict of the guard: {verdict}." if verdict else "Stopped before the guard judged it."
    return (
        f"# {card.name}\n\n{made}\n\n" + "\n".join(lines) + f"\n\n{judged} Figures are in `configs/metadata.json`. "
        f"The licence is that of {record['parent']['name']}, see LICENSE. **Research use, not for diagnosis.**\n"
    )
