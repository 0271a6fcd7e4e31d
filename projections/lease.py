"""The heartbeat of an active projector: its reports, through the session that holds its turn.

It beats beside the work, not between two pieces of it: a batch that takes long must not cost the turn. And since it
beats through that session, a beat that was taken says that the turn is still there, and that the server will keep it
for another `LEASE_SECONDS`. Who has not been heard for so long must take itself for replaced, whether it has learned of
it or not; that is `check`, before each round.

Whose turn it is: a named MySQL lock, so that one process at a time does a piece of work.

The lock belongs to a session and goes with it, also when the process is killed. A lease is a turn that also goes when
its holder falls silent. A process that was stopped, or whose machine vanished, keeps its session at the server for
hours, and its lock with it. So the holder of a lease has to speak through that session every second, and the server
itself ends the session, by `wait_timeout`, once it has heard nothing for `LEASE_SECONDS`. Whoever waits in GET_LOCK has
the turn at that moment.

What else could have been. A standby that KILLs the session of a leader whose heartbeat is old needs to know the right
session, may kill that of a leader who came a moment ago, and leaves alone the leader's other sessions, of which one may
hold the view's rows locked. A row with a lease and a compare-and-set costs a killed leader's view the whole lease,
where the lock is free at once. Both need a clock and a decision in each process; here the server decides.

A process whose session broke does not learn it at once; what must never be done twice is guarded by a compare-and-set
as well.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from events.database import Connection, Database, translated
from events.errors import DatabaseUnavailable
from projections.errors import LeaseLost
from projections.status import Report, save_report

LEASE_SECONDS: Final = 3
"""Long enough for a busy machine to miss two reports, and short enough to take over within 5 s."""
QUESTION_SECONDS: Final = 1.0
"""How long one question for a lease waits at the server before the one who asks says that it is still there."""

GET_LOCK: Final = "SELECT GET_LOCK(%s, %s)"
IS_USED_LOCK: Final = "SELECT IS_USED_LOCK(%s) IS NOT NULL"


@asynccontextmanager
async def named_lock(database: Database, work: str, *, wait_seconds: float) -> AsyncIterator[Connection | None]:
    """The session that holds the lock on a piece of work, or None if another process kept it all the while."""
    async with database.dedicated() as connection:
        row = await connection.fetch_one(GET_LOCK, (_name(database, work), wait_seconds))
        yield connection if row == (1,) else None


async def is_locked(database: Database, work: str) -> bool:
    """Whether a process holds the lock on a piece of work at this moment."""
    return await database.fetch_one(IS_USED_LOCK, (_name(database, work),)) == (1,)


@asynccontextmanager
async def lease(
    database: Database, work: str, *, standing_by: Callable[[Connection], Awaitable[None]]
) -> AsyncIterator[Connection]:
    """The session that holds the lock on a piece of work, however long it takes to get it.

    Use the session at least once in `LEASE_SECONDS`, or the server ends it. While another process holds the lock,
    `standing_by` is called with it about once a second.

    Raises:
        DatabaseUnavailable: MySQL cannot be reached, or does not answer.
    """
    async with database.dedicated(idle_seconds=LEASE_SECONDS) as connection:
        while not await _ask(connection, _name(database, work)):
            await standing_by(connection)
        yield connection


async def _ask(connection: Connection, name: str) -> bool:
    try:
        async with asyncio.timeout(QUESTION_SECONDS + LEASE_SECONDS):
            return await connection.fetch_one(GET_LOCK, (name, QUESTION_SECONDS)) == (1,)
    except TimeoutError as error:
        raise DatabaseUnavailable("MySQL does not answer who has the named_lock") from error


def _name(database: Database, work: str) -> str:
    """With the schema, since MySQL's named locks belong to the whole server. It has 64 characters at most."""
    return f"rollcall.{work}.{database.address.database}"[:64]


def rebuild_of(view: str) -> str:
    """The name of the lock that a rebuild of a view takes, and that who asks for one looks at."""
    return f"rebuild.{view}"


HEARTBEAT_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 0.25
"""While there is news all the time, reports are this far apart: each is a commit."""


class Heartbeat:
    """Reports at least once a second, sooner when there is news."""

    def __init__(
        self, view: str, session: Connection, report: Callable[[], Report], clock: Callable[[], float]
    ) -> None:
        self._view = view
        self._session = session
        self._report = report
        self._clock = clock
        self._heard_at = clock()
        self._news = asyncio.Event()

    def tell(self) -> None:
        """There is something new to report."""
        self._news.set()

    def check(self) -> None:
        """See that the turn cannot be another's yet.

        Raises:
            LeaseLost: it can.
        """
        silent = self._clock() - self._heard_at
        if silent >= LEASE_SECONDS:
            raise LeaseLost(self._view, silent)

    async def run(self) -> None:
        """Beat until cancelled.

        Raises:
            LeaseLost: a report was not taken in time.
            DatabaseUnavailable: the session has ended, and the turn with it.
        """
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS - SETTLE_SECONDS):
                    await self._news.wait()
            await self.beat()

    async def beat(self) -> None:
        """Report once. From the first beat on, the projector has a last word.

        Raises:
            LeaseLost, DatabaseUnavailable: as for `run`.
        """
        self._news.clear()
        sent_at = self._clock()
        try:
            async with asyncio.timeout(LEASE_SECONDS):
                with translated():
                    await save_report(self._session, self._report())
        except TimeoutError:
            raise LeaseLost(self._view, LEASE_SECONDS) from None
        self._heard_at = sent_at
