"""Requests for rebuilds, stored so that they outlive the process that accepted them.

A request is a row. One process at a time attends to it and renews that every second; after `SILENT_SECONDS` without a
renewal another process takes over. The rebuild itself is kept single by its own lock. A view has one request that has
not ended: the unique key on `waiting_view` rejects a second one, in whichever processes they arrive together.
"""

import hashlib
from typing import Final
from uuid import UUID

from asyncmy.errors import IntegrityError

from events.database import Database
from events.errors import OutcomeUnknown
from projections.errors import KeyUsed, RebuildRunning
from projections.lease import is_locked, rebuild_lock
from projections.status import save_rebuild_progress

SILENT_SECONDS: Final = 5.0
ENDING_SECONDS: Final = 2.0
"""A rebuild saves its end before its request is settled: in between, no new progress is shown."""
DUPLICATE: Final = 1062
"""MySQL's error number for a duplicate value of a unique key."""

ADD = """
INSERT INTO rebuild_requests (view, asked_by, correlation, key_hash, asked_at)
VALUES (%s, %s, %s, %s, UTC_TIMESTAMP(6))
"""
FIND_SENT = "SELECT view FROM rebuild_requests WHERE asked_by = %s AND key_hash = %s"
FIND_WAITING = "SELECT 1 FROM rebuild_requests WHERE waiting_view = %s"
ATTEND = """
UPDATE rebuild_requests SET process = %s, attended_at = UTC_TIMESTAMP(6)
WHERE waiting_view = %s
  AND (process IS NULL OR process = %s OR attended_at < UTC_TIMESTAMP(6) - INTERVAL %s SECOND)
"""
# Until the rebuild saves its own progress, and while it starts again; not between its end and its request's end.
STILL_THERE = """
UPDATE projectors SET rebuild_progress = COALESCE(rebuild_progress, 0), rebuild_heartbeat_at = UTC_TIMESTAMP(6)
WHERE view = %s AND EXISTS (SELECT 1 FROM rebuild_requests WHERE waiting_view = %s)
  AND (rebuild_progress IS NOT NULL OR rebuild_heartbeat_at < UTC_TIMESTAMP(6) - INTERVAL %s SECOND)
"""
LEAVE = "UPDATE rebuild_requests SET process = NULL WHERE waiting_view = %s AND process = %s"
SETTLE = """
UPDATE rebuild_requests SET ended_at = COALESCE(ended_at, UTC_TIMESTAMP(6)), settled_at = UTC_TIMESTAMP(6)
WHERE view = %s AND settled_at IS NULL
"""
FAIL = "UPDATE rebuild_requests SET ended_at = UTC_TIMESTAMP(6), failure = %s WHERE waiting_view = %s"


class RebuildRequests:
    """The requested rebuilds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self, view: str, asked_by: UUID, correlation: UUID, key: str | None) -> None:
        """Request a rebuild of a view; do nothing if the key was used for this view before.

        Raises:
            RebuildRunning: it is being rebuilt, or a rebuild is requested.
            KeyUsed: the caller has used this key for another view.
        """
        sent = (asked_by.bytes, hashlib.sha256(key.encode(errors="surrogatepass")).digest() if key else None)
        if await self._was_sent(view, sent):
            return
        if await is_locked(self._database, rebuild_lock(view)):
            raise RebuildRunning(view)
        try:
            async with self._database.transaction() as transaction:
                await transaction.execute(ADD, (view, sent[0], correlation.bytes, sent[1]))
                await save_rebuild_progress(transaction, view, 0.0)
        except IntegrityError as error:
            if error.args[0] != DUPLICATE:
                raise
            if not await self._was_sent(view, sent):
                raise RebuildRunning(view) from error
        except OutcomeUnknown:
            if not await self.is_waiting(view):
                raise

    async def is_waiting(self, view: str) -> bool:
        """Whether a request has not ended."""
        return await self._database.fetch_one(FIND_WAITING, (view,)) is not None

    async def attend(self, view: str, process: str) -> bool:
        """Whether this process attends to a request. Call it every second to keep attending."""
        if not await self._database.execute(ATTEND, (process, view, process, SILENT_SECONDS)):
            return False
        await self._database.execute(STILL_THERE, (view, view, ENDING_SECONDS))
        return True

    async def leave(self, view: str, process: str) -> None:
        """Let another process attend at once."""
        await self._database.execute(LEAVE, (view, process))

    async def settle(self, view: str) -> None:
        """End all requests of a view that was rebuilt; earlier failures are no longer shown."""
        async with self._database.transaction() as transaction:
            await transaction.execute(SETTLE, (view,))
            await save_rebuild_progress(transaction, view, None)

    async def fail(self, view: str, failure: str) -> None:
        """End the request with a failure, which the status shows."""
        async with self._database.transaction() as transaction:
            await transaction.execute(FAIL, (failure, view))
            await save_rebuild_progress(transaction, view, None)

    async def _was_sent(self, view: str, sent: tuple[bytes, bytes | None]) -> bool:
        found = await self._database.fetch_one(FIND_SENT, sent) if sent[1] else None
        if found and found[0] != view:
            raise KeyUsed(found[0])
        return found is not None
