"""Budgets: how much a caller may do in an hour, counted by all processes together.

A budget fills evenly, by so much an hour, until it has as much as may be spent at once. One instant per caller says how
much is left, the moment at which its budget is full again; spending moves it into the future, at most by the time that
an empty budget takes to fill. (This is the generic cell rate algorithm. A count per hour instead would allow twice as
much around each full hour.)

One statement decides and writes, so concurrent requests cannot overspend. The instant of a caller that was refused is
remembered in the process. Until it is near enough, this caller costs no statement, however many requests it sends.
Requests of one caller take turns, so that a flood of them holds one connection (`auth/turns.py`).
"""

import hashlib
import hmac
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cachetools import LRUCache

from auth.turns import Turns
from events.database import Database
from events.errors import UserBusy
from events.sql import aware_utc, naive_utc

HOUR: Final = timedelta(hours=1)
REFUSED_CALLERS: Final = 20_000
"""Refused callers that a process remembers, about 4 MB."""
SWEPT_ROWS: Final = 10_000

# Changes no row if too little is left. Without a row the budget is full.
SPEND = """
INSERT INTO budgets (key_hash, full_at) VALUES (%s, %s)
ON DUPLICATE KEY UPDATE full_at =
  IF(full_at > %s, full_at, GREATEST(full_at, CAST(%s AS DATETIME(6))) + INTERVAL %s MICROSECOND)
"""
FIND = "SELECT full_at FROM budgets WHERE key_hash = %s"
SWEEP = "DELETE FROM budgets WHERE full_at < %s LIMIT %s"


class BudgetSpent(Exception):
    """The caller's budget for this purpose is spent; the message says when to try again."""

    def __init__(self, purpose: str, wait: timedelta) -> None:
        self.seconds = max(1, math.ceil(wait.total_seconds()))
        super().__init__(f"too many requests to {purpose}: try again in {self.seconds} s")


@dataclass(frozen=True, slots=True)
class Budget:
    """What each caller may spend on a purpose."""

    purpose: str
    """Completes "too many requests to"."""
    per_hour: int
    """How much comes back in an hour; 0 for no limit."""
    at_once: int = 0
    """The most that may be spent at once; 0 for as much as in an hour."""

    @property
    def most(self) -> int:
        """What a full budget has."""
        return min(self.at_once or self.per_hour, self.per_hour)

    def time_for(self, amount: int) -> timedelta:
        """How long it takes to fill up by an amount. More than the whole budget counts as the whole."""
        return max(HOUR * (min(amount, self.most) / self.per_hour), timedelta.resolution)

    @property
    def filling(self) -> timedelta:
        """How long an empty budget takes to fill."""
        return self.time_for(self.most)


class Budgets:
    """The callers' budgets in the database."""

    def __init__(self, database: Database, secret: bytes, clock: Callable[[], datetime]) -> None:
        """
        Args:
            database: The log's.
            secret: Keys the hashes of callers, the same on every process.
            clock: The present time.
        """
        self._database = database
        self._secret = secret
        self._clock = clock
        self._refused: LRUCache[bytes, datetime] = LRUCache(REFUSED_CALLERS)
        self._turns = Turns()

    async def spend(self, budget: Budget, caller: str, amount: int = 1) -> None:
        """Spend an amount of a caller's budget, or nothing.

        Args:
            budget: The purpose and its limit.
            caller: Whom the budget belongs to, such as an address.
            amount: How much, such as 1 for a request.

        Raises:
            BudgetSpent: too little is left.
        """
        if not budget.per_hour:
            return
        key, time = self._key(budget, caller), budget.time_for(amount)
        self._check_refusal(key, budget, time)
        try:
            async with self._turns.taken(key), self._turns.connections:
                self._check_refusal(key, budget, time)  # of the requests before it in the queue
                await self._spend(key, budget, time)
        except UserBusy:
            raise BudgetSpent(budget.purpose, timedelta()) from None

    async def _spend(self, key: bytes, budget: Budget, time: timedelta) -> None:
        now = self._clock()
        latest = now + budget.filling - time
        moments = [naive_utc(moment) for moment in (now + time, latest, now)]
        if await self._database.execute(SPEND, (key, *moments, time // timedelta.resolution)):
            self._refused.pop(key, None)
            return
        row = await self._database.fetch_one(FIND, (key,))
        full_at = self._refused[key] = aware_utc(row[0]) if row else now
        raise BudgetSpent(budget.purpose, full_at - latest)

    def _check_refusal(self, key: bytes, budget: Budget, time: timedelta) -> None:
        """
        Raises:
            BudgetSpent: as far as this process knows, too little is left.
        """
        full_at, latest = self._refused.get(key), self._clock() + budget.filling - time
        if full_at is not None and full_at > latest:
            raise BudgetSpent(budget.purpose, full_at - latest)

    async def spent(self, budget: Budget, caller: str) -> float:
        """The part of a caller's budget that is spent now, between 0 and 1."""
        row = await self._database.fetch_one(FIND, (self._key(budget, caller),))
        return min(max((aware_utc(row[0]) - self._clock()) / budget.filling, 0.0), 1.0) if row else 0.0

    async def sweep(self) -> int:
        """Delete the rows of full budgets; return their number."""
        return await self._database.sweep(SWEEP, (naive_utc(self._clock()), SWEPT_ROWS))

    def _key(self, budget: Budget, caller: str) -> bytes:
        text = f"rollcall budget\0{budget.purpose}\0{caller}"  # a purpose is a constant without \0
        return hmac.digest(self._secret, text.encode(errors="surrogatepass"), hashlib.sha256)


class Purpose(StrEnum):
    """What an address has a budget for. The values complete "too many requests to"."""

    REGISTER = "register"
    SIGN_IN = "sign in"
    REFRESH = "refresh a session"
    CHANGE_PASSWORD = "change a password"  # noqa: S105
    MAIL = "get a mail"


class AddressBudgets:
    """The budgets of addresses, an IPv4 address or an IPv6 network each: see auth/addresses.py."""

    def __init__(self, budgets: Budgets, per_hour: Mapping[Purpose, int]) -> None:
        self._budgets = budgets
        self._by_purpose = {purpose: Budget(purpose, per_hour[purpose]) for purpose in Purpose}

    async def pay(self, purpose: Purpose, address: str) -> None:
        """Pay for one request of an address.

        Raises:
            BudgetSpent: its budget for this purpose is spent.
        """
        await self._budgets.spend(self._by_purpose[purpose], address)
