"""Throttling of sign-ins by account and by address, shared by all processes.

After a number of free failures each attempt has to wait: one second, two, four, up to a longest pause. Failures are
forgiven one by one, so that a pause never becomes a lock that an attacker could put on an account for good.

A failure counts against

- its address, whatever the account;
- the login as it was typed, whether there is such an account or not. So a refusal does not reveal which accounts exist,
  and an attempt that must wait costs neither a read of the log nor a hash.

An attacker could so make the owner of an account wait. Therefore the pair of an account and an address that has signed
in to it before has a counter of its own: the owner waits for its own failures only.

An attempt is counted before its password is checked, and taken back if the password was right. Counted afterwards, a
thousand simultaneous attempts would all pass.

A success clears the account's counter, but takes back only this one attempt of the address. Otherwise an attacker with
an account could sign in to it between guesses at others.
"""

import hashlib
import hmac
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from events.claims import login_claim
from events.database import Database
from events.sql import aware_utc, naive_utc

LOGIN_CHARACTERS: Final = 254
"""The longest login is the longest email."""
KNOWN_DAYS: Final = 90
"""After which an address that an account has signed in from is forgotten."""
SWEPT_ROWS: Final = 10_000

KNOWN = "SELECT 1 FROM known_addresses WHERE key_hash = %s"
# Locks both rows in the order of their keys, so that two attempts cannot deadlock.
LOCK = """
INSERT INTO sign_in_failures (key_hash, failures, as_of, opens_at, clears_at) VALUES (%s, 0, %s, %s, %s), (%s, 0, %s, %s, %s)
ON DUPLICATE KEY UPDATE key_hash = sign_in_failures.key_hash
"""  # noqa: E501
FIND = "SELECT key_hash, failures, as_of, opens_at FROM sign_in_failures WHERE key_hash IN (%s, %s)"
COUNT = "UPDATE sign_in_failures SET failures = %s, as_of = %s, opens_at = %s, clears_at = %s WHERE key_hash = %s"
# Also ends the pause, which this attempt had begun.
TAKE_BACK = "UPDATE sign_in_failures SET failures = GREATEST(failures - 1, 0), opens_at = as_of WHERE key_hash = %s"
FORGIVE = "DELETE FROM sign_in_failures WHERE key_hash = %s"
REMEMBER = """
INSERT INTO known_addresses (key_hash, seen_at) VALUES (%s, %s) AS new ON DUPLICATE KEY UPDATE seen_at = new.seen_at
"""
SWEEP_FAILURES = "DELETE FROM sign_in_failures WHERE clears_at < %s LIMIT %s"
SWEEP_KNOWN = "DELETE FROM known_addresses WHERE seen_at < %s LIMIT %s"


class TooManyFailures(Exception):
    """The attempt was refused without a check; the message says when to try again."""

    def __init__(self, wait: timedelta) -> None:
        self.seconds = math.ceil(wait.total_seconds())
        super().__init__(f"too many failed attempts: try again in {self.seconds} s")


@dataclass(frozen=True, slots=True)
class Limit:
    """How many failures cause no pause, and how long it takes to forgive one."""

    free: int
    forgiven_in: timedelta
    """Also the longest pause."""

    def pause(self, count: float) -> timedelta:
        """None while failures are free; then 1 s, 2 s, 4 s, and so on."""
        whole = math.ceil(count)  # a failure that is forgiven in part still counts
        if whole < self.free:
            return timedelta()
        seconds = 2.0 ** min(whole - self.free, 64)  # more than any limit, and no overflow
        return timedelta(seconds=min(seconds, self.forgiven_in.total_seconds()))


ACCOUNT: Final = Limit(free=10, forgiven_in=timedelta(minutes=15))
"""4 guesses an hour in the long run. NIST SP 800-63B, section 5.2.2, allows at most 100 in a row."""
OWNER: Final = Limit(free=20, forgiven_in=timedelta(minutes=15))
ADDRESS: Final = Limit(free=100, forgiven_in=timedelta(seconds=10))
"""An address may be that of a whole company."""


