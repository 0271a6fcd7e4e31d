"""What is published of a change: pure functions, and one mapping for each kind of stream.

Each change of an object makes two messages with the object's id as their key, so that a reader gets the changes of one
object in order. The *state* message has the object before and after, in the envelope that Debezium's readers know. The
*event* message has ids and names of fields only, for readers that may not hold personal data.

A deletion publishes nothing of the object but its id: when the publication reads it, the key that opens the object's
events is destroyed already. A tombstone follows, so that compaction removes what was published before.

Events of a deleted user from before the deletion cannot be opened any more. They make an event message and no state.

The deletion of a user ends the user's data objects and has no event in them. Each makes the messages of a deletion of
its own, at the position of the user's. Their ids follow from the position and the object, so they are the same when the
deletion is published again.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

import msgspec

from events import event_types
from events.changes import evolve_past_damage
from events.checkpoint import Checkpoint
from events.data_object import DataObject, evolve_data
from events.event_types import (
    DATA_TYPES,
    JSON,
    USER_TYPES,
    DataCreated,
    DataDeleted,
    Recorded,
    UserDeleted,
    UserRegistered,
)
from events.snapshots import AccountReader
from events.store import EventStore, Owned
from events.user import User

State = msgspec.Struct
"""An object of any kind, with `version`: the number of its events."""

Headers = list[tuple[str, str | bytes | None]]


class Outgoing(NamedTuple):
    """A message to be sent."""

    topic: str
    key: bytes
    value: bytes | None
    """None: a tombstone."""
    headers: Headers
    partition: int = -1
    """-1: by the key."""


class ObjectChange(NamedTuple):
    """One event, and the object before and after it; None where it is unknown or does not exist."""

    recorded: Recorded
    before: State | None
    after: State | None


class MessageOrigin(msgspec.Struct, frozen=True):
    """Where the messages come from."""

    installation: str
    version: str
    """Release of this program."""
    clock: Callable[[], datetime]


class SourceBlock(msgspec.Struct, frozen=True, kw_only=True):
    """The place in the log: `source` of the envelope."""

    version: str
    connector: str = "rollcall"
    name: str
    ts_ms: int
    """When the change was recorded."""
    position: int
    hash: str
    log: UUID


class Envelope(msgspec.Struct, frozen=True):
    """The value of a state message, as in Debezium's JSON without schemas."""

    before: Mapping[str, JSON] | None
    after: Mapping[str, JSON] | None
    source: SourceBlock
    op: str
    """`c` created, `u` changed, `d` deleted, `r` read for a snapshot."""
    ts_ms: int
    """When it was published."""


class Thin(msgspec.Struct, frozen=True, rename="camel"):
    """The value of an event message: nothing personal."""

    id: UUID
    """Of the event."""
    type: str
    subject: UUID
    """Id of the object."""
    version: int
    position: int
    fields: tuple[str, ...]
    """Names of the changed fields."""
    time: datetime
    owner: UUID | msgspec.UnsetType = msgspec.UNSET
    """Id of the user who owns the data object; not there in an event of a user."""


class OwnerDeletion(msgspec.Struct, frozen=True):
    """The deletion of a user, as its data objects need it."""

    owner_id: UUID
    position: int
    hash: str
    recorded_at: datetime
    after: int = 0
    """Objects whose last event is up to this position are published as deleted already."""

    @classmethod
    def of(cls, recorded: Recorded) -> "OwnerDeletion":
        """That of a `UserDeleted`, before any object is published."""
        return cls(recorded.stream_id, recorded.position, recorded.hash.hex(), recorded.recorded_at)


