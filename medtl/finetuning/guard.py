"""The guard: what a tuned model must not get worse at. Cases that the user accepted, or synthetic heads."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..cases import read_cases
from ..errors import InputError
from ..io.read import read_labelmap, read_volume
from ..model.bundle import Model
from ..model.card import ModelCard
from ..phantom import head
from ..progress import Progress
from ..volume import Labelmap, Volume, array_axis
from .features import Cached, Marked, cached, decided, dices, mark
from .seed import seeds_of

MARGIN = 0.01
FEWEST_SEEDS = 4  # with fewer, none can be spared for the verdict
HEADS = range(1001, 1007)  # no tuning ever sees these
HEAD_SLICES = 8
CASE_SLICES = 16
LEAST_KNOWN = 0.5  # a model that does worse on the synthetic heads was not made for them


@dataclass(frozen=True)
class Guard:
    """`kind` is "cases", "phantom heads" or "none"; `before` is the old model's Dice on each, and `seconds` it took."""

    kind: str
    cases: tuple[Cached, ...] = ()
    before: np.ndarray = field(default_factory=lambda: np.zeros(0))
    seconds: float = 0.0


def guard_set(model: Model, listed: Path | None, seconds: float, progress: Progress) -> Guard:
    """The guard set with the model's scores: the cases of the list, or without one the synthetic heads, as many
    as there is time for (two at least), if the model knows what to do with them.

    Raises: InputError for a list or a case that cannot be used.
    """
    cases: list[Cached] = []
    began = time.perf_counter()
    if listed is not None:
        files = read_cases(listed)
        for number, one in enumerate(files):
            progress("guard", number / len(files))
            volume, labelmap = read_volume(one.image), read_labelmap(one.label)
            if not volume.geometry.close_to(labelmap.geometry):
                raise InputError(
                    f"Expected {one.label} on the grid of {one.image}. Resample it, or take it off the list."
                )
            case = marked(model, volume, labelmap)
            cases.append(cached(model, case, some_of(case, CASE_SLICES)))
        return Guard("cases", tuple(cases), *timed_scores(model, cases))
    if not knows_heads(model):
        return Guard("none")
    for number, seed in enumerate(HEADS):
        progress("guard", number / len(HEADS))
        if number > 1 and time.perf_counter() - began > seconds:
            break
        cases.append(known_head(model, seed))
    before, took = timed_scores(model, cases)
    return Guard("phantom heads", tuple(cases), before, took) if before.mean() >= LEAST_KNOWN else Guard("none")


def marked(model: Model, volume: Volume, labelmap: Labelmap) -> Marked:
    """A case with the truth of all its slices.

    Raises: InputError when the labels are not the model's.
    """
    count = labelmap.array.shape[array_axis(labelmap.geometry, model.card.input.plane)]
    seeds = seeds_of(labelmap, model.card, Path(volume.name), "", range(count))
    return mark(volume, seeds, model.card.input, model.networks[0].multiple)


def some_of(case: Marked, count: int) -> list[int]:
    """At most so many of the slices that show something, evenly spaced."""
    there = [k for k in sorted(case.truth) if case.prepared.occupied[k]]
    return [there[int(i)] for i in np.unique(np.linspace(0, len(there) - 1, min(count, len(there))).round())]


def known_head(model: Model, seed: int) -> Cached:
    """The slices of a synthetic head with their truth, as a model of one label calls it."""
    made = head(seed, (160, 192, HEAD_SLICES), (1.2, 1.2, 84.0 / HEAD_SLICES))
    labels = Labelmap(made.labelmap.array * np.uint16(model.card.labels[0].value), made.labelmap.geometry)
    case = marked(model, made.volume, labels)
    return cached(model, case, some_of(case, HEAD_SLICES))


def knows_heads(model: Model) -> bool:
    """True where the synthetic FLAIR heads may be something that the model was made for."""
    return model.card.input.scaling == "tissue" and len(model.card.labels) == 1


def scores(model: Model, cases: Sequence[Cached]) -> np.ndarray:
    """Dice of each case, over all its slices, by the model as it is now."""
    labels = len(model.card.labels)
    return np.array([float(dices(decided(model, case), case.truth, labels, True)[0]) for case in cases])


def timed_scores(model: Model, cases: Sequence[Cached]) -> tuple[np.ndarray, float]:
    """The scores and the seconds they took."""
    began = time.perf_counter()
    return scores(model, cases), time.perf_counter() - began


@dataclass(frozen=True)
class Change:
    """Figures before and after, one for each SEED left out or case of the guard set; empty where none was."""

    before: np.ndarray
    after: np.ndarray

    @property
    def mean(self) -> float:
        """Mean change; 0 where nothing can be said."""
        return float((self.after - self.before).mean()) if len(self.before) else 0.0

    @property
    def error(self) -> float | None:
        """Standard error of the mean change; None for less than two."""
        change = self.after - self.before
        return float(change.std(ddof=1) / np.sqrt(len(change))) if len(change) > 1 else None


def verdict(seeds: Change, guard: Change) -> str:
    """better, same or worse: worse when either mean falls by more than the margin; better when the SEEDs left out
    (without any, the guard set) rise by more than it."""
    if min(seeds.mean, guard.mean) < -MARGIN - 1e-9:  # a fall by just the margin is allowed
        return "worse"
    speaks = seeds if len(seeds.before) else guard
    return "better" if speaks.mean > MARGIN else "same"


def words(card: ModelCard, kind: str, seeds: int) -> tuple[str, ...]:
    """What must be said about the verdict."""
    notes = []
    if kind == "phantom heads":
        notes.append("The guard set is synthetic heads; accepted cases of your own would say more.")
    if kind == "none":
        notes.append(f"No guard set is there for {card.name}: what it forgets of earlier images is not watched.")
    if seeds < FEWEST_SEEDS:
        notes.append(f"With {seeds} SEED slices, under {FEWEST_SEEDS}, none was left out: only the guard set speaks.")
    return tuple(notes)
