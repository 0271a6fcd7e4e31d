"""One transaction of the log: judge what waits, each by itself, under the lock of the head, and write what passes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self
from uuid import UUID

import msgspec

from events import literals
from events.catalogue import Event, Origin, Recorded, Stored, UserDeleted, encode
from events.chain import Link, Mark, StoredRow, next_hash
from events.claims import ADMIN_SEAT, Claim, ClaimsKey, claims_of
from events.database import Connection
from events.errors import EventsError
from events.idempotency import Earlier, Request
from events.ids import NewId
from events.ledger import Ledger
from events.rows import insert_events
from events.user import User, evolve
from events.vault import UserKey, place_of

LOCK_HEAD = "SELECT position, hash FROM log_head WHERE id = 1 FOR UPDATE"
MOVE_HEAD = "UPDATE log_head SET position = %s, hash = %s WHERE id = 1"
STREAM_VERSIONS = "SELECT stream_id, MAX(version) FROM events WHERE stream_id IN ({ids}) GROUP BY stream_id"
CLAIM_OWNERS = "SELECT kind, value_hash, user_id FROM claims WHERE (kind, value_hash) IN ({pairs})"
COUNT_ADMINS = "SELECT COUNT(*) FROM claims WHERE kind = %s"
RELEASE_CLAIMS = "DELETE FROM claims WHERE (kind, value_hash) IN ({pairs})"
TAKE_CLAIMS = "INSERT INTO claims (kind, value_hash, user_id) VALUES {rows}"
FIND_REQUESTS = "SELECT key_hash, fingerprint, user_id, position FROM requests WHERE key_hash IN ({keys})"
KEEP_REQUESTS = "INSERT INTO requests (key_hash, fingerprint, user_id, position, made_at) VALUES {rows}"
KEEP_KEYS = "INSERT INTO user_keys (user_id, wrapped, master_key_id) VALUES {rows}"
DESTROY_KEYS = "UPDATE user_keys SET wrapped = NULL, master_key_id = NULL WHERE user_id IN ({ids})"

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NOBODY: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Append:
    """What is to be added to one stream, and what it was decided on."""

    stream_id: UUID
    expected_version: int
    """Version of the stream that the events were decided on; 0 for a new one."""
    user: User | None
    """The user at that version."""
    key: UserKey
    """The key of the user: a fresh one with the first events, else the one that the log keeps."""
    events: tuple[Event, ...]
    origin: Origin
    request: Request | None = None
    """Makes the append happen once, however often it is asked for."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The outcome: what the log holds now, and the user after it."""

    recorded: tuple[Recorded, ...]
    user: User | None

    @property
    def position(self) -> int:
        """Position of the last event."""
        return self.recorded[-1].position


@dataclass(frozen=True, slots=True)
class Entry:
    """An append and all that can be made of it before the lock is taken."""

    append: Append
    stored: tuple[Stored, ...]
    """The stored form of its events, sealed."""
    had: frozenset[Claim]
    """The user's claims before."""
    needs: frozenset[Claim]
    """The user's claims after."""

    @classmethod
    def of(cls, append: Append, nonce: Callable[[], bytes]) -> Self:
        """The entry of an append."""
        stored = tuple(
            _sealed(append, version, event, nonce)
            for version, event in enumerate(append.events, start=append.expected_version + 1)
        )
        after = _numbered(append, 0, EPOCH, lambda: NOBODY).user
        return cls(append, stored, claims_of(append.user), claims_of(after))

    @property
    def size(self) -> int:
        """Bytes of personal and open data, about half of what the entry adds to a statement."""
        return sum(len(one.data) + len(one.personal or b"") + len(one.metadata) for one in self.stored)


Outcome = Appended | Earlier | Exception
"""What became of an entry: where it stands now, what it led to when it was here before, or why it was refused."""


