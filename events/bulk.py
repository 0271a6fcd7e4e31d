"""Read the log of very many users in bulk.

`EventStore` joins each event to its user's key and keeps ciphers, which take 2.7 kB each: right for a follower, which
reads few events once. `BulkReader` meets each user several times and would find few ciphers kept. So it reads each
user's key once, keeps its 32 bytes and makes the cipher again for each page. Measured on 1,000,000 events of 200,000
users: 104,000 events a second with the join, 266,000 without it.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.database import Row, Source, placeholders
from events.errors import UnusableKey
from events.event_types import Recorded, UserDeleted
from events.ids import following, uuid_of
from events.recorded import KEY_LOST, check_dense, damaged_of, problem_of, recorded_past_damage
from events.rows import OWNER, SMALL_ROWS, with_large
from events.vault import Vault

LAST: Final = b"\xff" * 16
KEYS_PER_STATEMENT: Final = 1_000
SAMPLED_EVENTS: Final = 1_000
FIRST_EVENT: Final = 3
"""How many events a user or data object itself costs a reader: it is also made and written."""
NO_EVENT: Final = 2**64 - 1

# A range of users is filtered in the order of positions. The index on (stream_id, version) would fetch each event from
# its own place: with a log larger than the server's memory that read 12,000 events a second, and a pass over the whole
# log 98,000 of a quarter of the users. FORCE INDEX, because the optimizer may think that the other index is cheaper.
READ_BETWEEN = f"""
SELECT {SMALL_ROWS} FROM events FORCE INDEX (PRIMARY) WHERE position > %s AND position <= %s
"""  # noqa: S608 - constants
BULK_READ = READ_BETWEEN + "ORDER BY position"
BULK_READ_RANGE = READ_BETWEEN + "AND stream_id >= %s AND stream_id < %s ORDER BY position"
COUNT = "SELECT COUNT(*) FROM events WHERE position > %s AND position <= %s"
READ_DELETED = """
SELECT stream_id FROM events FORCE INDEX (by_type) WHERE type = 'UserDeleted' AND position > %s AND position <= %s
"""
READ_SAMPLE = "SELECT stream_id, version FROM events WHERE position IN ({positions})"
READ_POSITIONS = "SELECT position FROM events WHERE position > %s AND position <= %s ORDER BY position"
READ_KEYS = "SELECT user_id, wrapped, deletion_proof, master_key_id FROM user_keys WHERE user_id IN ({ids})"


class UserRange(msgspec.Struct, frozen=True):
    """A range of user ids. Ids sort by time, so these users registered one after another."""

    lower: UUID = UUID(int=0)
    """The least id of the range."""
    upper: UUID | None = None
    """The least id beyond the range; None if it is open."""

    @property
    def last(self) -> UUID:
        """The greatest id that a user of the range can have."""
        return UUID(int=self.upper.int - 1) if self.upper else UUID(bytes=LAST)

    def after(self, user_id: UUID) -> "UserRange | None":
        """The rest of this range after one of its users; None if nothing is left."""
        return UserRange(following(user_id), self.upper) if user_id < self.last else None

    def beyond(self, part: "UserRange") -> "UserRange | None":
        """The rest of this range after a part of it; None if nothing is left."""
        return None if part.upper == self.upper or part.upper is None else UserRange(part.upper, self.upper)

    def __contains__(self, user_id: UUID) -> bool:
        return self.lower <= user_id and (self.upper is None or user_id < self.upper)


ALL_USERS: Final = UserRange()


async def split_users(source: Source, up_to: int, parts: int) -> list[UserRange]:
    """All ids in ranges of about the same number of events up to a position, by a sample of the log."""
    positions = sorted({1 + number * up_to // SAMPLED_EVENTS for number in range(SAMPLED_EVENTS)} if up_to else ())
    ids: list[bytes] = []
    if positions:
        sql = READ_SAMPLE.format(positions=placeholders(len(positions)))
        for stream_id, version in await source.fetch_all(sql, positions):
            ids += [stream_id] * (FIRST_EVENT if version == 1 else 1)
    ids.sort()
    bounds = sorted({ids[len(ids) * number // parts] for number in range(1, parts)} if ids else ())
    edges = [ALL_USERS.lower, *map(uuid_of, bounds)]
    return [UserRange(lower, upper) for lower, upper in zip(edges, [*edges[1:], None], strict=True)]


class BulkReader:
    """Reads the log of a range of users page by page, in the order of positions."""

    def __init__(self, source: Source, vault: Vault, users: UserRange = ALL_USERS) -> None:
        self.users = users
        self._source = source
        self._vault = vault
        self._secrets: dict[bytes, bytes | None] = {}
        self._damaged: dict[bytes, str] = {}
        """Why the key of a user cannot be used."""
        self.settled = NO_EVENT
        """A position that the log had reached before the first read."""
        self.destroyed: set[bytes] = set()
        """Users whose deletion was read after that position. They own no data object any more."""

    async def pages(
        self, after: int, up_to: int, page_events: int
    ) -> AsyncGenerator[tuple[dict[bytes, list[Row]], int], None]:
        """The range's rows after a position and up to another, which the log has reached, page by page.

        Yields the rows of a page by stream, sealed, and the position up to which they were read. Their users' keys are
        known from then on (`recorded`, `secret_of`). A page of large events ends early. The server reads the next page
        while this one is opened and used, on a connection of its own.

        The keys are the bytes of the ids: to make and hash a UUID for each event takes longer.

        Raises:
            PositionGap: the log has lost an event, of any user.
        """
        if after >= up_to:
            return
        reading = asyncio.create_task(self._page(after, min(after + page_events, up_to)))
        try:
            while after < up_to:
                rows, end = await reading
                if end < up_to:
                    reading = asyncio.create_task(self._page(end, min(end + page_events, up_to)))
                if self.users.upper is not None:  # may have been narrowed since the page was read
                    upper = self.users.upper.bytes
                    rows = [row for row in rows if row[1] < upper]
                await self._fetch_secrets(rows)
                await self._find_destroyed(rows, after, end)
                streams: dict[bytes, list[Row]] = {}
                for row in rows:
                    streams.setdefault(row[1], []).append(row)
                after = end
                yield streams, end
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def secret_of(self, user_id: bytes) -> bytes | None:
        """The key of a user whose rows were read; None if it is destroyed or damaged, or this is no user."""
        return self._secrets.get(user_id)

    def narrow(self, upper: UUID) -> None:
        """Leave out the streams from this id on."""
        self.users = UserRange(self.users.lower, upper)
        self._secrets = {user_id: secret for user_id, secret in self._secrets.items() if user_id < upper.bytes}

    def forget(self) -> None:
        """Forget the keys, and free their memory."""
        self._secrets.clear()
        self._damaged.clear()
        self.destroyed.clear()

    async def _page(self, after: int, up_to: int) -> tuple[list[Row], int]:
        """The rows after a position, and the position up to which they were read."""
        found = await self._rows(after, up_to)
        rows = await with_large(self._source, found)
        return rows, up_to if len(rows) == len(found) else found[len(rows)][0] - 1

    async def _rows(self, after: int, up_to: int) -> list[Row]:
        """The range's rows, once it is certain that no position is missing: a hole is a lost event of any user."""
        if self.users == ALL_USERS:
            rows = await self._source.fetch_all(BULK_READ, (after, up_to))
            check_dense(after, [*(row[0] for row in rows), up_to + 1])
            return rows
        if await self._source.fetch_one(COUNT, (after, up_to)) != (up_to - after,):
            positions = await self._source.fetch_all(READ_POSITIONS, (after, up_to))
            check_dense(after, [*(row[0] for row in positions), up_to + 1])
        upper = self.users.upper.bytes if self.users.upper else LAST
        return await self._source.fetch_all(BULK_READ_RANGE, (after, up_to, self.users.lower.bytes, upper))

    async def _fetch_secrets(self, rows: list[Row]) -> None:
        """Fetch the keys of users that were not met before.

        After the events, so each user has its row. A user deleted from now on is read as it was; its deletion follows
        later in the log.
        """
        # Not the difference of a set and a view of keys: it would look at every known key, for each page.
        owners = {row[OWNER] or row[1] for row in rows}
        unmet = sorted(one for one in owners if one not in self._secrets and one not in self._damaged)
        for start in range(0, len(unmet), KEYS_PER_STATEMENT):
            user_ids = unmet[start : start + KEYS_PER_STATEMENT]
            keys = await self._source.fetch_all(READ_KEYS.format(ids=placeholders(len(user_ids))), user_ids)
            found = {row[0]: row for row in keys}
            for user_id in user_ids:  # the dictionaries keep the bytes that came with the events, not a second copy
                if user_id not in found:
                    self._damaged[user_id] = KEY_LOST
                    continue
                _, wrapped, deletion_proof, master_key_id = found[user_id]
                owner, secret = uuid_of(user_id), None
                try:
                    if wrapped is None:
                        self._vault.check_destroyed(owner, deletion_proof, master_key_id)
                    else:
                        secret = self._vault.unwrapped(owner, wrapped, master_key_id)
                    self._secrets[user_id] = secret
                except UnusableKey as error:
                    self._damaged[user_id] = problem_of(error)

    async def _find_destroyed(self, rows: list[Row], after: int, up_to: int) -> None:
        """Find the users whose keys may have been read before these events delete them.

        Their data objects have no event that says so. The keys of users deleted earlier were destroyed before the
        first read, so their objects' events are `Forgotten`.
        """
        if after < self.settled:
            return
        if self.users == ALL_USERS:
            self.destroyed.update(row[1] for row in rows if row[4] == UserDeleted.__name__)
        else:
            self.destroyed.update(row[0] for row in await self._source.fetch_all(READ_DELETED, (after, up_to)))

    def recorded(self, rows: Sequence[Row]) -> list[Recorded]:
        """The events in rows of one stream. Damaged events are `Damaged`, as in `EventStore.read_past_damage`.

        Raises:
            UnreadableEvent: an event comes from a newer release, which concerns every user.
        """
        found, owner, cipher = [], None, None
        for row in rows:
            user_id = row[OWNER] or row[1]
            if user_id in self._damaged:
                found.append(damaged_of(row, self._damaged[user_id]))
                continue
            if user_id != owner:
                secret = self._secrets[user_id]
                owner, cipher = user_id, None if secret is None else AESGCM(secret)
            found.append(recorded_past_damage(row, cipher))
        return found
