"""Passwords: the forms of hashes, the rules for choosing one, and hashing beside the event loop."""

import asyncio
import base64
import contextlib
import hashlib
import os
import sys
import threading
import time
import unicodedata
from collections.abc import AsyncIterator, Callable

import argon2
import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auth.hash_formats import UnknownHash, check_hash_form, verify_hash
from auth.password_hashing import (
    NICENESS,
    PROFILES,
    Passwords,
    PasswordsBusy,
    PasswordsClosed,
    Profile,
    WeakPassword,
    check_password,
)

WEAK = PROFILES["weak-for-tests"]
LIMIT = 20
"""Seconds after which a test gives up waiting for something that will not come."""

ARGON2 = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"
BCRYPT = "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"
PBKDF2 = "pbkdf2_sha256$390000$seasalt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c="

CHEAP_ARGON2 = argon2.PasswordHasher(1, 8, 1).hash("correct horse")
CHEAP_BCRYPT = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode()


def django_hash(password: str, iterations: int = 1) -> str:
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", iterations)
    return f"pbkdf2_sha256${iterations}$salt${base64.b64encode(digest).decode()}"


CHEAP = {"argon2": CHEAP_ARGON2, "bcrypt": CHEAP_BCRYPT, "pbkdf2": django_hash("correct horse")}

any_text = st.text(st.characters() | st.sampled_from("\ud800\udfff\0é①"))
"""Half surrogate pairs and NULs included, and often."""


class TestForms:
    """Hashes that other systems made are verified; what could not be verified, or not in time, is refused."""

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
    def test_known_hashes_are_verified(self, encoded: str, password: str) -> None:
        """Each form's hash from its own project's tests matches its password and no other."""
        check_hash_form(encoded)

        assert verify_hash(encoded, password)
        assert not verify_hash(encoded, password + "x")
        assert not verify_hash(encoded, password.upper())

    def test_bcrypt_looks_at_72_bytes(self) -> None:
        """A longer password matches the bcrypt hash that was made of its first 72 bytes (crypt_blowfish's vector)."""
        encoded = "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui"
        password = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

        assert len(password) == 72
        assert verify_hash(encoded, password)
        assert verify_hash(encoded, password + "chars after 72 are ignored as usual")
        assert not verify_hash(encoded, password[:71])

    def test_bcrypt_truncates_inside_a_character(self) -> None:
        """The 72 bytes may end in the middle of a character, as they did when the hash was made."""
        password = "x" + "é" * 40
        encoded = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()

        assert verify_hash(encoded, password)

    @pytest.mark.parametrize("password", ["a\0a", "a\0", "\0a", "a\0b"])
    def test_a_nul_matches_no_bcrypt_hash(self, password: str) -> None:
        """bcrypt repeats its key after a NUL, so that "a\\0a" would pass for "a"; it does not here."""
        assert not verify_hash(BCRYPT, password)

    @pytest.mark.parametrize("encoded", CHEAP.values(), ids=CHEAP)
    @given(password=any_text)
    @settings(deadline=None)
    def test_any_password_gets_an_answer(self, encoded: str, password: str) -> None:
        """A known form answers every password with yes or no, half surrogate pairs and NULs included."""
        assert verify_hash(encoded, password) is (password == "correct horse")

    @pytest.mark.parametrize("encoded", CHEAP.values(), ids=CHEAP)
    @given(data=st.data())
    @settings(max_examples=300, deadline=None)
    def test_a_form_that_is_let_in_can_be_verified(self, encoded: str, data: st.DataObject) -> None:
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
    def test_any_other_text_is_refused(self, text: str) -> None:
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
            "$2x$" + BCRYPT[4:],
            "$2$" + BCRYPT[4:],
            BCRYPT[:-1],
            BCRYPT + "A",
            BCRYPT + "\n",
            "{bcrypt}" + BCRYPT,
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
    def test_unknown_forms_are_refused(self, encoded: str) -> None:
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
    def test_argon2_costs_are_bounded(self, within: str, beyond: str, found: str) -> None:
        """An argon2 hash that asks for more work than the bounds is refused, and the last one within is not."""
        check_hash_form(ARGON2.replace("m=256,t=2,p=2", within))

        with pytest.raises(UnknownHash, match=found):
            check_hash_form(ARGON2.replace("m=256,t=2,p=2", beyond))

    @pytest.mark.parametrize(("within", "beyond"), [("04", "03"), ("15", "16"), ("10", "99"), ("12", "00")])
    def test_bcrypt_costs_are_bounded(self, within: str, beyond: str) -> None:
        """bcrypt costs from 4 to 15 are accepted."""
        check_hash_form(BCRYPT.replace("$06$", f"${within}$"))

        with pytest.raises(UnknownHash, match=f"cost {beyond}, outside 4 to 15"):
            check_hash_form(BCRYPT.replace("$06$", f"${beyond}$"))

    def test_pbkdf2_iterations_are_bounded(self) -> None:
        """Five million iterations are accepted, one more is not."""
        check_hash_form(PBKDF2.replace("390000", "5000000"))

        with pytest.raises(UnknownHash, match="5000001 iterations"):
            check_hash_form(PBKDF2.replace("390000", "5000001"))

    def test_the_length_is_bounded(self) -> None:
        """A hash of 512 characters is accepted, one of 513 is not."""
        at_limit = PBKDF2.replace("seasalt", "s" * (512 - len(PBKDF2) + len("seasalt")))
        check_hash_form(at_limit)

        with pytest.raises(UnknownHash, match="513 characters"):
            check_hash_form(at_limit.replace("$s", "$ss"))

    @pytest.mark.parametrize(
        "encoded",
        [ARGON2.replace("p=2", "p=17"), BCRYPT.replace("$06$", "$31$"), PBKDF2.replace("390000", "9" * 10)],
    )
    def test_verifying_holds_to_the_same_bounds(self, encoded: str) -> None:
        """A costly hash that is in the store in spite of the check is not computed at sign-in either."""
        with pytest.raises(UnknownHash):
            verify_hash(encoded, "password")


