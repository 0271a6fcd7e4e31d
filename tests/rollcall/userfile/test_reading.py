"""Formats, refused files and progress."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.userfile import TARGETS, BadRow, FieldMap, UserFileError, UserRow, parse_mapping, read_users
from tests.rollcall.userfile import Write, read, row


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        pytest.param('{"name":"é"}\n{"name":"é"}\n', [1, 2], id="lines"),
        pytest.param('\ufeff{"name":"é"}\n{"name":"é"}', [1, 2], id="BOM, no last newline"),
        pytest.param('\r\n  {"name":"é"}\r\n\r\n \t\r\n{"name":"é"} \r\n', [2, 5], id="CRLF, blank lines"),
        pytest.param('[{"name":"é"},{"name":"é"}]', [1, 1], id="array on one line"),
        pytest.param('\ufeff\n [\r\n{"name":\r\n"é"}\r\n,\r\n\r\n{"name":"é"}\r\n]\r\n', [3, 7], id="array spread"),
        pytest.param("name\né\né\n", [2, 3], id="CSV"),
        pytest.param('\ufeff\r\n"name"\r\né\r\n \t\r\n\r\n"é"', [3, 6], id="CSV with BOM, CRLF, blank lines"),
    ],
)
def test_each_format_is_recognised_by_its_content(write: Write, content: str, lines: list[int]) -> None:
    """JSON lines, arrays and CSV need no suffix, and rows have the file's line numbers."""
    assert read(write(content)) == [row(line, name="é") for line in lines]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
KEYS = st.text().filter(lambda key: not key.startswith("$"))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
KNOWN = st.dictionaries(st.sampled_from(TARGETS), st.text().filter(str.strip))
OTHERS = st.dictionaries(KEYS.filter(lambda key: key not in {*TARGETS, "attributes", "users"}), VALUES, max_size=4)


@settings(deadline=None)
@given(
    users=st.lists(st.tuples(KNOWN, OTHERS), min_size=1, max_size=5),
    indent=st.none() | st.integers(0, 2),
    separators=st.sampled_from([(",", ":"), (", ", ": ")]),
)
def test_json_reads_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    users: list[tuple[dict[str, str], dict[str, Any]]],
    indent: int | None,
    separators: tuple[str, str],
) -> None:
    """Any objects give the same rows as lines or as an array, compact or indented, with the right line numbers."""
    path = tmp_path_factory.mktemp("json") / "users.json"
    documents = [{**others, **known} for known, others in users]
    spread = [json.dumps(document, indent=indent, separators=separators) for document in documents]

    path.write_text("\n".join(json.dumps(document, separators=separators) for document in documents))
    as_lines = read(path)
    path.write_text("[" + ",\n".join(spread) + "]")
    as_array = read(path)

    starts = [1 + sum(text.count("\n") + 1 for text in spread[:index]) for index in range(len(spread))]
    assert as_lines == [row(line, others, **known) for line, (known, others) in enumerate(users, start=1)]
    assert as_array == [row(line, others, **known) for line, (known, others) in zip(starts, users, strict=True)]


FRAGMENTS = ["{", "}", "[", "]", ",", ":", "\n", "\r", '"', ";", "\t", " ", "\x00", "\ufeff", "1e999", "NaN", "null"]
FRAGMENTS += ['"email"', '"$date"', '"$numberLong"', '"$binary"', '"$type"', '"$undefined"', '"-5"', "email", "é", "9"]


