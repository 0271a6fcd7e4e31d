"""Hashing passwords on threads: what a hash verifies, the queue, the decoy, rehashing, and the event loop."""

import asyncio
import os
import sys
import threading
import unicodedata
from collections.abc import AsyncIterator, Callable

import argon2
import bcrypt
import pytest

from auth.hash_formats import UnknownHash, check_hash_form, verify_hash
from auth.password_hashing import (
    NICENESS,
    PROFILES,
    Lane,
    Passwords,
    PasswordsBusy,
    PasswordsClosed,
    Profile,
)
from tests.auth.test_hash_formats import BCRYPT, CHEAP_ARGON2, PBKDF2, django_hash
from tests.waiting import PATIENCE_SECONDS

WEAK = PROFILES["weak-for-tests"]


class Gate:
    """A verifier that accepts every password once it is opened; it records its calls."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.started = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self, encoded: str, password: str) -> bool:
        self.asked.append(password)
        self.started.release()
        if not self.opened.wait(PATIENCE_SECONDS):
            raise TimeoutError
        return True

    def hash(self, password: str) -> str:
        """Hashes as argon2's hasher does, but only once it is opened."""
        self("", password)
        return "hash"

    async def holds(self, calls: int = 1) -> None:
        """Return when this many more calls have arrived."""
        for _ in range(calls):
            assert await asyncio.to_thread(self.started.acquire, timeout=PATIENCE_SECONDS)


