"""Fine-tune a model on SEED slices and compare it with the old one.

A third of the time is for tuning without some of the SEEDs, to measure the change on them; the rest is for tuning on
all. The final weights lie between the old and the tuned ones, no further from the old ones than the guard set allows.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..errors import DeviceError, InputError, memory_errors
from ..model.bundle import Model
from ..model.device import limited_threads
from ..volume import Volume
from .decoder import DecoderWeights, Tuning, tune
from .features import EncodedSlices, SeedCase, augmented_copies, prepare_case
from .guard import Change, guard_set, guard_warnings, largest_alpha, verdict
from .held_out import HeldOut, score_held_out
from .run import Run, Weights
from .seed import Seed, check_place, for_model

MAX_CACHE_BYTES = 1_000_000_000
DEFAULT_ALPHA = 0.5  # half-way to the tuned weights, where the next cases gain as much as at the end


@dataclass(frozen=True)
class Finetuned:
    """A tuned model, its weights in place: `alpha` lies between the old ones (0) and the tuned ones (1). `warnings` are
    the run's own, `guard_warnings` those of the readers of the guard set."""

    model: Model
    weights: Weights
    cases: tuple[SeedCase, ...]
    alpha: float
    verdict: str
    seeds: Change
    guard: Change
    guard_kind: str
    held_out: tuple[HeldOut, ...]
    steps: int
    warnings: tuple[str, ...] = ()
    guard_warnings: tuple[str, ...] = ()


def finetune(model: Model, cases: Sequence[tuple[Volume, Sequence[Seed]]], run: Run) -> Finetuned:
    """The tuned model and the guard's verdict; the given model stays as it is.

    Raises: InputError for SEEDs that do not fit the model or the volumes, or a budget that is too short; ModelError
    when the network's numbers are not finite from the start; DeviceError when memory runs out; Cancelled.
    """
    own = replace(model, networks=(copy.deepcopy(model.networks[0]),))
    options, budget, tuning = run.options, run.budget, Tuning(seed=run.options.seed)
    advice = "Not enough memory to tune. Close other programs, or use fewer SEED slices."
    with limited_threads(options.threads), memory_errors(advice):
        run.progress("prepare", 0.0)
        prepared = prepare_cases(own, cases)
        began = budget.used
        copies, warnings = _encode_copies(own, prepared, tuning, run)
        reserve = run.reserve + 0.8 * run.later_slices * (budget.used - began) / sum(len(c) for c in copies)
        guard = guard_set(own, options.guard, options.budget / 10, run.progress, run.reader)
        reserve += 3 * guard.seconds  # it is scored a few times more
        if budget.used + reserve >= options.budget:
            raise too_short("tune", run, reserve)
        run = replace(run, reserve=reserve)
        weights = DecoderWeights(own, copies[0])
        held_out = score_held_out(weights, prepared, copies, tuning, run)
        alpha = min(DEFAULT_ALPHA * options.strength, 1.0)
        steps_done = run.steps_with_checkpoints(weights, alpha)
        trained = tune(weights, copies, tuning, budget.until(1.0, reserve), steps_done)
        alpha, after = largest_alpha(weights, guard, alpha, run)
    at_alpha = [np.interp(alpha, tuple(seed.dice), tuple(seed.dice.values())) for seed in held_out]
    seeds = Change(np.array([seed.dice[0.0] for seed in held_out]), np.array(at_alpha))
    watched = Change(guard.before, after)
    count = sum(len(case.truth) for case in prepared)
    warnings = (*warnings, *trained.warnings, *guard_warnings(own.card, guard, count))
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
    )


def prepare_cases(model: Model, cases: Sequence[tuple[Volume, Sequence[Seed]]]) -> tuple[SeedCase, ...]:
    """The cases in the model's plane.

    Raises: InputError for SEEDs that do not fit the model or the volumes, or when there is none.
    """
    prepared = []
    multiple = model.networks[0].multiple
    for number, (volume, seeds) in enumerate(cases):
        fitting = []
        for seed in seeds:
            fitting.append(for_model(seed, model.card))
            check_place(fitting[-1], volume)  # here, so that masks of slices that are not there take no memory
        prepared.append(prepare_case(volume, fitting, model.card.input, multiple, number))
    if not any(case.truth for case in prepared):
        raise InputError("Expected at least one SEED slice, found none. Mark a slice that is right as a whole.")
    return tuple(prepared)


def too_short(verb: str, run: Run, reserve: float) -> InputError:
    """The error for a time budget that preparation alone uses up."""
    needed = run.budget.used + reserve
    return InputError(
        f"Expected a budget that leaves time to {verb}, found {run.options.budget:g} s, of which preparing takes "
        f"{needed:.0f} s. Allow {3 * needed:.0f} s."
    )


def _encode_copies(
    model: Model, cases: Sequence[SeedCase], tuning: Tuning, run: Run
) -> tuple[list[EncodedSlices], tuple[str, ...]]:
    """Copies of all SEEDs; fewer of them where memory is short, with a warning."""
    for count in (tuning.copies, 4, 1):
        try:
            with memory_errors("Not enough memory for the SEED slices. Close other programs, or use fewer of them."):
                copies = _copies(model, cases, count, tuning.seed, run)
        except DeviceError:
            if count == 1:
                raise
            continue
        warnings = (f"Memory is short: {count} copies of each SEED instead of {tuning.copies}.",)
        return copies, warnings if count < tuning.copies else ()
    raise AssertionError


def _copies(model: Model, cases: Sequence[SeedCase], count: int, seed: int, run: Run) -> list[EncodedSlices]:
    """`count` copies of each SEED, fewer where they would take more than an eighth of the time or too much memory."""
    random = torch.Generator().manual_seed(seed)
    budget = run.budget
    copies: list[EncodedSlices] = []
    for number, case in enumerate(cases):
        slices, until = sorted(case.truth), budget.used + budget.seconds / 8 / len(cases)
        for done, encoded in enumerate(augmented_copies(model, case, slices, count, random)):
            run.progress("encode", (number + done / count) / len(cases))
            copies.append(encoded)
            if budget.used > until or cache_bytes(copies) > MAX_CACHE_BYTES:
                break
    return copies


def cache_bytes(copies: Sequence[EncodedSlices]) -> int:
    """Bytes of the features."""
    return sum(f.numel() * f.element_size() for encoded in copies for f in encoded.features)
