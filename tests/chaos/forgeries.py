"""Somebody with MySQL's password but without a key alters rows; `rollcall verify --log` must find each alteration."""

from typing import Final

from events.database import Address, Database
from tests.chaos.system import System

APPEND: Final = """
INSERT INTO events (position, stream_id, version, event_id, type, data, personal, metadata, recorded_at, hash)
SELECT head.position + 1, last.stream_id, last.version + 1, RANDOM_BYTES(16), 'RoleChanged', '{"role":"ADMIN"}',
       RANDOM_BYTES(64), last.metadata, last.recorded_at, RANDOM_BYTES(32)
FROM log_head AS head
JOIN events AS last ON last.position = (
    SELECT MAX(newest.position) FROM events AS newest
    WHERE newest.stream_id = (SELECT user_id FROM claims WHERE kind = 'username' ORDER BY value_hash LIMIT 1)
)
"""
MOVE_HEAD: Final = """
UPDATE log_head JOIN events ON events.position = log_head.position + 1
SET log_head.position = events.position, log_head.hash = events.hash
"""


async def unnoticed(system: System) -> list[str]:
    """The forgeries that verification does not find. Each is undone before the next, except for the last."""
    database = Database.at(Address.parse(system.mysqld.url), size=2)
    try:
        return [
            f"`rollcall verify --log` does not notice {what}"
            for what, forge, undo in FORGERIES
            if not await _noticed(system, database, forge, undo)
        ]
    finally:
        await database.close()


async def _noticed(system: System, database: Database, forge: tuple[str, ...], undo: tuple[str, ...]) -> bool:
    async with database.connection() as connection:
        for statement in forge:
            await connection.execute(statement)
    code, _ = await system.command("verify", "--log")
    async with database.connection() as connection:
        for statement in undo:
            await connection.execute(statement)
    return code != 0


FORGERIES: Final = (
    (
        "a key that was destroyed without a deletion",
        (
            "CREATE TABLE forged_key AS SELECT * FROM user_keys WHERE wrapped IS NOT NULL LIMIT 1",
            "UPDATE user_keys JOIN forged_key USING (user_id) SET user_keys.wrapped = NULL",
        ),
        (
            "UPDATE user_keys JOIN forged_key USING (user_id) SET user_keys.wrapped = forged_key.wrapped",
            "DROP TABLE forged_key",
        ),
    ),
    (
        "a claim that was removed",
        (
            "CREATE TABLE forged_claim AS SELECT * FROM claims WHERE kind = 'email' LIMIT 1",
            "DELETE claims FROM claims JOIN forged_claim USING (kind, value_hash)",
        ),
        ("INSERT INTO claims SELECT * FROM forged_claim", "DROP TABLE forged_claim"),
    ),
    (
        "a claim that was given to another user",
        (
            "CREATE TABLE forged_claim AS SELECT * FROM claims WHERE kind = 'email' LIMIT 1",
            "UPDATE claims JOIN forged_claim USING (kind, value_hash) SET claims.user_id = RANDOM_BYTES(16)",
        ),
        (
            "UPDATE claims JOIN forged_claim USING (kind, value_hash) SET claims.user_id = forged_claim.user_id",
            "DROP TABLE forged_claim",
        ),
    ),
    ("an appended change of a role", (APPEND, MOVE_HEAD), ()),
)