class TestRules:
    """Which passwords may be chosen."""

    def check(self, password: str) -> None:
        check_password(password, username="john_smith", email="j.a.smith+list@example.com", name="Johnny Smith")

    def refusal(self, password: str) -> str:
        with pytest.raises(WeakPassword) as caught:
            self.check(password)
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
    def test_length_is_all_that_is_asked(self, password: str) -> None:
        """8 to 1,024 characters of any script and kind will do, and containing one's name is not being it."""
        self.check(password)

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
    def test_what_is_tried_first_is_refused(self, password: str) -> None:
        """Common words however they are dressed up, sequences, one character again and again, the service's name."""
        assert self.refusal(password).startswith("A password must not be a common one")

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
    def test_a_password_that_holds_a_common_word_may_be_chosen(self, password: str) -> None:
        """Only the whole is looked at, with what is put around it."""
        self.check(password)

    def test_looking_for_common_ones_takes_no_time(self) -> None:
        """Whatever is typed: a thousand characters that are made for it, too."""
        started = time.process_time()
        for password in ("abc" * 341, "1" * 1000 + "a", "qwe" * 13, "!1" * 19 + "a"):
            with contextlib.suppress(WeakPassword):
                self.check(password)

        assert time.process_time() - started < 0.5

    @pytest.mark.parametrize("password", ["", "1234567", "🐎🔋📎🐎🔋📎🐎"])
    def test_short_passwords_are_refused(self, password: str) -> None:
        """Seven code points are too few, however many bytes they take, and the message tells both numbers."""
        assert self.refusal(password) == f"A password must have at least 8 characters; this one has {len(password)}."

    def test_characters_are_counted_as_they_are_hashed(self) -> None:
        """Seven letters with separate accents are seven after NFKC, three ligatures are three before: too short."""
        assert "this one has 7" in self.refusal(unicodedata.normalize("NFD", "éééèèàà"))
        assert "this one has 3" in self.refusal("\ufb03" * 3)

    def test_long_passwords_are_refused(self) -> None:
        """1,025 characters are too many, before NFKC or after it."""
        assert self.refusal("x" * 1025) == "A password must have at most 1,024 characters; this one has 1,025."
        assert "this one has 1,026" in self.refusal("\ufdfa" * 57)
        assert "this one has 1,026" in self.refusal("e\u0301" * 513)

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
    def test_ones_own_words_are_refused(self, password: str, kind: str) -> None:
        """A password that is one's username, email or name, in any case and punctuation, is refused."""
        assert self.refusal(password).startswith(f"A password must not be your {kind}:")

    @pytest.mark.parametrize("own", ["", "j", "bob", "---"])
    def test_very_short_words_are_not_looked_for(self, own: str) -> None:
        """Names of fewer than four letters and digits, or of none, rule nothing out."""
        check_password(own + "-=~" * 7, username=own, email=f"{own}@x", name=own)

    def test_a_word_of_four_is_looked_for(self) -> None:
        """A name of four letters is refused when only punctuation is added."""
        with pytest.raises(WeakPassword, match="username"):
            check_password("anna!!!!", username="anna", email="a@example.com", name="A")

    def test_half_surrogate_pairs_are_refused(self) -> None:
        """Text that no encoding can hold is refused with the place of the fault."""
        assert "position 9" in self.refusal("password\ud800")

    @given(any_text)
    @settings(deadline=None)
    def test_any_text_is_accepted_or_refused(self, password: str) -> None:
        """Arbitrary text raises WeakPassword or nothing."""
        with contextlib.suppress(WeakPassword):
            self.check(password)