@settings(max_examples=500, deadline=None)
@given(
    content=st.binary()
    | st.lists(st.sampled_from(FRAGMENTS)).map(lambda parts: "".join(parts).encode())
    | st.lists(st.sampled_from(FRAGMENTS)).map(lambda parts: ('{"email":' + "".join(parts) + "}\n[{}]").encode())
    | st.lists(st.sampled_from(FRAGMENTS)).map(lambda parts: ("email,x\n" + "".join(parts)).encode())
)
def test_any_bytes_give_rows_or_a_user_file_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Reading any bytes gives rows, bad rows or UserFileError."""
    path = tmp_path_factory.mktemp("bytes") / "users"
    path.write_bytes(content)

    with suppress(UserFileError):
        for row in read_users(path, parse_mapping("username=email")):
            assert 1 <= row.line <= 1 + content.count(b"\n") + content.count(b"\r")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: expected JSON lines, a JSON array, CSV with a header or LDIF"),
        (b"\xef\xbb\xbf \r\n\t\n", "is empty: expected JSON lines, a JSON array, CSV with a header or LDIF"),
        (b"email\na\nn\xe9e\n", "is not UTF-8: line 3 has the byte 0xe9; name its encoding, which for a file that"),
        (b"\xff\xfe{", "is not utf-16: save it as UTF-8, or name its encoding with --encoding"),
        (
            b"{\n  _id: ObjectId('01'),\n}",
            "is JSON that is not well-formed at line 2, column 3: Expecting property name",
        ),
        (b'[{"a":1},\n {"a":2', "is JSON that is not well-formed at line 2, column 8: Expecting"),
        (b'[{"a":1},\n]', "is JSON that is not well-formed at line 2, column 1: Expecting value"),
        (b'[{"a":1}\n {}]', "is JSON that is not well-formed at line 2, column 2: Expecting ',' or ']'"),
        (b"[]\n[]", "is JSON that is not well-formed at line 2, column 1: Extra data after the array"),
        (b'{"users": [{"email": "a@b"}, ', "is JSON that is not well-formed at line 1, column 30: Expecting value"),
        (b'{"a": [{}], "b": [{}]}', "is one object with several arrays of objects, 'a', 'b': expected the users under"),
        (b"[" * 100_000, "has an item that is nested too deeply to be read: flatten it"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_before_its_first_row(write: Write, content: bytes, message: str) -> None:
    """A file that cannot be used is refused before its first row."""
    path = write(content)

    with pytest.raises(UserFileError) as caught:
        next(read_users(path, FieldMap()))

    assert str(caught.value).startswith(f"{path} {message}")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"email": "a"', "column 14: not well-formed JSON: Expecting ',' delimiter"),
        ('{"x": ' + "9" * 5000 + "}", "a number has too many digits: shorten it, or write it as a string"),
        ('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply to be read: flatten it"),
    ],
)
def test_a_bad_first_line_is_not_mistaken_for_a_multi_line_object(write: Write, line: str, reason: str) -> None:
    """The other JSON lines are read although the first one is invalid."""
    assert read(write(line + '\n{"email": "b"}\n')) == [BadRow(1, reason), row(2, email="b")]


def test_missing_files_folders_and_false_json_are_refused(tmp_path: Path) -> None:
    """The error names the path."""
    text = tmp_path / "users.JSON"
    text.write_text("email\na\n")

    with pytest.raises(UserFileError, match=r"absent cannot be read: No such file"):
        read_users(tmp_path / "absent", FieldMap())
    with pytest.raises(UserFileError, match=r"is not a file: expected a file"):
        read_users(tmp_path, FieldMap())
    with pytest.raises(UserFileError, match=r"users\.JSON is called JSON but begins with 'e': expected \{ or \["):
        read_users(text, FieldMap())


@pytest.mark.parametrize("form", ["lines", "array", "csv"])
def test_bytes_read_rise_to_the_size_of_the_file(write: Write, form: str) -> None:
    """`bytes_read` never decreases, is past the middle after half of the rows, and ends at the size of the file."""
    items = [json.dumps({"email": f"é{number}"}) for number in range(20_000)]
    array = "[" + ",".join(items) + "]"
    content = {"lines": "\n".join(items), "array": array, "csv": "email\n" + "é\n" * 20_000}[form]
    users = read_users(write(content), FieldMap())

    seen = [users.bytes_read, *(users.bytes_read for _ in users), users.bytes_read]

    assert seen == sorted(seen)
    assert seen[0] == 0
    assert users.size * 0.4 < seen[10_000] < users.size * 0.75
    assert seen[-1] == users.size == len(content.encode())


def test_a_huge_line_is_read(write: Write) -> None:
    """A line of ten million characters is one row."""
    (only,) = read(write(json.dumps({"email": "a", "x": "n" * 10_000_000})))

    assert isinstance(only, UserRow)
    assert only.attributes == {"x": "n" * 10_000_000}


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ('{"users": [{"name":"é"}, {"name":"é"}]}', [1, 1]),
        ('{\n"a": 1, "b": [1, 2], "c": [],\n"users": [\n{"name":"é"},\n{"name":\n"é"}]\n, "z": {}}', [4, 5]),
        ('{"members": [\n{"name":"é"},\n{"name":"é"}]}', [2, 3]),
        ('{\n"name":"é"\n}\n{"name":\n"é"}', [1, 4]),
        ('{"name":"é"}{"name":"é"}', [1, 1]),
        ('{"name":"é","orders":[{}],"username":""}\n{"name":"é"}', [1, 2]),
    ],
)
def test_users_are_found_under_a_key_and_one_after_another(write: Write, content: str, lines: list[int]) -> None:
    """Wrapped exports and objects that are spread over lines need no conversion."""
    found = [(one.line, one.name) for one in read(write(content)) if isinstance(one, UserRow)]

    assert found == [(line, "é") for line in lines]


def test_elements_of_an_array_are_numbered(write: Write) -> None:
    """All of them may be on one line."""
    assert [one.element for one in read(write('[{"name":"a"},5,{"name":"b"}]'))] == [1, 2, 3]


@pytest.mark.parametrize("begins", ['{"email":"', "email\n", "dn: x\nuid: "])
def test_a_line_that_is_too_long_costs_no_memory(write: Write, monkeypatch: pytest.MonkeyPatch, begins: str) -> None:
    """It is refused, and the rows after it are read."""
    for name in ("documents.LONGEST_ITEM", "csv.LONGEST_LINE", "ldif.LONGEST_ENTRY"):
        monkeypatch.setattr(f"rollcall.userfile.{name}", 1_000)
    follows = {"{": '{"email":"b"}', "e": "b", "d": "\ndn: x\nobjectClass: person\nmail: b\n"}[begins[0]]

    rows = read(write(begins + "x" * 3_000_000 + "\n" + follows + "\n"))

    assert isinstance(rows[0], BadRow)
    assert len(rows[0].reason) < 300
    assert isinstance(rows[-1], UserRow)
    assert rows[-1].email == "b"


def test_a_large_document_is_read_in_pieces(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a piece ends, in a number, a name, a text or between two users."""
    content = json.dumps({"realm": "x", "users": [{"email": f"é{n}@x", "n": 10**12 + n} for n in range(500)]})
    for size in (1, 7, 64):
        monkeypatch.setattr("rollcall.userfile.documents.PIECE", size)
        rows = [one for one in read(write(content)) if isinstance(one, UserRow)]

        assert [(one.email, one.attributes["n"]) for one in rows] == [(f"é{n}@x", 10**12 + n) for n in range(500)]
