"""Make a view anew from the log, beside the one that serves, and put it in that one's place.

The projector may go on meanwhile: it writes the live view, this writes the other one. After the swap it asks the view
for its position, as it does in every round, and goes on from there.
"""

from collections.abc import Callable
from typing import Final

from events.database import Connection, Database
from events.store import EventStore
from projections.errors import RebuildRunning
from projections.reports import save_rebuild_progress
from projections.turns import turn
from projections.view import Rebuildable, View

BATCH_EVENTS: Final = 2_000

Progress = Callable[[int, int], None]
"""Called with the position reached and the head of the log."""


async def rebuild(view: Rebuildable, store: EventStore, database: Database, progress: Progress) -> int:
    """Rebuild the view; the position that the new one has reached when it takes over.

    If it is interrupted the live view is as it was, and what was half made is removed by the next rebuild.

    Raises:
        RebuildRunning: another process is at it.
    """
    async with turn(database, f"rebuild.{view.name}", wait_seconds=0) as session:
        if session is None:
            raise RebuildRunning(view.name)
        try:
            return await _rebuild(view, store, session, progress)
        finally:
            await save_rebuild_progress(session, view.name, None)


async def _rebuild(view: Rebuildable, store: EventStore, session: Connection, progress: Progress) -> int:
    replacement = view.beside()
    await replacement.discard()
    await replacement.prepare()
    position = 0
    while (head := await store.head()) > position:
        position = await _advance(replacement, store, position)
        progress(position, head)
        await save_rebuild_progress(session, view.name, position / max(head, position))
    await replacement.promote()
    return position


async def _advance(replacement: View, store: EventStore, position: int) -> int:
    events = await store.read_all(after=position, limit=BATCH_EVENTS)
    await replacement.apply(events, after=position)
    return position + len(events)