@dataclass(frozen=True, slots=True)
class FailureCounter:
    """Failure counter of one key."""

    count: float
    as_of: datetime
    opens_at: datetime
    """Attempts are refused until then."""

    def plus_one(self, limit: Limit, now: datetime) -> "FailureCounter":
        """The counter after one more failure."""
        elapsed = max(now - self.as_of, timedelta())  # another process's clock may be ahead
        forgiven = elapsed / limit.forgiven_in
        count = max(self.count - forgiven, 0.0) + 1
        return FailureCounter(count, now, now + limit.pause(count))

    def clears_at(self, limit: Limit) -> datetime:
        """When all failures are forgiven."""
        return self.as_of + self.count * limit.forgiven_in


@dataclass(frozen=True, slots=True)
class SignInAttempt:
    """Keys of an attempt, which counts as failed until `succeeded` or `take_back`."""

    account: bytes
    address: bytes
    known: bytes


class Throttle:
    """Failure counters in the database."""

    def __init__(self, database: Database, secret: bytes, clock: Callable[[], datetime]) -> None:
        """
        Args:
            database: The log's.
            secret: Keys the hashes of logins and addresses, the same on every process.
            clock: The present time.
        """
        self._database = database
        self._secret = secret
        self._clock = clock

    async def begin(self, login: str, address: str) -> SignInAttempt:
        """Count an attempt to sign in.

        Raises:
            TooManyFailures: the attempt has to wait; it is not counted.
        """
        claim = login_claim(login[: LOGIN_CHARACTERS + 1])  # one for all spellings
        login = f"{claim.kind}\0{claim.value}"
        known = self._key("known", login, address)
        if await self._database.fetch_one(KNOWN, (known,)) is None:
            account, of_account = self._key("account", login), ACCOUNT
        else:
            account, of_account = self._key("owner", login, address), OWNER
        attempt = SignInAttempt(account, self._key("address", address), known)
        limits = {attempt.account: of_account, attempt.address: ADDRESS}
        keys, now = sorted(limits), self._clock()
        async with self._database.transaction() as transaction:
            await transaction.execute(LOCK, [value for key in keys for value in (key, *[naive_utc(now)] * 3)])
            rows = await transaction.fetch_all(FIND, keys)
            found = {row[0]: FailureCounter(row[1], aware_utc(row[2]), aware_utc(row[3])) for row in rows}
            wait = max(counter.opens_at for counter in found.values()) - now
            if wait <= timedelta():
                for key, limit in limits.items():
                    counter = found[key].plus_one(limit, now)
                    moments = (counter.as_of, counter.opens_at, counter.clears_at(limit))
                    await transaction.execute(COUNT, (counter.count, *map(naive_utc, moments), key))
        if wait > timedelta():
            raise TooManyFailures(wait)
        return attempt

    async def succeeded(self, attempt: SignInAttempt) -> None:
        """Clear the account's counter: the password was right."""
        async with self._database.transaction() as transaction:
            for key, sql in sorted([(attempt.account, FORGIVE), (attempt.address, TAKE_BACK)]):
                await transaction.execute(sql, (key,))
            await transaction.execute(REMEMBER, (attempt.known, naive_utc(self._clock())))

    async def take_back(self, attempt: SignInAttempt) -> None:
        """Uncount an attempt whose password was not checked."""
        async with self._database.transaction() as transaction:
            for key in sorted([attempt.account, attempt.address]):
                await transaction.execute(TAKE_BACK, (key,))

    async def sweep(self) -> int:
        """Delete cleared counters and forgotten addresses; return the number of rows."""
        now, swept = self._clock(), 0
        for sql, before in ((SWEEP_FAILURES, now), (SWEEP_KNOWN, now - timedelta(days=KNOWN_DAYS))):
            while rows := await self._database.execute(sql, (naive_utc(before), SWEPT_ROWS)):
                swept += rows
        return swept

    def _key(self, kind: str, *parts: str) -> bytes:
        text = "\0".join((f"rollcall {kind}", *parts)).encode(errors="surrogatepass")
        return hmac.digest(self._secret, text, hashlib.sha256)
