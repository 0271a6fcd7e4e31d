"""A batch of appends: what to ask the log about them, each judged by itself, and what to write of those that pass.

Pure: the appender sends what is made here, in two packets. The first takes the lock of the head and reads, the second
writes and commits; what is judged in between is judged on what nobody else can change meanwhile. One packet a
statement would do the same and cost a round trip each, in which the event loop prepares other appends first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self
from uuid import UUID

import msgspec

from events import literals, rows
from events.catalogue import Event, Origin, Recorded, Stored, UserDeleted, encode
from events.chain import Link, Mark, StoredRow, next_hash
from events.claims import ADMIN_SEAT, ClaimsKey, HashedClaim, claims_of
from events.database import Row
from events.errors import EventsError
from events.idempotency import Earlier, Request
from events.ids import NewId
from events.ledger import Ledger
from events.user import User, evolve
from events.vault import UserKey, Vault, place_of

LOCK_HEAD = "SELECT position, hash FROM log_head WHERE id = 1 FOR UPDATE"
STREAM_VERSIONS = "SELECT stream_id, MAX(version) FROM events WHERE stream_id IN ({ids}) GROUP BY stream_id"
CLAIM_OWNERS = "SELECT kind, value_hash, user_id FROM claims WHERE (kind, value_hash) IN ({claims})"
COUNT_ADMINS = "SELECT COUNT(*) FROM claims WHERE kind = 'admin'"
FIND_REQUESTS = "SELECT key_hash, fingerprint, user_id, position FROM requests WHERE key_hash IN ({keys})"

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Append(msgspec.Struct, frozen=True):
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


class Appended(msgspec.Struct, frozen=True):
    """The outcome: where the log holds the events now."""

    append: Append
    event_ids: tuple[UUID, ...]
    after: int
    """Position of the event before the first."""
    recorded_at: datetime

    @property
    def position(self) -> int:
        """Position of the last event."""
        return self.after + len(self.event_ids)

    @property
    def version(self) -> int:
        """Of the stream, with these events."""
        return self.append.expected_version + len(self.event_ids)

    def recorded(self) -> list[Recorded]:
        """The events as the log holds them."""
        return [
            Recorded(
                position=self.after + number,
                stream_id=self.append.stream_id,
                version=self.append.expected_version + number,
                event_id=event_id,
                type=type(event).__name__,
                event=event,
                fields=event.changed_fields(),
                origin=self.append.origin,
                recorded_at=self.recorded_at,
            )
            for number, (event_id, event) in enumerate(zip(self.event_ids, self.append.events, strict=True), start=1)
        ]

    def user(self) -> User | None:
        """The user with these events; None once deleted."""
        user = self.append.user
        for recorded in self.recorded():
            user = evolve(user, recorded)
        return user


@dataclass(frozen=True, slots=True)
class Entry:
    """An append and all that can be made of it before the lock is taken."""

    append: Append
    event_ids: tuple[UUID, ...]
    stored: tuple[Stored, ...]
    """The stored form of its events, sealed."""
    releases: frozenset[HashedClaim]
    """What the user has and will not have any more."""
    takes: frozenset[HashedClaim]
    """What the user has not yet."""

    @classmethod
    def of(cls, append: Append, claims_key: ClaimsKey, vault: Vault, new_id: NewId) -> Self:
        """The entry of an append."""
        stored = tuple(
            _sealed(append, version, event, vault.nonce)
            for version, event in enumerate(append.events, start=append.expected_version + 1)
        )
        event_ids = tuple(new_id() for _ in append.events)
        had, needs = claims_of(append.user), claims_of(Appended(append, event_ids, 0, EPOCH).user())
        releases, takes = frozenset(map(claims_key.hashed, had - needs)), frozenset(map(claims_key.hashed, needs - had))
        return cls(append, event_ids, stored, releases, takes)

    @property
    def size(self) -> int:
        """Bytes of personal and open data, about half of what the entry adds to a statement."""
        return sum(len(one.data) + len(one.personal or b"") + len(one.metadata) for one in self.stored)


Outcome = Appended | Earlier | Exception
"""What became of an entry: where it stands now, what it led to when it was here before, or why it was refused."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A batch that was judged. It holds only if what it writes is committed."""

    outcomes: list[Outcome] = field(default_factory=list)
    """One for each entry, in order."""
    writes: list[str] = field(default_factory=list)
    """Statements."""


Found = Mapping[str, Sequence[Row]]
"""What the log says of a batch, by the names that `questions` has."""


