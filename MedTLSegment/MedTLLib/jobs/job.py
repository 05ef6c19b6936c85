"""What every job has: its request, its folder, its texts for the user, and what happens at its end. No Qt."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.progress import STAGES, overall_fraction

Step = Callable[[Any], Any]


class Choices(Protocol):
    """What the user chose for a job; every job names a device."""

    @property
    def device(self) -> str: ...


@dataclass(frozen=True)
class Ending:
    """The end of a job: a sentence for the user, and its outcome; None without one."""

    text: str
    outcome: Any = None


class Job:
    """One request to the engine. `jobs.run.JobRun` runs it; each kind of job is a subclass.

    A job is a value with a `folder` for its files, the time when it `started` (seconds of `time.monotonic`) and the
    user's `choices`.
    """

    kind: ClassVar[str]  # the engine's name for it
    survives_scene: ClassVar[bool] = False  # goes on when the scene is closed
    keeps_late_result: ClassVar[bool] = False  # a result that comes after Cancel is used

    folder: Path
    started: float
    choices: Choices

    @property
    def request(self) -> dict[str, Any]:
        """The request; paths are relative to the engine's folder, so they stay short and ASCII."""
        raise NotImplementedError

    def steps(self) -> Sequence[Step]:
        """The steps after the engine's answer: each gets the result of the one before it, the last returns an Ending.

        Each runs in its own turn of the event loop, so that Slicer stays responsive.
        """
        raise NotImplementedError

    def after_cancel(self, may_wait: bool) -> Ending | None:
        """The end of a cancelled job; None, allowed while it `may_wait`, to be called again soon."""
        discard(self)
        return Ending(_("Cancelled. Nothing was changed."))

    def after_failure(self, advice: Mapping[str, float]) -> Any:
        """The outcome of a failed job, if it has one; see `run.Engine` for `advice`. Its folder stays, for
        Maintenance."""
        return None

    def after_drop(self) -> None:
        """Clean up after a job whose scene or panel is gone; it has no end."""
        discard(self)

    def why_in_use(self, folder: Path) -> str:
        """Why this folder cannot be deleted while the job runs; empty when it can."""
        return str(_("A job uses this folder.")) if folder == self.folder else ""

    # Texts for the user

    def progress(
        self, stage: str, fraction: float, seconds_left: float | None, elapsed: float
    ) -> tuple[float | None, str]:
        """The share of the whole bar, 0 to 1, and a sentence; `elapsed` seconds since the engine began.

        The share is None, and leaves the bar where it is, for a stage that the table does not have.
        """
        text = stage_text(self.kind, stage)
        if seconds_left is not None and stage == "infer":
            text = _("{stage}, {seconds} s left").format(stage=text, seconds=max(1, round(seconds_left)))
        return overall_fraction(self.kind, stage, fraction) if stage in STAGES[self.kind] else None, text

    @classmethod
    def handing_over_text(cls) -> str:
        return str(_("Passing the volume to the engine…"))

    @classmethod
    def filling_text(cls) -> str:
        return str(_("Showing the result…"))

    @classmethod
    def cancelling_text(cls) -> str:
        return str(_("Cancelling…"))

    @classmethod
    def busy_text(cls) -> str:
        """Why no other job can be started meanwhile."""
        return str(_("A job is running."))


@contextmanager
def new_folder(root: Path) -> Iterator[Path]:
    """A new folder for a job; removed again where filling it fails.

    Raises: InputError when it cannot be made.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=root))
    except OSError as error:
        text = _("Expected to write into {folder}, could not: {reason}. Make room there, or restart Slicer.")
        raise InputError(text.format(folder=root, reason=error.strerror)) from error
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def stage_text(job: str, stage: str) -> str:
    """The text of a stage of this kind of job; the name of the stage where the table does not have it."""
    return str(_(STAGES[job][stage].text)) if stage in STAGES[job] else stage


def discard(job: Job) -> None:
    """Remove the folder of a job."""
    shutil.rmtree(job.folder, ignore_errors=True)
