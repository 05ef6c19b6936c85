"""Held-out SEEDs: the Dice of a tuning on slices that it was not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .decoder import DecoderWeights, Tuning, tune
from .features import EncodedSlices, SeedCase, classes_of, decode, dices, encode_slices
from .guard import MIN_SEEDS_TO_HOLD_OUT
from .run import Run

ALPHAS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class HeldOut:
    """A SEED that was held out: number of its case and its slice; Dice there by alpha, from 0 (before tuning) to 1
    (a new structure has no 0); the tuned network's logits there (1 + labels, h, w), and the case's slices that were
    tuned on."""

    case: int
    slice: int
    dice: Mapping[float, float]
    logits: np.ndarray
    others: tuple[int, ...]


def hold_out(cases: Sequence[SeedCase], start: int) -> list[tuple[int, int]]:
    """Every fourth SEED of all cases, as (number of the case, slice), from the `start`-th."""
    return [(number, k) for number, case in enumerate(cases) for k in sorted(case.truth)][start::4]


def score_held_out(
    weights: DecoderWeights, cases: Sequence[SeedCase], copies: Sequence[EncodedSlices], tuning: Tuning, run: Run
) -> tuple[HeldOut, ...]:
    """The held-out SEEDs of two rounds, a third of the time in all, each tuned without another quarter of the SEEDs;
    none where there are too few SEEDs.

    Raises: ModelError when tuning does not start or gives logits that are not finite.
    """
    if sum(len(case.truth) for case in cases) < MIN_SEEDS_TO_HOLD_OUT:
        return ()
    scored: list[HeldOut] = []
    for round_number, chosen in enumerate((hold_out(cases, 1), hold_out(cases, 3))):
        rest = [kept for c in copies if (kept := without(c, {k for n, k in chosen if n == c.case})) is not None]
        seconds = run.budget.until((round_number + 1) / 6, run.reserve)
        tune(weights, rest, tuning, seconds, run.steps("check", round_number / 2, 0.5))
        for number in sorted({n for n, _ in chosen}):
            scored += _scores(weights, cases[number], number, [k for n, k in chosen if n == number])
    return tuple(scored)


def without(encoded: EncodedSlices, slices: set[int]) -> EncodedSlices | None:
    """The slices of a copy that are not held out; None where none is left."""
    rest = [i for i, k in enumerate(encoded.slices) if k not in slices]
    if len(rest) == len(encoded):
        return encoded
    if not rest:
        return None
    features = [f[rest] for f in encoded.features]
    return EncodedSlices(encoded.case, tuple(encoded.slices[i] for i in rest), features, encoded.truth[rest])


@torch.inference_mode()
def _scores(weights: DecoderWeights, case: SeedCase, number: int, slices: Sequence[int]) -> list[HeldOut]:
    """These SEEDs with their Dice before tuning and at each of ALPHAS."""
    model = weights.model
    encoded = encode_slices(model, case, slices)
    scores, logits = {}, torch.zeros(0)
    for alpha in (0.0, *ALPHAS):
        weights.use(alpha)
        logits = decode(model, encoded.features)
        scores[alpha] = dices(classes_of(logits, model.card), encoded.truth, len(model.card.labels))
    others = tuple(k for k in sorted(case.truth) if k not in slices)
    return [
        HeldOut(number, k, {a: float(dice[i]) for a, dice in scores.items()}, logits[i].cpu().numpy(), others)
        for i, k in enumerate(slices)
    ]
