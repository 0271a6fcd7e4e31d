"""Fill one copy of a view from the log, bring it up to date, and compare it with the log.

A copy is filled by folding the log: each user is written once, as of one position. From then on it is a view like any
other and applies the events since then. When all users fit into memory, the fold that filled the copy is advanced and
used for the comparison; else the digests of what was written are (`projections/written_digests.py`). If neither is at
hand, the log is folded again, part by part. Several processes may each fill and compare a part of the users
(`projections/rebuild_parts.py`).

A user whose events cannot be read, or whom the view's database rejects, does not stop the others: the copy quarantines
the user as a projector would, up to the limit.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from events.bulk import ALL_USERS, UserRange
from events.checkpoint import Checkpoint
from events.errors import LogChanged
from events.retry import Backoff, retry
from events.store import EventStore
from projections.applying import EventApplier, QuarantineRule
from projections.comparison import DifferenceKind, compare, read_streams
from projections.errors import CheckpointMoved, NotQuarantined, RebuildDiffers, RefusedValue
from projections.folding import FoldedUser, LogFold, fold_readable
from projections.quarantine import POISON, Quarantine, Quarantined
from projections.rebuild_parts import Workers
from projections.rebuild_steps import Steps
from projections.shared_fold import SharedFold
from projections.view import CopyId, FillState, Records, SetAside
from projections.written_digests import WrittenDigests

log = structlog.get_logger(__name__)

BATCH_EVENTS: Final = 2_000
SHOWN_DIFFERENCES: Final = 20
APPLY_ATTEMPTS: Final = 4
CHANGED_USERS: Final = 100_000
"""Users that a comparison examines one by one because they have changed since the copy was filled: about 20 s. If more
have, the log is folded again."""

Filled = LogFold | WrittenDigests
"""What a copy was filled with."""


@dataclass(frozen=True, slots=True)
class CopyBuilder:
    """Makes one copy of a view equal to the log."""

    copy: Records
    store: EventStore
    rule: QuarantineRule
    fold: SharedFold
    """Others may share it."""
    steps: Steps

    async def fill(self, up_to: Checkpoint) -> Filled | None:
        """Fill the copy, from where an interrupted rebuild stopped; return what is known of all users then.

        Raises:
            QuarantineFull: the copy would quarantine too many users.
        """
        state = await self.copy.fill_state()
        if state is None or state.next_id == ALL_USERS.lower or not await holds(self.store, state.up_to):
            await self.copy.begin(up_to)
            state = FillState(up_to, ALL_USERS.lower)
        if state.next_id is None:
            return None
        filled = await self.write(UserRange(state.next_id), state.up_to.position, filled=state.quarantine)
        await self._complete()
        return filled if state.next_id == ALL_USERS.lower else None

    async def write(
        self, users: UserRange, position: int, *, filled: Quarantine = (), part: CopyId | None = None
    ) -> Filled:
        """Fold users and write them into the copy; return them, folded, if they fit in memory, else the digests.

        `filled` were quarantined before the copy was interrupted. A worker names the copy of its `part`.

        Raises:
            QuarantineFull: these users alone would be too many in quarantine.
            CopiesMoved: the copy of the part is another one by now.
        """
        set_aside = self._set_aside(filled)
        written = WrittenDigests(users, position, self.fold.digests_bytes)
        folding = self.steps.counter("folding", "events", position, 0.0, 0.5)
        async with aclosing(self.fold.parts(users, position, folding)) as parts:
            async for folded in parts:
                complete = folded.users == users
                keep_digest = partial(folded.keep_digest, self.copy.name) if complete else written.keep
                writing = self.steps.counter("writing", "users", len(folded), 0.5, 0.3)
                await self.copy.fill(folded, writing, set_aside, keep_digest, part)
                if complete:
                    return folded
        written.complete()
        return written

    async def fill_by(self, workers: Workers, up_to: Checkpoint) -> None:
        """Fill the copy by several processes. It begins anew, unless it is filled: they record no progress in it.

        Raises:
            QuarantineFull: the copy would quarantine too many users.
            WorkerLost: a process has ended.
        """
        state = await self.copy.fill_state()
        filled = state is not None and state.next_id is None and await holds(self.store, state.up_to)
        if not filled:
            await self.copy.begin(up_to)
        folding = self.steps.counter("folding", "events", up_to.position, 0.0, 0.8)
        await workers.fill(await self.copy.copy_id(), None if filled else up_to.position, folding)
        if not filled:
            await self._complete()
        held: list[Quarantined] = []
        for one in await self.copy.quarantine():  # each of them has counted its own
            held.append(self.rule.admit(one, held))

    async def catch_up(self) -> int:
        """Apply events until the copy has reached the end of the log; its position.

        Raises:
            LogChanged: the log does not hold the copy's checkpoint.
            QuarantineFull: the copy would quarantine too many users.
        """
        applier = EventApplier(self.copy, self.store, self.rule, self._report_quarantined)

        async def apply_next() -> tuple[int, bool]:
            page = await self.store.read_past_damage(await self.copy.checkpoint(), limit=BATCH_EVENTS)
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
            head = max(await self.store.head(), position)
            self.steps.report("catching up", "events", position, head, 0.9, 0.0)
        return position

    async def release_repaired(self) -> None:
        """Release users whose events can be applied by now: the copy may have quarantined them long ago."""
        for one in await self.copy.quarantine():
            with suppress(*POISON, NotQuarantined):
                await self.copy.release_user(one.user_id, self.store.read_user)

    async def compare(self, filled: Filled | None) -> None:
        """Compare all users of the copy with the log. Who was damaged since the copy was filled is quarantined.

        `filled` is what `fill` has returned.

        Raises:
            RebuildDiffers: a user differs; the copy is removed.
            QuarantineFull: the copy would quarantine too many users.
        """
        position = (await self.copy.checkpoint()).position
        await self._check_equal(await self.differences(filled, ALL_USERS, position))

    async def compare_by(self, workers: Workers) -> None:
        """Compare the copy by the processes that filled it.

        Raises:
            RebuildDiffers: a user differs; the copy is removed.
            WorkerLost, QuarantineFull: as `fill_by`.
        """
        comparing = self.steps.counter("comparing", "users", 0, 0.9, 0.1)
        await self._check_equal(await workers.compare((await self.copy.checkpoint()).position, comparing))

    async def differences(self, filled: Filled | None, users: UserRange, position: int) -> list[str]:
        """The first differences of some users, as of a position that the copy has reached.

        Raises:
            QuarantineFull: as `compare`.
        """
        found: list[str] = []
        async with aclosing(self._expected(filled, users, position)) as parts:
            async for expected in parts:
                found += await self._differences_of(expected)
        return found[: SHOWN_DIFFERENCES + 1]

    async def _complete(self) -> None:
        self.steps.report("building indexes", "", 0, 1, 0.8, 0.1)
        await self.copy.complete()

    def _report_quarantined(self, user: Quarantined) -> None:
        log.error(
            "rebuild.quarantined",
            view=self.copy.name,
            user=str(user.user_id),
            position=user.position,
            reason=user.reason,
        )

    def _set_aside(self, filled: Quarantine) -> SetAside:
        """How users are quarantined while the copy is filled."""
        held = list(filled)

        async def set_aside(user: FoldedUser, error: RefusedValue | None) -> Quarantined:
            found = user.quarantined
            if found is None:
                last = await self.store.read_stream_page(
                    user.id, after_version=user.held.version - 1, up_to=user.position, limit=1
                )
                found = Quarantined.at(last[0], error or RefusedValue("unknown"))
            admitted = self.rule.admit(found, held)
            held.append(admitted)
            self._report_quarantined(admitted)
            return admitted

        return set_aside

    async def _check_equal(self, found: Sequence[str]) -> None:
        if found:
            await self.copy.discard()
            raise RebuildDiffers(self.copy.name, found[:SHOWN_DIFFERENCES], len(found) > SHOWN_DIFFERENCES)

    async def _differences_of(self, expected: Filled) -> list[str]:
        """The differences of these users, at least the first."""
        found: list[str] = []
        comparing = self.steps.counter("comparing", "users", len(expected), 0.9, 0.1)
        async for differences in compare(self.copy, expected, self.store, comparing):
            damaged = {one.user_id for one in differences if one.kind is DifferenceKind.UNREADABLE and one.user_id}
            found += [str(one) for one in differences if one.user_id not in damaged]
            for user_id, stream in (await read_streams(self.store, damaged)).items():
                _, broken = fold_readable(user_id, None, stream)
                if broken is None:  # repaired meanwhile, so it was not compared
                    found.append(f"user {user_id}: was damaged and repaired meanwhile")
                    continue
                await self.copy.hold_user(admitted := self.rule.admit(broken, await self.copy.quarantine()))
                self._report_quarantined(admitted)
            if len(found) > SHOWN_DIFFERENCES:
                break
        return found

    async def _expected(self, filled: Filled | None, users: UserRange, position: int) -> AsyncGenerator[Filled, None]:
        """What the records of a range must be as of a position, part by part; what filled the copy is used again."""
        remaining: UserRange | None = users
        if isinstance(filled, LogFold):
            await filled.advance(position)
        elif filled is not None and not await self._name_changed(filled, position):
            filled = None
        if filled is not None:
            yield filled
            remaining = users.beyond(filled.users)
        if remaining is not None:
            folding = self.steps.counter("folding again", "events", position, 0.8, 0.1)
            async with aclosing(self.fold.parts(remaining, position, folding, exact=False)) as parts:
                async for folded in parts:
                    yield folded

    async def _name_changed(self, written: WrittenDigests, position: int) -> bool:
        """Name the users that have changed since their digests were kept; False if they are too many."""
        changed = await self.store.changed_streams(after=written.position, up_to=position, limit=CHANGED_USERS + 1)
        if len(changed) > CHANGED_USERS:
            return False
        deletions = await self.store.deletions(after=written.position, up_to=position)
        written.change(changed, {one.user_id.bytes for one in deletions})
        return True


async def holds(store: EventStore, checkpoint: Checkpoint) -> bool:
    """Whether the log holds the checkpoint of a copy: it is the log that the copy was made from."""
    try:
        await store.check(checkpoint)
    except LogChanged:
        return False
    return True
