"""A batch of appends: what to ask the log about them, each judged by itself, and what to write of those that pass.

Pure: the appender sends what is made here, in two packets. The first takes the lock of the head and reads, the second
writes and commits; what is judged in between is judged on what nobody else can change meanwhile. One packet a
statement would do the same and cost a round trip each, in which the event loop prepares other appends first.

Rows of the log's tables, and the statements that write them: one for many rows, their values as literals.

What the log says about the streams and claims of a batch, moved on in memory by what is admitted.

Pure: it is read under the lock of the head, so nobody else can change what it holds, and each append is judged on
what those before it in the same batch have made of it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self
from uuid import UUID

import msgspec

from events import sql
from events.chain import Head, Link, StoredRow, next_hash
from events.claims import ADMIN_SEAT, ClaimsKey, HashedClaim, claims_of
from events.database import Row
from events.errors import ClaimTaken, EventsError, KeyReused, LastAdmin, WrongExpectedVersion
from events.event_types import Event, Origin, Recorded, Stored, UserDeleted, encode
from events.idempotency import EarlierResult, Request
from events.ids import NewId
from events.user import User, evolve
from events.vault import UserKey, Vault, place_of

INSERT_EVENTS = """
INSERT INTO events (position, stream_id, version, event_id, type, data, personal, metadata, recorded_at, hash)
VALUES {rows}
"""
MOVE_HEAD = "UPDATE log_head SET position = {position}, hash = {hash} WHERE id = 1"
TAKE_CLAIMS = "INSERT INTO claims (kind, value_hash, user_id) VALUES {rows}"
RELEASE_CLAIMS = "DELETE FROM claims WHERE (kind, value_hash) IN ({claims})"
KEEP_KEYS = "INSERT INTO user_keys (user_id, wrapped, master_key_id) VALUES {rows}"
REWRAP_KEYS = """
INSERT INTO user_keys (user_id, wrapped, master_key_id)
VALUES {rows} AS new
ON DUPLICATE KEY UPDATE wrapped = new.wrapped, master_key_id = new.master_key_id
"""
DESTROY_KEYS = "UPDATE user_keys SET wrapped = NULL, master_key_id = NULL WHERE user_id IN ({ids})"
KEEP_REQUESTS = "INSERT INTO requests (key_hash, fingerprint, user_id, position, made_at) VALUES {rows}"


def insert_events(links: Iterable[Link]) -> str:
    """Add events."""
    return INSERT_EVENTS.format(rows=",\n    ".join(map(_event, links)))


def move_head(end: Head) -> str:
    """Move the head to where the log ends now."""
    return MOVE_HEAD.format(position=sql.integer(end.position), hash=sql.binary(end.hash))


def take_claims(owners: Iterable[tuple[HashedClaim, UUID]]) -> str:
    """Give claims to their owners."""
    rows = (f"({_claim(claim)}, {sql.binary(owner.bytes)})" for claim, owner in owners)
    return TAKE_CLAIMS.format(rows=", ".join(rows))


def release_claims(claims: Iterable[HashedClaim]) -> str:
    """Free claims."""
    return RELEASE_CLAIMS.format(claims=pairs(claims))


def keep_keys(keys: Iterable[tuple[UUID, bytes | None, bytes | None]]) -> str:
    """Keep the keys of users: the user, the wrapped key, the id of the master key; None where it was destroyed."""
    return KEEP_KEYS.format(rows=_keys(keys))


def rewrap_keys(keys: Iterable[tuple[UUID, bytes | None, bytes | None]]) -> str:
    """Keep keys in another form: as `keep_keys`, of users who have one."""
    return REWRAP_KEYS.format(rows=_keys(keys))


def destroy_keys(owners: Iterable[UUID]) -> str:
    """Destroy the keys of users, for ever."""
    return DESTROY_KEYS.format(ids=sql.binaries(owner.bytes for owner in owners))


def keep_requests(requests: Mapping[bytes, EarlierResult], made_at: datetime) -> str:
    """Keep what idempotency keys have led to; `made_at` is UTC."""
    rows = (
        f"({sql.binary(key)}, {sql.binary(earlier.fingerprint)}, {sql.binary(earlier.user_id.bytes)}, "
        f"{sql.integer(earlier.position)}, {sql.instant(made_at)})"
        for key, earlier in requests.items()
    )
    return KEEP_REQUESTS.format(rows=", ".join(rows))


def pairs(claims: Iterable[HashedClaim]) -> str:
    """The inside of an IN list of (kind, value_hash)."""
    return ", ".join(f"({_claim(claim)})" for claim in claims)


def _keys(keys: Iterable[tuple[UUID, bytes | None, bytes | None]]) -> str:
    return ", ".join(f"({sql.binaries((owner.bytes, wrapped, by))})" for owner, wrapped, by in keys)


def _claim(claim: HashedClaim) -> str:
    return f"{sql.text(claim.kind)}, {sql.binary(claim.digest)}"


def _event(link: Link) -> str:
    row = link.row
    return (
        f"({sql.integer(row.position)}, {sql.binary(row.stream_id)}, {sql.integer(row.version)}, "
        f"{sql.binary(row.event_id)}, {sql.text(row.type)}, {sql.text(row.data)}, "
        f"{sql.binary(row.personal)}, {sql.text(row.metadata)}, {sql.instant(row.recorded_at)}, "
        f"{sql.binary(link.hash)})"
    )


@dataclass(slots=True)
class BatchState:
    """Versions of streams, owners of claims, and how many administrators there are."""

    versions: dict[UUID, int]
    """Streams that are not here have no event yet."""
    owners: dict[HashedClaim, UUID]
    """Claims that are not here are free."""
    admins: int
    requests: dict[bytes, EarlierResult]
    """What idempotency keys have led to before."""
    kept: dict[bytes, EarlierResult] = field(default_factory=dict)
    """Keys that this batch adds."""
    taken: dict[HashedClaim, UUID] = field(default_factory=dict)
    """What this batch takes that was not its user's before."""
    released: set[HashedClaim] = field(default_factory=set)
    """What this batch releases that was somebody's before."""

    def earlier(self, request: Request) -> EarlierResult | None:
        """What the same request has led to before, if it has been here.

        Raises:
            KeyReused: its key has been here with another command.
        """
        found = self.requests.get(request.key_hash)
        if found is not None and found.fingerprint != request.fingerprint:
            raise KeyReused
        return found

    def keep(self, request: Request, user_id: UUID, position: int) -> None:
        """Remember what a request has led to."""
        earlier = EarlierResult(request.fingerprint, user_id, position)
        self.requests[request.key_hash] = self.kept[request.key_hash] = earlier

    def check_version(self, stream_id: UUID, expected: int) -> None:
        """Check that a stream is where a writer has read it.

        Raises:
            WrongExpectedVersion: it is not.
        """
        found = self.versions.get(stream_id, 0)
        if found != expected:
            raise WrongExpectedVersion(stream_id, expected, found)

    def admit(
        self, stream_id: UUID, version: int, releases: frozenset[HashedClaim], takes: frozenset[HashedClaim]
    ) -> None:
        """Give a user the claims that it takes and free those that it releases: wholly, or not at all.

        Raises:
            ClaimTaken: another user has a username or email that it takes.
            LastAdmin: nobody would be left to administer.
        """
        self._check_free(takes)
        self._check_admin_left(stream_id, releases, takes)
        for claim in releases:
            self._release(claim)
        for claim in takes:
            self._take(claim, stream_id)
        self.versions[stream_id] = version

    def _check_free(self, takes: frozenset[HashedClaim]) -> None:
        kinds = sorted(claim.kind for claim in takes if claim in self.owners)
        if kinds:
            raise ClaimTaken(tuple(kinds))

    def _check_admin_left(self, user_id: UUID, releases: frozenset[HashedClaim], takes: frozenset[HashedClaim]) -> None:
        loses, gains = _seats(releases), _seats(takes)
        if loses and self.admins - loses + gains < 1:
            raise LastAdmin(user_id)
        self.admins += gains - loses

    def _take(self, claim: HashedClaim, user_id: UUID) -> None:
        self.owners[claim] = user_id
        self.taken[claim] = user_id

    def _release(self, claim: HashedClaim) -> None:
        del self.owners[claim]
        if self.taken.pop(claim, None) is None:
            self.released.add(claim)


