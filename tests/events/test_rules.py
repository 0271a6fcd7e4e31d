"""Bad input gets a clear error that names the field; good input of every script goes in as it is."""

import sys
import unicodedata
from collections.abc import Callable
from uuid import UUID

import pytest
from email_validator import validate_email
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from events import rules
from events.errors import Rejected
from events.event_types import JSON
from tests.events import hostile


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
        ("victim\uff20example.com", "must not contain @"),
        ("\u0958" * 64, "this one has 128"),
        ("e\u0301" * 65, "this one has 65"),
        ("x" * 10_000, "this one has 10000"),
        ("550e8400-E29B-41d4-a716-446655440000", "must not read as an id"),
        ("{550e8400e29b41d4a716446655440000}", "must not read as an id"),
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


@pytest.mark.parametrize(
    "value", ["alice", "é" * 64, "Álvaro", "مرحبا", "שלום", "李雷", "user.name-1_x", "x" * 64, "o'neil"]
)
def test_usernames_of_every_script_go_in_as_they_are(value: str) -> None:
    """Letters and digits of any script."""
    assert rules.clean_username(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "no-at-sign", "@example.com", "a@", "a@b", "a b@example.com", "a@exa mple.com", "a@@b.com", "",
        "x" * 250 + "@a.b",
        "a\x00@example.com", "\ud800@example.com", "a@example.com\nBcc: x@example.com",
        "=?us-ascii?q?a=0d=0aBcc=3a_x?=@example.com", "x=?utf-8?b?Yg==?=@example.com",
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
        ({"k" * 129: 1}, "at most 128 characters"),
        ({"a": [0] * 2_001}, "at most 2000 values"),
        ({f"{n}": None for n in range(2_001)}, "at most 2000 values"),
        ({"k" * 128: list(range(1_999))}, "262144 bytes of index entries"),
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
    """32 levels, 64 KiB, 2,000 values, and both ends of the integers."""
    rules.clean_attributes(nested(32))
    rules.clean_attributes({"k" * 128: list(range(1_000)), "b": {}, "c": [], "d": list(range(998))})
    rules.clean_attributes({"a": "x" * (65_536 - 8)})
    rules.clean_attributes({"a": 2**63 - 1, "b": -(2**63), "c": None, "d": [], "e": {}})


RULES: dict[str, tuple[Callable[[str], str], Callable[[str], str], Callable[[str], str | None]]] = {
    "username": (rules.clean_username, rules.same_username, rules.sought_username),
    "email": (rules.clean_email, rules.same_email, rules.sought_email),
    "name": (rules.clean_name, str, rules.sought_name),
}
LIMITS = {"username": (64, 192), "email": (254, 382), "name": (200, 200)}
"""Characters of a cleaned value and of its form for comparison: the columns of the MySQL view."""


@pytest.mark.parametrize("field", RULES)
@given(data=st.data())
@settings(max_examples=300)
def test_cleaning_and_comparing_twice_is_doing_it_once(field: str, data: st.DataObject) -> None:
    """Any text is refused, or cleaned into a value that fits, stays as it is, and is found as it was typed."""
    clean, same, sought = RULES[field]
    text = data.draw(hostile.texts | hostile.emails | st.text())
    try:
        cleaned = clean(text)
    except Rejected:
        assert sought(text) is None
        return
    form = same(cleaned)

    assert clean(cleaned) == cleaned
    assert cleaned.encode().decode() == cleaned
    assert same(form) == form
    assert sought(text) == sought(cleaned) == form
    assert (1 <= len(cleaned) <= LIMITS[field][0], 1 <= len(form) <= LIMITS[field][1]) == (True, True)


@given(st.text() | hostile.texts)
def test_the_form_for_comparison_is_stable_and_without_case(text: str) -> None:
    """What is the same stays the same: upper, lower and normalised spellings fall together, once and for all."""
    same = rules.same_username(text)

    assert rules.same_username(same) == same
    assert rules.same_username(text.casefold()) == same


@given(hostile.ids | hostile.emails | hostile.texts)
def test_no_username_reads_as_an_email_or_as_an_id(text: str) -> None:
    """However it is spelled: the accepted one has no @ of any width, and `UUID` does not read it."""
    try:
        cleaned = rules.clean_username(text)
    except Rejected:
        return

    assert "@" not in unicodedata.normalize("NFKC", cleaned)
    with pytest.raises(ValueError, match=r"badly formed|invalid literal"):
        UUID(cleaned)


def test_no_letter_outgrows_the_columns() -> None:
    """Each code point alone: without case, a username is at most three times as long, a local part at most twice."""
    for character in map(chr, range(0x80, sys.maxunicode + 1)):
        if unicodedata.is_normalized("NFC", character):
            assert len(rules.same_email(f"{character}@x")) <= 2 + len("@x")
        if unicodedata.is_normalized("NFKC", character):
            assert len(rules.same_username(character)) <= 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice", "\u0430lice"),
        ("ALICE", "\u0410L\u0406C\u0415"),
        ("Helen", "\u041d\u0415L\u0415N"),
        ("scope", "\u0455\u0441\u043e\u0440\u0435"),
        ("\u041d\u0438\u043d\u0430", "\u043d\u0438\u043da"),
        ("paypal", "p\u0101ypal".replace("\u0101", "\u0251")),
        ("irene", "\u0069\u0307rene"),
        ("\u0634\u0631\u06cc\u200c\u0641", "\u0634\u0631\u06cc\u0641"),
    ],
)
def test_names_that_look_alike_share_a_claim(one: str, other: str) -> None:
    """Mixed scripts, whole scripts, capitals, a dot on a dot, and joiners."""
    assert _claims(one) & _claims(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("user1", "userl"),
        ("userO", "user0"),
        ("barney", "bamey"),
        ("jose", "jos\u00e9"),
        ("\u0430\u043d\u0434\u0440\u0435\u0439", "andrey"),
        ("\u30b5\u30af\u30e9", "\u3055\u304f\u3089"),
    ],
)
def test_names_that_are_told_apart_share_none(one: str, other: str) -> None:
    """Signs of ASCII, accents, and names of one script."""
    assert not _claims(one) & _claims(other)


