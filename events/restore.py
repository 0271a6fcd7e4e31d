"""Restore a log from an export, into an empty one, in one transaction.

If anything fails, such as an altered line or this process, MySQL leaves the log empty. No reader sees half of it. The
file is read once, so it can come from a pipe. Batches committed one by one would leave a log that seems whole and lacks
its end. The price: MySQL keeps the transaction in a temporary file until COMMIT, and servers in group replication limit
its size. The head is locked meanwhile, so an append waits and then finds the restored log.

The restored log has the id and the secret of the exported one, so its hashes fit and earlier heads are heads of it.
Claims are made from the restored users. That opens every event, those of data objects too, and the newest hash of each
password, so a restored log is readable. A key that opens an earlier hash, or anything of a deleted user, is in no
export and is refused. Without keys a log can be kept and verified, but not read, and no username counts as taken. The
caller must ask for that.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import msgspec
from asyncmy.errors import DataError, IntegrityError

from events import statements
from events.chain import START, ChainProgress, Head, Link, follow, next_number
from events.claims import claims_of, hashed
from events.credentials import credential_problem, credentials_of
from events.data_object import DataObject, evolve_data
from events.database import Connection, Database
from events.errors import BadExport, BrokenChain, DamagedCredential, DamagedKey, LogNotEmpty, UnreadableEvent
from events.event_types import Forgotten, Recorded, UserDeleted
from events.export import CredentialLine, EventLine, ExportPart, Header, KeyLine, Line, Trailer
from events.log_keys import LogKeys, LogSecret, keep_log_secret
from events.statements import LOCK_HEAD
from events.store import EventStore
from events.user import Account, evolve_account
from events.vault import Vault

BATCH_LINES: Final = 500
BATCH_BYTES: Final = 4 * 1024 * 1024
"""Bytes of lines. A statement has at most twice that and one line, far below max_allowed_packet (64 MiB)."""
PAGE_USERS: Final = 500

FILLED = ("events", "user_keys", "credential_keys", "claims")
NOT_EMPTY = f"SELECT {', '.join(f'EXISTS(SELECT 1 FROM {table})' for table in FILLED)}"  # noqa: S608 - constants
FORGET_KEYS = ("DELETE FROM user_keys", "DELETE FROM credential_keys")
COUNT_USERS = "SELECT COUNT(*) FROM user_keys"
NEXT_USERS = "SELECT DISTINCT stream_id FROM events WHERE stream_id > %s ORDER BY stream_id LIMIT %s"


DECODER: Final = msgspec.json.Decoder(Line)


async def restore_log(
    database: Database, vault: Vault, lines: AsyncIterator[bytes], progress: ChainProgress, *, with_keys: bool
) -> Head:
    """Fill the empty log with the lines of an export; return its head.

    After the last line, `progress` is called with the users whose claims are made and the users in the log.

    Raises:
        LogNotEmpty: it is not empty.
        BadExport: a line is not what was exported, or keys are missing or altered; nothing was written.
        WrongMasterKey: the keys are wrapped with a master key that is not at hand; nothing was written.
    """
    reader = ExportReader(vault)
    async with database.transaction() as connection:
        await _check_empty(connection)
        with _blaming_the_file(reader):
            secret, log_keys = await _write(connection, reader, lines, with_keys=with_keys)
            await keep_log_secret(connection, secret)
            if with_keys:
                await _take_claims(connection, vault, log_keys, reader.head, progress)
        await connection.execute(statements.move_head(reader.head, reader.number_given))
    return reader.head


class ExportReader:
    """Reads the lines of a file and checks each against those before it. Pure: the caller provides the lines."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.head = START
        """After the last event that was read."""
        self.number = 0
        """Number of the last line that was read."""
        self.number_given = 0
        """The number of the newest data object that was read."""
        self.keys = False
        """Whether the last part has keys."""
        self.secret: LogSecret | None = None
        """The log's secret, as the last part has it."""
        self.log_keys: LogKeys | None = None
        self._part: ExportPart | None = None

    def read(self, text: bytes) -> Line:
        """Read one more line.

        Raises:
            BadExport: the line is not what was exported.
            WrongMasterKey: the log's secret is wrapped with a master key that is not at hand.
        """
        self.number += 1
        try:
            line: Line = DECODER.decode(text)
            if isinstance(line, Header):
                if Head.parse(line.after) != self.head:
                    raise BadExport(self.number, f"expected a part that goes on after {self.head}, found {line.after}")
                self.keys, self._part, self.secret = line.keys, ExportPart(self.head), line.log_secret
                self.log_keys = self._keys_of(line.log_secret)
            if self._part is None or self.log_keys is None:
                raise BadExport(self.number, "expected a header")
            if isinstance(line, EventLine):
                self.head = follow(self.log_keys.chain, self.head, line.link)
                self.number_given = next_number(self.number_given, line.link.row)
            if isinstance(line, Trailer):
                if line != self._part.trailer:
                    raise BadExport(
                        self.number,
                        f"lines before this one were altered or lost: expected {self._part.trailer}, found {line}",
                    )
                self._part = None
            else:
                self._part.count(line, text)
        except BrokenChain as broken:
            raise BadExport(self.number, broken.reason) from broken
        except ValueError as error:
            raise BadExport(self.number, f"not a line of an export: {error}") from error
        return line

    def _keys_of(self, secret: LogSecret) -> LogKeys:
        try:
            keys = secret.keys(self._vault)
        except DamagedKey as error:
            raise BadExport(self.number, f"the log's secret cannot be unwrapped: {error}") from error
        if self.log_keys not in (None, keys):
            raise BadExport(self.number, "this part is of another log than the one before it")
        return keys

    def finish(self) -> tuple[LogSecret, LogKeys]:
        """Check that the file may end here; return the log's secret and keys.

        Raises:
            BadExport: it may not.
        """
        if self.secret is None or self.log_keys is None:
            raise BadExport(0, "the file is empty: expected a header and the lines of an export")
        if self._part is not None:
            raise BadExport(
                self.number, f"the file was cut off here: expected a trailer, found the end, after {self.head}"
            )
        return self.secret, self.log_keys


