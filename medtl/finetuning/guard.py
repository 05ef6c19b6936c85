"""The guard set: accepted cases or synthetic heads, on which a tuned model must not get worse."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ..channels import first_of, read_volumes, warnings_of
from ..counted import counted
from ..io import read
from ..io.isolated import Reader
from ..model.bundle import Model
from ..model.card import ModelCard
from ..phantom import head
from ..progress import Progress
from ..volume import Labelmap, Volume, array_axis, check_same_grid
from ..worklist.test_set import labelled_cases
from .cases import case_of
from .features import Case, Shown, classes_of, dices, predict, spread
from .run import Run, TimeBudget, Weights
from .seed import seeds_of

MARGIN = 0.01
MIN_SEEDS_TO_HOLD_OUT = 4
ALPHA_FACTOR = 0.7  # by which alpha shrinks where the guard set gets worse
ALPHA_TRIES = 5
HEADS = range(1001, 1007)  # seeds of synthetic heads that nothing else uses
HEAD_SLICES = 8
CASE_SLICES = 16
MIN_HEAD_DICE = 0.5  # of a model that is made for images like the synthetic heads
SCORINGS = 3  # of the guard set after tuning, as many as its time is reserved for
FAR_SLICES = 8


@dataclass(frozen=True)
class Guard:
    """`kind` is "cases", "phantom heads" or "none"; `before` is the old model's Dice on each case, and `seconds` the
    time that took. `left_out` are the cases for which time was short, and `warnings` the readers'."""

    kind: str
    cases: tuple[Shown, ...] = ()
    before: np.ndarray = field(default_factory=lambda: np.zeros(0))
    seconds: float = 0.0
    left_out: int = 0
    warnings: tuple[str, ...] = ()

    def within(self, seconds: float) -> "Guard":
        """The guard set with as many of its cases as there is time for to score them SCORINGS times."""
        kept = len(self.cases)
        if SCORINGS * self.seconds > seconds:
            kept = int(kept * seconds / (SCORINGS * self.seconds))
        left_out = self.left_out + len(self.cases) - kept
        if not kept:
            return Guard("none", left_out=left_out, warnings=self.warnings)
        cases, took = self.cases[:kept], self.seconds * kept / len(self.cases)
        return replace(self, cases=cases, before=self.before[:kept], seconds=took, left_out=left_out)


def guard_set(
    model: Model,
    listed: Path | None,
    look_seconds: float,
    budget: TimeBudget,
    progress: Progress,
    reader: Reader = read,
) -> Guard:
    """The guard set with the model's Dice: the cases of the list. Without a list it is synthetic heads, if the model
    suits them. Of both as many as there is time for, at least one; none where one slice, which takes `look_seconds`,
    takes longer.

    Raises: InputError for a list or a case that cannot be used.
    """
    if listed is not None and look_seconds > budget.seconds:
        return Guard("none", left_out=len(labelled_cases(listed, model.card.input.channels)))
    if listed is not None:
        return accepted_cases(model, listed, budget, progress, reader)
    if not suits_heads(model):
        return Guard("none")
    cases: list[Shown] = []
    for number, seed in enumerate(HEADS):
        progress("guard", number / len(HEADS))
        if number and budget.share > 1:
            break
        cases.append(synthetic_head(model, seed))
    before, took = timed_scores(model, cases, budget)
    if before.mean() < MIN_HEAD_DICE:
        return Guard("none")
    return Guard("phantom heads", tuple(cases), before, took, len(HEADS) - len(cases))


def accepted_cases(model: Model, listed: Path, budget: TimeBudget, progress: Progress, reader: Reader) -> Guard:
    """The guard set of a list of accepted cases.

    Raises: InputError for a list or a case that cannot be used.
    """
    cases: list[Shown] = []
    warnings: list[str] = []
    files = labelled_cases(listed, model.card.input.channels)
    for number, case_files in enumerate(files):
        progress("guard", number / len(files))
        if number and budget.share > 1:
            break
        volumes = read_volumes(case_files.images, reader, case_files.series)
        labelmap = reader.read_labelmap(case_files.label)
        check_same_grid(labelmap.geometry, first_of(volumes).geometry, case_files.label, case_files.image)
        case = labelled_case(model, volumes, labelmap)
        cases.append(case.show(model, spread_slices(case, CASE_SLICES)))
        warnings += (*warnings_of(volumes), *labelmap.warnings)
    before, took = timed_scores(model, cases, budget)
    return Guard("cases", tuple(cases), before, took, len(files) - len(cases), tuple(warnings))


def labelled_case(model: Model, volumes: Volume | Sequence[Volume], labelmap: Labelmap) -> Case:
    """A case, a volume or several of them, one a channel, with the truth of all its slices.

    Raises: InputError when the labels are not the model's.
    """
    count = labelmap.array.shape[array_axis(labelmap.geometry, model.card.input.plane)]
    seeds = seeds_of(labelmap, model.card, Path(first_of(volumes).name), "", range(count))
    return case_of(model, volumes, seeds)


def spread_slices(case: Case, count: int) -> list[int]:
    """At most `count` of the labelled slices that show some of the body, evenly spaced."""
    return spread([k for k in case.occupied if k in case.truth], count)


def synthetic_head(model: Model, seed: int) -> Shown:
    """The slices of a synthetic head with their truth, for a model of one label."""
    made = head(seed, (160, 192, HEAD_SLICES), (1.2, 1.2, 84.0 / HEAD_SLICES))
    labels = Labelmap(made.labelmap.array * np.uint16(model.card.labels[0].value), made.labelmap.geometry)
    case = labelled_case(model, made.volume, labels)
    return case.show(model, spread_slices(case, HEAD_SLICES))


