"""The records of JSON, read in pieces: lines, an array, objects one after another, or an array under a key.

`inspected` reads a document once to its end, and says where its records are. So a file that is cut off is refused
before its first record, and neither reading holds more than one record and a piece of the text.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, TextIO

from rollcall.userfile.json import ExtendedJSON
from rollcall.userfile.rows import JSON, SPACE, RecordFault, UserFileError, UserRecord, folded, kind, shown
from rollcall.userfile.source import Source, bounded_lines

PIECE: Final = 1 << 18
LONGEST_ITEM: Final = 1 << 25
"""Characters of one record, at most."""
USERS_KEY: Final = "users"
WHITE_SPACE: Final = re.compile(f"[{SPACE}]*")
WRAPPER: Final = re.compile(r'\{\s*"users"\s*:\s*\[')
SCAN: Final = json.JSONDecoder(parse_int=str).raw_decode  # parse_int: int() refuses thousands of digits


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the records of a JSON file are."""

    lines: bool = False
    """Each on a line of its own, so that a broken line costs no other."""
    array: bool = False
    """In one array."""
    key: str | None = None
    """In the array under this key of one object. Otherwise each object of the file is a record."""


class NotWellFormed(Exception):
    """A text is not JSON."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {message}")


class Window:
    """The text of a file, of which only a piece is held, and a place in it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._line = 1
        self._counted = 0
        self.bytes_read = 0

    @property
    def line(self) -> int:
        """The line of the place."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def peek(self) -> str:
        """The next character that is not white space, to which the place moves; empty at the end."""
        while True:
            match = WHITE_SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill():
                return ""

    def skip(self, character: str) -> None:
        """Move over this character."""
        if self.peek() != character:
            raise self.fault(f"Expecting {character!r}")
        self._at += 1

    def value(self) -> str:
        """Move over one value, and return its text."""
        self.peek()
        while True:
            try:
                _, end = SCAN(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._fill():
                    continue
                raise self.fault(error.msg, error.pos) from error
            if end == len(self._text) and self._fill():
                continue  # a number may go on in the next piece
            text = self._text[self._at : end]
            self._at = end
            return text

    def fault(self, message: str, position: int | None = None) -> NotWellFormed:
        """The error for a position, or for the place."""
        position = self._at if position is None else position
        line = self.line + self._text.count("\n", self._at, position)
        return NotWellFormed(message, line, position - self._text.rfind("\n", 0, position))

    def _fill(self) -> bool:
        """Read another piece, at least as long as what is pending; False at the end of the file."""
        pending = len(self._text) - self._at
        if pending > LONGEST_ITEM:
            raise self.fault(f"not well-formed JSON, or a record of more than {LONGEST_ITEM:,} characters")
        piece = self._file.read(max(PIECE, pending))
        if not piece:
            return False
        _ = self.line
        self._text = self._text[self._at :] + piece
        self._at = self._counted = 0
        self.bytes_read = self._file.buffer.tell()
        return True


def inspected(source: Source, known: Collection[str]) -> Layout:
    """Where the records of a file are that begins with `{` or `[`. An object with a `known` field is a record.

    Raises:
        UserFileError: it is not well-formed to its end, or which of its arrays has the users is unclear.
    """
    try:
        if _is_lines(source):
            return Layout(lines=True)
        with source.open(None) as file:
            return _walked(Window(file), source, known)
    except NotWellFormed as error:
        if _looks_like_lines(source):
            return Layout(lines=True)
        raise UserFileError(
            f"{source.name} is JSON that is not well-formed at {error}. No row was taken: correct it, or write one "
            "object on each line"
        ) from error
    except RecursionError as error:
        if _looks_like_lines(source):
            return Layout(lines=True)
        raise UserFileError(f"{source.name} has an item that is nested too deeply to be read: flatten it") from error


def document_records(source: Source, layout: Layout) -> Iterator[UserRecord]:
    """The records of a file with this layout, in its order."""
    decoder = ExtendedJSON()
    with source.named_errors(), source.open(None) as file:
        if layout.lines:
            for number, whole in enumerate(bounded_lines(file, LONGEST_ITEM), start=1):
                if len(whole) > LONGEST_ITEM:
                    too_long = RecordFault(f"a line of more than {LONGEST_ITEM:,} characters")
                    yield UserRecord(number, too_long, file.buffer.tell())
                elif stripped := whole.rstrip(SPACE):
                    yield UserRecord(number, _as_object(decoder.decode(stripped)), file.buffer.tell())
            return
        window = Window(file)
        in_array = layout.array or layout.key is not None
        for element, (line, text) in enumerate(_items(window, layout), start=1):
            fields = _as_object(decoder.decode(text))
            yield UserRecord(line, fields, window.bytes_read, element if in_array else None)


def _items(window: Window, layout: Layout) -> Iterator[tuple[int, str]]:
    window.peek()
    if layout.array:
        yield from _array(window)
    elif layout.key is not None:
        for key in _members(window):
            if key == layout.key:
                yield from _array(window)
                return
            if window.peek() != "[":
                window.value()
                continue
            for _ in _array(window):
                pass
    else:
        while window.peek():
            line = window.line
            yield line, window.value()


def _array(window: Window) -> Iterator[tuple[int, str]]:
    """Each item of an array with its line."""
    window.skip("[")
    if window.peek() == "]":
        window.skip("]")
        return
    while True:
        window.peek()
        line = window.line
        yield line, window.value()
        if window.peek() == "]":
            window.skip("]")
            return
        if window.peek() != ",":
            raise window.fault("Expecting ',' or ']' after an item")
        window.skip(",")


def _members(window: Window) -> Iterator[str]:
    """Each key of an object. The caller moves over the value before it asks for the next one."""
    window.skip("{")
    if window.peek() == "}":
        window.skip("}")
        return
    while True:
        if window.peek() != '"':
            raise window.fault("Expecting property name enclosed in double quotes")
        key: str = json.loads(window.value())
        window.skip(":")
        yield key
        if window.peek() == "}":
            window.skip("}")
            return
        if window.peek() != ",":
            raise window.fault("Expecting ',' delimiter")
        window.skip(",")


def _walked(window: Window, source: Source, known: Collection[str]) -> Layout:
    if window.peek() == "[":
        for _ in _array(window):
            pass
        if window.peek():
            raise window.fault("Extra data after the array")
        return Layout(array=True)
    arrays, names = _arrays_in(window)
    if window.peek():
        while window.peek():
            window.value()
        return Layout()
    if USERS_KEY in arrays:
        return Layout(key=USERS_KEY)
    if not arrays or names.intersection(known):
        return Layout()
    if len(arrays) > 1:
        raise UserFileError(
            f"{source.name} is one object with several arrays of objects, {', '.join(map(shown, arrays[:8]))}: "
            f"expected the users under 'users'; take them out first, for instance with `jq -c '.[\"KEY\"][]'`"
        )
    return Layout(key=arrays[0])


def _arrays_in(window: Window) -> tuple[list[str], set[str]]:
    """The keys of an object under which are arrays of objects, and the folded names of all its keys."""
    arrays: list[str] = []
    names: set[str] = set()
    for key in _members(window):
        names.add(folded(key))
        if window.peek() != "[":
            window.value()
            continue
        first = ""
        for _, text in _array(window):
            first = first or text[0]
        if first == "{" or (key == USERS_KEY and not first):
            arrays.append(key)
    return arrays, names


def _is_lines(source: Source) -> bool:
    """The first line is an object by itself, and another one follows or it wraps no array."""
    with source.open(None) as file:
        lines = bounded_lines(file, LONGEST_ITEM)
        first = _next_line(lines)
        if not first.startswith("{") or len(first) > LONGEST_ITEM:
            return False
        try:
            value, end = SCAN(first)
        except (json.JSONDecodeError, RecursionError):
            return False
        if WHITE_SPACE.fullmatch(first, end) is None:
            return False
        wraps = any(isinstance(inner, list) and inner and isinstance(inner[0], dict) for inner in value.values())
        return not wraps or bool(_next_line(lines))


def _looks_like_lines(source: Source) -> bool:
    """The first line begins an object that is a record, and so does the second, if there is one: one is broken."""
    with source.open(None) as file:
        lines = bounded_lines(file, LONGEST_ITEM)
        first, second = _next_line(lines), _next_line(lines)
        return first.startswith("{") and (second.startswith("{") if second else not WRAPPER.match(first))


def _next_line(lines: Iterator[str]) -> str:
    """The next line that is not blank, without white space at its start; empty at the end."""
    return next((stripped for line in lines if (stripped := line.lstrip(SPACE))), "")


def _as_object(value: JSON | RecordFault) -> dict[str, JSON] | RecordFault:
    if isinstance(value, dict | RecordFault):
        return value
    return RecordFault(f"the row is {kind(value)}: expected an object")
