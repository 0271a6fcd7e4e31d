"""Make events of rows of `events`: opened, decoded, or marked as damaged."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.database import Row
from events.errors import DamagedEvent, PositionGap, UnreadableEvent, UnusableKey, WrongMasterKey
from events.event_types import (
    DATA_TYPES,
    EVENT_TYPES,
    NOT_READ,
    UNKNOWN,
    Damaged,
    DataDeleted,
    Event,
    Forgotten,
    Origin,
    Recorded,
    Stored,
    UserDeleted,
    decode,
)
from events.ids import uuid_of
from events.rows import OWNER
from events.sql import EPOCH, instant_of
from events.vault import opened, place_of

KEY_LOST: Final = "the key of its user is lost; restore user_keys from a backup"
KEY_ALTERED: Final = "the key of its user was altered, or emptied without a deletion"
KEY_UNKNOWN: Final = "the key of its user names a master key that this process does not have"
INSTANT_LOST: Final = "recorded_at is no instant"


def recorded_of(row: Row, cipher: AESGCM | None) -> Recorded:
    """The event in a row that begins with `ROW_COLUMNS`.

    Without a cipher, its user's key was destroyed: `Forgotten` or the deletion, whatever else the row holds.

    Raises:
        DamagedEvent, UnreadableEvent: this program cannot read it.
    """
    position, stream_id, version, event_id, type_, data, personal, metadata, recorded_at, *_ = row
    if (row[OWNER] is not None) != (type_ in DATA_TYPES) and type_ in EVENT_TYPES:
        # Otherwise a user would seem deleted whose events were given a deleted user for their owner.
        raise DamagedEvent(position, "it has the owner of a data object, or lacks one")
    if cipher is None:
        try:
            return _as_recorded(row, *decode(Stored(type_, data, b"", metadata), position, forgotten=True))
        except UnreadableEvent as error:
            return damaged_of(row, error.reason, forgotten=True)
    try:
        personal = opened(cipher, personal, place_of(stream_id, version, event_id, type_, data, metadata))
    except (InvalidTag, ValueError):  # ValueError: what should be sealed is too short
        raise DamagedEvent(position, "it was altered or moved, or this program did not write it") from None
    if not isinstance(recorded_at, datetime):  # only the chain's hash covers it
        raise DamagedEvent(position, INSTANT_LOST)
    return _as_recorded(row, *decode(Stored(type_, data, personal, metadata), position))


def recorded_past_damage(row: Row, cipher: AESGCM | None) -> Recorded:
    """Like `recorded_of`, but a damaged event is returned as `Damaged`.

    Raises:
        UnreadableEvent: it comes from a newer release, which concerns every user.
    """
    try:
        return recorded_of(row, cipher)
    except DamagedEvent as error:
        return damaged_of(row, error.reason)


def damaged_of(row: Row, reason: str, *, forgotten: bool = False) -> Recorded:
    """A damaged event: the columns that say where it is, without what it says. Of a user whose key a deletion
    destroyed, no more is needed."""
    event: Event = Damaged(reason)
    if forgotten:
        event = {"UserDeleted": UserDeleted(), "DataDeleted": DataDeleted()}.get(row[4], Forgotten())
    recorded = _as_recorded(row, event, (), Origin())
    return recorded if recorded.type in EVENT_TYPES else msgspec.structs.replace(recorded, type=UNKNOWN)


def problem_of(error: UnusableKey) -> str:
    """Why the events of a user whose key cannot be used are damaged."""
    return KEY_UNKNOWN if isinstance(error, WrongMasterKey) else KEY_ALTERED


def _as_recorded(row: Row, event: Event, fields: tuple[str, ...], origin: Origin) -> Recorded:
    position, stream_id, version, event_id, type_, _, _, _, recorded_at, owner_id, number, *others = row
    return Recorded(
        position=position,
        stream_id=uuid_of(stream_id),
        version=version,
        event_id=uuid_of(event_id),
        type=type_,
        event=event,
        fields=fields,
        origin=origin,
        recorded_at=instant_of(recorded_at) or EPOCH,
        hash=others[0] if others else NOT_READ,
        owner_id=uuid_of(owner_id) if owner_id else None,
        number=number,
    )


def check_dense(after: int, positions: Iterable[int]) -> None:
    """Check that positions go on after `after` without a hole.

    Raises:
        PositionGap: they do not.
    """
    for expected, found in enumerate(positions, start=after + 1):
        if expected != found:
            raise PositionGap(expected, found)
