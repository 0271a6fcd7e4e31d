"""JSON rows: the plain value of each wrapper, and bad rows that leave the other rows alone."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from rollcall.userfile import BadRow, UserRow
from tests.rollcall.userfile import Write, read, row

CUSTOMERS = """\
{"_id":{"$oid":"0123456789abcdef01234567"},"username":"okafor","name":"Ada Okafor","address":"1 Quay\\nPort, PO 1","birthdate":{"$date":{"$numberLong":"226117231000"}},"email":"ada@example.org","active":true,"accounts":[{"$numberInt":"371138"},{"$numberInt":"324287"}],"tier_and_details":{"0df0":{"tier":"Bronze","id":"0df0","active":true,"benefits":["sports tickets"]}}}
{"_id":{"$oid":"0123456789abcdef01234568"},"username":"blum","name":"Ben Blum","address":"Unit 2","birthdate":{"$date":{"$numberLong":"-108052673500"}},"email":"ben@example.org","accounts":[],"tier_and_details":{}}
"""  # noqa: E501


def value(path: Path) -> Any:
    """The attribute `x` of the only row, or the reason why the row is bad."""
    (only,) = read(path)
    return only.reason if isinstance(only, BadRow) else only.attributes["x"]


def test_a_mongodb_export_becomes_plain_rows(write: Write) -> None:
    """Canonical Extended JSON, one document per line, becomes plain values under the same names."""
    first, second = read(write(CUSTOMERS))

    assert first == row(
        1,
        username="okafor",
        email="ada@example.org",
        name="Ada Okafor",
        attributes={
            "_id": "0123456789abcdef01234567",
            "address": "1 Quay\nPort, PO 1",
            "birthdate": "1977-03-02T02:20:31Z",
            "active": True,
            "accounts": [371138, 324287],
            "tier_and_details": {
                "0df0": {"tier": "Bronze", "id": "0df0", "active": True, "benefits": ["sports tickets"]}
            },
        },
    )
    assert isinstance(second, UserRow)
    assert second.line == 2
    assert second.attributes["birthdate"] == "1966-07-30T09:22:06.500Z"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"email": ', "column 10: not well-formed JSON: Expecting value"),
        ('{"email": "a"} {}', "column 16: not well-formed JSON: Extra data"),
        ("[]", "the row is an array: expected an object"),
        ("5", "the row is a number: expected an object"),
        ("null", "the row is null: expected an object"),
        ('{"$oid": "0123"}', "the row is a string: expected an object"),
        ('{"a": 1, "b": 2, "a": 1}', "the key 'a' occurs twice: remove one of them"),
        ('{"x": [1, {"y": {"a": 1, "a": 2}}]}', "'x'[1].'y': the key 'a' occurs twice: remove one of them"),
        ('{"x": NaN}', "'x': NaN is not JSON: use null, or leave the field out"),
        ('{"x": -Infinity}', "'x': -Infinity is not JSON: use null, or leave the field out"),
        ('{"x": 1e999}', "'x': a number too large for a double: write it as a string"),
        ('{"x": ' + "9" * 5000 + "}", "a number has too many digits: shorten it, or write it as a string"),
        ('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply to be read: flatten it"),
        ('{"username": 5}', "username is a number: expected a string or nothing"),
        ('{"email": ["a"]}', "email is an array: expected a string or nothing"),
        ('{"name": {"first": "Ada"}}', "name is an object: expected a string or nothing"),
        ('{"role": true}', "role is true or false: expected a string or nothing"),
        (
            '{"x": 1, "attributes": {"x": 1}}',
            "'x' is both a field of the row and inside its attributes: rename or remove one",
        ),
    ],
)
def test_a_bad_json_line_is_one_bad_row(write: Write, line: str, reason: str) -> None:
    """A line that cannot be read gives one bad row with its line and reason; the lines around it are read."""
    rows = read(write(f'{{"email":"a"}}\n{line}\n{{"email":"b"}}\n'))

    assert rows == [row(1, email="a"), BadRow(2, reason), row(3, email="b")]


def test_a_bad_item_of_an_array_is_one_bad_row(write: Write) -> None:
    """An item that is well-formed but cannot be used is one bad row, with the line on which it starts."""
    rows = read(write('[{"email": "a"},\n 5,\n {"x":\n NaN},\n {"x": ' + "9" * 5000 + '},\n {"email": "b"}]'))

    assert rows == [
        row(1, email="a"),
        BadRow(2, "the row is a number: expected an object"),
        BadRow(3, "'x': NaN is not JSON: use null, or leave the field out"),
        BadRow(5, "a number has too many digits: shorten it, or write it as a string"),
        row(6, email="b"),
    ]


def test_reasons_repeat_no_values_and_escape_names(write: Write) -> None:
    """A reason shows no value of the row; a field's name is cut and its control characters are escaped."""
    name = "\x1b[31m" + "n" * 100
    rows = read(write(json.dumps({"password_hash": 12345}) + "\n" + json.dumps({name: {"$oid": 98765}}) + "\n"))

    reasons = [bad.reason for bad in rows if isinstance(bad, BadRow)]
    assert reasons == [
        "password_hash is a number: expected a string or nothing",
        f"'\\x1b[31m{'n' * 54}…': $oid does not hold a string",
    ]


