"""What the server answers, as immutable values.

Roles and types of changes are texts: the schema may grow, so treat an unknown one as *other*. `Role` and `ChangeType`
name those that are known.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from rollcall_client.errors import Json, Refused

T = TypeVar("T")


class Role(StrEnum):
    """What a user may do."""

    CUSTOMER = "CUSTOMER"
    TECHNICAL_WORKER = "TECHNICAL_WORKER"
    SENIOR_MANAGEMENT = "SENIOR_MANAGEMENT"
    ADMIN = "ADMIN"


class ChangeType(StrEnum):
    """What happened to a user or to a data object."""

    USER_REGISTERED = "USER_REGISTERED"
    USER_UPDATED = "USER_UPDATED"
    PASSWORD_CHANGED = "PASSWORD_CHANGED"  # noqa: S105
    ROLE_CHANGED = "ROLE_CHANGED"
    EMAIL_VERIFIED = "EMAIL_VERIFIED"
    USER_DELETED = "USER_DELETED"
    DATA_CREATED = "DATA_CREATED"
    DATA_UPDATED = "DATA_UPDATED"
    DATA_TRANSFERRED = "DATA_TRANSFERRED"
    DATA_DELETED = "DATA_DELETED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Credentials:
    """With what a service signs in, and signs in again when its session has ended."""

    login: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a session."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)

    @classmethod
    def of(cls, session: Json) -> "Tokens":
        """The tokens of a `Session`."""
        return cls(session["accessToken"], session["refreshToken"])


@dataclass(frozen=True, slots=True)
class User:
    """A user."""

    id: str
    username: str
    email: str
    name: str
    role: str
    attributes: Mapping[str, Any]
    version: int
    """The number of events that the user has had; for `expected_version`."""
    position: int
    """Of the last event in this record."""
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, found: Json) -> "User":
        """The user of a selection `USER`."""
        return cls(
            id=found["id"],
            username=found["username"],
            email=found["email"],
            name=found["name"],
            role=found["role"],
            attributes=found["attributes"],
            version=found["version"],
            position=int(found["position"]),
            created_at=datetime.fromisoformat(found["createdAt"]),
            updated_at=datetime.fromisoformat(found["updatedAt"]),
        )

    @classmethod
    def maybe(cls, found: Json | None) -> "User | None":
        """The user of a selection `USER` that may be null."""
        return None if found is None else cls.of(found)


@dataclass(frozen=True, slots=True)
class UserUpdate:
    """One change of `update_users`; fields that are None stay as they are."""

    id: str
    username: str | None = None
    email: str | None = None
    name: str | None = None
    attributes: Mapping[str, Any] | None = None
    """A JSON merge patch (RFC 7396)."""
    expected_version: int | None = None
    idempotency_key: str | None = None


Outcome = User | Refused
"""What became of one change of `update_users`."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    has_next: bool
    has_previous: bool
    start: str | None
    """For `before` of the previous page."""
    end: str | None
    """For `after` of the next page."""
    total: int | None = None
    """The length of the whole list, if it was counted."""

    @classmethod
    def of(cls, connection: Json, item: Callable[[Json], T]) -> "Page[T]":
        """The page of a connection."""
        info = connection["pageInfo"]
        return cls(
            items=tuple(item(edge["node"]) for edge in connection["edges"]),
            has_next=info["hasNextPage"],
            has_previous=info["hasPreviousPage"],
            start=info["startCursor"],
            end=info["endCursor"],
            total=connection.get("totalCount"),
        )

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class UserChange:
    """One change of a user."""

    position: int
    cursor: str
    """The place after this change, for `cursor` of `user_changes`."""
    type: str
    user_id: str
    version: int
    """The user's version after the change."""
    changed_fields: tuple[str, ...]
    recorded_at: datetime
    user: User | None
    """The user right after the change. None if it is deleted, also by a later change, and if it is damaged."""
    damaged: bool
    """Whether the user's events cannot be read: None says nothing about the user then."""

    @classmethod
    def of(cls, data: Json, errors: Sequence[Json]) -> "UserChange":
        """The change of one message of the subscription `USER_CHANGES`."""
        found = data["userChanges"]
        return cls(
            position=int(found["position"]),
            cursor=found["cursor"],
            type=found["type"],
            user_id=found["userId"],
            version=found["version"],
            changed_fields=tuple(found["changedFields"]),
            recorded_at=datetime.fromisoformat(found["recordedAt"]),
            user=User.maybe(found["user"]),
            damaged=bool(errors),
        )


@dataclass(frozen=True, slots=True)
class DataObject:
    """A data object of a user."""

    id: str
    number: int
    name: str
    content: Mapping[str, Any]
    version: int
    position: int
    """Of the last event in this record."""
    created_at: datetime
    updated_at: datetime

    @classmethod
    def maybe(cls, found: Json | None) -> "DataObject | None":
        """The object of a selection `DATA` that may be null."""
        if found is None:
            return None
        return cls(
            id=found["id"],
            number=found["number"],
            name=found["name"],
            content=found["content"],
            version=found["version"],
            position=int(found["position"]),
            created_at=datetime.fromisoformat(found["createdAt"]),
            updated_at=datetime.fromisoformat(found["updatedAt"]),
        )


@dataclass(frozen=True, slots=True)
class DataChange:
    """One change of a data object."""

    position: int
    cursor: str
    """The place after this change, for `cursor` of `data_changes`."""
    type: str
    data_id: str
    owner_id: str
    """The owner after the change."""
    version: int
    """The object's version after the change."""
    changed_fields: tuple[str, ...]
    recorded_at: datetime
    data: DataObject | None
    """The object right after the change. None if it or its owner is deleted, also later, and if it is damaged."""
    damaged: bool
    """Whether the object's events cannot be read: None says nothing about the object then."""

    @classmethod
    def of(cls, data: Json, errors: Sequence[Json]) -> "DataChange":
        """The change of one message of the subscription `DATA_CHANGES`."""
        found = data["dataChanges"]
        return cls(
            position=int(found["position"]),
            cursor=found["cursor"],
            type=found["type"],
            data_id=found["dataId"],
            owner_id=found["ownerId"],
            version=found["version"],
            changed_fields=tuple(found["changedFields"]),
            recorded_at=datetime.fromisoformat(found["recordedAt"]),
            data=DataObject.maybe(found["data"]),
            damaged=bool(errors),
        )


@dataclass(frozen=True, slots=True)
class Projection:
    """The state of one view or publication."""

    name: str
    state: str
    position: int
    """The last event in the view."""
    head: int
    """The last event in the log."""
    lag: int
    """Events behind the head of the log."""
    lag_seconds: float
    last_error: str | None

    @classmethod
    def of(cls, found: Json) -> "Projection":
        """The projection of a selection of `PROJECTIONS`."""
        return cls(
            name=found["name"],
            state=found["state"],
            position=int(found["position"]),
            head=int(found["head"]),
            lag=found["lag"],
            lag_seconds=found["lagSeconds"],
            last_error=found["lastError"],
        )
