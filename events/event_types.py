"""The event types, and the form in which the log stores them.

An event is stored in two parts. The open part says what happened without saying anything about a person:
the role, and the names of the fields that were set. The personal part holds what deletion must be able to
destroy. Both are JSON; the personal part is sealed with the user's own key, the open part stays readable
for ever.

From the forms in which events were stored once to the form of today.

The log is never rewritten, so an event stays in the form of the release that wrote it. When a type's form changes, the
catalogue's SCHEMA goes up by one, and if the old form cannot be read as the new one, a function is added here that
makes the next form of it. An old event goes through all of them, one form at a time, each time it is read; samples of
every form that was ever written are in `tests/events/samples/`.
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

Of an event whose user was deleted the personal data is gone: an upcaster must not need it.
"""

Upcaster = Callable[[Values], Values]
"""Makes the next form of an event's values. It is pure: an event is read the same way each time."""

Upcasters = Mapping[tuple[str, int], Upcaster]
"""By the event's type and the form that they take."""

UPCASTERS: Final[Upcasters] = {}
"""There has been one form only."""


def upcast(type_: str, values: Values, form: int, newest: int, upcasters: Upcasters = UPCASTERS) -> Values:
    """The values of an event in its newest form. A form without an upcaster is also the next one's."""
    for step in range(form, newest):
        upcaster = upcasters.get((type_, step))
        values = upcaster(values) if upcaster else values
    return values


JSON = Any
"""What a JSON text can hold. It has no useful static type: whoever reads it checks it."""

SCHEMA = 1
"""Version of the stored form that this program writes, and the newest that it can read."""


class Role(StrEnum):
    """What a user may do; the permissions themselves are in `auth/permissions.py`."""

    CUSTOMER = "CUSTOMER"
    TECHNICAL_WORKER = "TECHNICAL_WORKER"
    SENIOR_MANAGEMENT = "SENIOR_MANAGEMENT"
    ADMIN = "ADMIN"


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened to one user. `PERSONAL` names the fields that tell about the person."""

    PERSONAL: ClassVar[frozenset[str]] = frozenset()

    def changed_fields(self) -> tuple[str, ...]:
        """Names of the user's fields that the event set, for the audit log and for subscribers."""
        return ()


class UserRegistered(Event, frozen=True, omit_defaults=True, kw_only=True):
    """The first event of every stream. Without a password hash the user cannot sign in yet."""

    PERSONAL = frozenset({"username", "email", "name", "attributes", "password_hash"})

    username: str
    email: str
    name: str
    role: Role
    attributes: dict[str, JSON] = {}
    password_hash: str | None = None

    def changed_fields(self) -> tuple[str, ...]:
        optional = [("attributes", self.attributes), ("password", self.password_hash)]
        return ("username", "email", "name", "role", *(name for name, value in optional if value))


class UserUpdated(Event, frozen=True, omit_defaults=True, kw_only=True):
    """New values of the fields that changed; None where a field did not.

    `attributes` is the merge patch (RFC 7396) rather than its result, so that an event stays as small as
    the change.
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

    PERSONAL = frozenset({"password_hash"})

    password_hash: str
    rehashed: bool = False
    """The password is the same one as before, so nobody who knows it has to sign in again."""

    def changed_fields(self) -> tuple[str, ...]:
        return ("password",)


class RoleChanged(Event, frozen=True, omit_defaults=True):
    """The user may do other things from now on."""

    role: Role

    def changed_fields(self) -> tuple[str, ...]:
        return ("role",)


class UserDeleted(Event, frozen=True, omit_defaults=True):
    """The last event of a stream."""


class Forgotten(Event, frozen=True, omit_defaults=True):
    """What is left of an event whose user was deleted: it happened, and nobody can say what it said.

    Never stored: readers find it in the place of events that are sealed with a key that was destroyed.
    """


class Damaged(Event, frozen=True):
    """What a reader that goes on past damage finds in place of an event of which it cannot tell what it said.

    Never stored, and never taken for nothing: `evolve` raises on it.
    """

    reason: str
    """Of the damage; nothing personal."""


EVENT_TYPES: dict[str, type[Event]] = {
    cls.__name__: cls for cls in (UserRegistered, UserUpdated, PasswordChanged, RoleChanged, UserDeleted)
}
"""Every type that the log may hold, by the name that is stored."""


class Origin(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Who caused an event, and in which request: the stored metadata."""

    actor: UUID | None = None
    """The user who did it; None for the system itself."""
    correlation: UUID | None = None
    """The request that it belongs to, as in the server's log lines."""
    schema: int = 0
    """Stored form of the event; `encode` sets it."""


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One event as the log holds it."""

    position: int
    stream_id: UUID
    version: int
    event_id: UUID
    type: str
    event: Event
    fields: tuple[str, ...]
    """Names of the user's fields that the event set."""
    origin: Origin
    recorded_at: datetime
    """UTC, to the microsecond. For people: order is the position's."""


class Stored(msgspec.Struct, frozen=True):
    """The columns of `events` that hold what happened."""

    type: str
    data: str
    personal: bytes | None
    """Sealed in the log; in the clear between `encode` and sealing, and between opening and `decode`."""
    metadata: str


def encode(event: Event, origin: Origin) -> Stored:
    """The stored form of an event, its personal part not yet sealed."""
    values = msgspec.to_builtins(event)
    personal = {name: value for name, value in values.items() if name in event.PERSONAL}
    opened = {name: value for name, value in values.items() if name not in event.PERSONAL}
    return Stored(
        type=type(event).__name__,
        data=_text({**opened, "fields": event.changed_fields()}),
        personal=msgspec.json.encode(personal) if personal else None,
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
        origin = msgspec.json.decode(stored.metadata, type=Origin)
        if not 1 <= origin.schema <= newest:
            raise UnreadableEvent(position, f"stored form {origin.schema}, this program reads forms 1 to {newest}")
        values = msgspec.json.decode(stored.data, type=dict[str, JSON])
        if stored.personal and not forgotten:
            values |= msgspec.json.decode(stored.personal, type=dict[str, JSON])
        values = upcast(stored.type, values, origin.schema, newest, upcasters)
        fields: Sequence[str] = values.pop("fields")
        if forgotten and cls is not UserDeleted:
            return Forgotten(), tuple(fields), origin
        return msgspec.convert(values, cls), tuple(fields), origin
    except (msgspec.MsgspecError, KeyError) as error:
        raise DamagedEvent(position, f"damaged {stored.type}: {error}") from error


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
