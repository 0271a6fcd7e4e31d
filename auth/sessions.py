"""Sessions and refresh tokens, shared by all processes.

A session is a row, looked up on every request. It ends when the row is deleted: by logout, by reuse of a refresh token,
by expiry, or by newer sessions, since a user has a limited number of them.

Events end sessions too: a new password, another role, the deletion of the user. There the row does not decide, because
the program could be killed between the event and the DELETE. A session records the version of the user that it trusts
(`since`), and the log gives the version at which the user's sessions were last ended (`Account.signed_out_at`). An
older session is invalid from the event's COMMIT on. This also settles a sign-in that races a change of the password:
the session trusts the version whose password was checked. The rows are deleted afterwards.

A refresh token names its session and a generation, and each use replaces it with the next generation. The row holds the
generation in force. A token of an older one shows that two clients hold the session's tokens: the session ends. But
honest clients reuse tokens as well: two tabs wake up together, or the answer to a refresh is lost and the client
repeats it. So within a grace period an old token is answered with the token in force. A second token in force would
split the session into two lines, one of them perhaps a thief's, that no reuse would ever reveal. For the grace period
the row holds the times at which the last generations were replaced.

Both tokens and rows carry a MAC, keyed with a secret that is not in the database. A token is its session, its
generation and the MAC of both, so it is checked without a read, any generation can be recognised, and nothing of tokens
is stored. Who can read the database learns no token. Who can write to it can make none either, nor a session: a row
whose MAC is wrong is no session. What remains is to put an earlier row back. Such a row ends where it ended before
(`ends_at`, and the events of its user), and counts only for who has a token of it. A token that is newer than the row
ends the session, so the owner's next refresh reveals a row that was put back while the session was in use.

Concurrent refreshes of one session are serialised by the lock of its row.

A row also says when the session was started, on which device, and at which address it was last started or refreshed, so
that its user recognises it. The client is sealed
under the same secret: who reads the database learns no address. It is destroyed with the row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final
from uuid import UUID

import msgspec
import structlog
from cachetools import LRUCache, TTLCache

from auth import known_devices
from auth.known_devices import KnownDevices
from auth.session_rows import NO_CLIENT, RefreshToken, SessionClient, SessionKey, SignInSession
from events.database import Connection, Database, Row
from events.ids import NewId
from events.sql import binaries, binary, instant, integer, naive_utc
from events.user import Account

log = structlog.get_logger(__name__)

GRACE_STEPS: Final = 9
"""Replacements within the grace period that a late token may be behind."""
SESSIONS_PER_USER: Final = 50
SWEPT_ROWS: Final = 1_000
"""Sessions deleted by one statement, so that a sweep holds its locks briefly."""
REMEMBERED_ROWS: Final = 10_000
"""About 15 MB. To check a row takes 7 us, to find the same row again 1 us."""
REPORTED_ROWS: Final = 1_000
"""Altered rows that a process remembers, so that it logs each once."""
ENDED_SESSIONS: Final = 10_000
"""Ended sessions that a process remembers, about 3 MB."""
MOMENT: Final = timedelta(seconds=1)
"""How long. Ids are not used again, so it could be for ever, but who restores a row should not have to wait."""

COLUMNS = "id, user_id, since, generation, used_at, expires_at, ends_at, replaced_at, started_at, client, mac"
START = f"INSERT INTO sessions ({COLUMNS}) VALUES ({{values}})"  # noqa: S608 - constants
SURPLUS = """
SELECT id FROM sessions WHERE user_id = {user} ORDER BY used_at DESC, id DESC LIMIT {swept} OFFSET {per_user}
"""
FIND = f"SELECT {COLUMNS} FROM sessions WHERE id = %s"  # noqa: S608 - constants
FIND_WITH_HASH = f"""
SELECT {COLUMNS}, (SELECT hash FROM events WHERE stream_id = %s ORDER BY version DESC LIMIT 1)
FROM sessions WHERE id = %s
"""  # noqa: S608 - constants
FIND_ALL = f"SELECT {COLUMNS} FROM sessions WHERE id IN ({{ids}})"  # noqa: S608 - constants
OF_USER = f"SELECT {COLUMNS} FROM sessions WHERE user_id = %s ORDER BY used_at DESC LIMIT %s"  # noqa: S608 - constants
LOCK = f"{FIND} FOR UPDATE"
CHANGE = """
UPDATE sessions SET since = %s, generation = %s, used_at = %s, expires_at = %s, ends_at = %s, replaced_at = %s,
started_at = %s, client = %s, mac = %s
WHERE id = %s
"""
END = "DELETE FROM sessions WHERE id = %s"
END_OF_USER = "DELETE FROM sessions WHERE id = %s AND user_id = %s"
END_SOME = "DELETE FROM sessions WHERE id IN ({ids})"
END_ALL = "DELETE FROM sessions WHERE user_id = %s"
FORGET = "DELETE FROM sessions WHERE user_id = %s AND since < %s"
SWEEP = "DELETE FROM sessions WHERE expires_at < %s LIMIT %s"


class InvalidRefreshToken(Exception):
    """A refresh token is unknown, expired, revoked or already used. The message does not say which."""

    def __init__(self) -> None:
        super().__init__("the refresh token is not valid (any more): sign in again")


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Lifetimes of sessions."""

    idle: timedelta = timedelta(days=7)
    """Without a refresh."""
    absolute: timedelta = timedelta(days=30)
    """However often it is refreshed (NIST SP 800-63B, section 4.1.3)."""
    grace: timedelta = timedelta(seconds=10)
    """For reuse of a refresh token by an honest client."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A session and its refresh token in force."""

    session: SignInSession
    token: RefreshToken


