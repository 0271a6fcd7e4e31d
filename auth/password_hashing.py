"""Passwords: which ones may be chosen, and hashing and verifying them without holding up anybody else.

Password rules follow NIST SP 800-63B (revision 3), section 5.1.1.2: a minimum length and nothing about kinds of
characters, no common one, any Unicode, NFKC before hashing, each code point one character, never truncated.
"""

import asyncio
import base64
import os
import sys
import unicodedata
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import BoundedSemaphore
from types import MappingProxyType
from typing import TypeVar

import argon2
from argon2.profiles import RFC_9106_LOW_MEMORY

from auth.common_passwords import is_common
from auth.hash_formats import verify_hash

MINIMUM_PASSWORD_LENGTH = 8
MAXIMUM_PASSWORD_LENGTH = 1024
"""Code points. The standard asks for 64 at least; there is a limit because NFKC takes quadratic time on text that
is made for it."""

WAITING_PASSWORDS = 100
"""How many may wait for a thread. With the profile rfc9106-low-memory on 2 cores the last of them waits for 15 s, with
owasp for 2 s."""
RETRY_SECONDS = 5
"""After which a client that found no room may try again."""

NICENESS = 10
"""Of the threads that hash. Where all want the processor, one of them has a tenth of what the event loop has."""

SHORTEST_OWN_WORD = 4
"""Letters and digits. What is shorter, in the user's own name, says too little to be looked for."""

T = TypeVar("T")


@dataclass(frozen=True)
class Profile:
    """Parameters of argon2id. A hash takes `memory_kib` for its time, and a thread for each of its `lanes`."""

    name: str
    passes: int
    memory_kib: int
    lanes: int


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            # RFC 9106, section 4, second recommended option: 180 to 200 ms on 2 cores.
            Profile(
                "rfc9106-low-memory",
                passes=RFC_9106_LOW_MEMORY.time_cost,
                memory_kib=RFC_9106_LOW_MEMORY.memory_cost,
                lanes=RFC_9106_LOW_MEMORY.parallelism,
            ),
            # OWASP Password Storage Cheat Sheet, argon2id with 19 MiB: 42 ms.
            Profile("owasp", passes=2, memory_kib=19 * 1024, lanes=1),
            # The least that argon2 can do, well below a millisecond. It protects nothing.
            Profile("weak-for-tests", passes=1, memory_kib=8, lanes=1),
        )
    }
)
"""The named profiles that the settings choose from."""


class WeakPassword(ValueError):
    """A password may not be chosen. The message is meant for the person and never holds the password."""


class PasswordsClosed(RuntimeError):
    """The program is stopping: the password was neither hashed nor verified. Trying another node may help."""

    def __init__(self) -> None:
        super().__init__("password hashing has stopped because the program is stopping")


class PasswordsBusy(RuntimeError):
    """Too many passwords are waiting to be hashed or verified; this one was not."""

    def __init__(self) -> None:
        super().__init__(f"too many sign-ins at once: try again in {RETRY_SECONDS} s")


def check_password(password: str, *, username: str, email: str, name: str) -> None:
    """Return if the user may choose this password, else raise `WeakPassword`.

    It has 8 to 1,024 code points, both as typed and after NFKC, is not one of those that everybody tries first, and is
    not the user's own username, email, local part of the email, or name: compared without case, spaces and punctuation,
    and as a whole, since a password that merely contains a name can be a good one.
    """
    _check_length(password)
    _check_encodable(password)
    _check_length(_normalised(password))
    if is_common(_normalised(password)):
        raise WeakPassword("A password must not be a common one: this one is among the first that are tried.")
    chosen = _bare(password)
    own_words = {
        "username": username,
        "email": email,
        "email without its domain": email.partition("@")[0],
        "name": name,
    }
    for kind, own in own_words.items():
        if chosen == _bare(own) and len(chosen) >= SHORTEST_OWN_WORD:
            raise WeakPassword(f"A password must not be your {kind}: choose something that only you know.")


