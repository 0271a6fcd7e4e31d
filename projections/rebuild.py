"""Rebuild a view from the log in a staging copy, and swap it with the live view.

    fill ──▶ build the indexes ──▶ catch up ──▶ compare ──▶ catch up ──▶ swap

The live view answers queries during a rebuild, and its projector goes on. So a rebuild never writes to it: it fills a
staging copy, writing each user once, as of the position of the log's head when the rebuild began. From then on the copy
is a view like any other and applies the events since then. It is compared with the log, every user and every field. If
it differs it is removed and the live view stays; else it catches up once more and is swapped with the live view.

Users that the copy has quarantined are in the result; with the swap, the copy's quarantine becomes the view's. Above
the limit of quarantined users the copy is removed.

The swap is one atomic step of the database and exchanges the users together with their checkpoint. That is what makes
it safe without stopping anything. A reader sees the one view or the other, never a mixture or a gap. The projector asks
the view for its checkpoint in every round, so after the swap it continues where the new view is. A batch that it was
applying when the swap came fails on the compare-and-set of the checkpoint, or belongs to the previous copy. The new
view may be a few events behind at the swap, as a view always may be.

One thing would be lost without care. The previous copy is kept for a rollback, and no projector writes to it. A
deletion that the new view has applied and the live view has not would never reach the previous copy, so a rebuild
removes those users from the live view before the swap. Later deletions are applied to every copy.

A rebuild may be killed at any moment: the live view is unchanged, and the next rebuild goes on from the id that the
copy records. What is done with the copy is in `projections/copy_builder.py`. Views that are rebuilt together share the
fold (`projections/shared_fold.py`) and nothing else. To roll back, the previous copy catches up first and is then
swapped back.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from events.database import Database
from events.errors import LogChanged
from events.store import EventStore
from events.vault import Vault
from projections.applying import QuarantineRule
from projections.copy_builder import CopyBuilder, Filled, holds
from projections.errors import (
    NoPreviousView,
    NoSuchSnapshot,
    QuarantineFull,
    RebuildRunning,
    SnapshotExists,
    TooManyDamaged,
    ViewMissing,
)
from projections.lease import named_lock, rebuild_lock
from projections.quarantine import Quarantine
from projections.rebuild_parts import Part, Workers
from projections.rebuild_steps import StepProgress, Steps
from projections.shared_fold import SharedFold
from projections.view import Copies, Records

LOCK_SECONDS: Final = 3.0
"""For the server to notice that a process which held the lock has gone."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A copy that a rebuild or a rollback has made live, or a snapshot."""

    position: int
    """The position that it has reached."""
    quarantine: Quarantine
    """The users whose events it could not apply."""


