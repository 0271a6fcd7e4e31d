"""Verify views against the log while everything goes on: all users, a sample, or one user; and repair what differs.

To verify all users, the log is folded once for all views whose checkpoints are near each other; a view that is far
behind gets a fold of its own. A sample chooses users by a hash of their id and a seed, so that one seed chooses the
same users in both views; each user's stream is read by itself, which takes ten times as long per user.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from uuid import UUID

from events.bulk import ALL_USERS, UserRange
from events.database import Source, placeholders
from events.errors import LogChanged
from events.ids import uuid_of
from events.store import EventStore
from events.vault import Vault
from projections.comparison import EXAMINED_USERS, Difference, DifferenceKind, compare, examine
from projections.errors import RefusedValue, ViewMissing
from projections.folding import LogFold
from projections.view import Records

REPAIR_ATTEMPTS: Final = 5
CATCH_UP_SECONDS: Final = 2.0
"""How long a view may take to pass a position; if it takes longer, its projector does not run and writes nothing."""
POLL_SECONDS: Final = 0.02
NEAR_EVENTS: Final = 10_000
"""Views whose checkpoints are at most this far apart share a fold; at most this many users are examined for it."""
IDS_PAGE: Final = 5_000

READ_USERS = """
SELECT DISTINCT stream_id FROM events WHERE stream_id BETWEEN %s AND %s ORDER BY stream_id LIMIT %s
"""
KNOWN_USERS = "SELECT DISTINCT stream_id FROM events WHERE stream_id IN ({ids})"

StageProgress = Callable[[int, int], None]
"""Called with the number of items done and the total."""
Stage = Callable[[str, str], StageProgress]
"""Called at the beginning of a stage with its title and its unit."""


@dataclass(slots=True)
class Tally:
    """Result of verifying one view."""

    view: str
    checkpoint: int = 0
    """Checkpoint at the end; later events were not compared."""
    head: int = 0
    """Head of the log at the end."""
    looked_at: int = 0
    """Users compared, deleted ones included."""
    differences: int = 0
    differing_users: int = 0
    quarantined: int = 0
    """Users in the view's quarantine, which were not compared."""
    left: int = 0
    """Differences that remain: all of them, or those that a repair could not fix."""


@dataclass(frozen=True, slots=True)
class LogAccess:
    """The log, to read single streams and to read all of it."""

    store: EventStore
    source: Source
    vault: Vault


