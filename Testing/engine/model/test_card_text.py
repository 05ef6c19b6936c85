"""A stranger's card text is shown as text: no image, no HTML, no link but https."""

import re
import time

import pytest
from conftest import ROOT

from medtl.model.card_text import MAX_CHARACTERS, MAX_LINES, printable, safe_markdown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("![a](//host/share/x.png)", "[a] (//host/share/x.png)"),
        ("![a](https://host/x.png)", "[a](https://host/x.png)"),
        ("!![a][b]", "[a] [b]"),
        ("[b]: file:///etc/passwd", "[b]&#58; file&#58;///etc/passwd"),
        ("[run](file:///bin/sh)", "[run] (file&#58;///bin/sh)"),
        ("[a](javascript:alert)", "[a] (javascript:alert)"),
        ("[a [b](https://good.org/c) d](file:x)", "[a [b](https://good.org/c) d] (file:x)"),
        ("[b](<file:///x>)", "[b] (&lt;file&#58;///x>)"),
        ('<img src="file:///etc/hostname"/>', '&lt;img src="file&#58;///etc/hostname"/>'),
        ("<https://host>", "&lt;https://host>"),
        ("http://host -http://host HTTPS://host", "http&#58;//host -http&#58;//host HTTPS://host"),
        ("www.host.org a@host.org", "www&#46;host.org a&#64;host.org"),
        ("a <!-- figures --> b", "a  b"),
        ("a\u202eb\x1b[31mc\0d\ufeff\ud800", "ab[31mcd"),
        ("a\r\nb\u2028c", "a\nb\nc"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_what_could_open_a_file_or_reach_a_host_is_text(text, shown):
    assert safe_markdown(text) == shown


@pytest.mark.parametrize("path", sorted((ROOT / "Resources" / "Models").glob("*/docs/README.md")), ids=str)
def test_the_cards_that_come_with_medtl_stay_as_they_are(path):
    text = path.read_text(encoding="utf-8")
    assert safe_markdown(text) == re.sub("<!--.*?-->", "", text)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 10**6,
        "<!--" * 10**5,
        "[" * 10**6,
        "![" * 10**5,
        ">" * 10**6,
        "|a" * 10**5,
        "- 1. > " * 10**5,
        "a\n" * 10**6,
    ],
    ids=lambda text: text[:4],
)
def test_a_text_of_any_length_is_bounded_at_once(text):
    start = time.monotonic()
    shown = safe_markdown(text)
    assert time.monotonic() - start < 2
    assert shown.count("\n") <= MAX_LINES
    assert len(shown) <= 6 * MAX_CHARACTERS
    assert "shortened" in shown


@pytest.mark.parametrize("text", [">" * 5000 + "a", "- " * 5000 + "a", "1. " * 5000 + "a", " > - 1) * + " * 400 + "a"])
def test_lists_and_quotes_are_not_nested_without_end(text):
    assert safe_markdown(text).endswith("a")
    assert len(safe_markdown(text)) < 20


def test_a_table_of_thousands_of_columns_is_no_table():
    line = "|a" * 3000 + "|"
    assert re.search(r"(?<!\\)\|", safe_markdown(f"{line}\n{line}")) is None


def test_a_line_of_text_is_cut_and_says_so():
    assert printable("abcd", 3) == "abc… (shortened)"
    assert printable("abc\x07", 3) == "abc"
    assert printable("abc", 3) == "abc"


def test_an_address_is_no_link_whatever_stands_before_it():
    assert safe_markdown("_www.x.y_ awww.x.y") == "_www&#46;x.y_ awww&#46;x.y"
