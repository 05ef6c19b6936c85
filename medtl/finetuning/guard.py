"""The guard set: accepted cases or synthetic heads, on which a tuned model must not get worse."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..cases import read_cases
from ..io import read
from ..io.isolated import Reader
from ..model.bundle import Model
from ..model.card import ModelCard
from ..phantom import head
from ..progress import Progress
from ..volume import Labelmap, Volume, array_axis, check_same_grid
from .features import EncodedSlices, SeedCase, dices, encode_slices, predict, prepare_case, spread
from .run import Run, Weights
from .seed import seeds_of

MARGIN = 0.01
MIN_SEEDS_TO_HOLD_OUT = 4
ALPHA_FACTOR = 0.7  # by which alpha shrinks where the guard set gets worse
ALPHA_TRIES = 5
HEADS = range(1001, 1007)  # seeds of synthetic heads that nothing else uses
HEAD_SLICES = 8
CASE_SLICES = 16
MIN_HEAD_DICE = 0.5  # of a model that is made for images like the synthetic heads


@dataclass(frozen=True)
class Guard:
    """`kind` is "cases", "phantom heads" or "none"; `before` is the old model's Dice on each case, and `seconds` the
    time that took. `warnings` are the readers'."""

    kind: str
    cases: tuple[EncodedSlices, ...] = ()
    before: np.ndarray = field(default_factory=lambda: np.zeros(0))
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def guard_set(model: Model, listed: Path | None, seconds: float, progress: Progress, reader: Reader = read) -> Guard:
    """The guard set with the model's Dice: the cases of the list. Without a list it is synthetic heads, as many as
    there is time for (at least two), if the model suits them.

    Raises: InputError for a list or a case that cannot be used.
    """
    if listed is not None:
        return accepted_cases(model, listed, progress, reader)
    if not suits_heads(model):
        return Guard("none")
    cases: list[EncodedSlices] = []
    began = time.perf_counter()
    for number, seed in enumerate(HEADS):
        progress("guard", number / len(HEADS))
        if number > 1 and time.perf_counter() - began > seconds:
            break
        cases.append(synthetic_head(model, seed))
    before, took = timed_scores(model, cases)
    return Guard("phantom heads", tuple(cases), before, took) if before.mean() >= MIN_HEAD_DICE else Guard("none")


def accepted_cases(model: Model, listed: Path, progress: Progress, reader: Reader) -> Guard:
    """The guard set of a list of accepted cases.

    Raises: InputError for a list or a case that cannot be used.
    """
    cases: list[EncodedSlices] = []
    warnings: list[str] = []
    files = read_cases(listed)
    for number, case_files in enumerate(files):
        progress("guard", number / len(files))
        volume, labelmap = reader.read_volume(case_files.image), reader.read_labelmap(case_files.label)
        check_same_grid(labelmap.geometry, volume.geometry, case_files.label, case_files.image)
        case = labelled_case(model, volume, labelmap)
        cases.append(encode_slices(model, case, spread_slices(case, CASE_SLICES)))
        warnings += (*volume.warnings, *labelmap.warnings)
    before, took = timed_scores(model, cases)
    return Guard("cases", tuple(cases), before, took, tuple(warnings))


def labelled_case(model: Model, volume: Volume, labelmap: Labelmap) -> SeedCase:
    """A case with the truth of all its slices.

    Raises: InputError when the labels are not the model's.
    """
    count = labelmap.array.shape[array_axis(labelmap.geometry, model.card.input.plane)]
    seeds = seeds_of(labelmap, model.card, Path(volume.name), "", range(count))
    return prepare_case(volume, seeds, model.card.input, model.networks[0].multiple)


def spread_slices(case: SeedCase, count: int) -> list[int]:
    """At most `count` of the labelled slices that show some of the body, evenly spaced."""
    return spread([k for k in sorted(case.truth) if case.prepared.occupied[k]], count)


def synthetic_head(model: Model, seed: int) -> EncodedSlices:
    """The slices of a synthetic head with their truth, for a model of one label."""
    made = head(seed, (160, 192, HEAD_SLICES), (1.2, 1.2, 84.0 / HEAD_SLICES))
    labels = Labelmap(made.labelmap.array * np.uint16(model.card.labels[0].value), made.labelmap.geometry)
    case = labelled_case(model, made.volume, labels)
    return encode_slices(model, case, spread_slices(case, HEAD_SLICES))


def suits_heads(model: Model) -> bool:
    """True for a model that may be made for images like the synthetic FLAIR heads."""
    return model.card.input.scaling == "tissue" and len(model.card.labels) == 1


def scores(model: Model, cases: Sequence[EncodedSlices]) -> np.ndarray:
    """Dice of each case, over all its slices, by the model with its present weights.

    Raises: ModelError when a logit is not finite.
    """
    labels = len(model.card.labels)
    return np.array([float(dices(predict(model, case), case.truth, labels, pooled=True)[0]) for case in cases])


def timed_scores(model: Model, cases: Sequence[EncodedSlices]) -> tuple[np.ndarray, float]:
    """The scores and the seconds they took."""
    began = time.perf_counter()
    return scores(model, cases), time.perf_counter() - began


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


def guard_warnings(card: ModelCard, guard: Guard, seeds: int) -> tuple[str, ...]:
    """Warnings that the user must know to understand the verdict."""
    warnings = []
    if guard.kind == "phantom heads":
        warnings.append("The guard set is synthetic heads; a list of your own accepted cases is a better check.")
    if guard.kind == "none":
        warnings.append(f"There is no guard set for {card.name}, so losses on earlier images are not checked.")
    if seeds < MIN_SEEDS_TO_HOLD_OUT:
        warnings.append(
            f"With {seeds} SEED slices, under {MIN_SEEDS_TO_HOLD_OUT}, none was held out: the verdict is that of the "
            "guard set alone."
        )
    return tuple(warnings)
