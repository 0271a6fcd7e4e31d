"""A user as a row of the MySQL view, and back."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from events.catalogue import JSON, Role
from events.database import Row
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
    """The user in a row of `COLUMNS`."""
    user_id, username, email, name, role, attributes, version, position, created_at, updated_at = row
    return User(
        id=UUID(bytes=user_id),
        username=username,
        email=email,
        name=name,
        role=Role(role),
        attributes=msgspec.json.decode(attributes),
        version=version,
        position=position,
        created_at=created_at.replace(tzinfo=UTC),
        updated_at=updated_at.replace(tzinfo=UTC),
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


def naive_utc(moment: datetime) -> datetime:
    """As a DATETIME column takes it: the driver would drop an offset without converting."""
    return moment.astimezone(UTC).replace(tzinfo=None)
