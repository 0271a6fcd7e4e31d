"""Raw INSERTs: the rate at which the server accepts prepared statements from one connection.

One rate is for the event rows alone, 512 in a transaction. The other is for 512 registrations in a transaction, with
their claims and keys. The tables have the same columns and indexes as the log.
"""

import secrets
import time
from datetime import datetime
from typing import Final
from uuid import UUID

from events import statements
from events.chain import Link, StoredRow
from events.claims import HashedClaim
from events.database import Database
from events.vault import KeyRow

ROWS: Final = 512
STATEMENTS: Final = 12
PERSONAL_BYTES: Final = 430
"""Size of the sealed personal data of a measured registration."""
INSTANT: Final = datetime(2026, 11, 22)  # noqa: DTZ001 - as DATETIME columns give it

COPIES: Final = ("events", "claims", "user_keys")
"""Tables that are copied, so that the raw rows do not break the log."""


async def make_copies(database: Database) -> None:
    """Create the tables for the raw rows."""
    for table in COPIES:
        await database.execute(f"CREATE TABLE IF NOT EXISTS raw_{table} LIKE {table}")


async def raw_rates(database: Database) -> tuple[float, float]:
    """Events a second without claims and keys, and registrations a second with them."""
    return (
        await _rate(database, [[statement] for statement, _ in _batches(STATEMENTS)]),
        await _rate(database, [["BEGIN", events, *rest, "COMMIT"] for events, rest in _batches(STATEMENTS // 2)]),
    )


async def _rate(database: Database, transactions: list[list[str]]) -> float:
    started = time.perf_counter()
    async with database.connection() as connection:
        for statements in transactions:
            await connection.run(statements)
    return ROWS * len(transactions) / (time.perf_counter() - started)


def _batches(count: int) -> list[tuple[str, list[str]]]:
    return [_batch([UUID(bytes=secrets.token_bytes(16)) for _ in range(ROWS)]) for _ in range(count)]


def _batch(users: list[UUID]) -> tuple[str, list[str]]:
    """The statement that inserts the first events of these users, and those that insert the rest."""
    position = secrets.randbits(40)
    events = statements.insert_events(_link(position + number, user) for number, user in enumerate(users))
    claims = [(HashedClaim(kind, secrets.token_bytes(32)), user) for user in users for kind in ("username", "email")]
    keys = [KeyRow(user, secrets.token_bytes(60), None, secrets.token_bytes(8)) for user in users]
    return _into_copies(events), [
        _into_copies(statements.take_claims(claims)),
        _into_copies(statements.keep_keys(keys)),
    ]


def _link(position: int, user: UUID) -> Link:
    personal, event_id = secrets.token_bytes(PERSONAL_BYTES), secrets.token_bytes(16)
    row = StoredRow(position, user.bytes, 1, event_id, "UserRegistered", "x" * 90, personal, "x" * 12, INSTANT)
    return Link(row, secrets.token_bytes(32))


def _into_copies(statement: str) -> str:
    return statement.replace("INSERT INTO ", "INSERT INTO raw_", 1)
