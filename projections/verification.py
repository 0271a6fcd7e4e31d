"""Verify views: everybody, a sample, or one user, against the log, while everything goes on; and mend what differs.

Everybody: the log is folded once for all views whose checkpoints are near one another, as of the lowest of these; a
view that is far behind, such as one whose projector is dead, gets a fold of its own rather than a second look at most
of its users. Nobody is waited for. When the users do not fit into memory at once, each part is folded up to where the
views are by then.

A sample: users are chosen by a hash of their id and a seed, so that the same seed chooses the same users, in both views
and whenever. The log is not folded: each user's stream is read by itself, which takes ten times as long per user.

Mend what differs in a view, user by user, while a projector may be writing it.

A view mends under its own guard. In MySQL it is the lock of the checkpoint's row, which the projector takes first as
well: the two never write at the same time. In MongoDB there is no such lock, and each write is guarded by the version
that was read: of two writers one fails. What that does not rule out: a projector reads a broken document, the repair
replaces it by the right one of the same version, and the projector, whose guard still holds, writes what it made of the
broken one. So users are looked at again only when the view has passed where the log was when they were mended, for
by then whatever the projector had read before it has written; and they are mended again if need be.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from uuid import UUID

from events.database import Source, placeholders
from events.ids import uuid_of
from events.store import ALL_USERS, EventStore, UserRange
from events.vault import Vault
from projections.comparison import SUSPECTS, Difference, DifferenceKind, compare, examine
from projections.errors import ViewMissing
from projections.folding import LogFold
from projections.view import Records

ATTEMPTS: Final = 5
PATIENCE_SECONDS: Final = 2.0
"""How long a view is given to pass a position; longer, and its projector is not at work, so nothing is in its hands."""
POLL_SECONDS: Final = 0.02


class Repair:
    """Mends, and looks again."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._asleep: set[str] = set()

    async def users(self, view: Records, user_ids: Collection[UUID]) -> list[Difference]:
        """Mend some users; what differs still, after several attempts.

        Raises:
            ViewMissing, ViewUnavailable, DatabaseUnavailable: the view cannot be written.
        """
        left: list[Difference] = []
        for _ in range(ATTEMPTS):
            await view.repair(user_ids, self._store)
            await self._passed(view, await self._store.head())
            left = await examine(view, self._store, user_ids)
            user_ids = {difference.user_id for difference in left if difference.user_id}
            if not left:
                break
        return left

    async def structure(self, view: Records) -> None:
        """Mend what is not about single users. A checkpoint that is ahead of the log stays: such a view is rebuilt."""
        await view.repair_structure()

    async def _passed(self, view: Records, position: int) -> None:
        """Wait for the view, unless it has been waited for in vain."""
        if view.name in self._asleep:
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await view.checkpoint() < position:  # noqa: ASYNC110 - it moves in another process
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            self._asleep.add(view.name)


NEAR_EVENTS: Final = 10_000
"""Views whose checkpoints are no further apart share a fold: so many users at most are looked at a second time."""
IDS_PAGE: Final = 5_000

READ_USERS = "SELECT user_id FROM user_keys WHERE user_id BETWEEN %s AND %s ORDER BY user_id LIMIT %s"
KNOWN_USERS = "SELECT user_id FROM user_keys WHERE user_id IN ({ids})"

StageProgress = Callable[[int, int], None]
"""Called with what is done and what there is to do."""
Stage = Callable[[str, str], StageProgress]
"""Called at the beginning of a stage, with what is being done and in which unit."""
Tell = Callable[[Difference], None]


@dataclass(slots=True)
class Tally:
    """What came of verifying one view."""

    view: str
    checkpoint: int = 0
    """Where the view was at the end; what it had not seen by then was not compared."""
    head: int = 0
    """Where the log was then."""
    looked_at: int = 0
    """Users, those who were deleted included."""
    differences: int = 0
    differing_users: int = 0
    quarantined: int = 0
    """Users whom the view has set aside; they were not compared."""
    left: int = 0
    """Differences that are still there: all of them, or those that a repair could not mend."""


