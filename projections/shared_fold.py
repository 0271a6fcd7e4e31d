"""Fold the log once for several rebuilds that run side by side in one process.

Each rebuild asks for the parts of a fold as if it were alone. A pass begins once every rebuild has asked or left, and
those that ask for the same users as of the same position share it. The next part, which takes the memory of the one
before it, begins once all who share the pass have asked for it. A rebuild that fails leaves and is not waited for, so
it costs the others nothing. A pass runs in a task of its own: it belongs to none of the rebuilds.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from events.bulk import UserRange
from events.checkpoint import Checkpoint
from events.database import Source
from events.store import EventStore
from events.vault import Vault
from projections.folding import ItemsDone, LogFold, fold_log

DIGESTS_SHARE: Final = 0.125
"""The share of the limit for digests. Of one rebuild, 256 MiB have room for those of a million users."""


@dataclass(eq=False, slots=True)
class _Request:
    users: UserRange
    up_to: int
    advance: ItemsDone
    exact: bool
    begun: asyncio.Future["_Pass"] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class SharedFold:
    """The folded log, for a number of rebuilds."""

    def __init__(
        self, store: EventStore, source: Source, vault: Vault, *, limit_bytes: int, history_events: int, rebuilds: int
    ) -> None:
        """`limit_bytes` is for folded users and digests together. `history_events` is the most that a view lists."""
        self._store = store
        self._source = source
        self._vault = vault
        self.digests_bytes = int(DIGESTS_SHARE * limit_bytes) // rebuilds
        """The limit of each rebuild for digests of what it has written."""
        self._limit_bytes = limit_bytes - rebuilds * self.digests_bytes
        self._history_events = history_events
        self._rebuilds = rebuilds
        self._requests: list[_Request] = []
        self._end: Checkpoint | None = None
        self._ending = asyncio.Lock()

    async def end(self) -> Checkpoint:
        """The end of the log when the first rebuild asked: copies that begin together are filled as of one place."""
        async with self._ending:
            if self._end is None:
                self._end = await self._store.end()
            return self._end

    async def parts(
        self, users: UserRange, up_to: int, advance: ItemsDone, *, exact: bool = True
    ) -> AsyncGenerator[LogFold, None]:
        """The users of a range as of a position, part by part, in the order of their ids.

        Each part is valid until the next one is requested. Unless the position must be exact, it may be an earlier one
        that suits another rebuild.

        Raises:
            PositionGap, UnreadableEvent: as `BulkReader.pages`.
        """
        request = _Request(users, up_to, advance, exact)
        self._requests.append(request)
        self._begin()
        try:
            shared = await request.begun
            while (part := await shared.next(request)) is not None:
                yield part
        finally:
            if request in self._requests:
                self._requests.remove(request)
            elif not request.begun.cancelled():  # it may have begun just as this was cancelled
                await request.begun.result().leave(request)

    def leave(self) -> None:
        """One rebuild is done, or has failed: the others do not wait for it any more."""
        self._rebuilds -= 1
        self._begin()

    def _begin(self) -> None:
        if len(self._requests) < self._rebuilds:
            return
        alike: dict[tuple[UserRange, int | None], list[_Request]] = {}
        for request in self._requests:
            if not request.begun.cancelled():
                alike.setdefault((request.users, request.up_to if request.exact else None), []).append(request)
        self._requests.clear()
        for (users, _), requests in alike.items():
            shared = _Pass(requests)
            shared.parts = fold_log(
                users,
                self._source,
                self._vault,
                min(request.up_to for request in requests),
                limit_bytes=self._limit_bytes // len(alike),
                history_events=self._history_events,
                advance=shared.advance,
            )
            for request in requests:
                request.begun.set_result(shared)


class _Pass:
    """One pass over the log, for those who asked for it."""

    parts: AsyncGenerator[LogFold, None]

    def __init__(self, requests: list[_Request]) -> None:
        self._members = set(requests)
        self._ready: set[_Request] = set()
        self._next: asyncio.Task[LogFold | None] | None = None
        self._asked = asyncio.Event()

    def advance(self, events: int) -> None:
        for member in self._members:
            member.advance(events)

    async def next(self, member: _Request) -> LogFold | None:
        """The next part; None if there is none."""
        self._ready.add(member)
        asked = self._asked
        self._step()
        await asked.wait()
        assert self._next is not None  # noqa: S101 - `_step` starts it before it sets the event
        return await asyncio.shield(self._next)

    async def leave(self, member: _Request) -> None:
        self._members.discard(member)
        self._ready.discard(member)
        if self._members:
            self._step()
            return
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self.parts.aclose()

    def _step(self) -> None:
        """Fold the next part, if all who are left have asked for it."""
        if self._ready >= self._members:
            self._ready.clear()
            self._next = asyncio.create_task(self._fold())
            self._asked.set()
            self._asked = asyncio.Event()

    async def _fold(self) -> LogFold | None:
        with suppress(StopAsyncIteration):
            return await anext(self.parts)
        return None
