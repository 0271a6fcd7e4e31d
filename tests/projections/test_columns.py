"""The columns of the MySQL view are as wide as the rules allow, and no name is equal to nothing in their collation."""

import json
import sys
import unicodedata

from events import rules
from events.database import Database
from projections.mysql.view import MySQLView

WIDTHS = """
SELECT column_name, character_maximum_length FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'users' AND data_type = 'varchar'
"""
EMPTY = """
SELECT HEX(one) FROM JSON_TABLE(%s, '$[*]' COLUMNS (one VARCHAR(4) COLLATE utf8mb4_0900_as_ci PATH '$')) AS signs
WHERE one = ''
"""


async def test_every_column_is_as_wide_as_its_rule(database: Database) -> None:
    """A narrower one would put users into quarantine."""
    await MySQLView(database).prepare()

    widths: dict[str, int] = dict(await database.fetch_all(WIDTHS))

    assert widths == {
        "username": rules.USERNAME_CHARACTERS,
        "email": rules.EMAIL_CHARACTERS,
        "name": rules.NAME_CHARACTERS,
        "role": 32,
        "same_username": rules.SAME_USERNAME_CHARACTERS,
        "same_email": rules.SAME_EMAIL_CHARACTERS,
    }


async def test_no_name_of_one_sign_equals_the_empty_text(database: Database) -> None:
    """Each sign and digit, and each letter that has a case: what is accepted has a weight of its own."""
    candidates = (chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    accepted = [
        sign
        for sign in candidates
        if unicodedata.category(sign) not in {"Lo", "Cn"} and rules.sought_name(sign) is not None
    ]

    assert len(accepted) > 10_000
    assert await database.fetch_all(EMPTY, (json.dumps(accepted),)) == []
