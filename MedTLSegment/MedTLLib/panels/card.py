"""A model's card as the panel shows it: Markdown without HTML and images, links to the web alone.

A card comes from a file that somebody else wrote, and Qt opens files and hosts that a text names.
"""

import re
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.model.store import Found

PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def cardText(found: Found) -> str:
    """The card of a model as Markdown that is safe to show: use, data, figures, licence."""
    if found.card is None:
        return plainMarkdown(found.problem)
    version = _("Version {version}.").format(version=found.card.version)
    parts = (
        f"**{_('Research use, not for diagnosis.')}** {plainMarkdown(f'{version} {found.card.description}')}",
        cleanMarkdown(textOf(found.folder / "docs" / "README.md")),
        f"### {_('Licence of the weights')}",
        plainMarkdown(textOf(found.folder / "LICENSE")) or _("not stated"),
    )
    return "\n\n".join(parts)


def cleanMarkdown(text: str) -> str:
    """The Markdown with HTML as plain text, images as links, and links to other places than https as plain text."""
    text = text.replace("<", "&lt;")
    text = re.sub(r"!+\[", "[", text)
    return re.sub(r"\](\(|:)(?!\s*https://)", r"] \1", text)


def plainMarkdown(text: str) -> str:
    """The text as Markdown that shows it letter by letter; paragraphs stay."""
    lines = (PUNCTUATION.sub(r"\\\1", line.strip()) for line in text.splitlines())
    return "\n".join(lines).strip()


def showCard(browser: Any, markdown: str) -> None:
    """Show the Markdown in a QTextBrowser; where it still has an image, as the text that it is."""
    document = qt.QTextDocument()  # never shown, so it opens nothing
    document.setMarkdown(markdown)
    if "<img" in document.toHtml():
        browser.plainText = markdown
    else:
        browser.setMarkdown(markdown)  # not by way of HTML: Qt 5.15 makes whole list items bold then


def openLink(url: Any) -> None:
    """Open a link of a card in the web browser; of other schemes than https nothing is opened."""
    if url.scheme() == "https":
        qt.QDesktopServices.openUrl(url)


def textOf(path: Path) -> str:
    """The text of a file; empty where there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
