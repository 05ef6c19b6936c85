"""The pages for users name what the panels have: each name in italics is a text of a panel, or one of Slicer's."""

import ast
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("MedTLSegment", "MedTLClassify")
OF_SLICER = {
    *("Additional module paths", "Application Settings", "Completed", "DICOM", "Edit", "Extensions Manager", "Modules"),
    *("MRBrainTumor1", "MedTL Classify", "MedTL Segment", "Paint", "PyTorch", "Save", "Vector to Scalar Volume"),
}
OF_OTHERS = {"MONAI Label", "Raidionics", "SlicerNNUnet", "TotalSegmentator", "nnInteractive"}
TITLES = {"Magnetic Resonance Imaging"}  # of journals


def panel_texts() -> set[str]:
    """All texts of the panels: those of the forms, and those that the code translates."""
    found: set[str] = set()
    for module in MODULES:
        for form in (ROOT / module).rglob("*.ui"):
            found |= {each.text for each in ET.parse(form).iter("string") if each.text}
        for path in (ROOT / module).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_":
                    found |= {each.value for each in node.args if isinstance(each, ast.Constant)}
    return {plain(text) for text in found}


def plain(text: str) -> str:
    """A text without the marks of keys, colons and dots that a sentence leaves out."""
    return text.replace("&", "").rstrip(":….").strip()


def named(page: Path, bold: bool) -> set[str]:
    """What stands in italics, and in bold where that is asked for; a path of menus counts as its parts."""
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = set(re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", text))
    if bold:
        found |= set(re.findall(r"\*\*([^*\n]+)\*\*", text))
    return {plain(part) for name in found for part in name.split("›")}


def is_called(text: str, name: str) -> bool:
    """Whether a page may call a text of a panel so: by all of it, or by its first words."""
    return re.match(rf"{re.escape(name)}(?!\w)", text) is not None


@pytest.mark.parametrize(
    ("page", "bold", "words"),
    [
        ("README.md", False, set()),
        ("docs/user-guide.md", False, {"usual", "Z", "Fine-tune for 20 min", "Fine-tune for … min"}),
        # In bold: keys, and what is to be stressed.
        ("docs/tutorial.md", True, {"C", "S", "Check it", "whole", "Fine-tune (1 min)"}),
    ],
)
def test_each_name_on_a_page_is_in_a_panel(page, bold, words):
    names = named(ROOT / page, bold)
    assert len(names) > 10
    texts = panel_texts()
    unknown = names - OF_SLICER - OF_OTHERS - TITLES - words
    assert [name for name in unknown if not any(is_called(text, name) for text in texts)] == []
    assert words <= names, "words that the page no longer has"
