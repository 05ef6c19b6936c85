"""All keys of MedTL: none is one of Slicer, guide, help and tool tips name them, and none outlives exit()."""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import host
import pytest
import qt
import slicer
from case_user import CaseUser
from panel_user import tip

from MedTLLib.panels import shortcuts

REPOSITORY = Path(__file__).resolve().parents[3]

# Slicer's Modules/Loadable/Segmentations/Widgets/qMRMLSegmentEditorWidget.cxx, installKeyboardShortcuts.
EDITOR = {*"0123456789", *(f"Shift+{n}" for n in range(10)), "Esc", "Space", *"ZYQWI", *"/*,.<>"}
EDITOR |= {"Ctrl+Z", "Ctrl+Y", "Ctrl+Shift+Z"}  # QKeySequence::Undo and Redo
# Slicer's EditorEffects/Python/SegmentEditorDrawEffect.py, processInteractionEvents: it hears these in a slice view.
EFFECTS = {"A", "X", "Return"}
# Slicer's Docs/user_guide/user_interface.md, "Mouse & Keyboard Shortcuts": application, slice views, 3D views.
APPLICATION = {f"Ctrl+{each}" for each in "FOSWH012345"}
VIEWS = {*"BFVRGT[]{}", "Left", "Right", "Up", "Down", "Home", "End", "PgUp", "PgDown", "+", "-"}


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CaseUser]:
    """The panel is open."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    slicer.app.userSettings().clear()
    host.new_scene()
    host.open_views()
    user = CaseUser(tmp_path / "worker")
    yield user
    user.close()
    host.new_scene()


def taken(user: CaseUser) -> list[qt.QShortcut]:
    """The shortcuts that the panel made."""
    return list(user.widget.parent.findChildren(qt.QShortcut))


def test_the_table_has_every_key_that_the_panel_takes_once(user):
    made = sorted(each.key.toString() for each in taken(user))
    assert made == sorted(each.keys for each in shortcuts.ALL)
    assert len({*made}) == len(made)


def test_no_key_is_one_of_slicer_s():
    assert not {each.keys for each in shortcuts.ALL} & (EDITOR | EFFECTS | APPLICATION | VIEWS)


def test_no_key_is_an_access_key_of_a_button():
    form = (REPOSITORY / "MedTLSegment/Resources/UI/MedTLSegment.ui").read_text(encoding="utf-8")
    access = {f"Alt+{letter.upper()}" for letter in re.findall(r"&amp;(\w)", form)}
    assert len(access) >= 10
    assert not {each.keys for each in shortcuts.ALL} & access


def test_all_keys_end_when_another_module_is_opened(user):
    for each in taken(user):
        each.enabled = True
    user.widget.parent.exit()
    assert [each.key.toString() for each in taken(user) if each.enabled] == []


def test_nothing_is_taken_before_its_section_has_something_to_do(user):
    user.widget.parent.exit()
    user.widget.parent.enter()
    assert [each.key.toString() for each in taken(user) if each.enabled] == []


def test_the_guide_and_the_help_of_the_module_list_all_keys(user):
    guide = (
        (REPOSITORY / "docs/user-guide.md").read_text(encoding="utf-8").partition("## Keys")[2].partition("\n## ")[0]
    )
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in guide.splitlines() if "|" in line]
    table = [(each.keys, each.section, each.does) for each in shortcuts.ALL]
    assert rows[2:] == table
    help = ElementTree.fromstring(f"<p>{shortcuts.helpText()}</p>")
    assert [tuple(cell.text for cell in row) for row in help.iter("tr")] == table
    assert slicer.modules.medtlsegment.helpText.endswith(shortcuts.helpText())


def test_each_control_names_its_keys(user):
    user.widget.updatePanels()
    user.cases._showCase()
    ui = user.ui
    controls = {
        ui.ratingCombo: shortcuts.RATE.values(),
        ui.holdButton: [shortcuts.HOLD_TO_COMPARE],
    }
    for control, keys in controls.items():
        for each in keys:
            assert each.keys in tip(control)
    texts = {ui.nextCaseButton: shortcuts.NEXT_CASE, ui.reviewedButton: shortcuts.REVIEWED_CASE}
    texts |= {ui.markButton: shortcuts.SLICE_IS_RIGHT, ui.holdButton: shortcuts.HOLD_TO_COMPARE}
    for button, each in texts.items():
        assert button.text.endswith(f"({each.keys})")


def test_a_tip_names_one_key_or_says_what_each_does():
    assert shortcuts.withKeys("Save it.", shortcuts.NEXT_CASE) == "Save it. Key: N."
    text = shortcuts.withKeys("Show it.", shortcuts.DOUBT_NEXT, shortcuts.DOUBT_BACK)
    assert text == "Show it. Keys: D: next doubtful slice, Shift+D: doubtful slice before."
