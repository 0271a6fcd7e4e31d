"""A batch of appends: prepare each, read what the log says, decide each, make the statements.

Pure: the appender sends what is made here, in two packets. The first locks the head and reads, the second writes and
commits. The lock keeps the state that the appends are decided on unchanged in between. Statements sent one by one would
do the same and cost a round trip each, in which the event loop prepares other appends first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

import msgspec

from events import sql
from events.chain import HEAD_LOST, Head, body_of, framed_instant, hash_of, tail_of
from events.claims import ADMIN_SEAT, Claim, HashedClaim, claims_of, hashed, may_move_claims
from events.data_object import DataObject
from events.database import Row
from events.errors import (
    BrokenChain,
    ClaimTaken,
    EventsError,
    InconsistentClaims,
    KeyReused,
    LastAdmin,
    OwnerDeleted,
    WrongExpectedVersion,
)
from events.event_types import DataCreated, Event, Origin, Recorded, UserDeleted, encode, password_hash_of
from events.idempotency import EarlierResult, Request
from events.ids import NewId
from events.log_keys import LogKeys
from events.statements import (
    CLAIM_OWNERS,
    COUNT_ADMINS,
    DELETE_CREDENTIALS,
    DELETE_SNAPSHOTS,
    FIND_REQUESTS,
    LIVING_USERS,
    LOCK_HEAD,
    RELEASE_CLAIMS,
    STREAM_VERSIONS,
    claim_literals,
    event_columns,
    event_row,
    insert_rows,
    keep_keys,
    keep_requests,
    move_head,
    replace_credentials,
    replace_keys,
    take_claims,
)
from events.streams import State, evolve_stream
from events.vault import CredentialKey, KeyRow, UserKey, Vault, place_of


class Append(msgspec.Struct, frozen=True):
    """Events to add to one stream, and the state that they were decided on."""

    stream_id: UUID
    expected_version: int
    """Version of the stream that the events were decided on; 0 for a new one."""
    state: State | None
    """The user or data object at that version."""
    key: UserKey
    """The user's key: a fresh one with a user's first events, else the one that the log keeps."""
    events: tuple[Event, ...]
    origin: Origin
    request: Request | None = None
    """Makes the append happen once, however often it is sent."""
    owner_id: UUID | None = None
    """Of a data object: its owner after the events, whose key `key` is."""

    @property
    def owners(self) -> frozenset[UUID]:
        """The users who must not be deleted: a data object dies with its owner, so it cannot be handed over then."""
        before = self.state.owner_id if isinstance(self.state, DataObject) else None
        return frozenset(owner for owner in (before, self.owner_id) if owner is not None)


class Appended(msgspec.Struct, frozen=True):
    """An append that the log holds, and where."""

    append: Append
    event_ids: tuple[UUID, ...]
    after: int
    """Position of the event before the first."""
    recorded_at: datetime
    number: int | None = None
    """The number of a new data object."""

    @property
    def position(self) -> int:
        """Position of the last event."""
        return self.after + len(self.event_ids)

    @property
    def version(self) -> int:
        """Version of the stream after the last event."""
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
                owner_id=self.append.owner_id,
                number=self.number if number == 1 else None,
            )
            for number, (event_id, event) in enumerate(zip(self.event_ids, self.append.events, strict=True), start=1)
        ]

    def state(self) -> State | None:
        """The user or data object after these events; None once deleted."""
        state = self.append.state
        for recorded in self.recorded():
            state = evolve_stream(state, recorded)
        return state


Outcome = Appended | EarlierResult | Exception
"""The end of an append: appended, done earlier under the same idempotency key, or refused."""


@dataclass(frozen=True, slots=True)
class Instant:
    """The instant of a batch, made once for all its events."""

    literal: str
    framed: bytes
    """As the hash takes it."""


@dataclass(frozen=True, slots=True)
class PreparedEvent:
    """A sealed event: its columns between position and instant."""

    event_id: UUID
    columns: str
    """As literals."""
    body: bytes
    """As the hash takes them."""


@dataclass(frozen=True, slots=True)
class PreparedAppend:
    """An append, and everything about it that can be computed before the head is locked."""

    append: Append
    events: tuple[PreparedEvent, ...]
    releases: frozenset[HashedClaim]
    """Claims that the user has before it and not after it."""
    takes: frozenset[HashedClaim]
    """Claims that the user has after it and not before it."""
    key_row: KeyRow | None
    """The row of the user's key after it, if it registers or deletes the user."""
    credential: CredentialKey | None
    """The key of the password's hash after it, if it sets one."""

    @classmethod
    def of(cls, append: Append, keys: LogKeys, vault: Vault, new_id: NewId) -> Self:
        """Encode and seal the events, and hash the claims."""
        events, stream_id = [], append.stream_id.bytes
        credential: CredentialKey | None = None
        for version, event in enumerate(append.events, start=append.expected_version + 1):
            event_id = new_id()
            sealed_hash: bytes | None = None
            if (password_hash := password_hash_of(event)) is not None:
                sealed_hash, credential = vault.seal_credential(
                    append.stream_id, version, event_id.bytes, password_hash
                )
            stored = encode(event, append.origin, sealed_hash)
            opened = stored.type, stored.data, stored.metadata
            sealed = append.key.seal(
                stored.personal, place_of(stream_id, version, event_id.bytes, *opened), vault.nonce()
            )
            row = stream_id, version, event_id.bytes, stored.type, stored.data, sealed, stored.metadata
            events.append(PreparedEvent(event_id, event_columns(*row), body_of(*row)))
        before, after = frozenset[Claim](), frozenset[Claim]()
        # A data object has no claims, and its number is not known yet.
        if append.owner_id is None and any(map(may_move_claims, append.events)):
            ids = tuple(event.event_id for event in events)
            before, after = claims_of(append.state), claims_of(Appended(append, ids, 0, sql.EPOCH).state())
        return cls(
            append,
            tuple(events),
            releases=frozenset(hashed(keys.claims, claim) for claim in before - after),
            takes=frozenset(hashed(keys.claims, claim) for claim in after - before),
            key_row=_key_row(append, vault),
            credential=credential,
        )

    @property
    def event_ids(self) -> tuple[UUID, ...]:
        """The ids of its events."""
        return tuple(event.event_id for event in self.events)

    @property
    def size(self) -> int:
        """Bytes of its events, about half of what the append adds to a statement."""
        return sum(len(event.body) for event in self.events)

    def rows(self, appended: Appended, instant: Instant, chain_key: bytes, before: bytes) -> tuple[list[str], bytes]:
        """The rows of its events, chained to the event with the hash `before`, and the hash of the last."""
        owner_id = self.append.owner_id.bytes if self.append.owner_id else None
        rows, number = [], appended.number
        for position, event in enumerate(self.events, start=appended.after + 1):
            tail = tail_of(instant.framed, owner_id, number)
            before = hash_of(chain_key, before, position, event.body, tail)
            rows.append(event_row(position, event.columns, instant.literal, owner_id, number, before))
            number = None
        return rows, before


