"""Records from JSON lines, one object a line, and from a JSON array of objects."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from rollcall.userfile.extended_json import ExtendedJSON
from rollcall.userfile.rows import JSON, SPACE, Fault, Record, UserFileError, kind

_SPACE = re.compile(f"[{SPACE}]*")


def json_line_records(file: TextIO) -> Iterator[Record]:
    """One record a line, blank lines left out. A line that is not JSON spoils only itself."""
    decoder = ExtendedJSON()
    for number, line in enumerate(file, start=1):
        text = line.rstrip(SPACE)
        if text:
            yield Record(number, _object(decoder.decode(text)), file.buffer.tell())


def json_array_records(file: TextIO, path: Path, size: int) -> Iterator[Record]:
    """One record for each item of the array, which is held in memory whole.

    An array that is not well-formed to its last character raises UserFileError before its first record: taking
    the rows before the fault would make a file cut in half look nearly as good as a whole one.
    """
    text = file.read()
    decoder = ExtendedJSON()
    for line, start, end in _checked_spans(text, path):
        yield Record(line, _object(decoder.decode(text[start:end])), size * end // len(text))


def refuse_spread_object(head: str, path: Path) -> None:
    """Raise UserFileError if the file's first object is spread over several lines.

    Read as JSON lines it would give one complaint for each line of the file. `head` begins at the object and may
    be cut off anywhere: what is not whole is left to be refused line by line.
    """
    first_line = head.partition("\n")[0]
    try:
        _, end = json.JSONDecoder(parse_int=str).raw_decode(head)
    except (json.JSONDecodeError, RecursionError):
        end = 0
    if first_line.strip(SPACE) == "{" or end > len(first_line):
        raise UserFileError(
            f"{path} has an object that is spread over several lines: expected one object on each line, or one "
            f"array of objects; `jq -c . FILE` puts each object on a line of its own"
        )


def _object(value: JSON | Fault) -> dict[str, JSON] | Fault:
    if isinstance(value, dict | Fault):
        return value
    return Fault(f"the row is {kind(value)}: expected an object")


def _checked_spans(text: str, path: Path) -> list[tuple[int, int, int]]:
    try:
        return list(_spans(text))
    except json.JSONDecodeError as error:
        raise UserFileError(
            f"{path} is a JSON array that is not well-formed at line {error.lineno}, column {error.colno}: "
            f"{error.msg}. None of its rows are taken: mend it, or write one object on each line"
        ) from error
    except RecursionError as error:
        raise UserFileError(f"{path} has an item that is nested too deeply to be read: flatten it") from error


def _spans(text: str) -> Iterator[tuple[int, int, int]]:
    """Each item's line, start and end in the text of an array. Raises JSONDecodeError where it is not an array."""
    scan = json.JSONDecoder(parse_int=str).raw_decode  # parse_int: no number is too long just to be passed over
    line, counted = 1, 0
    position = _after_space(text, text.index("[") + 1)
    more = not text.startswith("]", position)
    while more:
        _, end = scan(text, position)
        line, counted = line + text.count("\n", counted, position), position
        yield line, position, end
        position = _after_space(text, end)
        more = text.startswith(",", position)
        position = _after_space(text, position + 1) if more else position
    if not text.startswith("]", position):
        raise json.JSONDecodeError("Expecting ',' or ']' after an item", text, position)
    position = _after_space(text, position + 1)
    if position != len(text):
        raise json.JSONDecodeError("Extra data after the array", text, position)


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position