def suits_heads(model: Model) -> bool:
    """True for a model that may be made for images like the synthetic FLAIR heads."""
    card = model.card
    return card.windows is None and card.input.scaling == "tissue" and len(card.labels) == 1


def scores(model: Model, cases: Sequence[Shown]) -> np.ndarray:
    """Dice of each case, over all its slices, by the model with its present weights.

    Raises: ModelError when a logit is not finite.
    """
    labels = len(model.card.labels)
    return np.array([float(dices(predict(model, case), case.truth, labels, pooled=True)[0]) for case in cases])


def timed_scores(model: Model, cases: Sequence[Shown], budget: TimeBudget) -> tuple[np.ndarray, float]:
    """The scores and the seconds they took."""
    began = budget.used
    return scores(model, cases), budget.used - began


@torch.inference_mode()
def far_from_seeds(model: Model, cases: Sequence[Case], look_seconds: float, budget: TimeBudget) -> tuple[Shown, ...]:
    """Slices of the user's own volumes at least a mean gap of SEEDs away from any SEED, with what the model finds there
    as their truth: to see what else a tuning changes. As many as there is time for, if a slice takes `look_seconds`."""
    shown, left = [], min(FAR_SLICES, int(budget.seconds / max(look_seconds, 1e-9)))
    for case in cases:
        if slices := spread(far_slices(case), left):
            looked = case.show(model, slices, torch.zeros(0))
            truth = torch.cat([classes_of(logits, model.card) for logits in looked.logits(model)])
            shown.append(case.show(model, slices, truth))
            left -= len(slices)
    return tuple(shown)


def far_slices(case: Case) -> list[int]:
    """The occupied slices at least a mean gap of SEEDs, and five slices, away from any SEED."""
    seeds = np.array(sorted(case.truth))
    gap = max(float(np.diff(seeds).mean()) if len(seeds) > 1 else 0.0, 5.0)
    return [k for k in case.occupied if len(seeds) and np.abs(seeds - k).min() >= gap]


def largest_alpha(weights: Weights, guard: Guard, alpha: float, run: Run) -> tuple[float, np.ndarray]:
    """The first alpha, from the largest on, at which the guard set falls by no more than MARGIN, or the last one tried
    where none does or time is up; and the guard's scores there. The weights are set to it."""
    for number in range(ALPHA_TRIES):
        run.progress("guard", number / ALPHA_TRIES)
        weights.use(alpha)
        after = scores(weights.model, guard.cases)
        fine = not len(after) or (after - guard.before).mean() >= -MARGIN
        if fine or number == ALPHA_TRIES - 1 or run.budget.used + guard.seconds >= run.budget.seconds:
            break
        alpha *= ALPHA_FACTOR
    return alpha, after


@dataclass(frozen=True)
class Change:
    """Dice after tuning of each held-out SEED or case of the guard set, and before; `before` is None for a model that
    was not tuned from another."""

    before: np.ndarray | None
    after: np.ndarray

    @property
    def differences(self) -> np.ndarray:
        """After minus before; empty without a before."""
        return np.zeros(0) if self.before is None else self.after - self.before

    @property
    def mean(self) -> float:
        """Mean change; 0 where there is none to state."""
        return float(self.differences.mean()) if len(self.differences) else 0.0

    @property
    def error(self) -> float | None:
        """Standard error of the mean change; None for less than two."""
        change = self.differences
        return float(change.std(ddof=1) / np.sqrt(len(change))) if len(change) > 1 else None


NO_CHANGE = Change(None, np.zeros(0))


def verdict(seeds: Change, guard: Change) -> str:
    """better, same or worse: worse when either mean falls by more than the margin; better when the held-out SEEDs
    (without any, the guard set) rise by more than it."""
    if min(seeds.mean, guard.mean) < -MARGIN - 1e-9:  # a fall by just the margin is allowed
        return "worse"
    decisive = seeds if len(seeds.after) else guard
    return "better" if decisive.mean > MARGIN else "same"


def far_warnings(model: Model, far: Sequence[Shown]) -> tuple[str, ...]:
    """A warning with the agreement of a tuned model with the old one, on the slices of `far_from_seeds`."""
    if not far:
        return ()
    slices = counted(sum(len(shown.truth) for shown in far), "1 slice", "{count} slices")
    return (
        f"Far from the SEEDs ({slices} of these volumes) the new model finds what the old one found with a Dice "
        f"of {scores(model, far).mean():.2f}. Where that is low, look at such slices before you use it.",
    )


def guard_warnings(card: ModelCard, guard: Guard, seeds: int) -> tuple[str, ...]:
    """Warnings that the user must know to understand the verdict."""
    warnings = []
    if guard.kind == "phantom heads":
        warnings.append("The guard set is synthetic heads; a list of your own accepted cases is a better check.")
    if guard.kind == "none":
        warnings.append(f"There is no guard set for {card.name}, so losses on earlier images are not checked.")
    if seeds < MIN_SEEDS_TO_HOLD_OUT:
        given = counted(seeds, "1 SEED slice", "{count} SEED slices")
        warnings.append(
            f"With {given}, under {MIN_SEEDS_TO_HOLD_OUT}, none was held out: the verdict is that of the guard set "
            "alone."
        )
    return tuple(warnings)
