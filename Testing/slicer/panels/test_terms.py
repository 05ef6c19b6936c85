"""The page with the terms of a model's weights: before the first use, once for a version."""

import json
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import host
import pytest
import qt
import slicer
from panel_user import MODEL, PHANTOM, User
from tuning_user import TUNED, bundle

from medtl.model.store import find_model, user_store
from MedTLLib import samples
from MedTLLib.jobs import terms
from MedTLLib.panels.card import cardText


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """The panel is open with a volume, and the user has accepted nothing."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(terms, "_not_stored", set())
    slicer.app.userSettings().clear()
    host.new_scene()
    host.open_views()
    user = User(tmp_path / "worker")
    shutil.rmtree(receipts())
    user.load()
    yield user
    user.close()
    host.new_scene()


def receipts() -> Path:
    return user_store().parent / "accepted-terms"


def answer(*accepted: bool, look: Any = None) -> list[str]:
    """Prepare the user's answers to the next pages; the list fills with the text of each page."""
    shown: list[str] = []

    def press(yes: bool) -> Any:
        def act(dialog: Any) -> Any:
            shown.append("\n".join(label.text for label in dialog.findChildren(qt.QLabel)))
            shown[-1] += "\n" + dialog.findChild(qt.QPlainTextEdit, "termsText").plainText
            if look is not None:
                look(dialog)
            return qt.QDialog.Accepted if yes else qt.QDialog.Rejected

        return act

    host.answer(*map(press, accepted))
    return shown


def test_terms_that_are_declined_start_nothing_and_are_asked_for_again(user):
    shown = answer(False, False)
    for _time in range(2):
        user.ui.segmentButton.click()
        assert user.worker.requests == []
        assert user.status() == "Nothing was started: the terms of glioma-flair were not accepted."
    assert len(shown) == 2
    assert not receipts().exists()
    assert user.ui.segmentButton.enabled


def test_the_page_shows_the_terms_in_full_and_asks_once(user):
    shown = answer(True)
    user.segment()
    user.segment()
    assert len(user.worker.requests) == 2
    (page,) = shown
    assert "glioma-flair 2.0.0" in page
    assert "CC BY-NC-SA 4.0: NON-COMMERCIAL USE ONLY" in page
    assert page.endswith((find_model(MODEL) / "LICENSE").read_text(encoding="utf-8"))
    assert len(list(receipts().iterdir())) == 1


def test_a_new_version_of_the_model_asks_anew_and_a_tuned_one_does_not(user):
    answer(True)
    user.segment()
    folder = bundle(TUNED)
    user.widget.segment.readModels()
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData(TUNED)
    user.segment()
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(metadata | {"version": "9.0.0"}), encoding="utf-8")
    user.widget.segment.readModels()
    shown = answer(False)
    user.ui.segmentButton.click()
    assert f"{TUNED} 9.0.0" in shown[0]
    assert len(user.worker.requests) == 2


def test_what_cannot_be_stored_holds_until_slicer_is_closed_and_is_said(user, caplog):
    receipts().write_text("a file where the folder should be")
    shown = answer(True)
    with caplog.at_level(logging.WARNING):
        user.segment()
        user.segment()
    assert len(shown) == 1
    assert len(user.worker.requests) == 2
    assert "Could not store in" in caplog.text
    assert "until Slicer is closed" in caplog.text


def test_a_model_of_unknown_terms_says_so_in_the_list_on_the_page_and_in_its_card(user):
    folder = bundle(TUNED)
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(metadata | {"copyright": "Copyright (c) Somebody"}), encoding="utf-8")
    (folder / "LICENSE").unlink()
    user.widget.segment.readModels()
    combo = user.ui.modelCombo
    combo.currentIndex = combo.findData(TUNED)
    assert combo.currentText == f"{TUNED} (terms not stated)"
    shown = answer(False)
    user.ui.segmentButton.click()
    assert "terms not stated" in shown[0]
    assert shown[0].endswith("Ask who made it before you use it.")
    assert "terms not stated" in cardText(user.widget.segment.models.chosen())


def test_the_list_and_the_card_name_the_terms(user):
    combo = user.ui.modelCombo
    assert combo.currentText == "glioma-flair (CC BY-NC-SA 4.0)"
    tip = combo.itemData(combo.currentIndex, qt.Qt.ToolTipRole)
    assert "CC BY-NC-SA 4.0: NON-COMMERCIAL USE ONLY" in tip
    user.ui.cardButton.click()
    text = user.ui.cardBrowser.plainText
    assert "NON-COMMERCIAL USE ONLY" in text[:400]
    assert "Buda, Saha and Mazurowski" in text


def test_enter_accepts_nothing(user):
    def look(dialog: Any) -> None:
        (default,) = [button for button in dialog.findChildren(qt.QPushButton) if button.default]
        assert default is dialog.findChild(qt.QDialogButtonBox).button(qt.QDialogButtonBox.Cancel)

    answer(False, look=look)
    user.ui.segmentButton.click()


@pytest.mark.parametrize("width", [500, 300])
def test_the_page_fits_into_its_width(user, tmp_path, width):
    def look(dialog: Any) -> None:
        assert host.screenshot(dialog, tmp_path / "terms.png", width)[0] == width

    answer(False, look=look)
    user.ui.segmentButton.click()
    assert (tmp_path / "terms.png").is_file()


def test_a_script_is_not_asked_but_told_in_the_log(user, caplog):
    with caplog.at_level(logging.WARNING):
        terms.remind(MODEL)
        terms.remind("no such model")
    assert caplog.messages == [record for record in caplog.messages if "glioma-flair 2.0.0: CC BY-NC-SA 4.0" in record]
    assert len(caplog.messages) == 1
    answer(True)
    user.segment()
    caplog.clear()
    terms.remind(MODEL)
    assert caplog.messages == []


def test_process_tells_it(user, caplog):
    volume = samples.volume_node(PHANTOM.volume)
    logic = sys.modules["MedTLSegment"].MedTLSegmentLogic(user.worker, user.packages)
    user.worker.then = user.worker.done
    with caplog.at_level(logging.WARNING):
        assert logic.process(volume, MODEL) is not None
    assert any("NON-COMMERCIAL USE ONLY" in message for message in caplog.messages)
