"""What the API imports users with: a content that lies in memory, by the rules of `rollcall import`."""

import asyncio
import os
from itertools import islice
from pathlib import Path
from typing import Final

from events.commands import UserCommands
from events.event_types import Origin
from graph.context import ImportReport, ImportUsers, UnreadableImport
from graph.limits import IMPORT_ROWS
from rollcall.import_result import RefusedRow
from rollcall.importer import Importer
from rollcall.userfile import FieldMap, UserFileError, parse_mapping, read_users

API_WINDOW: Final = 64
"""Rows that are taken together: other callers of the process wait while the rows of a window are read."""


def import_users_with(commands: UserCommands) -> ImportUsers:
    """What the API imports with. The content lies in memory only, under the path of an anonymous file."""

    async def import_users(content: bytes, mapping: str, origin: Origin) -> ImportReport:
        try:
            fields = parse_mapping(mapping) if mapping else FieldMap()
        except UserFileError as error:
            raise UnreadableImport("map", str(error)) from error
        descriptor = os.memfd_create("import")
        path = Path(f"/proc/self/fd/{descriptor}")
        try:
            os.write(descriptor, content)
            rows = await asyncio.to_thread(lambda: sum(1 for _ in islice(read_users(path, fields), IMPORT_ROWS + 1)))
            if rows > IMPORT_ROWS:
                raise UnreadableImport("content", f"expected at most {IMPORT_ROWS:,} rows, found more: send fewer")
            file = await asyncio.to_thread(read_users, path, fields)
            result = await Importer(commands, origin, window=API_WINDOW).run(file, lambda _: None)
        except UserFileError as error:
            raise UnreadableImport("content", str(error).replace(str(path), "the content")) from error
        finally:
            os.close(descriptor)
        refused = [(row.line, _named_element(row)) for row in result.refused]
        return ImportReport(imported=result.added, existing=result.already_there + result.updated, refused=refused)

    return import_users


def _named_element(row: RefusedRow) -> str:
    """The reason, with the number of the element where the line does not say which one it is."""
    return row.reason if row.element in (None, row.line) else f"element {row.element}: {row.reason}"
