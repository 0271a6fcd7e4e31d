"""The password policy: which passwords a user may choose (NIST SP 800-63B, revision 3, section 5.1.1.2).

A minimum length and no rules about kinds of characters, any Unicode, NFKC before hashing, each code point one
character, never truncated, no common password and none of the user's own names.
"""

import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Final

MINIMUM_PASSWORD_LENGTH: Final = 8
MAXIMUM_PASSWORD_LENGTH: Final = 1024
"""Code points. The standard requires at least 64. There is a limit because NFKC takes quadratic time on some texts."""

SHORTEST_OWN_WORD: Final = 4
"""Letters and digits. Shorter names of the user are not compared."""


class WeakPassword(ValueError):
    """A password may not be chosen. The message is meant for the person and never holds the password."""


def normalised(password: str) -> str:
    """The form of a password that is checked and hashed."""
    return unicodedata.normalize("NFKC", password)


def check_password(password: str, *, username: str, email: str, name: str) -> None:
    """Return if the user may choose this password.

    The user's own username, email and name are compared without case, spaces and punctuation, and as a whole, since a
    password that merely contains a name can be a good one.

    Raises:
        WeakPassword: too short or too long as typed or after NFKC, invalid Unicode, common, or the user's own name.
    """
    _check_length(password)
    try:
        password.encode()
    except UnicodeEncodeError as error:
        raise WeakPassword(
            f"A password must be valid Unicode; the character at position {error.start + 1} is half of a pair."
        ) from None
    _check_length(normalised(password))
    if is_common(normalised(password)):
        raise WeakPassword("A password must not be a common one: this one is among the first that are tried.")
    chosen = _letters_and_digits(password)
    own_words = {
        "username": username,
        "email": email,
        "email without its domain": email.partition("@")[0],
        "name": name,
    }
    for kind, own in own_words.items():
        if chosen == _letters_and_digits(own) and len(chosen) >= SHORTEST_OWN_WORD:
            raise WeakPassword(f"A password must not be your {kind}: choose something that only you know.")


def _check_length(password: str) -> None:
    if len(password) < MINIMUM_PASSWORD_LENGTH:
        raise WeakPassword(
            f"A password must have at least {MINIMUM_PASSWORD_LENGTH} characters; this one has {len(password)}."
        )
    if len(password) > MAXIMUM_PASSWORD_LENGTH:
        raise WeakPassword(
            f"A password must have at most {MAXIMUM_PASSWORD_LENGTH:,} characters; this one has {len(password):,}."
        )


def _letters_and_digits(text: str) -> str:
    return "".join(filter(str.isalnum, normalised(text).casefold()))


# Common passwords. `common_passwords.txt` holds words, since most common passwords of eight characters are a word made
# longer: `password1`, `P@ssw0rd!`, `dragon2024`. So a password is compared without case, without what stands around its
# letters, and with the usual digits read as letters. Two words in a row (`princessdragon`) and a word inside a longer
# text can be good passwords and are not matched.

SERVICE: Final = frozenset({"rollcall"})
LONGEST_COMMON: Final = 40
"""Characters. Attackers do not try longer ones first, and the search below would take its time on them."""
MAXIMUM_AROUND: Final = 6
"""Digits and punctuation around a word that make it no better: a date has six, and so has `123456`."""
SHORTEST_RUN: Final = 3
"""Characters. A password made of runs of this length walks over the keyboard."""

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


def is_common(password: str) -> bool:
    """Whether a password, after NFKC, is among the first that attackers try."""
    folded = password.casefold()
    if len(set(folded[::2])) == 1 and len(set(folded[1::2])) == 1:  # one character, or two alternating
        return True
    return len(folded) <= LONGEST_COMMON and (_is_made_of_runs(folded) or not _words().isdisjoint(_meant(folded)))


def _is_made_of_runs(text: str) -> bool:
    """Whether the text falls into runs of neighbours: `12345678`, `qwer1234`, `1q2w3e4r`, `asdfghjkl`."""
    start = 0
    while start < len(text):
        end = start + SHORTEST_RUN
        if end > len(text) or not (runs := [run for run in _RUNS if text[start:end] in run]):
            return False
        while end < len(text) and any(text[start : end + 1] in run for run in runs):
            end += 1
        start = end
    return True


def _meant(text: str) -> set[str]:
    """The words that the text may be meant as."""
    # What stands at an end may be added to a word (`dragon2024!`) or stand for a letter (`@dmin`, `acce55`).
    right = re.sub(r"[\W\d_]+$", "", text)
    spellings = (text, text.rstrip("0123456789"), right, re.sub(r"^[\W\d_]+", "", right))
    near = [spelling for spelling in spellings if len(text) - len(spelling) <= MAXIMUM_AROUND]
    return {re.sub(r"[\W\d_]+", "", spelling.translate(letters)) for spelling in near for letters in _STANDS_FOR}


@cache
def _words() -> frozenset[str]:
    lines = (files("auth") / "common_passwords.txt").read_text().splitlines()
    return SERVICE | {word for line in lines if not line.startswith("#") for word in line.split()}