def _claims(username: str) -> frozenset[str]:
    cleaned = rules.clean_username(username)
    return rules.lookalikes_of(cleaned) | {rules.same_username(cleaned)}


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        ("\U0001f469\u200d\U0001f680 Ana", None),
        ("\U0001f469\U0001f3fd\u200d\u2764\ufe0f\u200d\U0001f48b\u200d\U0001f468\U0001f3ff", None),
        ("\U0001f3f3\ufe0f\u200d\U0001f308 1\ufe0f\u20e3 \U0001fae8", None),
        ("\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", None),
        ("\u06a9\u062a\u0627\u0628\u200c\u062e\u0627\u0646\u0647", None),
        ("\u0936\u094d\u200d\u0930\u0940", None),
        ("\u09b0\u200d\u09cd\u09af\u09be\u09ac", None),
        ("\u6e21\u9089\U000e0102", None),
        ("\u963f\u51e1\u63d0\u00b7\u4e70\u4e70\u63d0", None),
        ("\u2163 \ufb01 \u2122", None),
        ("Jose\u0301", "Jos\u00e9"),
        (" \u5c71\u7530\u3000 \u592a\u90ce\n", "\u5c71\u7530 \u592a\u90ce"),
    ],
)
def test_joiners_variants_and_dots_stay_where_names_need_them(value: str, cleaned: str | None) -> None:
    """Emoji, Persian, Hindi, Bengali, Japanese and Uyghur names; spaces become single ones."""
    assert rules.clean_name(value) == (cleaned or value)


@pytest.mark.parametrize(
    "value",
    [
        "\u200b", "\u3164", "\ufeff", "\u2028", "\u2800", "\u0301", "\ufffc", "\u00ad", "\u200d", "\ufe0f",
        "\u115f\u1160",
        "a\u202eb", "a\u2066b", "a\u200fb", "a\u2028b", "a\u200bb", "a\u200db", "\u0627\u200c\u200c\u0628", "a\ufe0f",
        "\U0001f3f4\U000e0061\U000e007f", "a\U000e0102", "a\ue000", "a\uffff",
    ],
)  # fmt: skip
def test_a_name_with_what_cannot_be_seen_is_refused(value: str) -> None:
    """Nothing to see, or signs that hide or turn the text around them."""
    with pytest.raises(Rejected) as refused:
        rules.clean_name(value)

    assert refused.value.problems[0].field == ("name",)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ana@xn--bcher-kva.example", "ANA@B\u00dcCHER.example", True),
        ("a@stra\u00dfe.example", "a@strasse.example", False),
        ("a@\u03bf\u03b4\u03bf\u03c2.example", "a@\u03bf\u03b4\u03bf\u03c3.example", False),
        ("stra\u00dfe@x.example", "strasse@x.example", False),
        ("stra\u00dfe@x.example", "STRA\u1e9eE@x.example", True),
        ("\u03bf\u03b4\u03bf\u03c2@x.example", "\u039f\u0394\u039f\u03a3@x.example", True),
        ("\uff41na@x.example", "ana@x.example", False),
        ("jose\u0301@x.example", "JOS\u00c9@x.example", True),
    ],
)
def test_emails_are_one_only_if_their_mailbox_is(one: str, other: str, same: bool) -> None:
    """The domain by its A-label, the local part without case and without any other folding."""
    assert (rules.sought_email(one) == rules.sought_email(other)) is same


@pytest.mark.parametrize("value", ["ana\u3164@x.example", "ana\ufe0f@x.example"])
def test_an_email_with_what_cannot_be_seen_is_refused(value: str) -> None:
    """It would look like somebody else's."""
    with pytest.raises(Rejected, match="cannot be seen"):
        rules.clean_email(value)
