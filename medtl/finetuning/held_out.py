"""Leaving SEEDs out: how well a tuning does on slices that it did not see, within the time there is."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..progress import Progress
from .decoder import Tuned, Tuning, tune
from .features import Cached, Marked, cached, decide, decode, dices
from .guard import FEWEST_SEEDS

ALPHAS = (0.25, 0.5, 0.75, 1.0)
Note = Callable[[Mapping[str, float]], None]


def unheard(values: Mapping[str, float]) -> None:
    """Note nothing."""


@dataclass
class Clock:
    """The time that a run has: stages end when their share of it is used up."""

    budget: float
    began: float = field(default_factory=time.perf_counter)

    @property
    def used(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.began

    def until(self, share: float, reserve: float = 0.0) -> float:
        """Seconds until that share of the budget, without what is reserved at its end; at least a moment."""
        return max(share * (self.budget - reserve) - self.used, 0.2)


@dataclass(frozen=True)
class LeftOut:
    """A SEED that was left out: its case and slice, the Dice before and, for each of ALPHAS, after; the tuned network's
    logits there (1 + labels, h, w), and the slices that were not left out."""

    case: int
    slice: int
    before: float
    after: tuple[float, ...]
    logits: np.ndarray
    others: tuple[int, ...]


def told(progress: Progress, note: Note, stage: str, begin: float, part: float) -> Callable[[float, float], None]:
    """What `tune` calls after each step: the progress of a stage, of which this is a part, and the loss."""

    def step_done(share: float, loss: float) -> None:
        note({"loss": loss})
        progress(stage, begin + part * share)

    return step_done


def leave_out(
    tuned: Tuned,
    cases: Sequence[Marked],
    caches: Sequence[Cached],
    tuning: Tuning,
    clock: Clock,
    reserve: float,
    progress: Progress,
    note: Note,
) -> tuple[LeftOut, ...]:
    """Two rounds, a third of the time in all, each without another quarter of the SEEDs: how they come out then. None
    where there are too few SEEDs."""
    every = [(number, k) for number, case in enumerate(cases) for k in sorted(case.truth)]
    if len(every) < FEWEST_SEEDS:
        return ()
    found: list[LeftOut] = []
    names = [case.case for case in cases]
    for turn, chosen in enumerate((every[1::4], every[3::4])):
        rest = [one for c in caches if (one := without(c, {k for n, k in chosen if names[n] == c.case})) is not None]
        seconds = clock.until((turn + 1) / 6, reserve)
        watch = told(progress, note, "check", turn / 2, 0.5)
        tune(tuned, rest, tuning, seconds, watch)
        for number in sorted({n for n, _ in chosen}):
            slices = [k for n, k in chosen if n == number]
            found += _judged(tuned, cases[number], number, slices)
    return tuple(found)


def without(some: Cached, slices: set[int]) -> Cached | None:
    """The rest of a copy; None where nothing is left."""
    rest = [i for i, k in enumerate(some.slices) if k not in slices]
    if len(rest) == len(some):
        return some
    features = [f[rest] for f in some.features]
    return Cached(some.case, tuple(some.slices[i] for i in rest), features, some.truth[rest]) if rest else None


@torch.inference_mode()
def _judged(tuned: Tuned, case: Marked, number: int, slices: Sequence[int]) -> list[LeftOut]:
    """How these SEEDs come out before and at each of ALPHAS."""
    model = tuned.model
    some = cached(model, case, slices)
    scores, logits = [], torch.zeros(0)
    for alpha in (0.0, *ALPHAS):
        tuned.use(alpha)
        logits = decode(model, some.features)
        scores.append(dices(decide(logits, model.card.calibration), some.truth, len(model.card.labels), False))
    others = tuple(k for k in sorted(case.truth) if k not in slices)
    return [
        LeftOut(number, k, float(scores[0][i]), tuple(float(s[i]) for s in scores[1:]), logits[i].cpu().numpy(), others)
        for i, k in enumerate(slices)
    ]
