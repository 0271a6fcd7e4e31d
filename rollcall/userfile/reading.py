"""Open a file of users, detect its format by its content, and yield its rows."""

import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rollcall.userfile.csv import csv_records
from rollcall.userfile.json import json_array_records, json_line_records, refuse_spread_object
from rollcall.userfile.rows import SPACE, BadRow, FieldMap, RecordFault, RowMaker, UserFileError, UserRecord, UserRow

JSON_SUFFIXES = {".json", ".jsonl", ".ndjson"}
HEAD_CHARACTERS = 1 << 20
"""How much of an object that is spread over lines is read to recognise it: far more than any real user has."""


def read_users(path: Path, mapping: FieldMap) -> "UserFile":
    """The rows of a file: JSON lines if it begins with `{`, a JSON array if with `[`, else CSV. UTF-8, BOM or not.

    Raises UserFileError, here or at the first row, never after a row was returned (unless the file changes or
    disappears meanwhile). For that the whole file is read once in advance.
    """
    with _named_errors(path):
        _refuse_irregular(path)
        _refuse_other_encodings(path)
        return UserFile(path, mapping, _begins_with(path))


class UserFile(Iterator[UserRow | BadRow]):
    """The rows, in the file's order, and the number of bytes read so far."""

    def __init__(self, path: Path, mapping: FieldMap, begins_with: str) -> None:
        self.size = path.stat().st_size
        """Bytes in the file."""
        self.bytes_read = 0
        """Never decreases; equals `size` after the last row."""
        self._rows = RowMaker(mapping)
        self._records = _records(path, mapping, begins_with, self.size)

    @property
    def unmet_fields(self) -> list[str]:
        """Fields named in `--map` that no row has had so far. After the last row they are probably misspelt.

        An empty CSV cell is no field; a column that the CSV header lacks is refused at once.
        """
        return self._rows.unmet

    def __next__(self) -> UserRow | BadRow:
        record = next(self._records, None)
        if record is None:
            self.bytes_read = self.size
            raise StopIteration
        self.bytes_read = record.bytes_read
        return self._rows.row(record)


def read_records(path: Path, *columns: str) -> "FileRecords":
    """The records of a file under its own field names; a CSV header must have these columns.

    Raises UserFileError, like `read_users`.
    """
    with _named_errors(path):
        _refuse_irregular(path)
        _refuse_other_encodings(path)
        return FileRecords(path, columns, _begins_with(path))


class FileRecords(Iterator[UserRecord | BadRow]):
    """The records, in the file's order, and the number of bytes read so far."""

    def __init__(self, path: Path, columns: Sequence[str], begins_with: str) -> None:
        self.size = path.stat().st_size
        """Bytes in the file."""
        self.bytes_read = 0
        """Never decreases; equals `size` after the last record."""
        self._records = _records(path, FieldMap(dict(zip(columns, columns, strict=True))), begins_with, self.size)

    def __next__(self) -> UserRecord | BadRow:
        record = next(self._records, None)
        if record is None:
            self.bytes_read = self.size
            raise StopIteration
        self.bytes_read = record.bytes_read
        if isinstance(record.fields, RecordFault):
            return BadRow(record.line, record.fields.reason)
        return record


def _records(path: Path, mapping: FieldMap, begins_with: str, size: int) -> Iterator[UserRecord]:
    is_csv = begins_with not in {"{", "["}
    with _named_errors(path), path.open(encoding="utf-8-sig", newline="" if is_csv else None) as file:
        if is_csv:
            yield from csv_records(file, path, mapping)
        elif begins_with == "[":
            yield from json_array_records(file, path, size)
        else:
            yield from json_line_records(file)


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserFileError(f"{path} changed while it was read, and is no longer UTF-8") from error


def _refuse_irregular(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        raise UserFileError(f"{path} is not a file: expected one, since it is read twice; save a pipe's output first")


def _refuse_other_encodings(path: Path) -> None:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise UserFileError(
                    f"{path} is not UTF-8: line {number} has the byte 0x{line[error.start]:02x}; convert it first, "
                    f"for instance with `iconv -f WINDOWS-1252 -t UTF-8`"
                ) from error


def _begins_with(path: Path) -> str:
    """The first character that is not white space; refuse a file whose beginning is in no known format."""
    with path.open(encoding="utf-8-sig") as file:
        first_line = next((line for line in file if line.strip(SPACE)), "").lstrip(SPACE)
        if not first_line:
            raise UserFileError(f"{path} is empty: expected JSON lines, a JSON array or CSV with a header")
        if first_line[0] == "{":
            refuse_spread_object(first_line + file.read(HEAD_CHARACTERS), path)
        elif first_line[0] != "[" and path.suffix.lower() in JSON_SUFFIXES:
            raise UserFileError(f"{path} is called JSON but begins with {first_line[0]!r}: expected {{ or [")
    return first_line[0]
