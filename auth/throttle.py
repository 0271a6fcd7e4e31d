"""Throttling of password checks by account and by address, shared by all processes.

After a number of free failures each attempt has to wait: one second, two, four, up to a longest pause. Failures are
forgiven one by one, so that a pause never becomes a lock that an attacker could put on an account for good.

A failure counts against

- its address, whatever the account;
- its target: the purpose of the check, and whose password it was. A sign-in names the claim that its login makes, of a
  username or of an email; a change of the password names the user. Kinds and purposes have counters of their own, so
  no valid username moves the counter of an email or of a user. All spellings of a login
  make one claim, whether an account has it or not. So a refusal does not reveal which accounts exist, and an attempt
  that must wait costs neither a read of the log nor a hash.

An attacker could so make the owner of an account wait. Therefore the pair of a target and an address from which its
password was given before has a counter of its own: the owner waits for its own failures only.

An attempt is counted before its password is checked, and taken back if the password was right. Counted afterwards, a
thousand simultaneous attempts would all pass.

A success forgives what failed at the same target from the same address, if it is known, and otherwise this one attempt.
An attacker could otherwise guess between the sign-ins of the owner, who resets the counter each time; or sign in to an
account of its own between guesses at others, from the same address.

A flood of attempts must not slow others down. Attempts from one address take turns, as do those at one account, so they
hold one connection between them (`auth/turns.py`). An attempt takes the address's turn first: while it waits there,
attempts at the account from other addresses go on. A refusal is remembered until its pause ends. For `MOMENT` it is
believed, and the same attempt is refused without a statement. After that it costs one read of the counters, which locks
nothing, every `MOMENT`, and not the transaction that counts an attempt.
"""

import hashlib
import hmac
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from cachetools import LRUCache

from auth.turns import Turns
from events.claims import hashed, login_claim
from events.database import Database
from events.errors import UserBusy
from events.sql import EPOCH, NAIVE_EPOCH, aware_utc, naive_utc

LOGIN_CHARACTERS: Final = 254
"""The longest login is the longest email."""
KNOWN_DAYS: Final = 90
"""After which an address that an account has signed in from is forgotten."""
SWEPT_ROWS: Final = 10_000
MOMENT: Final = timedelta(seconds=1)
"""How long a process believes a refusal. Another process may end the pause meanwhile, so not to the pause's end."""
REFUSALS: Final = 20_000
"""Refusals that a process remembers, about 6 MB."""

KNOWN = "SELECT 1 FROM known_addresses WHERE key_hash = %s"
# A known address has its own key in the result; a counter has the end of its pause.
LOOK = """
SELECT key_hash, NULL FROM known_addresses WHERE key_hash = %s
UNION ALL SELECT key_hash, opens_at FROM sign_in_failures WHERE key_hash IN (%s, %s, %s)
"""
# Locks both rows in the order of their keys, so that two attempts cannot deadlock.
LOCK = """
INSERT INTO sign_in_failures (key_hash, failures, as_of, opens_at, clears_at) VALUES (%s, 0, %s, %s, %s), (%s, 0, %s, %s, %s)
ON DUPLICATE KEY UPDATE key_hash = sign_in_failures.key_hash
"""  # noqa: E501
FIND = "SELECT key_hash, failures, as_of, opens_at FROM sign_in_failures WHERE key_hash IN (%s, %s)"
COUNT = "UPDATE sign_in_failures SET failures = %s, as_of = %s, opens_at = %s, clears_at = %s WHERE key_hash = %s"
# Ends the pause too, if it is the one that this attempt began.
TAKE_BACK = """
UPDATE sign_in_failures SET failures = GREATEST(failures - 1, 0), opens_at = IF(opens_at = %s, '1970-01-01', opens_at)
WHERE key_hash = %s
"""
FORGIVE = "DELETE FROM sign_in_failures WHERE key_hash = %s"
REMEMBER = """
INSERT INTO known_addresses (key_hash, seen_at) VALUES {rows} AS new ON DUPLICATE KEY UPDATE seen_at = new.seen_at
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
        # Without a pause it is long open: the clock of a simultaneous attempt may be a moment behind.
        pause = limit.pause(count)
        return FailureCounter(count, now, now + pause if pause else EPOCH)

    def clears_at(self, limit: Limit) -> datetime:
        """When all failures are forgiven."""
        return self.as_of + self.count * limit.forgiven_in


@dataclass(frozen=True, slots=True)
class Target:
    """Whose password an attempt is made at, and for which purpose."""

    purpose: str
    kind: str
    """Of the claim, or `user`."""
    digest: bytes
    """Of the claim, or the user's id."""


