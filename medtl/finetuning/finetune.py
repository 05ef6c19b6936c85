"""Fine-tune: a model and SEED slices in, a tuned model with a verdict out.

A third of the time tunes without some of the SEEDs and is judged on those; the rest tunes on all. The weights that are
kept lie between the old and the tuned ones, as far from the old as the guard allows.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..errors import DeviceError, InputError, memory_errors
from ..model.bundle import Model
from ..model.device import limited_threads
from ..progress import Progress, no_progress
from ..volume import Volume
from .decoder import Tuned, Tuning, tune
from .features import Cached, Marked, copies, mark
from .guard import MARGIN, Change, Guard, guard_set, scores, verdict, words
from .held_out import ALPHAS, Clock, LeftOut, Note, leave_out, told, unheard
from .seed import Seed, for_model

SHORTEST = 5.0  # seconds: under this nothing can be learned and judged
CACHE_BYTES = 1_000_000_000
HALF_WAY = 0.5  # between the old weights and the tuned ones: there the next cases gain as much as further on
NEARER = 0.7  # of the way that is left, where the guard would be worse
TRIES = 5


@dataclass(frozen=True)
class FinetuneOptions:
    """Choices of one run. `budget` in seconds; `strength` scales how far from the parent the model goes; `guard` lists
    accepted cases; `result` is where this case's labelmap goes."""

    budget: float = 60.0
    strength: float = 1.0
    guard: Path | None = None
    result: Path | None = None
    device: str = "auto"
    threads: int | None = None
    force: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not SHORTEST <= self.budget <= 86400:
            raise InputError(f"Expected a budget of {SHORTEST:g} seconds or more, found {self.budget:g}. Allow more.")
        if not 0 < self.strength <= 2:
            raise InputError(f"Expected a strength above 0 and up to 2, found {self.strength:g}. 1 is the default.")


@dataclass(frozen=True)
class Finetuned:
    """A tuned model, its weights in place: `alpha` lies between the old ones (0) and the tuned ones (1)."""

    model: Model
    tuned: Tuned
    cases: tuple[Marked, ...]
    alpha: float
    verdict: str
    seeds: Change
    guard: Change
    guard_kind: str
    left_out: tuple[LeftOut, ...]
    steps: int
    notes: tuple[str, ...] = ()


Keep = Callable[[Tuned, float], None]


def forget(tuned: Tuned, alpha: float) -> None:
    """Keep nothing."""


def finetune(
    model: Model,
    cases: Sequence[tuple[Volume, Sequence[Seed]]],
    options: FinetuneOptions = FinetuneOptions(),
    progress: Progress = no_progress,
    *,
    clock: Clock | None = None,
    reserve: float = 1.5,
    later: int = 0,
    keep: Keep = forget,
    note: Note = unheard,
) -> Finetuned:
    """The tuned model and what the guard says of it; the given model stays as it is.

    `keep(tuned, alpha)` is called with states worth keeping before all is done. The caller needs `reserve`
    seconds of the budget afterwards, and time for so many slices to run `later`. `note` hears of the loss as it falls.

    Raises: InputError for SEEDs that do not fit the model or the volumes, or a budget that is too short; DeviceError
    when memory runs out; Cancelled.
    """
    clock = clock or Clock(options.budget)
    own = replace(model, networks=(copy.deepcopy(model.networks[0]),))
    advice = "Not enough memory to tune. Close other programs, or use fewer SEED slices."
    with limited_threads(options.threads), memory_errors(advice):
        progress("prepare", 0.0)
        marked = _marked(own, cases)
        began = clock.used
        caches, notes = _encoded(own, marked, Tuning(seed=options.seed), clock, progress)
        reserve += 0.8 * later * (clock.used - began) / sum(len(c) for c in caches)
        guard = guard_set(own, options.guard, options.budget / 10, progress)
        reserve += 3 * guard.seconds  # it is looked at a few times more
        if clock.used + reserve >= options.budget:
            raise InputError(
                f"Expected a budget that leaves time to tune, found {options.budget:g} s, of which preparing takes "
                f"{clock.used + reserve:.0f} s. Allow {3 * (clock.used + reserve):.0f} s."
            )
        tuned = Tuned(own, caches[0])
        left_out = leave_out(tuned, marked, caches, Tuning(seed=options.seed), clock, reserve, progress, note)
        alpha = min(HALF_WAY * options.strength, 1.0)
        steps = _tune_on_all(tuned, caches, alpha, options, clock, reserve, progress, keep, note)
        alpha, after = _allowed(tuned, guard, alpha, clock, progress)
    at = [np.interp(alpha, (0.0, *ALPHAS), (one.before, *one.after)) for one in left_out]
    seeds = Change(np.array([one.before for one in left_out]), np.array(at))
    watched = Change(guard.before, after)
    count = sum(len(case.truth) for case in marked)
    notes = (*notes, *words(own.card, guard.kind, count))
    judged = verdict(seeds, watched)
    return Finetuned(own, tuned, marked, alpha, judged, seeds, watched, guard.kind, left_out, steps, notes)