@pytest.mark.parametrize(
    ("wrapped", "plain"),
    [
        ('{"$oid": "0123456789abcdef01234567"}', "0123456789abcdef01234567"),
        ('{"$numberInt": "-5"}', -5),
        ('{"$numberLong": "9223372036854775807"}', 9223372036854775807),
        ('{"$numberLong": 7}', 7),
        ('{"$numberDouble": "1.5"}', 1.5),
        ('{"$numberDouble": 2}', 2.0),
        ('{"$numberDecimal": "1.50"}', "1.50"),
        ('{"$uuid": "c8edabc3-f738-4ca3-b68d-ab92a91478a3"}', "c8edabc3-f738-4ca3-b68d-ab92a91478a3"),
        ('{"$symbol": "s"}', "s"),
        ('{"$code": "f()"}', "f()"),
        ('{"$binary": {"base64": "AQI=", "subType": "00"}}', "AQI="),
        ('{"$type": "00", "$binary": "AQI="}', "AQI="),
        ('{"$regularExpression": {"pattern": "^a", "options": "i"}}', "/^a/i"),
        ('{"$regex": "^a", "$options": ""}', "/^a/"),
        ('{"$timestamp": {"t": 5, "i": {"$numberInt": "1"}}}', {"t": 5, "i": 1}),
        ('{"$undefined": true}', None),
        ('{"$ref": "users", "$id": {"$oid": "01"}}', {"ref": "users", "id": "01"}),
        ('{"$db": "d", "$ref": "users", "$id": 1}', {"ref": "users", "id": 1, "db": "d"}),
        ('[{"y": [{"$numberInt": "1"}]}]', [{"y": [1]}]),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ('"\\ud800 \\u0000"', "\ud800 \x00"),
    ],
)
def test_wrappers_become_plain_values(write: Write, wrapped: str, plain: Any) -> None:
    """Extended JSON wrappers in canonical, relaxed and legacy form become plain values."""
    found = value(write(f'{{"email": "a", "x": {wrapped}}}'))

    assert found == plain
    assert type(found) is type(plain)


