"""UUIDv7 (RFC 9562, section 5.7): ids that sort by the time they were made, so indexes grow at one end only."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from events.sql import EPOCH

NewId = Callable[[], UUID]


def uuid7(milliseconds: int, randomness: int) -> UUID:
    """The UUIDv7 of a Unix time in milliseconds (48 bits) and 74 bits of randomness."""
    random_a, random_b = randomness >> 62 & 0xFFF, randomness & (1 << 62) - 1
    return uuid_of((milliseconds << 80 | 0x7 << 76 | random_a << 64 | 0b10 << 62 | random_b).to_bytes(16))


def new_id() -> UUID:
    """A UUIDv7 of now, from the system's clock and its cryptographic randomness."""
    return uuid7(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10)) >> 6)


_DECODER: Final = msgspec.msgpack.Decoder(UUID)


def uuid_of(value: bytes) -> UUID:
    """The UUID of 16 bytes, made in C: reading the log makes millions, and `UUID(bytes=...)` takes nine times as long.

    Raises:
        msgspec.ValidationError: there are not 16.
    """
    return _DECODER.decode(b"\xc4\x10" + value)


def made_at(id_: UUID) -> datetime | None:
    """The instant in a UUIDv7; None for another UUID, such as the id of a user who was imported with it."""
    if id_.version != 7:
        return None
    with suppress(OverflowError):
        return EPOCH + timedelta(milliseconds=id_.int >> 80)
    return None


def following(user_id: UUID) -> UUID:
    """The least id that is greater."""
    return UUID(int=user_id.int + 1)
