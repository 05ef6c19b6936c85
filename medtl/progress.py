"""Progress and cancel in one callable: `progress(stage, fraction)`.

The work calls it often; whoever watches may raise `Cancelled` from it, and that is how work stops.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import TextIO

Progress = Callable[[str, float], None]


def no_progress(stage: str, fraction: float) -> None:
    """Report nothing."""


class Stopwatch:
    """A report that passes everything on and keeps the seconds that each stage took, in `seconds`.

    A stage is everything from its first report until the first report of another stage or `stop()`.
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
    """A progress bar on one line of a terminal; no_progress where the stream is not a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._remaining = Remaining()
        self._shown = 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        left = self._remaining(stage, fraction)
        now = time.monotonic()
        if not self._stream.isatty() or (0.0 < fraction < 1.0 and now - self._shown < 0.1):
            return
        self._shown = now
        bar = "#" * round(30 * fraction)
        seconds = "" if left is None or fraction >= 1.0 else f" {left:.0f} s left"
        self._stream.write(f"\r\x1b[K{stage:<10} [{bar:<30}] {100 * fraction:3.0f} %{seconds}")
        self._stream.flush()

    def close(self) -> None:
        """Remove the bar."""
        if self._stream.isatty():
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def json_line(record: dict[str, object]) -> str:
    """One ASCII line of JSON, as the worker speaks it."""
    return json.dumps(record, ensure_ascii=True, allow_nan=False) + "\n"
