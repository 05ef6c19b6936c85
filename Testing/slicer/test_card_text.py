"""Qt's own reader of Markdown finds nothing to fetch in a card that was made safe."""

import re

import pytest
from PySide6.QtGui import QTextDocument

from medtl.model.card_text import safe_markdown


class Document(QTextDocument):
    """A text that remembers what it was asked to fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def loadResource(self, kind, url):  # noqa: N802
        self.fetched.append(url.toString())


EVIL = [
    "hello ![a](//attacker/share/x.png) <img src='file:///etc/hostname'/> [run](file:///bin/sh)",
    "![a]\n\n[a]: file:///x.png",
    "![a][b]\n\n[b]:\n  <file:///x.png>",
    "!\\![a](file:///x.png) \\![a](file:///x.png) !\u200b[a](file:///x.png)",
    "[![a](file:///x.png)](file:///y)",
    "[a\n](file:///x) [a](\nfile:///x) [a]\\(file:///x)",
    "<file:///x> <a href=file:///x>x</a> <style>@import 'file:///x'</style> &lt;img src=file:///x&gt;",
    "&#60;img src='file:///x'&#62; http://x.org ftp://x.org www.x.org a@x.org -http://x.org/_http://x.org",
    "| ![a](file:///x) | <img src=x> |\n| --- | --- |\n| [a](file:///x) | http://x.org |",
    "`` ` ``![a](file:///x)` [a](https://ok.org`)[b](file:///x)",
    "[a](https://ok.org/x)](file:///y) [b][a](https://ok.org)[c]: file:///y",
    "    <img src=x>\n\n```html\n<img src=x>\n```\n- ![a](x.png)\n> ![b](y.png)",
]


@pytest.mark.parametrize("text", EVIL)
def test_no_file_and_no_host_is_asked_and_only_https_can_be_clicked(text):
    document = Document()
    document.setMarkdown(safe_markdown(text))
    html = document.toHtml()
    document.setHtml(html)
    document.documentLayout().documentSize()
    assert document.fetched == []
    assert "<img" not in html
    assert all(url.startswith("https://") for url in re.findall(r'href="([^"]*)"', html))
    assert "<style>@" not in html
