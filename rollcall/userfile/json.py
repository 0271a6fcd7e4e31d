"""The plain values of a JSON text, MongoDB's Extended JSON (v1, v2) included.

Stricter than `json.loads`, which would change what the file says: a key that occurs twice loses its first
value, NaN and Infinity are not JSON, and 1e999 turns into infinity. Each is a fault here, with its path.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from rollcall.userfile.rows import JSON, RecordFault, shown

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ExtendedJSON:
    """A decoder for one thread. A hook leaves the fault that it finds in the tree, where the value would be.

    The hooks of `json` are called from the inside out and do not know their path. So the tree is searched for a
    fault from the top afterwards, and only if a hook reported one.
    """

    def __init__(self) -> None:
        self._faulty = False
        self._decoder = json.JSONDecoder(
            object_pairs_hook=lambda pairs: self._watched(_object(pairs)),
            parse_float=lambda digits: self._watched(_float(digits)),
            parse_constant=lambda name: self._watched(_constant(name)),
        )

    def decode(self, text: str) -> JSON | RecordFault:
        """The plain value of a JSON text, or why it has none. Lone surrogates and NUL come through as they are."""
        self._faulty = False
        try:
            value = self._decoder.decode(text)
            return _placed(value) if self._faulty else value
        except json.JSONDecodeError as error:
            return RecordFault(f"column {error.colno}: not well-formed JSON: {error.msg}")
        except RecursionError:
            return RecordFault("nested too deeply to be read: flatten it")
        except ValueError:  # int() refuses thousands of digits, since they take quadratic time
            return RecordFault("a number has too many digits: shorten it, or write it as a string")

    def _watched(self, value: Any) -> Any:
        if isinstance(value, RecordFault):
            self._faulty = True
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
        return known.plain(msgspec.convert(wrapper[keys[0]] if len(keys) == 1 else wrapper, known.holds))
    except (msgspec.ValidationError, ValueError, OverflowError):
        return RecordFault(f"{' with '.join(keys)} does not hold {known.expected}")


class _Binary(msgspec.Struct, forbid_unknown_fields=True):
    base64: str
    subtype: str = msgspec.field(name="subType")


class _BinaryV1(msgspec.Struct):
    base64: str = msgspec.field(name="$binary")
    subtype: str = msgspec.field(name="$type")


class _Regex(msgspec.Struct, forbid_unknown_fields=True):
    pattern: str
    options: str


class _RegexV1(msgspec.Struct):
    pattern: str = msgspec.field(name="$regex")
    options: str = msgspec.field(name="$options")


_Whole: TypeAlias = int | Annotated[str, msgspec.Meta(pattern=r"\A-?[0-9]{1,19}\Z")]


class _Timestamp(msgspec.Struct, forbid_unknown_fields=True):
    t: _Whole
    i: _Whole


def _double(value: float | str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _date(value: int | str) -> str:
    """ISO 8601 in UTC, without a fraction when it is zero. A date without an offset is UTC, as BSON dates are."""
    if isinstance(value, int):
        moment = EPOCH + timedelta(milliseconds=value)
    else:
        parsed = datetime.fromisoformat(value)
        moment = parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    if moment.microsecond == 0:
        precision = "seconds"
    else:
        precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


@dataclass(frozen=True, slots=True)
class _Wrapper:
    """The type that a wrapper holds (of its one value, or of the whole wrapper), and how that becomes plain."""

    holds: Any
    expected: str
    plain: Callable[[Any], JSON]


_TEXT = _Wrapper(str, "a string", str)
_WHOLE = _Wrapper(_Whole, "a whole number of at most 19 digits", int)

# By the wrapper's sorted keys. $minKey, $maxKey, $dbPointer and $code with $scope are missing on purpose: no plain
# value says what they mean. Not bson.json_util: it makes BSON values, which would have to become plain again, refuses
# short object ids, and accepts NaN, any $undefined and unknown keys.
WRAPPERS: dict[tuple[str, ...], _Wrapper] = {
    ("$oid",): _TEXT,
    ("$uuid",): _TEXT,
    ("$symbol",): _TEXT,
    ("$code",): _TEXT,
    ("$numberDecimal",): _TEXT,
    ("$numberInt",): _WHOLE,
    ("$numberLong",): _WHOLE,
    ("$numberDouble",): _Wrapper(float | str, "a finite number", _double),
    ("$date",): _Wrapper(int | str, "an ISO 8601 date or milliseconds since 1970, in the years 1 to 9999", _date),
    ("$binary",): _Wrapper(_Binary, "base64 and subType as strings", lambda binary: binary.base64),
    ("$binary", "$type"): _Wrapper(_BinaryV1, "base64 and type as strings", lambda binary: binary.base64),
    ("$regularExpression",): _Wrapper(_Regex, "pattern and options as strings", lambda r: f"/{r.pattern}/{r.options}"),
    ("$options", "$regex"): _Wrapper(_RegexV1, "pattern and options as strings", lambda r: f"/{r.pattern}/{r.options}"),
    ("$timestamp",): _Wrapper(_Timestamp, "whole numbers t and i", lambda at: {"t": int(at.t), "i": int(at.i)}),
    ("$undefined",): _Wrapper(Literal[True], "true", lambda _: None),
    ("$id", "$ref"): _Wrapper(dict, "a reference", lambda held: {"ref": held["$ref"], "id": held["$id"]}),
    ("$db", "$id", "$ref"): _Wrapper(
        dict, "a reference", lambda held: {"ref": held["$ref"], "id": held["$id"], "db": held["$db"]}
    ),
}