@pytest.mark.parametrize(
    ("held", "iso"),
    [
        ('{"$numberLong": "226117231000"}', "1977-03-02T02:20:31Z"),
        ('{"$numberLong": "1"}', "1970-01-01T00:00:00.001Z"),
        ('{"$numberLong": "-1"}', "1969-12-31T23:59:59.999Z"),
        ('{"$numberLong": "-62135596800000"}', "0001-01-01T00:00:00Z"),
        ("253402300799999", "9999-12-31T23:59:59.999Z"),
        ('"1977-03-02T02:20:31Z"', "1977-03-02T02:20:31Z"),
        ('"1977-03-02T02:20:31.000Z"', "1977-03-02T02:20:31Z"),
        ('"1977-03-02T02:20:31.070+0200"', "1977-03-02T00:20:31.070Z"),
        ('"1977-03-02T02:20:31.000007-01:00"', "1977-03-02T03:20:31.000007Z"),
    ],
)
def test_dates_become_iso_8601_in_utc(write: Write, held: str, iso: str) -> None:
    """A date in milliseconds (also before 1970) or with any offset becomes UTC text; a zero fraction is dropped."""
    assert value(write(f'{{"x": {{"$date": {held}}}}}')) == iso


def test_a_date_without_an_offset_is_utc_wherever_it_is_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own time zone does not change the meaning of a date."""
    path = write('{"x": {"$date": "1977-03-02T02:20:31"}}')

    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XXX-5")
        time.tzset()
        found = value(path)
    time.tzset()

    assert found == "1977-03-02T02:20:31Z"


@pytest.mark.parametrize(
    "held",
    [
        '{"$numberLong": "253402300800000"}',
        '{"$numberLong": "-62135596800001"}',
        '{"$numberLong": "-9223372036854775808"}',
        str(10**400),
        '"0001-01-01T00:00:00+05:00"',
        '"1977-02-30T00:00:00Z"',
        '"yesterday"',
        "1.5",
        "true",
        "null",
    ],
)
def test_invalid_dates_are_refused(write: Write, held: str) -> None:
    """A date outside the years 1 to 9999, or a value that is no date, gives a bad row."""
    reason = value(write(f'{{"x": {{"$date": {held}}}}}'))

    assert reason == ("'x': $date does not hold an ISO 8601 date or milliseconds since 1970, in the years 1 to 9999")


@pytest.mark.parametrize(
    ("wrapped", "reason"),
    [
        ('{"$oid": 5}', "$oid does not hold a string"),
        ('{"$numberInt": "5.0"}', "$numberInt does not hold a whole number of at most 19 digits"),
        ('{"$numberInt": true}', "$numberInt does not hold a whole number of at most 19 digits"),
        ('{"$numberLong": "99999999999999999999"}', "$numberLong does not hold a whole number of at most 19 digits"),
        ('{"$numberDouble": "NaN"}', "$numberDouble does not hold a finite number"),
        ('{"$numberDouble": "-Infinity"}', "$numberDouble does not hold a finite number"),
        ('{"$numberDouble": "1e999"}', "$numberDouble does not hold a finite number"),
        ('{"$binary": {"base64": "AQI="}}', "$binary does not hold base64 and subType as strings"),
        ('{"$binary": "AQI=", "$type": [NaN]}', "$binary with $type does not hold base64 and type as strings"),
        ('{"$undefined": [NaN]}', "$undefined does not hold true"),
        ('{"$timestamp": {"t": 5}}', "$timestamp does not hold whole numbers t and i"),
        ('{"$date": {"$numberLong": "x"}}', "$numberLong does not hold a whole number of at most 19 digits"),
    ],
)
def test_wrappers_with_invalid_values_are_refused(write: Write, wrapped: str, reason: str) -> None:
    """A wrapper that holds the wrong type is refused with the field's path."""
    assert value(write(f'{{"x": {wrapped}}}')) == f"'x': {reason}"


@pytest.mark.parametrize(
    ("wrapped", "key"),
    [
        ('{"$minKey": 1}', "$minKey"),
        ('{"$code": "f()", "$scope": {}}', "$code"),
        ('{"$price": 1}', "$price"),
        ('{"price": 1, "$currency": "EUR"}', "$currency"),
    ],
)
def test_unknown_dollar_keys_are_refused(write: Write, wrapped: str, key: str) -> None:
    """A key with a dollar that has no plain value is refused, not stored as data."""
    assert value(write(f'{{"x": {wrapped}}}')) == (
        f"'x': '{key}' has no plain value: remove it, or write the field as a string or number"
    )
