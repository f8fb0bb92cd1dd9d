"""Escaping of untrusted strings for display, one function per output format.

Names of classes, files and strategies from runs or data sets may hold any character. Always show them through these
functions:

=======================  ==============================================================
:func:`encodable`        files, ids and messages: whatever is written in UTF-8
:func:`printable`        terminals and logs
:func:`rich_text`        tables and progress bars of rich
:func:`html_text`        HTML, as text and within attributes
:func:`figure_text`      matplotlib
:func:`markdown_text`    Markdown
:func:`markdown_code`    code within a line of Markdown; :func:`markdown_block` for several lines
:func:`tag_name`         tags and folders of TensorBoard
=======================  ==============================================================
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

# Invisible characters that some languages need: joiners, and Arabic and Syriac signs, which are visible.
_NEEDED = {*"\u200c\u200d\u06dd\u070f\u08e2", *map(chr, range(0x600, 0x606))}
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls (ESC among them), direction overrides, lone surrogates, line ends
_MARKDOWN = re.compile(r"[\\`*\[\]~$]|(?<!\w)_|_(?!\w)")
_LONGEST_LABEL = 60  # maximum number of characters of a label in a figure


def encodable(text: str) -> str:
    r"""Return text that can be encoded as UTF-8: bytes that are not UTF-8 are escaped, the rest is unchanged.

    Python represents such bytes of file names as lone surrogates.

    >>> encodable("caf\udce9.wav"), encodable("café.wav")
    ('caf\\udce9.wav', 'café.wav')
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: object, *, lines: bool = False, longest: int | None = None) -> str:
    """Escape control and other invisible characters, for a terminal or a log.

    Args:
        text: text to show.
        lines: keep line feeds and tabs.
        longest: maximum number of characters; longer texts are shortened in the middle.

    >>> print(printable("a\\x1b[31m\\n\\u202eb"), printable("पानी"), printable("x" * 99, longest=9))
    a\\x1b[31m\\n\\u202eb पानी xxxx…xxxx
    """
    shown = str(text)
    if longest is not None and len(shown) > longest:
        shown = f"{shown[: longest // 2]}…{shown[len(shown) - (longest - 1) // 2 :]}"
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(each if _is_plain(each, lines) else _escaped(each) for each in shown)


def _is_plain(character: str, lines: bool) -> bool:
    if character in "\n\t":
        return lines
    return character in _NEEDED or unicodedata.category(character) not in _HIDDEN


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def rich_text(text: object, style: str = "", *, longest: int | None = 200) -> Text:
    """Return text for rich that is not parsed as markup.

    >>> rich_text("[bold]on[/]").plain
    '[bold]on[/]'
    """
    from rich.text import Text

    return Text(printable(text, longest=longest), style)


def rich_lines(lines: Iterable[object]) -> Text:
    """Return lines of text for rich, each as by :func:`rich_text`.

    >>> rich_lines(["average", "accuracy"]).plain
    'average\\naccuracy'
    """
    from rich.text import Text

    return Text("\n").join(map(rich_text, lines))


def html_text(text: object) -> str:
    """Escape text for HTML, between tags and within the quotes of an attribute.

    >>> html_text('"><script>')
    '&quot;&gt;&lt;script&gt;'
    """
    return escape(printable(text, lines=True), quote=True)


def figure_text(text: object, longest: int = _LONGEST_LABEL) -> str:
    """Escape a label for matplotlib, which parses dollars as formulas and hides labels that start with an underscore.

    >>> figure_text("$x_1$"), figure_text("_on"), figure_text("")
    ('\\\\$x_1\\\\$', ' _on', '(no name)')
    """
    shown = printable(text, longest=longest).replace("$", r"\$") or "(no name)"
    return f" {shown}" if shown.startswith("_") else shown


def markdown_text(text: object) -> str:
    """Escape text for a line of Markdown, except pipes, which :func:`~mmcl.reports.tables.markdown_table` escapes.

    >>> print(markdown_text("<b>*on*</b> turn_off"))
    &lt;b&gt;\\*on\\*&lt;/b&gt; turn_off
    """
    return _MARKDOWN.sub(r"\\\g<0>", escape(printable(text), quote=False))


def markdown_code(text: object) -> str:
    """Return text as inline code in Markdown, safe inside tables.

    >>> print(markdown_code("a`b"))
    `` a`b ``
    """
    shown = printable(text).replace(r"\|", r"\ |")  # would end the table cell
    fence = _fence(shown, 1)
    space = " " if not shown.strip() or "`" in shown else ""
    return f"{fence}{space}{shown}{space}{fence}"


def markdown_block(text: str, language: str = "") -> str:
    """Return lines as a fenced code block in Markdown.

    >>> print(markdown_block("rate: 1", "yaml"))
    ```yaml
    rate: 1
    ```
    """
    shown = printable(text, lines=True).strip("\n")
    fence = _fence(shown, 3)
    return f"{fence}{language}\n{shown}\n{fence}"


def _fence(text: str, shortest: int) -> str:
    longest = max(map(len, re.findall("`+", text)), default=0)
    return "`" * max(shortest, longest + 1 if longest else shortest)


def tag_name(text: object) -> str:
    """Replace characters that are not safe in a tag or the name of a folder.

    >>> tag_name("replay-seed0"), tag_name("../on | off")
    ('replay-seed0', '_._on _ off')
    """
    shown = re.sub(r"[^\w +=,%().'@-]", "_", str(text), flags=re.ASCII)[:100]
    return re.sub(r"^\.|\.(?=\.)", "_", shown) or "_"
