"""Throttling of sign-ins, per account and per address, for all processes together.

After some failures each further attempt has to wait: a second, two, four, and so on up to a longest pause. Failures are
forgiven one by one, so that the pause never becomes a lock that somebody could put on another's account for good.

Whom a failure counts against:

- the address that it comes from, whatever the account;
- the account, by the login as it was typed, whether there is such an account or not. So nobody learns from being
  refused which accounts exist, and an attempt that must wait costs neither a look at the log nor a hash.

An attacker can so make the account wait, and its owner with it. Therefore an address from which the account has been
signed in to before counts by itself: the owner there waits for its own failures only.

An attempt is counted before its password is looked at, and taken back if the password was right. If it were counted
after, a thousand attempts at the same moment would all find the way open.

A success forgives the account, but of the address only that one attempt: else somebody with an account of his own would
sign in to it between any two guesses at others'.
"""

import hashlib
import hmac
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from events.database import Connection, Database
from events.rules import same_username
from events.sql import aware_utc, naive_utc

LOGIN_CHARACTERS: Final = 254
"""No login is longer: the longest email."""
KNOWN_DAYS: Final = 90
"""For how long an address from which one has signed in stays known."""
SWEPT_ROWS: Final = 10_000

KNOWN = "SELECT 1 FROM known_addresses WHERE key_hash = %s"
# Takes the locks of both rows, in the order of the keys, so that two attempts cannot each wait for the other.
LOCK = """
INSERT INTO sign_in_failures (key_hash, failures, as_of, opens_at, clears_at) VALUES (%s, 0, %s, %s, %s), (%s, 0, %s, %s, %s)
ON DUPLICATE KEY UPDATE key_hash = sign_in_failures.key_hash
"""  # noqa: E501
FIND = "SELECT key_hash, failures, as_of, opens_at FROM sign_in_failures WHERE key_hash IN (%s, %s)"
COUNT = "UPDATE sign_in_failures SET failures = %s, as_of = %s, opens_at = %s, clears_at = %s WHERE key_hash = %s"
# Less one, and the way is open: the attempt that closed it has turned out to be none.
TAKE_BACK = "UPDATE sign_in_failures SET failures = GREATEST(failures - 1, 0), opens_at = as_of WHERE key_hash = %s"
FORGIVE = "DELETE FROM sign_in_failures WHERE key_hash = %s"
REMEMBER = """
INSERT INTO known_addresses (key_hash, seen_at) VALUES (%s, %s) AS new ON DUPLICATE KEY UPDATE seen_at = new.seen_at
"""
SWEEP_FAILURES = "DELETE FROM sign_in_failures WHERE clears_at < %s LIMIT %s"
SWEEP_KNOWN = "DELETE FROM known_addresses WHERE seen_at < %s LIMIT %s"


class TooManyFailures(Exception):
    """The attempt was not looked at; the message says when to try again."""

    def __init__(self, wait: timedelta) -> None:
        self.seconds = math.ceil(wait.total_seconds())
        super().__init__(f"too many failed attempts: try again in {self.seconds} s")


@dataclass(frozen=True, slots=True)
class Limit:
    """How many failures are free, and how soon one is forgiven, which is also the longest pause."""

    free: int
    forgiven_in: timedelta


ACCOUNT: Final = Limit(free=10, forgiven_in=timedelta(minutes=15))
"""4 guesses an hour in the long run. NIST SP 800-63B, section 5.2.2, asks for at most 100 in a row."""
OWNER: Final = Limit(free=20, forgiven_in=timedelta(minutes=15))
ADDRESS: Final = Limit(free=100, forgiven_in=timedelta(seconds=10))
"""An address may be that of a whole company."""


@dataclass(frozen=True, slots=True)
class FailureCounter:
    """How somebody stands."""

    count: float
    as_of: datetime
    opens_at: datetime
    """Until then attempts are refused."""

    def plus_one(self, limit: Limit, now: datetime) -> "FailureCounter":
        """After one more failure."""
        elapsed = max(now - self.as_of, timedelta())  # another process's clock may be ahead
        forgiven = elapsed / limit.forgiven_in
        count = max(self.count - forgiven, 0.0) + 1
        return FailureCounter(count, now, now + _pause(count, limit))

    def clears_at(self, limit: Limit) -> datetime:
        """When all will be forgiven."""
        return self.as_of + self.count * limit.forgiven_in


