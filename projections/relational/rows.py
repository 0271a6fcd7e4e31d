"""A user as a row of the MySQL view, and back."""

from datetime import datetime
from uuid import UUID

import msgspec

from events.catalogue import JSON, Role
from events.database import Row
from events.instants import aware_utc, naive_utc
from events.user import User

COLUMNS = "id, username, email, name, role, attributes, version, position, created_at, updated_at"


def row_of(user: User) -> Row:
    """The values of `COLUMNS` for a user."""
    return (
        user.id.bytes,
        user.username,
        user.email,
        user.name,
        user.role.value,
        msgspec.json.encode(user.attributes).decode(),
        user.version,
        user.position,
        naive_utc(user.created_at),
        naive_utc(user.updated_at),
    )


def user_of(row: Row) -> User:
    """The user in a row of `COLUMNS`. A page has a hundred of them, so their values are converted in one pass."""
    read = msgspec.convert(row, _Read)
    return User(
        id=read.id,
        username=read.username,
        email=read.email,
        name=read.name,
        role=read.role,
        attributes=msgspec.json.decode(read.attributes),
        version=read.version,
        position=read.position,
        created_at=aware_utc(read.created_at),
        updated_at=aware_utc(read.updated_at),
    )


class _Read(msgspec.Struct, array_like=True, frozen=True):
    """`COLUMNS`, in their order, as the driver gives them."""

    id: UUID
    username: str
    email: str
    name: str
    role: Role
    attributes: str
    version: int
    position: int
    created_at: datetime
    updated_at: datetime


def fields_of(row: Row) -> dict[str, JSON]:
    """What a row of `COLUMNS` holds, whatever that is, by the names of the columns, without the id."""
    _, username, email, name, role, attributes, version, position, created_at, updated_at = row
    return {
        "username": username,
        "email": email,
        "name": name,
        "role": role,
        "attributes": msgspec.json.decode(attributes),
        "version": version,
        "position": position,
        "created_at": created_at,
        "updated_at": updated_at,
    }
