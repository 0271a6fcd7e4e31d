"""Make a view anew from the log, beside the one that serves, and put it in that one's place.

    fill ──▶ build the indexes ──▶ catch up ──▶ compare ──▶ catch up ──▶ swap

The copy is filled with each user once, as of the position that the log has when the rebuild begins
(`projections/folding.py`). Then the copy is a view like any other, and catches up with what has happened since. It is
compared with the log, every user and every field. If it differs it is removed, and the live view stays. Else it catches
up once more, and takes the live view's place together with its checkpoint.

The projector goes on with the live view meanwhile. After the swap it asks the view for its position, as it does in
every round, and goes on from there. So the new view may be a few events behind at the swap, as a view always may.

Killed at any moment, the live view is as it was, and the next rebuild goes on where the copy says that it is filled.

What is folded in memory at the end of filling, if it is all users, is folded on and used for the comparison: it is
what the log adds up to, whatever was written since. If it is not all users, they are folded once more, part by part.

The former view is kept. To go back to it, it catches up first, and then changes places with the live one.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from events.database import Connection, Database
from events.store import ALL_USERS, EventStore, UserRange
from events.vault import Vault
from projections.comparison import compare
from projections.errors import (
    CheckpointMoved,
    NoPreviousView,
    NoSuchSnapshot,
    OutOfStep,
    RebuildDiffers,
    RebuildRunning,
    SnapshotExists,
    ViewMissing,
)
from projections.folding import LogFold, past_of
from projections.lease import named_lock, rebuild_lock
from projections.status import save_rebuild_progress
from projections.view import Copies, FillState, Records

BATCH_EVENTS: Final = 2_000
TOLD_DIFFERENCES: Final = 20
READ_AGAIN: Final = 3
SAVE_SECONDS: Final = 0.5
TURN_SECONDS: Final = 3.0
"""For the server to notice that a process which worked on the copies just now has gone."""

Progress = Callable[[str, str, int, int], None]
"""Called with what is being done, in which unit, how much of it is done, and how much there is."""


def _silently(what: str, unit: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Rebuilder:
    """Works on the copies of one view."""

    copies: Copies
    store: EventStore
    database: Database
    vault: Vault
    memory_bytes: int
    """What may be used for users that are folded: see `projections/folding.py`."""

    async def rebuild(self, progress: Progress) -> int:
        """Rebuild the view; the position that the new one has reached when it takes over.

        Raises:
            RebuildRunning: another process is at it.
            RebuildDiffers: the new copy is not what the log adds up to; the live view is as it was.
        """
        async with self._turn(progress) as report:
            copy = await self.copies.staging()
            kept = await self._fill(copy, await self.store.head(), report)
            await self._catch_up(copy, report)
            await self._check(copy, kept, report)
            position = await self._catch_up(copy, report)
            await self._forget_deleted(position)
            await self.copies.swap()
            return position

    async def roll_back(self, progress: Progress) -> int:
        """Let the former view be the live one again, after it has caught up; the position that it has reached.

        Raises:
            NoPreviousView: there is none.
            RebuildRunning: another process works on the copies.
        """
        async with self._turn(progress) as report:
            former = await self.copies.previous()
            if former is None:
                raise NoPreviousView(self.copies.live.name)
            position = await self._catch_up(former, report)
            await self._forget_deleted(position)
            await self.copies.swap_back()
            return position

    async def finish(self) -> None:
        """Remove the former view, and what an interrupted rebuild has left.

        Raises:
            RebuildRunning: another process works on the copies.
        """
        async with self._turn():
            await self.copies.finish()

    async def take_snapshot(self, name: str, position: int, progress: Progress) -> None:
        """Make a second view of the users as they were at a position, beside the live one. Who is deleted is not in it.

        Raises:
            BadName: it cannot be called so.
            SnapshotExists: there is a look of that name, at another position, or whole.
            RebuildRunning: another process works on the copies.
        """
        copy = self.copies.snapshot(name)
        async with self._turn(progress) as report:
            found = await copy.fill_state()
            if found is not None and (found.next_id is None or found.up_to != position):
                raise SnapshotExists(self.copies.live.name, name, f"a look at position {found.up_to}")
            await self._fill(copy, position, report)

    async def drop_snapshot(self, name: str) -> None:
        """Remove a look at the past.

        Raises:
            BadName, NoSuchSnapshot: it is none.
            RebuildRunning: another process works on the copies.
        """
        copy = self.copies.snapshot(name)
        async with self._turn():
            if name not in await self.copies.snapshots():
                raise NoSuchSnapshot(self.copies.live.name, name)
            await copy.discard()

    @asynccontextmanager
    async def _turn(self, progress: Progress = _silently) -> AsyncIterator["_Report"]:
        async with named_lock(self.database, rebuild_lock(self.copies.live.name), wait_seconds=TURN_SECONDS) as session:
            if session is None:
                raise RebuildRunning(self.copies.live.name)
            async with _Report(self.copies.live.name, progress).saved(session) as report:
                yield report

    async def _fill(self, copy: Records, up_to: int, report: "_Report") -> LogFold | None:
        """Fill the copy, from where it stands if it was begun before; all users, folded, if they fit into memory."""
        filling = await copy.fill_state()
        if filling is None or filling.up_to > up_to:
            await copy.begin(up_to)
            filling = FillState(up_to, ALL_USERS.lower)
        kept = None
        if filling.next_id is not None:
            kept = await self._fill_from(UserRange(filling.next_id), copy, filling.up_to, report)
            report.told("building indexes", "", 0, 1, 0.8, 0.1)
            await copy.complete()
        return kept

    async def _fill_from(self, users: UserRange, copy: Records, up_to: int, report: "_Report") -> LogFold | None:
        folded = report.counting("folding", "events", up_to, 0.0, 0.5)
        async with aclosing(self._parts(users, up_to, copy.history_events, folded)) as parts:
            async for past in parts:
                await copy.fill(past, report.counting("writing", "users", len(past), 0.5, 0.3))
                if past.users == ALL_USERS:
                    return past
        return None

    async def _catch_up(self, copy: Records, report: "_Report") -> int:
        """Follow the log until the copy has reached its head; where that is."""
        position = await copy.checkpoint()
        while position < (head := await self.store.head()):
            position = await self._advance(copy, position)
            report.told("catching up", "events", position, max(head, position), 0.9, 0.0)
        return position

    async def _forget_deleted(self, up_to: int) -> None:
        """Remove from the live view whom the one that is to take its place has seen deleted.

        The live view may be behind, and after the swap nobody goes on with it: the projector begins where the new one
        is, after these deletions, so the former one would hold the users for as long as it is kept.
        """
        live = self.copies.live
        with suppress(ViewMissing):
            await live.forget(await self.store.deletions(after=await live.checkpoint(), up_to=up_to))

    async def _advance(self, copy: Records, position: int) -> int:
        """Apply the next events. The projector may remove a deleted user from the copy meanwhile: read them again."""
        for _ in range(READ_AGAIN):
            with suppress(OutOfStep, CheckpointMoved):
                return await self._apply_next(copy, position)
        return await self._apply_next(copy, position)

    async def _apply_next(self, copy: Records, position: int) -> int:
        events = await self.store.read_past_damage(after=position, limit=BATCH_EVENTS)
        await copy.apply(events, after=position)
        return position + len(events)

    async def _check(self, copy: Records, kept: LogFold | None, report: "_Report") -> None:
        """Compare all users with the log.

        Raises:
            RebuildDiffers: a user differs; the copy is removed.
        """
        position = await copy.checkpoint()
        found: list[str] = []
        async for past in self._past(kept, position, copy.history_events, report):
            compared = report.counting("comparing", "users", len(past), 0.9, 0.1)
            async for differences in compare(copy, past, past.users, self.store, compared):
                found += map(str, differences)
                if len(found) > TOLD_DIFFERENCES:
                    break
        if found:
            await copy.discard()
            raise RebuildDiffers(self.copies.live.name, found[:TOLD_DIFFERENCES], len(found) > TOLD_DIFFERENCES)

    async def _past(
        self, kept: LogFold | None, position: int, history_events: int, report: "_Report"
    ) -> AsyncIterator[LogFold]:
        """All users as of a position, part by part: what is folded already is folded on."""
        users: UserRange | None = ALL_USERS
        folded = report.counting("folding again", "events", position, 0.8, 0.1)
        if kept is not None:
            await kept.advance(position)
            yield kept
            users = ALL_USERS.beyond(kept.users)
        if users is not None:
            async for past in self._parts(users, position, history_events, folded):
                yield past

    def _parts(
        self, users: UserRange, up_to: int, history_events: int, progress: Callable[[int], None]
    ) -> AsyncGenerator[LogFold, None]:
        return past_of(
            users,
            self.database,
            self.vault,
            up_to,
            limit_bytes=self.memory_bytes,
            history_events=history_events,
            progress=progress,
        )


class _Report:
    """What a rebuild tells: to who started it at once, and to everybody through the log's database now and then."""

    def __init__(self, view: str, progress: Progress) -> None:
        self._view = view
        self._progress = progress
        self._share = 0.0

    def told(self, what: str, unit: str, done: int, total: int, begin: float, width: float) -> None:
        """So much of a step is done, which is from `begin` on and `width` of the whole."""
        self._share = begin + width * min(1.0, done / max(1, total))
        self._progress(what, unit, done, total)

    def counting(self, what: str, unit: str, total: int, begin: float, width: float) -> Callable[[int], None]:
        """The same, told by how much more is done."""
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            self.told(what, unit, done, total, begin, width)

        return count

    @asynccontextmanager
    async def saved(self, session: Connection) -> AsyncIterator["_Report"]:
        """Save the share now and then while the block runs. If the session is lost its lock is too: the block ends."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        saving = asyncio.create_task(self._keep_saving(session, ended))
        saving.add_done_callback(lambda saved: saved.cancelled() or saved.exception())  # known, whoever asks
        try:
            async with asyncio.timeout(None) as limit:
                saving.add_done_callback(lambda _: None if ended.is_set() else limit.reschedule(loop.time()))
                yield self
        except TimeoutError:
            ended.set()
            await saving  # it has failed: that is why
            raise
        finally:
            ended.set()  # and not cancelled: that would break the session, in the middle of a statement
            await asyncio.wait({saving})
        await saving

    async def _keep_saving(self, session: Connection, ended: asyncio.Event) -> None:
        try:
            while not ended.is_set():
                await save_rebuild_progress(session, self._view, self._share)
                with suppress(TimeoutError):
                    async with asyncio.timeout(SAVE_SECONDS):
                        await ended.wait()
        finally:
            await save_rebuild_progress(session, self._view, None)
