"""A model's card as the panel shows it: Markdown without HTML and images, with https links only.

A card comes from an untrusted file, and Qt opens the files and hosts that a text names.
"""

import re
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from medtl.errors import ModelError
from medtl.model.card import STORED, ModelCard
from medtl.model.card_text import MAX_CHARACTERS, printable, safe_markdown
from medtl.model.files import read_text_file
from medtl.model.store import ModelEntry

PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def cardText(entry: ModelEntry) -> str:
    """The card of a model as Markdown that is safe to show: use, data, figures, licence."""
    if entry.card is None:
        return plainMarkdown(entry.problem)
    version = _("Version {version}.").format(version=entry.card.version)
    parts = (
        f"**{_('Research use, not for diagnosis.')}** {plainMarkdown(f'{version} {entry.card.description}')}",
        f"**{plainMarkdown(_('Terms of the weights: {terms}.').format(terms=entry.terms.summary))}**",
        *importedParts(entry.card),
        safe_markdown(textOf(entry.folder, "docs/README.md")),
        f"### {_('Licence of the weights')}",
        plainMarkdown(entry.terms.text) or _("not stated"),
    )
    return "\n\n".join(parts)


def importedParts(card: ModelCard) -> tuple[str, ...]:
    """What is known of a model that another program trained, as Markdown; empty for a model of MedTL's own."""
    about = card.imported
    if about is None:
        return ()
    origin = [str(about[key]) for key in ("from", "folder", "dataset") if about.get(key)]
    facts = (
        (_("From"), ", ".join(dict.fromkeys(origin)) or _("not stated")),
        (_("Channels"), ", ".join(card.input.channels)),
        (_("Orientation"), _orientationText(card)),
        (_("Labels"), f"{len(card.labels)}: " + ", ".join(label.name for label in card.labels)),
    )
    lines = "\n".join(f"- **{name}**: {plainMarkdown(text)}" for name, text in facts)
    return f"**{_('Imported, not validated by MedTL.')}**", lines


def _orientationText(card: ModelCard) -> str:
    if card.windows is None:
        return str(_("slices in the {plane} plane").format(plane=card.input.plane))
    if card.windows.orientation == STORED:
        return str(_("volumes are taken as their file stores them; one that lies otherwise is segmented worse"))
    return str(_("volumes are turned to {letters} first").format(letters=card.windows.orientation))


def plainMarkdown(text: str) -> str:
    """The text as Markdown that shows it as it is; paragraphs stay."""
    lines = printable(text, MAX_CHARACTERS).split("\n")
    return "\n".join(PUNCTUATION.sub(r"\\\1", line.strip()) for line in lines).strip()


def showCard(browser: Any, markdown: str) -> None:
    """Show the Markdown in a QTextBrowser; where it still has an image, as plain text."""
    document = qt.QTextDocument()  # never shown, so it opens no file
    document.setMarkdown(markdown)
    if "<img" in document.toHtml():
        browser.plainText = markdown
    else:
        browser.setMarkdown(markdown)  # not by way of HTML: Qt 5.15 makes whole list items bold then


def openLink(url: Any) -> None:
    """Open a link of a card in the web browser; links that are not https are not opened."""
    if url.scheme() == "https":
        qt.QDesktopServices.openUrl(url)


def textOf(folder: Path, name: str) -> str:
    """The text of a file of a bundle; empty where there is none that can be read."""
    try:
        return read_text_file(folder, name)
    except ModelError:
        return ""
