"""What all pages of lists share (Relay's cursor connections)."""

from typing import Final

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
