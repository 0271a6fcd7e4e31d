"""Reading one's own writes: answers from views that have reached the position which the client asks for.

A mutation tells its position; a client that sends it back as `Min-Position` is answered once each view that the answer
reads has come so far. Waiting for a view costs reading its checkpoint: one row by its primary key in MySQL, two small
look-ups in MongoDB. All requests of the process share a reading, and one that is 50 ms old will do as long as it is far
enough; so a busy process reads each checkpoint twenty times a second at most while nobody has to wait, and no more
than a hundred times while somebody does. The `Position` header comes from the same readings, and is therefore a
position that the answer has reached at least.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from events.database import Database
from graph.errors import projection_behind
from projections.mongo import NAME as MONGO_USERS
from projections.mongo.client import MongoDatabase
from projections.mongo.view import MongoView
from projections.mysql import NAME as MYSQL_USERS
from projections.mysql.view import MySQLView

WAIT_SECONDS: Final = 2.0
"""How long one operation waits, for all its views together."""
RECENT_SECONDS: Final = 0.05
PAUSE_SECONDS: Final = 0.01


class ViewPosition:
    """How far one view is, as this process has seen it. However many ask at once, the view is asked once."""

    def __init__(self, name: str, checkpoint: Callable[[], Awaitable[int]]) -> None:
        self.name = name
        self._checkpoint = checkpoint
        self._position = 0
        self._read_at = float("-inf")
        self._reading: asyncio.Future[None] | None = None

    async def reach(self, wanted: int, until: float) -> int:
        """Where the view is, once it has reached a position; `until` is a time of the event loop.

        Raises:
            ClientError: it has not by then; PROJECTION_BEHIND.
            ViewMissing, ViewUnavailable, DatabaseUnavailable: it cannot be read.
        """
        try:
            # Who asks for no position waits for no progress: only for a database that may be away, which says so.
            async with asyncio.timeout_at(until if wanted else None):
                while not self._has(wanted):
                    await self._read()
                    if self._position < wanted:
                        await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            raise projection_behind(self.name, self._position, wanted) from None
        return self._position

    def _has(self, wanted: int) -> bool:
        age = asyncio.get_running_loop().time() - self._read_at
        return self._position >= wanted and age <= RECENT_SECONDS

    async def _read(self) -> None:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(self._read_now())
            self._reading.add_done_callback(_look_at)
        await asyncio.shield(self._reading)  # others may wait for it when this one is cancelled

    async def _read_now(self) -> None:
        began = asyncio.get_running_loop().time()
        self._position = await self._checkpoint()
        self._read_at = began


def _look_at(reading: asyncio.Future[None]) -> None:
    """Whoever waited for it may have given up by now, so its failure may be nobody's."""
    if not reading.cancelled():
        reading.exception()


@dataclass(frozen=True, slots=True)
class ViewPositions:
    """Both views' positions."""

    mysql_users: ViewPosition
    mongo_users: ViewPosition

    @classmethod
    def of(cls, database: Database, documents: MongoDatabase) -> "ViewPositions":
        """Those of the views that live there."""
        return cls(
            ViewPosition(MYSQL_USERS, MySQLView(database).checkpoint),
            ViewPosition(MONGO_USERS, MongoView(documents).checkpoint),
        )


@dataclass(slots=True)
class Freshness:
    """How far the views must be that one operation reads, and how far they were."""

    at_least: int = 0
    positions: list[int] = field(default_factory=list)
    until: float | None = None

    @property
    def position(self) -> int | None:
        """The least of the views that the answer was read from; None if it was read from none."""
        return min(self.positions, default=None)

    async def wait(self, view: ViewPosition) -> None:
        """Wait until a view is as fresh as this operation wants it."""
        if self.until is None:
            self.until = asyncio.get_running_loop().time() + WAIT_SECONDS
        self.positions.append(await view.reach(self.at_least, self.until))


_CURRENT: ContextVar[Freshness] = ContextVar("freshness")
"""Of the operation that is being carried out. The operations of a socket share their `Context`, so it is not there."""


def freshness() -> Freshness:
    """What the operation that is being carried out asks for."""
    found = _CURRENT.get(None)
    if found is None:
        found = Freshness()
        _CURRENT.set(found)
    return found


@contextmanager
def require_position(at_least: int) -> Iterator[Freshness]:
    """Carry out an operation, and begin tasks for one, that wants views at a position."""
    token = _CURRENT.set(Freshness(at_least))
    try:
        yield _CURRENT.get()
    finally:
        _CURRENT.reset(token)
