"""Fold one user's stream into an account, page by page, from a snapshot where there is one.

A command needs the account of its user, and a stream may be long or large. So whoever folds `EVERY_EVENTS` events or
`EVERY_BYTES` bytes keeps the result: one row for each user, written in the background and replaced by the next one.

A snapshot is never trusted over the log. It is sealed with the user's key and bound to the stream, the version and the
hash of the last event in it, and that hash covers every event before. If the log holds another event there, or the
snapshot cannot be opened, or its form is another program's, it is ignored and the stream is folded from its first
event, with the same result. So nothing has to be migrated, repaired or backed up.

No password's hash is in it, since no event that is folded has one. Deletion destroys the key and deletes the row in the
same transaction.

A fold may be longer than an event loop should be kept busy, and longer than its caller waits. It pauses after each
`SLICE_SECONDS` of work, for as long as it has worked, so that folds take half of the processor's time at most, and it
can be cancelled there. It holds one page of rows. Of the streams that have more than one page, few are read at a time,
and each by one caller, so that a caller with a long stream delays others' no more than anybody else.

A process caches accounts that it folded recently (`AccountCache`). The same rule applies: a cached account is used only
if the log still has its last event, and only later events are read.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
import structlog
from asyncmy.errors import MySQLError
from cachetools import TTLCache
from cryptography.exceptions import InvalidTag

from events.database import Database, Row
from events.errors import EventsError
from events.event_types import DATA_TYPES, Recorded
from events.keyed_locks import KeyedLocks
from events.recorded import recorded_of
from events.rows import HASH, TYPE, VERSION
from events.snapshot_rows import SnapshotRow, read_few_from_snapshots, read_from_snapshot
from events.sql import EPOCH
from events.store import EventStore
from events.user import Account, User, evolve_account
from events.vault import UserKey, Vault, opened

log = structlog.get_logger(__name__)

EVERY_EVENTS: Final = 50
EVERY_BYTES: Final = 256 * 1024
"""Events, and bytes of them, after the last snapshot that make another one due."""
PAGE_EVENTS: Final = 64
"""Events of a stream that are read at a time. An event has at most 70 kB, so a page has at most 4.5 MB."""
FEW_EVENTS: Final = 8
USERS_AT_ONCE: Final = 64
"""Users of whom fewer events than that are read by one statement: 36 MB at most."""
PAGES_AT_ONCE: Final = 2
"""Streams with more than one page of which a page is read and folded at a time."""
FOLDS_PER_USER: Final = 20
"""Callers that fold the same long stream or wait to do so."""
SLICE_SECONDS: Final = 0.005
WRITES_AT_ONCE: Final = 4
"""Snapshots that are written at a time. One more is left out: the next caller that folds the stream makes it."""
NEWEST: Final = 2**64 - 1
"""No event has this position."""
ACCOUNTS: Final = 2_000
"""Accounts in the cache, each with up to 64 KiB of attributes as JSON: several times that in memory."""
ACCOUNT_SECONDS: Final = 60.0
"""Seconds after its last use until an account, which is personal data, has expired. The next use of the cache, for
whichever user, frees the memory of those that have."""

KEEP = """
REPLACE INTO snapshots (owner_id, up_to_version, up_to_position, sealed)
SELECT %s, %s, %s, %s FROM user_keys WHERE user_id = %s AND wrapped IS NOT NULL FOR SHARE
"""
"""FOR SHARE: a deletion locks the row of the key first, so no snapshot is written after it."""


class Contents(msgspec.Struct, frozen=True):
    """What a snapshot seals."""

    user: User
    signed_out_at: int
    password_version: int
    newest: datetime
    """The latest instant of the events in it. Clocks differ, so it need not be that of the last event."""
    email_verified: bool


FORM: Final = b"rollcall snapshot v2"
"""Another form of `Contents`, or another meaning of an event, needs another name here: older snapshots are ignored."""


@dataclass(slots=True)
class Fold:
    """A user's stream, folded up to an event."""

    account: Account = Account()  # noqa: RUF009 - frozen
    key: UserKey | None = None
    """The user's key; None if it never existed or is deleted."""
    hash: bytes = b""
    """Of the last event."""
    newest: datetime = EPOCH
    events: int = 0
    """Events after the snapshot."""
    size: int = 0
    """Bytes of these events."""

    def add(self, recorded: Recorded, event_hash: bytes, size: int) -> None:
        """Fold one more event, which has this hash and these bytes."""
        self.account = evolve_account(self.account, recorded)
        self.hash = event_hash
        self.newest = max(self.newest, recorded.recorded_at)
        self.events += 1
        self.size += size

    def seal(self, user: User, key: UserKey, nonce: bytes) -> bytes:
        """The snapshot of this user."""
        account = self.account
        contents = Contents(user, account.signed_out_at, account.password_version, self.newest, account.email_verified)
        return key.seal(msgspec.json.encode(contents), place_of(user.id, user.version, self.hash), nonce)