def password_change(user_id: UUID) -> Target:
    """The check of the current password before a change of it."""
    return Target("change-password", "user", user_id.bytes)


@dataclass(frozen=True, slots=True)
class PasswordAttempt:
    """An attempt, which counts as failed until `succeeded` or `take_back`."""

    target: Target
    address: str
    known: bool
    """Whether the target's password was given from this address before."""
    opens_at: Mapping[bytes, datetime]
    """The end of the pause that this attempt began, by the key of each counter that counts it."""


class Throttle:
    """Failure counters in the database."""

    def __init__(self, database: Database, secret: bytes, clock: Callable[[], datetime]) -> None:
        """
        Args:
            database: The log's.
            secret: Keys the hashes of claims and addresses, the same on every process.
            clock: The present time.
        """
        self._database = database
        self._secret = secret
        self._clock = clock
        self._turns = Turns()
        self._refused: LRUCache[bytes, tuple[datetime, datetime]] = LRUCache(REFUSALS)
        """By address, and by address and target: the end of the pause, and when it was read."""

    def sign_in(self, login: str) -> Target:
        """A sign-in with this login, in any spelling of it."""
        claim = hashed(self._secret, login_claim(login[: LOGIN_CHARACTERS + 1]))
        return Target("sign-in", claim.kind, claim.digest)

    async def begin(self, target: Target, address: str) -> PasswordAttempt:
        """Count an attempt.

        Raises:
            TooManyFailures: the attempt has to wait; it is not counted.
        """
        self._remembered(target, address)
        by_address = self._key("address", None, address)
        try:
            async with self._turns.taken(by_address):
                if self._remembered(target, address):  # also by the attempts before it in the queue
                    await self._look(target, address)
                known = await self._known(target, address)
                by_account = self._account(target, address, known=known)
                async with self._turns.taken(by_account), self._turns.connections:
                    found, opens_at = await self._count({by_account: OWNER if known else ACCOUNT, by_address: ADDRESS})
        except UserBusy:
            raise TooManyFailures(MOMENT) from None
        if not opens_at:
            raise self._refused_by(target, address, found[by_account].opens_at, found[by_address].opens_at)
        return PasswordAttempt(target, address, known, opens_at)

    async def check_refusals(self, target: Target, address: str) -> None:
        """Refuse an attempt that was refused before and whose pause goes on. Another attempt costs no statement.

        Raises:
            TooManyFailures: the attempt has to wait; it is not counted.
        """
        if not self._remembered(target, address):
            return
        try:
            async with self._turns.taken(self._key("address", None, address)):
                if self._remembered(target, address):
                    await self._look(target, address)
        except UserBusy:
            raise TooManyFailures(MOMENT) from None

    def _remembered(self, target: Target, address: str) -> bool:
        """Whether an earlier attempt was refused for a pause that may go on.

        Raises:
            TooManyFailures: it was refused a moment ago.
        """
        now, found = self._clock(), False
        for key in (self._key("address", None, address), self._key("pair", target, address)):
            opens_at, read_at = self._refused.get(key, (EPOCH, EPOCH))
            if opens_at > now and abs(now - read_at) < MOMENT:
                raise TooManyFailures(opens_at - now)
            found = found or opens_at > now
        return found

    async def _look(self, target: Target, address: str) -> None:
        """Refuse an attempt whose counters have a pause, without locking or counting anything.

        Raises:
            TooManyFailures: the attempt has to wait.
        """
        known, by_address = self._key("known", target, address), self._key("address", None, address)
        counters = {is_known: self._account(target, address, known=is_known) for is_known in (True, False)}
        async with self._turns.connections:
            found = await self._database.fetch_all(LOOK, (known, *counters.values(), by_address))
        rows = {row[0]: row[1] for row in found}
        ends = [aware_utc(rows[key]) if key in rows else EPOCH for key in (counters[known in rows], by_address)]
        refusal = self._refused_by(target, address, *ends)
        if max(ends) > self._clock():
            raise refusal

    def _refused_by(
        self, target: Target, address: str, account_opens_at: datetime, address_opens_at: datetime
    ) -> TooManyFailures:
        """The refusal of an attempt by its counters, which is remembered."""
        now = self._clock()
        self._refused[self._key("pair", target, address)] = account_opens_at, now
        self._refused[self._key("address", None, address)] = address_opens_at, now
        return TooManyFailures(max(account_opens_at, address_opens_at) - now)

    async def _known(self, target: Target, address: str) -> bool:
        async with self._turns.connections:
            return await self._database.fetch_one(KNOWN, (self._key("known", target, address),)) is not None

    async def _count(
        self, limits: Mapping[bytes, Limit]
    ) -> tuple[Mapping[bytes, FailureCounter], Mapping[bytes, datetime]]:
        """Count an attempt with these counters, unless one has a pause.

        Returns the counters as they were, and the ends of the pauses that begin; none if it was not counted.
        """
        keys, now, opens_at = sorted(limits), self._clock(), dict[bytes, datetime]()
        async with self._database.transaction() as transaction:
            moments = (naive_utc(now), NAIVE_EPOCH, naive_utc(now))
            await transaction.execute(LOCK, [value for key in keys for value in (key, *moments)])
            rows = await transaction.fetch_all(FIND, keys)
            found = {row[0]: FailureCounter(row[1], aware_utc(row[2]), aware_utc(row[3])) for row in rows}
            if all(counter.opens_at <= now for counter in found.values()):
                for key, limit in limits.items():
                    counter = found[key].plus_one(limit, now)
                    opens_at[key] = counter.opens_at
                    ends = (counter.as_of, counter.opens_at, counter.clears_at(limit))
                    await transaction.execute(COUNT, (counter.count, *map(naive_utc, ends), key))
        return found, opens_at

    async def succeeded(self, attempt: PasswordAttempt, *others: Target) -> None:
        """Forgive what failed at the target from this address, and know the address from now on.

        It is known for `others` too, further targets of the same user.
        """
        self._forget_refusals(attempt)
        account = self._account(attempt.target, attempt.address, known=attempt.known)
        known = sorted({self._key("known", target, attempt.address) for target in (attempt.target, *others)})
        values = [value for key in known for value in (key, naive_utc(self._clock()))]
        async with self._database.transaction() as transaction:
            for key in sorted(attempt.opens_at):
                if key == account and attempt.known:
                    await transaction.execute(FORGIVE, (key,))
                else:
                    await transaction.execute(TAKE_BACK, (naive_utc(attempt.opens_at[key]), key))
            await transaction.execute(REMEMBER.format(rows=", ".join(["(%s, %s)"] * len(known))), values)

    async def take_back(self, attempt: PasswordAttempt) -> None:
        """Uncount an attempt whose password was not checked."""
        self._forget_refusals(attempt)
        async with self._database.transaction() as transaction:
            for key in sorted(attempt.opens_at):
                await transaction.execute(TAKE_BACK, (naive_utc(attempt.opens_at[key]), key))

    async def sweep(self) -> int:
        """Delete cleared counters and forgotten addresses; return the number of rows."""
        now = self._clock()
        failures = await self._database.sweep(SWEEP_FAILURES, (naive_utc(now), SWEPT_ROWS))
        long_ago = naive_utc(now - timedelta(days=KNOWN_DAYS))
        return failures + await self._database.sweep(SWEEP_KNOWN, (long_ago, SWEPT_ROWS))

    def _forget_refusals(self, attempt: PasswordAttempt) -> None:
        """Ask the counters again: the pause may be one that this attempt began."""
        for key in (self._key("address", None, attempt.address), self._key("pair", attempt.target, attempt.address)):
            self._refused.pop(key, None)

    def _account(self, target: Target, address: str, *, known: bool) -> bytes:
        """The key of the counter for the target, of its owner at a known address or of all other addresses."""
        return self._key("owner", target, address) if known else self._key("account", target)

    def _key(self, counter: str, target: Target | None, address: str = "") -> bytes:
        named = (target.purpose.encode(), target.kind.encode(), target.digest) if target else ()
        parts = (counter.encode(), *named, address.encode())
        text = b"".join(len(part).to_bytes(4) + part for part in parts)  # so that no two lists of parts are one text
        return hmac.digest(self._secret, b"rollcall throttle" + text, hashlib.sha256)