@dataclass(frozen=True, slots=True)
class SignInAttempt:
    """An attempt that may be made, and that counts as failed until `succeeded`."""

    account: bytes
    address: bytes
    known: bytes


class Throttle:
    """Counts failures in the database."""

    def __init__(self, database: Database, secret: bytes, clock: Callable[[], datetime]) -> None:
        """
        Args:
            database: The log's.
            secret: What its keys are hashed with, the same on every process.
            clock: The present time.
        """
        self._database = database
        self._secret = secret
        self._clock = clock

    async def begin(self, login: str, address: str) -> SignInAttempt:
        """Count an attempt to sign in.

        Raises:
            TooManyFailures: it has to wait, and is not counted.
        """
        login = same_username(login[: LOGIN_CHARACTERS + 1])
        known = self._key("known", login, address)
        if await self._database.fetch_one(KNOWN, (known,)) is None:
            attempt, limit = SignInAttempt(self._key("account", login), self._key("address", address), known), ACCOUNT
        else:
            attempt, limit = (
                SignInAttempt(self._key("owner", login, address), self._key("address", address), known),
                OWNER,
            )
        await self._count({attempt.account: limit, attempt.address: ADDRESS})
        return attempt

    async def succeeded(self, attempt: SignInAttempt) -> None:
        """The password was right."""
        async with self._database.transaction() as transaction:
            for key, sql in sorted([(attempt.account, FORGIVE), (attempt.address, TAKE_BACK)]):
                await transaction.execute(sql, (key,))
            await transaction.execute(REMEMBER, (attempt.known, naive_utc(self._clock())))

    async def take_back(self, attempt: SignInAttempt) -> None:
        """Nobody has looked at the password."""
        async with self._database.transaction() as transaction:
            for key in sorted([attempt.account, attempt.address]):
                await transaction.execute(TAKE_BACK, (key,))

    async def sweep(self) -> int:
        """Remove what says nothing any more; how many rows."""
        now, swept = self._clock(), 0
        for sql, before in ((SWEEP_FAILURES, now), (SWEEP_KNOWN, now - timedelta(days=KNOWN_DAYS))):
            while rows := await self._database.execute(sql, (naive_utc(before), SWEPT_ROWS)):
                swept += rows
        return swept

    async def _count(self, limits: dict[bytes, Limit]) -> None:
        now = self._clock()
        async with self._database.transaction() as transaction:
            found = await _locked(transaction, sorted(limits), now)
            wait = max(failures.opens_at for failures in found.values()) - now
            if wait <= timedelta():
                for key, limit in limits.items():
                    await _write(transaction, key, found[key].plus_one(limit, now), limit)
        if wait > timedelta():
            raise TooManyFailures(wait)

    def _key(self, kind: str, *parts: str) -> bytes:
        text = "\0".join((f"rollcall {kind}", *parts)).encode(errors="surrogatepass")
        return hmac.digest(self._secret, text, hashlib.sha256)


def _pause(count: float, limit: Limit) -> timedelta:
    """None while failures are free; then 1 s, 2 s, 4 s, and so on. 2 to the 64th is longer than any limit."""
    whole = math.ceil(count)  # a part of one has been forgiven since; it is still that one
    if whole < limit.free:
        return timedelta()
    seconds = 2.0 ** min(whole - limit.free, 64)
    return timedelta(seconds=min(seconds, limit.forgiven_in.total_seconds()))


async def _locked(transaction: Connection, keys: list[bytes], now: datetime) -> dict[bytes, FailureCounter]:
    await transaction.execute(LOCK, [value for key in keys for value in (key, *[naive_utc(now)] * 3)])
    rows = await transaction.fetch_all(FIND, keys)
    return {row[0]: FailureCounter(row[1], aware_utc(row[2]), aware_utc(row[3])) for row in rows}


async def _write(transaction: Connection, key: bytes, failures: FailureCounter, limit: Limit) -> None:
    moments = (failures.as_of, failures.opens_at, failures.clears_at(limit))
    await transaction.execute(COUNT, (failures.count, *map(naive_utc, moments), key))
