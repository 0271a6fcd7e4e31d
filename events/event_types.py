"""The event types, and the form in which the log stores them.

An event is stored in two JSON parts. The open part holds the role and the names of the fields that were set, and stays
readable for ever. The personal part holds what deletion must destroy. It is sealed with the user's own key, or with the
key of the user who owns the data object. In it the password's hash is sealed once more, with a key that the next hash
replaces (`events/credentials.py`). Readers of events get no hash, since nothing but a sign-in needs one.

The log is never rewritten, so an event keeps the form of the release that wrote it. When a type's form changes, SCHEMA
goes up by one, and if the old form cannot be read as the new one, an upcaster that makes the next form is added to
UPCASTERS. `tests/events/samples/` has samples of every form that was ever written.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final
from uuid import UUID

import msgspec

from events.errors import DamagedEvent, UnreadableEvent

Values = dict[str, Any]
"""An event's open and personal data together, and `fields`, the names of the user's fields that it set.

The personal data of a deleted user is gone: an upcaster must not need it.
"""

Upcaster = Callable[[Values], Values]
"""Makes the next form of an event's values; pure, so that an event always reads the same."""

Upcasters = Mapping[tuple[str, int], Upcaster]
"""By the event's type and the form that they read."""

UPCASTERS: Final[Upcasters] = {}
"""None: there has been one form only."""


def upcast(type_: str, values: Values, form: int, newest: int, upcasters: Upcasters = UPCASTERS) -> Values:
    """The values of an event in the newest form. A form without an upcaster reads as the next one."""
    for step in range(form, newest):
        upcaster = upcasters.get((type_, step))
        values = upcaster(values) if upcaster else values
    return values


JSON = Any
"""A JSON value. It has no useful static type: readers check it."""

SCHEMA = 1
"""Version of the stored form that this program writes, and the newest that it can read."""


class Role(StrEnum):
    """A user's role; `auth/permissions.py` says what each may do."""

    CUSTOMER = "CUSTOMER"
    TECHNICAL_WORKER = "TECHNICAL_WORKER"
    SENIOR_MANAGEMENT = "SENIOR_MANAGEMENT"
    ADMIN = "ADMIN"


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event of one user or data object. `PERSONAL` names the fields that hold personal data."""

    PERSONAL: ClassVar[frozenset[str]] = frozenset()

    def changed_fields(self) -> tuple[str, ...]:
        """Names of the fields that the event set, for the audit log and for subscribers."""
        return ()


class UserRegistered(Event, frozen=True, omit_defaults=True, kw_only=True):
    """The first event of every user. Without a password hash the user cannot sign in yet."""

    PERSONAL = frozenset({"username", "email", "name", "attributes", "created_at"})

    username: str
    email: str
    name: str
    role: Role
    attributes: dict[str, JSON] = {}
    password_hash: str | None = None
    """None in an event that was read."""
    imported: bool = False
    """The user comes from another system."""
    created_at: datetime | None = None
    """When an imported user came to be there; None for the instant of the event."""

    def changed_fields(self) -> tuple[str, ...]:
        optional = [("attributes", self.attributes), ("password", self.password_hash)]
        return ("username", "email", "name", "role", *(name for name, value in optional if value))


class UserUpdated(Event, frozen=True, omit_defaults=True, kw_only=True):
    """New values of the fields that changed; None where a field did not.

    `attributes` is the merge patch (RFC 7396) rather than its result, so an event is as small as the change.
    """

    PERSONAL = frozenset({"username", "email", "name", "attributes"})

    username: str | None = None
    email: str | None = None
    name: str | None = None
    attributes: dict[str, JSON] | None = None

    def changed_fields(self) -> tuple[str, ...]:
        return tuple(name for name in self.__struct_fields__ if getattr(self, name) is not None)


class PasswordChanged(Event, frozen=True, omit_defaults=True):
    """A new password, or the same one hashed with better parameters at a sign-in."""

    password_hash: str | None = None
    """None in an event that was read."""
    rehashed: bool = False
    """The password is the same as before, so sessions stay valid."""

    def changed_fields(self) -> tuple[str, ...]:
        return ("password",)


class RoleChanged(Event, frozen=True, omit_defaults=True):
    """A new role."""

    role: Role

    def changed_fields(self) -> tuple[str, ...]:
        return ("role",)


class EmailVerified(Event, frozen=True, omit_defaults=True):
    """The user had a link that was mailed to the user's email of that moment. A new email is unverified again."""

    def changed_fields(self) -> tuple[str, ...]:
        return ("emailVerified",)


