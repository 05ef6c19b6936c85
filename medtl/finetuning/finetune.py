"""Fine-tune a model on SEED slices and compare it with the old one.

A third of the time is for tuning without some of the SEEDs, to measure the change on them; the rest is for tuning on
all. The final weights lie between the old and the tuned ones, no further from the old ones than the guard set allows.
Where time is short, the checks become smaller, and a warning says so.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from ..counted import counted
from ..errors import InputError, memory_errors
from ..model.bundle import Model
from ..model.card import ModelCard
from ..model.device import limited_threads
from ..volume import Volume
from .cases import case_of, examples_of
from .decoder import DecoderWeights, Tuning, tune
from .features import Case, Shown
from .guard import (
    MIN_SEEDS_TO_HOLD_OUT,
    SCORINGS,
    Change,
    far_from_seeds,
    far_warnings,
    guard_set,
    guard_warnings,
    largest_alpha,
    verdict,
)
from .held_out import ALPHAS, HeldOut, score_held_out
from .run import Run, TimeBudget, Weights
from .seed import Seed, check_place, for_model

DEFAULT_ALPHA = 0.5  # half-way to the tuned weights, where the next cases gain as much as at the end
UNGUARDED_ALPHA = 0.25  # where nothing warns of a loss; further on, 3D networks lose on the next cases


@dataclass(frozen=True)
class Finetuned:
    """A tuned model, its weights in place: `alpha` lies between the old ones (0) and the tuned ones (1). `warnings` are
    the run's own, `guard_warnings` those of the readers of the guard set; `slice_seconds` is what the networks take for
    a slice of the first case. Where there was time for few steps, `advised_budget` are the seconds that would do."""

    model: Model
    weights: Weights
    cases: tuple[Case, ...]
    alpha: float
    verdict: str
    seeds: Change
    guard: Change
    guard_kind: str
    held_out: tuple[HeldOut, ...]
    steps: int
    warnings: tuple[str, ...] = ()
    guard_warnings: tuple[str, ...] = ()
    slice_seconds: float = 0.0
    advised_budget: float | None = None


Volumes = TypeVar("Volumes", bound=Volume | Sequence[Volume])
Marked = Sequence[tuple[Volume | Sequence[Volume], Sequence[Seed]]]


def finetune(model: Model, cases: Marked, run: Run) -> Finetuned:
    """The tuned model and the guard's verdict; the given model stays as it is. A case is a volume, or several of them,
    one a channel, with its SEEDs.

    Raises: InputError for SEEDs that do not fit the model or the volumes, or a network of windows that takes longer
    than the budget for one step; ModelError when the network's numbers are not finite from the start; DeviceError when
    memory runs out; Cancelled.
    """
    own = replace(model, networks=tuple(copy.deepcopy(network) for network in model.networks), auto=False)
    options, budget, tuning = run.options, run.budget, Tuning(seed=run.options.seed)
    advice = "Not enough memory to tune. Close other programs, or use fewer SEED slices."
    with limited_threads(options.threads), memory_errors(advice):
        run.progress("prepare", 0.0)
        prepared = prepare_cases(own, cases)
        examples = examples_of(own, prepared, tuning, run)
        reserve = run.reserve + min(run.later_slices * examples.slice_seconds, budget.seconds / 4)
        look = examples.look_seconds
        guard = guard_set(own, options.guard, look, budget.part(budget.seconds / 10), run.progress, run.reader)
        guard = guard.within(budget.until(1.0, reserve) / 2)
        reserve += SCORINGS * guard.seconds
        far: tuple[Shown, ...] = ()
        if guard.kind == "none":
            began = budget.used
            far = far_from_seeds(own, prepared, look, budget.part(budget.seconds / 20))
            reserve += budget.used - began
        run = replace(run, reserve=reserve)
        rounds = affordable_rounds(budget, reserve, look * sum(len(case.truth) for case in prepared) / 4)
        weights = DecoderWeights(own, examples.parameters())
        held_out = score_held_out(weights, prepared, examples, tuning, run, rounds)
        alpha = UNGUARDED_ALPHA if guard.kind == "none" else DEFAULT_ALPHA
        alpha = min(alpha * options.strength, 1.0)
        steps_done = run.steps_with_checkpoints(weights, alpha)
        trained = tune(weights, examples, tuning, budget.part(budget.until(1.0, reserve)), steps_done)
        alpha, after = largest_alpha(weights, guard, alpha, run)
        far_notes = far_warnings(own, far)
    at_alpha = [np.interp(alpha, tuple(seed.dice), tuple(seed.dice.values())) for seed in held_out]
    seeds = Change(np.array([seed.dice[0.0] for seed in held_out]), np.array(at_alpha))
    watched = Change(guard.before, after)
    count = sum(len(case.truth) for case in prepared)
    short = short_warnings(guard.left_out, 2 - rounds if count >= MIN_SEEDS_TO_HOLD_OUT else 0)
    notes = (*guard_warnings(own.card, guard, count), *far_notes)
    warnings = (*examples.warnings, *trained.warnings, *short, *notes)
    return Finetuned(
        own,
        weights,
        prepared,
        alpha,
        verdict(seeds, watched),
        seeds,
        watched,
        guard.kind,
        held_out,
        trained.steps,
        warnings,
        guard.warnings,
        examples.slice_seconds,
        examples.advised_budget,
    )


def affordable_rounds(budget: TimeBudget, reserve: float, look_seconds: float) -> int:
    """The rounds of held-out SEEDs, two at the most, in each of which looking at the SEEDs once takes `look_seconds`:
    they are for when there is time enough for the tuning itself."""
    left = budget.until(1.0, reserve)
    most = int(left > budget.seconds / 4) + int(left > budget.seconds / 2)
    return min(most, int(left / 4 / max(look_seconds * (1 + len(ALPHAS)), 1e-9)))


def short_warnings(guard_cases: int, rounds: int) -> tuple[str, ...]:
    """A warning about what was left out because time was short: cases of the guard set, rounds of held-out SEEDs."""
    cases = counted(guard_cases, "1 case", "{count} cases")
    parts = [f"{cases} of the guard set"] if guard_cases else []
    parts += [f"{rounds} of 2 rounds with held-out SEEDs"] if rounds else []
    if not parts:
        return ()
    return (f"Time was short. Left out: {' and '.join(parts)}. Allow more for a better check.",)


def prepare_cases(model: Model, cases: Marked) -> tuple[Case, ...]:
    """The cases as the model sees them.

    Raises: InputError for SEEDs that do not fit the model or the volumes, or when there is none.
    """
    fitting = fitting_seeds(model.card, cases)
    return tuple(case_of(model, volumes, seeds, number) for number, (volumes, seeds) in enumerate(fitting))


def fitting_seeds(card: ModelCard, cases: Sequence[tuple[Volumes, Sequence[Seed]]]) -> list[tuple[Volumes, list[Seed]]]:
    """The cases with their SEEDs' labels in the order of the model's.

    Raises: InputError for SEEDs that do not fit the model or the volumes, or when there is none.
    """
    fitting = []
    for volumes, seeds in cases:
        own = [for_model(seed, card) for seed in seeds]
        for seed in own:
            check_place(seed, volumes if isinstance(volumes, Volume) else volumes[0])
        fitting.append((volumes, own))
    if not any(seeds for _, seeds in fitting):
        raise InputError("Expected at least one SEED slice, found none. Mark a slice that is right as a whole.")
    return fitting