class Batches:
    """Judges and writes batches of entries."""

    def __init__(self, claims_key: ClaimsKey, clock: Callable[[], datetime], new_id: NewId) -> None:
        self._claims_key = claims_key
        self._clock = clock
        self._new_id = new_id

    async def write(self, connection: Connection, entries: Sequence[Entry]) -> list[Outcome]:
        """Write the entries that pass; an outcome for each, in order. Call it inside a transaction.

        One entry's refusal touches no other. The outcomes hold only if the transaction commits.
        """
        head = await _lock_head(connection)
        ledger = await self._read_ledger(connection, entries)
        outcomes = self._judge(entries, ledger, head.position)
        passed = [
            (entry, outcome) for entry, outcome in zip(entries, outcomes, strict=True) if isinstance(outcome, Appended)
        ]
        if passed:
            await _keep_requests(connection, ledger.kept, self._clock())
            await self._move_claims(connection, ledger)
            await _move_keys(connection, [entry.append for entry, _ in passed])
            await _insert(connection, head, passed)
        return outcomes

    def _judge(self, entries: Sequence[Entry], ledger: Ledger, head: int) -> list[Outcome]:
        """Each entry's outcome; those that pass are numbered from the head on."""
        now = self._clock().astimezone(UTC)
        outcomes: list[Outcome] = []
        for entry in entries:
            try:
                outcome = self._judge_one(entry, ledger, head, now)
            except EventsError as refusal:
                outcomes.append(refusal)
            else:
                outcomes.append(outcome)
                head = outcome.position if isinstance(outcome, Appended) else head
        return outcomes

    def _judge_one(self, entry: Entry, ledger: Ledger, head: int, now: datetime) -> Appended | Earlier:
        append = entry.append
        earlier = ledger.earlier(append.request) if append.request else None
        if earlier is not None:
            return earlier
        appended = _numbered(append, head, now, self._new_id)
        ledger.check_version(append.stream_id, append.expected_version)
        ledger.admit(append.stream_id, appended.recorded[-1].version, entry.had, entry.needs)
        if append.request is not None:
            ledger.keep(append.request, append.stream_id, appended.position)
        return appended

    async def _read_ledger(self, connection: Connection, entries: Sequence[Entry]) -> Ledger:
        """What the log says of everything that the entries touch."""
        streams = {entry.append.stream_id for entry in entries}
        claims = {claim for entry in entries for claim in entry.had | entry.needs}
        return Ledger(
            versions=await _versions(connection, streams),
            owners=await self._owners(connection, claims),
            admins=await _count_admins(connection) if any(claim.kind == ADMIN_SEAT for claim in claims) else 0,
            requests=await _requests(connection, [entry.append.request for entry in entries]),
        )

    async def _owners(self, connection: Connection, claims: set[Claim]) -> dict[Claim, UUID]:
        by_key = {(claim.kind, self._claims_key.digest(claim)): claim for claim in claims}
        if not by_key:
            return {}
        sql = CLAIM_OWNERS.format(pairs=_pairs(list(by_key)))
        return {by_key[kind, digest]: UUID(bytes=owner) for kind, digest, owner in await connection.fetch_all(sql)}

    async def _move_claims(self, connection: Connection, ledger: Ledger) -> None:
        if ledger.released:
            gone = [(claim.kind, self._claims_key.digest(claim)) for claim in ledger.released]
            await connection.execute(RELEASE_CLAIMS.format(pairs=_pairs(gone)))
        if ledger.taken:
            rows = ", ".join(
                f"({literals.text(claim.kind)}, {literals.binary(self._claims_key.digest(claim))}, "
                f"{literals.binary(owner.bytes)})"
                for claim, owner in ledger.taken.items()
            )
            await connection.execute(TAKE_CLAIMS.format(rows=rows))


async def _lock_head(connection: Connection) -> Mark:
    row = await connection.fetch_one(LOCK_HEAD)
    if row is None:
        raise RuntimeError("log_head has lost its row; restore the log from a backup")
    return Mark(int(row[0]), row[1])