class UserDeleted(Event, frozen=True, omit_defaults=True):
    """The last event of a user."""


class DataCreated(Event, frozen=True, omit_defaults=True):
    """The first event of every data object. Its number is a column of the log, given when it is appended."""

    PERSONAL = frozenset({"name", "content"})

    name: str
    content: dict[str, JSON]

    def changed_fields(self) -> tuple[str, ...]:
        return ("owner", "name", "content")


class Restated(msgspec.Struct, frozen=True):
    """What an event that states a data object as a whole needs of the events before it."""

    number: int
    created_at: datetime
    changed: tuple[str, ...]
    """Names of the fields that the event changed."""


class DataChanged(Event, frozen=True, omit_defaults=True, kw_only=True):
    """New values of the fields that changed; None where a field did not. `content` is a merge patch (RFC 7396).

    With `restated`, name and content are those of the whole object, so that nobody has to read the events before it.
    """

    PERSONAL = frozenset({"name", "content"})

    name: str | None = None
    content: dict[str, JSON] | None = None
    restated: Restated | None = None

    def changed_fields(self) -> tuple[str, ...]:
        if self.restated is not None:
            return self.restated.changed
        return tuple(name for name in ("name", "content") if getattr(self, name) is not None)


class DataTransferred(Event, frozen=True, omit_defaults=True):
    """Another owner. States the whole object, since from now on its events are sealed with the new owner's key."""

    PERSONAL = frozenset({"name", "content"})

    name: str
    content: dict[str, JSON]
    restated: Restated
    former_owner: UUID

    def changed_fields(self) -> tuple[str, ...]:
        return self.restated.changed


class DataDeleted(Event, frozen=True, omit_defaults=True):
    """The last event of a data object that was deleted itself. The deletion of its owner leaves no event in it."""


class Forgotten(Event, frozen=True, omit_defaults=True):
    """An event whose key the deletion of a user destroyed: its type is known and its contents are not.

    Never stored: the store returns it in place of the event.
    """


class Damaged(Event, frozen=True):
    """An event whose contents cannot be read, for readers that go on past damage.

    Never stored, and never ignored: `evolve` raises on it.
    """

    reason: str
    """Why it cannot be read; nothing personal."""


USER_EVENTS: Final = (UserRegistered, UserUpdated, PasswordChanged, RoleChanged, EmailVerified, UserDeleted)
DATA_EVENTS: Final = (DataCreated, DataChanged, DataTransferred, DataDeleted)
EVENT_TYPES: dict[str, type[Event]] = {cls.__name__: cls for cls in (*USER_EVENTS, *DATA_EVENTS)}
"""Every type that the log may hold, by its stored name."""
USER_TYPES: Final = frozenset(cls.__name__ for cls in USER_EVENTS)
DATA_TYPES: Final = frozenset(cls.__name__ for cls in DATA_EVENTS)

UNKNOWN: Final = "Unknown"
"""The type of a damaged event whose row names none that this program knows. Never stored."""


