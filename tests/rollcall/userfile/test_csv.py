"""CSV rows and headers."""

import csv
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.userfile import BadRow, UserFileError
from tests.rollcall.userfile import Write, read, row


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_cells_are_strings_under_their_header(write: Write, delimiter: str) -> None:
    """Cells are taken unchanged, also across lines; an empty cell is no value; a row's line is its first."""
    table = [
        'email| full name |address|",;\tage"',
        'a@b|"O""Neil"|"1 Quay',
        "",
        'Port"|7',
        "|x||0",
        " c@d |||",
    ]

    rows = read(write("\r\n".join(table).replace("|", delimiter)), "name=full name")

    assert rows == [
        row(2, email="a@b", name='O"Neil', attributes={"address": "1 Quay\r\n\r\nPort", ",;\tage": "7"}),
        row(5, name="x", attributes={",;\tage": "0"}),
        row(6, email=" c@d "),
    ]


@settings(deadline=None)
@given(
    table=st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=5),
    delimiter=st.sampled_from(",;\t"),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_csv_reads_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]], delimiter: str, line_end: str
) -> None:
    """Any cells, including line ends and quotes, are read back unchanged, with the right line numbers."""
    path = tmp_path_factory.mktemp("csv") / "users.csv"
    starts = []
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL)
        writer.writerow(["email", "x"])
        for cells in table:
            file.flush()
            starts.append(1 + len(re.findall(r"\r\n|\r|\n", path.read_bytes().decode())))
            writer.writerow(cells)

    rows = read(path)

    expected = [({"email": email} if email.strip() else {}, {"x": x} if x else {}) for email, x in table]
    assert rows == [row(line, x, **email) for line, (email, x) in zip(starts, expected, strict=True)]


def test_a_bad_csv_row_affects_no_other(write: Write) -> None:
    """A value without a column or a broken quote is one bad row; the next rows are read."""
    rows = read(write('email,name\na\nb,B,C\n"c" x,C\nd,D\n"e,E\nf,F\n'))

    assert rows[:2] == [
        row(2, email="a"),
        BadRow(3, "expected 2 columns, as in the header, found a value in column 3"),
    ]
    assert (rows[3], rows[5]) == (row(5, email="d", name="D"), row(7, email="f", name="F"))
    broken = [bad for bad in rows[2:] if isinstance(bad, BadRow)]
    assert [bad.line for bad in broken] == [4, 6]
    assert all(bad.reason.endswith("(is a quote left open or unpaired?)") for bad in broken)


def test_an_open_quote_does_not_consume_the_file(write: Write) -> None:
    """Every line after it is read as a row of its own."""
    rows = read(write('email,name\n"a,A\n' + "b,B\n" * 40_000))

    assert isinstance(rows[0], BadRow)
    assert rows[0].line == 2
    assert rows[1:] == [row(line, email="b", name="B") for line in range(3, 40_003)]


def test_open_quotes_in_every_line_take_linear_time(write: Write) -> None:
    """Lines are read again only so often; then the lines that a quote swallowed are left out, and counted."""
    rows = read(write("email,name\n" + 'x",y,"\n' * 60_000 + "b,B\n"))

    assert all(isinstance(one, BadRow) for one in rows[:-1])
    assert "lines after it are left out too" in str(rows)


@pytest.mark.parametrize(
    ("content", "mapping", "message"),
    [
        ("email,name,email\n", None, "has more than one column called 'email': rename one of them"),
        ("email, email \n", None, "has more than one column called 'email': rename one of them"),
        (
            "email,Logon\n",
            "username=login",
            "has no column 'login', which an option names: the header has 'email', 'Logon'",
        ),
        ('email,"name', None, "has a header that is not well-formed CSV: unexpected end of data"),
        (
            "<users>\n",
            None,
            "is neither JSON (its text begins with { or [), nor LDIF, nor CSV with a column for any of",
        ),
    ],
)
def test_an_invalid_csv_header_is_refused(write: Write, content: str, mapping: str | None, message: str) -> None:
    """A header with duplicate, unnamed or missing columns refuses the file before any row is read."""
    path = write(content)

    with pytest.raises(UserFileError) as caught:
        read(path, mapping)

    assert str(caught.value).startswith(f"{path} {message}")


def test_spreadsheets_add_and_leave_out_cells(write: Write) -> None:
    """Columns without a name may be empty; a value there is refused, since nobody could say what it is."""
    rows = read(write("email;name;;\na@b;A;;\nc@d\ne@f;E;;;;\ng@h;G;x;\n"))

    assert rows == [
        row(2, email="a@b", name="A"),
        row(3, email="c@d"),
        row(4, email="e@f", name="E"),
        BadRow(5, "column 3 has a value and no name in the header: name it there"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "sep=;\r\nemail;name\r\na@b;A, a\r\n",
        '"sep=;"\r\nemail;name\r\na@b;A, a\r\n',
        "sep=|\nemail|name\na@b|A, a\n",
        "sep=^\nemail^name\na@b^A, a\n",
        "email|name\r\na@b|A, a\r\n".encode("utf-16"),
        "email\tname\na@b\tA, a\n".encode("utf-16-le"),
        "email;name\na@b;A, a\n".encode("utf-16-be"),
        b"\xef\xbb\xbfE-Mail;NAME\r\na@b;A, a\r\n",
    ],
)
def test_what_spreadsheets_write_is_read(write: Write, content: str | bytes) -> None:
    """Its `sep=` line, its encodings, and headers in other letters."""
    assert [(one.email, one.name) for one in read(write(content)) if not isinstance(one, BadRow)] == [("a@b", "A, a")]