def _key_row(append: Append, vault: Vault) -> KeyRow | None:
    if isinstance(append.events[-1], UserDeleted):
        return vault.destroyed(append.stream_id)
    if append.expected_version == 0 and append.owner_id is None:
        return KeyRow(append.stream_id, append.key.wrapped, None, append.key.master_key_id)
    return None


def read_statements(batch: Sequence[PreparedAppend]) -> dict[str, str]:
    """The statements that begin the transaction, lock the head and read what the batch is decided on, by name."""
    statements = {
        "begin": "BEGIN",
        "head": LOCK_HEAD,
        "versions": STREAM_VERSIONS.format(ids=sql.binaries(one.append.stream_id.bytes for one in batch)),
    }
    claims = {claim for one in batch for claim in one.releases | one.takes}
    if claims:
        statements["owners"] = CLAIM_OWNERS.format(claims=claim_literals(claims))
    if any(claim.kind == ADMIN_SEAT for claim in claims):
        statements["admins"] = COUNT_ADMINS
    if owners := frozenset[UUID]().union(*(one.append.owners for one in batch)):
        statements["living"] = LIVING_USERS.format(ids=sql.binaries(owner.bytes for owner in owners))
    requests = {one.append.request.key_hash for one in batch if one.append.request}
    if requests:
        statements["requests"] = FIND_REQUESTS.format(keys=sql.binaries(requests))
    return statements


