"""Rebuild a view from the log in a staging copy, and swap it with the live view.

    fill ──▶ build the indexes ──▶ catch up ──▶ compare ──▶ catch up ──▶ swap

The live view answers queries during a rebuild, and its projector goes on. So a rebuild never writes to it: it fills a
staging copy, writing each user once, as of the position of the log's head when the rebuild began. From then on the copy
is a view like any other and applies the events since then. It is compared with the log, every user and every field. If
it differs it is removed and the live view stays; else it catches up once more and is swapped with the live view.

A user whose events cannot be read, or whom the view's database rejects, does not stop the others. The copy quarantines
the user as a projector would, and the result says so; with the swap, the copy's quarantine becomes the view's. Above
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
copy records. When all users fit into memory, the fold that filled the copy is advanced and used for the comparison;
else the log is folded again, part by part. Views that are rebuilt together share the fold
(`projections/shared_fold.py`) and nothing else. To roll back, the previous copy catches up first and is then swapped
back.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from events.bulk import ALL_USERS, UserRange
from events.checkpoint import Checkpoint
from events.database import Database
from events.errors import LogChanged
from events.retry import Backoff, retry
from events.store import EventStore
from events.vault import Vault
from projections.applying import EventApplier, QuarantineRule
from projections.comparison import DifferenceKind, compare, read_streams
from projections.errors import (
    CheckpointMoved,
    NoPreviousView,
    NoSuchSnapshot,
    NotQuarantined,
    QuarantineFull,
    RebuildDiffers,
    RebuildRunning,
    RefusedValue,
    SnapshotExists,
    TooManyDamaged,
    ViewMissing,
)
from projections.folding import FoldedUser, LogFold, fold_readable
from projections.lease import named_lock, rebuild_lock
from projections.quarantine import POISON, Quarantine, Quarantined
from projections.rebuild_parts import Part, Workers
from projections.rebuild_steps import StepProgress, Steps
from projections.shared_fold import SharedFold
from projections.view import Copies, CopyId, FillState, Records, SetAside, keep_no_digest

log = structlog.get_logger(__name__)

BATCH_EVENTS: Final = 2_000
SHOWN_DIFFERENCES: Final = 20
APPLY_ATTEMPTS: Final = 4
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
            copy = await self.copies.staging()
            rule, fold, folded = await self._rule(copy), shared or shared_fold([self]), None
            try:
                if workers is None:
                    folded = await self._fill(copy, await fold.end(), rule, fold, steps)
                else:
                    await self._fill_by(workers, copy, await fold.end(), rule, steps)
                compared = await copy.copy_id()
                await self._catch_up(copy, rule, steps)
                await self._release_repaired(copy)
                if workers is None:
                    await self._compare(copy, folded, rule, fold, steps)
                else:
                    await self._compare_by(workers, copy, steps)
                position = await self._catch_up(copy, rule, steps)
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
            try:
                position = await self._catch_up(previous, await self._rule(previous), steps)
            except QuarantineFull as error:
                raise TooManyDamaged(error) from error
            await self._release_repaired(previous)
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
            rule, fold = await self._rule(copy), shared_fold([self])
            try:
                folded = await self._fill(copy, up_to, rule, fold, steps)
                await self._compare(copy, folded, rule, fold, steps)
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

    @asynccontextmanager
    async def _lock(self, progress: StepProgress = lambda *_: None) -> AsyncIterator[Steps]:
        view = self.copies.live.name
        async with named_lock(self.database, rebuild_lock(view), wait_seconds=LOCK_SECONDS) as session:
            if session is None:
                raise RebuildRunning(view)
            async with Steps(view, progress).saved(session) as steps:
                yield steps

    async def _rule(self, copy: Records) -> QuarantineRule:
        dropped: Quarantine = ()
        with suppress(ViewMissing):
            dropped = await self.copies.live.quarantine()
        return QuarantineRule(f"the copy of {copy.name}", self.quarantine_limit, dropped)

    def _report_quarantined(self, user: Quarantined) -> None:
        log.error(
            "rebuild.quarantined",
            view=self.copies.live.name,
            user=str(user.user_id),
            position=user.position,
            reason=user.reason,
        )

    def _set_aside(self, rule: QuarantineRule, filled: Quarantine) -> SetAside:
        """How users are quarantined while a copy is filled; `filled` were before it was interrupted."""
        held = list(filled)

        async def set_aside(user: FoldedUser, error: RefusedValue | None) -> Quarantined:
            found = user.quarantined
            if found is None:
                last = await self.store.read_stream_page(
                    user.id, after_version=user.held.version - 1, up_to=user.position, limit=1
                )
                found = Quarantined.at(last[0], error or RefusedValue("unknown"))
            admitted = rule.admit(found, held)
            held.append(admitted)
            self._report_quarantined(admitted)
            return admitted

        return set_aside

    async def _fill(
        self, copy: Records, up_to: Checkpoint, rule: QuarantineRule, fold: SharedFold, steps: Steps
    ) -> LogFold | None:
        """Fill the copy, from where an interrupted rebuild stopped; return all users, folded, if they fit in memory."""
        state = await copy.fill_state()
        if state is None or state.next_id == ALL_USERS.lower or not await self._holds(state.up_to):
            await copy.begin(up_to)
            state = FillState(up_to, ALL_USERS.lower)
        if state.next_id is None:
            return None
        set_aside = self._set_aside(rule, state.quarantine)
        complete = await self._write(copy, UserRange(state.next_id), state.up_to.position, set_aside, fold, steps)
        steps.report("building indexes", "", 0, 1, 0.8, 0.1)
        await copy.complete()
        return complete if state.next_id == ALL_USERS.lower else None

    async def _write(
        self,
        copy: Records,
        users: UserRange,
        position: int,
        set_aside: SetAside,
        fold: SharedFold,
        steps: Steps,
        part: CopyId | None = None,
    ) -> LogFold | None:
        """Fold users and write them into the copy; return all of them, folded, if they fit in memory."""
        folding = steps.counter("folding", "events", position, 0.0, 0.5)
        async with aclosing(fold.parts(users, position, folding)) as parts:
            async for folded in parts:
                complete = folded.users == users
                keep_digest = partial(folded.keep_digest, copy.name) if complete else keep_no_digest
                writing = steps.counter("writing", "users", len(folded), 0.5, 0.3)
                await copy.fill(folded, writing, set_aside, keep_digest, part)
                if complete:
                    return folded
        return None

    async def _fill_by(
        self, workers: Workers, copy: Records, up_to: Checkpoint, rule: QuarantineRule, steps: Steps
    ) -> None:
        """Fill the copy by several processes. It begins anew, unless it is filled: they record no progress in it."""
        state = await copy.fill_state()
        filled = state is not None and state.next_id is None and await self._holds(state.up_to)
        if not filled:
            await copy.begin(up_to)
        folding = steps.counter("folding", "events", up_to.position, 0.0, 0.8)
        await workers.fill(await copy.copy_id(), None if filled else up_to.position, folding)
        if not filled:
            steps.report("building indexes", "", 0, 1, 0.8, 0.1)
            await copy.complete()
        held: list[Quarantined] = []
        for one in await copy.quarantine():  # each of them has counted its own
            held.append(rule.admit(one, held))

    async def _compare_by(self, workers: Workers, copy: Records, steps: Steps) -> None:
        """Compare the copy by the processes that filled it.

        Raises:
            RebuildDiffers: a user differs; the copy is removed.
        """
        comparing = steps.counter("comparing", "users", 0, 0.9, 0.1)
        found = await workers.compare((await copy.checkpoint()).position, comparing)
        await self._check_equal(copy, found)

    async def fill_part(self, part: Part, progress: StepProgress) -> LogFold | None:
        """As a worker of another process: fold a part of the users and write them into its copy.

        Raises:
            QuarantineFull: this part alone would quarantine too many users.
            CopiesMoved: the copy is another one by now.
        """
        if part.up_to is None:
            return None
        copy = await self.copies.staging()
        fold, set_aside = shared_fold([self]), self._set_aside(await self._rule(copy), ())
        steps = Steps(copy.name, progress)
        return await self._write(copy, part.users, part.up_to, set_aside, fold, steps, part.copy_id)

    async def compare_part(
        self, part: Part, folded: LogFold | None, position: int, progress: StepProgress
    ) -> list[str]:
        """As such a worker: the first differences of a part of the users, as of a position that the copy has reached.

        Raises:
            QuarantineFull: as `_compare`.
        """
        copy = await self.copies.staging()
        rule, fold, steps = await self._rule(copy), shared_fold([self]), Steps(copy.name, progress)
        found: list[str] = []
        async with aclosing(self._all_users(folded, fold, steps, part.users, position)) as parts:
            async for some in parts:
                found += await self._compare_part(copy, some, rule, steps)
        return found[: SHOWN_DIFFERENCES + 1]

    async def _catch_up(self, copy: Records, rule: QuarantineRule, steps: Steps) -> int:
        """Apply events until the copy has reached the end of the log; its position.

        Raises:
            LogChanged: the log does not hold the copy's checkpoint.
            QuarantineFull: the copy would quarantine too many users.
        """
        applier = EventApplier(copy, self.store, rule, self._report_quarantined)

        async def apply_next() -> tuple[int, bool]:
            page = await self.store.read_past_damage(await copy.checkpoint(), limit=BATCH_EVENTS)
            async with aclosing(applier.apply(page)) as batches:
                async for _ in batches:
                    pass
            return page.end.position, bool(page.events)

        position, more = 0, True
        while more:
            # The projector may remove a deleted user from the copy between a read and a write, which fails its guard.
            position, more = await retry(
                apply_next, CheckpointMoved, backoff=Backoff(first=0.01), attempts=APPLY_ATTEMPTS
            )
            steps.report("catching up", "events", position, max(await self.store.head(), position), 0.9, 0.0)
        return position

    async def _release_repaired(self, copy: Records) -> None:
        """Release users whose events can be applied by now: the copy may have quarantined them long ago."""
        for one in await copy.quarantine():
            with suppress(*POISON, NotQuarantined):
                await copy.release_user(one.user_id, self.store.read_user)

    async def _forget_deleted(self, up_to: int) -> None:
        """Remove from the live view the users whose deletion only the new view has applied.

        After the swap the projector continues behind these deletions, so the previous copy would keep the users.
        """
        live = self.copies.live
        with suppress(ViewMissing):
            reached = await live.checkpoint()
            after = reached.position if await self._holds(reached) else 0
            await live.forget(await self.store.deletions(after=after, up_to=up_to))

    async def _holds(self, checkpoint: Checkpoint) -> bool:
        """The log holds the checkpoint of a copy: it is the log that the copy was made from."""
        try:
            await self.store.check(checkpoint)
        except LogChanged:
            return False
        return True

    async def _compare(
        self, copy: Records, complete: LogFold | None, rule: QuarantineRule, fold: SharedFold, steps: Steps
    ) -> None:
        """Compare all users of the copy with the log. Who was damaged since the copy was filled is quarantined.

        Raises:
            RebuildDiffers: a user differs; the copy is removed.
            QuarantineFull: the copy would quarantine too many users.
        """
        found: list[str] = []
        position = (await copy.checkpoint()).position
        async with aclosing(self._all_users(complete, fold, steps, ALL_USERS, position)) as parts:
            async for folded in parts:
                found += await self._compare_part(copy, folded, rule, steps)
        await self._check_equal(copy, found)

    async def _check_equal(self, copy: Records, found: Sequence[str]) -> None:
        if found:
            await copy.discard()
            raise RebuildDiffers(self.copies.live.name, found[:SHOWN_DIFFERENCES], len(found) > SHOWN_DIFFERENCES)

    async def _compare_part(self, copy: Records, folded: LogFold, rule: QuarantineRule, steps: Steps) -> list[str]:
        """The differences of some users, at least the first."""
        found: list[str] = []
        comparing = steps.counter("comparing", "users", len(folded), 0.9, 0.1)
        async for differences in compare(copy, folded, self.store, comparing):
            damaged = {one.user_id for one in differences if one.kind is DifferenceKind.UNREADABLE and one.user_id}
            found += [str(one) for one in differences if one.user_id not in damaged]
            for user_id, stream in (await read_streams(self.store, damaged)).items():
                _, broken = fold_readable(user_id, None, stream)
                if broken is None:  # repaired meanwhile, so it was not compared
                    found.append(f"user {user_id}: was damaged and repaired meanwhile")
                    continue
                await copy.hold_user(admitted := rule.admit(broken, await copy.quarantine()))
                self._report_quarantined(admitted)
            if len(found) > SHOWN_DIFFERENCES:
                break
        return found

    async def _all_users(
        self,
        complete: LogFold | None,
        fold: SharedFold,
        steps: Steps,
        users: UserRange,
        position: int,
    ) -> AsyncGenerator[LogFold, None]:
        """The users of a range as of a position, part by part; `complete` is advanced instead of folded again."""
        remaining: UserRange | None = users
        if complete is not None:
            await complete.advance(position)
            yield complete
            remaining = users.beyond(complete.users)
        if remaining is not None:
            folding = steps.counter("folding again", "events", position, 0.8, 0.1)
            async with aclosing(fold.parts(remaining, position, folding, exact=False)) as parts:
                async for folded in parts:
                    yield folded


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
