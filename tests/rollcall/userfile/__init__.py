"""Reading a file of users: each row is read whole, or refused with a reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from rollcall.userfile import BadRow, FieldMap, UserRow, parse_mapping, read_users

Write: TypeAlias = Callable[[str | bytes], Path]
"""Writes a file of this content, without a suffix."""


def read(path: Path, mapping: str | None = None) -> list[UserRow | BadRow]:
    """Read all rows of a file."""
    return list(read_users(path, parse_mapping(mapping) if mapping else FieldMap()))


def row(line: int, attributes: dict[str, Any] | None = None, **known: str) -> UserRow:
    """The row of that line with only these fields."""
    fields = {"username": None, "email": None, "name": None, "role": None, "password_hash": None, **known}
    return UserRow(line=line, attributes=attributes or {}, **fields)  # type: ignore[arg-type]