class Sessions:
    """The table of sessions."""

    def __init__(
        self,
        database: Database,
        secret: bytes,
        lifetimes: Lifetimes,
        clock: Callable[[], datetime],
        new_id: NewId,
        *,
        per_user: int = SESSIONS_PER_USER,
        devices: KnownDevices | None = None,
    ) -> None:
        """
        Args:
            database: The log's.
            secret: Keys the MACs, the same on every process.
            lifetimes: Of sessions.
            clock: The present time.
            new_id: Makes the ids of sessions.
            per_user: How many sessions a user may have; the least recently used ones end.
            devices: Queues mails about new devices. None: none are queued.
        """
        self._database = database
        self._key = SessionKey(secret)
        self._read_row = lru_cache(REMEMBERED_ROWS)(self._key.read_row)  # by all columns, the MAC included
        self._lifetimes = lifetimes
        self._clock = clock
        self._new_id = new_id
        self._per_user = per_user
        self._devices = devices
        self._reported: LRUCache[bytes, bool] = LRUCache(REPORTED_ROWS)
        self._ended: TTLCache[UUID, bool] = TTLCache(
            ENDED_SESSIONS, MOMENT.total_seconds(), timer=lambda: clock().timestamp()
        )

    async def start(
        self, user_id: UUID, since: int, client: SessionClient = NO_CLIENT, language: str | None = None
    ) -> Granted:
        """Start a session that trusts a version of the user, in one round trip.

        `language` is that of the mail about a new device.
        """
        now, devices = self._clock(), self._devices
        ends_at = now + self._lifetimes.absolute
        expires_at = min(now + self._lifetimes.idle, ends_at)
        id_ = self._new_id()
        sealed = self._key.seal_client(id_, client)
        session = SignInSession(id_, user_id, since, 0, now, expires_at, ends_at, now, sealed)
        statements = [START.format(values=", ".join(map(_literal, self._key.row(session))))]
        if devices is not None:
            seen = devices.seen(user_id, id_, client.device, client.address, language, now)
            statements = ["BEGIN", *statements, *seen, "COMMIT", devices.surplus(user_id)]
        # After the session is committed: of concurrent starts, the last to look sees the rows of all.
        statements.append(
            SURPLUS.format(user=binary(user_id.bytes), swept=SWEPT_ROWS, per_user=integer(self._per_user))
        )
        async with self._database.connection() as connection:
            *_, surplus_devices, surplus = await connection.run(statements)
            if surplus:
                await connection.execute(END_SOME.format(ids=binaries(row[0] for row in surplus)))
            if devices is not None and surplus_devices:
                await connection.execute(devices.forget_surplus(user_id, surplus_devices))
        return Granted(session, self._key.token(session.id, session.generation))

    async def find(self, session_id: UUID, user_id: UUID) -> SignInSession | None:
        """The session, if the user has it; `SignInSession.counts_for` decides whether it is valid."""
        row = await self._database.fetch_one(FIND, (session_id.bytes,))
        return self._of_user(row, user_id) if row else None

    async def of_user(self, user_id: UUID, account: Account) -> list[SignInSession]:
        """The user's valid sessions, newest first."""
        now, rows = self._clock(), await self._database.fetch_all(OF_USER, (user_id.bytes, self._per_user))
        sessions = [session for row in rows if (session := self._of_user(row, user_id)) is not None]
        valid = [session for session in sessions if session.counts_for(account, now)]
        return sorted(valid, key=lambda session: (session.started_at, session.id), reverse=True)

    def client_of(self, session: SignInSession) -> SessionClient:
        """The client of a session."""
        return self._key.open_client(session)

    async def find_with_hash(self, session_id: UUID, user_id: UUID) -> tuple[SignInSession | None, bytes | None] | None:
        """The session, if the user has it, and the hash of the user's last event, from one snapshot.

        None if there is no row.
        """
        row = await self._database.fetch_one(FIND_WITH_HASH, (user_id.bytes, session_id.bytes))
        return (self._of_user(row[:-1], user_id), row[-1]) if row else None

    async def live(self, session_ids: list[UUID]) -> set[UUID]:
        """The sessions among these that have not been deleted."""
        if not session_ids:
            return set()
        ids = binaries(session_id.bytes for session_id in session_ids)  # a thousand parameters take 10 ms
        rows = await self._database.fetch_all(FIND_ALL.format(ids=ids))
        return {session.id for session in map(self._session, rows) if session}

    async def refresh(self, text: str, address: str = "") -> Granted:
        """Replace a refresh token. The session's row then has this address, unless it is not known.

        Raises:
            InvalidRefreshToken: the token is not valid. If it was reused, its session has been ended.
        """
        token = self._key.read_token(text)
        if token is None or token.session_id in self._ended:
            raise InvalidRefreshToken
        async with self._database.transaction() as transaction:
            session = await self._locked(transaction, token.session_id)
            granted = await self._replace(transaction, session, token, address) if session else None
        if granted is None:
            self._ended[token.session_id] = True
            raise InvalidRefreshToken
        return granted

    async def keep(self, session_id: UUID, since: int) -> None:
        """Let a session outlive an event that it caused and that ended the user's sessions."""
        async with self._database.transaction() as transaction:
            session = await self._locked(transaction, session_id)
            if session is not None:
                await self._change(transaction, msgspec.structs.replace(session, since=since))

    async def end(self, session_id: UUID, user_id: UUID | None = None) -> bool:
        """End one session, with a user only if it is this user's; return whether there was one."""
        if user_id is None:
            return await self._database.execute(END, (session_id.bytes,)) > 0
        return await self._database.execute(END_OF_USER, (session_id.bytes, user_id.bytes)) > 0

    async def end_of(self, text: str) -> None:
        """End the session of a refresh token, of any generation. Another text ends nothing."""
        token = self._key.read_token(text)
        if token is not None:
            await self.end(token.session_id)

    async def end_all(self, user_id: UUID) -> None:
        """End all sessions of a user."""
        await self._database.execute(END_ALL, (user_id.bytes,))

    async def forget(self, user_id: UUID, account: Account) -> None:
        """Delete the rows of sessions that an event has ended, and the devices of a user whom it deleted."""
        await self._database.execute(FORGET, (user_id.bytes, account.signed_out_at))
        if account.user is None:
            await known_devices.forget(self._database, user_id)

    async def sweep(self) -> int:
        """Delete expired sessions and forgotten devices; return their number."""
        now = self._clock()
        sessions = await self._database.sweep(SWEEP, (naive_utc(now), SWEPT_ROWS))
        return sessions + await known_devices.sweep(self._database, now)

    async def _replace(
        self, transaction: Connection, session: SignInSession, token: RefreshToken, address: str
    ) -> Granted | None:
        """The next token; None if this one is not valid, which ends the session."""
        now, age = self._clock(), session.generation - token.generation
        late = 0 < age <= len(session.replaced_at) and now - session.replaced_at[-age] < self._lifetimes.grace
        if now >= session.expires_at or not (age == 0 or late):
            await transaction.execute(END, (session.id.bytes,))
            return None
        if age == 0:
            session = msgspec.structs.replace(
                session,
                generation=session.generation + 1,
                used_at=now,
                expires_at=min(now + self._lifetimes.idle, session.ends_at),
                replaced_at=(*session.replaced_at, now)[-GRACE_STEPS:],
                client=self._seen_at(session, address),
            )
            await self._change(transaction, session)
        return Granted(session, self._key.token(session.id, session.generation))

    def _seen_at(self, session: SignInSession, address: str) -> bytes:
        """The session's client at an address, sealed. The row is written anyway, so it costs no statement."""
        client = self._key.open_client(session)
        if address in ("", client.address):
            return session.client
        return self._key.seal_client(session.id, msgspec.structs.replace(client, address=address))

    async def _locked(self, transaction: Connection, session_id: UUID) -> SignInSession | None:
        row = await transaction.fetch_one(LOCK, (session_id.bytes,))
        return self._session(row) if row else None

    async def _change(self, transaction: Connection, session: SignInSession) -> None:
        id_, _, *values = self._key.row(session)
        await transaction.execute(CHANGE, (*values, id_))

    def _of_user(self, row: Row, user_id: UUID) -> SignInSession | None:
        session = self._session(row)
        return session if session is not None and session.user_id == user_id else None

    def _session(self, row: Row) -> SignInSession | None:
        """The session in a row. A row that the program did not write is no session, and is logged once."""
        session = self._read_row(row)
        if session is None and row[0] not in self._reported:
            self._reported[row[0]] = True
            log.error("session.altered", session=str(UUID(bytes=row[0])))
        return session


def _literal(value: object) -> str:
    """A value of a session's row."""
    match value:
        case bytes():
            return binary(value)
        case datetime():
            return instant(value)
        case int():
            return integer(value)
    raise TypeError(f"expected bytes, an instant or an int, found {type(value).__name__}")
