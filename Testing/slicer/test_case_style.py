"""Names are in camelCase where Slicer asks for it, in snake_case elsewhere, and no file has both."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(file for module in ("MedTLSegment", "MedTLClassify") for file in (ROOT / module).rglob("*.py"))
SNAKE, CAMEL = re.compile(r"_*[a-z\d]+(_[a-z\d]+)+"), re.compile(r"_*[a-z\d]+[A-Z]\w*")


def own_names(tree: ast.AST) -> Iterator[str]:
    """The names that a file gives itself; those imported, and attributes of widgets, are others' choice."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.alias(asname=str(name)) | ast.Attribute(ast.Name("self"), attr=name, ctx=ast.Store()):
                yield name


def both_styles(source: str) -> tuple[set[str], set[str]]:
    names = set(own_names(ast.parse(source)))
    return {name for name in names if SNAKE.fullmatch(name)}, {name for name in names if CAMEL.fullmatch(name)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_file_mixes_case_styles(file: Path) -> None:
    snake, camel = both_styles(file.read_text(encoding="utf-8"))
    assert not (snake and camel), f"{sorted(snake)} beside {sorted(camel)}"


def test_both_styles_in_one_file_are_seen() -> None:
    assert both_styles("import a as b_c\ndef onClick(self): self.toolTip = d.wordWrap = 1") == (
        {"b_c"},
        {"onClick", "toolTip"},
    )