def place_of(user_id: UUID, version: int, event_hash: bytes) -> bytes:
    """The place of a snapshot, which it is bound to."""
    return FORM + user_id.bytes + version.to_bytes(8) + event_hash


def open_snapshot(sealed: bytes, key: UserKey, user_id: UUID, version: int, event_hash: bytes) -> Fold | None:
    """The fold up to the last event in a snapshot; None if it is not the snapshot of that event.

    Args:
        sealed: The snapshot.
        key: The user's key.
        user_id: The user.
        version: Version of the last event in it.
        event_hash: The hash of the event that the log has there.
    """
    try:
        plain = opened(key.cipher, sealed, place_of(user_id, version, event_hash))
        contents = msgspec.json.decode(plain, type=Contents)
    except (InvalidTag, ValueError):  # ValueError: too short to be sealed, or not of this form
        return None
    account = Account(
        version, contents.user, contents.signed_out_at, contents.password_version, contents.email_verified
    )
    return Fold(account, key, event_hash, contents.newest)


class SnapshotWriter:
    """Writes snapshots in the background."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._writing: dict[UUID, asyncio.Task[None]] = {}

    def keep(self, fold: Fold) -> bool:
        """Begin to write the snapshot of a fold up to the user's newest event; return whether it is being written."""
        user, key = fold.account.user, fold.key
        if user is None or key is None or user.id in self._writing or len(self._writing) >= WRITES_AT_ONCE:
            return False
        sealed = fold.seal(user, key, self._vault.nonce())
        owner, row = user.id.bytes, (user.version, user.position, sealed)
        self._writing[user.id] = asyncio.create_task(self._write(user.id, (owner, *row, owner)))
        return True

    async def finished(self) -> None:
        """Wait until the snapshots that are being written are written."""
        await asyncio.gather(*self._writing.values(), return_exceptions=True)

    async def _write(self, user_id: UUID, arguments: Sequence[object]) -> None:
        try:
            await self._database.execute(KEEP, arguments)
        except (EventsError, MySQLError) as error:
            log.warning("snapshot.unwritten", user=str(user_id), error=str(error))
        finally:
            del self._writing[user_id]


class _Begun(NamedTuple):
    """A fold that has begun."""

    fold: Fold
    rows: Sequence[Row]
    """The next events."""
    more: bool
    """Others may follow these."""
    ignored: bool = False
    """There is a snapshot, and it was of no use."""


