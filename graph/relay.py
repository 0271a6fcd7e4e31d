"""Relay connections: page arguments, `PageInfo` and cursors.

A cursor is a row's place in one list, as opaque text. It holds values instead of an offset, so it stays valid while
rows come and go, and it is refused by a list in another order. Cursors of events are their positions.
"""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, Self, TypeVar
from uuid import UUID

import msgspec
import strawberry

from events.data_object import DataObject
from events.user import User
from graph.errors import ClientError, bad_input
from graph.limits import DEFAULT_PAGE, LARGEST_PAGE
from graph.scalars import instant_of, position_of
from projections.filters import DataOrderField, ListCursor, Order, OrderField, Slice
from projections.mongo.search import HitCursor

CURSOR_CHARACTERS: Final = 2_000
TIMES: Final = frozenset(
    {OrderField.CREATED_AT, OrderField.UPDATED_AT, DataOrderField.CREATED_AT, DataOrderField.UPDATED_AT}
)

Form = TypeVar("Form", bound=msgspec.Struct)


@strawberry.type(description="Where a page begins and ends, and whether there is more.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether more follows this page.")
    has_previous_page: bool = strawberry.field(description="Whether something comes before this page.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first edge; null on an empty page.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last edge; null on an empty page.")

    @classmethod
    def of(cls, cursors: Sequence[str], *, has_next_page: bool, has_previous_page: bool) -> Self:
        """For a page whose edges have these cursors; only the first and the last matter."""
        return cls(
            has_next_page=has_next_page,
            has_previous_page=has_previous_page,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        )


def page_size(wanted: int | None, argument: str, default: int = DEFAULT_PAGE) -> int:
    """The number of edges that an argument asks for.

    Raises:
        ClientError: BAD_USER_INPUT; it is negative or more than `LARGEST_PAGE`.
    """
    return within(argument, default if wanted is None else wanted, 0, LARGEST_PAGE)


def within(argument: str, wanted: int, least: int, most: int) -> int:
    """The number, if it is within its bounds.

    Raises:
        ClientError: BAD_USER_INPUT; it is not.
    """
    if not least <= wanted <= most:
        raise bad_input(f"{argument}: expected {least} to {most}, found {wanted}")
    return wanted


def slice_of(order: Order, *, first: int | None, after: str | None, last: int | None, before: str | None) -> Slice:
    """The part of an ordered list that a connection's four arguments ask for.

    Raises:
        ClientError: BAD_USER_INPUT; the arguments contradict each other, exceed a limit or hold a foreign cursor.
    """
    if first is not None and last is not None:
        raise bad_input("first, last: give one of them, not both")
    return Slice(
        count=page_size(first, "first") if last is None else page_size(last, "last"),
        after=parse_list_cursor(after, "after", order.field) if after is not None else None,
        before=parse_list_cursor(before, "before", order.field) if before is not None else None,
        backward=last is not None,
    )


class _EncodedListCursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    field: str
    value: str
    user_id: UUID


class _EncodedDataCursor(_EncodedListCursor, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Of a list of data objects, which is no place in a list of users."""

    kind: Literal["data"]


class _EncodedHitCursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    score: float
    user_id: UUID


def cursor_of_user(user: User, field: OrderField | DataOrderField) -> str:
    """The cursor of a user in a list ordered by a field."""
    value = getattr(user, field.value)
    text = value.isoformat() if isinstance(value, datetime) else value
    return _encode(_EncodedListCursor(field.value, text, user.id))


def cursor_of_data(data: DataObject, field: DataOrderField) -> str:
    """The cursor of a data object in a list ordered by a field."""
    value = getattr(data, field.value)
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return _encode(_EncodedDataCursor(field.value, text, data.id, "data"))


def parse_list_cursor(cursor: str, argument: str, field: OrderField | DataOrderField) -> ListCursor:
    """The place in a list ordered by a field.

    Raises:
        ClientError: BAD_USER_INPUT; it is not a cursor of such a list.
    """
    form = _EncodedDataCursor if isinstance(field, DataOrderField) else _EncodedListCursor
    decoded = _decode(cursor, argument, form)
    try:
        found = type(field)(decoded.field)
    except ValueError:
        raise _not_a_cursor(argument) from None
    if found is not field:
        raise bad_input(f"{argument}: this cursor comes from a list ordered by {found.name}, not {field.name}")
    try:
        if field is DataOrderField.NUMBER:
            return ListCursor(position_of(decoded.value), decoded.user_id)
        if field in TIMES:
            return ListCursor(instant_of(decoded.value), decoded.user_id)
    except ValueError:
        raise _not_a_cursor(argument) from None
    return ListCursor(decoded.value, decoded.user_id)


def cursor_of_hit(score: float, found_id: UUID) -> str:
    """The cursor of a hit in a search."""
    return _encode(_EncodedHitCursor(score, found_id))


def parse_hit_cursor(cursor: str, argument: str) -> HitCursor:
    """The place in the hits of a search.

    Raises:
        ClientError: BAD_USER_INPUT; it is not a cursor of a search.
    """
    decoded = _decode(cursor, argument, _EncodedHitCursor)
    return HitCursor(decoded.score, decoded.user_id)


def parse_event_cursor(cursor: str, argument: str) -> int:
    """The position of an event.

    Raises:
        ClientError: BAD_USER_INPUT; it is not a position.
    """
    try:
        return position_of(cursor)
    except ValueError:
        raise _not_a_cursor(argument) from None


def _encode(cursor: msgspec.Struct) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def _decode(cursor: str, argument: str, form: type[Form]) -> Form:
    if len(cursor) > CURSOR_CHARACTERS or not cursor.isascii():
        raise _not_a_cursor(argument)
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=form)
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError):
        raise _not_a_cursor(argument) from None


def _not_a_cursor(argument: str) -> ClientError:
    """An argument is not a cursor of the list that it was given to."""
    return bad_input(f"{argument}: not a cursor of this list; take one from pageInfo or an edge")
