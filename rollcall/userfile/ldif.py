"""Records from LDIF (RFC 2849): one for each entry, its attributes in lower case and without options."""

import base64
import binascii
import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

from rollcall.userfile.rows import JSON, RecordFault, UserRecord, shown
from rollcall.userfile.source import Source, bounded_lines

BEGINNING: Final = re.compile(r"(version|dn)\s*:", re.IGNORECASE)
"""Of a file's first line that is no comment."""
LONGEST_ENTRY: Final = 1 << 24
"""Characters of one entry, at most."""


def ldif_records(source: Source) -> Iterator[UserRecord]:
    """One record for each entry; an attribute with several values is a list."""
    with source.named_errors(), source.open(None) as file:
        entry: list[str] = []
        start = size = 0
        for number, line in enumerate(chain(bounded_lines(file, LONGEST_ENTRY), [""]), start=1):
            text = line.rstrip("\n")
            if text:
                start = start if size else number
                size += len(text)
                if size <= LONGEST_ENTRY:
                    entry.append(text)
            elif size:
                too_large = RecordFault(f"an entry of {size:,} characters, more than {LONGEST_ENTRY:,}")
                fields = _fields(entry) if size <= LONGEST_ENTRY else too_large
                if fields != {}:
                    yield UserRecord(start, fields, file.buffer.tell())
                entry, size = [], 0


def _fields(lines: list[str]) -> dict[str, JSON] | RecordFault:
    fields: dict[str, JSON] = {}
    for line in _unfolded(lines):
        name, colon, rest = line.partition(":")
        if not colon:
            return RecordFault("expected lines of the form `attribute: value`")
        key = name.partition(";")[0].strip().lower()
        value: str | None = rest.lstrip(" ")
        if rest.startswith(":"):
            value = _decoded(rest[1:].strip())
        elif rest.startswith("<"):
            return RecordFault(f"{shown(key)} names a file, which is not read: write its value, or remove it")
        if value is None:
            continue  # binary, such as a photo
        if key == "version" and not fields:
            continue
        if key == "changetype" and value.lower() != "add":
            return RecordFault("a change and not an entry: export the directory as it is")
        earlier = fields.get(key)
        if earlier is None:
            fields[key] = value
        elif isinstance(earlier, list):
            earlier.append(value)
        else:
            fields[key] = [earlier, value]
    return fields


def _unfolded(lines: list[str]) -> Iterator[str]:
    """The lines of an entry without comments; one that begins with a space goes on with the line before it."""
    whole: list[str] = []
    for line in lines:
        if line.startswith(" "):
            whole.append(line[1:])
            continue
        if whole and not whole[0].startswith("#"):
            yield "".join(whole)
        whole = [line]
    if whole and not whole[0].startswith("#"):
        yield "".join(whole)


def _decoded(text: str) -> str | None:
    """The text that is base64; None if it is not one of UTF-8."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
