"""Progress and cancelling in one callable: `progress(stage, fraction)`.

The work calls it often. It may raise `Cancelled`, which stops the work.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Stage:
    """A stage of a job: its description for people, and its share of the job's progress bar."""

    text: str
    share: float


# The stages of each kind of job, in the order of the work. The shares of a job are 1 in all.
# Fine-tune has a time budget and its stages vary in order, so its bar follows the clock: no shares.
# After ("write", 1.0) a job counts as done: from there on it cannot be cancelled.
STAGES: dict[str, dict[str, Stage]] = {
    "segment": {
        "load": Stage("Loading the model", 0.10),
        "read": Stage("Reading the volume", 0.02),
        "prepare": Stage("Preparing the volume", 0.08),
        "infer": Stage("Segmenting", 0.70),
        "clean": Stage("Cleaning up", 0.06),
        "write": Stage("Writing the result", 0.04),
    },
    "suggest": {
        "load": Stage("Loading the model", 0.10),
        "read": Stage("Reading the volume", 0.02),
        "prepare": Stage("Preparing the volume", 0.08),
        "infer": Stage("Segmenting", 0.70),
        "clean": Stage("Cleaning up", 0.10),
    },
    "classify": {
        "load": Stage("Loading the model", 0.10),
        "read": Stage("Reading the volume", 0.05),
        "prepare": Stage("Preparing the volume", 0.10),
        "infer": Stage("Classifying the slices", 0.50),
        "heat": Stage("Computing the heat map", 0.20),
        "write": Stage("Writing the result", 0.05),
    },
    "finetune": {
        "load": Stage("Loading the model", 0.0),
        "read": Stage("Reading the volumes", 0.0),
        "prepare": Stage("Preparing the volumes", 0.0),
        "encode": Stage("Computing the features of the SEED slices", 0.0),
        "check": Stage("Testing on held-out SEEDs", 0.0),
        "tune": Stage("Tuning", 0.0),
        "guard": Stage("Checking what the model knew before", 0.0),
        "result": Stage("Segmenting this case", 0.0),
        "write": Stage("Writing the result", 0.0),
    },
    "trend": {
        "read": Stage("Reading the studies", 0.10),
        "register": Stage("Registering the images", 0.75),
        "measure": Stage("Measuring", 0.10),
        "write": Stage("Writing the result", 0.05),
    },
    "report": {
        "read": Stage("Reading the studies", 0.10),
        "register": Stage("Registering the images", 0.60),
        "measure": Stage("Measuring", 0.10),
        "draw": Stage("Drawing the pictures", 0.15),
        "write": Stage("Writing the result", 0.05),
    },
    "agree": {
        "read": Stage("Comparing the cases", 0.95),
        "write": Stage("Writing the result", 0.05),
    },
    "import": {
        "read": Stage("Reading the weights", 0.90),
        "write": Stage("Writing the model", 0.10),
    },
    "demo": {
        "load": Stage("Loading the model", 0.10),
        "phantom": Stage("Making a synthetic head", 0.05),
        "read": Stage("Reading the volume", 0.02),
        "prepare": Stage("Preparing the volume", 0.08),
        "infer": Stage("Segmenting", 0.60),
        "clean": Stage("Cleaning up", 0.06),
        "write": Stage("Writing the result", 0.04),
        "preview": Stage("Drawing a preview", 0.05),
    },
}


def overall_fraction(job: str, stage: str, fraction: float) -> float:
    """The share of a job that is done, 0 to 1, when `fraction` of a stage is done.

    Raises: KeyError for a job or a stage that STAGES does not hold.
    """
    stages = STAGES[job]
    before = list(stages)[: list(stages).index(stage)] if stage in stages else []
    return sum(stages[name].share for name in before) + stages[stage].share * fraction


def rounded_seconds(job: str, seconds: dict[str, float]) -> dict[str, float]:
    """Seconds by stage to the millisecond, in the order of the work."""
    return {stage: round(seconds[stage], 3) for stage in STAGES[job] if stage in seconds}


def no_progress(stage: str, fraction: float) -> None:
    """Report nothing."""


class Stopwatch:
    """A `Progress` that passes every call on and measures the seconds that each stage took, in `seconds`.

    A stage lasts from its first call until the first call of another stage or `stop()`.
    """

    def __init__(self, progress: Progress = no_progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._stage: str | None = None
        self._since = 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        if stage != self._stage:
            self.stop()
            self._stage, self._since = stage, time.perf_counter()
        self._progress(stage, fraction)

    def stop(self) -> None:
        """End the running stage."""
        if self._stage is not None:
            spent = time.perf_counter() - self._since
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + spent
            self._stage = None


class Remaining:
    """Seconds left of the running stage, from the share done and the time it took; None while unknown."""

    def __init__(self) -> None:
        self._stage = ""
        self._since = 0.0

    def __call__(self, stage: str, fraction: float) -> float | None:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._since = stage, now
        if fraction <= 0.0:
            return None
        return (now - self._since) * (1.0 - fraction) / fraction


class TerminalProgress:
    """A progress bar on one line of a terminal; nothing where the stream is no terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._remaining = Remaining()
        self._shown = 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        left = self._remaining(stage, fraction)
        now = time.monotonic()
        if 0.0 < fraction < 1.0 and now - self._shown < 0.1:
            return
        self._shown = now
        bar = "#" * round(30 * fraction)
        seconds = "" if left is None or fraction >= 1.0 else f" {left:.0f} s left"
        self._write(f"{stage:<10} [{bar:<30}] {100 * fraction:3.0f} %{seconds}")

    def close(self) -> None:
        """Remove the bar."""
        self._write("")

    def _write(self, line: str) -> None:
        with suppress(OSError, ValueError):  # the terminal was closed
            if self._stream.isatty():
                self._stream.write(f"\r\x1b[K{line}")
                self._stream.flush()


def json_line(record: dict[str, object]) -> str:
    """One ASCII line of JSON, as the worker sends it."""
    return json.dumps(record, ensure_ascii=True, allow_nan=False) + "\n"
