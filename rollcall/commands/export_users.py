"""`rollcall export-users`: the users as CSV or JSON lines."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, TextIO
from uuid import UUID

import typer

from events.commands import UserCommands
from events.database import Source
from events.event_types import JSON
from rollcall import exits
from rollcall.console import note, run, settings_for
from rollcall.export_rows import DEFAULT_FIELDS, PASSWORD_HASH, UnknownField, csv_row, fields_named, json_line, record
from rollcall.settings import Settings
from rollcall.userfile import UserFileError
from rollcall.wiring import open_installation, open_writer

app = typer.Typer(rich_markup_mode=None, add_completion=False)

PAGE: Final = 500
CONCURRENT: Final = 16
"""Users that are read at the same time."""
READ_IDS: Final = "SELECT user_id FROM user_keys WHERE user_id > %s AND wrapped IS NOT NULL ORDER BY user_id LIMIT %s"


class Format(StrEnum):
    """Forms of a file of users."""

    CSV = "csv"
    JSONL = "jsonl"


@app.command("export-users")
def export_users_(
    format_: Annotated[Format, typer.Option("--format", help="csv or jsonl.")] = Format.JSONL,
    fields: Annotated[
        str,
        typer.Option(
            metavar="FIELD,...",
            help=f"Default: {','.join(DEFAULT_FIELDS)}. Also version, attributes.PATH, and password_hash.",
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A new file, which only its owner can read."),
    ] = None,
) -> None:
    """Print all users as the log has them, whatever the views are at.

    A cell of CSV that a spreadsheet would calculate gets a ' in front; JSON lines have every value as it is, and are
    what `rollcall import` reads. Password hashes are exported only if --fields names password_hash: whoever has the
    file can guess passwords. Exit code 2: a field or the file is invalid, and nothing was done.
    """
    try:
        names = fields_named(fields)
    except UnknownField as error:
        raise typer.BadParameter(str(error), param_hint="--fields") from error
    run(_export(settings_for("export-users"), format_, names, output))


async def _export(settings: Settings, form: Format, fields: Sequence[str], output: Path | None) -> int:
    with ExitStack() as opened:
        file: TextIO = sys.stdout if output is None else opened.enter_context(_created(output))
        async with open_installation(settings, note) as installation:
            writer = await open_writer(installation)
            if form is Format.CSV:
                file.write(csv_row(list(fields)))
            count = 0
            async for values in _records(installation.database, writer.commands, fields):
                file.write(csv_row(list(values.values())) if form is Format.CSV else json_line(values))
                count += 1
    note(f"{count} users")
    return exits.OK


def _created(path: Path) -> TextIO:
    """A new file, so that none is overwritten and nobody else can have it open."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UserFileError(f"--output {path} cannot be written: {error.strerror}") from error
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="")


async def _records(source: Source, commands: UserCommands, fields: Sequence[str]) -> AsyncIterator[dict[str, JSON]]:
    """The users in the order of their ids, each as its stream is when it is read. A page of them is in memory."""
    places = asyncio.Semaphore(CONCURRENT)

    async def read(user_id: UUID) -> dict[str, JSON] | None:
        async with places:
            account = await commands.account(user_id)
            if account.user is None:
                return None
            hash_ = (await commands.credential_of(user_id)).password_hash if PASSWORD_HASH in fields else None
        return record(account.user, hash_, fields)

    last = bytes(16)
    while ids := [row[0] for row in await source.fetch_all(READ_IDS, (last, PAGE))]:
        for values in await asyncio.gather(*(read(UUID(bytes=user_id)) for user_id in ids)):
            if values is not None:
                yield values
        last = ids[-1]
