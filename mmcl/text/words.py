"""Normalization of text in any language: Unicode composition, case folding and word splitting.

Text of English comes out as ``str.lower`` and ``\\w`` would have it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Formatting characters that are not spoken: soft hyphen, word joiner, byte order mark, writing directions, and
# variation selectors.
_UNSEEN = re.compile("[\u00ad\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef]")
_DOTTED = "i\N{COMBINING DOT ABOVE}"  # the Turkish capital dotted i after case folding


def composed(text: str) -> str:
    """Return a text in Unicode's normal form C, where an accent is part of its letter.

    >>> composed("cafe\\u0301") == "caf\\u00e9"
    True
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def tidy(text: str) -> str:
    """Return a text in normal form C with single spaces.

    >>> tidy("  turn\\u00a0the  light on ")
    'turn the light on'
    """
    return " ".join(composed(text).split())


def visible(text: str) -> str:
    """Return a tidy text without invisible characters, for comparing names.

    >>> visible("light\\u200b on\\ufeff"), visible("\\u200b")
    ('light on', '')
    """
    return tidy(text if text.isascii() else _UNSEEN.sub("", text).replace("\u200b", ""))


def folded(text: str) -> str:
    """Return a case-folded text in normal form C without invisible characters.

    Folding changes more than lower case: ``ß`` becomes ``ss``, and final sigma becomes sigma. The Turkish ``İ`` becomes
    ``i``. ``I`` becomes ``i`` too, which is wrong for Turkish.

    >>> folded("Turn ON"), folded("STRASSE") == folded("Straße"), folded("İstanbul")
    ('turn on', True, 'istanbul')
    """
    if text.isascii():
        return text.lower()
    plain = _UNSEEN.sub("", composed(text))
    return composed(composed(plain.casefold()).replace(_DOTTED, "i"))


def spoken_words(text: str) -> list[str]:
    """Return the words of a folded text: letters and digits with their marks and joiners, and inner apostrophes.

    >>> spoken_words("what's 'at&t' worth_it"), spoken_words("दिन, เสื้อ") == ["दिन", "เสื้อ"]
    (["what's", 'at', 't', 'worth', 'it'], True)
    """
    return _patterns()[0].findall(text)


def written_words(text: str) -> list[str]:
    """Return the words of a folded text with underscores and all apostrophes, like ``[\\w']+`` for English.

    >>> written_words("'tis worth_it!")
    ["'tis", 'worth_it']
    """
    return _patterns()[1].findall(text)


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    r"""Return the patterns of words; ``\w`` lacks combining marks, so these are collected on first use."""
    marks = [
        character
        for number in range(0x300, 0x20000)  # beyond, there are only variation selectors
        if unicodedata.category(character := chr(number)) in ("Mn", "Mc")
    ]
    joined = rf"[{''.join(marks)}\u200d]|\u200c(?=\w)"  # a zero-width non-joiner is only inside a word, not at its end
    word = rf"[^\W_](?:[^\W_]|{joined})*"
    return re.compile(rf"{word}(?:'{word})*"), re.compile(rf"(?:[\w'](?:{joined})*)+")
