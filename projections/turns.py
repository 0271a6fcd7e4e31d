"""Whose turn it is: a named MySQL lock, so that one process at a time does a piece of work.

The lock belongs to a session and goes with it, also when the process is killed. A process whose session broke does not
learn it at once; what must never be done twice is guarded by a compare-and-set as well.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from events.database import Connection, Database


@asynccontextmanager
async def turn(database: Database, work: str, *, wait_seconds: float) -> AsyncIterator[Connection | None]:
    """The session that holds the lock on a piece of work, or None if another process kept it all the while.

    The name carries the schema, since MySQL's named locks belong to the whole server. It has 64 characters at most.
    """
    name = f"rollcall.{work}.{database.address.database}"[:64]
    async with database.dedicated() as connection:
        row = await connection.fetch_one("SELECT GET_LOCK(%s, %s)", (name, wait_seconds))
        yield connection if row == (1,) else None