async def _check_empty(connection: Connection) -> None:
    """Lock the head, so that the log stays empty, and check that it is."""
    head = await connection.fetch_one(LOCK_HEAD)
    if head is None or Head(*head[:2]) != START:
        raise LogNotEmpty(f"a head at position {head[0]}" if head else "no head")
    found = await connection.fetch_one(NOT_EMPTY)
    tables = [name for name, there in zip(FILLED, found or (), strict=True) if there]
    if tables:
        raise LogNotEmpty(f"rows in {', '.join(tables)}")


@contextmanager
def _blaming_the_file(reader: ExportReader) -> Iterator[None]:
    """Report as `BadExport` what only MySQL, or opening an event, finds wrong with the file."""
    try:
        yield
    except (DataError, IntegrityError) as error:
        raise BadExport(reader.number, f"here or before, MySQL refuses a row: {error}") from error
    except (UnreadableEvent, DamagedKey, DamagedCredential) as error:
        raise BadExport(reader.number, f"all lines were read, but {error}") from error


async def _write(
    connection: Connection, reader: ExportReader, lines: AsyncIterator[bytes], *, with_keys: bool
) -> tuple[LogSecret, LogKeys]:
    events: list[Link] = []
    keys: list[KeyLine] = []
    credentials: list[CredentialLine] = []
    size = 0
    async for text in lines:
        match reader.read(text):
            case EventLine() as line:
                events.append(line.link)
            case KeyLine() as key if with_keys:
                keys.append(key)
            case CredentialLine() as credential if with_keys:
                credentials.append(credential)
            case Header():  # this part has newer keys
                keys.clear()
                credentials.clear()
                for statement in FORGET_KEYS:
                    await connection.execute(statement)
        size += len(text)
        if len(events) + len(keys) + len(credentials) >= BATCH_LINES or size >= BATCH_BYTES:
            await _write_batch(connection, events, keys, credentials)
            events, keys, credentials, size = [], [], [], 0
    secret = reader.finish()
    if with_keys and not reader.keys:
        raise BadExport(reader.number, "the last part has no keys, so the log would be unreadable: see --without-keys")
    await _write_batch(connection, events, keys, credentials)
    return secret


async def _write_batch(
    connection: Connection, events: Sequence[Link], keys: Sequence[KeyLine], credentials: Sequence[CredentialLine]
) -> None:
    if events:
        await connection.execute(statements.insert_events(events))
    if keys:
        await connection.execute(statements.keep_keys(key.row for key in keys))
    if credentials:
        await connection.execute(statements.replace_credentials(line.key for line in credentials))


async def _take_claims(
    connection: Connection, vault: Vault, log_keys: LogKeys, head: Head, progress: ChainProgress
) -> None:
    """Take the claims of every user, and check the key of its password's hash."""
    store = EventStore(connection, vault)
    counted = await connection.fetch_one(COUNT_USERS)
    done, total, last = 0, counted[0] if counted else 0, b""
    while page := await connection.fetch_all(NEXT_USERS, (last, PAGE_USERS)):
        ids = [UUID(bytes=stream_id) for (stream_id,) in page]
        accounts = _accounts(await store.read_streams(ids, up_to=head.position))
        await _check_credentials(connection, vault, accounts)
        taken = [
            (hashed(log_keys.claims, claim), user_id)
            for user_id, account in accounts.items()
            for claim in claims_of(account.user)
        ]
        if taken:
            await connection.execute(statements.take_claims(taken))
        done, last = done + len(page), page[-1][0]
        progress(done, total)


async def _check_credentials(connection: Connection, vault: Vault, accounts: Mapping[UUID, Account]) -> None:
    """Check that each key there is opens the newest hash. One that is missing was replaced during the export.

    Raises:
        DamagedCredential: one does not.
    """
    found = await credentials_of(connection, vault, [user_id.bytes for user_id in accounts])
    for user_id, account in accounts.items():
        credential = found.get(user_id.bytes)
        if credential is not None and (problem := credential_problem(account, credential)):
            raise DamagedCredential(user_id, problem)


def _accounts(events: Sequence[Recorded]) -> dict[UUID, Account]:
    """The accounts after these events, by id.

    Raises:
        UnreadableEvent: a deleted user's events can still be read, so its key is in the file; no export has such a key.
    """
    accounts: dict[UUID, Account] = {}
    objects: dict[UUID, DataObject | None] = {}
    readable: set[UUID] = set()
    for recorded in events:
        if isinstance(recorded.event, UserDeleted):
            if recorded.stream_id in readable:
                raise UnreadableEvent(
                    recorded.position, f"user {recorded.stream_id} was deleted here, yet its key is there"
                )
        elif not isinstance(recorded.event, Forgotten):
            readable.add(recorded.stream_id)
        if recorded.is_data:
            objects[recorded.stream_id] = evolve_data(objects.get(recorded.stream_id), recorded)
            continue
        account = accounts.get(recorded.stream_id, Account())
        accounts[recorded.stream_id] = evolve_account(account, recorded)
    return accounts
