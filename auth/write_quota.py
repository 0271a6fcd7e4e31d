"""The quota of writes: how much a user may write in an hour and at once, and how much may come from an address.

A write costs one unit, and one for each `UNIT_BYTES` that it has, so that one number bounds writes and bytes.

The budgets are in the database, for all processes together (`auth/budgets.py`). A process does not ask for each write.
It takes units in advance and spends them in memory: one for the first write of a caller, then twice as many each time,
up to a `LEASE_PARTS`th of what a full budget has. What was taken stays the caller's until it is spent. So in an hour a
caller gets its budget and, at worst, what every process has taken before. A caller that writes seldom loses nothing.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from cachetools import LRUCache

from auth.budgets import Budget, Budgets, BudgetSpent

UNIT_BYTES: Final = 4_096
LEASE_PARTS: Final = 32
LEASES: Final = 20_000
"""Callers whose units a process keeps, about 10 MB. One that is dropped begins with one unit again."""


def units(size: int) -> int:
    """The cost of a write of this number of bytes."""
    return max(1, -(-size // UNIT_BYTES))


@dataclass(slots=True)
class _Lease:
    """The units that this process has taken for a caller and not spent yet."""

    left: int = 0
    taken: int = 0
    """How many it took the last time."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class WriteQuota:
    """The quotas of users and addresses."""

    def __init__(self, budgets: Budgets, *, per_user: int, per_address: int, at_once: int = 0) -> None:
        """
        Args:
            budgets: The budgets of all processes.
            per_user: Units an hour of a user; 0 for no limit.
            per_address: Units an hour, and at once, of an address; 0 for no limit.
            at_once: Units that a user may spend at once; 0 for as many as in an hour.
        """
        self._budgets = budgets
        self._user = Budget("change a user", per_user, at_once)
        self._address = Budget("change users from this address", per_address)
        self._leases: LRUCache[tuple[str, str], _Lease] = LRUCache(LEASES)

    async def spend(self, user_id: UUID, address: str, size: int) -> None:
        """Pay for a user's write of a number of bytes, from an address, which is empty if unknown.

        Raises:
            BudgetSpent: a quota is used up; nothing is to be written.
        """
        cost = units(size)
        lease = await self._spend(self._user, str(user_id), cost)
        if address:
            try:
                await self._spend(self._address, address, cost)
            except BudgetSpent:
                lease.left += cost
                raise

    async def _spend(self, budget: Budget, caller: str, cost: int) -> _Lease:
        """Spend units of a budget, and return the lease that they came from."""
        if not budget.per_hour:
            return _Lease()
        lease = self._leases.get((budget.purpose, caller))
        if lease is None:
            lease = self._leases[budget.purpose, caller] = _Lease()
        if lease.left < cost:
            async with lease.lock:  # of many concurrent writes one takes units for all
                if lease.left < cost:
                    await self._renew(lease, budget, caller, cost)
        lease.left -= cost
        return lease

    async def _renew(self, lease: _Lease, budget: Budget, caller: str, cost: int) -> None:
        """Take units until the lease has as many as a write costs."""
        kept, lease.left = lease.left, 0  # others wait for the lock meanwhile
        try:
            lease.taken = await self._take(budget, caller, cost - kept, lease.taken)
            lease.left += lease.taken
        finally:
            lease.left += kept

    async def _take(self, budget: Budget, caller: str, lacking: int, taken: int) -> int:
        """Take the units that are lacking, or twice as many as the last time if there are; return how many."""
        wanted = max(lacking, min(2 * taken, budget.most // LEASE_PARTS))
        if wanted > lacking:
            with suppress(BudgetSpent):
                await self._budgets.spend(budget, caller, wanted)
                return wanted
        await self._budgets.spend(budget, caller, lacking)
        return lacking
