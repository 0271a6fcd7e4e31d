"""Cursors: places in lists, as opaque text. They hold values rather than offsets, so they stay where they are while
rows come and go. A cursor is only good for the list that it came from, and is strictly parsed."""

import base64
import binascii
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import msgspec

from events.user import User
from graph.errors import ClientError, bad_input
from graph.scalars import instant_of
from projections.document.search import Hit, HitPlace
from projections.filters import OrderField, Place

CURSOR_CHARACTERS = 2_000

TIMES = frozenset({OrderField.CREATED_AT, OrderField.UPDATED_AT})


Form = TypeVar("Form", bound=msgspec.Struct)


class _ListCursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    field: OrderField
    value: str
    user_id: UUID


class _HitCursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    score: float
    user_id: UUID


def cursor_of_user(user: User, field: OrderField) -> str:
    """The place of a user in the list that is ordered by a field."""
    value = getattr(user, field.value)
    text = value.isoformat() if isinstance(value, datetime) else value
    return _encode(_ListCursor(field, text, user.id))


def place_in_list(cursor: str, argument: str, field: OrderField) -> Place:
    """The place that a cursor names.

    Raises:
        ClientError: it is none of ours, or of a list in another order.
    """
    decoded = _decode(cursor, argument, _ListCursor)
    if decoded.field is not field:
        raise bad_input(f"{argument}: this cursor comes from a list ordered by {decoded.field.name}, not {field.name}")
    if field not in TIMES:
        return Place(decoded.value, decoded.user_id)
    try:
        return Place(instant_of(decoded.value), decoded.user_id)
    except ValueError:
        raise not_a_cursor(argument) from None


def cursor_of_hit(hit: Hit) -> str:
    """The place of a hit in a search."""
    return _encode(_HitCursor(hit.score, hit.user.id))


def place_in_hits(cursor: str, argument: str) -> HitPlace:
    """The place that a cursor names.

    Raises:
        ClientError: it is none of ours.
    """
    decoded = _decode(cursor, argument, _HitCursor)
    return HitPlace(decoded.score, decoded.user_id)


def _encode(cursor: msgspec.Struct) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def _decode(cursor: str, argument: str, form: type[Form]) -> Form:
    if len(cursor) > CURSOR_CHARACTERS or not cursor.isascii():
        raise not_a_cursor(argument)
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=form)
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError):
        raise not_a_cursor(argument) from None


def not_a_cursor(argument: str) -> ClientError:
    """An argument is no place in the list that it is given to."""
    return bad_input(f"{argument}: not a cursor of this list; take one from pageInfo or an edge")
