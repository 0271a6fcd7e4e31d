"""Read a file of users: JSON lines (MongoDB Extended JSON included), a JSON array, or CSV.

Parsing only: no database is touched, and no username, email or hash is judged. A row that cannot be read
is handed on as a `BadRow` and the others go on; a file that cannot be read raises `UserFileError`.

Reasons name fields and never repeat values: they end up in logs, and the values are personal.
"""

from rollcall.userfile.reading import UserFile, read_users
from rollcall.userfile.rows import JSON, TARGETS, BadRow, FieldMap, UserFileError, UserRow, parse_mapping

__all__ = [
    "JSON",
    "TARGETS",
    "BadRow",
    "FieldMap",
    "UserFile",
    "UserFileError",
    "UserRow",
    "parse_mapping",
    "read_users",
]
