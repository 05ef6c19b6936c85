"""A job of Report: one HTML file about a segmentation, written by the engine."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.io.write import write_image

from ..results import classification, doubt, trend
from ..results.by_hand import by_hand
from ..results.studies import Study
from .job import Ending, Job, Step, discard, new_folder
from .studies import hand_over

CLASS, UNCERTAINTY, TREND = "class.json", "uncertainty.nrrd", "trend.json"


@dataclass(frozen=True)
class Choices:
    """The engine draws on the processor."""

    device: str = "cpu"


@dataclass(frozen=True)
class ReportJob(Job):
    """A job of Report. It reads its own files alone, so it goes on when the scene is closed."""

    kind: ClassVar[str] = "report"
    survives_scene: ClassVar[bool] = True

    input: Sequence[Mapping[str, str]]
    output: Path
    options: Mapping[str, Any]
    choices: Choices
    folder: Path
    started: float

    @property
    def request(self) -> dict[str, Any]:
        return {"job": "report", "input": list(self.input), "output": str(self.output), "options": dict(self.options)}

    def steps(self) -> Sequence[Step]:
        def end(answer: Mapping[str, Any]) -> Ending:
            discard(self)
            text = _("Saved at {path}.").format(path=self.output)
            return Ending(" ".join((text, *map(str, answer["warnings"]))), self.output)

        return (end,)

    @classmethod
    def handing_over_text(cls) -> str:
        return str(_("Passing the result to the engine…"))


def begin(study: Study, output: Path, root: Path) -> ReportJob:
    """A job whose folder below `root` holds the study with what belongs to it: the class, the uncertainty, the trend.

    Raises: InputError when it cannot be handed over.
    """
    if study.problem:
        raise InputError(study.problem)
    options: dict[str, Any] = {"force": True}  # the dialog has asked
    with new_folder(root) as folder:
        given, _warnings = hand_over((study,), folder, images=True)
        table = classification.of_segmentation(study.segmentation)
        if table is not None and not table.GetAttribute(classification.OUTDATED):
            found = classification.read(table)
            assert found is not None
            record = classification.report(found)
            record["results"] = [{**one, "names": dict(found.names)} for one in record["results"]]
            _store(folder / CLASS, record)
            options["classification"] = f"{folder.name}/{CLASS}"
        if not doubt.why_not(study.segmentation):
            write_image(folder / UNCERTAINTY, *doubt.values_of(study.segmentation))
            options["uncertainty"] = f"{folder.name}/{UNCERTAINTY}"
        compared = trend.of_segmentation(study.segmentation)
        if compared is not None and trend.read(compared) is not None:
            _store(folder / TREND, json.loads(compared.GetAttribute(trend.TREND)))
            options["trend"] = f"{folder.name}/{TREND}"
        names = by_hand(study.segmentation, study.volume)
        if names is not None:
            options["by_hand"] = names
    return ReportJob(given, output, options, Choices(), folder, time.monotonic())


def _store(path: Path, record: Any) -> None:
    path.write_text(json.dumps(record), encoding="utf-8")
