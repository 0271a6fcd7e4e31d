"""Sessions and refresh tokens, shared by all processes.

A session is a row, looked up on every request. It ends when the row is deleted: by logout, by reuse of a refresh token,
or by expiry.

Events end sessions too: a new password, another role, the deletion of the user. There the row does not decide, because
the program could be killed between the event and the DELETE. A session records the version of the user that it trusts
(`since`), and the log gives the version at which the user's sessions were last ended (`Account.signed_out_at`). An
older session is invalid from the event's COMMIT on. This also settles a sign-in that races a change of the password:
the session trusts the version whose password was checked. The rows are deleted afterwards.

A refresh token is replaced at each use, and reuse shows that two clients hold it: the session ends. But honest clients
reuse tokens as well: two tabs wake up together, or the answer to a refresh is lost and the client repeats it. So within
a grace period a used token is answered with the *same* successor again. A second successor would split the session
into two lines, one of them perhaps a thief's, that no reuse would ever reveal. The server stores only hashes of tokens,
so it derives the successor anew: the HMAC of a random salt, keyed with the replaced token. The salt is stored with the
used token. A reader of the database has the salt without the token, a thief of an old token has no salt.

Concurrent refreshes with one token are serialised by the lock of the session's row.

A refresh token is 256 random bits, written as 43 characters of base64url.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from events.database import Connection, Database, Row
from events.ids import NewId
from events.sql import aware_utc, binaries, naive_utc
from events.user import Account

SECRET_BYTES: Final = 32

Random = Callable[[int], bytes]
"""Returns a number of unpredictable bytes."""

# 32 bytes are 43 characters. The 2 unused bits of the last one are zero, so each token has one spelling.
_FORM = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """The secret that keeps a session alive."""

    secret: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "RefreshToken | None":
        """The token in a text; None for any other text."""
        return cls(base64.urlsafe_b64decode(f"{text}=")) if _FORM.fullmatch(text) else None

    @property
    def text(self) -> str:
        return base64.urlsafe_b64encode(self.secret).decode().rstrip("=")

    @property
    def hash(self) -> bytes:
        """The hash that the database stores. 256 random bits need no slow hash."""
        return hashlib.sha256(self.secret).digest()

    def successor(self, salt: bytes) -> "RefreshToken":
        """The token that replaces this one."""
        return RefreshToken(hmac.digest(self.secret, salt, hashlib.sha256))


GRACE_STEPS: Final = 10
"""Replacements within the grace period that a late token may be behind."""
SWEPT_ROWS: Final = 1_000
"""Sessions deleted by one statement, so that a sweep holds its locks briefly."""

START = "INSERT INTO sessions (id, user_id, since, expires_at, ends_at) VALUES (%s, %s, %s, %s, %s)"
ADD_TOKEN = "INSERT INTO refresh_tokens (token_hash, session_id) VALUES (%s, %s)"  # noqa: S105
FIND = "SELECT id, user_id, since, expires_at, ends_at FROM sessions WHERE id = %s"
FIND_WITH_HASH = """
SELECT id, user_id, since, expires_at, ends_at,
       (SELECT hash FROM events WHERE stream_id = %s ORDER BY version DESC LIMIT 1)
FROM sessions WHERE id = %s
"""
FIND_LIVE = "SELECT id FROM sessions WHERE id IN ({ids})"
OWNER_OF_TOKEN = "SELECT session_id FROM refresh_tokens WHERE token_hash = %s"  # noqa: S105
LOCK = f"{FIND} FOR UPDATE"
# Separate from LOCK: in one statement with it, the token would be read as it was before the wait for the lock.
FIND_TOKEN = "SELECT used_at, salt FROM refresh_tokens WHERE token_hash = %s"  # noqa: S105
USE_TOKEN = "UPDATE refresh_tokens SET used_at = %s, salt = %s WHERE token_hash = %s"  # noqa: S105
PROLONG = "UPDATE sessions SET expires_at = %s WHERE id = %s"
TRUST = "UPDATE sessions SET since = %s WHERE id = %s"
END = "DELETE FROM sessions WHERE id = %s"
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


class SignInSession(msgspec.Struct, frozen=True):
    """One user's session on one device."""

    id: UUID
    user_id: UUID
    since: int
    """The version of the user that it trusts."""
    expires_at: datetime
    """Without another refresh."""
    ends_at: datetime
    """However often it is refreshed."""

    def counts_for(self, account: Account, now: datetime) -> bool:
        """Whether the session is valid, given the user's current account."""
        return account.user is not None and self.since >= account.signed_out_at and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Granted:
    """A session and its current refresh token."""

    session: SignInSession
    token: RefreshToken


