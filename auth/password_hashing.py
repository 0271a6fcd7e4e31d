"""Hashing and verifying passwords with argon2id, on threads of their own.

A hash takes a fifth of a second, so one caller with many requests could make all others wait. Work therefore waits in
two lanes, one for sign-ins and one for registrations, which take turns; in a lane the callers take turns. A sign-in
waits for the running hashes and for one registration, however many wait, and in its lane for one password of each
other caller. When a lane is full, the caller with the most passwords in it makes room for a caller with fewer.
"""

import asyncio
import base64
import os
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

import argon2
from argon2.profiles import RFC_9106_LOW_MEMORY

from auth.hash_formats import verify_hash
from auth.password_policy import MAXIMUM_PASSWORD_LENGTH, normalised

WAITING_PASSWORDS: Final = 100
"""How many may wait for a thread in each lane. On 2 cores the last of them waits for 15 s with the profile
rfc9106-low-memory, for 2 s with owasp, and twice as long if the other lane is full too."""
RETRY_SECONDS: Final = 5
"""After which a client that was refused may try again."""

NICENESS: Final = 10
"""Niceness of the threads that hash. When all cores are busy, such a thread gets a tenth of the event loop's share."""

T = TypeVar("T")


@dataclass(frozen=True)
class Profile:
    """Parameters of argon2id. A hash takes `memory_kib` while it runs, and a thread for each of its `lanes`."""

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


class PasswordsClosed(RuntimeError):
    """The program is stopping: the password was neither hashed nor verified. Another node may do it."""

    def __init__(self) -> None:
        super().__init__("password hashing has stopped because the program is stopping")


class PasswordsBusy(RuntimeError):
    """Too many passwords are waiting to be hashed or verified; this one was not."""

    def __init__(self) -> None:
        super().__init__(f"too many sign-ins at once: try again in {RETRY_SECONDS} s")


class Lane(Enum):
    """Queues for a thread that take turns."""

    SIGN_IN = auto()
    REGISTRATION = auto()


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    work: Callable[[], Any]
    caller: str
    outcome: "asyncio.Future[Any]"