class Repair:
    """Repairs records while a projector may be writing the view, and checks the result.

    In the MySQL view a repair holds the lock on the checkpoint's row, which the projector takes as well. The MongoDB
    view has no such lock; each write is guarded by the version that was read, so of two writers one fails. That leaves
    one race: a projector reads a broken document, the repair replaces it by the right one of the same version, and the
    projector, whose guard still holds, writes what it made of the broken one. So users are examined only after the view
    has passed the head that the log had at the repair, when every batch read before it has been written, and are
    repaired again if they still differ.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._stopped: set[str] = set()
        """Views that did not move while a repair waited for them."""

    async def users(self, view: Records, user_ids: Collection[UUID]) -> list[Difference]:
        """Repair some users; return what differs after several attempts.

        Raises:
            ViewMissing, ViewUnavailable, DatabaseUnavailable: the view cannot be written.
            LogChanged: the log does not hold the view's checkpoint.
        """
        remaining: list[Difference] = []
        for _ in range(REPAIR_ATTEMPTS):
            await self._rewrite(view, list(user_ids))
            await self._pass(view, await self._store.head())
            remaining = await examine(view, self._store, user_ids)
            user_ids = _users_of(remaining)
            if not remaining:
                break
        return remaining

    async def _rewrite(self, view: Records, user_ids: Sequence[UUID]) -> None:
        """Rewrite records, halving the users if the view rejects one, who is then left as it was."""
        try:
            await view.repair(user_ids, self._store)
        except RefusedValue:
            middle = len(user_ids) // 2
            for half in (user_ids[:middle], user_ids[middle:]) if middle else ():
                await self._rewrite(view, half)

    async def _pass(self, view: Records, position: int) -> None:
        """Wait until the view passes a position, unless it did not move last time."""
        if view.name in self._stopped:
            return
        try:
            async with asyncio.timeout(CATCH_UP_SECONDS):
                while (await view.checkpoint()).position < position:  # noqa: ASYNC110 - it moves in another process
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            self._stopped.add(view.name)


class VerificationRun:
    """One run over some views. `found` is called with each difference; with `repair`, differences are repaired.

    A view whose checkpoint the log does not hold is compared and not repaired: it would become a mixture of two logs.
    """

    def __init__(
        self,
        log: LogAccess,
        views: Sequence[Records],
        found: Callable[[Difference], None],
        stage: Stage,
        repair: Repair | None = None,
    ) -> None:
        self.tallies = {view.name: Tally(view.name) for view in views}
        self._log = log
        self._views = list(views)
        self._diverged: set[str] = set()
        """Views whose checkpoint the log does not hold."""
        self._found = found
        self._stage = stage
        self._repair = repair

    async def all_users(self, limit_bytes: int) -> None:
        """Verify all users in bounded memory.

        Raises:
            ViewUnavailable, DatabaseUnavailable: a database is away.
            PositionGap, UnreadableEvent: the log itself cannot be folded.
        """
        await self._verify_structures()
        for group in near_each_other({view.name: (await view.checkpoint()).position for view in self._views}):
            await self._verify_group([view for view in self._views if view.name in group], limit_bytes)
        await self._finish()

    async def sample(self, share: float, seed: int) -> None:
        """Verify a share of the users, from 0 to 1.

        Raises:
            As `all_users`.
        """
        await self._verify_structures()
        progress = self._stage("choosing", "users of the log")
        done = 0
        async for page in self._log_ids():
            chosen = [user_id for user_id in page if is_chosen(user_id, seed, share)]
            for view in self._views:
                await self._examine(view, chosen)
            done += len(page)
            progress(done, done)
        for view in self._views:
            await self._sample_unknown_users(view, share, seed)
        await self._finish()

    async def user(self, user_id: UUID) -> None:
        """Verify one user.

        Raises:
            As `all_users`.
        """
        for view in self._views:
            if difference := await checkpoint_difference(view, self._log.store):
                self._report_structure(view, [difference])
            await self._examine(view, [user_id])
        await self._finish()

    async def _verify_structures(self) -> None:
        """Verify what does not concern single users; a view that does not exist is left out from then on."""
        for view in list(self._views):
            try:
                differences = await structure(view, self._log.store)
            except ViewMissing:
                self._views.remove(view)
                differences = [Difference(view=view.name, kind=DifferenceKind.VIEW)]
            self._report_structure(view, differences)
            repairs = self._repair is not None and view.name not in self._diverged and view in self._views
            if differences and repairs:
                await view.repair_structure()
                repaired = len(differences) - len(await structure(view, self._log.store))
                self.tallies[view.name].left -= repaired

    def _report_structure(self, view: Records, differences: list[Difference]) -> None:
        for difference in differences:
            self._found(difference)
            if difference.kind is DifferenceKind.CHECKPOINT:
                self._diverged.add(view.name)
        self.tallies[view.name].differences += len(differences)
        self.tallies[view.name].left += len(differences)

    async def _verify_group(self, views: list[Records], limit_bytes: int) -> None:
        remaining: UserRange | None = ALL_USERS
        while remaining is not None:
            folded = LogFold(
                self._log.source,
                self._log.vault,
                limit_bytes=limit_bytes,
                history_events=max(view.history_events for view in views),
                users=remaining,
            )
            await self._fold(folded, views)
            for view in views:
                await self._compare(view, folded)
            remaining = remaining.beyond(folded.users)
            folded.clear()

    async def _fold(self, folded: LogFold, views: list[Records]) -> None:
        """Fold up to where all views are; on, while they have moved far meanwhile."""

        async def reached() -> int:
            """A position that the log has reached too: a view may be ahead of a log that was restored."""
            return min([(await view.checkpoint()).position for view in views] + [await self._log.store.head()])

        progress, goal = self._stage("folding the log", "events"), await reached()

        def advance(_: int) -> None:
            progress(folded.position, goal)

        while goal > folded.position:
            await folded.advance(goal, advance)
            now = await reached()
            goal = now if now > goal + NEAR_EVENTS else goal

    async def _compare(self, view: Records, folded: LogFold) -> None:
        progress, tally, total = self._stage(f"comparing {view.name}", "users"), self.tallies[view.name], len(folded)
        before = tally.looked_at

        def advance(users: int) -> None:
            tally.looked_at += users
            progress(tally.looked_at - before, total)

        async for differences in compare(view, folded, self._log.store, advance):
            await self._count(view, differences)

    async def _sample_unknown_users(self, view: Records, share: float, seed: int) -> None:
        """Examine users that the view has and the log does not."""
        remaining: UserRange | None = ALL_USERS
        while remaining is not None:
            page = await view.ids(remaining, IDS_PAGE)
            chosen = [user_id for user_id in page if is_chosen(user_id, seed, share)]
            if chosen:
                sql = KNOWN_USERS.format(ids=placeholders(len(chosen)))
                rows = await self._log.source.fetch_all(sql, [user_id.bytes for user_id in chosen])
                known = {uuid_of(row[0]) for row in rows}
                await self._examine(view, [user_id for user_id in chosen if user_id not in known])
            remaining = remaining.after(page[-1]) if len(page) == IDS_PAGE else None

    async def _examine(self, view: Records, user_ids: Sequence[UUID]) -> None:
        for start in range(0, len(user_ids), EXAMINED_USERS):
            some = user_ids[start : start + EXAMINED_USERS]
            self.tallies[view.name].looked_at += len(some)
            await self._count(view, await examine(view, self._log.store, some))

    async def _count(self, view: Records, differences: list[Difference]) -> None:
        if not differences:
            return
        for difference in differences:
            self._found(difference)
        users = _users_of(differences)
        tally = self.tallies[view.name]
        tally.differences += len(differences)
        tally.differing_users += len(users)
        remaining = differences
        if self._repair is not None and view.name not in self._diverged:
            remaining = await self._repair.users(view, users)
        tally.left += len(remaining)

    async def _finish(self) -> None:
        for view in self._views:
            tally = self.tallies[view.name]
            tally.checkpoint, tally.head = (await view.checkpoint()).position, await self._log.store.head()
            tally.quarantined = len(await view.quarantine())

    async def _log_ids(self) -> AsyncIterator[list[UUID]]:
        remaining: UserRange | None = ALL_USERS
        while remaining is not None:
            bounds = (remaining.lower.bytes, remaining.last.bytes)
            page = [uuid_of(row[0]) for row in await self._log.source.fetch_all(READ_USERS, (*bounds, IDS_PAGE))]
            yield page
            remaining = remaining.after(page[-1]) if len(page) == IDS_PAGE else None


async def structure(view: Records, store: EventStore) -> list[Difference]:
    """Differences that do not concern single users: the checkpoint, the indexes and unknown rows.

    Raises:
        ViewMissing: the view does not exist.
    """
    diverged = await checkpoint_difference(view, store)
    found = [
        Difference(view=view.name, kind=DifferenceKind.INDEX, field=name, expected=expected, found=actual)
        for name, (expected, actual) in (await view.indexes()).items()
    ]
    found += [diverged] if diverged else []
    found += [
        Difference(view=view.name, kind=DifferenceKind.UNKNOWN_ROW, found=row) for row in await view.unknown_rows()
    ]
    return found


async def checkpoint_difference(view: Records, store: EventStore) -> Difference | None:
    """The difference of a view whose checkpoint the log does not hold.

    Raises:
        ViewMissing: the view does not exist.
    """
    try:
        await store.check(await view.checkpoint())
    except LogChanged as error:
        return Difference(view=view.name, kind=DifferenceKind.CHECKPOINT, found=str(error))
    return None


def is_chosen(user_id: UUID, seed: int, share: float) -> bool:
    """Whether the user is in a sample of this share."""
    digest = blake2b(user_id.bytes, digest_size=8, key=seed.to_bytes(8)).digest()
    return int.from_bytes(digest) < share * 2**64


def near_each_other(checkpoints: dict[str, int]) -> list[set[str]]:
    """Groups of views whose checkpoints are at most `NEAR_EVENTS` after the first of their group."""
    groups: list[tuple[int, set[str]]] = []
    for name, checkpoint in sorted(checkpoints.items(), key=lambda item: item[1]):
        if groups and checkpoint - groups[-1][0] <= NEAR_EVENTS:
            groups[-1][1].add(name)
        else:
            groups.append((checkpoint, {name}))
    return [group for _, group in groups]


def _users_of(differences: Collection[Difference]) -> set[UUID]:
    return {difference.user_id for difference in differences if difference.user_id}