def _seats(claims: frozenset[HashedClaim]) -> int:
    return sum(claim.kind == ADMIN_SEAT for claim in claims)


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
class PreparedAppend:
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


Outcome = Appended | EarlierResult | Exception
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


def questions(entries: Sequence[PreparedAppend]) -> dict[str, str]:
    """The statements that begin the transaction, lock the head, and read all that the entries are judged by."""
    asked = {
        "begin": "BEGIN",
        "head": LOCK_HEAD,
        "versions": STREAM_VERSIONS.format(ids=sql.binaries(entry.append.stream_id.bytes for entry in entries)),
    }
    claims = {claim for entry in entries for claim in entry.releases | entry.takes}
    if claims:
        asked["owners"] = CLAIM_OWNERS.format(claims=pairs(claims))
    if any(claim.kind == ADMIN_SEAT for claim in claims):
        asked["admins"] = COUNT_ADMINS
    requests = {entry.append.request.key_hash for entry in entries if entry.append.request}
    if requests:
        asked["requests"] = FIND_REQUESTS.format(keys=sql.binaries(requests))
    return asked


def judge(entries: Sequence[PreparedAppend], found: Found, now: datetime) -> Judged:
    """Judge each entry on what was found and on those before it: one entry's refusal touches no other."""
    now = now.astimezone(UTC)
    head, ledger = _head(found), _ledger(found)
    position, passed, outcomes = head.position, list[tuple[PreparedAppend, Appended]](), list[Outcome]()
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