class Gate:
    """A verifier that says yes, but only once it is opened; it keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.started = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self, encoded: str, password: str) -> bool:
        self.asked.append(password)
        self.started.release()
        if not self.opened.wait(LIMIT):
            raise TimeoutError
        return True

    async def holds(self, calls: int = 1) -> None:
        """Return when this many more calls have arrived."""
        for _ in range(calls):
            assert await asyncio.to_thread(self.started.acquire, timeout=LIMIT)


class Recorder:
    """A verifier that really verifies and keeps what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, encoded: str, password: str) -> bool:
        self.calls.append((encoded, password))
        return verify_hash(encoded, password)


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Passwords]]:
    """Makes Passwords, with the weak profile and one thread unless told otherwise, and closes them afterwards."""
    made: list[Passwords] = []

    def build(
        profile: Profile = WEAK,
        threads: int = 1,
        verifier: Callable[[str, str], bool] = verify_hash,
        waiting: int = 100,
    ) -> Passwords:
        made.append(Passwords(profile, threads, waiting=waiting, verifier=verifier))
        return made[-1]

    yield build
    for passwords in made:
        passwords.close()


Make = Callable[..., Passwords]


class TestHashing:
    """A hash verifies the password that it was made of, in every spelling of it, and no other."""

    @pytest.mark.parametrize("name", PROFILES)
    async def test_every_profile_hashes_and_verifies(self, make: Make, name: str) -> None:
        """Each profile's hash is argon2id with the profile's parameters, and verifies."""
        profile = PROFILES[name]
        passwords = make(profile)

        encoded = await passwords.hash("correct horse")

        parameters = f"m={profile.memory_kib},t={profile.passes},p={profile.lanes}"
        assert encoded.startswith(f"$argon2id$v=19${parameters}$")
        check_hash_form(encoded)
        assert await passwords.verify(encoded, "correct horse")
        assert not await passwords.verify(encoded, "wrong horse")

    def test_the_default_is_the_one_of_the_rfc(self) -> None:
        """RFC 9106's second recommendation is 3 passes over 64 MiB in 4 lanes, and OWASP's 2 over 19 MiB in 1."""
        assert PROFILES["rfc9106-low-memory"] == Profile("rfc9106-low-memory", 3, 65536, 4)
        assert PROFILES["owasp"] == Profile("owasp", 2, 19456, 1)

    async def test_two_hashes_of_a_password_differ(self, make: Make) -> None:
        """Each hash has a salt of its own."""
        passwords = make()

        assert await passwords.hash("correct horse") != await passwords.hash("correct horse")

    async def test_spellings_of_a_password_are_one(self, make: Make) -> None:
        """Accents typed as one character or as two, and full-width letters, make no difference."""
        passwords = make()
        encoded = await passwords.hash("pässwörd①")

        for spelling in (unicodedata.normalize("NFD", "pässwörd①"), "ｐässwörd1"):
            assert await passwords.verify(encoded, spelling)
            assert await passwords.verify(await passwords.hash(spelling), "pässwörd①")

    @pytest.mark.parametrize(
        "imported",
        [
            argon2.PasswordHasher(1, 8, 1).hash("pässwörd①"),
            bcrypt.hashpw("pässwörd①".encode(), bcrypt.gensalt(4)).decode(),
            django_hash("pässwörd①"),
        ],
        ids=["argon2", "bcrypt", "pbkdf2"],
    )
    async def test_an_imported_hash_is_tried_as_typed(self, make: Make, imported: str) -> None:
        """A hash from a system that does not normalise matches what was typed there."""
        assert await make().verify(imported, "pässwörd①")

    async def test_at_most_two_tries(self, make: Make) -> None:
        """What is typed is tried besides its normal form only where the two differ, and not after a match."""
        recorder = Recorder()
        passwords = make(verifier=recorder)
        encoded = await passwords.hash("1 right horse")

        async def tries(password: str) -> list[str]:
            recorder.calls.clear()
            await passwords.verify(encoded, password)
            return [tried for _, tried in recorder.calls]

        assert await tries("1 wrong horse") == ["1 wrong horse"]
        assert await tries("① wrong horse") == ["1 wrong horse", "① wrong horse"]
        assert await tries("① right horse") == ["1 right horse"]

    async def test_an_endless_password_is_not_looked_at(self, make: Make) -> None:
        """More than 1,024 characters cost nothing and match nothing, whether the account exists or not."""
        recorder = Recorder()
        passwords = make(verifier=recorder)

        for encoded in (django_hash("x" * 1025), None):
            assert not await passwords.verify(encoded, "x" * 1025)

        assert recorder.calls == []
        assert await passwords.verify(django_hash("x" * 1024), "x" * 1024)

    async def test_half_surrogate_pairs_match_nothing(self, make: Make) -> None:
        """A password that no system can have hashed is simply wrong."""
        passwords = make()

        assert not await passwords.verify(await passwords.hash("correct horse"), "correct horse\ud800")
        assert not await passwords.verify(None, "\ud800")

    async def test_an_unknown_hash_is_an_error(self, make: Make) -> None:
        """A stored hash that nobody can verify against is reported, not taken for a wrong password."""
        for encoded in ("", "!", "5f4dcc3b5aa765d61d8327deb882cf99"):
            with pytest.raises(UnknownHash):
                await make().verify(encoded, "password")


