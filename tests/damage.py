"""Damage to the log by somebody who may write to MySQL: real rows are altered, and the triggers do not prevent it."""

from uuid import UUID

from events.database import Database

ALTER = "UPDATE events SET personal = REVERSE(personal) WHERE stream_id = %s ORDER BY version DESC LIMIT 1"
INSERT = """
INSERT INTO events (position, stream_id, version, event_id, type, data, personal, metadata, recorded_at, hash)
SELECT MAX(position) + 1, %s, MAX(IF(stream_id = %s, version, 0)) + 1, RANDOM_BYTES(16), 'UserUpdated',
       '{"fields":["name"]}', RANDOM_BYTES(64), '{"schema":1}', UTC_TIMESTAMP(6), RANDOM_BYTES(32)
FROM events
"""
MOVE_HEAD = """
UPDATE log_head SET position = position + 1, hash = (SELECT hash FROM events ORDER BY position DESC LIMIT 1)
"""


async def alter_newest(database: Database, user_id: UUID) -> None:
    """Alter the personal data of the user's newest event; done twice, it is as it was."""
    await database.execute("DROP TRIGGER IF EXISTS events_refuse_update")
    await database.execute(ALTER, (user_id.bytes,))


async def alter_key(database: Database, user_id: UUID) -> None:
    """Alter the user's wrapped key, so none of its events can be opened; done twice, it is as it was."""
    await database.execute("UPDATE user_keys SET wrapped = REVERSE(wrapped) WHERE user_id = %s", (user_id.bytes,))


async def append_damaged(database: Database, user_id: UUID) -> int:
    """Append an event of the user that nobody can open; its position."""
    async with database.transaction() as transaction:
        await transaction.fetch_one("SELECT position FROM log_head WHERE id = 1 FOR UPDATE")  # beside writers
        await transaction.execute(INSERT, (user_id.bytes, user_id.bytes))
        await transaction.execute(MOVE_HEAD)
        row = await transaction.fetch_one("SELECT position FROM log_head")
    assert row is not None
    return int(row[0])
