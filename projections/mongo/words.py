"""The words of texts, for full text search. Stored texts and searched texts are split by this module alone.

A word is a run of letters, marks, digits and underscores. Two words are the same without regard to

- case, as Unicode folds it;
- accents, the points of Hebrew and the harakat of Arabic, which most people leave out;
- strokes and hooks of Latin letters, ligatures and compatibility forms: Łódź is lodz, Ærø is aero.

Vowel signs, viramas and tone marks of other scripts belong to the spelling and stay. Neither `\\w` nor a text index of
MongoDB does this: `\\w` ends a word at a vowel sign, and MongoDB splits and folds words by rules of its own, so that a
word of one is not always a word of the other.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

ASCII_WORD: Final = re.compile(r"[a-z0-9_]+")
LATIN_WITH_STROKE: Final = re.compile(r"LATIN SMALL LETTER ([A-Z]{1,2}) WITH ")
LATIN: Final = {"æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ı": "i", "ŋ": "n", "ĸ": "k"}  # noqa: RUF001
"""Latin letters that have no decomposition in Unicode."""
INVISIBLE: Final = frozenset(
    {0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10)}
    | {*range(0xE0100, 0xE01F0)}
)
"""Letters and marks that show nothing of their own, such as variation selectors (Default_Ignorable_Code_Point)."""
POINTS: Final = range(10, 36)
"""Combining classes of the points of Hebrew, the harakat of Arabic and the points of Syriac."""
ACCENTS: Final = 200
"""Least combining class of marks that are placed by position, as accents are."""


def words_of(texts: Iterable[str]) -> set[str]:
    """The distinct words in texts, folded."""
    text = "\n".join(texts).casefold()
    if text.isascii():  # most texts are, and the rest is most of the cost of making a document
        return set(ASCII_WORD.findall(text))
    # Decomposed before the case is folded, because marks have case too, and after it, because folding composes some.
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return set(unicodedata.normalize("NFC", "".join(map(_folded, folded))).split())


@lru_cache(maxsize=4_096)
def _folded(character: str) -> str:
    """What a decomposed character contributes to a word; a space if it ends the word."""
    category = unicodedata.category(character)
    if category == "Cf" or ord(character) in INVISIBLE:
        return ""
    if category[0] == "M":
        combining = unicodedata.combining(character)
        return "" if combining in POINTS or combining >= ACCENTS else character
    if category[0] not in "LN" and character != "_":
        return " "
    if character in LATIN:
        return LATIN[character]
    stroked = LATIN_WITH_STROKE.match(unicodedata.name(character, ""))
    return stroked[1].lower() if stroked else character