class TestQueue:
    """What waits for a thread is bounded."""

    async def test_one_too_many_is_refused_at_once(self, make: Make) -> None:
        """Two work and three wait; the sixth is told to come back, and the five are answered."""
        gate = Gate()
        passwords = make(threads=2, waiting=3, verifier=gate)
        calls = [asyncio.create_task(passwords.verify("hash", f"password {number}")) for number in range(5)]
        await gate.holds(2)

        with pytest.raises(PasswordsBusy):
            await passwords.verify("hash", "one too many")
        with pytest.raises(PasswordsBusy):
            await passwords.hash("one too many")

        gate.opened.set()
        assert await asyncio.gather(*calls) == [True] * 5
        assert await passwords.verify("hash", "again there is room")

    async def test_a_caller_that_gives_up_makes_room_if_it_was_waiting(self, make: Make) -> None:
        """And none while a thread still works for it."""
        gate = Gate()
        passwords = make(threads=1, waiting=1, verifier=gate)
        working, waiting = [asyncio.create_task(passwords.verify("hash", text)) for text in ("working", "waiting")]
        await gate.holds()
        working.cancel()
        with pytest.raises(PasswordsBusy):
            await passwords.verify("hash", "one too many")

        waiting.cancel()
        await asyncio.wait([waiting])
        follower = asyncio.create_task(passwords.verify("hash", "follower"))

        gate.opened.set()
        assert await follower
        assert gate.asked == ["working", "follower"]


