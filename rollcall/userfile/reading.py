"""Open a file of users, recognise its format and its system by its content, and yield its rows."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final

from rollcall.userfile.csv import csv_records
from rollcall.userfile.documents import Layout, document_records, inspected
from rollcall.userfile.ldif import BEGINNING, ldif_records
from rollcall.userfile.rows import (
    SPACE,
    TARGETS,
    BadRow,
    FieldMap,
    RecordFault,
    RowMaker,
    UserFileError,
    UserRecord,
    UserRow,
    folded,
    parts_of,
    path_in,
    shown,
)
from rollcall.userfile.source import Source, bounded_lines, open_source
from rollcall.userfile.systems import OWN, HashConfig, System, columns_without_header, recognised, system_called

JSON_SUFFIXES: Final = {".json", ".jsonl", ".ndjson"}
LONGEST_BEGINNING: Final = 1_000
"""Characters of the first line, by which a form is recognised."""
SAMPLE: Final = 50
"""Records by which a system is recognised."""


def read_users(
    path: Path,
    mapping: FieldMap,
    *,
    encoding: str | None = None,
    system: str | None = None,
    hash_config: HashConfig | None = None,
) -> "UserFile":
    """The rows of a file: JSON if it begins with `{` or `[`, LDIF if with `dn:`, else CSV. `-` is standard input.

    Raises UserFileError, here or at the first row, never after a row was returned (unless the file changes or
    disappears meanwhile). For that the whole file is read once in advance.

    Args:
        path: The file.
        mapping: Which of its fields are what.
        encoding: The file's; UTF-8 or UTF-16, by its first bytes, if it is None.
        system: The name of the system that wrote it; recognised if it is None.
        hash_config: The parameters of Firebase's hashes.
    """
    known = None if system is None else system_called(system)
    return UserFile(open_source(path, encoding), mapping, known, hash_config)


class _Progress:
    """The source and how far it is read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name = source.path.name if source.copy is None else source.name
        """What progress calls it."""
        self.size = source.size
        """Bytes in the file."""
        self.bytes_read = 0
        """Never decreases; equals `size` after the last row."""

    def _next_record(self, records: Iterator[UserRecord]) -> UserRecord:
        record = next(records, None)
        if record is None:
            self.bytes_read = self.size
            raise StopIteration
        self.bytes_read = max(self.bytes_read, record.bytes_read)
        return record


class UserFile(_Progress, Iterator[UserRow | BadRow]):
    """The rows, in the file's order, and the number of bytes read so far."""

    def __init__(
        self, source: Source, mapping: FieldMap, system: System | None, hash_config: HashConfig | None
    ) -> None:
        super().__init__(source)
        self._hash_config = hash_config
        form, records = _records(
            source, (*TARGETS, *(name.partition(".")[0] for name in mapping.named)), columns_without_header
        )
        sample = list(islice(records, SAMPLE))
        fields = [record.fields for record in sample if isinstance(record.fields, dict)]
        self.system = recognised(fields) if system is None else system
        """What wrote the file."""
        ignored = (*mapping.ignored, *(name for name in self.system.left_out if name not in mapping.given.values()))
        self._rows = RowMaker(FieldMap(mapping.given, ignored), self.system.usual)
        self._rows.unmet = mapping.named
        self.others = 0
        """Records that are no users, such as groups in a dump."""
        if form == "CSV":
            columns = fields.pop(0) if fields else {}
            del sample[:1]
            _refuse_missing_columns(
                source.name, list(columns), [p for s in mapping.given.values() for p in parts_of(s)]
            )
            if not self._rows.paths(columns) and self.system is OWN:
                raise UserFileError(_no_column(source.name, list(columns)))
        self.description = f"{form}, {self.system.title}"
        """What the file was recognised as, and where the fields of a user come from."""
        first = next((found for one in fields if (found := self.system.prepare(dict(one), hash_config))), None)
        if isinstance(first, dict) and (sources := self._rows.paths(first)):
            named = (
                f"{target} from {' and '.join(shown('.'.join(path)) for path in paths)}"
                for target, paths in sources.items()
                if paths and paths != [(target,)]
            )
            self.description = "; ".join([self.description, ", ".join(named)]).rstrip("; ")
        self._records = chain(sample, records)

    @property
    def unmet_fields(self) -> list[str]:
        """Fields named in `--map` and `--ignore` that no row has had so far: after the last row, probably misspelt.

        An empty CSV cell is no field; a column that the CSV header lacks is refused at once.
        """
        return self._rows.unmet

    def __next__(self) -> UserRow | BadRow:
        while True:
            record = self._next_record(self._records)
            if isinstance(record.fields, RecordFault):
                return BadRow(record.line, record.fields.reason, record.element)
            prepared = self.system.prepare(record.fields, self._hash_config)
            if prepared is None:
                self.others += 1
                continue
            return self._rows.row(UserRecord(record.line, prepared, record.bytes_read, record.element))