class Topics(msgspec.Struct, frozen=True):
    """The topics of one kind of stream."""

    state: str | None
    """None: states are not published."""
    events: str


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of stream: how its objects evolve, and what of them is published where."""

    types: frozenset[str]
    """Names of its event types."""
    creation: str
    """The event type that creates an object."""
    deletion: str
    """The event type after which the object does not exist."""
    state: type[State]
    """What the events make of an object."""
    evolve: Callable[[Any, Recorded], Any]
    """The state after one more event; `Unreadable` if one is damaged."""
    as_of: Callable[[UUID, int], Awaitable[State | None]]
    """The state of one object as of a position, however long its stream is."""
    short: int
    """Streams of up to this many events may be folded together with others."""
    fields: Mapping[str, str]
    """The published fields: their names and the attributes of the state."""
    topics: Topics

    def published(self, state: State) -> dict[str, JSON]:
        """The published fields of an object."""
        return {name: getattr(state, attribute) for name, attribute in self.fields.items()}


USER_FIELDS: Final = {
    "id": "id",
    "username": "username",
    "email": "email",
    "name": "name",
    "role": "role",
    "attributes": "attributes",
    "version": "version",
    "position": "position",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
}
"""The fields of a user that may be published, by their names in the GraphQL API. The password's hash is none of them:
`User` does not have it."""
DATA_FIELDS: Final = {
    "id": "id",
    "number": "number",
    "ownerId": "owner_id",
    "name": "name",
    "content": "content",
    "version": "version",
    "position": "position",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
}
"""The fields of a data object that may be published, by their names in the GraphQL API."""
ALWAYS: Final = frozenset({"id", "version"})
SHORT_USERS: Final = 64


def _published(fields: Mapping[str, str], wanted: Collection[str]) -> dict[str, str]:
    return {name: attribute for name, attribute in fields.items() if name in wanted or name in ALWAYS}


def user_kind(topics: Topics, wanted: Collection[str], accounts: AccountReader) -> Kind:
    """Users, with the wanted fields."""

    async def as_of(user_id: UUID, position: int) -> User | None:
        return (await accounts.read(user_id, up_to=position)).account.user

    return Kind(
        types=USER_TYPES,
        creation=UserRegistered.__name__,
        deletion=UserDeleted.__name__,
        state=User,
        evolve=evolve_past_damage,
        as_of=as_of,
        short=SHORT_USERS,
        fields=_published(USER_FIELDS, wanted),
        topics=topics,
    )


def data_kind(topics: Topics, wanted: Collection[str], store: EventStore) -> Kind:
    """Data objects, with the wanted fields."""

    async def as_of(data_id: UUID, position: int) -> DataObject | None:
        data = None
        for recorded in (await store.read_data(data_id, up_to=position)).events:
            data = evolve_data(data, recorded)
        return data

    return Kind(
        types=DATA_TYPES,
        creation=DataCreated.__name__,
        deletion=DataDeleted.__name__,
        state=DataObject,
        evolve=evolve_data,
        as_of=as_of,
        short=0,  # an event may have 1 MiB, and `as_of` reads 16 at most
        fields=_published(DATA_FIELDS, wanted),
        topics=topics,
    )


ENCODER: Final = msgspec.json.Encoder(decimal_format="string")
JSON_TYPE: Final = "application/json"


def messages_of(change: ObjectChange, kind: Kind, log_id: UUID, origin: MessageOrigin) -> Iterator[Outgoing]:
    """The messages of one change, in the order in which they are sent."""
    recorded, topics = change.recorded, kind.topics
    key = str(recorded.stream_id).encode()
    headers = _headers(f"rollcall.{recorded.type}", recorded.event_id, recorded, origin)
    typed: Headers = [*headers, ("content-type", JSON_TYPE)]
    thin = Thin(
        recorded.event_id,
        recorded.type,
        recorded.stream_id,
        recorded.version,
        recorded.position,
        recorded.fields,
        recorded.recorded_at,
        recorded.owner_id or msgspec.UNSET,
    )
    yield Outgoing(topics.events, key, ENCODER.encode(thin), typed)
    if topics.state is None:
        return
    deleted = recorded.type == kind.deletion
    if not deleted and change.after is None:
        return
    before = kind.published(change.before) if change.before and not deleted else None
    if deleted:
        before = {"id": recorded.stream_id, "version": recorded.version - 1}
    envelope = Envelope(
        before=before,
        after=kind.published(change.after) if change.after and not deleted else None,
        source=_source(recorded.position, recorded.hash, log_id, recorded.recorded_at, origin),
        op="d" if deleted else "c" if recorded.type == kind.creation else "u",
        ts_ms=_milliseconds(origin.clock()),
    )
    yield Outgoing(topics.state, key, ENCODER.encode(envelope), typed)
    if deleted:
        yield Outgoing(topics.state, key, None, headers)


def messages_of_owned(
    owned: Iterable[Owned], deletion: OwnerDeletion, kind: Kind, log_id: UUID, origin: MessageOrigin
) -> Iterator[Outgoing]:
    """The messages of data objects that the deletion of their owner ends: those of a deletion of each."""
    for one in owned:
        recorded = Recorded(
            position=deletion.position,
            stream_id=one.data_id,
            version=one.version + 1,
            event_id=uuid5(log_id, f"{deletion.position} {one.data_id}"),
            type=kind.deletion,
            event=DataDeleted(),
            fields=(),
            origin=event_types.Origin(),
            recorded_at=deletion.recorded_at,
            hash=bytes.fromhex(deletion.hash),
            owner_id=deletion.owner_id,
        )
        yield from messages_of(ObjectChange(recorded, None, None), kind, log_id, origin)


def snapshot_message(
    object_id: UUID, state: State, kind: Kind, as_of: Checkpoint, origin: MessageOrigin
) -> Outgoing | None:
    """The `r` message of one object as of a place in the log; None if states are not published."""
    if kind.topics.state is None:
        return None
    now = origin.clock()
    envelope = Envelope(
        before=None,
        after=kind.published(state),
        source=_source(as_of.position, as_of.hash, as_of.log_id, now, origin),
        op="r",
        ts_ms=_milliseconds(now),
    )
    headers: Headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", str(uuid5(as_of.log_id, f"{as_of.position} {object_id}"))),
        ("ce_type", "rollcall.Snapshot"),
        ("ce_source", source_of(origin)),
        ("ce_subject", str(object_id)),
        ("ce_time", _instant(now)),
        ("ce_sequence", str(as_of.position)),
        ("content-type", JSON_TYPE),
    ]
    return Outgoing(kind.topics.state, str(object_id).encode(), ENCODER.encode(envelope), headers)


def source_of(origin: MessageOrigin) -> str:
    """`source` of the CloudEvents: the installation."""
    return f"/rollcall/{origin.installation}"


def _headers(type_: str, id_: UUID, recorded: Recorded, origin: MessageOrigin) -> Headers:
    """The attributes of CloudEvents' Kafka binding, binary mode."""
    return [
        ("ce_specversion", "1.0"),
        ("ce_id", str(id_)),
        ("ce_type", type_),
        ("ce_source", source_of(origin)),
        ("ce_subject", str(recorded.stream_id)),
        ("ce_time", _instant(recorded.recorded_at)),
        ("ce_sequence", str(recorded.position)),
    ]


def _source(position: int, digest: bytes, log_id: UUID, at: datetime, origin: MessageOrigin) -> SourceBlock:
    return SourceBlock(
        version=origin.version,
        name=origin.installation,
        ts_ms=_milliseconds(at),
        position=position,
        hash=digest.hex(),
        log=log_id,
    )


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _instant(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
