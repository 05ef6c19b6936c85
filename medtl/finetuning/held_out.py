"""Held-out SEEDs: the Dice of a tuning on slices that it was not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .decoder import DecoderWeights, Examples, Tuning, tune
from .features import Case, classes_of, dices
from .guard import MIN_SEEDS_TO_HOLD_OUT
from .run import Run

ALPHAS = (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class HeldOut:
    """A SEED that was held out: number of its case and its slice; Dice there by alpha, from 0 (before tuning) to 1
    (a new structure has no 0); the tuned network's logits there (outputs, h, w), and the case's slices that were tuned
    on."""

    case: int
    slice: int
    dice: Mapping[float, float]
    logits: np.ndarray
    others: tuple[int, ...]


def hold_out(cases: Sequence[Case], start: int) -> list[tuple[int, int]]:
    """Every fourth SEED of all cases, as (number of the case, slice), from the `start`-th."""
    return [(number, k) for number, case in enumerate(cases) for k in sorted(case.truth)][start::4]


def score_held_out(
    weights: DecoderWeights, cases: Sequence[Case], examples: Examples, tuning: Tuning, run: Run, rounds: int
) -> tuple[HeldOut, ...]:
    """The held-out SEEDs of up to two rounds, each tuned without another quarter of the SEEDs, for a sixth of the time
    that is left; none where there are too few SEEDs.

    Raises: ModelError when tuning does not start or gives logits that are not finite.
    """
    if sum(len(case.truth) for case in cases) < MIN_SEEDS_TO_HOLD_OUT:
        return ()
    seconds = run.budget.until(1.0, run.reserve) / 6
    scored: list[HeldOut] = []
    for number, chosen in enumerate([hold_out(cases, 1), hold_out(cases, 3)][:rounds]):
        steps = run.steps("check", number / rounds, 1 / rounds)
        tune(weights, examples.without(chosen), tuning, run.budget.part(seconds), steps)
        for case in sorted({n for n, _ in chosen}):
            scored += _scores(weights, cases[case], case, [k for n, k in chosen if n == case])
    return tuple(scored)


@torch.inference_mode()
def _scores(weights: DecoderWeights, case: Case, number: int, slices: Sequence[int]) -> list[HeldOut]:
    """These SEEDs with their Dice before tuning and at each of ALPHAS."""
    model = weights.model
    shown = case.show(model, slices)
    scores, logits = {}, torch.zeros(0)
    for alpha in (0.0, *ALPHAS):
        weights.use(alpha)
        logits = torch.cat(list(shown.logits(model)))
        scores[alpha] = dices(classes_of(logits, model.card), shown.truth, len(model.card.labels))
    others = tuple(k for k in sorted(case.truth) if k not in slices)
    return [
        HeldOut(number, k, {a: float(dice[i]) for a, dice in scores.items()}, logits[i].cpu().numpy(), others)
        for i, k in enumerate(slices)
    ]
