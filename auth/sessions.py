"""Sessions: who is signed in, from sign-in to logout, on every process alike.

A session is a row, and it has ended when the row is gone: by logout, by a refresh token that was used twice, or because
its time was over. Every request looks for the row, so on every process an ended session is refused at once.

What else ends a session is in the log: a new password, another role, the end of the user. No row is relied on there:
the program could be killed between the event and the DELETE. Instead a session says which version of the user it
trusts (`since`), and the log says at which version the user's sessions were last ended (`Account.signed_out_at`). A
session older than that is dead from the event's own COMMIT on. The same closes the race of a sign-in with a change of
the password: the session trusts the version whose password was checked. Rows of dead sessions are removed after.

Of two that refresh with one token at the same moment, on whatever processes, the lock of the session's row lets one go
first, and the other one finds what the first has done.

Refresh tokens: 256 random bits as 43 characters of base64url. The database holds their SHA-256 only.

A token is replaced at each use, and a token that comes a second time tells that two have it: its session is ended.
But an honest client does that too. Two tabs wake up together and send the same token; or the answer to a refresh is
lost on the way, and the client sends it again. So within a grace of some seconds a second use is answered once more.

With what? A second successor, as others give, would split the session in two lines that go on side by side: a thief
who is quick enough would have a line of its own, which no reuse ever gives away. So the second use gets *the same*
successor as the first, and a session has one line of tokens and one token in force, always. The server cannot
look the successor up, since it keeps only a hash. It makes it anew: a successor is the HMAC of a random salt under
the token that it replaces. The salt is kept beside the used token. Who reads the database has the salt and not the
token, who has stolen an old token has no salt; neither can make the next one.
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

from events.commands import LAST_HASH
from events.database import Connection, Database, Row
from events.ids import NewId
from events.sql import aware_utc, binaries, naive_utc
from events.user import Account

SECRET_BYTES = 32

Random = Callable[[int], bytes]
"""So many bytes that nobody can foretell."""

# 32 bytes are 43 characters, and the 2 bits that the last one has to spare are zero: each token has one spelling.
_FORM = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """What a client keeps to stay signed in."""

    secret: bytes = field(repr=False)

    @classmethod
    def new(cls, random: Random) -> "RefreshToken":
        """The first token of a session."""
        return cls(random(SECRET_BYTES))

    @classmethod
    def read(cls, text: str) -> "RefreshToken | None":
        """The token that a text is; None if it is none."""
        return cls(base64.urlsafe_b64decode(f"{text}=")) if _FORM.fullmatch(text) else None

    @property
    def text(self) -> str:
        """As the client gets it."""
        return base64.urlsafe_b64encode(self.secret).decode().rstrip("=")

    @property
    def hash(self) -> bytes:
        """As the database keeps it. Against 256 random bits no slow hash is needed."""
        return hashlib.sha256(self.secret).digest()

    def successor(self, salt: bytes) -> "RefreshToken":
        """The token that replaces this one."""
        return RefreshToken(hmac.digest(self.secret, salt, hashlib.sha256))


GRACE_STEPS: Final = 10
"""How often a line of tokens may have moved on within the grace, for a late first token to be led to its end."""
SWEPT_ROWS: Final = 1_000
"""Sessions at a time, each with its tokens, so that a sweep holds its locks for a moment only."""

START = "INSERT INTO sessions (id, user_id, since, expires_at, ends_at) VALUES (%s, %s, %s, %s, %s)"
ADD_TOKEN = "INSERT INTO refresh_tokens (token_hash, session_id) VALUES (%s, %s)"  # noqa: S105
FIND = "SELECT id, user_id, since, expires_at, ends_at FROM sessions WHERE id = %s"
FIND_WITH_HASH = f"SELECT id, user_id, since, expires_at, ends_at, ({LAST_HASH}) FROM sessions WHERE id = %s"  # noqa: S608 - constants
FIND_LIVE = "SELECT id FROM sessions WHERE id IN ({ids})"
OWNER_OF_TOKEN = "SELECT session_id FROM refresh_tokens WHERE token_hash = %s"  # noqa: S105
LOCK = f"{FIND} FOR UPDATE"
# A statement of its own, after the lock: joined with LOCK it would show the token as it was before the wait.
FIND_TOKEN = "SELECT used_at, salt FROM refresh_tokens WHERE token_hash = %s"  # noqa: S105
USE_TOKEN = "UPDATE refresh_tokens SET used_at = %s, salt = %s WHERE token_hash = %s"  # noqa: S105
PROLONG = "UPDATE sessions SET expires_at = %s WHERE id = %s"
TRUST = "UPDATE sessions SET since = %s WHERE id = %s"
END = "DELETE FROM sessions WHERE id = %s"
END_ALL = "DELETE FROM sessions WHERE user_id = %s"
FORGET = "DELETE FROM sessions WHERE user_id = %s AND since < %s"
SWEEP = "DELETE FROM sessions WHERE expires_at < %s LIMIT %s"


class InvalidRefreshToken(Exception):
    """A refresh token is unknown, expired, revoked or already used; nobody is told which."""

    def __init__(self) -> None:
        super().__init__("the refresh token is not valid (any more): sign in again")


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long sessions last."""

    idle: timedelta = timedelta(days=7)
    """Without a refresh."""
    absolute: timedelta = timedelta(days=30)
    """In any case: after 30 days one signs in again (NIST SP 800-63B, section 4.1.3)."""
    grace: timedelta = timedelta(seconds=10)
    """For a second use of a refresh token by a client's own parallel tabs."""


