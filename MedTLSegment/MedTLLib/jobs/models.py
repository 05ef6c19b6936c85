"""The installed models of one task: which fit a volume, which the user prefers; export, deletion. No Qt."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _

from medtl.errors import MedTLError
from medtl.model.store import ModelEntry, delete_bundle, export_bundle, list_models, stores
from medtl.volume import Geometry

from ..mrml import scene
from ..results import save_path
from .run import JobRun

PREFERRED = "MedTL/model"  # the user's setting, by the name of the family


class InstalledModels:
    """`entries` are the models of the task as `read` found them; damaged models are listed for every task."""

    def __init__(self, run: JobRun, task: str) -> None:
        self._run, self._task = run, task
        self.read()

    def read(self) -> None:
        """Read the models again."""
        self._folders = _folders()
        self.entries = tuple(one for one in list_models() if one.card is None or one.card.task == self._task)

    def changed(self) -> bool:
        """Whether models were added or removed since `read`: the other module imports and deletes, too."""
        return _folders() != self._folders

    def entry(self, name: object) -> ModelEntry | None:
        """The model of this name; None where there is none."""
        return next((one for one in self.entries if one.name == name), None)

    def why_none(self) -> str:
        """Why no model can be chosen."""
        if any(one.card for one in self.entries):
            return str(_("No model fits this volume. Tick All models to see why."))
        if self._task == "classification":
            return str(_("No model for classification is installed. Import one under Advanced."))
        return str(_("No model is installed. Import one under Advanced."))

    def prefer(self, name: object) -> None:
        """Make the model the first choice of its family, also in other scenes and after a restart."""
        entry = self.entry(name)
        if entry is not None and entry.card is not None:
            slicer.app.userSettings().setValue(f"{PREFERRED}/{entry.card.family}", entry.name)

    def first_choice(self, names: list[str], facts: scene.Facts | None = None) -> str:
        """Of these models the one that most of what is known about the volume speaks for, the first one where several
        do, or the one of its family that the user prefers; empty for none."""
        found = [
            (entry, entry.card) for entry in map(self.entry, names) if entry is not None and entry.card is not None
        ]
        if not found:
            return ""
        entry, card = max(found, key=lambda one: scene.evidence_for(one[1], facts) if facts else 0)
        preferred = str(slicer.app.userSettings().value(f"{PREFERRED}/{card.family}") or "")
        return preferred if preferred in names else entry.name

    def suggested_export(self, entry: ModelEntry) -> Path:
        """Where the model is exported to unless the user chooses another place."""
        return save_path.suggested(entry.name, ".zip")

    def export(self, entry: ModelEntry, path: Path) -> str:
        """Write the model as a zip; the message for the user, who has agreed to replace a file."""
        try:
            export_bundle(str(entry.folder), path, force=True)
        except MedTLError as error:
            return str(error)
        return str(_("Exported: {path}.").format(path=path))

    def why_not_delete(self, entry: ModelEntry | None) -> str:
        """Why the model cannot be deleted; empty when it can."""
        if entry is None:
            return str(_("No model is chosen."))
        if entry.source != "user":
            return str(_("{name} comes with MedTL and cannot be deleted.").format(name=entry.name))
        # A job that tunes a model reads its texts at the end.
        return str(_("A job is running.")) if self._run.engine_works else ""

    def delete(self, entry: ModelEntry) -> str:
        """Delete the model; the name of the model to use instead: its parent where that is installed, else empty.

        Raises: MedTLError when it cannot be deleted.
        """
        delete_bundle(entry.name)
        self.read()
        parent = self.entry(entry.card.parent.name) if entry.card and entry.card.parent else None
        return parent.name if parent and parent.card else ""


def reason_against(entry: ModelEntry, facts: scene.Facts | None, geometry: Geometry | None) -> str:
    """Why the model does not fit the volume; empty when it does, or while there is no volume."""
    if entry.card is None:
        return entry.problem
    return "; ".join(scene.mismatches_of(entry.card, facts, geometry)) if facts else ""


def _folders() -> tuple[Path, ...]:
    """The folders of all models. Only their names, for reading the models checks their weights and takes a while."""
    return tuple(sorted(folder for _source, root in stores() if root.is_dir() for folder in root.iterdir()))