@dataclass(frozen=True, slots=True)
class DecidedBatch:
    """The decisions on a batch. They hold only if its statements are committed."""

    outcomes: list[Outcome] = field(default_factory=list)
    """One for each append, in order."""
    writes: list[str] = field(default_factory=list)
    """The statements that write the appends which passed; none if none passed."""


def decide_batch(
    batch: Sequence[PreparedAppend], found: Mapping[str, Sequence[Row]], chain_key: bytes, now: datetime
) -> DecidedBatch:
    """Decide each append on the rows of `read_statements` and on the appends before it. A refusal affects no other.

    Raises:
        BrokenChain: `log_head` has lost its row.
    """
    state, now = BatchState.of(found), now.astimezone(UTC)
    instant = Instant(sql.instant(now), framed_instant(now))
    before, rows, passed, outcomes = state.head.hash, list[str](), list[PreparedAppend](), list[Outcome]()
    for prepared in batch:
        try:
            outcome = state.admit(prepared, now)
        except EventsError as refusal:
            outcomes.append(refusal)
            continue
        outcomes.append(outcome)
        if isinstance(outcome, Appended):
            made, before = prepared.rows(outcome, instant, chain_key, before)
            rows += made
            passed.append(prepared)
    if not rows:
        return DecidedBatch(outcomes)
    writes = [insert_rows(rows), move_head(Head(state.position, before), state.numbers)]
    if state.kept:
        writes.append(keep_requests(state.kept, now))
    if state.released:
        writes.append(RELEASE_CLAIMS.format(claims=claim_literals(state.released)))
    if state.taken:
        writes.append(take_claims(state.taken.items()))
    return DecidedBatch(outcomes, writes + _write_keys(passed))


def _write_keys(passed: Sequence[PreparedAppend]) -> list[str]:
    """The statements that keep the keys of new users and of new passwords, and destroy those of deleted users.

    In this order: a batch may set a user's password and delete the user.
    """
    rows = [prepared.key_row for prepared in passed if prepared.key_row]
    new, destroyed = [row for row in rows if row.wrapped], [row for row in rows if not row.wrapped]
    writes = [keep_keys(new)] if new else []
    # Of several in one batch, the newest.
    if credentials := {prepared.append.stream_id: prepared.credential for prepared in passed if prepared.credential}:
        writes.append(replace_credentials(credentials.values()))
    if destroyed:
        ids = sql.binaries(row.user_id.bytes for row in destroyed)
        writes += [replace_keys(destroyed), DELETE_CREDENTIALS.format(ids=ids), DELETE_SNAPSHOTS.format(ids=ids)]
    return writes


