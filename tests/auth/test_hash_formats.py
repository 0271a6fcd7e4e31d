"""Formats of hashes: those of other systems are verified; unknown or too costly ones are refused."""

import base64
import hashlib

import argon2
import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auth.hash_formats import UnknownHash, check_hash_form, verify_hash
from tests.auth.texts import any_text

ARGON2 = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"
BCRYPT = "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"
PBKDF2 = "pbkdf2_sha256$390000$seasalt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c="

CHEAP_ARGON2 = argon2.PasswordHasher(1, 8, 1).hash("correct horse")
CHEAP_BCRYPT = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode()


def django_hash(password: str, iterations: int = 1) -> str:
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", iterations)
    return f"pbkdf2_sha256${iterations}$salt${base64.b64encode(digest).decode()}"


CHEAP = {"argon2": CHEAP_ARGON2, "bcrypt": CHEAP_BCRYPT, "pbkdf2": django_hash("correct horse")}


@pytest.mark.parametrize(
    ("encoded", "password"),
    [
        # The reference implementation of argon2, src/test.c.
        (ARGON2, "password"),
        ("$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8", "password"),
        ("$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY", "password"),
        pytest.param(argon2.PasswordHasher(1, 8, 1, type=argon2.Type.D).hash("password"), "password", id="argon2d"),
        # jBCrypt's test vectors; the same hash is written in three ways.
        (BCRYPT, "a"),
        (BCRYPT.replace("$2a$", "$2b$"), "a"),
        (BCRYPT.replace("$2a$", "$2y$"), "a"),
        # Django, tests/auth_tests/test_hashers.py.
        (PBKDF2, "lètmein"),
    ],
)
def test_known_hashes_are_verified(encoded: str, password: str) -> None:
    """Each form's hash from its own project's tests matches its password and no other."""
    check_hash_form(encoded)

    assert verify_hash(encoded, password)
    assert not verify_hash(encoded, password + "x")
    assert not verify_hash(encoded, password.upper())


def test_bcrypt_looks_at_72_bytes() -> None:
    """A longer password matches the bcrypt hash that was made of its first 72 bytes (crypt_blowfish's vector)."""
    encoded = "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui"
    password = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

    assert len(password) == 72
    assert verify_hash(encoded, password)
    assert verify_hash(encoded, password + "chars after 72 are ignored as usual")
    assert not verify_hash(encoded, password[:71])


def test_bcrypt_truncates_inside_a_character() -> None:
    """The 72 bytes may end in the middle of a character, as they did when the hash was made."""
    password = "x" + "é" * 40
    encoded = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()

    assert verify_hash(encoded, password)


@pytest.mark.parametrize("password", ["a\0a", "a\0", "\0a", "a\0b"])
def test_a_nul_matches_no_bcrypt_hash(password: str) -> None:
    """bcrypt repeats its key after a NUL, so that "a\\0a" would pass for "a"; it does not here."""
    assert not verify_hash(BCRYPT, password)


@pytest.mark.parametrize("encoded", CHEAP.values(), ids=CHEAP)
@given(password=any_text)
@settings(deadline=None)
def test_any_password_gets_an_answer(encoded: str, password: str) -> None:
    """A known form answers every password with yes or no, half surrogate pairs and NULs included."""
    assert verify_hash(encoded, password) is (password == "correct horse")


@pytest.mark.parametrize("encoded", CHEAP.values(), ids=CHEAP)
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_form_that_is_let_in_can_be_verified(encoded: str, data: st.DataObject) -> None:
    """Whatever check_hash_form lets through, changed as it may be, verify_hash answers without an error."""
    position = data.draw(st.integers(7, len(encoded) - 1))  # bcrypt's costs would take seconds
    character = data.draw(st.sampled_from("./+=$0123456789ABCDQagwxyz,vmtp é\n"))
    changed = encoded[:position] + character + encoded[position + 1 :]

    try:
        check_hash_form(changed)
    except UnknownHash:
        return
    assert verify_hash(changed, "correct horse") in (True, False)


