"""The DataObject aggregate as a decider: free JSON under a name, which one user owns.

`decide_data` returns the events of a command, `evolve_data` the object after an event. Both are pure. An object is a
stream of its own, so it costs commands on its owner nothing. Its events are sealed with the owner's key: deleting the
owner makes them unreadable, and needs no event in the object.

Every `RESTATED_EVERY`th event states the object as a whole, and so does a transfer. So a command reads a few events of
the object however often it has changed, and no snapshot has to be kept, found stale or deleted with its owner.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from events import rules
from events.errors import DamagedEvent, Problem, Reason, Rejected
from events.event_types import (
    JSON,
    Damaged,
    DataChanged,
    DataCreated,
    DataDeleted,
    DataTransferred,
    Event,
    Forgotten,
    Recorded,
    Restated,
)

RESTATED_EVERY: Final = 16
"""Versions that a command folds at most. An object of 1 MiB that changes a little costs the log 64 KiB a change."""


class DataObject(msgspec.Struct, frozen=True, kw_only=True):
    """A data object as views and answers show it."""

    id: UUID
    number: int
    """Counts up per log: 1, 2, 3, ..."""
    owner_id: UUID
    name: str
    content: dict[str, JSON]
    version: int
    """Number of the object's events."""
    position: int
    """Position of the last of them."""
    created_at: datetime
    updated_at: datetime


class CreateData(msgspec.Struct, frozen=True):
    """Create an object."""

    name: str
    content: JSON


class UpdateData(msgspec.Struct, frozen=True, kw_only=True):
    """Set the fields that are not None. `content` is a merge patch (RFC 7396)."""

    name: str | None = None
    content: JSON = None


class TransferData(msgspec.Struct, frozen=True):
    """Give the object another owner."""

    owner_id: UUID


class DeleteData(msgspec.Struct, frozen=True):
    """Delete the object."""


NO_SUCH_DATA: Final = Problem(Reason.NOT_FOUND, "there is no such data object", ("id",))

DataCommand = CreateData | UpdateData | TransferData | DeleteData


def decide_data(data: DataObject | None, command: DataCommand) -> tuple[Event, ...]:
    """The events that the command causes; none if it would change nothing.

    Raises:
        Rejected: the command is refused; with all its problems.
    """
    if isinstance(command, CreateData):
        name, content = rules.all_of(
            lambda: rules.clean_name(command.name), lambda: rules.clean_content(command.content)
        )
        return (DataCreated(name, content),)
    data = existing_data(data)
    match command:
        case UpdateData():
            return _update(data, command)
        case TransferData(owner_id):
            if owner_id == data.owner_id:
                return ()
            restated = Restated(data.number, data.created_at, ("owner",))
            return (DataTransferred(data.name, data.content, restated, data.owner_id),)
        case DeleteData():
            return (DataDeleted(),)


def evolve_data(data: DataObject | None, recorded: Recorded) -> DataObject | None:
    """The object after one more of its events; None once it or its owner is deleted.

    Raises:
        DamagedEvent: the event cannot be read, or its object was not created.
    """
    match recorded.event:
        case Damaged(reason):
            raise DamagedEvent(recorded.position, reason)
        case DataDeleted() | Forgotten():
            return None
        case DataCreated(name, content):
            if recorded.number is None:
                raise DamagedEvent(recorded.position, "the first event of a data object has lost its number")
            return _stated(recorded, name, content, recorded.number, recorded.recorded_at)
        case DataTransferred(name, content, restated):
            return _stated(recorded, name, content, restated.number, restated.created_at)
        case DataChanged(name=str(name), content=dict(content), restated=Restated() as restated):
            return _stated(recorded, name, content, restated.number, restated.created_at)
        case DataChanged(name=name, content=patch) if data is not None:
            return msgspec.structs.replace(
                data,
                name=data.name if name is None else name,
                content=data.content if patch is None else rules.merge_patch(data.content, patch),
                version=recorded.version,
                position=recorded.position,
                updated_at=recorded.recorded_at,
            )
        case _:
            raise DamagedEvent(recorded.position, f"{recorded.type} of a data object that was not created")


def existing_data(data: DataObject | None) -> DataObject:
    """The object.

    Raises:
        Rejected: it never existed, or it or its owner is deleted.
    """
    if data is None:
        raise Rejected(NO_SUCH_DATA)
    return data


def restated_at(version: int) -> int:
    """The last version up to this one from which on an object can be folded without earlier events."""
    return max(1, version - version % RESTATED_EVERY)


def _update(data: DataObject, command: UpdateData) -> tuple[DataChanged, ...]:
    name, (patch, content) = rules.all_of(
        lambda: rules.changed(data.name, command.name, rules.clean_name), lambda: _merged(data.content, command.content)
    )
    event = DataChanged(name=name, content=patch)
    changed = event.changed_fields()
    if not changed:
        return ()
    if (data.version + 1) % RESTATED_EVERY == 0:
        restated = Restated(data.number, data.created_at, changed)
        event = DataChanged(name=name or data.name, content=content, restated=restated)
    return (event,)


def _merged(current: dict[str, JSON], patch: JSON) -> tuple[dict[str, JSON] | None, dict[str, JSON]]:
    """The patch, if it changes anything, and the content after it."""
    if patch is None:
        return None, current
    cleaned = rules.clean_content(patch)
    merged = rules.clean_content(rules.merge_patch(current, cleaned))
    return (None if rules.canonical(merged) == rules.canonical(current) else cleaned), merged


def _stated(recorded: Recorded, name: str, content: dict[str, JSON], number: int, created_at: datetime) -> DataObject:
    if recorded.owner_id is None:
        raise DamagedEvent(recorded.position, "the data object has lost its owner")
    return DataObject(
        id=recorded.stream_id,
        number=number,
        owner_id=recorded.owner_id,
        name=name,
        content=content,
        version=recorded.version,
        position=recorded.position,
        created_at=created_at,
        updated_at=recorded.recorded_at,
    )
