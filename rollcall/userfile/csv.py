"""Records from CSV: a header, then one row for each user, separated by comma, semicolon or tab."""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TextIO

from rollcall.userfile.rows import JSON, SPACE, TARGETS, FieldMap, RecordFault, UserFileError, UserRecord, shown

DELIMITERS = ",;\t"


def csv_records(file: TextIO, path: Path, mapping: FieldMap) -> Iterator[UserRecord]:
    """One record a row. All values are strings, an empty cell is no value. Open `file` with `newline=""`.

    Raises UserFileError before the first record if the header cannot be used.
    """
    blank_lines, first_line = _start(file)
    rows = _rows(chain([first_line], file), _delimiter(first_line))
    header = _header(next(rows), path, mapping)
    for line, cells in rows:
        if cells != []:
            yield UserRecord(blank_lines + line, _fields(header, cells), file.buffer.tell())


def _start(file: TextIO) -> tuple[int, str]:
    """The number of blank lines at the start, and the line after them."""
    return next(((blank, line) for blank, line in enumerate(file) if line.strip(SPACE)), (0, ""))


def _delimiter(header: str) -> str:
    """The delimiter that gives the header the most columns; inside quotes it separates none."""
    return max(DELIMITERS, key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter), [])))


def _rows(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str] | RecordFault]]:
    """Each row with the line on which it starts; no cells for a blank line.

    After a fault the reader continues with the next line. So a quote that is never closed costs at most 131,072
    characters, the longest cell that the `csv` module accepts, and not the rest of the file.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, RecordFault(f"not well-formed CSV: {error} (is a quote left open or unpaired?)")
        else:
            yield line, [] if len(cells) == 1 and not cells[0].strip() else cells


def _header(row: tuple[int, list[str] | RecordFault], path: Path, mapping: FieldMap) -> list[str]:
    _, cells = row
    if isinstance(cells, RecordFault):
        raise UserFileError(f"{path} has a header that is {cells.reason}")
    names = [cell.strip() for cell in cells]
    _refuse_unclear(names, path)
    _refuse_unmatched(names, path, mapping)
    return names


def _refuse_unclear(names: list[str], path: Path) -> None:
    if "" in names:
        raise UserFileError(f"{path} has no name for column {names.index('') + 1}: name it in the header")
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserFileError(f"{path} has more than one column called {shown(repeated[0])}: rename one of them")


def _refuse_unmatched(names: list[str], path: Path, mapping: FieldMap) -> None:
    found = f"the header has {', '.join(map(shown, names))}"
    if missing := [source for source in mapping.given.values() if source not in names]:
        raise UserFileError(f"{path} has no column {shown(missing[0])}, which an option names: {found}")
    if not {*mapping.sources.values(), *mapping.given.values()} & set(names):
        raise UserFileError(
            f"{path} is neither JSON (its text begins with {{ or [) nor CSV with a column for any of "
            f"{', '.join(TARGETS)}: {found}. If these are the columns, say which is which with --map email=FIELD"
        )


def _fields(header: list[str], cells: list[str] | RecordFault) -> dict[str, JSON] | RecordFault:
    if isinstance(cells, RecordFault):
        return cells
    if len(cells) != len(header):
        return RecordFault(f"expected {len(header)} columns, as in the header, found {len(cells)}")
    return {name: cell for name, cell in zip(header, cells, strict=True) if cell}