class SignInSession(msgspec.Struct, frozen=True):
    """Somebody's being signed in, on one device."""

    id: UUID
    user_id: UUID
    since: int
    """The version of the user that it trusts."""
    expires_at: datetime
    """When it ends if it is not refreshed."""
    ends_at: datetime
    """When it ends in any case."""

    def counts_for(self, account: Account, now: datetime) -> bool:
        """Whether it is in force, for the account as it is now."""
        return account.user is not None and self.since >= account.signed_out_at and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Granted:
    """A session and the token that keeps it alive."""

    session: SignInSession
    token: RefreshToken


class Sessions:
    """The sessions of the installation."""

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
        """Sign somebody in, who has proved to be this user as of that version."""
        ends_at = self._clock() + self._lifetimes.absolute
        session = SignInSession(self._new_id(), user_id, since, self._expiry(ends_at), ends_at)
        token = RefreshToken.new(self._random)
        values = (session.id.bytes, user_id.bytes, since, naive_utc(session.expires_at), naive_utc(ends_at))
        async with self._database.transaction() as transaction:
            await transaction.execute(START, values)
            await transaction.execute(ADD_TOKEN, (token.hash, session.id.bytes))
        return Granted(session, token)

    async def find(self, session_id: UUID) -> SignInSession | None:
        """The session, unless it has ended. Whether it still counts is `SignInSession.counts_for`."""
        row = await self._database.fetch_one(FIND, (session_id.bytes,))
        return _session(row) if row else None

    async def find_with_hash(self, session_id: UUID, user_id: UUID) -> tuple[SignInSession, bytes | None] | None:
        """The session, and the hash of the user's last event, as of the same moment."""
        row = await self._database.fetch_one(FIND_WITH_HASH, (user_id.bytes, session_id.bytes))
        return (_session(row[:5]), row[5]) if row else None

    async def live(self, session_ids: list[UUID]) -> set[UUID]:
        """Those of these that have not ended."""
        if not session_ids:
            return set()
        ids = binaries(session_id.bytes for session_id in session_ids)  # a thousand parameters take 10 ms
        rows = await self._database.fetch_all(FIND_LIVE.format(ids=ids))
        return {UUID(bytes=row[0]) for row in rows}

    async def refresh(self, text: str) -> Granted:
        """Replace a refresh token.

        Raises:
            InvalidRefreshToken: it is none that can be used; if it was used before, its session is ended.
        """
        token = RefreshToken.read(text)
        owner = await self._database.fetch_one(OWNER_OF_TOKEN, (token.hash,)) if token else None
        if token is None or owner is None:
            raise InvalidRefreshToken
        async with self._database.transaction() as transaction:
            granted = await self._replace(transaction, UUID(bytes=owner[0]), token)
        if granted is None:
            raise InvalidRefreshToken
        return granted

    async def keep(self, session_id: UUID, since: int) -> None:
        """Let a session outlive what has just ended the user's sessions: it was the one that did so."""
        await self._database.execute(TRUST, (since, session_id.bytes))

    async def end(self, session_id: UUID) -> None:
        """Sign somebody out, here."""
        await self._database.execute(END, (session_id.bytes,))

    async def end_all(self, user_id: UUID) -> None:
        """Sign somebody out everywhere."""
        await self._database.execute(END_ALL, (user_id.bytes,))

    async def forget(self, user_id: UUID, account: Account) -> None:
        """Remove the rows of the sessions that the log has ended."""
        await self._database.execute(FORGET, (user_id.bytes, account.signed_out_at))

    async def sweep(self) -> int:
        """Remove the sessions whose time is over; how many there were."""
        swept = 0
        while rows := await self._database.execute(SWEEP, (naive_utc(self._clock()), SWEPT_ROWS)):
            swept += rows
        return swept

    async def _replace(self, transaction: Connection, session_id: UUID, token: RefreshToken) -> Granted | None:
        """The next token; None if this one cannot be used, and then the session is ended."""
        row = await transaction.fetch_one(LOCK, (session_id.bytes,))
        session = _session(row) if row else None
        newest = await self._newest(transaction, token) if session else None
        if session is None or newest is None or self._clock() >= session.expires_at:
            await transaction.execute(END, (session_id.bytes,))
            return None
        if newest != token:
            return Granted(session, newest)
        return await self._move_on(transaction, session, token)

    async def _newest(self, transaction: Connection, token: RefreshToken) -> RefreshToken | None:
        """The token in force at the end of the line; None if this one was used too long ago."""
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

    async def _move_on(self, transaction: Connection, session: SignInSession, token: RefreshToken) -> Granted:
        salt = self._random(SECRET_BYTES)
        successor = token.successor(salt)
        expires_at = self._expiry(session.ends_at)
        await transaction.execute(USE_TOKEN, (naive_utc(self._clock()), salt, token.hash))
        await transaction.execute(ADD_TOKEN, (successor.hash, session.id.bytes))
        await transaction.execute(PROLONG, (naive_utc(expires_at), session.id.bytes))
        return Granted(msgspec.structs.replace(session, expires_at=expires_at), successor)

    def _expiry(self, ends_at: datetime) -> datetime:
        return min(self._clock() + self._lifetimes.idle, ends_at)


def _session(row: Row) -> SignInSession:
    id_, user_id, since, expires_at, ends_at = row
    return SignInSession(UUID(bytes=id_), UUID(bytes=user_id), since, aware_utc(expires_at), aware_utc(ends_at))