def read_records(path: Path, *columns: str) -> "FileRecords":
    """The records of a file under its own field names; a CSV header must have these columns.

    Raises UserFileError, like `read_users`.
    """
    return FileRecords(open_source(path), columns)


class FileRecords(_Progress, Iterator[UserRecord | BadRow]):
    """The records, in the file's order, and the number of bytes read so far."""

    def __init__(self, source: Source, columns: Sequence[str]) -> None:
        super().__init__(source)
        form, self._records = _records(source, columns)
        if form == "CSV":
            header = next(self._records).fields
            _refuse_missing_columns(source.name, [*header] if isinstance(header, dict) else [], columns)

    def __next__(self) -> UserRecord | BadRow:
        record = self._next_record(self._records)
        if isinstance(record.fields, RecordFault):
            return BadRow(record.line, record.fields.reason, record.element)
        return record


def _records(
    source: Source,
    known: Sequence[str],
    without_header: Callable[[list[str]], Sequence[str] | None] = lambda _: None,
) -> tuple[str, Iterator[UserRecord]]:
    """The name of the form, and the records; refuse a file whose beginning is in no known form."""
    with source.named_errors(), source.open(None) as file:
        lines = (line for line in bounded_lines(file, LONGEST_BEGINNING) if line.strip(SPACE))
        first_line = next(lines, "").lstrip(SPACE)
        while first_line.startswith("#"):
            first_line = next(lines, "")
    suffix = source.path.suffix.lower()
    match first_line[:1]:
        case "":
            raise UserFileError(f"{source.name} is empty: expected JSON lines, a JSON array, CSV with a header or LDIF")
        case "{" | "[":
            with source.named_errors():
                layout = inspected(source, {folded(name) for name in known})
            return _called(layout), document_records(source, layout)
        case begins if suffix in JSON_SUFFIXES:
            raise UserFileError(f"{source.name} is called JSON but begins with {begins!r}: expected {{ or [")
    if BEGINNING.match(first_line):
        return "LDIF", ldif_records(source)
    return "CSV", csv_records(source, without_header)


def _called(layout: Layout) -> str:
    if layout.lines:
        return "JSON lines"
    if layout.array:
        return "a JSON array"
    return "JSON objects" if layout.key is None else f"a JSON array under {shown(layout.key)}"


def _refuse_missing_columns(name: str, columns: list[str], wanted: Sequence[str]) -> None:
    header = dict.fromkeys(columns)
    if missing := [column for column in wanted if path_in(header, column) is None]:
        raise UserFileError(f"{name} has no column {shown(missing[0])}, which an option names: {_found(columns)}")


def _no_column(name: str, columns: list[str]) -> str:
    return (
        f"{name} is neither JSON (its text begins with {{ or [), nor LDIF, nor CSV with a column for any of "
        f"{', '.join(TARGETS)}: {_found(columns)}. If these are the columns, say which is which with --map email=FIELD"
    )


def _found(columns: list[str]) -> str:
    return f"the header has {', '.join(map(shown, columns))}"
