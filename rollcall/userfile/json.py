"""Records from JSON lines, one object a line, and from a JSON array of objects.

JSON text to plain values, MongoDB's Extended JSON wrappers (v2 canonical, v2 relaxed, v1) undone.

Stricter than `json.loads`, which would change what the file says: a key that occurs twice loses its first
value, NaN and Infinity are not JSON, and 1e999 turns into infinity. Each is a fault here, with its path.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from rollcall.userfile.rows import JSON, SPACE, RecordFault, UserFileError, UserRecord, kind, shown

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INT64 = re.compile(r"-?[0-9]{1,19}")


class ExtendedJSON:
    """A decoder for one thread. Faults found on the way stay in the tree as marks.

    The hooks of `json` are called inside out, so a hook cannot know where in the row it is; the mark is looked
    for from the top afterwards, which costs nothing when there is none.
    """

    def __init__(self) -> None:
        self._marked = False
        self._decoder = json.JSONDecoder(
            object_pairs_hook=lambda pairs: self._noted(_object(pairs)),
            parse_float=lambda digits: self._noted(_float(digits)),
            parse_constant=lambda name: self._noted(_constant(name)),
        )

    def decode(self, text: str) -> JSON | RecordFault:
        """The plain value of a JSON text, or why it has none. Lone surrogates and NUL come through as they are."""
        self._marked = False
        try:
            value = self._decoder.decode(text)
            return _placed(value) if self._marked else value
        except json.JSONDecodeError as error:
            return RecordFault(f"column {error.colno}: not well-formed JSON: {error.msg}")
        except RecursionError:
            return RecordFault("nested too deeply to be read: flatten it")
        except ValueError:  # int() refuses thousands of digits, since they take quadratic time
            return RecordFault("a number has too many digits: shorten it, or write it as a string")

    def _noted(self, value: Any) -> Any:
        if isinstance(value, RecordFault):
            self._marked = True
        return value


def _object(pairs: list[tuple[str, Any]]) -> Any:
    value = dict(pairs)
    if len(value) != len(pairs):
        repeated = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        return RecordFault(f"the key {shown(repeated)} occurs twice: remove one of them")
    for key in value:
        if key[:1] == "$":
            return _unwrapped(value)
    return value


def _float(digits: str) -> float | RecordFault:
    value = float(digits)
    return value if math.isfinite(value) else RecordFault("a number too large for a double: write it as a string")


def _constant(name: str) -> RecordFault:
    return RecordFault(f"{name} is not JSON: use null, or leave the field out")


def _placed(value: Any) -> RecordFault:
    path, fault = next(_faults(value, ""))
    return RecordFault(f"{path}: {fault.reason}") if path else fault


def _faults(value: Any, path: str) -> Iterator[tuple[str, RecordFault]]:
    match value:
        case RecordFault():
            yield path, value
        case dict():
            for key, inner in value.items():
                yield from _faults(inner, f"{path}.{shown(key)}" if path else shown(key))
        case list():
            for index, inner in enumerate(value):
                yield from _faults(inner, f"{path}[{index}]")


def _unwrapped(wrapper: dict[str, Any]) -> Any:
    for inner in wrapper.values():
        if isinstance(inner, RecordFault):
            return inner
    keys = tuple(sorted(wrapper))
    known = WRAPPERS.get(keys)
    if known is None:
        dollar = next(key for key in wrapper if key[:1] == "$")
        return RecordFault(f"{shown(dollar)} has no plain value: remove it, or write the field as a string or number")
    try:
        return known.plain(*(wrapper[key] for key in keys))
    except (ValueError, OverflowError):
        return RecordFault(f"{' with '.join(keys)} does not hold {known.expected}")


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case _:
            raise ValueError


def _whole(value: Any) -> int:
    if type(value) is int:
        return value
    if not INT64.fullmatch(_text(value)):
        raise ValueError
    return int(value)


def _double(value: Any) -> float:
    number = float(value) if type(value) in {int, float} else float(_text(value))
    if not math.isfinite(number):
        raise ValueError
    return number


def _date(value: Any) -> str:
    """ISO 8601 in UTC, without a fraction when it is zero. A date without an offset is UTC, as BSON dates are."""
    if type(value) is int:
        moment = EPOCH + timedelta(milliseconds=value)
    else:
        parsed = datetime.fromisoformat(_text(value))
        moment = parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    if moment.microsecond == 0:
        precision = "seconds"
    else:
        precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def _part(value: Any, *names: str) -> list[Any]:
    if not isinstance(value, dict) or set(value) != set(names):
        raise ValueError
    return [value[name] for name in names]


def _binary(value: Any) -> str:
    return _old_binary(*_part(value, "base64", "subType"))


def _old_binary(encoded: Any, subtype: Any) -> str:
    _text(subtype)
    return _text(encoded)


def _undefined(value: Any) -> None:
    if value is not True:
        raise ValueError


def _pattern(options: Any, pattern: Any) -> str:
    return f"/{_text(pattern)}/{_text(options)}"


def _timestamp(value: Any) -> dict[str, JSON]:
    seconds, increment = _part(value, "t", "i")
    return {"t": _whole(seconds), "i": _whole(increment)}


@dataclass(frozen=True, slots=True)
class _Wrapper:
    """How the values of a wrapper, in the order of its sorted keys, become plain; ValueError if they cannot.

    Each value is either checked or kept: dropping one unseen could drop the mark of a fault inside it.
    """

    plain: Callable[..., JSON]
    expected: str


_TEXT = _Wrapper(_text, "a string")
_WHOLE = _Wrapper(_whole, "a whole number of at most 19 digits")

# By the wrapper's sorted keys. $minKey, $maxKey, $dbPointer and $code with $scope are missing on purpose: no plain
# value says what they mean.
WRAPPERS: dict[tuple[str, ...], _Wrapper] = {
    ("$oid",): _TEXT,
    ("$uuid",): _TEXT,
    ("$symbol",): _TEXT,
    ("$code",): _TEXT,
    ("$numberDecimal",): _TEXT,
    ("$numberInt",): _WHOLE,
    ("$numberLong",): _WHOLE,
    ("$numberDouble",): _Wrapper(_double, "a finite number"),
    ("$date",): _Wrapper(_date, "an ISO 8601 date or milliseconds since 1970, in the years 1 to 9999"),
    ("$binary",): _Wrapper(_binary, "base64 and subType as strings"),
    ("$binary", "$type"): _Wrapper(_old_binary, "base64 and type as strings"),
    ("$regularExpression",): _Wrapper(
        lambda value: _pattern(*_part(value, "options", "pattern")), "pattern and options as strings"
    ),
    ("$options", "$regex"): _Wrapper(_pattern, "pattern and options as strings"),
    ("$timestamp",): _Wrapper(_timestamp, "whole numbers t and i"),
    ("$undefined",): _Wrapper(_undefined, "true"),
    ("$id", "$ref"): _Wrapper(lambda id_, ref: {"ref": ref, "id": id_}, "a reference"),
    ("$db", "$id", "$ref"): _Wrapper(lambda db, id_, ref: {"ref": ref, "id": id_, "db": db}, "a reference"),
}


_SPACE = re.compile(f"[{SPACE}]*")


def json_line_records(file: TextIO) -> Iterator[UserRecord]:
    """One record a line, blank lines left out. A line that is not JSON spoils only itself."""
    decoder = ExtendedJSON()
    for number, line in enumerate(file, start=1):
        text = line.rstrip(SPACE)
        if text:
            yield UserRecord(number, _object_of_json_records(decoder.decode(text)), file.buffer.tell())


def json_array_records(file: TextIO, path: Path, size: int) -> Iterator[UserRecord]:
    """One record for each item of the array, which is held in memory whole.

    An array that is not well-formed to its last character raises UserFileError before its first record: taking
    the rows before the fault would make a file cut in half look nearly as good as a whole one.
    """
    text = file.read()
    decoder = ExtendedJSON()
    for line, start, end in _checked_spans(text, path):
        yield UserRecord(line, _object_of_json_records(decoder.decode(text[start:end])), size * end // len(text))


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


def _object_of_json_records(value: JSON | RecordFault) -> dict[str, JSON] | RecordFault:
    if isinstance(value, dict | RecordFault):
        return value
    return RecordFault(f"the row is {kind(value)}: expected an object")


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
