"""Passwords that everybody tries first (NIST SP 800-63B, section 5.1.1.2).

Common ones, sequences, one character again and again, the name of the service.

`common_passwords.txt` holds words rather than passwords, since most common passwords of eight characters are a word
that was made longer: `password1`, `P@ssw0rd!`, `dragon2024`, `iloveyou123`. So a password is looked at without case,
without what stands around its letters, and with the usual digits read as the letters that they stand for. Two words of
the list side by side (`princessdragon`) are not looked for, nor is a word inside a longer text: they can be good.
"""

import re
from functools import cache
from importlib.resources import files
from typing import Final

SERVICE: Final = frozenset({"rollcall"})
MAXIMUM_AROUND: Final = 6
"""Digits and punctuation around a word that make it no better: a date has six, `123456` too."""

# What people write for letters. 1 is read as i and as l.
_STANDS_FOR: Final = (str.maketrans("@4831!05$7+", "aabeiiosstt"), str.maketrans("@4831!05$7+", "aabeliosstt"))

# Rows of keyboards, along and across, and the alphabets; each is walked in both directions.
_ROWS: Final = (
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiop[]asdfghjkl;'zxcvbnm,./",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "йцукенгшщзхъфывапролджэячсмитьбю",
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
    "qazwsxedcrfvtgbyhnujmikolp",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
    "147258369147258369",
    "159357159357",
    "a1b2c3d4e5f6g7h8i9j0",
    "1a2b3c4d5e6f7g8h9i0j",
    "aabbccddeeffgghh",
    "112233445566778899",
    "abc123abc123abc123",
    "123abc123abc123abc",
    "123123123123123123",
    "123321123321123321",
    "!@#$%^&*()_+",
)
_RUNS: Final = tuple(run for row in _ROWS for run in (row, row[::-1]))

LONGEST: Final = 40
"""Characters. Nobody tries what is longer first, and looking at it would take its time."""
SHORTEST_RUN: Final = 3
"""Characters. A password that is made of runs of so many is a way over the keyboard."""


def is_common(password: str) -> bool:
    """Whether a password, after NFKC, is one that is tried first."""
    folded = password.casefold()
    if _repeats(folded):
        return True
    return len(folded) <= LONGEST and (_is_way(folded) or not _words().isdisjoint(_cores(folded)))


def _repeats(text: str) -> bool:
    """One character, or two in turn."""
    return len(set(text[::2])) == 1 and len(set(text[1::2])) == 1


def _is_way(text: str) -> bool:
    """Whether the text falls into runs of neighbours: `12345678`, `qwer1234`, `1q2w3e4r`, `asdfghjkl`."""
    start = 0
    while start < len(text):
        length = max(_run(text, start, run) for run in _RUNS)
        if length < SHORTEST_RUN:
            return False
        start += length
    return True


def _run(text: str, start: int, run: str) -> int:
    """How long the text goes along with a run from there."""
    length = 0
    while start + length < len(text) and text[start : start + length + 1] in run:
        length += 1
    return length


def _cores(text: str) -> set[str]:
    """The words that the text may be meant as."""
    # What stands at an end may be put there (`dragon2024!`) or stand for a letter (`@dmin`, `acce55`).
    right = re.sub(r"[\W\d_]+$", "", text)
    spellings = (text, text.rstrip("0123456789"), right, re.sub(r"^[\W\d_]+", "", right))
    near = [spelling for spelling in spellings if len(text) - len(spelling) <= MAXIMUM_AROUND]
    return {re.sub(r"[\W\d_]+", "", spelling.translate(letters)) for spelling in near for letters in _STANDS_FOR}


@cache
def _words() -> frozenset[str]:
    """The list, read once."""
    lines = (files("auth") / "common_passwords.txt").read_text().splitlines()
    return SERVICE | {word for line in lines if not line.startswith("#") for word in line.split()}
