"""Bad input gets a clear error that names the field; good input of every script goes in as it is."""

import pytest
from email_validator import validate_email
from hypothesis import assume, example, given
from hypothesis import strategies as st

from events import rules
from events.errors import Rejected
from events.event_types import JSON


def nested(levels: int) -> JSON:
    """An object of so many levels."""
    value: JSON = "x"
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "1 to 64 characters"),
        ("x" * 300, "this one has 300"),
        ("a\x00b", "control characters"),
        ("a\nb", "control characters"),
        ("two words", "spaces"),
        ("😀", "emoji; the name can"),
        ("bob@example.com", "must not contain @"),
        ("\ud800", "cannot contain"),
        ("1مر", "right-to-left"),
        ("\u202eabc", "cannot contain"),
    ],
)
def test_a_username_that_cannot_be_one_is_refused(value: str, message: str) -> None:
    """The message says what a username is, and the field is named."""
    with pytest.raises(Rejected, match=message) as refused:
        rules.clean_username(value)

    assert refused.value.problems[0].field == ("username",)


@pytest.mark.parametrize("value", ["alice", "Álvaro", "مرحبا", "שלום", "李雷", "user.name-1_x", "x" * 64, "o'neil"])
def test_usernames_of_every_script_go_in_as_they_are(value: str) -> None:
    """Letters and digits of any script."""
    assert rules.clean_username(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "no-at-sign", "@example.com", "a@", "a@b", "a b@example.com", "a@exa mple.com", "a@@b.com", "",
        "x" * 250 + "@a.b",
        "a\x00@example.com", "\ud800@example.com", "a@example.com\nBcc: x@example.com",
    ],
)  # fmt: skip
def test_an_email_that_cannot_be_one_is_refused(value: str) -> None:
    """With the field named, whatever is in it."""
    with pytest.raises(Rejected) as refused:
        rules.clean_email(value)

    assert refused.value.problems[0].field == ("email",)


@pytest.mark.parametrize("value", ["a@b.co", "x@corp.local", "x@y.test", "用户@例子.广告", "a+b@example.com"])
def test_an_email_of_any_domain_goes_in(value: str) -> None:
    """Whether mail arrives there is not for a user store to say."""
    assert rules.clean_email(value) == value


@pytest.mark.parametrize("value", ["😀 Smiley", "محمد علي", "Ñandú", "O'Brien; DROP TABLE users", "李"])
def test_names_of_every_script_and_emoji_go_in_as_they_are(value: str) -> None:
    """A name is what a person says it is."""
    assert rules.clean_name(value) == value


@pytest.mark.parametrize("value", ["", "   ", "x" * 201, "a\x07b", "a\r\nb", "\ud83d"])
def test_a_name_that_cannot_be_one_is_refused(value: str) -> None:
    """Empty, too long, or with characters that no name has."""
    with pytest.raises(Rejected) as refused:
        rules.clean_name(value)

    assert refused.value.problems[0].field == ("name",)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": "x" * 1_000_000}, "at most 65536 bytes"),
        (nested(100), "at most 32 deep"),
        (nested(33), "at most 32 deep"),
        ([1], "must be a JSON object, found an array"),
        ("text", "must be a JSON object, found a string"),
        ({"a.b": 1}, "no dot"),
        ({"$where": 1}, "no leading"),
        ({"a": {"": 1}}, "not empty"),
        ({"a": {"b\0": 1}}, "no NUL"),
        ({"n": 2**63}, "64 bits"),
        ({"a": [1, {"n": -(2**63) - 1}]}, r"attributes.a.1.n: an integer"),
        ({"n": float("inf")}, "infinity"),
        ({"n": float("nan")}, "infinity"),
        ({"s": "\udfff"}, "surrogate"),
        ({"\udfff": 1}, "surrogate"),
    ],
)  # fmt: skip
def test_attributes_that_a_view_could_not_hold_are_refused(value: JSON, message: str) -> None:
    """Too big, too deep, or not to be stored or addressed; the message says where and why."""
    with pytest.raises(Rejected, match=message) as refused:
        rules.clean_attributes(value)

    assert refused.value.problems[0].field[0] == "attributes"


@given(st.from_regex(rules.PLAIN_USERNAME, fullmatch=True))
def test_the_library_returns_plain_usernames_as_they_are(value: str) -> None:
    """So it need not be asked: what goes in is the same as if it had been."""
    assert rules.USERNAMES.enforce(value) == value


@given(
    st.from_regex(r"[a-z0-9_+-]{1,9}(\.[a-z0-9_+-]{1,9}){0,9}", fullmatch=True),
    st.from_regex(r"([a-z0-9](-?[a-z0-9]){0,30}\.){1,4}[a-z]{2,24}", fullmatch=True),
)
@example("x" * 64, "a1" * 30 + "." + "b-2" * 20 + ".travel")
def test_the_library_returns_plain_emails_as_they_are(local: str, domain: str) -> None:
    """So it need not be asked: what goes in is the same as if it had been."""
    value = f"{local}@{domain}"
    assume(rules.PLAIN_EMAIL.fullmatch(value) and len(value) <= rules.EMAIL_CHARACTERS)

    assert validate_email(value, check_deliverability=False, strict=True).normalized == value


def test_attributes_at_the_limits_go_in() -> None:
    """32 levels, 64 KiB, and both ends of the integers."""
    rules.clean_attributes(nested(32))
    rules.clean_attributes({"a": "x" * (65_536 - 8)})
    rules.clean_attributes({"a": 2**63 - 1, "b": -(2**63), "c": None, "d": [], "e": {}})


@given(st.text())
def test_no_text_gets_past_the_rules_but_as_a_clean_value_or_a_refusal(text: str) -> None:
    """Any text is cleaned into something that UTF-8 can hold, cleaning it again changes nothing, or it is refused."""
    for clean in (rules.clean_username, rules.clean_email, rules.clean_name):
        try:
            cleaned = clean(text)
        except Rejected:
            continue
        assert clean(cleaned) == cleaned
        assert cleaned.encode().decode() == cleaned


@given(st.text())
def test_the_form_for_comparison_is_stable_and_without_case(text: str) -> None:
    """What is the same stays the same: upper, lower and normalised spellings fall together, once and for all."""
    same = rules.same_username(text)

    assert rules.same_username(same) == same
    assert rules.same_username(text.casefold()) == same
