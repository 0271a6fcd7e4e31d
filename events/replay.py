"""Changes of the past, read from the log for one listener: page by page, as it takes them."""

from collections.abc import AsyncGenerator
from typing import Final
from uuid import UUID

import msgspec

from events.errors import PositionGap
from events.store import EventStore
from events.unfolding import Change, Unfolding, Wanted, user_after

PAGE_EVENTS: Final = 100
"""What a listener that reads the past holds in memory: so many changes, and as many users."""


class Past(msgspec.Struct, frozen=True):
    """Every wanted change up to a position, after the page before."""

    changes: list[Change]
    position: int


Replay = AsyncGenerator[Past, None]


async def replay_log(store: EventStore, wanted: Wanted, *, after: int, up_to: int) -> Replay:
    """The wanted changes of all users."""
    unfolding = Unfolding(store, PAGE_EVENTS)
    while after < up_to:
        page = await store.read_all(after=after, limit=min(PAGE_EVENTS, up_to - after))
        if not page:
            raise PositionGap(after + 1, up_to)
        changes = await unfolding.changes(page, wanted)
        after = page[-1].position
        yield Past(changes, after)


async def replay_user(store: EventStore, user_id: UUID, wanted: Wanted, *, after: int, up_to: int) -> Replay:
    """The wanted changes of one user: its own events are read, from the first, and nobody else's."""
    user, version = None, 0
    while page := await store.read_stream_page(user_id, after_version=version, up_to=up_to, limit=PAGE_EVENTS):
        changes = []
        for recorded in page:
            user, version = user_after(user, recorded), recorded.version
            if recorded.position > after and wanted(recorded):
                changes.append(Change(recorded, user))
        yield Past(changes, max(after, page[-1].position))
