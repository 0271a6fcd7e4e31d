"""The password policy: length, no common passwords, none of the user's own names."""

import unicodedata
from functools import partial

import pytest
from hypothesis import given, settings

from auth.password_policy import WeakPassword, check_password
from tests.auth.texts import any_text
from tests.work import calls


def check(password: str) -> None:
    check_password(password, username="john_smith", email="j.a.smith+list@example.com", name="Johnny Smith")


def refusal(password: str) -> str:
    with pytest.raises(WeakPassword) as caught:
        check(password)
    return str(caught.value)


@pytest.mark.parametrize(
    "password",
    [
        "nb7 4kq!",
        "xyz " * 256,
        "correct horse battery staple",
        "пароль-пароль",
        "🐎🔋📎🐎🔋📎🐎🔋",
        "john_smith's other password",
        "example.com",
    ],
)
def test_length_is_all_that_is_asked(password: str) -> None:
    """8 to 1,024 characters of any script and kind will do, and containing one's name is not being it."""
    check(password)


@pytest.mark.parametrize(
    "password",
    [
        "password",
        "Password1",
        "P@ssw0rd",
        "P@$$w0rd123!",
        "p a s s w o r d",
        "12345678",
        "87654321",
        "1234567890",
        "aaaaaaaa",
        "        ",
        "🐎" * 9,
        "x" * 1024,
        "1212121212",
        "qwertyuiop",
        "qwer1234",
        "1q2w3e4r",
        "1QAZ2wsx",
        "asdfghjkl;",
        "abcdefgh",
        "abcd1234",
        "йцукенгш",
        "iloveyou",
        "iloveyou123",
        "football1",
        "dragon2024!",
        "@dmin1234",
        "Rollcall2026",
        "ｐａｓｓｗｏｒｄ",
    ],
)
def test_what_is_tried_first_is_refused(password: str) -> None:
    """Common words in disguise, sequences, one repeated character, the service's name."""
    assert refusal(password).startswith("A password must not be a common one")


@pytest.mark.parametrize(
    "password",
    [
        "princess dragon",
        "my password is long",
        "football is what I play",
        "dragon71829364",
        "defghost",
        "Tr0ub4dor&3",
        "qwertz und mehr",
    ],
)
def test_a_password_that_holds_a_common_word_may_be_chosen(password: str) -> None:
    """Only the whole password is compared, without what stands around its letters."""
    check(password)


def test_a_password_of_a_thousand_characters_is_checked_in_few_steps() -> None:
    """Those that are made to cost most take no more than a few calls for each character."""
    for password in ("abc" * 341, "1" * 1000 + "a", "qwe" * 13, "!1" * 19 + "a"):
        assert calls(partial(is_refused, password)) < 30 * len(password)


def is_refused(password: str) -> bool:
    try:
        check(password)
    except WeakPassword:
        return True
    return False


@pytest.mark.parametrize("password", ["", "1234567", "🐎🔋📎🐎🔋📎🐎"])
def test_short_passwords_are_refused(password: str) -> None:
    """Seven code points are too few, however many bytes they take, and the message has both numbers."""
    assert refusal(password) == f"A password must have at least 8 characters; this one has {len(password)}."


def test_characters_are_counted_as_they_are_hashed() -> None:
    """Seven letters with separate accents are seven after NFKC, three ligatures are three before: too short."""
    assert "this one has 7" in refusal(unicodedata.normalize("NFD", "éééèèàà"))
    assert "this one has 3" in refusal("\ufb03" * 3)


def test_long_passwords_are_refused() -> None:
    """1,025 characters are too many, before NFKC or after it."""
    assert refusal("x" * 1025) == "A password must have at most 1,024 characters; this one has 1,025."
    assert "this one has 1,026" in refusal("\ufdfa" * 57)
    assert "this one has 1,026" in refusal("e\u0301" * 513)


@pytest.mark.parametrize(
    ("password", "kind"),
    [
        ("john_smith", "username"),
        ("John-Smith!", "username"),
        ("JOHN_SMITH", "username"),
        ("ｊｏｈｎ＿ｓｍｉｔｈ", "username"),  # full width, the same after NFKC
        ("j.a.smith+list@example.com", "email"),
        ("J.A.Smith+List@Example.com", "email"),
        ("J.A.Smith+List", "email without its domain"),
        ("johnny smith", "name"),
        ("JohnnySmith", "name"),
    ],
)
def test_ones_own_words_are_refused(password: str, kind: str) -> None:
    """A password that is one's username, email or name, in any case and punctuation, is refused."""
    assert refusal(password).startswith(f"A password must not be your {kind}:")


@pytest.mark.parametrize("own", ["", "j", "bob", "---"])
def test_very_short_words_are_not_looked_for(own: str) -> None:
    """Names of fewer than four letters and digits, or of none, rule nothing out."""
    check_password(own + "-=~" * 7, username=own, email=f"{own}@x", name=own)


def test_a_word_of_four_is_looked_for() -> None:
    """A name of four letters is refused when only punctuation is added."""
    with pytest.raises(WeakPassword, match="username"):
        check_password("anna!!!!", username="anna", email="a@example.com", name="A")


def test_half_surrogate_pairs_are_refused() -> None:
    """Text that no encoding can hold is refused with the place of the fault."""
    assert "position 9" in refusal("password\ud800")


@given(any_text)
@settings(deadline=None)
def test_any_text_is_accepted_or_refused(password: str) -> None:
    """Arbitrary text raises WeakPassword or nothing."""
    assert is_refused(password) in {True, False}