class TestUnknownAccounts:
    """Whether an account exists does not show in the time that a sign-in takes."""

    @pytest.mark.parametrize("name", PROFILES)
    async def test_no_account_costs_a_real_verification(self, make: Make, name: str) -> None:
        """Without an account one hash is verified, with the same parameters as a real one, from the first time on."""
        recorder = Recorder()
        passwords = make(PROFILES[name], verifier=recorder)

        assert await passwords.verify(None, "correct horse") is False

        ((decoy, password),) = recorder.calls
        assert password == "correct horse"
        assert argon2.extract_parameters(decoy) == argon2.extract_parameters(await passwords.hash("any"))

    async def test_the_decoy_never_lets_anybody_in(self, make: Make) -> None:
        """Even a password that matched the decoy would not sign anybody in."""
        gate = Gate()
        gate.opened.set()

        assert await make(verifier=gate).verify(None, "correct horse") is False
        assert gate.asked == ["correct horse"]

    @pytest.mark.parametrize("password", ["correct horse", "① correct horse", "\ud800", ""])
    async def test_no_account_takes_the_same_tries(self, make: Make, password: str) -> None:
        """The same forms of a password are tried with and without an account."""
        recorder = Recorder()
        passwords = make(verifier=recorder)
        encoded = await passwords.hash("something else")

        await passwords.verify(encoded, password)
        with_account = [tried for _, tried in recorder.calls]
        recorder.calls.clear()
        await passwords.verify(None, password)

        assert [tried for _, tried in recorder.calls] == with_account


class TestRehash:
    """A hash that is weaker than the profile is replaced at the next sign-in, and no other is."""

    strong = Profile("strong", passes=3, memory_kib=256, lanes=4)

    @pytest.mark.parametrize(
        "hasher",
        [
            argon2.PasswordHasher(2, 256, 4),
            argon2.PasswordHasher(3, 255, 4),
            argon2.PasswordHasher(3, 256, 4, hash_len=31),
            argon2.PasswordHasher(3, 256, 4, salt_len=15),
            argon2.PasswordHasher(3, 256, 4, type=argon2.Type.I),
            argon2.PasswordHasher(3, 256, 4, type=argon2.Type.D),
        ],
        ids=["passes", "memory", "hash", "salt", "argon2i", "argon2d"],
    )
    async def test_weaker_argon2_is_replaced(self, make: Make, hasher: argon2.PasswordHasher) -> None:
        """Fewer passes, less memory, a shorter hash or salt, or another variant call for a new hash."""
        assert make(self.strong).needs_rehash(hasher.hash("password"))

    @pytest.mark.parametrize("version", ["", "$v=16"])
    async def test_the_old_version_is_replaced(self, make: Make, version: str) -> None:
        """Version 1.0 of argon2, written or implied, calls for a new hash."""
        encoded = await make(self.strong).hash("password")

        assert make(self.strong).needs_rehash(encoded.replace("$v=19", version))

    @pytest.mark.parametrize("encoded", [BCRYPT, PBKDF2], ids=["bcrypt", "pbkdf2"])
    async def test_other_algorithms_are_replaced(self, make: Make, encoded: str) -> None:
        """A hash of another algorithm calls for a new one."""
        assert make().needs_rehash(encoded)

    @pytest.mark.parametrize(
        "hasher",
        [
            argon2.PasswordHasher(3, 256, 4),
            argon2.PasswordHasher(4, 512, 8, hash_len=64, salt_len=32),
            argon2.PasswordHasher(3, 256, 1),
        ],
        ids=["same", "higher", "lanes"],
    )
    async def test_as_strong_or_stronger_is_kept(self, make: Make, hasher: argon2.PasswordHasher) -> None:
        """The profile's own parameters, higher ones, or another number of lanes are left alone."""
        assert not make(self.strong).needs_rehash(hasher.hash("password"))


