"""One fine-tuning: its options, its time budget, and what is called while it runs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import InputError
from ..io import read
from ..io.isolated import Reader
from ..model.device import check_threads
from ..progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import Tensor

    from ..model.bundle import Model

MIN_BUDGET = 5.0  # seconds: less is too short to tune and to compare


@dataclass(frozen=True)
class FinetuneOptions:
    """Choices of one run. `budget` in seconds; `strength` scales how far from the parent the model goes; `guard` lists
    accepted cases; `result` is where this case's labelmap goes.

    Raises: InputError for threads, a budget or a strength out of range.
    """

    budget: float = 60.0
    strength: float = 1.0
    guard: Path | None = None
    result: Path | None = None
    device: str = "auto"
    threads: int | None = None
    force: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_threads(self.threads)
        if not MIN_BUDGET <= self.budget <= 86400:
            raise InputError(f"Expected a budget of {MIN_BUDGET:g} seconds or more, found {self.budget:g}. Allow more.")
        if not 0 < self.strength <= 2:
            raise InputError(f"Expected a strength above 0 and up to 2, found {self.strength:g}. 1 is the default.")


@dataclass(frozen=True)
class TimeBudget:
    """The seconds that a run has, by its clock; its stages end when their share is used up."""

    seconds: float
    began: float = field(default_factory=time.perf_counter)
    clock: Callable[[], float] = time.perf_counter

    @property
    def used(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self.began

    @property
    def share(self) -> float:
        """The share of the seconds that is used."""
        return self.used / self.seconds

    def until(self, share: float, reserve: float = 0.0) -> float:
        """Seconds until that share of the budget, less what is reserved at its end; at least 0.2."""
        return max(share * (self.seconds - reserve) - self.used, 0.2)

    def part(self, seconds: float) -> "TimeBudget":
        """A budget of so many seconds from now on."""
        return TimeBudget(seconds, self.clock(), self.clock)


class Weights(Protocol):
    """The weights of a model's networks between the start of a tuning (`alpha` 0) and its end (1)."""

    model: "Model"

    def states(self, alpha: float) -> "tuple[dict[str, Tensor], ...]":
        """All weights of each network at `alpha`; the networks stay as they are."""
        ...

    def use(self, alpha: float) -> None:
        """Set the networks' weights to those at `alpha`."""
        ...


OnValues = Callable[[Mapping[str, float]], None]
SaveCheckpoint = Callable[[Weights, float], None]


def ignore_values(values: Mapping[str, float]) -> None:
    """Do nothing."""


def no_checkpoint(weights: Weights, alpha: float) -> None:
    """Save nothing."""


@dataclass(frozen=True)
class Run:
    """What the stages of one fine-tuning share.

    `on_values` gets figures to draw, such as {"loss": 0.4}; `save_checkpoint(weights, alpha)` is called with states
    worth keeping before the run ends. `reserve` are the seconds of the budget that the caller needs afterwards, and
    `later_slices` the slices that it will run the network on then. `reader`
    reads the guard set.
    """

    options: FinetuneOptions
    budget: TimeBudget
    progress: Progress = no_progress
    on_values: OnValues = ignore_values
    save_checkpoint: SaveCheckpoint = no_checkpoint
    reserve: float = 1.5
    later_slices: int = 0
    reader: Reader = read

    def steps(self, stage: str, begin: float = 0.0, part: float = 1.0) -> Callable[[float, float], None]:
        """A function that a training loop calls after each step with the share done and the loss. The loop is `part` of
        the stage, from `begin`."""

        def step_done(share: float, loss: float) -> None:
            self.on_values({"loss": loss})
            self.progress(stage, begin + part * share)

        return step_done

    def steps_with_checkpoints(self, weights: Weights, alpha: float) -> Callable[[float, float], None]:
        """As `steps` for the stage "tune"; a checkpoint is saved at each quarter."""
        step_done = self.steps("tune")
        quarter = 0

        def step_done_and_saved(share: float, loss: float) -> None:
            nonlocal quarter
            if share * 4 >= quarter + 1 and share < 1.0:
                quarter = int(share * 4)
                self.save_checkpoint(weights, alpha)
            step_done(share, loss)

        return step_done_and_saved
