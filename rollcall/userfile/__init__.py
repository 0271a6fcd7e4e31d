"""Read a file of users: JSON lines (MongoDB Extended JSON included), a JSON document, CSV or LDIF, of known systems.

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
    folded,
    parse_mapping,
    shown,
)
from rollcall.userfile.systems import SYSTEMS, HashConfig, read_hash_config

__all__ = [
    "JSON",
    "SYSTEMS",
    "TARGETS",
    "BadRow",
    "FieldMap",
    "FileRecords",
    "HashConfig",
    "UserFile",
    "UserFileError",
    "UserRecord",
    "UserRow",
    "folded",
    "parse_mapping",
    "read_hash_config",
    "read_records",
    "read_users",
    "shown",
]