class AccountReader:
    """Reads accounts from the log."""

    def __init__(
        self, store: EventStore, snapshots: SnapshotWriter, clock: Callable[[], float] = time.thread_time
    ) -> None:
        """`clock` measures the processor time of this thread, in seconds."""
        self._store = store
        self._snapshots = snapshots
        self._clock = clock
        self._locks = KeyedLocks(FOLDS_PER_USER)
        self._pages = asyncio.Semaphore(PAGES_AT_ONCE)

    async def read(
        self, user_id: UUID, *, up_to: int = NEWEST, until: datetime | None = None, known: Fold | None = None
    ) -> Fold:
        """The account as of now, or as of a position or an instant; an empty one if there was no such user.

        Clocks of servers differ, so a later event may have an earlier time. Everything from the first event after
        `until` is left out: a later instant never shows less.

        `known` is an earlier fold of this user, for the account as of now only. If the log holds its last event, only
        what follows is read.

        Raises:
            UnreadableEvent: this program cannot read an event of the stream.
            UnusableKey: the user's key cannot be unwrapped.
            UserBusy: the stream is long, and too many callers fold it.
        """
        begun = await self._go_on(user_id, known, up_to) if known is not None else None
        if begun is None:
            begun = await self._begin(user_id, up_to, until)
        fold = begun.fold
        ended = await self._fold(fold, begun.rows, until)
        if not ended and begun.more:
            async with self._locks.held(user_id):
                while not ended:
                    async with self._pages:
                        after = fold.account.version
                        rows = await self._store.read_rows(user_id, after_version=after, up_to=up_to, limit=PAGE_EVENTS)
                        ended = await self._fold(fold, rows, until) or len(rows) < PAGE_EVENTS
        due = fold.events >= EVERY_EVENTS or fold.size >= EVERY_BYTES or begun.ignored
        if due and up_to == NEWEST and until is None and self._snapshots.keep(fold):
            fold.events = fold.size = 0
        return fold

    async def _go_on(self, user_id: UUID, known: Fold, up_to: int) -> _Begun | None:
        """From the last event of a known fold on; None if the log holds another one there, or none."""
        after = known.account.version - 1
        rows = await self._store.read_rows(user_id, after_version=after, up_to=up_to, limit=PAGE_EVENTS)
        if not rows or (rows[0][VERSION], rows[0][HASH]) != (known.account.version, known.hash):
            return None
        return _Begun(replace(known, key=self._store.key_of(rows)), rows[1:], len(rows) == PAGE_EVENTS)

    async def _begin(self, user_id: UUID, up_to: int, until: datetime | None) -> _Begun:
        """From the snapshot on, or from the first event."""
        snapshot, rows = await read_from_snapshot(self._store.source, user_id, up_to=up_to, limit=PAGE_EVENTS)
        if rows and rows[0][TYPE] in DATA_TYPES:  # it is the id of a data object
            return _Begun(Fold(), [], more=False)
        if snapshot is not None:
            fold = self._opened(user_id, snapshot, rows[0])
            if fold is not None and (until is None or fold.newest <= until):
                return _Begun(fold, rows[1:], len(rows) == PAGE_EVENTS)
        if snapshot is not None or not rows:  # without events, the log may have lost those of a snapshot
            rows = await self._store.read_rows(user_id, after_version=0, up_to=up_to, limit=PAGE_EVENTS)
        return _Begun(Fold(), rows, len(rows) == PAGE_EVENTS, ignored=snapshot is not None)

    async def read_many(self, user_ids: Iterable[UUID]) -> dict[UUID, Fold]:
        """The accounts of several users as of now: by a statement for 64 of them, if few events are to be folded.

        Their keys are not remembered: who reads very many users meets each once.

        Raises:
            UnreadableEvent, UnusableKey, UserBusy: as `read`.
        """
        folds: dict[UUID, Fold] = {}
        wanted = list(dict.fromkeys(user_ids))
        for start in range(0, len(wanted), USERS_AT_ONCE):
            some = wanted[start : start + USERS_AT_ONCE]
            found = await read_few_from_snapshots(self._store.source, some, limit=FEW_EVENTS)
            for user_id in some:
                fold = await self._few(user_id, *found[user_id]) if user_id in found else None
                folds[user_id] = await self.read(user_id) if fold is None else fold
        return folds

    async def _few(self, user_id: UUID, snapshot: SnapshotRow | None, rows: Sequence[Row]) -> Fold | None:
        """The fold of these events; None if there may be more, or the snapshot cannot be used."""
        if len(rows) == FEW_EVENTS or rows[0][TYPE] in DATA_TYPES:
            return None
        fold: Fold | None = Fold()
        if snapshot is not None:
            fold, rows = self._opened(user_id, snapshot, rows[0], remember=False), rows[1:]
        if fold is not None:
            await self._fold(fold, rows, None, remember=False)
        return fold

    def _opened(self, user_id: UUID, snapshot: SnapshotRow, row: Row, *, remember: bool = True) -> Fold | None:
        """The fold up to the snapshot, whose last event is in this row; None if the snapshot cannot be used."""
        key = self._store.key_of([row], remember=remember)
        if snapshot.sealed is None or key is None:
            return None
        return open_snapshot(snapshot.sealed, key, user_id, snapshot.up_to_version, row[HASH])

    async def _fold(self, fold: Fold, rows: Sequence[Row], until: datetime | None, *, remember: bool = True) -> bool:
        """Fold rows, with pauses; return whether the rest of the stream lies after the instant."""
        if not rows:
            return False
        fold.key = self._store.key_of(rows, remember=remember)
        cipher = fold.key.cipher if fold.key else None
        began = self._clock()
        for row in rows:
            recorded = recorded_of(row, cipher)
            if until is not None and recorded.recorded_at > until:
                return True
            fold.add(recorded, row[HASH], len(row[5]) + len(row[6] or b"") + len(row[7]))
            worked = self._clock() - began
            if worked >= SLICE_SECONDS:
                await asyncio.sleep(worked)
                began = self._clock()
        return False


