"""Reading a file of users: whatever is in it, each row comes out whole or with the reason why not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from rollcall.userfile import BadRow, FieldMap, UserRow, parse_mapping, read_users

Write: TypeAlias = Callable[[str | bytes], Path]
"""Makes a file, with no suffix, of this content."""


def read(path: Path, mapping: str | None = None) -> list[UserRow | BadRow]:
    """All rows of a file."""
    return list(read_users(path, parse_mapping(mapping) if mapping else FieldMap()))


def row(line: int, attributes: dict[str, Any] | None = None, **known: str) -> UserRow:
    """The row of that line with no more than these fields."""
    fields = {"username": None, "email": None, "name": None, "role": None, "password_hash": None, **known}
    return UserRow(line=line, attributes=attributes or {}, **fields)
