"""Segmenting the next case of a list in the background, straight from its files. No Qt."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from medtl.errors import InputError
from medtl.worklist.case import ListedCase

from .job import Ending, Job, Step, discard, new_folder
from .run import Engine, JobRun
from .segment import Choices

Done = Callable[[str, str, "bool | None"], None]


@dataclass(frozen=True)
class AheadJob(Job):
    """A job that writes the result of a case itself, where there is none yet."""

    kind: ClassVar[str] = "segment"
    survives_scene: ClassVar[bool] = True

    case: ListedCase
    result: Path
    choices: Choices
    folder: Path
    started: float

    @property
    def request(self) -> dict[str, Any]:
        options: dict[str, Any] = {"flip": self.choices.flip, "device": self.choices.device}
        if self.choices.threads:
            options["threads"] = self.choices.threads
        if self.case.series:
            options["series"] = self.case.series
        images = [str(image.absolute()) for image in self.case.images]
        return {
            "job": "segment",
            "model": self.choices.model,
            "input": images if len(images) > 1 else images[0],
            "output": str(self.result.absolute()),
            "options": options,
        }

    def steps(self) -> Sequence[Step]:
        def end(result: Mapping[str, Any]) -> Ending:
            discard(self)
            return Ending("", True)

        return (end,)

    def after_failure(self, advice: Mapping[str, float]) -> bool:
        """The reason comes when the user opens the case."""
        discard(self)
        return False

    def after_cancel(self, may_wait: bool) -> Ending | None:
        discard(self)
        return Ending("")


class Ahead:
    """One case at a time; `on_end(name, family, done)` is called when it has ended, with the model's family: `done` is
    False where it failed, None where it was cancelled."""

    def __init__(self, engine: Engine, on_end: Done) -> None:
        self.run = JobRun(engine)
        self._on_end = on_end
        self._failed: set[tuple[str, str]] = set()  # cases and models: they are not tried again

    @property
    def name(self) -> str:
        """The case that is being segmented; empty for none."""
        job = self.run.job
        return job.case.name if isinstance(job, AheadJob) else ""

    def start(self, case: ListedCase, result: Path, choices: Choices, family: str) -> None:
        """Segment this case with a model of this family. Nothing happens where it has a result, failed before, or
        another one is being segmented.

        The case has as many images as the model has channels.
        """
        if self.run.job is not None or result.exists() or (case.name, choices.model) in self._failed:
            return

        def make(root: Path) -> AheadJob:
            try:
                result.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(str(error)) from error
            with new_folder(root) as folder:
                return AheadJob(case, result, choices, folder, time.monotonic())

        def on_end(done: bool | None) -> None:
            if done is False:
                self._failed.add((case.name, choices.model))
            self._on_end(case.name, family, done)

        self.run.begin(AheadJob, make, on_end)

    def stop(self) -> None:
        """Stop, so that the engine is free."""
        self.run.cancel()

    def close(self) -> None:
        """Stop for good."""
        self.run.close()