class Recorder:
    """A verifier that verifies and records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, encoded: str, password: str) -> bool:
        self.calls.append((encoded, password))
        return verify_hash(encoded, password)


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Passwords]]:
    """Makes Passwords, with the weak profile and one thread by default, and closes them afterwards."""
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
        """The password as typed is tried after its normal form only where the two differ, and not after a match."""
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
        """A stored hash that cannot be verified is reported, not taken for a wrong password."""
        for encoded in ("", "!", "5f4dcc3b5aa765d61d8327deb882cf99"):
            with pytest.raises(UnknownHash):
                await make().verify(encoded, "password")


class TestQueue:
    """The queue for a thread is bounded."""

    async def test_one_too_many_is_refused_at_once(self, make: Make) -> None:
        """Two work and three wait; the sixth is refused, and the five are answered."""
        gate = Gate()
        passwords = make(threads=2, waiting=3, verifier=gate)
        calls = [asyncio.create_task(passwords.verify("hash", f"password {number}")) for number in range(5)]
        await gate.holds(2)

        with pytest.raises(PasswordsBusy):
            await passwords.verify("hash", "one too many")
        with pytest.raises(PasswordsBusy):
            await passwords.hash("one too many", Lane.SIGN_IN)

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


class TestTurns:
    """Nobody keeps others waiting by asking for much."""

    @staticmethod
    async def flooded(make: Make, threads: int, flood: int) -> tuple[Passwords, Gate, list[asyncio.Task[str]]]:
        """Passwords whose threads are busy with the first of many registrations, while the others wait."""
        gate = Gate()
        passwords = make(threads=threads, verifier=gate, waiting=300)
        passwords._hasher = gate  # type: ignore[assignment]
        hashing = [asyncio.create_task(passwords.hash(f"{number}", caller="flood")) for number in range(flood)]
        await gate.holds(threads)
        return passwords, gate, hashing

    @pytest.mark.parametrize("threads", [1, 2, 4])
    async def test_a_sign_in_waits_for_one_registration_however_many_wait(self, make: Make, threads: int) -> None:
        """Of 300 that wait at most one is hashed before it, besides those that were running."""
        passwords, gate, hashing = await self.flooded(make, threads, 300)
        signing_in = asyncio.create_task(passwords.verify("hash", "sign-in"))
        await asyncio.sleep(0)

        gate.opened.set()
        assert await signing_in

        assert gate.asked.index("sign-in") <= threads + 1
        assert len(await asyncio.gather(*hashing)) == 300

    async def test_registrations_go_on_while_many_sign_in(self, make: Make) -> None:
        """The lanes take turns, in both directions."""
        gate = Gate()
        passwords = make(verifier=gate)
        passwords._hasher = gate  # type: ignore[assignment]
        signing_in = [asyncio.create_task(passwords.verify("hash", f"{number}")) for number in range(50)]
        await gate.holds()
        registering = asyncio.create_task(passwords.hash("registration"))
        await asyncio.sleep(0)

        gate.opened.set()
        await asyncio.gather(registering, *signing_in)

        assert gate.asked.index("registration") <= 2

    async def test_callers_take_turns_in_a_lane(self, make: Make) -> None:
        """One who sends fifty at once does not keep back another who sends two."""
        gate = Gate()
        passwords = make(verifier=gate)
        first = asyncio.create_task(passwords.verify("hash", "running"))
        await gate.holds()
        many = [asyncio.create_task(passwords.verify("hash", f"{number}", "many")) for number in range(50)]
        await asyncio.sleep(0)
        few = [asyncio.create_task(passwords.verify("hash", name, "few")) for name in ("one", "other")]
        await asyncio.sleep(0)

        gate.opened.set()
        await asyncio.gather(first, *many, *few)

        assert gate.asked[:5] == ["running", "0", "one", "1", "other"]

    async def test_who_fills_a_lane_makes_room_for_others(self, make: Make) -> None:
        """The newest password of the caller with most of them is refused, until all have equally many."""
        gate = Gate()
        passwords = make(verifier=gate, waiting=4)
        first = asyncio.create_task(passwords.verify("hash", "running"))
        await gate.holds()
        many = [asyncio.create_task(passwords.verify("hash", f"{number}", "many")) for number in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(PasswordsBusy):
            await passwords.verify("hash", "4", "many")

        few = [asyncio.create_task(passwords.verify("hash", f"few {number}", "few")) for number in range(2)]
        await asyncio.sleep(0)
        for caller in ("many", "few"):
            with pytest.raises(PasswordsBusy):
                await passwords.verify("hash", "more", caller)
        gate.opened.set()

        found = await asyncio.gather(first, *many, *few, return_exceptions=True)
        assert [type(one) for one in found] == [bool, bool, bool, PasswordsBusy, PasswordsBusy, bool, bool]


class TestUnknownAccounts:
    """The time of a sign-in does not reveal whether an account exists."""

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
        """Even a password that matched the decoy would not sign in."""
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
    """Hashing does not block the loop, survives cancellation, and stops on close."""

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
    async def test_hashing_leaves_the_processor_to_the_event_loop(self, make: Make) -> None:
        """The threads that hash have a lower priority, and so have those that argon2 starts; this one does not."""
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

    async def test_the_event_loop_runs_while_passwords_are_hashed(self, make: Make) -> None:
        """During six hashes on two threads the event loop iterates over ten times per hash; inline it would not."""
        passwords = make(PROFILES["owasp"], threads=2)
        hashing = asyncio.gather(*(passwords.hash(f"password {number}") for number in range(6)))
        iterations = 0

        while not hashing.done():
            await asyncio.sleep(0)
            iterations += 1

        assert len(set(await hashing)) == 6
        assert iterations > 60

    async def test_the_event_loop_runs_while_a_password_is_verified(self, make: Make) -> None:
        """A verification that ends only after the loop has done something else does end."""
        gate = Gate()
        verifying = asyncio.create_task(make(verifier=gate).verify(CHEAP_ARGON2, "correct horse"))

        await gate.holds()
        assert not verifying.done()
        gate.opened.set()

        assert await asyncio.wait_for(verifying, PATIENCE_SECONDS)

    async def test_no_more_than_the_given_threads_work(self, make: Make) -> None:
        """With two threads, two of five verifications run and the others wait."""
        gate = Gate()
        passwords = make(threads=2, verifier=gate)
        verifying = [asyncio.create_task(passwords.verify(CHEAP_ARGON2, str(number))) for number in range(5)]

        await gate.holds(2)
        assert len(passwords._lanes[Lane.SIGN_IN]) == 3
        gate.opened.set()

        assert all(await asyncio.wait_for(asyncio.gather(*verifying), PATIENCE_SECONDS))

    async def test_a_cancelled_caller_that_waits_is_dropped(self, make: Make) -> None:
        """A caller that is cancelled while it waits costs no verification, and those around it are served."""
        gate = Gate()
        passwords = make(verifier=gate)
        first, second, third = (
            asyncio.create_task(passwords.verify(CHEAP_ARGON2, name)) for name in ("first", "second", "third")
        )
        await gate.holds()

        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(second, PATIENCE_SECONDS)
        gate.opened.set()

        assert all(await asyncio.wait_for(asyncio.gather(first, third), PATIENCE_SECONDS))
        assert gate.asked == ["first", "third"]

    async def test_a_cancelled_caller_that_runs_leaves_no_harm(self, make: Make) -> None:
        """A caller that is cancelled in the middle gets its cancellation at once, and the next one is served."""
        gate = Gate()
        passwords = make(verifier=gate)
        running = asyncio.create_task(passwords.verify(CHEAP_ARGON2, "running"))
        await gate.holds()

        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, PATIENCE_SECONDS)

        gate.opened.set()
        assert await asyncio.wait_for(passwords.verify(CHEAP_ARGON2, "next"), PATIENCE_SECONDS)

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

        assert await asyncio.wait_for(running, PATIENCE_SECONDS)
        for late in (waiting, hashing, passwords.hash("late"), passwords.verify(None, "late")):
            with pytest.raises(PasswordsClosed, match="stopping"):
                await asyncio.wait_for(late, PATIENCE_SECONDS)
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
