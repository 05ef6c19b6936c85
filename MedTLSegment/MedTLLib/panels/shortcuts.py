"""All keys of MedTL. Each is taken only while its section is open, and by nobody after the module is left.

None is one of the Segment Editor's or of the slice and 3D views': a test holds them against Slicer's.
"""

from dataclasses import dataclass
from html import escape

from slicer.i18n import tr as _

from medtl.worklist.case import RATINGS


@dataclass(frozen=True)
class Shortcut:
    """A key as Qt writes it, what it does, and the section of the panel that takes it."""

    keys: str
    does: str
    section: str


_CASES, _SEEDS, _TUNE, _RESULTS = _("Cases"), _("SEED slices"), _("Fine-tune"), _("Results")

NEXT_CASE = Shortcut("N", _("save this case, open the next"), _CASES)
REVIEWED_CASE = Shortcut("Shift+N", _("save this case as reviewed, open the next"), _CASES)
# Slicer's main window has Ctrl with digits, its segment editor the digits alone and with Shift.
RATE = {n: Shortcut(f"Alt+{n}", _("rate this case {number}").format(number=n), _CASES) for n in RATINGS}
RATE[0] = Shortcut("Alt+0", _("take the rating back"), _CASES)
DOUBT_NEXT = Shortcut("D", _("next doubtful slice"), _RESULTS)
DOUBT_BACK = Shortcut("Shift+D", _("doubtful slice before"), _RESULTS)  # A ends an outline of the effect Draw
SLICE_IS_RIGHT = Shortcut("S", _("this whole slice is right; go to the next"), _SEEDS)
HOLD_TO_COMPARE = Shortcut("C", _("while held: the new result in place of the old one"), _TUNE)

ALL = (NEXT_CASE, REVIEWED_CASE, *RATE.values(), DOUBT_NEXT, DOUBT_BACK, SLICE_IS_RIGHT, HOLD_TO_COMPARE)


def withKeys(text: str, *shortcuts: Shortcut) -> str:
    """A tool tip with the keys of its control: "Save it. Key: N." or, of several, what each of them does."""
    if len(shortcuts) == 1:
        return str(_("{text} Key: {key}.").format(text=text, key=shortcuts[0].keys))
    keys = ", ".join(f"{each.keys}: {each.does}" for each in shortcuts)
    return str(_("{text} Keys: {keys}.").format(text=text, keys=keys))


def helpText() -> str:
    """The table of all keys as HTML, for the help of the module."""
    cells = [(each.keys, each.section, each.does) for each in ALL]
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in cells)
    hint = _("Keys work while their section is open, and not while you type.")
    return f"<p><b>{escape(_('Keys'))}</b></p><table cellpadding='3'>{rows}</table><p>{escape(hint)}</p>"