@dataclass(frozen=True, slots=True)
class LogAccess:
    """The log, to read one stream and to read all of it."""

    store: EventStore
    source: Source
    vault: Vault


class Verification:
    """One run over some views."""

    def __init__(
        self, log: LogAccess, views: Sequence[Records], tell: Tell, stage: Stage, repair: Repair | None = None
    ) -> None:
        """`tell` hears of each difference. With `repair`, what differs is mended and looked at again."""
        self.tallies = {view.name: Tally(view.name) for view in views}
        self._log = log
        self._views = list(views)
        self._tell = tell
        self._stage = stage
        self._repair = repair

    async def everybody(self, limit_bytes: int) -> None:
        """Verify all users, in memory that is bounded.

        Raises:
            ViewUnavailable, DatabaseUnavailable: a database is away.
            PositionGap, UnreadableEvent, OutOfStep: the log itself cannot be folded.
        """
        await self._structures()
        for group in near_one_another({view.name: await view.checkpoint() for view in self._views}):
            await self._group([view for view in self._views if view.name in group], limit_bytes)
        await self._end()

    async def sample(self, share: float, seed: int) -> None:
        """Verify a share of the users, from 0 to 1.

        Raises:
            As `everybody`.
        """
        await self._structures()
        advance = self._stage("choosing", "users of the log")
        done = 0
        async for page in self._log_ids():
            chosen = [user_id for user_id in page if is_chosen(user_id, seed, share)]
            for view in self._views:
                await self._look(view, chosen)
            done += len(page)
            advance(done, done)
        for view in self._views:
            await self._sample_extra(view, share, seed)
        await self._end()

    async def user(self, user_id: UUID) -> None:
        """Verify one user.

        Raises:
            As `everybody`.
        """
        for view in self._views:
            await self._look(view, [user_id])
        await self._end()

    async def _group(self, views: list[Records], limit_bytes: int) -> None:
        history_events = max(view.history_events for view in views)
        left: UserRange | None = ALL_USERS
        while left is not None:
            past = LogFold(
                self._log.source,
                self._log.vault,
                limit_bytes=limit_bytes,
                history_events=history_events,
                users=left,
                leave_out_damaged=True,  # whoever is not in the view's quarantine is looked at alone, which tells
            )
            await self._fold(past, views)
            for view in views:
                await self._compare(view, past)
            left = left.beyond(past.users)
            past.clear()

    async def _fold(self, past: LogFold, views: list[Records]) -> None:
        """Up to where all the views are; again, as long as they have moved far on meanwhile."""
        advance, goal = self._stage("folding the log", "events"), await self._reached(views)
        while goal > past.position:
            await past.advance(goal, _of(past, goal, advance))
            reached = await self._reached(views)
            goal = reached if reached > goal + NEAR_EVENTS else goal

    async def _reached(self, views: list[Records]) -> int:
        """A position that all of them have reached, and the log: a view may be ahead of one that was put back."""
        return min([await view.checkpoint() for view in views] + [await self._log.store.head()])

    async def _compare(self, view: Records, past: LogFold) -> None:
        advance, tally, total = self._stage(f"comparing {view.name}", "users"), self.tallies[view.name], len(past)
        before = tally.looked_at

        def compared(users: int) -> None:
            tally.looked_at += users
            advance(tally.looked_at - before, total)

        async for differences in compare(view, past, past.users, self._log.store, compared):
            await self._found(view, differences)

    async def _sample_extra(self, view: Records, share: float, seed: int) -> None:
        """Users that the view has and the log does not know."""
        left: UserRange | None = ALL_USERS
        while left is not None:
            page = await view.ids(left, IDS_PAGE)
            await self._look(view, await self._unknown([one for one in page if is_chosen(one, seed, share)]))
            left = left.after(page[-1]) if len(page) == IDS_PAGE else None

    async def _look(self, view: Records, user_ids: Sequence[UUID]) -> None:
        for start in range(0, len(user_ids), SUSPECTS):
            some = user_ids[start : start + SUSPECTS]
            self.tallies[view.name].looked_at += len(some)
            await self._found(view, await examine(view, self._log.store, some))

    async def _found(self, view: Records, differences: list[Difference]) -> None:
        if not differences:
            return
        for difference in differences:
            self._tell(difference)
        users = {difference.user_id for difference in differences if difference.user_id}
        tally = self.tallies[view.name]
        tally.differences += len(differences)
        tally.differing_users += len(users)
        left = differences if self._repair is None else await self._repair.users(view, users)
        tally.left += len(left)

    async def _structures(self) -> None:
        """What is not about single users; a view that is not there is told and left out."""
        for view in list(self._views):
            try:
                differences = await structure(view, self._log.store)
            except ViewMissing:
                self._views.remove(view)
                differences = [Difference(view=view.name, kind=DifferenceKind.VIEW)]
            for difference in differences:
                self._tell(difference)
            left = differences
            if differences and self._repair is not None and view in self._views:
                await self._repair.structure(view)
                left = await structure(view, self._log.store)
            self.tallies[view.name].differences += len(differences)
            self.tallies[view.name].left += len(left)

    async def _end(self) -> None:
        for view in self._views:
            tally = self.tallies[view.name]
            tally.checkpoint, tally.head = await view.checkpoint(), await self._log.store.head()
            tally.quarantined = len(await view.quarantine())

    async def _log_ids(self) -> AsyncIterator[list[UUID]]:
        left: UserRange | None = ALL_USERS
        while left is not None:
            ends = (left.lower.bytes, left.last.bytes)
            page = [uuid_of(row[0]) for row in await self._log.source.fetch_all(READ_USERS, (*ends, IDS_PAGE))]
            yield page
            left = left.after(page[-1]) if len(page) == IDS_PAGE else None

    async def _unknown(self, user_ids: list[UUID]) -> list[UUID]:
        if not user_ids:
            return []
        sql = KNOWN_USERS.format(ids=placeholders(len(user_ids)))
        rows = await self._log.source.fetch_all(sql, [user_id.bytes for user_id in user_ids])
        known = {row[0] for row in rows}
        return [user_id for user_id in user_ids if user_id.bytes not in known]