class _Waiting:
    """The jobs that wait in a lane, by caller; the callers are in the order of their turns."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._by_caller: OrderedDict[str, deque[_Job]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._by_caller.values()))

    def add(self, job: _Job) -> None:
        """Let a job wait.

        Raises:
            PasswordsBusy: the lane is full, and no other caller has more jobs in it.
        """
        if len(self) >= self._room:
            longest = max(self._by_caller.values(), key=len, default=deque[_Job]())
            if len(longest) <= len(self._by_caller.get(job.caller, ())) + 1:
                raise PasswordsBusy
            dropped = longest[-1]
            self.remove(dropped)
            if not dropped.outcome.done():
                dropped.outcome.set_exception(PasswordsBusy())
        self._by_caller.setdefault(job.caller, deque()).append(job)

    def remove(self, job: _Job) -> None:
        """Forget a job, if it waits."""
        jobs = self._by_caller.get(job.caller, deque[_Job]())
        if job in jobs:
            jobs.remove(job)
            if not jobs:
                del self._by_caller[job.caller]

    def next(self) -> _Job:
        """Take the oldest job of the caller whose turn it is."""
        job = next(iter(self._by_caller.values()))[0]
        self._by_caller.move_to_end(job.caller)
        self.remove(job)
        return job


class Passwords:
    """Hashes and verifies passwords on threads of its own.

    argon2 works without the GIL, so the event loop goes on meanwhile. More threads than cores only add waiting, and
    each busy one holds the profile's memory.

    A caller may be cancelled at any time: work that waits for a thread is dropped, running work ends unused. When too
    many wait already, a call is refused at once, since its client would give up before the answer.
    """

    def __init__(
        self,
        profile: Profile,
        threads: int,
        *,
        waiting: int = WAITING_PASSWORDS,
        verifier: Callable[[str, str], bool] = verify_hash,
    ) -> None:
        """Starts no thread and hashes nothing yet.

        Args:
            profile: The parameters of new hashes, and those that older hashes are measured by.
            threads: How many passwords are worked on at the same time, at least 1; best the number of cores.
            waiting: How many more may wait for a thread in each lane.
            verifier: Whether a hash was made from a password; blocks, and is called on the threads.
        """
        self._hasher = argon2.PasswordHasher(
            time_cost=profile.passes, memory_cost=profile.memory_kib, parallelism=profile.lanes
        )
        self._decoy = _decoy(self._hasher)
        self._verifier = verifier
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="password", initializer=_lower_priority)
        self._free = threads
        self._lanes = OrderedDict((lane, _Waiting(waiting)) for lane in Lane)
        """In the order of their turns."""
        self._closed = False

    async def hash(self, password: str, lane: Lane = Lane.REGISTRATION, caller: str = "") -> str:
        """The argon2id hash of a password that `check_password` accepts, with a salt of its own.

        Args:
            password: The password.
            lane: Where it waits for a thread.
            caller: Who takes turns with the others in the lane, such as an address.

        Raises:
            PasswordsClosed: `close` was called before a thread was free.
            PasswordsBusy: too many are waiting.
        """
        return await self._on_thread(partial(self._hasher.hash, normalised(password)), lane, caller)

    async def verify(self, encoded: str | None, password: str, caller: str = "") -> bool:
        """Whether `encoded` was made from this password. A password of more than 1,024 code points never matches.

        None stands for an account without a password. It takes the time of a hash of the current profile, so that the
        time does not show that, and is never True.

        Raises:
            UnknownHash: the hash is in no form that can be verified; none such should have been stored.
            PasswordsClosed: `close` was called before a thread was free.
            PasswordsBusy: too many are waiting.
        """
        if len(password) > MAXIMUM_PASSWORD_LENGTH:
            return False
        against = self._decoy if encoded is None else encoded
        matches = await self._on_thread(partial(self._matches, against, password), Lane.SIGN_IN, caller)
        return matches and encoded is not None

    def needs_rehash(self, encoded: str) -> bool:
        """Whether a password that has just matched `encoded` should be hashed anew.

        True for another algorithm than argon2id in its current version, and for less memory, fewer passes, a shorter
        salt or a shorter hash than the profile's. Lanes are not compared: they share memory and passes, so fewer lanes
        make a hash slower to compute but not easier to attack.
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
        """Accept no more work. Running calls end as usual, those that wait for a thread raise `PasswordsClosed`.

        Returns at once; the threads end with the last running call. May be called again.
        """
        self._closed = True
        for waiting in self._lanes.values():
            while waiting:
                job = waiting.next()
                if not job.outcome.done():
                    job.outcome.set_exception(PasswordsClosed())
        self._threads.shutdown(wait=False)

    async def _on_thread(self, work: Callable[[], T], lane: Lane, caller: str) -> T:
        if self._closed:
            raise PasswordsClosed
        job = _Job(work, caller, asyncio.get_running_loop().create_future())
        if self._free:
            self._start(job)
        else:
            self._lanes[lane].add(job)
        try:
            return cast("T", await job.outcome)
        except asyncio.CancelledError:
            self._lanes[lane].remove(job)
            raise

    def _start(self, job: _Job) -> None:
        try:
            running = asyncio.wrap_future(self._threads.submit(job.work))
        except RuntimeError as error:  # the system gives no thread
            job.outcome.set_exception(error)
            return
        self._free -= 1
        # When the work ends: a cancelled caller makes no room while its work goes on.
        running.add_done_callback(partial(self._ended, job))

    def _ended(self, job: _Job, running: "asyncio.Future[Any]") -> None:
        self._free += 1
        error = running.exception()
        if not job.outcome.done():
            if error is None:
                job.outcome.set_result(running.result())
            else:
                job.outcome.set_exception(error)
        while self._free and (lane := next((lane for lane, waiting in self._lanes.items() if waiting), None)):
            self._lanes.move_to_end(lane)
            following = self._lanes[lane].next()
            if not following.outcome.done():
                self._start(following)

    def _matches(self, encoded: str, password: str) -> bool:
        # Our own hashes are of the normalised form; the system that an imported one comes from may have hashed the
        # password as it was typed.
        typed, password = password, normalised(password)
        return self._verifier(encoded, password) or (typed != password and self._verifier(encoded, typed))


def _lower_priority() -> None:
    """Give the event loop precedence: it needs the processor for a moment, a hash for a fifth of a second.

    Linux has a priority for each thread, which argon2's own threads inherit; elsewhere it would be that of the whole
    process. Where it may not be set, hashing goes on with the usual priority.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)


def _decoy(hasher: argon2.PasswordHasher) -> str:
    """A hash with the hasher's parameters that no known password matches, made up instead of computed.

    Computing one would slow down the start or the first sign-in to an unknown account; verifying against this one takes
    as long as against any other.
    """
    salt, digest = (
        base64.b64encode(bytes(length)).decode().rstrip("=") for length in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={argon2.low_level.ARGON2_VERSION}${costs}${salt}${digest}"
