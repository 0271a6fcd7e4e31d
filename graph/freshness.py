"""Read-your-writes: an answer comes from views that have reached the position that the client requires.

A mutation returns its position. A client that sends it back as `Min-Position` is answered once each view that the
answer reads has reached it. The process shares the readings of each checkpoint: a reading of at most 50 ms ago serves
every operation whose position it covers, so a view is asked 20 times a second at most while no operation waits, and 100
times while one does. The `Position` header is the least of the same readings, so the answer has reached at least that.
Where replicas answer, `graph/replicas.py` chooses one that has reached the position.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Protocol

from events.checkpoint import Checkpoint
from graph.errors import projection_behind

WAIT_SECONDS: Final = 2.0
"""Longest wait of one operation for all its views together."""
RECENT_SECONDS: Final = 0.05
PAUSE_SECONDS: Final = 0.01


class HasCheckpoint(Protocol):
    """A view, or what stands for one."""

    @property
    def name(self) -> str: ...

    async def checkpoint(self) -> Checkpoint: ...


class ViewPosition:
    """The position of one view as last read by this process. Concurrent callers share one reading."""

    def __init__(self, view: HasCheckpoint) -> None:
        self.name = view.name
        self.position = 0
        """As last read."""
        self._checkpoint = view.checkpoint
        self._read_at = float("-inf")
        self._reading: asyncio.Future[None] | None = None

    async def reach(self, wanted: int, until: float) -> int:
        """Wait until the view has reached a position; return its position. `until` is a time of the event loop.

        Raises:
            ClientError: PROJECTION_BEHIND; it has not reached the position by then.
            ViewMissing, ViewUnavailable, DatabaseUnavailable: the checkpoint cannot be read.
        """
        try:
            # Without a required position there is no progress to wait for: the database's own timeouts apply.
            async with asyncio.timeout_at(until if wanted else None):
                while not self.has(wanted):
                    await asyncio.shield(self.reading())  # others may wait for it when this caller is cancelled
                    if self.position < wanted:
                        await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            raise projection_behind(self.name, self.position, wanted) from None
        return self.position

    def has(self, wanted: int) -> bool:
        """The view has reached a position, according to a recent reading."""
        age = asyncio.get_running_loop().time() - self._read_at
        return self.position >= wanted and age <= RECENT_SECONDS

    def reading(self) -> "asyncio.Future[None]":
        """The reading that is under way, or a new one. It is shared: do not cancel it."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(self._read_now())
            self._reading.add_done_callback(_retrieve_exception)
        return self._reading

    async def _read_now(self) -> None:
        began = asyncio.get_running_loop().time()
        self.position = (await self._checkpoint()).position
        self._read_at = began


def _retrieve_exception(reading: asyncio.Future[None]) -> None:
    """Keep asyncio from logging the failure of a reading whose callers were all cancelled."""
    if not reading.cancelled():
        reading.exception()


class Reachable(Protocol):
    """A view that can be waited for, on one server or on several."""

    async def reach(self, wanted: int, until: float) -> int: ...


@dataclass(frozen=True, slots=True)
class ViewPositions:
    """The positions of both views."""

    mysql_users: Reachable
    mongo_users: Reachable


@dataclass(slots=True)
class Freshness:
    """The position that one operation requires of its views, and the positions that they had."""

    at_least: int = 0
    positions: list[int] = field(default_factory=list)
    until: float | None = None
    servers: dict[str, int] = field(default_factory=dict)
    """The server that answers, by view: its number in `Replicas`."""

    @property
    def position(self) -> int | None:
        """The least position of the views that the answer was read from; None if it read none."""
        return min(self.positions, default=None)

    async def wait(self, view: Reachable) -> None:
        """Wait until a view has reached the required position."""
        self.positions.append(await view.reach(self.at_least, self.deadline()))

    def deadline(self) -> float:
        """The time of the event loop at which the operation stops waiting for its views."""
        if self.until is None:
            self.until = asyncio.get_running_loop().time() + WAIT_SECONDS
        return self.until


_CURRENT: ContextVar[Freshness] = ContextVar("freshness")
"""The wait of the running operation. It cannot be in `Context`, which all operations of a WebSocket share."""


def freshness() -> Freshness:
    """The freshness of the running operation."""
    found = _CURRENT.get(None)
    if found is None:
        found = Freshness()
        _CURRENT.set(found)
    return found


@contextmanager
def require_position(at_least: int) -> Iterator[Freshness]:
    """Require a position of the views that are read by the operations and tasks started within."""
    token = _CURRENT.set(Freshness(at_least))
    try:
        yield _CURRENT.get()
    finally:
        _CURRENT.reset(token)
