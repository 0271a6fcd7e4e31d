"""Locks and leases: one process at a time does a piece of work, and another takes over when it falls silent.

A named MySQL lock belongs to a session and is released with it, also when the process is killed. A lease is such a lock
that is lost by silence as well. A process that is suspended, or whose machine vanished, keeps its session at the server
for hours, and the lock with it. So the holder of a lease speaks through that session every second (`Heartbeat`), and
the server ends the session, by `wait_timeout`, after `LEASE_SECONDS` without a word. A process that waits in GET_LOCK
then has the lock at once.

Alternatives that fail: a standby that KILLs the session of a leader with an old heartbeat may kill the session of a
leader that came a moment ago, and leaves the leader's other sessions, which may hold row locks of the view. A row with
a lease time and compare-and-set makes the view of a killed leader wait for the whole lease. Both need a clock and a
decision in each process; here the server decides.

The heartbeat runs concurrently with the work, so a batch that takes long does not lose the lease. A report that was
accepted proves that the session still holds the lock, for another `LEASE_SECONDS`. A process whose session broke does
not learn it at once, so what must never happen twice is guarded by compare-and-set as well.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from events.database import Connection, Database
from events.errors import DatabaseUnavailable
from events.mysql_errors import translated
from projections.errors import LeaseLost
from projections.status import ProjectorReport, save_report

LEASE_SECONDS: Final = 3
"""Long enough for a busy machine to miss two reports, and short enough to take over within 5 s."""
GET_LOCK_SECONDS: Final = 1.0
"""Time that one GET_LOCK of a standby waits before the standby reports and tries again."""
HEARTBEAT_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 0.25
"""The least time between two reports: each is a commit."""

GET_LOCK: Final = "SELECT GET_LOCK(%s, %s)"
IS_USED_LOCK: Final = "SELECT IS_USED_LOCK(%s) IS NOT NULL"


@asynccontextmanager
async def named_lock(database: Database, name: str, *, wait_seconds: float) -> AsyncIterator[Connection | None]:
    """The session that holds the lock, or None if another process held it for `wait_seconds`."""
    async with database.dedicated() as connection:
        row = await connection.fetch_one(GET_LOCK, (_server_name(database, name), wait_seconds))
        yield connection if row == (1,) else None


async def is_locked(database: Database, name: str) -> bool:
    """Whether a process holds the lock now."""
    return await database.fetch_one(IS_USED_LOCK, (_server_name(database, name),)) == (1,)


def rebuild_lock(view: str) -> str:
    """The name of the lock that a rebuild of the view holds."""
    return f"rebuild.{view}"


@asynccontextmanager
async def lease(
    database: Database, name: str, *, standing_by: Callable[[Connection], Awaitable[None]]
) -> AsyncIterator[Connection]:
    """The session that holds the lock, however long it takes to get it.

    Use the session at least once in `LEASE_SECONDS`, or the server ends it. While another process holds the lock,
    `standing_by` is called with the session about once a second.

    Raises:
        DatabaseUnavailable: MySQL cannot be reached, or does not answer.
    """
    async with database.dedicated(idle_seconds=LEASE_SECONDS) as connection:
        while True:
            try:
                async with asyncio.timeout(GET_LOCK_SECONDS + LEASE_SECONDS):
                    row = await connection.fetch_one(GET_LOCK, (_server_name(database, name), GET_LOCK_SECONDS))
            except TimeoutError as error:
                raise DatabaseUnavailable("MySQL does not answer GET_LOCK") from error
            if row == (1,):
                break
            await standing_by(connection)
        yield connection


def _server_name(database: Database, name: str) -> str:
    """With the schema, since named locks belong to the whole server. MySQL allows 64 characters."""
    return f"rollcall.{name}.{database.address.database}"[:64]


class Heartbeat:
    """Renews a lease: reports through its session at least once a second, sooner when something changed."""

    def __init__(
        self, view: str, session: Connection, report: Callable[[], ProjectorReport], clock: Callable[[], float]
    ) -> None:
        self._view = view
        self._session = session
        self._report = report
        self._clock = clock
        self._accepted_at = clock()
        self._changed = asyncio.Event()

    def check(self) -> None:
        """Ensure that no other process can hold the lease yet.

        Raises:
            LeaseLost: no report was accepted for as long as the lease lasts.
        """
        silent = self._clock() - self._accepted_at
        if silent >= LEASE_SECONDS:
            raise LeaseLost(self._view, silent)

    def beat_soon(self) -> None:
        """Report without waiting for the next second: something changed."""
        self._changed.set()

    async def run(self) -> None:
        """Report until cancelled.

        Raises:
            LeaseLost: a report was not accepted in time.
            DatabaseUnavailable: the session has ended, and the lease with it.
        """
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS - SETTLE_SECONDS):
                    await self._changed.wait()
            await self.beat()

    async def beat(self) -> None:
        """Report once.

        Raises:
            LeaseLost, DatabaseUnavailable: as `run`.
        """
        self._changed.clear()
        sent_at = self._clock()
        try:
            async with asyncio.timeout(LEASE_SECONDS):
                with translated():
                    await save_report(self._session, self._report())
        except TimeoutError:
            raise LeaseLost(self._view, LEASE_SECONDS) from None
        self._accepted_at = sent_at
