"""What all pages of lists share (Relay's cursor connections)."""

from collections.abc import Sequence
from typing import Final, Self

import strawberry

from graph.errors import bad_input

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