class Origin(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The actor and the request of an event: the stored metadata."""

    actor: UUID | None = None
    """The user who caused it; None for the system itself."""
    correlation: UUID | None = None
    """The id of the request, as in the server's log lines."""
    trace: str | None = None
    """The trace of the request (`events/tracing.py`), if there is one. Random numbers of this program."""
    schema: int = 0
    """Stored form of the event; `encode` sets it."""


NOT_READ: Final = bytes(32)


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One event as the log holds it."""

    position: int
    stream_id: UUID
    version: int
    event_id: UUID
    type: str
    event: Event
    fields: tuple[str, ...]
    """Names of the fields that the event set."""
    origin: Origin
    recorded_at: datetime
    """UTC, to the microsecond. For display only: the order is that of positions. 1970 if the log has no instant."""
    hash: bytes = NOT_READ
    """Of the event in the chain; zeros if it was not read."""
    owner_id: UUID | None = None
    """Of a data object: the user whose key seals the event."""
    number: int | None = None
    """Of a data object, in its first event."""

    @property
    def is_data(self) -> bool:
        """It is an event of a data object."""
        return self.type in DATA_TYPES

    @property
    def user_id(self) -> UUID:
        """The user, or the owner of the data object, whose key seals the event."""
        return self.owner_id or self.stream_id


class Stored(msgspec.Struct, frozen=True):
    """The columns of `events` that hold an event's contents."""

    type: str
    data: str
    personal: bytes
    """Sealed in the log; plain, and empty if there is none, between `encode` and sealing, and between opening and
    `decode`."""
    metadata: str


class _Fields(msgspec.Struct, frozen=True):
    """The names of the fields that an event set, in its open data."""

    fields: tuple[str, ...]


_DECODE: Final = {name: msgspec.json.Decoder(cls).decode for name, cls in EVENT_TYPES.items()}
_DECODE_FIELDS: Final = msgspec.json.Decoder(_Fields).decode
_DECODE_ORIGIN: Final = msgspec.json.Decoder(Origin).decode


def _joined(stored: Stored) -> bytes:
    """The open and the personal data as one JSON object, which one typed step decodes: dictionaries of both, and a
    conversion, take three times as long. The open data is never empty: it has `fields`."""
    if not stored.personal:
        return stored.data.encode()
    return b"%b,%b" % (stored.data[:-1].encode(), stored.personal[1:])


class _PersonalCredential(msgspec.Struct, frozen=True):
    """The part of the personal data that sign-in reads."""

    credential: bytes | None = None


class _Registration(msgspec.Struct):
    imported: bool = False


def password_hash_of(event: Event) -> str | None:
    """The password's hash that an event which is to be appended sets."""
    return event.password_hash if isinstance(event, UserRegistered | PasswordChanged) else None


def sealed_credential(personal: bytes) -> bytes | None:
    """The sealed hash in the personal data of an event; None if it sets no password.

    Raises:
        DecodeError: this is no personal data.
    """
    return msgspec.json.decode(personal, type=_PersonalCredential).credential if personal else None


def is_imported(type_: str, data: str | bytes) -> bool:
    """Whether an event with this data registers a user from another system.

    Raises:
        DecodeError: this is no data of an event.
    """
    return type_ == UserRegistered.__name__ and msgspec.json.decode(data, type=_Registration).imported


def encode(event: Event, origin: Origin, credential: bytes | None = None) -> Stored:
    """The stored form of an event, its personal part not yet sealed.

    Args:
        event: The event.
        origin: Its actor and request.
        credential: The sealed form of its password's hash, which is stored in place of the hash.
    """
    values = msgspec.to_builtins(event)
    if values.pop("password_hash", None) is not None and credential is None:
        raise ValueError("a password's hash is stored sealed only: expected its credential")
    personal = {name: value for name, value in values.items() if name in event.PERSONAL}
    opened = {name: value for name, value in values.items() if name not in event.PERSONAL}
    if credential is not None:
        personal["credential"] = credential
    return Stored(
        type=type(event).__name__,
        data=_text({**opened, "fields": event.changed_fields()}),
        personal=msgspec.json.encode(personal) if personal else b"",
        metadata=_text(msgspec.structs.replace(origin, schema=SCHEMA)),
    )


def decode(
    stored: Stored,
    position: int,
    *,
    forgotten: bool = False,
    newest: int = SCHEMA,
    upcasters: Upcasters = UPCASTERS,
) -> tuple[Event, tuple[str, ...], Origin]:
    """The event, the names of the fields that it set, and its origin. `stored` has been opened, unless `forgotten`.

    Raises:
        UnreadableEvent: the type is unknown, or the form is newer than this program.
        DamagedEvent: the data is not what was stored.
    """
    cls = EVENT_TYPES.get(stored.type)
    if cls is None:
        raise UnreadableEvent(position, f"unknown type {stored.type!r}; a newer release may know it")
    try:
        origin = _DECODE_ORIGIN(stored.metadata)
        if not 1 <= origin.schema <= newest:
            raise UnreadableEvent(position, f"stored form {origin.schema}, this program reads forms 1 to {newest}")
        if origin.schema == newest and not forgotten:
            return _DECODE[stored.type](_joined(stored)), _DECODE_FIELDS(stored.data).fields, origin
        values = msgspec.json.decode(stored.data, type=dict[str, JSON])
        if stored.personal and not forgotten:
            values |= msgspec.json.decode(stored.personal, type=dict[str, JSON])
        values = upcast(stored.type, values, origin.schema, newest, upcasters)
        fields: Sequence[str] = values.pop("fields")
        if forgotten:  # nothing authenticates the open columns any more
            fields = msgspec.convert(fields, tuple[str, ...])
        if forgotten and cls not in (UserDeleted, DataDeleted):
            return Forgotten(), tuple(fields), origin
        return msgspec.convert(values, cls), tuple(fields), origin
    except (msgspec.MsgspecError, KeyError, TypeError, RecursionError) as error:
        raise DamagedEvent(position, f"damaged {stored.type}: {error}") from error


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