def _judge_one(entry: PreparedAppend, ledger: BatchState, after: int, now: datetime) -> Appended | EarlierResult:
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


def _head(found: Found) -> Head:
    if not found["head"]:
        raise RuntimeError("log_head has lost its row; restore the log from a backup")
    position, digest = found["head"][0]
    return Head(int(position), digest)


def _ledger(found: Found) -> BatchState:
    return BatchState(
        versions={UUID(bytes=stream_id): int(version) for stream_id, version in found["versions"]},
        owners={HashedClaim(kind, digest): UUID(bytes=owner) for kind, digest, owner in found.get("owners", ())},
        admins=next((int(count) for (count,) in found.get("admins", ())), 0),
        requests={
            key: EarlierResult(fingerprint, UUID(bytes=owner), int(position))
            for key, fingerprint, owner, position in found.get("requests", ())
        },
    )


def _writes(
    head: Head, passed: Sequence[tuple[PreparedAppend, Appended]], ledger: BatchState, now: datetime
) -> list[str]:
    """The statements that write what passed, and all that goes with it."""
    links = _links(head, passed)
    writes = [insert_events(links), move_head(links[-1].mark)]
    if ledger.kept:
        writes.append(keep_requests(ledger.kept, now))
    if ledger.released:
        writes.append(release_claims(ledger.released))
    if ledger.taken:
        writes.append(take_claims(ledger.taken.items()))
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
        writes.append(keep_keys(fresh))
    gone = [append.stream_id for append in appends if isinstance(append.events[-1], UserDeleted)]
    if gone:
        writes.append(destroy_keys(gone))
    return writes


def _links(head: Head, passed: Sequence[tuple[PreparedAppend, Appended]]) -> list[Link]:
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
