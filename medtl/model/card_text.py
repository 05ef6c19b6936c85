"""The card for people, made safe to show: a text from an unknown bundle opens no file and contacts no host."""

import re
import unicodedata

MAX_CHARACTERS = 40_000
MAX_LINES = 1_000
MAX_COLUMNS = 64  # of a table
SHORTENED = "… (shortened)"

_COMMENT = re.compile(r"<!--[^<>]*-->")
_LINK = re.compile(r"""\[([^][\n]*)]\((https://[\w.~:/?#@!$&'*+,;=%-]+)(?:[ ]"[^"\n]*")?\)""", re.ASCII)
_NESTED = re.compile(r"^[ \t]*(?:(?:[>*+-]|\d{1,9}[.)])[ \t]*){9,}", re.MULTILINE)
_OTHER_SCHEME = re.compile(r"(?<!https):(?=//)", re.IGNORECASE)


def safe_markdown(text: str) -> str:
    """The Markdown without images, raw HTML and links other than https; bounded in length.

    Raw HTML is shown as the characters it is made of. Link targets that are not kept are shown as text.
    """
    text = _COMMENT.sub("", printable(text, MAX_CHARACTERS))
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], SHORTENED]
    text = "\n".join(line.replace("|", r"\|") if line.count("|") > MAX_COLUMNS else line for line in lines)
    text = _NESTED.sub(lambda match: match[0][:8], text)
    text = re.sub(r"!+\[", "[", text.replace("<", "&lt;"))
    kept, start = [], 0
    for link in _LINK.finditer(text):
        kept += [_without_links(text[start : link.start()]), f"[{_without_links(link[1])}]({link[2]})"]
        start = link.end()
    return "".join([*kept, _without_links(text[start:])])


def _without_links(text: str) -> str:
    """The Markdown with every link broken: inline, by reference, and those that viewers make of bare addresses.

    A colon, a dot or an at sign that is written as an entity looks the same and makes no link.
    """
    text = text.replace("](", "] (").replace("][", "] [").replace("]:", "]&#58;").replace("@", "&#64;")
    return _OTHER_SCHEME.sub("&#58;", re.sub(r"(?i)(www)\.", r"\1&#46;", text))


def printable(text: str, limit: int) -> str:
    """The text without control characters, bidirectional overrides and other invisible ones, `limit` characters at
    most. Line breaks and tabs stay."""
    text = text[: limit + 1].replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    text = "".join(c for c in text if c in "\n\t" or not is_invisible(c))
    return text if len(text) <= limit else text[:limit] + SHORTENED


def escape_invisible(text: str) -> str:
    """The text with an escape such as "\\n" in place of each invisible character."""
    return "".join(ascii(c)[1:-1] if is_invisible(c) else c for c in text)


def is_invisible(character: str) -> bool:
    """True for control characters, format characters such as bidirectional overrides, and surrogates; False for the
    joiners that several scripts need."""
    joiners = ("\u200c", "\u200d")
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and character not in joiners
