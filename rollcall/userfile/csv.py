"""Records from CSV: a header, then one row for each user, separated by comma, semicolon, tab or vertical bar.

Systems that write no header are recognised by their first row.
"""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TextIO

from rollcall.userfile.rows import JSON, SPACE, RecordFault, UserFileError, UserRecord, shown
from rollcall.userfile.source import Source, bounded_lines

DELIMITERS: Final = ",;\t|"
SEP_LINE: Final = re.compile(r'"?sep=(.)"?\s*')
"""What Excel writes and reads before the header; the delimiter may be any character."""
LONGEST_LINE: Final = 1 << 22
LONGEST_ROW: Final = 1_000
"""Lines of one row, at most: line breaks in its cells."""
REREAD_CHARACTERS: Final = 1 << 22
"""Characters that may be read again after open quotes, in a whole file: each costs up to 131,072, the longest cell that
the `csv` module accepts, and a file may have one in every line."""


def csv_records(
    source: Source, known: Callable[[list[str]], Sequence[str] | None] = lambda _: None
) -> Iterator[UserRecord]:
    """One record a row. All values are strings, an empty cell is no value.

    The first record is the header: its fields are the columns, all without a value. Raises UserFileError before it if
    the header cannot be used. `known` gives the columns of a file without a header by the cells of its first row.
    """
    with source.named_errors(), source.open("") as file:
        reader = _Reader(file)
        header: list[str] | None = None
        for line, cells in reader.rows():
            if header is not None:
                if cells != []:
                    yield UserRecord(line, _fields(header, cells), file.buffer.tell())
                continue
            if isinstance(cells, RecordFault):
                raise UserFileError(f"{source.name} has a header that is {cells.reason}")
            if (columns := known(cells)) is not None:
                header = list(columns)
                yield UserRecord(line, dict.fromkeys(header), 0)
                yield UserRecord(line, _fields(header, cells), file.buffer.tell())
                continue
            header = [cell.strip() for cell in cells]
            if repeated := [name for name in header if name and header.count(name) > 1]:
                raise UserFileError(
                    f"{source.name} has more than one column called {shown(repeated[0])}: rename one of them"
                )
            yield UserRecord(line, dict.fromkeys(filter(None, header)), 0)


class _Reader:
    """Reads rows, and reads the lines again that an open quote swallowed."""

    def __init__(self, file: TextIO) -> None:
        self._source = bounded_lines(file, LONGEST_LINE)
        self._waiting: deque[str] = deque()
        """Lines that come before those of the file."""
        self._row: list[str] = []
        """The lines of the row that is being read."""
        self._row_ends = False
        self._line = 0
        self._reread = 0

    def rows(self) -> Iterator[tuple[int, list[str] | RecordFault]]:
        """Each row with the line on which it starts; no cells for a blank line after the header.

        A row with a fault is one line: the reader goes on with the next one, also if a quote was left open there.
        """
        blank, delimiter = self._start()
        self._line = blank
        reader = csv.reader(self._lines(), delimiter=delimiter, strict=True)
        while True:
            self._row.clear()
            line = self._line + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, self._fault(error)
                reader = csv.reader(self._lines(), delimiter=delimiter, strict=True)
            else:
                yield line, [] if len(cells) == 1 and not cells[0].strip() else cells

    def _start(self) -> tuple[int, str]:
        """Skip blank lines and Excel's `sep=` line; their number, and the delimiter."""
        skipped, given = 0, None
        for line in self._source:
            if given is None and (sep := SEP_LINE.fullmatch(line)):
                given = sep[1]
            elif line.strip(SPACE):
                self._waiting.append(line)
                return skipped, given or _delimiter(line)
            skipped += 1
        return skipped, ","

    def _lines(self) -> Iterator[str]:
        while True:
            line = self._waiting.popleft() if self._waiting else next(self._source, "")
            if not line:
                return
            self._line += 1
            self._row.append(line)
            if len(line) > LONGEST_LINE:
                raise csv.Error(f"a line of more than {LONGEST_LINE:,} characters")
            if len(self._row) > LONGEST_ROW:
                raise csv.Error(f"a row of more than {LONGEST_ROW:,} lines")
            yield line

    def _fault(self, error: csv.Error) -> RecordFault:
        swallowed = self._row[1:]
        self._reread += sum(map(len, swallowed))
        if self._reread <= REREAD_CHARACTERS:
            self._waiting.extendleft(reversed(swallowed))
            self._line -= len(swallowed)
            lost = ""
        else:
            lost = f"; the {len(swallowed)} lines after it are left out too" if swallowed else ""
        return RecordFault(f"not well-formed CSV: {error} (is a quote left open or unpaired?){lost}")


def _delimiter(header: str) -> str:
    """The delimiter that gives the header the most columns; inside quotes it separates none."""
    return max(DELIMITERS, key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter), [])))


def _fields(header: list[str], cells: list[str] | RecordFault) -> dict[str, JSON] | RecordFault:
    """The cells under their columns. Spreadsheets leave out empty cells at the end of a row, and add some."""
    if isinstance(cells, RecordFault):
        return cells
    for column, cell in enumerate(cells, start=1):
        if cell and (column > len(header) or not header[column - 1]):
            return RecordFault(
                f"expected {len(header)} columns, as in the header, found a value in column {column}"
                if column > len(header)
                else f"column {column} has a value and no name in the header: name it there"
            )
    return {name: cell for name, cell in zip(header, cells, strict=False) if cell}
