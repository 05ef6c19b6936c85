"""What MedTL keeps on this computer: imported models, folders of jobs; the engine's process; the log. No Qt."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from medtl.errors import InputError, ModelError
from medtl.model.card import METADATA
from medtl.model.store import delete_bundle, user_store

from ..results import save_path
from . import logbundle
from .run import JobRun


@dataclass(frozen=True)
class Kept:
    """A folder on this computer: what it is for, its name and its size."""

    kind: str
    name: str
    size: int  # bytes
    folder: Path


class Maintenance:
    """Lists and deletes what is kept, and ends the engine. Each action gives the sentence to show."""

    def __init__(self, run: JobRun) -> None:
        self._run = run

    def kept(self) -> tuple[Kept, ...]:
        """Imported models, and the folders of jobs that failed or run."""
        try:
            store = user_store()
        except ModuleNotFoundError:  # a package that Set-up installs; without it nothing was imported
            store = None
        models = sorted(store.iterdir()) if store is not None and store.is_dir() else []
        root = self._run.engine.folder
        jobs = sorted(root.glob("job-*")) if root.is_dir() else []
        folders = [(_("model"), f) for f in models if f.is_dir()] + [(_("job"), f) for f in jobs]
        return tuple(Kept(kind, folder.name, size_of(folder), folder) for kind, folder in folders)

    def why_not_delete(self, kept: Kept) -> str:
        """Why it cannot be deleted now; empty when it can."""
        return self._run.job.why_in_use(kept.folder) if self._run.job is not None else ""

    def delete(self, kept: Kept) -> str:
        """Delete a folder; of a model no half stays in the list, even if this is interrupted."""
        if reason := self.why_not_delete(kept):
            return reason
        try:
            if (kept.folder / METADATA).is_file():
                delete_bundle(kept.name)
            else:
                shutil.rmtree(kept.folder)
        except ModelError as error:
            return str(error)
        except OSError as error:
            text = _("Could not delete {name}: {reason}.")
            return str(text.format(name=kept.name, reason=error.strerror or error))
        return str(_("Deleted: {name}").format(name=kept.name))

    def why_not_unload(self) -> str:
        """Why the engine cannot be unloaded now; empty when it can."""
        if self._run.engine.state == "stopped":
            return str(_("The engine is not loaded."))
        return str(_("A job is running.")) if self._run.engine.state == "busy" else ""

    def unload(self) -> str:
        """End the engine's process."""
        self._run.engine.stop()
        return str(_("The engine is unloaded; the next job loads it again."))

    def suggested_log(self) -> Path:
        """Where the log is saved unless the user chooses another place."""
        return save_path.suggested("MedTL-log", ".zip")

    def save_log(self, path: Path) -> str:
        """Save what a developer needs to know, without names of patients or files."""
        try:
            logbundle.write_log(path, self._run.engine.complaints, self._run.failures)
        except InputError as error:
            return str(error)
        return str(_("Saved at {path}.").format(path=path))


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