@dataclass(slots=True)
class BatchState:
    """The log's state of the streams, claims and requests in a batch, moved on in memory by each append that passes."""

    head: Head
    position: int
    """Position of the last event that passed."""
    numbers: int
    """The number of the newest data object."""
    living: set[UUID]
    """The owners of data objects in the batch who are not deleted."""
    versions: dict[bytes, int]
    """By the stream's id. A stream that is missing here has no events yet."""
    owners: dict[HashedClaim, UUID]
    """A claim that is missing here is free."""
    admins: int
    """The number of administrators, if the batch takes or releases a seat."""
    requests: dict[bytes, EarlierResult]
    """Results by idempotency key."""
    kept: dict[bytes, EarlierResult] = field(default_factory=dict)
    """The results that this batch adds."""
    taken: dict[HashedClaim, UUID] = field(default_factory=dict)
    """Claims that this batch takes and that the table does not have."""
    released: set[HashedClaim] = field(default_factory=set)
    """Claims that this batch releases and that the table has."""

    @classmethod
    def of(cls, found: Mapping[str, Sequence[Row]]) -> Self:
        """The state that the rows of `read_statements` describe.

        Raises:
            BrokenChain: `log_head` has lost its row.
        """
        if not found["head"]:
            raise BrokenChain(0, HEAD_LOST)
        position, digest, _, numbers = found["head"][0]
        return cls(
            head=Head(int(position), digest),
            position=int(position),
            numbers=int(numbers),
            living={UUID(bytes=user_id) for (user_id,) in found.get("living", ())},
            versions=dict(found["versions"]),
            owners={HashedClaim(kind, digest): UUID(bytes=owner) for kind, digest, owner in found.get("owners", ())},
            admins=next((int(count) for (count,) in found.get("admins", ())), 0),
            requests={
                key: EarlierResult(fingerprint, UUID(bytes=owner), int(position))
                for key, fingerprint, owner, position in found.get("requests", ())
            },
        )

    def admit(self, prepared: PreparedAppend, now: datetime) -> Appended | EarlierResult:
        """Decide one append and move the state on by it; an append that is refused leaves the state as it was.

        Raises:
            KeyReused: its idempotency key was used for another command.
            WrongExpectedVersion: the stream is at another version.
            OwnerDeleted: it is on a data object, and its owner is deleted.
            InconsistentClaims: it gives up a claim that the table does not have, or has for another user.
            ClaimTaken: another user has a username or email that it takes.
            LastAdmin: it would leave no administrator.
        """
        append = prepared.append
        if append.request is not None and (earlier := self.requests.get(append.request.key_hash)) is not None:
            if earlier.fingerprint != append.request.fingerprint:
                raise KeyReused
            return earlier
        stream_id = append.stream_id.bytes
        version = self.versions.get(stream_id, 0)
        if version != append.expected_version:
            raise WrongExpectedVersion(append.stream_id, append.expected_version, version)
        if gone := append.owners - self.living:
            raise OwnerDeleted(gone)
        if prepared.releases or prepared.takes:
            self._check_claims(prepared)
        number = self.numbers + 1 if isinstance(append.events[0], DataCreated) else None
        appended = Appended(append, prepared.event_ids, self.position, now, number)
        self.position, self.versions[stream_id] = appended.position, appended.version
        self.numbers = number or self.numbers
        if isinstance(append.events[-1], UserDeleted):
            self.living.discard(append.stream_id)
        self._move_claims(prepared)
        if append.request is not None:
            result = EarlierResult(append.request.fingerprint, append.stream_id, appended.position)
            self.requests[append.request.key_hash] = self.kept[append.request.key_hash] = result
        return appended

    def _move_claims(self, prepared: PreparedAppend) -> None:
        self.admins += _seats(prepared.takes) - _seats(prepared.releases)
        for claim in prepared.releases:
            del self.owners[claim]
            if self.taken.pop(claim, None) is None:
                self.released.add(claim)
        for claim in prepared.takes:
            self.owners[claim] = self.taken[claim] = prepared.append.stream_id

    def _check_claims(self, prepared: PreparedAppend) -> None:
        user_id = prepared.append.stream_id
        if lost := sorted(claim.kind for claim in prepared.releases if self.owners.get(claim) != user_id):
            raise InconsistentClaims(user_id, lost)
        if kinds := sorted({claim.kind for claim in prepared.takes if claim in self.owners}):
            raise ClaimTaken(tuple(kinds))
        loses = _seats(prepared.releases)
        if loses and self.admins - loses + _seats(prepared.takes) < 1:
            raise LastAdmin(user_id)


def _seats(claims: frozenset[HashedClaim]) -> int:
    """The administrators' seats among claims."""
    return sum(claim.kind == ADMIN_SEAT for claim in claims) if claims else 0
