"""Saving the case that is open: when the user leaves it, and quietly some seconds after his last stroke."""

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from medtl.errors import InputError
from MedTLLib.jobs.cases import CaseSession
from MedTLLib.jobs.run import JobRun

from .quiet_save import QuietSave
from .results import ResultsPanel


class CaseSaving:
    """`onSaved()` is called after a quiet save, `onFailed()` when the case could not be saved."""

    def __init__(
        self,
        ui: Any,
        run: JobRun,
        session: CaseSession,
        results: ResultsPanel,
        showMessage: Callable[[str], None],
        onSaved: Callable[[], None],
        onFailed: Callable[[], None],
    ) -> None:
        self.run, self.session, self.results = run, session, results
        self.showMessage, self.onSaved, self.onFailed = showMessage, onSaved, onFailed
        self.quiet = QuietSave(ui.casesBox, self.saveQuietly)

    def watch(self, segmentation: Any) -> None:
        """Save this segmentation quietly from now on; None for none."""
        self.quiet.watch(segmentation)

    def ownSegmentation(self) -> Any:
        """The segmentation that is saved for the case: the one of Results, where it lies on the case's volume."""
        segmentation = self.results.segmentation()
        return segmentation if self.session.is_own(segmentation) else None

    def save(self, done: bool = False, reviewed: bool = False) -> bool:
        """Whether the case is saved as it is now."""
        self.quiet.stop()
        began = self.run.engine.now()
        try:
            with slicer.util.WaitCursor():
                warnings = self.session.save(self.ownSegmentation(), done, reviewed)
        except InputError as error:
            self.showMessage(_("Not saved, and not left: {reason}").format(reason=error))
            self.onFailed()
            return False
        self.quiet.took(self.run.engine.now() - began)
        self.showMessage(" ".join(warnings))
        return True

    def saveOpen(self) -> bool:
        """Whether the case that is open, if there is one, is saved as it is now."""
        return self.session.case is None or self.save()

    def saveQuietly(self) -> None:
        """Save the case where something is not saved; a crash costs no more then."""
        segmentation, session = self.ownSegmentation(), self.session
        unsaved = session.is_unsaved(segmentation) and session.may_replace(segmentation)
        if unsaved and self.save():
            self.onSaved()
