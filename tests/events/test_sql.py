"""Literals: whatever a value holds, it reaches MySQL as that value and as nothing else."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events import sql
from tests.log import Log

HOSTILE = st.sampled_from(
    [
        "'",
        '"',
        "\\",
        "\\'",
        "';--",
        "X'41'",
        "\0",
        "\x1a",
        "%s",
        "%",
        "/*",
        "*/",
        "`",
        "\n",
        "😀",
        "\u2028",
        "ﬀ",
        "NULL",
    ]
)
texts = st.lists(HOSTILE | st.text(st.characters(codec="utf-8")), max_size=6).map("".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            texts,
            st.none() | st.binary(max_size=50) | texts.map(str.encode),
            st.integers(-(2**63), 2**63 - 1),
            st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31)),  # noqa: DTZ001
        ),
        min_size=1,
        max_size=5,
    )
)
async def test_every_value_comes_back_from_mysql_as_it_went_in(
    log: Log, rows: list[tuple[str, bytes | None, int, datetime]]
) -> None:
    """In columns of the kinds that `events` has, several rows in one statement, with hostile neighbours."""
    await log.database.execute("DROP TABLE IF EXISTS kept")
    await log.database.execute(
        "CREATE TABLE kept (id INT AUTO_INCREMENT PRIMARY KEY, t MEDIUMTEXT, b MEDIUMBLOB, n BIGINT, d DATETIME(6)) "
        "DEFAULT CHARACTER SET utf8mb4"
    )
    values = ", ".join(f"({sql.text(t)}, {sql.binary(b)}, {sql.integer(n)}, {sql.instant(d)})" for t, b, n, d in rows)

    await log.database.execute(f"INSERT INTO kept (t, b, n, d) VALUES {values}")

    assert await log.database.fetch_all("SELECT t, b, n, d FROM kept ORDER BY id") == rows


@given(texts, st.binary(), st.integers())
def test_a_literal_is_made_of_digits_and_the_letters_a_to_f(text: str, data: bytes, number: int) -> None:
    """There is nothing in it that could end it: the safety does not hang on escaping."""
    assert re.fullmatch(r"X'[0-9a-f]*'", sql.text(text))
    assert re.fullmatch(r"X'[0-9a-f]*'", sql.binary(data))
    assert re.fullmatch(r"-?[0-9]+", sql.integer(number))
    assert re.fullmatch(r"X'[0-9a-f]*'", sql.instant(datetime.now(UTC)))


def test_what_is_not_a_whole_number_is_not_written_as_one() -> None:
    """An object that prints itself as SQL is no number."""

    class Sneaky(int):
        def __str__(self) -> str:
            return "1; DROP TABLE events"

    for value in (Sneaky(1), True, 1.5, "1"):
        with pytest.raises(TypeError):
            sql.integer(value)  # type: ignore[arg-type]