class AccountCache:
    """Accounts that this process folded recently, by user id.

    A cached account is compared with the log at each use: `at` takes the hash of the user's last event, which the
    caller has read, and `newest` reads the events from the cached one on. A hash covers every earlier event, so an
    equal hash means that the account is up to date. The key is the user's id and not the hash, which has not been
    verified: it could be copied from another user's event.
    """

    def __init__(self, accounts: AccountReader, clock: Callable[[], float] = time.monotonic) -> None:
        self._accounts = accounts
        self._folds: TTLCache[UUID, Fold] = TTLCache(ACCOUNTS, ACCOUNT_SECONDS, timer=clock)
        self._forgotten = 0

    async def newest(self, user_id: UUID) -> Fold:
        """The account as of now.

        Raises:
            UnreadableEvent, UnusableKey, UserBusy: as `AccountReader.read`.
        """
        forgotten = self._forgotten
        fold = await self._accounts.read(user_id, known=self._folds.get(user_id))
        # A read that began before a deletion must not store the account after it. A deletion of any user counts:
        # deletions are rare, and an account that is not stored costs one more read.
        return self._used(user_id, fold) if forgotten == self._forgotten else fold

    async def at(self, user_id: UUID, last_hash: bytes | None) -> Account:
        """The account of a user whose last event has this hash; an empty one without an event.

        Raises:
            UnreadableEvent, UnusableKey, UserBusy: as `AccountReader.read`.
        """
        if last_hash is None:
            return Account()
        known = self._folds.get(user_id)
        fold = self._used(user_id, known) if known and known.hash == last_hash else await self.newest(user_id)
        return fold.account

    def forget(self, user_id: UUID) -> None:
        """Drop the account of a user who is deleted. Reads that have begun do not bring it back."""
        self._forgotten += 1
        self._folds.pop(user_id, None)

    def _used(self, user_id: UUID, fold: Fold) -> Fold:
        """Store a fold, also one that was stored: TTLCache counts from then, and drops whatever has expired."""
        if fold.hash:
            self._folds[user_id] = fold
        return fold