@given(any_text | st.text("$./+=0123456789abmtpv,argon2id"))
@settings(deadline=None)
def test_any_other_text_is_refused(text: str) -> None:
    """Arbitrary text raises UnknownHash and nothing else, from both functions."""
    with pytest.raises(UnknownHash):
        check_hash_form(text)
    with pytest.raises(UnknownHash):
        verify_hash(text, "password")


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "plain text",
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
        BCRYPT[:-1],
        BCRYPT + "A",
        BCRYPT + "\n",
        BCRYPT[:28] + "P" + BCRYPT[29:],
        BCRYPT[:-1] + "f",
        "pbkdf2_sha1$1000$salt$" + "A" * 43 + "=",
        "pbkdf2_sha256$1000$$" + "A" * 43 + "=",
        "pbkdf2_sha256$1000$salt$" + "A" * 42 + "==",
        "pbkdf2_sha256$1_000$salt$" + "A" * 43 + "=",
        "pbkdf2_sha256$٣$salt$" + "A" * 43 + "=",
        "pbkdf2_sha256$1000$sält$" + "A" * 43 + "=",
        ARGON2.replace("v=19", "v=18"),
        ARGON2.replace("argon2id", "argon2x"),
        ARGON2.replace("m=256", "m=0256"),
        ARGON2.replace("m=256,t=2", "t=2,m=256"),
        ARGON2.replace("p=2", "p=2,keyid=A"),
        ARGON2.replace("c29tZXNhbHQ", "c29tZXNhbH"),
        ARGON2.replace("c29tZXNhbHQ", "c29tZXNhbA"),
        ARGON2.replace("c29tZXNhbHQ", "c29tZXNhbHR"),
        ARGON2.replace("c29tZXNhbHQ", "c29tZXNhbHQ="),
        ARGON2.rsplit("$", 1)[0],
        ARGON2.rsplit("$", 1)[0] + "$AAAA",
        ARGON2 + "\0",
    ],
)
def test_unknown_forms_are_refused(encoded: str) -> None:
    """What is in no known form raises UnknownHash, which lists the forms and does not repeat the hash."""
    with pytest.raises(UnknownHash, match=r"argon2.*bcrypt.*PBKDF2") as caught:
        check_hash_form(encoded)

    assert not encoded or encoded not in str(caught.value)
    assert "seasalt" not in str(caught.value)


@pytest.mark.parametrize(
    ("within", "beyond", "found"),
    [
        ("m=1048576,t=1,p=1", "m=1048577,t=1,p=1", "1 x 1048577 KiB"),
        ("m=65536,t=16,p=4", "m=65536,t=17,p=4", "17 x 65536 KiB"),
        ("m=256,t=64,p=1", "m=256,t=65,p=1", "65 passes"),
        ("m=256,t=1,p=16", "m=256,t=1,p=17", "17 lanes"),
        ("m=32,t=1,p=4", "m=31,t=1,p=4", "31 KiB for 4 lanes"),
        ("m=8,t=1,p=1", "m=9999999999,t=9999999999,p=1", "9999999999 passes"),
    ],
)
def test_argon2_costs_are_bounded(within: str, beyond: str, found: str) -> None:
    """An argon2 hash that asks for more work than the bounds is refused, and the last one within is not."""
    check_hash_form(ARGON2.replace("m=256,t=2,p=2", within))

    with pytest.raises(UnknownHash, match=found):
        check_hash_form(ARGON2.replace("m=256,t=2,p=2", beyond))


@pytest.mark.parametrize(("within", "beyond"), [("04", "03"), ("15", "16"), ("10", "99"), ("12", "00")])
def test_bcrypt_costs_are_bounded(within: str, beyond: str) -> None:
    """bcrypt costs from 4 to 15 are accepted."""
    check_hash_form(BCRYPT.replace("$06$", f"${within}$"))

    with pytest.raises(UnknownHash, match=f"cost {beyond}, outside 4 to 15"):
        check_hash_form(BCRYPT.replace("$06$", f"${beyond}$"))


def test_pbkdf2_iterations_are_bounded() -> None:
    """Five million iterations are accepted, one more is not."""
    check_hash_form(PBKDF2.replace("390000", "5000000"))

    with pytest.raises(UnknownHash, match="5000001 iterations"):
        check_hash_form(PBKDF2.replace("390000", "5000001"))


def test_the_length_is_bounded() -> None:
    """A hash of 512 characters is accepted, one of 513 is not."""
    at_limit = PBKDF2.replace("seasalt", "s" * (512 - len(PBKDF2) + len("seasalt")))
    check_hash_form(at_limit)

    with pytest.raises(UnknownHash, match="513 characters"):
        check_hash_form(at_limit.replace("$s", "$ss"))


@pytest.mark.parametrize(
    "encoded",
    [ARGON2.replace("p=2", "p=17"), BCRYPT.replace("$06$", "$31$"), PBKDF2.replace("390000", "9" * 10)],
)
def test_verifying_holds_to_the_same_bounds(encoded: str) -> None:
    """A costly hash that is in the store in spite of the check is not computed at sign-in either."""
    with pytest.raises(UnknownHash):
        verify_hash(encoded, "password")
