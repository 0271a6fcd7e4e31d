"""A user as a row of the MySQL view, and back."""

from typing import Final

import msgspec

from events.catalogue import JSON, Role
from events.database import Row
from events.ids import uuid_of
from events.instants import aware_utc, naive_utc
from events.user import User

COLUMNS = "id, username, email, name, role, attributes, version, position, created_at, updated_at"
ROLES: Final = {role.value: role for role in Role}


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
    """The user in a row of `COLUMNS`. A page has a hundred of them: see `uuid_of` and `aware_utc`."""
    user_id, username, email, name, role, attributes, version, position, created_at, updated_at = row
    return User(
        id=uuid_of(user_id),
        username=username,
        email=email,
        name=name,
        role=ROLES.get(role) or Role(role),
        attributes=msgspec.json.decode(attributes),
        version=version,
        position=position,
        created_at=aware_utc(created_at),
        updated_at=aware_utc(updated_at),
    )


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
