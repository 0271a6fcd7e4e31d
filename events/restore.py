"""Restore a log from an export, into an empty one.

All of it is one transaction, from the look whether the log is empty to the last claim. So whatever goes wrong in the
middle, a line that was altered or the end of this process, MySQL leaves the log as empty as it was; nobody ever reads
half of it; and the file is read once, so it can come from a pipe. The alternative, to commit batch by batch, leaves a
log behind that looks whole and lacks its end, on which users would register. What one transaction costs: MySQL keeps
it in a temporary file until COMMIT, smaller than the export, for its binary log; and servers in group replication
limit the size of a transaction.

The head's row is locked meanwhile, so an append that comes waits, and then finds the restored log.

Claims are made anew from the restored users, under the claims' key that this log has or gets here: otherwise every
username would be free. This opens every event, so a restored log is one that can be read.

Without keys a log can be kept and verified, and nothing else: nobody can tell what is in it, nor which usernames are
taken. Whoever wants that must say so.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from asyncmy.errors import DataError, IntegrityError

from events import batch
from events.batch import LOCK_HEAD
from events.chain import START, ChainProgress, Head, Link
from events.claims import claims_of, open_claims_key
from events.database import Connection, Database
from events.errors import BadExport, DamagedKey, LogNotEmpty, UnreadableEvent
from events.event_types import Forgotten, Recorded, UserDeleted
from events.export import EventLine, ExportReader, Header, KeyLine
from events.store import EventStore
from events.user import User, evolve
from events.vault import Vault

BATCH_LINES: Final = 500
BATCH_BYTES: Final = 4 * 1024 * 1024
"""Of lines; a statement is at most twice that and one line, far below the server's max_allowed_packet of 64 MiB."""
PAGE_USERS: Final = 500

ANYTHING = "SELECT EXISTS(SELECT 1 FROM events), EXISTS(SELECT 1 FROM user_keys), EXISTS(SELECT 1 FROM claims)"
FORGET_KEYS = "DELETE FROM user_keys"
COUNT_USERS = "SELECT COUNT(*) FROM user_keys"
NEXT_USERS = "SELECT DISTINCT stream_id FROM events WHERE stream_id > %s ORDER BY stream_id LIMIT %s"


async def restore_log(
    database: Database, vault: Vault, lines: AsyncIterator[bytes], progress: ChainProgress, *, with_keys: bool
) -> Head:
    """Fill the empty log with the lines of an export; where it ends now.

    After the last line, `progress` is called with the users whose claims are taken.

    Raises:
        LogNotEmpty: it is not empty.
        BadExport: a line is not what was exported, or there are no keys, or one was altered; nothing was written.
        WrongMasterKey: the keys are wrapped with a master key that is not at hand; nothing was written.
    """
    reader = ExportReader()
    async with database.transaction() as connection:
        await _check_empty(connection)
        with _told_with_the_line(reader):
            await _write(connection, reader, lines, with_keys=with_keys)
            if with_keys:
                await _take_claims(connection, vault, reader.mark, progress)
        await connection.execute(batch.move_head(reader.mark))
    return reader.mark


async def _check_empty(connection: Connection) -> None:
    """Lock the head, so that the log stays empty, and look."""
    head = await connection.fetch_one(LOCK_HEAD)
    if head is None or Head(*head) != START:
        raise LogNotEmpty(f"a head at position {head[0]}" if head else "no head")
    found = await connection.fetch_one(ANYTHING)
    tables = [name for name, there in zip(("events", "user_keys", "claims"), found or (), strict=True) if there]
    if tables:
        raise LogNotEmpty(f"rows in {', '.join(tables)}")


@contextmanager
def _told_with_the_line(reader: ExportReader) -> Iterator[None]:
    """What only MySQL or opening an event finds is as much the file's fault as what the reader finds."""
    try:
        yield
    except (DataError, IntegrityError) as error:
        raise BadExport(reader.number, f"here or before, MySQL refuses a row: {error}") from error
    except (UnreadableEvent, DamagedKey) as error:
        raise BadExport(reader.number, f"all lines were read, but {error}") from error


async def _write(connection: Connection, reader: ExportReader, lines: AsyncIterator[bytes], *, with_keys: bool) -> None:
    events: list[Link] = []
    keys: list[KeyLine] = []
    size = 0
    async for text in lines:
        match reader.read(text):
            case EventLine() as line:
                events.append(line.link)
            case KeyLine() as key if with_keys:
                keys.append(key)
            case Header():
                keys.clear()
                await connection.execute(FORGET_KEYS)  # this part has newer ones
        size += len(text)
        if len(events) + len(keys) >= BATCH_LINES or size >= BATCH_BYTES:
            await _write_batch(connection, events, keys)
            events, keys, size = [], [], 0
    reader.finish()
    if with_keys and not reader.keys:
        raise BadExport(reader.number, "the last part has no keys, so nobody could read the log: see --without-keys")
    await _write_batch(connection, events, keys)


async def _write_batch(connection: Connection, events: Sequence[Link], keys: Sequence[KeyLine]) -> None:
    if events:
        await connection.execute(batch.insert_events(events))
    if keys:
        await connection.execute(batch.keep_keys((key.user_id, key.wrapped, key.master_key_id) for key in keys))


async def _take_claims(connection: Connection, vault: Vault, head: Head, progress: ChainProgress) -> None:
    """Take for every user what it has to itself."""
    claims_key = await open_claims_key(connection, vault)
    store = EventStore(connection, vault)
    counted = await connection.fetch_one(COUNT_USERS)
    done, total, last = 0, counted[0] if counted else 0, b""
    while page := await connection.fetch_all(NEXT_USERS, (last, PAGE_USERS)):
        ids = [UUID(bytes=stream_id) for (stream_id,) in page]
        users = _users(await store.read_streams(ids, up_to=head.position))
        taken = [(claims_key.hashed(claim), user_id) for user_id, user in users.items() for claim in claims_of(user)]
        if taken:
            await connection.execute(batch.take_claims(taken))
        done, last = done + len(page), page[-1][0]
        progress(done, total)


def _users(events: Sequence[Recorded]) -> dict[UUID, User | None]:
    """What the events add up to, by user."""
    users: dict[UUID, User | None] = {}
    readable: set[UUID] = set()
    for recorded in events:
        if isinstance(recorded.event, UserDeleted):
            _check_forgotten(recorded, readable)
        elif not isinstance(recorded.event, Forgotten):
            readable.add(recorded.stream_id)
        users[recorded.stream_id] = evolve(users.get(recorded.stream_id), recorded)
    return users


def _check_forgotten(deletion: Recorded, readable: set[UUID]) -> None:
    """Check that what a deleted user's events said can no longer be read; no export has such a key."""
    if deletion.stream_id in readable:
        raise UnreadableEvent(deletion.position, f"user {deletion.stream_id} was deleted here, yet its key is there")
