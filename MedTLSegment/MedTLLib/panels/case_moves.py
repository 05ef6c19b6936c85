"""From case to case: the one that is open is saved and left, another one is opened."""

from collections.abc import Callable

from slicer.i18n import tr as _

from medtl.worklist.case import ListedCase
from medtl.worklist.order import next_case
from MedTLLib.jobs.cases import CaseSession
from MedTLLib.jobs.run import JobRun
from MedTLLib.worklist import nodes as caseNodes

from .case_saving import CaseSaving
from .case_table import CaseTable
from .form import confirm


class CaseMoves:
    """`open(case)` takes the case before it out of the scene and shows this one; `update()` shows the list again."""

    def __init__(
        self,
        run: JobRun,
        session: CaseSession,
        saving: CaseSaving,
        table: CaseTable,
        open: Callable[[ListedCase], None],
        showMessage: Callable[[str], None],
        update: Callable[[], None],
    ) -> None:
        self.run, self.session, self.saving, self.table = run, session, saving, table
        self._open, self.showMessage, self._update = open, showMessage, update
        self._known: set[str] = set()  # the ids of other nodes that the user wants to keep

    def forget(self) -> None:
        """Ask about all nodes again: the scene or the list is another one."""
        self._known = set()

    def following(self) -> ListedCase | None:
        """The next case to be done, of those that are shown."""
        return next_case(self.table.shown, self.session.name)

    def onNext(self) -> None:
        """Save this case and open the next."""
        self._next(False)

    def onReviewed(self) -> None:
        """Save this case as reviewed and open the next."""
        if self.session.case is not None:
            self._next(True)

    def _next(self, reviewed: bool) -> None:
        if self.session.list is None or not self.leave(True, reviewed):
            return
        following = self.following()
        if following is not None:
            self._open(following)
            return
        hidden = next_case(tuple(self.session.list.cases.values()), self.session.name)
        self.showMessage(_("All cases that are shown are done.") if hidden else _("All cases are done."))
        self._update()

    def go(self, name: str) -> None:
        """Save this case and open another one."""
        if name == self.session.name and self.session.volume is not None:  # some systems tell a double click twice
            return
        if self.session.list is not None and self.leave():
            self._open(self.session.list.cases[name])

    def leave(self, done: bool = False, reviewed: bool = False) -> bool:
        """Whether the case can be left: no job runs, it is saved, and the user was asked about other nodes."""
        if self.run.why_busy:
            self.showMessage(_("{reason} Wait for its end, or cancel it.").format(reason=self.run.why_busy))
            return False
        if self.session.case is None:
            return True
        if not self.saving.save(done, reviewed):
            return False
        if self.session.nodes is not None:
            self._askOthers()
        return True

    def _askOthers(self) -> None:
        """Ask about nodes that are not the case's: each is taken out of the scene, or stays and is not asked about
        again."""
        own = [*self.session.own_nodes(), self.saving.ownSegmentation()]
        others = caseNodes.others(own, self._known)
        if not others:
            return
        names = ", ".join(node.GetName() for node in others)
        question = _("The scene also has: {names}. Take it out of the scene? What is not saved is lost.")
        if confirm(question.format(names=names)):
            caseNodes.remove(others)
        else:
            self._known |= {node.GetID() for node in others}
