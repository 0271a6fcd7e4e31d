"""Decode an event of a user in one step, for readers of very many.

`event_types.decode` decodes open data, personal data and metadata one by one and makes an object of each. Here the
three are joined and decoded as one JSON object, into the type of the event with the names of its fields and its origin
beside its own values. The three have no name in common.

This reads the newest form only, and no deletion. Whatever else there is goes the way of `decode`.
"""

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import msgspec

from events.event_types import EmailVerified, PasswordChanged, RoleChanged, UserRegistered, UserUpdated

Decode = Callable[[bytes], Any]

_ORIGIN: Final[list[tuple[str, Any, Any]]] = [
    ("fields", tuple[str, ...], ()),
    ("schema", int, 0),
    ("actor", UUID | None, None),
    ("correlation", UUID | None, None),
    ("trace", str | None, None),
]
"""Names of the fields that the event set, which open data always has, and the fields of its origin."""

DECODE_WHOLE: Final[dict[str, Decode]] = {
    cls.__name__: msgspec.json.Decoder(msgspec.defstruct(cls.__name__, _ORIGIN, bases=(cls,), kw_only=True)).decode
    for cls in (UserRegistered, UserUpdated, PasswordChanged, RoleChanged, EmailVerified)
}
"""By type, the decoder of an event that `joined` has put together."""


def joined(data: str, personal: bytes, metadata: str) -> bytes:
    """The parts of an event as one JSON object; `personal` is open, and empty if there is none."""
    if not personal:
        return f"{data[:-1]},{metadata[1:]}".encode()
    return b"%b,%b,%b" % (data[:-1].encode(), personal[1:-1], metadata[1:].encode())