class TestBesideTheLoop:
    """Hashing holds nobody up, survives being cancelled, and stops when told to."""

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
    async def test_hashing_leaves_the_processor_to_the_event_loop(self, make: Make) -> None:
        """The threads that hash step back, and those that argon2 begins with them; this one does not."""
        before = os.getpriority(os.PRIO_PROCESS, 0)
        found: list[int] = []

        def watched(_: str, __: str) -> bool:
            child = threading.Thread(target=lambda: found.append(os.getpriority(os.PRIO_PROCESS, 0)))
            child.start()
            child.join()
            return True

        await make(verifier=watched).verify(django_hash("x"), "x")

        assert found == [min(19, before + NICENESS)]
        assert os.getpriority(os.PRIO_PROCESS, 0) == before

    async def test_the_loop_turns_while_passwords_are_hashed(self, make: Make) -> None:
        """During six hashes on two threads the event loop turns more than ten times per hash; inline it would not."""
        passwords = make(PROFILES["owasp"], threads=2)
        hashing = asyncio.gather(*(passwords.hash(f"password {number}") for number in range(6)))
        turns = 0

        while not hashing.done():
            await asyncio.sleep(0)
            turns += 1

        assert len(set(await hashing)) == 6
        assert turns > 60

    async def test_the_loop_turns_while_a_password_is_verified(self, make: Make) -> None:
        """A verification that ends only after the loop has done something else does end."""
        gate = Gate()
        verifying = asyncio.create_task(make(verifier=gate).verify(CHEAP_ARGON2, "correct horse"))

        await gate.holds()
        assert not verifying.done()
        gate.opened.set()

        assert await asyncio.wait_for(verifying, LIMIT)

    async def test_no_more_than_the_given_threads_work(self, make: Make) -> None:
        """With two threads, two of five verifications run and the others wait."""
        gate = Gate()
        passwords = make(threads=2, verifier=gate)
        verifying = [asyncio.create_task(passwords.verify(CHEAP_ARGON2, str(number))) for number in range(5)]

        await gate.holds(2)
        assert passwords._threads._work_queue.qsize() == 3
        gate.opened.set()

        assert all(await asyncio.wait_for(asyncio.gather(*verifying), LIMIT))

    async def test_a_cancelled_caller_that_waits_is_dropped(self, make: Make) -> None:
        """A caller that is cancelled before its turn costs no verification, and those around it are served."""
        gate = Gate()
        passwords = make(verifier=gate)
        first, second, third = (
            asyncio.create_task(passwords.verify(CHEAP_ARGON2, name)) for name in ("first", "second", "third")
        )
        await gate.holds()

        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(second, LIMIT)
        gate.opened.set()

        assert all(await asyncio.wait_for(asyncio.gather(first, third), LIMIT))
        assert gate.asked == ["first", "third"]

    async def test_a_cancelled_caller_that_runs_leaves_no_harm(self, make: Make) -> None:
        """A caller that is cancelled in the middle gets its cancellation at once, and the next one is served."""
        gate = Gate()
        passwords = make(verifier=gate)
        running = asyncio.create_task(passwords.verify(CHEAP_ARGON2, "running"))
        await gate.holds()

        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, LIMIT)

        gate.opened.set()
        assert await asyncio.wait_for(passwords.verify(CHEAP_ARGON2, "next"), LIMIT)

    async def test_closing_ends_those_who_wait(self, make: Make) -> None:
        """On close the running call ends as usual, those that wait and those that come later get PasswordsClosed."""
        gate = Gate()
        passwords = make(verifier=gate)
        running = asyncio.create_task(passwords.verify(CHEAP_ARGON2, "running"))
        waiting = asyncio.create_task(passwords.verify(CHEAP_ARGON2, "waiting"))
        hashing = asyncio.create_task(passwords.hash("waiting too"))
        await gate.holds()

        passwords.close()
        gate.opened.set()

        assert await asyncio.wait_for(running, LIMIT)
        for late in (waiting, hashing, passwords.hash("late"), passwords.verify(None, "late")):
            with pytest.raises(PasswordsClosed, match="stopping"):
                await asyncio.wait_for(late, LIMIT)
        assert gate.asked == ["running"]

    async def test_closing_twice_is_allowed(self, make: Make) -> None:
        """A second close does nothing."""
        passwords = make()
        passwords.close()
        passwords.close()

    async def test_at_least_one_thread(self) -> None:
        """No threads would mean no answers: it is refused at once."""
        with pytest.raises(ValueError, match="greater than 0"):
            Passwords(WEAK, 0)