def questions(entries: Sequence[Entry]) -> dict[str, str]:
    """The statements that begin the transaction, lock the head, and read all that the entries are judged by."""
    asked = {
        "begin": "BEGIN",
        "head": LOCK_HEAD,
        "versions": STREAM_VERSIONS.format(ids=literals.binaries(entry.append.stream_id.bytes for entry in entries)),
    }
    claims = {claim for entry in entries for claim in entry.releases | entry.takes}
    if claims:
        asked["owners"] = CLAIM_OWNERS.format(claims=rows.pairs(claims))
    if any(claim.kind == ADMIN_SEAT for claim in claims):
        asked["admins"] = COUNT_ADMINS
    requests = {entry.append.request.key_hash for entry in entries if entry.append.request}
    if requests:
        asked["requests"] = FIND_REQUESTS.format(keys=literals.binaries(requests))
    return asked


def judge(entries: Sequence[Entry], found: Found, now: datetime) -> Judged:
    """Judge each entry on what was found and on those before it: one entry's refusal touches no other."""
    now = now.astimezone(UTC)
    head, ledger = _head(found), _ledger(found)
    position, passed, outcomes = head.position, list[tuple[Entry, Appended]](), list[Outcome]()
    for entry in entries:
        try:
            outcome = _judge_one(entry, ledger, position, now)
        except EventsError as refusal:
            outcomes.append(refusal)
            continue
        outcomes.append(outcome)
        if isinstance(outcome, Appended):
            passed.append((entry, outcome))
            position = outcome.position
    return Judged(outcomes, _writes(head, passed, ledger, now) if passed else [])


def _judge_one(entry: Entry, ledger: Ledger, after: int, now: datetime) -> Appended | Earlier:
    append = entry.append
    earlier = ledger.earlier(append.request) if append.request else None
    if earlier is not None:
        return earlier
    appended = Appended(append, entry.event_ids, after, now)
    ledger.check_version(append.stream_id, append.expected_version)
    ledger.admit(append.stream_id, appended.version, entry.releases, entry.takes)
    if append.request is not None:
        ledger.keep(append.request, append.stream_id, appended.position)
    return appended


def _head(found: Found) -> Mark:
    if not found["head"]:
        raise RuntimeError("log_head has lost its row; restore the log from a backup")
    position, digest = found["head"][0]
    return Mark(int(position), digest)


def _ledger(found: Found) -> Ledger:
    return Ledger(
        versions={UUID(bytes=stream_id): int(version) for stream_id, version in found["versions"]},
        owners={HashedClaim(kind, digest): UUID(bytes=owner) for kind, digest, owner in found.get("owners", ())},
        admins=next((int(count) for (count,) in found.get("admins", ())), 0),
        requests={
            key: Earlier(fingerprint, UUID(bytes=owner), int(position))
            for key, fingerprint, owner, position in found.get("requests", ())
        },
    )


def _writes(head: Mark, passed: Sequence[tuple[Entry, Appended]], ledger: Ledger, now: datetime) -> list[str]:
    """The statements that write what passed, and all that goes with it."""
    links = _links(head, passed)
    writes = [rows.insert_events(links), rows.move_head(links[-1].mark)]
    if ledger.kept:
        writes.append(rows.keep_requests(ledger.kept, now))
    if ledger.released:
        writes.append(rows.release_claims(ledger.released))
    if ledger.taken:
        writes.append(rows.take_claims(ledger.taken.items()))
    return writes + _key_writes([entry.append for entry, _ in passed])


def _key_writes(appends: Sequence[Append]) -> list[str]:
    """Keep the keys of new users, and destroy those of deleted ones, in the transaction that says so."""
    writes = []
    fresh = [
        (append.stream_id, append.key.wrapped, append.key.master_key_id)
        for append in appends
        if append.expected_version == 0
    ]
    if fresh:
        writes.append(rows.keep_keys(fresh))
    gone = [append.stream_id for append in appends if isinstance(append.events[-1], UserDeleted)]
    if gone:
        writes.append(rows.destroy_keys(gone))
    return writes


def _links(head: Mark, passed: Sequence[tuple[Entry, Appended]]) -> list[Link]:
    """The rows of what passed, each chained to the one before it."""
    before, links = head.hash, list[Link]()
    for entry, appended in passed:
        for number, (event_id, stored) in enumerate(zip(entry.event_ids, entry.stored, strict=True), start=1):
            row = _row(appended, number, event_id, stored)
            before = next_hash(before, row)
            links.append(Link(row, before))
    return links


def _row(appended: Appended, number: int, event_id: UUID, stored: Stored) -> StoredRow:
    return StoredRow(
        appended.after + number,
        appended.append.stream_id.bytes,
        appended.append.expected_version + number,
        event_id.bytes,
        stored.type,
        stored.data,
        stored.personal,
        stored.metadata,
        appended.recorded_at,
    )


def _sealed(append: Append, version: int, event: Event, nonce: Callable[[], bytes]) -> Stored:
    stored = encode(event, append.origin)
    if stored.personal is None:
        return stored
    place = place_of(append.stream_id, version, stored.type)
    return msgspec.structs.replace(stored, personal=append.key.seal(stored.personal, place, nonce()))
