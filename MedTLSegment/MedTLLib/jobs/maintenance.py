"""What MedTL put on this computer: packages, imported models, folders of jobs; the engine's process; the log. No Qt."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from medtl.errors import InputError, MedTLError, ModelError
from medtl.kept import kept_models, kept_terms, size_of
from medtl.model.card import METADATA
from medtl.model.store import delete_bundle

from ..packages.packages import Cancellable, Packages
from ..results import save_path
from . import logbundle
from .run import JobRun


@dataclass(frozen=True)
class Stored:
    """What is stored: what it is for, its name and its size. A package has no folder of its own."""

    kind: str
    name: str
    size: int  # bytes
    path: Path | None


class Maintenance:
    """Lists and removes what is stored, and ends the engine. Each action returns the sentence to show."""

    def __init__(self, run: JobRun, packages: Packages) -> None:
        self._run, self._packages = run, packages

    def stored(self) -> tuple[Stored, ...]:
        """Packages that MedTL installed and nothing else needs, imported models, the folders of jobs that failed or
        run, and the acceptances of terms."""
        found = [Stored(_("package"), each.name, each.size, None) for each in self._packages.removable()]
        return (*found, *self.folders())

    def folders(self) -> tuple[Stored, ...]:
        """Imported models, the folders of jobs that failed or run, and the acceptances of terms."""
        root = self._run.engine.folder
        folders = sorted(root.glob("job-*")) if root.is_dir() else []
        jobs = [Stored(_("job"), folder.name, size_of(folder), folder) for folder in folders]
        models = [Stored(_("model"), each.name, each.bytes, each.folder) for each in kept_models()]
        terms = [Stored(_("terms"), each.name, each.bytes, each.folder) for each in kept_terms()]
        return (*models, *jobs, *terms)

    def why_not_delete(self, stored: Stored) -> str:
        """Why it cannot be removed now; empty when it can."""
        if stored.path is None:
            return str(_("A job is running.")) if self._run.engine.state == "busy" else ""
        return self._run.job.why_in_use(stored.path) if self._run.job is not None else ""

    def remove_packages(
        self,
        names: Sequence[str],
        on_progress: Callable[[str, float | None], None],
        on_done: Callable[[], None],
        on_error: Callable[[MedTLError], None],
    ) -> Cancellable:
        """Start to remove packages. Raises: InputError when they cannot be removed now."""
        return self._packages.remove(names, on_progress, on_done, on_error, self._run.engine.stop)

    def delete(self, folder: Stored) -> str:
        """Delete a folder; a model is never left half deleted in the list, even if this is interrupted."""
        assert folder.path is not None
        if reason := self.why_not_delete(folder):
            return reason
        try:
            if (folder.path / METADATA).is_file():
                delete_bundle(folder.name)
            else:
                shutil.rmtree(folder.path)
        except ModelError as error:
            return str(error)
        except OSError as error:
            text = _("Could not delete {name}: {reason}.")
            return str(text.format(name=folder.name, reason=error.strerror or error))
        return str(_("Deleted: {name}").format(name=folder.name))

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
        """Save what a developer needs to find a fault, without names of patients or files."""
        try:
            logbundle.write_log(path, self._run.engine.stderr, self._run.failures)
        except InputError as error:
            return str(error)
        return str(_("Saved at {path}.").format(path=path))
