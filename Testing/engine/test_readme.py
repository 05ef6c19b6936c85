"""The commands of the README, the page of the command line and the tutorial are commands that exist."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from medtl.commands.cli import build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = "\n".join(
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/command-line.md", "docs/tutorial.md")
)
OTHERS = {"pip", "py", "cd", "git", "python", "wsl", ".venv\\Scripts\\activate"}  # not ours to test


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES, re.MULTILINE | re.DOTALL)


def commands(first: str) -> list[list[str]]:
    """The commands of all blocks that begin with this word, split as the shell does."""
    text = "\n".join(blocks("sh")).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [words for words in lines if words and words[0] == first]


def verbs() -> dict[str, argparse.ArgumentParser]:
    actions = build_parser()._actions
    return dict(next(action.choices for action in actions if isinstance(action, argparse._SubParsersAction)))


def synopses() -> dict[str, str]:
    """The lines of the synopsis, by verb."""
    (text,) = [block for block in blocks("text") if block.startswith("medtl segment")]
    parts = re.split(r"(?:^|·)\s*medtl ([\w-]+)", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_readme_says_how_to_try_and_how_to_test():
    assert ["make", "demo"] in commands("make")
    assert ["make", "test"] in commands("make")


@pytest.mark.parametrize("command", commands("make"), ids=" ".join)
def test_a_make_command_has_a_target(command):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in command[1:] if "=" not in word]
    variables = [word.split("=")[0] for word in command[1:] if "=" in word]
    assert targets
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"make {target}"
    for variable in variables:
        assert re.search(rf"^{re.escape(variable)} \?=", makefile, re.MULTILINE), variable


@pytest.mark.parametrize("command", commands("medtl"), ids=" ".join)
def test_a_medtl_command_is_understood(command):
    try:
        build_parser().parse_args(command[1:])
    except SystemExit:
        pytest.fail(f"the documented {' '.join(command)} is refused")


def test_every_other_command_is_a_known_tool():
    text = "\n".join(blocks("sh") + blocks("bat")).replace("\\\n", " ")
    firsts = {line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith("#")}
    assert firsts - {"make", "medtl"} <= OTHERS


def test_the_synopsis_names_every_verb():
    assert set(synopses()) == set(verbs())


@pytest.mark.parametrize("verb", synopses())
def test_the_options_in_the_synopsis_exist(verb):
    known = {option for action in verbs()[verb]._actions for option in action.option_strings}
    assert set(re.findall(r"--[a-z][a-z-]*", synopses()[verb])) <= known
