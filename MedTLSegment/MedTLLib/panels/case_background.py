"""The case after the one that is open, segmented in the background."""

from collections.abc import Callable

from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.worklist.case import ListedCase
from MedTLLib.jobs import terms
from MedTLLib.jobs.ahead import Ahead
from MedTLLib.jobs.cases import CaseSession
from MedTLLib.jobs.run import JobRun
from MedTLLib.jobs.segment import Choices

from .segment import SegmentPanel


class CaseBackground:
    """Uses the model and the choices of Segment. `onEnd(name, waited, done, problem)` is called when a case has ended,
    see `jobs.ahead.Ahead`: whether the user waited for it, and why it could not be listed; `onProgress()` while the
    user waits. `waiting` is the case that he waits for, empty for none."""

    def __init__(
        self,
        run: JobRun,
        session: CaseSession,
        segment: SegmentPanel,
        onEnd: Callable[[str, bool, "bool | None", str], None],
        onProgress: Callable[[], None],
    ) -> None:
        self.run, self.session, self.segment = run, session, segment
        self._onEnd, self._onProgress = onEnd, onProgress
        self.waiting = ""
        self.ahead = Ahead(run.engine, self.onAhead)
        self.ahead.run.observe(self.onAheadRun)

    @property
    def text(self) -> str:
        """How far the case is that the user waits for; empty without one."""
        waited = bool(self.waiting) and self.ahead.name == self.waiting
        return str(_("In the background: {text}").format(text=self.ahead.run.text)) if waited else ""

    def waitsFor(self, name: str) -> bool:
        """Whether this case is being segmented; the user waits for it from now on."""
        if self.ahead.name == name:
            self.waiting = name
        return self.ahead.name == name

    def start(self, following: ListedCase | None) -> None:
        """Segment this case, where the chosen model can be used on it."""
        cases, p, entry = self.session.list, self.segment.parameters, self.segment.models.chosen()
        if following is None or cases is None or p is None or self.run.job is not None:
            return
        if entry is None or entry.card is None or self.segment.setupNeeded or terms.must_ask(entry):
            return
        if not p.onlySlice and not p.onlyRegion and len(following.files) == len(entry.card.input.channels):
            choices = Choices(p.modelName, False, self.segment.flip, p.device, p.threads)
            self.ahead.start(following, cases.result(following), choices, entry.card.family)

    def stop(self) -> None:
        """Stop, so that the engine is free; nobody waits any more."""
        self.waiting = ""
        self.ahead.stop()

    def close(self) -> None:
        """Stop for good."""
        self.ahead.close()

    def onAhead(self, name: str, family: str, done: bool | None) -> None:
        """A case has ended: store it in the list."""
        waited, self.waiting = self.waiting == name, ""
        problem = ""
        if done:
            try:
                self.session.segmented_ahead(name, family)
            except InputError as error:
                problem = str(error)
        self._onEnd(name, waited, done, problem)

    def onAheadRun(self) -> None:
        """Show the progress, where the user waits for it."""
        if self.waiting:
            self._onProgress()