def _marked(model: Model, cases: Sequence[tuple[Volume, Sequence[Seed]]]) -> tuple[Marked, ...]:
    """The cases in the model's plane."""
    found = []
    for volume, seeds in cases:
        fitting = [for_model(seed, model.card) for seed in seeds]
        found.append(mark(volume, fitting, model.card.input, model.networks[0].multiple))
    if not any(case.truth for case in found):
        raise InputError("Expected at least one SEED slice, found none. Mark a slice that is right as a whole.")
    return tuple(found)


def _encoded(
    model: Model, cases: Sequence[Marked], tuning: Tuning, clock: Clock, progress: Progress
) -> tuple[list[Cached], tuple[str, ...]]:
    """Copies of all SEEDs; fewer of them where memory is short, and a note then."""
    for count in (tuning.copies, 4, 1):
        try:
            with memory_errors("Not enough memory for the SEED slices. Close other programs, or use fewer of them."):
                caches = _copied(model, cases, count, tuning.seed, clock, progress)
        except DeviceError:
            if count == 1:
                raise
            continue
        notes = (f"Memory is short: {count} copies of each SEED instead of {tuning.copies}.",)
        return caches, notes if count < tuning.copies else ()
    raise AssertionError


def _copied(
    model: Model, cases: Sequence[Marked], count: int, seed: int, clock: Clock, progress: Progress
) -> list[Cached]:
    """`count` copies of each SEED, fewer where they would take more than an eighth of the time or too much memory."""
    random = torch.Generator().manual_seed(seed)
    caches: list[Cached] = []
    for number, case in enumerate(cases):
        slices, until = sorted(case.truth), clock.used + clock.budget / 8 / len(cases)
        for done, one in enumerate(copies(model, case, slices, model.card.input, count, random)):
            progress("encode", (number + done / count) / len(cases))
            caches.append(one)
            if clock.used > until or size_of(caches) > CACHE_BYTES:
                break
    return caches


def size_of(caches: Sequence[Cached]) -> int:
    """Bytes of the features."""
    return sum(f.numel() * f.element_size() for one in caches for f in one.features)


def _tune_on_all(
    tuned: Tuned,
    caches: Sequence[Cached],
    alpha: float,
    options: FinetuneOptions,
    clock: Clock,
    reserve: float,
    progress: Progress,
    keep: Keep,
    note: Note,
) -> int:
    """Tune on all SEEDs; a state is kept at each quarter. The number of steps."""
    step_done = told(progress, note, "tune", 0.0, 1.0)
    quarter = 0

    def watch(share: float, loss: float) -> None:
        nonlocal quarter
        if share * 4 >= quarter + 1 and share < 1.0:
            quarter = int(share * 4)
            keep(tuned, alpha)
        step_done(share, loss)

    return tune(tuned, caches, Tuning(seed=options.seed), clock.until(1.0, reserve), watch)


def _allowed(tuned: Tuned, guard: Guard, alpha: float, clock: Clock, progress: Progress) -> tuple[float, np.ndarray]:
    """The weights that are kept and the guard's figures: as near to the old ones as it takes to be no worse."""
    for number in range(TRIES):
        progress("guard", number / TRIES)
        tuned.use(alpha)
        after = scores(tuned.model, guard.cases)
        fine = not len(after) or (after - guard.before).mean() >= -MARGIN
        if fine or number == TRIES - 1 or clock.used + guard.seconds >= clock.budget:
            break
        alpha *= NEARER
    return alpha, after
