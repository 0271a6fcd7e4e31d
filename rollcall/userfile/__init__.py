"""Read a file of users: JSON lines (MongoDB Extended JSON included), a JSON array, or CSV.

This package parses only: it uses no database and validates no username, email or hash. A row that cannot be read is
a `BadRow`, and reading continues; a file that cannot be read raises `UserFileError`.

Reasons name fields and never repeat values, because reasons are logged and the values are personal data.
"""

from rollcall.userfile.reading import FileRecords, UserFile, read_records, read_users
from rollcall.userfile.rows import (
    JSON,
    TARGETS,
    BadRow,
    FieldMap,
    UserFileError,
    UserRecord,
    UserRow,
    parse_mapping,
)

__all__ = [
    "JSON",
    "TARGETS",
    "BadRow",
    "FieldMap",
    "FileRecords",
    "UserFile",
    "UserFileError",
    "UserRecord",
    "UserRow",
    "parse_mapping",
    "read_records",
    "read_users",
]