class Sessions:
    """The table of sessions."""

    def __init__(
        self,
        database: Database,
        lifetimes: Lifetimes,
        clock: Callable[[], datetime],
        new_id: NewId,
        random: Random,
    ) -> None:
        self._database = database
        self._lifetimes = lifetimes
        self._clock = clock
        self._new_id = new_id
        self._random = random

    async def start(self, user_id: UUID, since: int) -> Granted:
        """Start a session that trusts a version of the user."""
        ends_at = self._clock() + self._lifetimes.absolute
        session = SignInSession(self._new_id(), user_id, since, self._expiry(ends_at), ends_at)
        token = RefreshToken(self._random(SECRET_BYTES))
        values = (session.id.bytes, user_id.bytes, since, naive_utc(session.expires_at), naive_utc(ends_at))
        async with self._database.transaction() as transaction:
            await transaction.execute(START, values)
            await transaction.execute(ADD_TOKEN, (token.hash, session.id.bytes))
        return Granted(session, token)

    async def find(self, session_id: UUID) -> SignInSession | None:
        """The session, if its row exists; `SignInSession.counts_for` decides whether it is valid."""
        row = await self._database.fetch_one(FIND, (session_id.bytes,))
        return _session(row) if row else None

    async def find_with_hash(self, session_id: UUID, user_id: UUID) -> tuple[SignInSession, bytes | None] | None:
        """The session and the hash of the user's last event, from one snapshot."""
        row = await self._database.fetch_one(FIND_WITH_HASH, (user_id.bytes, session_id.bytes))
        return (_session(row[:5]), row[5]) if row else None

    async def live(self, session_ids: list[UUID]) -> set[UUID]:
        """The sessions among these whose rows exist."""
        if not session_ids:
            return set()
        ids = binaries(session_id.bytes for session_id in session_ids)  # a thousand parameters take 10 ms
        rows = await self._database.fetch_all(FIND_LIVE.format(ids=ids))
        return {UUID(bytes=row[0]) for row in rows}

    async def refresh(self, text: str) -> Granted:
        """Replace a refresh token.

        Raises:
            InvalidRefreshToken: the token is not valid. If it was reused, its session has been ended.
        """
        token = RefreshToken.parse(text)
        owner = await self._database.fetch_one(OWNER_OF_TOKEN, (token.hash,)) if token else None
        if token is None or owner is None:
            raise InvalidRefreshToken
        async with self._database.transaction() as transaction:
            granted = await self._replace(transaction, UUID(bytes=owner[0]), token)
        if granted is None:
            raise InvalidRefreshToken
        return granted

    async def keep(self, session_id: UUID, since: int) -> None:
        """Let a session outlive an event that it caused and that ended the user's sessions."""
        await self._database.execute(TRUST, (since, session_id.bytes))

    async def end(self, session_id: UUID) -> None:
        """End one session."""
        await self._database.execute(END, (session_id.bytes,))

    async def end_all(self, user_id: UUID) -> None:
        """End all sessions of a user."""
        await self._database.execute(END_ALL, (user_id.bytes,))

    async def forget(self, user_id: UUID, account: Account) -> None:
        """Delete the rows of sessions that an event has ended."""
        await self._database.execute(FORGET, (user_id.bytes, account.signed_out_at))

    async def sweep(self) -> int:
        """Delete expired sessions; return their number."""
        swept = 0
        while rows := await self._database.execute(SWEEP, (naive_utc(self._clock()), SWEPT_ROWS)):
            swept += rows
        return swept

    async def _replace(self, transaction: Connection, session_id: UUID, token: RefreshToken) -> Granted | None:
        """The next token; None if this one is not valid, which ends the session."""
        row = await transaction.fetch_one(LOCK, (session_id.bytes,))
        session = _session(row) if row else None
        newest = await self._newest(transaction, token) if session else None
        if session is None or newest is None or self._clock() >= session.expires_at:
            await transaction.execute(END, (session_id.bytes,))
            return None
        if newest != token:
            return Granted(session, newest)
        salt = self._random(SECRET_BYTES)
        successor = token.successor(salt)
        expires_at = self._expiry(session.ends_at)
        await transaction.execute(USE_TOKEN, (naive_utc(self._clock()), salt, token.hash))
        await transaction.execute(ADD_TOKEN, (successor.hash, session_id.bytes))
        await transaction.execute(PROLONG, (naive_utc(expires_at), session_id.bytes))
        return Granted(msgspec.structs.replace(session, expires_at=expires_at), successor)

    async def _newest(self, transaction: Connection, token: RefreshToken) -> RefreshToken | None:
        """The current token of the session; None if this one was replaced before the grace period."""
        for _ in range(GRACE_STEPS):
            row = await transaction.fetch_one(FIND_TOKEN, (token.hash,))
            if row is None:
                return None
            used_at, salt = row
            if used_at is None:
                return token
            if self._clock() - aware_utc(used_at) >= self._lifetimes.grace:
                return None
            token = token.successor(salt)
        return None

    def _expiry(self, ends_at: datetime) -> datetime:
        return min(self._clock() + self._lifetimes.idle, ends_at)


def _session(row: Row) -> SignInSession:
    id_, user_id, since, expires_at, ends_at = row
    return SignInSession(UUID(bytes=id_), UUID(bytes=user_id), since, aware_utc(expires_at), aware_utc(ends_at))
