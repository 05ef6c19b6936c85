"""Cases: one key saves the case that is open, opens the next and segments it."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from medtl.errors import InputError
from medtl.worklist.case import RATINGS, REJECTED, STATES, ListedCase
from medtl.worklist.find import find_cases, named
from medtl.worklist.order import next_case, pace_of
from medtl.worklist.table import read_table, write_table
from MedTLLib.jobs import terms
from MedTLLib.jobs.ahead import Ahead
from MedTLLib.jobs.cases import CaseSession
from MedTLLib.jobs.run import JobRun
from MedTLLib.jobs.segment import Choices, Finished
from MedTLLib.mrml import views
from MedTLLib.worklist import nodes as case_nodes
from MedTLLib.worklist import tuning

from .case_source import CaseSource
from .case_table import CaseTable, stateText
from .form import askSavePath, confirm, enable, showText
from .keys import Key
from .results import ResultsPanel
from .segment import SegmentPanel
from .texts import plainTip

NEXT, REVIEWED = "N", "Shift+N"
RATING = "Alt+{}"  # Slicer's main window has Ctrl with digits, its segment editor the digits alone and with Shift
# After the last change of the segmentation it is saved: a crash costs no more. The pause is longer where saving takes
# long, so that it does not disturb.
SAVE_MS, SAVE_SHARE = 2_000, 0.05
EVENTS = (slicer.vtkSegmentation.SourceRepresentationModified, slicer.vtkSegmentation.SegmentModified)


class CasesPanel(VTKObservationMixin):  # type: ignore[misc]
    """Works through a list with the panels of Segment and Results."""

    def __init__(self, ui: Any, run: JobRun, segment: SegmentPanel, results: ResultsPanel) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.run, self.segment, self.results = ui, run, segment, results
        self.session = CaseSession(run.engine.now)
        self.ahead = Ahead(run.engine, self.onAhead)
        self.source = CaseSource(ui, self.session, self._card, self.onOpened, self.showMessage)
        self.table = CaseTable(ui, self.go)
        self.entered = False
        self._model = ""  # that segments the cases: one that does not fit a case is not replaced for the others
        self._replaced = ""  # the model that was chosen for a case instead
        self._text = ""  # of the message
        self._waiting = ""  # the case whose result comes from the background
        self._known: set[str] = set()  # the ids of other nodes that the user wants to keep
        self._running = False
        self._keys = [Key(NEXT, ui.casesBox, self.onNext), Key(REVIEWED, ui.casesBox, self.onReviewed)]
        self._keys += [Key(RATING.format(n), ui.casesBox, partial(self.rate, n)) for n in (0, *RATINGS)]
        self._later = qt.QTimer(ui.casesBox)
        self._later.setSingleShot(True)
        self._later.connect("timeout()", self.onPause)
        self._pause = SAVE_MS
        ui.caseStateCombo.addItem("", "")
        for state in STATES:
            ui.caseStateCombo.addItem(stateText(state), state)
        ui.ratingCombo.addItem("–", 0)
        for number in RATINGS:
            ui.ratingCombo.addItem(str(number), number)
        ui.caseStateCombo.connect("activated(int)", self.onState)
        ui.ratingCombo.connect("activated(int)", lambda index: self.rate(int(ui.ratingCombo.itemData(index))))
        ui.noteEdit.connect("editingFinished()", self.onNote)
        ui.nextCaseButton.connect("clicked()", self.onNext)
        ui.reviewedButton.connect("clicked()", self.onReviewed)
        ui.exportListButton.connect("clicked()", self.onExport)
        ui.importListButton.connect("clicked()", self.onImport)
        ui.updateListButton.connect("clicked()", self.onUpdate)
        ui.closeListButton.connect("clicked()", self.onClose)
        ui.casesBox.connect("contentsCollapsed(bool)", lambda collapsed: self.onFold())
        run.observe(self.onRun)
        self.ahead.run.observe(self.onAheadProgress)
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
        self.saveQuietly()

    def onFold(self) -> None:
        """The keys are taken while the section is open and has a list."""
        wanted = self.entered and not self.ui.casesBox.collapsed and self.session.list is not None
        for key in self._keys:
            key.listen(wanted)

    def close(self) -> None:
        """The panel is destroyed."""
        self.exit()
        self.ahead.close()
        self._watch(None)
        self.session.close()

    def sceneClosed(self) -> None:
        """The scene is closed, with the case: save it first, because its nodes are still there."""
        self.saveQuietly()
        self._watch(None)
        self.session.scene_closed()
        self._waiting, self._known = "", set()
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
        pace = pace_of(cases.cases.values())
        text = _("{done} of {total} done").format(done=pace.done, total=pace.total)
        if pace.minutes is not None and pace.done < pace.total:
            text += _(", about {minutes} min left").format(minutes=max(1, round(pace.minutes)))
        showText(self.ui.casesProgressLabel, f"{text}.")
        showText(self.ui.caseLabel, _("Open: {case}").format(case=case.name) if case else _("No case is open."))
        self.ui.caseStateCombo.currentIndex = self.ui.caseStateCombo.findData(case.state if case else "")
        self.ui.ratingCombo.currentIndex = self.ui.ratingCombo.findData((case.rating if case else None) or 0)
        if not self.ui.noteEdit.hasFocus():
            self.ui.noteEdit.text = case.note if case else ""
        for widget in (self.ui.caseStateCombo, self.ui.ratingCombo, self.ui.noteEdit):
            widget.enabled = case is not None
        busy = self.run.why_busy
        first = _("Open the first case that is not done.")
        enable(self.ui.nextCaseButton, busy, _("Save this case and open the next. Key: N.") if case else first)
        none = "" if case else _("No case is open.")
        enable(self.ui.reviewedButton, busy or none, _("All of it is right: save it as reviewed, open the next."))
        enable(self.ui.exportListButton, "", _("Save the list with states, ratings and notes as a CSV file."))
        enable(self.ui.importListButton, "", _("Take states, ratings and notes from a CSV file with a column case."))
        no_folder = "" if cases.source is not None else _("The list was not made from a folder.")
        enable(self.ui.updateListButton, no_folder, _("Add the images that came into the folder since."))
        enable(self.ui.closeListButton, busy, _("Save this case, take it out of the scene, let others open the list."))

    def showMessage(self, text: str) -> None:
        """Show a sentence below the cases, and what the user waits for."""
        self._text = text
        waited = bool(self._waiting) and self.ahead.name == self._waiting
        progress = _("In the background: {text}").format(text=self.ahead.run.text) if waited else ""
        showText(self.ui.casesMessageLabel, " ".join(filter(None, (text, progress))))

    def _add(self, texts: Iterable[str]) -> None:
        """Show further sentences after what was said."""
        self.showMessage(" ".join(filter(None, (self._text, *texts))))

    def onRun(self) -> None:
        """A job of the panel began or ended: the background waits for it."""
        running = self.run.job is not None
        if running == self._running:
            return
        self._running = running
        if running:
            self._waiting = ""
            self.ahead.stop()
        else:
            self.startAhead()
        self._showCase()

    # The list

    def onOpened(self) -> None:
        """A list was opened: go to the case where the user left it, or to the first that is not done."""
        self._model, self._replaced, self._known = "", "", set()
        self.onFold()
        self.update()
        cases = self.session.list
        if cases is None:
            return
        case = cases.cases.get(cases.current) or next_case(self.table.shown)
        if case is not None:
            self.go(case.name)

    def onClose(self) -> None:
        """Save the case and close the list."""
        if self._leave(False):
            self._waiting = ""
            self.ahead.stop()
            self._watch(None)
            self.session.leave()
            self.session.close()
            self.showMessage("")
            self.onFold()
            self.update()

    def onExport(self) -> None:
        """Save the list as a CSV file where the user chooses."""
        cases = self.session.list
        if cases is None:
            return
        suggested = cases.folder / "cases.csv"
        path = askSavePath(self.ui.exportListButton, _("Save the list"), suggested, (".csv",))
        if path is not None:
            self._try(lambda: write_table(cases, path, replace_file=True), _("Saved: {path}.").format(path=path))

    def onImport(self) -> None:
        """Take over what a CSV file says about the cases."""
        cases = self.session.list
        kinds = _("CSV file ({patterns})").format(patterns="*.csv")
        chosen = qt.QFileDialog.getOpenFileName(self.ui.importListButton, _("Read a CSV file"), "", kinds)
        if chosen and cases is not None:
            self._try(lambda: cases.change_all(read_table(cases, Path(chosen))), _("Read: {path}.").format(path=chosen))

    def onUpdate(self) -> None:
        """Add images that came since."""
        cases = self.session.list
        if cases is None or cases.source is None:
            return
        source = cases.source
        known = {(case.images[0], case.series) for case in cases.cases.values()}

        def add() -> None:
            new = [each for each in find_cases(source) if (each.images[0], each.series) not in known]
            cases.add(named(new, source, cases.cases))

        self._try(add, "")
        self.showMessage(_("New cases: {count}.").format(count=len(cases.cases) - len(known)))

    def _try(self, step: Callable[[], object], done: str) -> bool:
        """Whether the step succeeded; its error is shown as a sentence."""
        try:
            with slicer.util.WaitCursor():
                step()
        except InputError as error:
            self.showMessage(str(error))
            self.update()
            return False
        self.showMessage(done)
        self.update()
        return True

    # From case to case

    def onNext(self) -> None:
        """Save this case and open the next."""
        self._next(False)

    def onReviewed(self) -> None:
        """Save this case as reviewed and open the next."""
        if self.session.case is not None:
            self._next(True)

    def _next(self, reviewed: bool) -> None:
        if self.session.list is None or not self._leave(True, reviewed):
            return
        following = next_case(self.table.shown, self.session.name)
        if following is None:
            hidden = next_case(tuple(self.session.list.cases.values()), self.session.name)
            self.showMessage(
                _("All cases that are shown are done.") if hidden else _("All cases are done. Well worked.")
            )
            self.update()
            return
        self._open(following)

    def go(self, name: str) -> None:
        """Save this case and open another one."""
        if name == self.session.name and self.session.volume is not None:  # some systems tell a double click twice
            return
        if self.session.list is not None and self._leave(False):
            self._open(self.session.list.cases[name])

    def _leave(self, done: bool, reviewed: bool = False) -> bool:
        """Whether the case can be left: no job runs, it is saved, and the user was asked about other nodes."""
        if self.run.why_busy:
            self.showMessage(_("{reason} Wait for its end, or cancel it.").format(reason=self.run.why_busy))
            return False
        if self.session.case is None:
            return True
        if not self._save(done, reviewed):
            return False
        if self.session.nodes is not None:
            self._askOthers()
        return True

    def _save(self, done: bool = False, reviewed: bool = False) -> bool:
        """Whether the case is saved as it is now."""
        self._later.stop()
        began = self.run.engine.now()
        try:
            with slicer.util.WaitCursor():
                warnings = self.session.save(self.ownSegmentation(), done, reviewed)
        except InputError as error:
            self.showMessage(_("Not saved, and not left: {reason}").format(reason=error))
            self.update()
            return False
        self._pause = max(SAVE_MS, round(1000 * (self.run.engine.now() - began) / SAVE_SHARE))
        self.showMessage(" ".join(warnings))
        return True

    def _askOthers(self) -> None:
        """Ask about nodes that are not the case's: each is taken out of the scene, or stays and is not asked about
        again."""
        own = [*self.session.own_nodes(), self.ownSegmentation()]
        others = case_nodes.others(own, self._known)
        if not others:
            return
        names = ", ".join(node.GetName() for node in others)
        question = _("The scene also has: {names}. Take it out of the scene? What is not saved is lost.")
        if confirm(question.format(names=names)):
            case_nodes.remove(others)
        else:
            self._known |= {node.GetID() for node in others}

    def _open(self, case: ListedCase) -> None:
        """Take the case before it out of the scene, load this one, show or segment it."""
        self._watch(None)
        self._waiting = ""
        chosen = self.parameters.modelName
        if self._model and chosen != self._replaced:
            self._model = chosen
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
            finished = self._try_show(opened)
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
        self._model = self._model or p.modelName  # for the first case, the one that fits it
        if p.modelName != self._model:
            index = self.ui.modelCombo.findData(self._model)
            if index >= 0:
                self.ui.modelCombo.currentIndex = index
        self._replaced = "" if p.modelName == self._model else p.modelName
        card = self._card()
        if card is not None and len(card.input.channels) == len(volumes) > 1:
            self.segment.channels.choose(volumes[1:])
        views.show_volume(volumes[0])
        views.turn_to(volumes[0])

    def _try_show(self, opened: Any) -> Finished | None:
        """Show the saved segmentation of a case, centred on its largest lesion."""
        try:
            finished = self.session.show(opened, self.segment.labels.wanted())
        except InputError as error:
            self.showMessage(str(error))
            return None
        if finished is not None:
            self.results.show(finished)
            if finished.written.undo is None:  # it was read from a file
                self.results.finished = None
                self.results.update()
            self._watch(finished.segmentation)
        return finished

    def _segment(self) -> None:
        """Segment the case with the chosen model, or wait for the background."""
        if self.ahead.name == self.session.name:
            self._waiting = self.session.name
            self.showMessage(self._text)
            return
        if self.segment.setupNeeded:
            self._add([_("Python packages are missing. Install them below.")])
            return
        if self._replaced or (self._model and self.parameters.modelName != self._model):
            text = _("{model} does not fit this case, so it was not segmented. Choose a model and press Segment.")
            self._add([text.format(model=self._model)])
        elif self.ui.segmentButton.enabled:
            self.segment.onSegment()
        else:
            self._add([_("Not segmented: {reason}").format(reason=self.ui.reasonLabel.text)])

    # Results

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
        self._model, self._replaced = self.parameters.modelName, ""  # also one that the user chose for this case
        self._watch(finished.segmentation)
        self._showSaved()

    def ownSegmentation(self) -> Any:
        """The segmentation that is saved for the case: the one of Results, where it lies on the case's volume."""
        segmentation = self.results.segmentation()
        if segmentation is None or self.session.volume is None:
            return None
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        made_on = segmentation.GetNodeReference(role)
        return segmentation if made_on in (None, self.session.volume) else None

    def _watch(self, segmentation: Any) -> None:
        """Save this segmentation some time after its last change."""
        self._later.stop()
        self.removeObservers()
        if segmentation is not None:
            for event in EVENTS:
                self.addObserver(segmentation, event, self.onChange)

    def onChange(self, caller: Any, event: Any) -> None:
        """The segmentation changed. SEED marks are a change, too."""
        self._later.start(self._pause)

    def onPause(self) -> None:
        """Save now, unless the user is in the middle of a stroke."""
        if qt.QApplication.mouseButtons() != qt.Qt.NoButton:
            self._later.start(self._pause)
        else:
            self.saveQuietly()

    def saveQuietly(self) -> None:
        """Save the case where something is not saved; a crash costs no more then."""
        segmentation, session = self.ownSegmentation(), self.session
        unsaved = session.is_unsaved(segmentation) and session.may_replace(segmentation)
        if unsaved and self._save():
            self._showSaved()

    def _showSaved(self) -> None:
        case = self.session.case
        if case is not None:
            self.table.setCase(case, self.session.name)
        self._showCase()

    # What the user says

    def rate(self, number: int) -> None:
        """Rate the case, 1 to 5; 0 for no rating."""
        self._say({"rating": number or None})

    def onState(self, index: int) -> None:
        """Set the state of the case."""
        if state := str(self.ui.caseStateCombo.itemData(index) or ""):
            self._say({"state": state})
        else:
            self._showCase()

    def onNote(self) -> None:
        """Store the note."""
        case, note = self.session.case, str(self.ui.noteEdit.text)
        if case is not None and note != case.note:
            self._say({"note": note})

    def _say(self, facts: Mapping[str, Any]) -> None:
        if self.session.case is None:
            return
        try:
            self.session.say(**facts)
        except InputError as error:
            self.showMessage(str(error))
        self._showSaved()

    # The background

    def startAhead(self) -> None:
        """Segment the next case in the background, where the chosen model can be used on it."""
        cases, p, entry = self.session.list, self.parameters, self.segment.models.chosen()
        if cases is None or p is None or self.run.job is not None or entry is None or entry.card is None:
            return
        if self.segment.setupNeeded or terms.must_ask(entry) or p.onlySlice or p.onlyRegion or self._replaced:
            return
        following = next_case(self.table.shown, self.session.name)
        if following is not None and len(following.files) == len(entry.card.input.channels):
            choices = Choices(p.modelName, False, p.flip, p.device, p.threads)
            self.ahead.start(following, cases.result(following), choices)

    def onAhead(self, name: str, done: bool | None) -> None:
        """A case was segmented in the background, could not be (False), or the user was quicker (None)."""
        waited, self._waiting = self._waiting == name, ""
        card = self._card()
        if done and name != self.session.name:
            try:
                self.session.segmented_ahead(name, card.family if card is not None else "")
            except InputError as error:
                self.showMessage(str(error))
            cases = self.session.list
            if cases is not None and name in cases.cases:
                self.table.setCase(cases.cases[name], self.session.name)
        elif waited and name == self.session.name:
            if done:
                self._reopen()
            elif done is False:
                self._segment()
        if done:
            self.startAhead()

    def _reopen(self) -> None:
        """Show the result that came for the open case."""
        try:
            opened = self.session.arrived()
        except InputError as error:
            self.showMessage(str(error))
            return
        self._try_show(opened)
        self._add(opened.warnings)
        self._showSaved()

    def onAheadProgress(self) -> None:
        """Show the progress of the background, where the user waits for it."""
        if self._waiting:
            self.showMessage(self._text)

    # Fine-tune

    def openName(self) -> str:
        """The case whose nodes are in the scene; empty for none."""
        return self.session.name if self.session.volume is not None else ""

    def listed(self) -> tuning.ListedSeeds:
        """What Fine-tune takes from the list, without the case that is open."""
        return tuning.count(self.session.list, self._card(), self.openName())
