"""Cursors: places in lists, as opaque text. They hold values rather than offsets, so they stay where they are while
rows come and go. A cursor is only good for the list that it came from, and is strictly parsed.

What all pages of lists share (Relay's cursor connections).
"""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Self, TypeVar
from uuid import UUID

import msgspec
import strawberry

from events.user import User
from graph.errors import ClientError, bad_input
from graph.scalars import instant_of
from projections.filters import ListCursor, OrderField
from projections.mongo.search import Hit, HitCursor

DEFAULT_PAGE: Final = 20
LARGEST_PAGE: Final = 100


@strawberry.type(description="Where a page begins and ends, and whether there is more.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether more follows this page.")
    has_previous_page: bool = strawberry.field(description="Whether something comes before this page.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first edge; null on an empty page.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last edge; null on an empty page.")

    @classmethod
    def of(cls, cursors: Sequence[str], *, has_next_page: bool, has_previous_page: bool) -> Self:
        """Of a page whose edges have these cursors, of which only the first and the last count."""
        return cls(
            has_next_page=has_next_page,
            has_previous_page=has_previous_page,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        )


def page_size(wanted: int | None, argument: str, default: int) -> int:
    """How many are wanted.

    Raises:
        ClientError: fewer than none, or more than `LARGEST_PAGE`.
    """
    if wanted is None:
        return default
    if not 0 <= wanted <= LARGEST_PAGE:
        raise bad_input(f"{argument}: expected 0 to {LARGEST_PAGE}, found {wanted}")
    return wanted


CURSOR_CHARACTERS = 2_000

TIMES = frozenset({OrderField.CREATED_AT, OrderField.UPDATED_AT})


Form = TypeVar("Form", bound=msgspec.Struct)


class _EncodedListCursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    field: OrderField
    value: str
    user_id: UUID


class _EncodedHitCursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    score: float
    user_id: UUID


def cursor_of_user(user: User, field: OrderField) -> str:
    """The place of a user in the list that is ordered by a field."""
    value = getattr(user, field.value)
    text = value.isoformat() if isinstance(value, datetime) else value
    return _encode(_EncodedListCursor(field, text, user.id))


def place_in_list(cursor: str, argument: str, field: OrderField) -> ListCursor:
    """The place that a cursor names.

    Raises:
        ClientError: it is none of ours, or of a list in another order.
    """
    decoded = _decode(cursor, argument, _EncodedListCursor)
    if decoded.field is not field:
        raise bad_input(f"{argument}: this cursor comes from a list ordered by {decoded.field.name}, not {field.name}")
    if field not in TIMES:
        return ListCursor(decoded.value, decoded.user_id)
    try:
        return ListCursor(instant_of(decoded.value), decoded.user_id)
    except ValueError:
        raise not_a_cursor(argument) from None


def cursor_of_hit(hit: Hit) -> str:
    """The place of a hit in a search."""
    return _encode(_EncodedHitCursor(hit.score, hit.user.id))


def place_in_hits(cursor: str, argument: str) -> HitCursor:
    """The place that a cursor names.

    Raises:
        ClientError: it is none of ours.
    """
    decoded = _decode(cursor, argument, _EncodedHitCursor)
    return HitCursor(decoded.score, decoded.user_id)


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
