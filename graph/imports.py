"""Import of users through the API, by the rules and with the report of `rollcall import`.

A file is sent in slices of whole rows: each is one request, so a client shows its progress, and a slice that is sent
again adds nothing.
"""

from typing import Annotated, Final

import strawberry

from auth.permissions import Right
from events.event_types import Origin
from graph.context import Info, UnreadableImport
from graph.data_types import ERRORS, POSITION
from graph.scalars import Position
from graph.types import ErrorCode, UserError

CONTENT_BYTES: Final = 1_000_000
"""A body may have 2 MiB, in which quotes and line breaks of the content take two bytes."""
FORMATS: Final = (None, "JSONL", "JSON", "CSV")


@strawberry.input(description="Rows of users to register.")
class ImportUsersInput:
    content: str = strawberry.field(
        description=(
            "Whole rows of a file, at most 5,000 and 1,000,000 bytes: JSON lines, a JSON array, or CSV with its\n"
            "header line."
        )
    )
    format: str | None = strawberry.field(
        default=None, description="JSONL, JSON or CSV; recognised by the content if absent."
    )
    map: list[str] | None = strawberry.field(
        default=None,
        description=(
            "The file's fields for username, email, name, role and password_hash, where the names differ, such as\n"
            "username=login. All other fields become attributes."
        ),
    )
    first_line: int | None = strawberry.field(
        default=1, description="The number of the first line of the content in the file, for the report."
    )


@strawberry.type(description="A row that was not imported.")
class ImportRefusal:
    line: int = strawberry.field(description="Its line in the file.")
    message: str = strawberry.field(description="Why, with the name of the field.")


@strawberry.type(description="What became of the rows. Each row is imported, existing or refused.")
class ImportPayload:
    imported: int = strawberry.field(default=0, description="Users registered.")
    existing: int = strawberry.field(default=0, description="Users who were there already.")
    refused: list[ImportRefusal] = strawberry.field(default_factory=list, description="Rows that were refused.")
    position: Position | None = strawberry.field(default=None, description=POSITION)
    errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


async def import_users(
    info: Info,
    input: Annotated[ImportUsersInput, strawberry.argument(description="The values of the mutation.")],  # noqa: A002
) -> ImportPayload:
    viewer = await info.context.allowed(Right.CREATE_USER)
    content = input.content.encode()
    if not 1 <= len(content) <= CONTENT_BYTES:
        return _refused("content", f"expected 1 to {CONTENT_BYTES:,} bytes, found {len(content):,}: send fewer rows")
    first_line = 1 if input.first_line is None else input.first_line
    if first_line < 1:
        return _refused("firstLine", f"expected a line's number from 1 on, found {first_line}")
    form = None if input.format is None else input.format.upper()
    if form not in FORMATS:
        return _refused("format", f"expected JSONL, JSON or CSV, found {input.format!r:.40}")
    found = {"{": "JSONL", "[": "JSON"}.get(input.content.lstrip("\ufeff \t\r\n")[:1], "CSV")
    if form not in (None, found):
        return _refused("format", f"expected {found}, which the content begins as, found {form}")
    await info.context.pay_for_write(viewer, len(content))
    services = info.context.services
    try:
        # Without the id of the request: imported users get no mail (`projections/mail/causes.py`).
        report = await services.import_users(content, ",".join(input.map or ()), Origin(actor=viewer.id))
    except UnreadableImport as error:
        return _refused(error.field, str(error))
    before = first_line - 1
    return ImportPayload(
        imported=report.imported,
        existing=report.existing,
        refused=[ImportRefusal(line=line + before, message=reason) for line, reason in report.refused],
        position=Position(await services.store.head()),
    )


def _refused(field: str, message: str) -> ImportPayload:
    return ImportPayload(errors=[UserError(code=ErrorCode.INVALID, message=message, field=[field])])
