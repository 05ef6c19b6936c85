"""A job that brings a model into the user's store: a bundle, or what another program trained. No Qt."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from slicer.i18n import tr as _

from medtl.model.card import load_card
from medtl.model.import_model import choices_in
from medtl.model.store import find_model

from .job import Ending, Job, Step, new_folder


@dataclass(frozen=True)
class Choices:
    """What to import of nnU-Net's results: the configuration, None for the only one, and its folds, None for all."""

    configuration: str | None = None
    folds: tuple[str, ...] | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class ImportJob(Job):
    """A job of Import; `task` is that of the module's models. It needs no scene, and its folder stays empty."""

    kind: ClassVar[str] = "import"
    survives_scene: ClassVar[bool] = True
    keeps_late_result: ClassVar[bool] = True

    source: Path
    task: str
    choices: Choices
    folder: Path
    started: float

    @property
    def request(self) -> dict[str, Any]:
        """The request; what is imported may lie anywhere."""
        options: dict[str, Any] = {}
        if self.choices.configuration is not None:
            options["configuration"] = self.choices.configuration
        if self.choices.folds is not None:
            options["folds"] = list(self.choices.folds)
        return {"job": "import", "input": str(self.source), "options": options}

    def steps(self) -> Sequence[Step]:
        def name_model(result: Mapping[str, Any]) -> Ending:
            self.after_drop()
            name = str(result["model"])
            text = _("Imported: {name}.").format(name=name)
            if load_card(find_model(name)).task != self.task:
                text += " " + _("It is for the other MedTL module.")
            return Ending(str(text), name)

        return (name_model,)

    @classmethod
    def handing_over_text(cls) -> str:
        return str(_("Looking at the files of the model…"))

    @classmethod
    def filling_text(cls) -> str:
        return str(_("Reading the list of models…"))

    @classmethod
    def busy_text(cls) -> str:
        return str(_("A model is being imported."))


def begin(source: Path, choices: Choices, task: str, root: Path) -> ImportJob:
    """A job that imports from this zip or folder. Raises: InputError when the job's folder cannot be made."""
    with new_folder(root) as folder:
        return ImportJob(source, task, choices, folder, time.monotonic())


def source_of(chosen: str) -> Path:
    """What to import: the chosen .zip, the bundle of the metadata.json that was chosen, or the folder of plans.json."""
    path = Path(chosen)
    depth = {"metadata.json": 1, "plans.json": 0}.get(path.name)
    return path if depth is None else path.parents[depth]


def offers(source: Path) -> list[tuple[str, Choices]]:
    """What can be imported from there, each with a text for the user, the best first; one where nothing is to choose.

    Raises: ModelError when it is a damaged zip.
    """
    there = choices_in(source)
    found: list[tuple[str, Choices]] = []
    for configuration, folds in there.items():
        chosen = configuration if len(there) > 1 else None
        if len(folds) > 1:
            text = _("{configuration}: all {count} folds").format(configuration=configuration, count=len(folds))
            found.append((text, Choices(chosen)))
            text = _("{configuration}: only fold {fold}, {count} times as fast, less exact")
            text = text.format(configuration=configuration, fold=folds[0], count=len(folds))
            found.append((text, Choices(chosen, folds[:1])))
        else:
            found.append((configuration, Choices(chosen)))
    return found or [("", Choices())]
