"""Folded users in memory: MessagePack, a fifth of the objects' size.

The same bytes are read in two ways. `UNPACK` makes all values. `OPEN` leaves those as they are that most events do not
touch: attributes, the first instant, and the entries of the history are copied from one packed form to the next.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from events.data_object import DataObject
from events.event_types import JSON, Role
from events.user import User


class PackedUser(msgspec.Struct, array_like=True, frozen=True):
    """A living user without its id, version and position, which are known beside it."""

    username: str
    email: str
    name: str
    role: Role
    updated_at: datetime
    created_at: datetime
    attributes: dict[str, JSON]

    @classmethod
    def of(cls, user: User) -> "PackedUser":
        """What is packed of a user."""
        return cls(user.username, user.email, user.name, user.role, user.updated_at, user.created_at, user.attributes)


class Packed(msgspec.Struct, array_like=True, frozen=True):
    """A user or data object as of a position."""

    version: int
    position: int
    living: PackedUser | None
    history: list[msgspec.Raw]
    """Entries packed one by one: most are only copied."""
    data: DataObject | None = None
    is_data: bool = False

    def user(self, user_id: UUID) -> User | None:
        """The user; None if it is deleted, and of a data object."""
        if self.living is None:
            return None
        return User(
            id=user_id,
            username=self.living.username,
            email=self.living.email,
            name=self.living.name,
            role=self.living.role,
            attributes=self.living.attributes,
            version=self.version,
            position=self.position,
            created_at=self.living.created_at,
            updated_at=self.living.updated_at,
        )


class OpenUser(msgspec.Struct, array_like=True):
    """`PackedUser`, to be changed."""

    username: str
    email: str
    name: str
    role: str
    updated_at: msgspec.Raw
    created_at: msgspec.Raw
    attributes: msgspec.Raw


class OpenPacked(msgspec.Struct, array_like=True):
    """`Packed`, to be changed. It is never of a data object."""

    version: int
    position: int
    living: OpenUser | None
    history: list[msgspec.Raw]
    data: None = None
    is_data: bool = False


PACK: Final = msgspec.msgpack.Encoder(uuid_format="bytes").encode
UNPACK: Final = msgspec.msgpack.Decoder(Packed).decode
OPEN: Final = msgspec.msgpack.Decoder(OpenPacked).decode
EMPTY: Final = Packed(0, 0, None, [])
