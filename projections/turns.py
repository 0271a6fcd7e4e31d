"""Whose turn it is: a named MySQL lock, so that one process at a time does a piece of work.

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
from contextlib import asynccontextmanager
from typing import Final

from events.database import Connection, Database
from events.errors import DatabaseUnavailable

LEASE_SECONDS: Final = 3
"""Long enough for a busy machine to miss two reports, and short enough to take over within 5 s."""
QUESTION_SECONDS: Final = 1.0
"""How long one question for a lease waits at the server before the one who asks says that it is still there."""

GET_LOCK: Final = "SELECT GET_LOCK(%s, %s)"
IS_USED_LOCK: Final = "SELECT IS_USED_LOCK(%s) IS NOT NULL"


@asynccontextmanager
async def turn(database: Database, work: str, *, wait_seconds: float) -> AsyncIterator[Connection | None]:
    """The session that holds the lock on a piece of work, or None if another process kept it all the while."""
    async with database.dedicated() as connection:
        row = await connection.fetch_one(GET_LOCK, (_name(database, work), wait_seconds))
        yield connection if row == (1,) else None


async def is_taken(database: Database, work: str) -> bool:
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
        raise DatabaseUnavailable("MySQL does not answer who has the turn") from error


def _name(database: Database, work: str) -> str:
    """With the schema, since MySQL's named locks belong to the whole server. It has 64 characters at most."""
    return f"rollcall.{work}.{database.address.database}"[:64]


def rebuild_of(view: str) -> str:
    """The name of the turn that a rebuild of a view takes, and that who asks for one looks at."""
    return f"rebuild.{view}"