async def _move_keys(connection: Connection, appends: Sequence[Append]) -> None:
    """Keep the keys of new users, and destroy those of deleted ones, in the transaction that says so."""
    fresh = [append for append in appends if append.expected_version == 0]
    if fresh:
        rows = ", ".join(
            f"({literals.binary(append.stream_id.bytes)}, {literals.binary(append.key.wrapped)}, "
            f"{literals.binary(append.key.master_key_id)})"
            for append in fresh
        )
        await connection.execute(KEEP_KEYS.format(rows=rows))
    gone = [append.stream_id.bytes for append in appends if isinstance(append.events[-1], UserDeleted)]
    if gone:
        await connection.execute(DESTROY_KEYS.format(ids=", ".join(map(literals.binary, gone))))


async def _insert(connection: Connection, head: Mark, passed: Sequence[tuple[Entry, Appended]]) -> None:
    """Write the events, each chained to the one before it, and move the head."""
    end, links = head, list[Link]()
    for entry, appended in passed:
        for recorded, stored in zip(appended.recorded, entry.stored, strict=True):
            row = _stored_row(recorded, stored)
            links.append(Link(row, next_hash(end.hash, row)))
            end = links[-1].mark
    await connection.execute(insert_events(links))
    await connection.execute(MOVE_HEAD, (end.position, end.hash))


async def _versions(connection: Connection, streams: set[UUID]) -> dict[UUID, int]:
    sql = STREAM_VERSIONS.format(ids=", ".join(literals.binary(stream_id.bytes) for stream_id in streams))
    return {UUID(bytes=stream_id): int(version) for stream_id, version in await connection.fetch_all(sql)}


async def _requests(connection: Connection, requests: Sequence[Request | None]) -> dict[bytes, Earlier]:
    keys = [literals.binary(request.key_hash) for request in requests if request is not None]
    if not keys:
        return {}
    rows = await connection.fetch_all(FIND_REQUESTS.format(keys=", ".join(keys)))
    return {key: Earlier(fingerprint, UUID(bytes=owner), int(position)) for key, fingerprint, owner, position in rows}


async def _keep_requests(connection: Connection, kept: Mapping[bytes, Earlier], now: datetime) -> None:
    if not kept:
        return
    rows = ", ".join(
        f"({literals.binary(key)}, {literals.binary(earlier.fingerprint)}, {literals.binary(earlier.user_id.bytes)}, "
        f"{literals.integer(earlier.position)}, {literals.instant(now.astimezone(UTC))})"
        for key, earlier in kept.items()
    )
    await connection.execute(KEEP_REQUESTS.format(rows=rows))


async def _count_admins(connection: Connection) -> int:
    row = await connection.fetch_one(COUNT_ADMINS, (ADMIN_SEAT,))
    return int(row[0]) if row else 0


def _numbered(append: Append, head: int, now: datetime, new_id: NewId) -> Appended:
    """The events with the places that they get after `head`."""
    recorded = tuple(
        Recorded(
            position=head + number,
            stream_id=append.stream_id,
            version=append.expected_version + number,
            event_id=new_id(),
            type=type(event).__name__,
            event=event,
            fields=event.changed_fields(),
            origin=append.origin,
            recorded_at=now,
        )
        for number, event in enumerate(append.events, start=1)
    )
    user = append.user
    for event in recorded:
        user = evolve(user, event)
    return Appended(recorded, user)


def _pairs(keys: Sequence[tuple[str, bytes]]) -> str:
    return ", ".join(f"({literals.text(kind)}, {literals.binary(digest)})" for kind, digest in keys)


def _sealed(append: Append, version: int, event: Event, nonce: Callable[[], bytes]) -> Stored:
    stored = encode(event, append.origin)
    if stored.personal is None:
        return stored
    place = place_of(append.stream_id, version, stored.type)
    return msgspec.structs.replace(stored, personal=append.key.seal(stored.personal, place, nonce()))


def _stored_row(recorded: Recorded, stored: Stored) -> StoredRow:
    return StoredRow(
        recorded.position,
        recorded.stream_id.bytes,
        recorded.version,
        recorded.event_id.bytes,
        stored.type,
        stored.data,
        stored.personal,
        stored.metadata,
        recorded.recorded_at,
    )
