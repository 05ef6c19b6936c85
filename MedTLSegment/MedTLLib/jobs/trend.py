"""A job of Compare dates: the volumes of several segmentations of one patient, their lesions matched on request."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from slicer.i18n import tr as _

from medtl.errors import InputError, ModelError

from ..mrml.states import node_of, reference_to, segmentation_state
from ..results import trend
from ..results.studies import Study
from .job import Ending, Job, Step, discard, new_folder
from .studies import hand_over

BOARD = "board.png"


@dataclass(frozen=True)
class Choices:
    """What the user chose: with `match` the images are registered and lesions matched."""

    match: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class Compared:
    """The outcome: the table of the comparison, None where it was refused; the picture of the registrations (PNG),
    empty without any; warnings."""

    table: Any
    board: bytes = b""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrendJob(Job):
    """A job of Compare dates. Segmentations are weak references; the states show whether they were changed."""

    kind: ClassVar[str] = "trend"

    studies: tuple[Study, ...]
    references: tuple[Any, ...]
    states: tuple[tuple[object, ...], ...]
    input: Sequence[Mapping[str, str]]
    choices: Choices
    warnings: tuple[str, ...]
    folder: Path
    started: float

    @property
    def request(self) -> dict[str, Any]:
        options: dict[str, Any] = {"register": self.choices.match}
        if self.choices.match:
            options["checkerboard"] = f"{self.folder.name}/{BOARD}"
        return {"job": "trend", "input": list(self.input), "options": options}

    def steps(self) -> Sequence[Step]:
        def show(answer: Mapping[str, Any]) -> Ending:
            compared = finish(self, answer)
            return Ending(
                _("Compared in {seconds} s.").format(seconds=round(time.monotonic() - self.started, 1)), compared
            )

        return (show,)

    def after_failure(self, advice: Mapping[str, float]) -> Compared:
        """A registration that was refused shows why."""
        return Compared(None, board_of(self))

    @classmethod
    def handing_over_text(cls) -> str:
        return str(_("Passing the studies to the engine…"))


def begin(chosen: Sequence[Study], choices: Choices, root: Path) -> TrendJob:
    """A job whose folder below `root` holds the studies, which come by date.

    Raises: InputError when one of them cannot be handed over.
    """
    chosen = sorted(chosen, key=lambda study: study.date)
    with new_folder(root) as folder:
        given, warnings = hand_over(chosen, folder, choices.match)
    nodes = [study.segmentation for study in chosen]
    return TrendJob(
        tuple(chosen),
        tuple(map(reference_to, nodes)),
        tuple(map(segmentation_state, nodes)),
        given,
        choices,
        warnings,
        folder,
        time.monotonic(),
    )


def finish(job: TrendJob, answer: Mapping[str, Any]) -> Compared:
    """The comparison in the scene; the job's folder is removed.

    Raises: InputError where a segmentation was deleted or changed meanwhile, or the answer is none.
    """
    nodes = list(map(node_of, job.references))
    if any(node is None or segmentation_state(node) != state for node, state in zip(nodes, job.states)):
        raise InputError(_("A segmentation was changed or deleted meanwhile. Compare the dates again."))
    try:
        table = trend.put(answer, job.studies)
    except ModelError as error:
        raise InputError(_("The engine gave no result that can be read: {reason}").format(reason=error)) from error
    board = board_of(job)
    discard(job)
    warnings = dict.fromkeys((*job.warnings, *map(str, answer["warnings"])))
    return Compared(table, board, tuple(warnings))


def board_of(job: TrendJob) -> bytes:
    """The picture of the registrations, PNG; empty where there is none."""
    try:
        return (job.folder / BOARD).read_bytes()
    except OSError:
        return b""