def _of(past: LogFold, goal: int, advance: StageProgress) -> Callable[[int], None]:
    return lambda _: advance(past.position, goal)


async def structure(view: Records, store: EventStore) -> list[Difference]:
    """What is wrong with a view apart from its users: the checkpoint, the indexes, and what cannot be a user.

    Raises:
        ViewMissing: there is no such view.
    """
    checkpoint = await view.checkpoint()
    head = await store.head()  # after the checkpoint: the log has an event before a view can
    found = [
        Difference(view=view.name, kind=DifferenceKind.INDEX, field=name, expected=expected, found=there)
        for name, (expected, there) in (await view.indexes()).items()
    ]
    if checkpoint > head:
        found.append(Difference(view=view.name, kind=DifferenceKind.CHECKPOINT, expected=head, found=checkpoint))
    found += [
        Difference(view=view.name, kind=DifferenceKind.UNKNOWN_ROW, found=row) for row in await view.unknown_rows()
    ]
    return found


def is_chosen(user_id: UUID, seed: int, share: float) -> bool:
    """Whether a sample of this share has the user."""
    digest = blake2b(user_id.bytes, digest_size=8, key=seed.to_bytes(8)).digest()
    return int.from_bytes(digest) < share * 2**64


def near_one_another(checkpoints: dict[str, int]) -> Iterable[set[str]]:
    """The views, in groups of those that are not further than `NEAR_EVENTS` from the first of their group."""
    groups: list[tuple[int, set[str]]] = []
    for name, checkpoint in sorted(checkpoints.items(), key=lambda item: item[1]):
        if groups and checkpoint - groups[-1][0] <= NEAR_EVENTS:
            groups[-1][1].add(name)
        else:
            groups.append((checkpoint, {name}))
    return [group for _, group in groups]