class Passwords:
    """Hashes and verifies passwords on threads of its own.

    argon2 works without the GIL, so the event loop goes on meanwhile. More threads than cores only add waiting, and
    each busy one holds the profile's memory.

    A caller may be cancelled at any time: what waits for a thread is dropped, what runs ends unheard. When too many
    wait already, one more is refused at once: it would be answered after its client has given up.
    """

    def __init__(
        self,
        profile: Profile,
        threads: int,
        *,
        waiting: int = WAITING_PASSWORDS,
        verifier: Callable[[str, str], bool] = verify_hash,
    ) -> None:
        """Cheap: threads start when they are needed, and nothing is hashed.

        Args:
            profile: The parameters of new hashes, and those that older hashes are measured by.
            threads: How many passwords are worked on at the same time, at least 1; best the number of cores.
            waiting: How many more may wait for a thread.
            verifier: Tells whether a hash was made from a password; blocks, and is called on the threads.
        """
        self._hasher = argon2.PasswordHasher(
            time_cost=profile.passes, memory_cost=profile.memory_kib, parallelism=profile.lanes
        )
        self._decoy = _decoy(self._hasher)
        self._verifier = verifier
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="password", initializer=_step_back)
        self._room = BoundedSemaphore(threads + waiting)
        self._closed = False

    async def hash(self, password: str) -> str:
        """The argon2id hash of a password that `check_password` lets through, with a salt of its own.

        Raises:
            PasswordsClosed: `close` was called before a thread was free.
            PasswordsBusy: too many are waiting.
        """
        return await self._on_thread(partial(self._hasher.hash, _normalised(password)))

    async def verify(self, encoded: str | None, password: str) -> bool:
        """Tell whether `encoded` was made from this password. One of more than 1,024 code points never matches.

        None stands for an account that does not exist or has no password. It takes the time that a hash of the
        current profile takes, so that nobody learns which accounts exist, and is never True. (An imported hash
        takes its own time until its user's first sign-in has replaced it.)

        Raises:
            UnknownHash: the hash is in no form that can be verified; none such should have been stored.
            PasswordsClosed: `close` was called before a thread was free.
            PasswordsBusy: too many are waiting.
        """
        if len(password) > MAXIMUM_PASSWORD_LENGTH:
            return False
        against = self._decoy if encoded is None else encoded
        matches = await self._on_thread(partial(self._matches, against, password))
        return matches and encoded is not None

    def needs_rehash(self, encoded: str) -> bool:
        """Tell whether a password that has just matched `encoded` should be hashed anew.

        So it is for another algorithm than argon2id in its current version, and for less memory, fewer passes, a
        shorter salt or hash than the profile's. Lanes are not compared: they share the memory and the passes
        out, so fewer of them make a hash slower to compute but not easier to attack.
        """
        if not encoded.startswith("$argon2id$"):
            return True
        found = argon2.extract_parameters(encoded)
        return (
            found.version < argon2.low_level.ARGON2_VERSION
            or found.memory_cost < self._hasher.memory_cost
            or found.time_cost < self._hasher.time_cost
            or found.salt_len < self._hasher.salt_len
            or found.hash_len < self._hasher.hash_len
        )

    def close(self) -> None:
        """Take no more work. Calls that run end as usual, those that wait for a thread raise `PasswordsClosed`.

        Returns at once; the threads end with the last running call. May be called again.
        """
        self._closed = True
        self._threads.shutdown(wait=False)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise PasswordsClosed
        if not self._room.acquire(blocking=False):
            raise PasswordsBusy
        try:
            running = self._threads.submit(self._unless_closed, work)
        except BaseException:
            self._room.release()
            raise
        # On the thread, or where it is dropped: a caller that is cancelled makes no room while its work goes on.
        running.add_done_callback(lambda _: self._room.release())
        return await asyncio.wrap_future(running)

    def _unless_closed(self, work: Callable[[], T]) -> T:
        # The executor could drop what waits by itself, but its callers would then see a CancelledError, as if
        # somebody had cancelled them.
        if self._closed:
            raise PasswordsClosed
        return work()

    def _matches(self, encoded: str, password: str) -> bool:
        # Our own hashes are of the normalised form; the system that an imported one comes from may have taken
        # the password as it was typed.
        normalised = _normalised(password)
        if self._verifier(encoded, normalised):
            return True
        return normalised != password and self._verifier(encoded, password)


def _step_back() -> None:
    """Let the event loop go first: it wants the processor for a moment, a hash for a fifth of a second.

    Everything else on the machine goes first, too. Linux has a priority for each thread, which argon2's own inherit;
    elsewhere it would be that of the whole process. Where it may not be set, hashing goes on as it is.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)


def _decoy(hasher: argon2.PasswordHasher) -> str:
    """A hash with the hasher's parameters that no password is known for, made up instead of computed.

    To compute one would make either the start slow or the first sign-in to an unknown account; to verify against
    this one takes as long as against any other.
    """
    salt, digest = (
        base64.b64encode(bytes(length)).decode().rstrip("=") for length in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={argon2.low_level.ARGON2_VERSION}${costs}${salt}${digest}"


def _normalised(password: str) -> str:
    return unicodedata.normalize("NFKC", password)


def _bare(text: str) -> str:
    """The letters and digits of a text, without case."""
    return "".join(filter(str.isalnum, _normalised(text).casefold()))


def _check_length(password: str) -> None:
    if len(password) < MINIMUM_PASSWORD_LENGTH:
        raise WeakPassword(
            f"A password must have at least {MINIMUM_PASSWORD_LENGTH} characters; this one has {len(password)}."
        )
    if len(password) > MAXIMUM_PASSWORD_LENGTH:
        raise WeakPassword(
            f"A password must have at most {MAXIMUM_PASSWORD_LENGTH:,} characters; this one has {len(password):,}."
        )


def _check_encodable(password: str) -> None:
    try:
        password.encode()
    except UnicodeEncodeError as error:
        raise WeakPassword(
            f"A password must be valid Unicode; the character at position {error.start + 1} is half of a pair."
        ) from None
