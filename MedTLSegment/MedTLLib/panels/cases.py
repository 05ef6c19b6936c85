"""Cases: one key saves the case that is open, opens the next and segments it."""

from collections.abc import Iterable
from typing import Any

import slicer
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.worklist.case import REJECTED, ListedCase
from medtl.worklist.order import pace_of
from MedTLLib.jobs.case_model import CaseModel
from MedTLLib.jobs.cases import CaseSession, Opened
from MedTLLib.jobs.run import JobRun
from MedTLLib.jobs.segment import Finished
from MedTLLib.mrml import views
from MedTLLib.worklist import tuning

from .case_background import CaseBackground
from .case_exchange import CaseExchange
from .case_facts import CaseFacts
from .case_moves import CaseMoves
from .case_saving import CaseSaving
from .case_source import CaseSource
from .case_table import CaseTable
from .form import enable, showText
from .keys import Key
from .results import ResultsPanel
from .second_reader import SecondReader
from .segment import SegmentPanel
from .shortcuts import NEXT_CASE, REVIEWED_CASE, withKeys
from .texts import paceText, plainTip, touchedText


class CasesPanel:
    """Works through a list with the panels of Segment and Results."""

    def __init__(self, ui: Any, run: JobRun, segment: SegmentPanel, results: ResultsPanel) -> None:
        self.ui, self.run, self.segment, self.results = ui, run, segment, results
        self.session, self.model = CaseSession(run.engine.now), CaseModel()
        self.background = CaseBackground(run, self.session, segment, self.onAhead, lambda: self.showMessage(self._text))
        self.saving = CaseSaving(ui, run, self.session, results, self.showMessage, self._showSaved, self.update)
        self.source = CaseSource(ui, self.session, self._card, self.onOpened, self.showMessage)
        self.table = CaseTable(ui, lambda name: self.moves.go(name))
        self.moves = CaseMoves(run, self.session, self.saving, self.table, self._open, self.showMessage, self.update)
        self.facts = CaseFacts(ui, self.session, self._showSaved, self.showMessage)
        self.exchange = CaseExchange(ui, self.session, self.update, self.showMessage)
        self.second = SecondReader(ui, self.session, run, self.saving.saveOpen, self.moves.go, self.showMessage)
        self.entered = False
        self._text = ""  # of the message
        self._running = False
        moves = self.moves
        self._keys = [Key(NEXT_CASE, ui.casesBox, moves.onNext), Key(REVIEWED_CASE, ui.casesBox, moves.onReviewed)]
        ui.nextCaseButton.connect("clicked()", moves.onNext)
        ui.reviewedButton.connect("clicked()", moves.onReviewed)
        ui.closeListButton.connect("clicked()", self.onClose)
        ui.casesBox.connect("contentsCollapsed(bool)", lambda collapsed: self.onFold())
        run.observe(self.onRun)
        self.showMessage("")
        self.update()

    @property
    def parameters(self) -> Any:
        return self.segment.parameters

    def _card(self) -> Any:
        entry = self.segment.models.chosen()
        return entry.card if entry is not None else None

    # Active or not

    def enter(self) -> None:
        """The module is opened: take the keys."""
        self.entered = True
        self.source.update()
        self.onFold()

    def exit(self) -> None:
        """Another module is opened: release the keys, save what is not saved."""
        self.entered = False
        self.onFold()
        self.saving.saveQuietly()

    def onFold(self) -> None:
        """The keys are taken while the section is open and has a list."""
        wanted = self.entered and not self.ui.casesBox.collapsed and self.session.list is not None
        for key in (*self._keys, *self.facts.keys):
            key.listen(wanted)

    def close(self) -> None:
        """The panel is destroyed."""
        self.exit()
        self.background.close()
        self.saving.watch(None)
        self.session.close()

    def sceneClosed(self) -> None:
        """The scene is closed, with the case: save it first, because its nodes are still there."""
        self.saving.saveQuietly()
        self.saving.watch(None)
        self.session.scene_closed()
        self.moves.forget()
        self.background.waiting = ""
        if self.session.list is not None:
            self.showMessage(_("The scene was closed. Open a case again: double-click it, or press N."))
        self.update()

    # What is shown

    def update(self) -> None:
        """Show the list and the case."""
        cases = self.session.list
        self.ui.casesSourceFrame.visible = cases is None
        self.ui.casesFrame.visible = cases is not None
        if cases is not None:
            showText(self.ui.casesListLabel, _("List: {folder}").format(folder=cases.folder.absolute().name))
            self.ui.casesListLabel.toolTip = plainTip(str(cases.path.absolute()))
            self.table.setCases(cases.cases.values(), self.session.name)
        else:
            self.source.update()
        self._showCase()

    def _showCase(self) -> None:
        """Show the case that is open, and how far the work is."""
        cases, case = self.session.list, self.session.case
        if cases is None:
            return
        showText(self.ui.casesProgressLabel, paceText(pace_of(cases.cases.values())))
        self.facts.show()
        self.exchange.show()
        self.second.show(self.segment.setupNeeded)
        busy, none = self.run.why_busy, "" if case else _("No case is open.")
        following = _("Save this case and open the next.") if case else _("Open the first case that is not done.")
        enable(self.ui.nextCaseButton, busy, withKeys(following, NEXT_CASE))
        reviewed = _("All of it is right: save it as reviewed, open the next.")
        enable(self.ui.reviewedButton, busy or none, withKeys(reviewed, REVIEWED_CASE))
        enable(self.ui.closeListButton, busy, _("Save this case, take it out of the scene, let others open the list."))

    def _showSaved(self) -> None:
        """Show the case as it is stored."""
        if (case := self.session.case) is not None:
            self.table.setCase(case, self.session.name)
        self._showCase()

    def showMessage(self, text: str) -> None:
        """Show a sentence below the cases, and what the user waits for."""
        self._text = text
        showText(self.ui.casesMessageLabel, " ".join(filter(None, (text, self.background.text))))

    def _add(self, texts: Iterable[str]) -> None:
        """Show further sentences after what was said."""
        self.showMessage(" ".join(filter(None, (self._text, *texts))))

    # The list

    def onOpened(self) -> None:
        """A list was opened: go to the case where the user left it, or to the first that is not done."""
        self.second.close()
        self.model = CaseModel()
        self.moves.forget()
        self.onFold()
        self.update()
        assert self.session.list is not None
        self.showMessage(touchedText(self.session.list.touched()))
        case = self.session.list.cases.get(self.session.list.current) or self.moves.following()
        if case is not None:
            self.moves.go(case.name)

    def onClose(self) -> None:
        """Save the case and close the list."""
        if self.moves.leave():
            self.background.stop()
            self.saving.watch(None)
            self.session.leave()
            self.session.close()
            self.second.close()
            self.showMessage("")
            self.onFold()
            self.update()

    # The case

    def _open(self, case: ListedCase) -> None:
        """Take the case before it out of the scene, load this one, show or segment it."""
        self.saving.watch(None)
        self.background.waiting = ""
        self.model.leave(self.parameters.modelName)
        with slicer.util.WaitCursor():
            self.session.leave()
            try:
                opened = self.session.enter(case.name)
            except InputError as error:
                self._add([_("{case} cannot be opened: {reason}").format(case=case.name, reason=error)])
                self.update()
                self.startAhead()
                return
            self._choose()
            finished = self._show(opened)
        self._add(opened.warnings)
        self.update()
        if finished is None and opened.saved is None and opened.case.state != REJECTED:
            self._segment()
        self.startAhead()

    def _choose(self) -> None:
        """Choose the volumes of the case, and the model that segments the cases."""
        nodes, p = self.session.nodes, self.parameters
        assert nodes is not None
        volumes = [each.Get() for each in nodes.volumes]
        p.inputVolume, p.resultSegmentation = volumes[0], None
        index = self.ui.modelCombo.findData(self.model.name)
        if self.model.name and index >= 0:
            self.ui.modelCombo.currentIndex = index
        self.model.enter(p.modelName)
        card = self._card()
        if card is not None and len(card.input.channels) == len(volumes) > 1:
            self.segment.channels.choose(volumes[1:])
        for volume in volumes:
            views.set_window(volume, card.display_window if card is not None else None)
        views.show_volume(volumes[0])
        views.turn_to(volumes[0])

    def _show(self, opened: Opened) -> Finished | None:
        """Show the saved segmentation of a case, centred on its largest lesion; None where there is none."""
        try:
            finished = self.session.show(opened, self.segment.labels.wanted())
        except InputError as error:
            self._add([str(error)])
            return None
        if finished is not None:
            self.results.show(finished)
            if finished.written.undo is None:  # it was read from a file
                self.results.finished = None
                self.results.update()
            self.saving.watch(finished.segmentation)
        return finished

    def _segment(self) -> None:
        """Segment the case with the chosen model, or wait for the background."""
        if self.background.waitsFor(self.session.name):
            self.showMessage(self._text)
        elif self.segment.setupNeeded:
            self._add([_("Python packages are missing. Install them below.")])
        elif self.model.replaced:
            text = _("{model} does not fit this case, so it was not segmented. Choose a model and press Segment.")
            self._add([text.format(model=self.model.name)])
        elif self.ui.segmentButton.enabled:
            self.segment.onSegment()
        else:
            self._add([_("Not segmented: {reason}").format(reason=self.ui.reasonLabel.text)])

    # Results and saving

    def finished(self, finished: Finished) -> None:
        """A result came into the scene: save it, where it is that of the case."""
        if self.session.case is None or finished.volume is None or finished.volume is not self.session.volume:
            return
        try:
            warnings = self.session.predicted(finished.segmentation, bool(finished.written.kept_slices))
        except InputError as error:
            self.showMessage(_("Not saved: {reason}").format(reason=error))
            return
        self._add(warnings)
        self.model.use(self.parameters.modelName)
        self.saving.watch(finished.segmentation)
        self._showSaved()

    # The background

    def startAhead(self) -> None:
        """Segment the case after this one in the background."""
        if self.session.list is not None and not self.model.replaced:
            self.background.start(self.moves.following())

    def onRun(self) -> None:
        """A job of the panel began or ended: the background waits for it."""
        running = self.run.job is not None
        if running == self._running:
            return
        self._running = running
        if running:
            self.background.stop()
        else:
            self.startAhead()
        self._showCase()

    def onAhead(self, name: str, waited: bool, done: bool | None, problem: str) -> None:
        """A case was segmented in the background, could not be (False), or the user was quicker (None)."""
        if problem:
            self._add([problem])
        cases = self.session.list
        if done and cases is not None and name in cases.cases and name != self.session.name:
            self.table.setCase(cases.cases[name], self.session.name)
        elif waited and done:
            self._showArrived()
        elif waited and done is False:
            self._segment()
        if done:
            self.startAhead()

    def _showArrived(self) -> None:
        """Show the result that came for the open case."""
        try:
            opened = self.session.arrived()
        except InputError as error:
            self._add([str(error)])
            return
        self._show(opened)
        self._add(opened.warnings)
        self._showSaved()

    # Fine-tune

    def openName(self) -> str:
        """The case whose nodes are in the scene; empty for none."""
        return self.session.name if self.session.volume is not None else ""

    def listed(self) -> tuning.ListedSeeds:
        """What Fine-tune takes from the list, without the case that is open."""
        return tuning.count(self.session.list, self._card(), self.openName())
