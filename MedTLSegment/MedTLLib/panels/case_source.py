"""Where a case list comes from: a folder, a CSV file, the loaded volumes, or the list that was open last."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from medtl.cases import read_images
from medtl.errors import InputError
from medtl.model.card import ModelCard
from medtl.worklist.case import BESIDE, BIDS, FOLDER
from medtl.worklist.case_list import list_in
from medtl.worklist.find import Found, find_cases, listed_cases
from medtl.worklist.places import DERIVATIVES
from MedTLLib.jobs.cases import CaseSession
from MedTLLib.worklist.scene_cases import cases_of_scene

from .form import confirm, enable, showText

LAST = "MedTL/caseList"  # the user's setting: the list that was open last


class CaseSource:
    """Makes and opens lists; `onOpened()` is called when one is open."""

    def __init__(
        self,
        ui: Any,
        session: CaseSession,
        card: Callable[[], ModelCard | None],
        onOpened: Callable[[], None],
        showMessage: Callable[[str], None],
    ) -> None:
        self.ui, self.session, self.card = ui, session, card
        self.onOpened, self.showMessage = onOpened, showMessage
        showText(ui.casesHintLabel, _("Work through many images: one key saves a case and opens the next."))
        for place, text in (
            (BESIDE, _("beside each image")),
            (FOLDER, _("in one folder")),
            (BIDS, _("BIDS derivatives")),
        ):
            ui.placesCombo.addItem(text, place)
        ui.folderButton.connect("clicked()", self.onFolder)
        ui.csvButton.connect("clicked()", self.onCsv)
        ui.loadedButton.connect("clicked()", self.onLoaded)
        ui.continueButton.connect("clicked()", self.onContinue)

    def update(self) -> None:
        """Show whether there is a list to continue."""
        last = self.last()
        self.ui.continueButton.visible = last is not None
        if last is not None:
            self.ui.continueButton.text = _("Continue the last list")
            enable(self.ui.continueButton, "", _("Open {path} where you left it.").format(path=last))
        enable(self.ui.folderButton, "", _("NRRD, NIfTI and DICOM below a folder; a list that is there is opened."))
        enable(self.ui.csvButton, "", _("A CSV file with a column image, or a case list (.sqlite)."))
        enable(self.ui.loadedButton, "", _("The volumes of this scene that were read from files."))

    def last(self) -> Path | None:
        """The list that was open last, where it is still there."""
        path = str(slicer.app.userSettings().value(LAST) or "")
        return Path(path) if path and Path(path).is_file() else None

    # What the user chooses

    def onFolder(self) -> None:
        """Open the list of a folder, or make one."""
        chosen = qt.QFileDialog.getExistingDirectory(self.ui.folderButton, _("Folder of images"))
        if chosen:
            folder = Path(chosen)
            there = next(filter(None, map(list_in, (folder, folder / DERIVATIVES))), None)
            if there is not None:
                self.open(there)
            else:
                self._take(folder, lambda: find_cases(folder), folder)

    def onCsv(self) -> None:
        """Open a list, or make one of a CSV file."""
        kinds = _("CSV file or case list ({patterns})").format(patterns="*.csv *.sqlite")
        chosen = qt.QFileDialog.getOpenFileName(self.ui.csvButton, _("CSV file or case list"), "", kinds)
        if not chosen:
            return
        path, card = Path(chosen), self.card()
        if list_in(path) is not None:
            self.open(path)
        else:
            channels = card.input.channels if card is not None else ("image",)
            self._take(path.parent, lambda: listed_cases(read_images(path, channels)))

    def onLoaded(self) -> None:
        """Make a list of the volumes of the scene."""
        try:
            found, without = cases_of_scene()
        except InputError as error:
            self.showMessage(str(error))
            return
        text = _("Without a file, so not in the list: {names}. Save them first.").format(names=", ".join(without))
        if without and not confirm(text):
            return
        self._take(None, lambda: found)

    def onContinue(self) -> None:
        """Open the list that was open last."""
        last = self.last()
        if last is not None:
            self.open(last)

    # Making and opening

    def _take(self, base: Path | None, find: Callable[[], Sequence[Found]], source: Path | None = None) -> None:
        """Make a list and open it: in the folder `base`, or where the user chooses; `source` is the folder in which
        images are looked for again later. A list of that source is opened where it is."""
        target = self._target(base)
        if target is None:
            return
        if source is not None and (there := list_in(target)) is not None:
            self.open(there)
            return
        try:
            with slicer.util.WaitCursor():
                self.session.make(find(), target, str(self.ui.placesCombo.currentData), source)
        except InputError as error:
            self.showMessage(str(error))
            return
        self._opened()

    def _target(self, base: Path | None) -> Path | None:
        """The folder for the list; None where the user chooses none."""
        place = self.ui.placesCombo.currentData
        if place == FOLDER or base is None:
            title = _("Folder for the list and the results")
            chosen = qt.QFileDialog.getExistingDirectory(self.ui.folderButton, title)
            if not chosen:
                return None
            base = Path(chosen)
        return base / DERIVATIVES if place == BIDS else base

    def open(self, path: Path) -> None:
        """Open a list; where another process has it open, the user may take it over."""
        try:
            self.session.open(path)
        except InputError as error:
            question = _("{reason} Take it over, because you know that nobody works on it any more?")
            if error.option != "take_over" or not confirm(question.format(reason=error)):
                self.showMessage(str(error))
                return
            try:
                self.session.open(path, take_over=True)
            except InputError as again:
                self.showMessage(str(again))
                return
        self._opened()

    def _opened(self) -> None:
        assert self.session.list is not None
        slicer.app.userSettings().setValue(LAST, str(self.session.list.path.absolute()))
        self.showMessage("")
        self.onOpened()
