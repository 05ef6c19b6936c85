"""A job of Second reader: how far the results of a case list agree with those in another folder."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from slicer.i18n import tr as _

from medtl.errors import InputError

from ..results.agreement import Agreed, agreed_of
from .job import Ending, Job, Step, discard, new_folder

TABLE = "agreement.csv"


@dataclass(frozen=True)
class Choices:
    """The engine compares on the processor."""

    device: str = "cpu"


@dataclass(frozen=True)
class AgreeJob(Job):
    """A job of Second reader. It reads files alone, so it goes on when the scene is closed."""

    kind: ClassVar[str] = "agree"
    survives_scene: ClassVar[bool] = True

    first: Path
    second: Path
    choices: Choices
    folder: Path
    started: float

    @property
    def request(self) -> dict[str, Any]:
        readers = [str(path.absolute()) for path in (self.first, self.second)]
        return {"job": "agree", "input": readers, "options": {"csv": f"{self.folder.name}/{TABLE}"}}

    def steps(self) -> Sequence[Step]:
        def show(answer: Mapping[str, Any]) -> Ending:
            try:
                agreed = agreed_of(answer, (self.folder / TABLE).read_bytes())
            except OSError as error:
                raise InputError(
                    _("The engine gave no result that can be read: {reason}").format(reason=error)
                ) from error
            discard(self)
            return Ending("", agreed)

        return (show,)

    @classmethod
    def handing_over_text(cls) -> str:
        return str(_("Asking the engine to compare…"))


def begin(first: Path, second: Path, root: Path) -> AgreeJob:
    """A job that compares the list `first` with the list or folder `second`; its own folder is below `root`.

    Raises: InputError when it cannot be made.
    """
    with new_folder(root) as folder:
        return AgreeJob(first, second, Choices(), folder, time.monotonic())


__all__ = ["AgreeJob", "Agreed", "begin"]