@dataclass(frozen=True, slots=True)
class Rebuilder:
    """Works on the copies of one view."""

    copies: Copies
    store: EventStore
    database: Database
    vault: Vault
    memory_bytes: int
    """Limit for folded users in memory."""
    quarantine_limit: int
    """Limit for users in the quarantine of a copy."""

    async def rebuild(
        self, progress: StepProgress, shared: SharedFold | None = None, workers: Workers | None = None
    ) -> Rebuilt:
        """Rebuild the view, from a fold that others may share, or by processes that fold a part of the users each.

        Users that an operator has dropped in the live view stay dropped if they must be held.

        Raises:
            RebuildRunning: another process works on the copies.
            RebuildDiffers: the new copy differs from the log; the live view is unchanged.
            TooManyDamaged: the log or the view's database is at fault; the copy was removed.
            LogChanged: the log lost events during the rebuild; the next one begins anew.
            CopiesMoved: this process lost its lock, and another one went on with the copies.
            WorkerLost: a worker has ended; the next rebuild begins anew.
        """
        async with self._lock(progress) as steps:
            copy, filled = await self.copies.staging(), None
            builder = await self._builder(copy, steps, shared)
            try:
                up_to = await builder.fold.end()
                if workers is None:
                    filled = await builder.fill(up_to)
                else:
                    await builder.fill_by(workers, up_to)
                compared = await copy.copy_id()
                await builder.catch_up()
                await builder.release_repaired()
                if workers is None:
                    await builder.compare(filled)
                else:
                    await builder.compare_by(workers)
                position = await builder.catch_up()
            except QuarantineFull as error:
                await copy.discard()
                raise TooManyDamaged(error) from error
            quarantine = await copy.quarantine()
            await self._forget_deleted(position)
            await self.copies.swap(compared)
            return Rebuilt(position, quarantine)

    async def roll_back(self, progress: StepProgress) -> Rebuilt:
        """Make the previous copy live again after it has caught up.

        Raises:
            NoPreviousView: there is no previous copy.
            TooManyDamaged: the log or the view's database is at fault; the previous copy is kept.
            LogChanged: the previous copy was made from another log, or from this one before it lost events.
            RebuildRunning: another process works on the copies.
        """
        async with self._lock(progress) as steps:
            previous = await self.copies.previous()
            if previous is None:
                raise NoPreviousView(self.copies.live.name)
            brought_up = await previous.copy_id()
            builder = await self._builder(previous, steps)
            try:
                position = await builder.catch_up()
            except QuarantineFull as error:
                raise TooManyDamaged(error) from error
            await builder.release_repaired()
            quarantine = await previous.quarantine()
            await self._forget_deleted(position)
            await self.copies.swap_back(brought_up)
            return Rebuilt(position, quarantine)

    async def finish(self) -> None:
        """Remove the previous copy, and what an interrupted rebuild has left.

        Raises:
            RebuildRunning: another process works on the copies.
            CopiesMoved: this process lost its lock, and another one went on with the copies.
        """
        async with self._lock():
            previous = await self.copies.previous()
            await self.copies.finish(None if previous is None else await previous.copy_id())

    async def take_snapshot(self, name: str, position: int, progress: StepProgress) -> Rebuilt:
        """Make a copy of the users as of a position, without users deleted since.

        Raises:
            InvalidSnapshotName: the name is not allowed.
            SnapshotExists: there is a complete snapshot of that name, or one at another position.
            RebuildRunning: another process works on the copies.
            RebuildDiffers, TooManyDamaged: the snapshot differs from the log, or would quarantine too many users; it
                was removed.
            LogChanged: the log has not reached the position, or it lost events meanwhile; the snapshot was removed.
        """
        copy = self.copies.snapshot(name)
        async with self._lock(progress) as steps:
            state = await copy.fill_state()
            if state is not None and (state.next_id is None or state.up_to.position != position):
                raise SnapshotExists(self.copies.live.name, name, f"a snapshot at position {state.up_to.position}")
            up_to = await self.store.checkpoint_at(position)
            builder = await self._builder(copy, steps)
            try:
                await builder.compare(await builder.fill(up_to))
            except QuarantineFull as error:
                await copy.discard()
                raise TooManyDamaged(error) from error
            try:
                await self.store.check(await copy.checkpoint())
            except LogChanged:
                await copy.discard()
                raise
            return Rebuilt(position, await copy.quarantine())

    async def drop_snapshot(self, name: str) -> None:
        """Remove a snapshot.

        Raises:
            InvalidSnapshotName, NoSuchSnapshot: there is no such snapshot.
            RebuildRunning: another process works on the copies.
        """
        copy = self.copies.snapshot(name)
        async with self._lock():
            if name not in await self.copies.snapshots():
                raise NoSuchSnapshot(self.copies.live.name, name)
            await copy.discard()

    async def fill_part(self, part: Part, progress: StepProgress) -> Filled | None:
        """As a worker of another process: fold a part of the users and write them into its copy.

        Raises:
            QuarantineFull: this part alone would quarantine too many users.
            CopiesMoved: the copy is another one by now.
        """
        if part.up_to is None:
            return None
        builder = await self._builder_of_part(progress)
        return await builder.write(part.users, part.up_to, part=part.copy_id)

    async def compare_part(self, part: Part, filled: Filled | None, position: int, progress: StepProgress) -> list[str]:
        """As such a worker: the first differences of a part of the users, as of a position that the copy has reached.

        Raises:
            QuarantineFull: as `fill_part`.
        """
        builder = await self._builder_of_part(progress)
        return await builder.differences(filled, part.users, position)

    @asynccontextmanager
    async def _lock(self, progress: StepProgress = lambda *_: None) -> AsyncIterator[Steps]:
        view = self.copies.live.name
        async with named_lock(self.database, rebuild_lock(view), wait_seconds=LOCK_SECONDS) as session:
            if session is None:
                raise RebuildRunning(view)
            async with Steps(view, progress).saved(session) as steps:
                yield steps

    async def _builder(self, copy: Records, steps: Steps, fold: SharedFold | None = None) -> CopyBuilder:
        dropped: Quarantine = ()
        with suppress(ViewMissing):
            dropped = await self.copies.live.quarantine()
        rule = QuarantineRule(f"the copy of {copy.name}", self.quarantine_limit, dropped)
        return CopyBuilder(copy, self.store, rule, fold or shared_fold([self]), steps)

    async def _builder_of_part(self, progress: StepProgress) -> CopyBuilder:
        copy = await self.copies.staging()
        return await self._builder(copy, Steps(copy.name, progress))

    async def _forget_deleted(self, up_to: int) -> None:
        """Remove from the live view the users whose deletion only the new view has applied.

        After the swap the projector continues behind these deletions, so the previous copy would keep the users.
        """
        live = self.copies.live
        with suppress(ViewMissing):
            reached = await live.checkpoint()
            after = reached.position if await holds(self.store, reached) else 0
            await live.forget(await self.store.deletions(after=after, up_to=up_to))


def shared_fold(rebuilders: Sequence[Rebuilder]) -> SharedFold:
    """A fold that these rebuilds of one installation share."""
    one = rebuilders[0]
    return SharedFold(
        one.store,
        one.database,
        one.vault,
        limit_bytes=one.memory_bytes,
        history_events=max(rebuilder.copies.history_events for rebuilder in rebuilders),
        rebuilds=len(rebuilders),
    )


async def rebuild_together(
    rebuilders: Sequence[Rebuilder], progress: Callable[[str], StepProgress]
) -> list[Rebuilt | BaseException]:
    """Rebuild several views side by side. The log is read, opened and folded once for all of them.

    Each view has its own copy, comparison and swap, and its own result: what it became, or the error that ended it.
    """
    shared = shared_fold(rebuilders)

    async def rebuild(rebuilder: Rebuilder) -> Rebuilt:
        try:
            return await rebuilder.rebuild(progress(rebuilder.copies.live.name), shared)
        finally:
            shared.leave()

    return await asyncio.gather(*map(rebuild, rebuilders), return_exceptions=True)
