"""The words of a text are the same however it is written: one function splits what is stored and what is asked."""

import sys
import unicodedata
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.mongo.words import words_of

ASSIGNED: Final = [
    character
    for character in map(chr, range(sys.maxunicode + 1))
    if unicodedata.category(character) not in ("Cn", "Co")
]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ann O'Hara-Smith, 2nd", "ann o hara smith 2nd"),
        ("ann_lee@example.com", "ann_lee example com"),
        ("\u0130brahim I\u0307brahim \u0131brah\u0131m", "ibrahim"),
        ("\u0110\u1eb7ng \u0141\u00f3d\u017a \u00d8rsted Stra\u00dfe \u00c6r\u00f8", "dang lodz orsted strasse aero"),
        ("\u0253ala \u0199arfi \u0127obz", "bala karfi hobz"),
        ("\u0917\u0940\u0924\u093e \u0936\u0930\u094d\u092e", "\u0917\u0940\u0924\u093e \u0936\u0930\u094d\u092e"),
        ("\u0ba4\u0bae\u0bbf\u0bb4\u0bcd", "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd"),
        ("\u0e02\u0e49\u0e32\u0e27", "\u0e02\u0e49\u0e32\u0e27"),
        ("\u304c\u304b", "\u304c\u304b"),
        ("\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", "\u05e9\u05dc\u05d5\u05dd"),
        ("\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f", "\u0645\u062d\u0645\u062f"),
        ("\u0928\u0947\u092a\u093e\u200d\u0932\u0940", "\u0928\u0947\u092a\u093e\u0932\u0940"),
        ("\u845b\U000e0100\u57ce", "\u845b\u57ce"),
        ("\ud55c\uae00 \u1112\u1161\u11ab\u1100\u1173\u11af", "\ud55c\uae00"),
        ("\u2116 \ufb03 \u2460", "no ffi 1"),
        ("\U0001f389 \u2764\ufe0f \u200d\u202e \x00 -", ""),
    ],
)  # fmt: skip
def test_a_text_has_these_words(text: str, words: str) -> None:
    """Folded by case, accents, strokes and compatibility; with the vowel signs and tone marks of other scripts."""
    assert words_of([text]) == set(words.split())


def test_a_word_is_a_word_of_itself() -> None:
    """Every character of Unicode: folding what is folded changes nothing."""
    for character in ASSIGNED:
        words = words_of([character])
        assert words_of(words) == words, ascii(character)


@given(st.text(st.characters(exclude_categories=["Cs", "Cn"])))
def test_words_do_not_depend_on_the_form_of_the_text(text: str) -> None:
    """Canonically equivalent texts have the same words."""
    words = words_of([text])

    for form in ("NFC", "NFD"):
        assert words_of([unicodedata.normalize(form, text)]) == words


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cn"]))))
def test_the_words_of_texts_are_those_of_each(texts: list[str]) -> None:
    """Also of each part between two spaces, so each word of a name finds the user."""
    assert words_of(texts) == {word for text in texts for word in words_of([text])}
    for text in texts:
        assert words_of([text]) == {word for part in text.split() for word in words_of([part])}
