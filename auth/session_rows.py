"""A session, its row in the table and its refresh token, both authenticated by one key. See auth/sessions.py."""

import base64
import hashlib
import hmac
import re
import struct
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from auth.devices import UNKNOWN
from events.database import Row
from events.sql import NAIVE_EPOCH, aware_utc, naive_utc
from events.user import Account


class SessionClient(msgspec.Struct, frozen=True, array_like=True):
    """The client that a session was started from, and where it was last seen."""

    device: str = UNKNOWN
    """Of `auth.devices.device_of`."""
    address: str = ""
    """The client's network, from auth/addresses.py; empty if it is not known."""


NO_CLIENT: Final = SessionClient()


class SignInSession(msgspec.Struct, frozen=True):
    """One user's session on one device."""

    id: UUID
    user_id: UUID
    since: int
    """The version of the user that it trusts."""
    generation: int
    """Of its refresh token in force."""
    used_at: datetime
    """When it was started or last refreshed."""
    expires_at: datetime
    """Without another refresh."""
    ends_at: datetime
    """However often it is refreshed."""
    started_at: datetime
    client: bytes = msgspec.field(default=b"")
    """Sealed; `Sessions.client_of` opens it."""
    replaced_at: tuple[datetime, ...] = ()
    """When the last generations before the one in force were replaced, at most `GRACE_STEPS`."""

    def counts_for(self, account: Account, now: datetime) -> bool:
        """Whether the session is valid, given the user's current account."""
        return account.user is not None and self.since >= account.signed_out_at and now < self.expires_at


# 52 bytes are 70 characters. The 4 unused bits of the last one are zero, so each token has one spelling.
_FORM = re.compile(r"[A-Za-z0-9_-]{69}[AQgw]")
_TOKEN = struct.Struct(">16sI")
_ROW = struct.Struct(">16s16sIIqqqqH")
_MOMENT = struct.Struct(">q")
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """The secret that keeps a session alive."""

    session_id: UUID
    generation: int
    mac: bytes = field(repr=False)

    @property
    def text(self) -> str:
        return base64.urlsafe_b64encode(_TOKEN.pack(self.session_id.bytes, self.generation) + self.mac).decode()[:70]


class SessionKey:
    """Authenticates refresh tokens and rows of sessions."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._clients = AESSIV(hmac.digest(secret, b"rollcall session client v1", hashlib.sha512))

    def seal_client(self, session_id: UUID, client: SessionClient) -> bytes:
        """Seal what a session's row says about a person. Without a nonce: equal clients of one session look equal, and
        AES-SIV reveals nothing else."""
        return self._clients.encrypt(msgspec.json.encode(client), [session_id.bytes])

    def open_client(self, session: SignInSession) -> SessionClient:
        """The client of a session whose row is genuine."""
        return msgspec.json.decode(self._clients.decrypt(session.client, [session.id.bytes]), type=SessionClient)

    def token(self, session_id: UUID, generation: int) -> RefreshToken:
        """The refresh token of a session's generation."""
        named = b"rollcall refresh token v1" + _TOKEN.pack(session_id.bytes, generation)
        return RefreshToken(session_id, generation, hmac.digest(self._secret, named, hashlib.sha256))

    def read_token(self, text: str) -> RefreshToken | None:
        """The token in a text; None for any other text, and for a token that was not made here."""
        if not _FORM.fullmatch(text):
            return None
        decoded = base64.urlsafe_b64decode(f"{text}==")
        session_id, generation = _TOKEN.unpack_from(decoded)
        token = self.token(UUID(bytes=session_id), generation)
        return token if hmac.compare_digest(token.mac, decoded[_TOKEN.size :]) else None

    def row(self, session: SignInSession) -> Row:
        """The row of a session, with its MAC."""
        moments = map(naive_utc, (session.used_at, session.expires_at, session.ends_at))
        replaced_at = b"".join(_MOMENT.pack(_microseconds(naive_utc(moment))) for moment in session.replaced_at)
        ids = (session.id.bytes, session.user_id.bytes)
        row = (
            *ids,
            session.since,
            session.generation,
            *moments,
            replaced_at,
            naive_utc(session.started_at),
            session.client,
        )
        return (*row, self._mac(row))

    def read_row(self, row: Row) -> SignInSession | None:
        """The session in a row; None if the row was not made here."""
        try:
            genuine = hmac.compare_digest(self._mac(row[:-1]), row[-1])
        except (TypeError, struct.error):  # a value that the program cannot write, such as the date 0000-00-00
            return None
        if not genuine:
            return None
        id_, user_id, since, generation, used_at, expires_at, ends_at, replaced_at, started_at, client, _ = row
        return SignInSession(
            UUID(bytes=id_),
            UUID(bytes=user_id),
            since,
            generation,
            aware_utc(used_at),
            aware_utc(expires_at),
            aware_utc(ends_at),
            aware_utc(started_at),
            client,
            tuple(aware_utc(NAIVE_EPOCH + value * _MICROSECOND) for (value,) in _MOMENT.iter_unpack(replaced_at)),
        )

    def _mac(self, row: Row) -> bytes:
        id_, user_id, since, generation, used_at, expires_at, ends_at, replaced_at, started_at, client = row
        moments = map(_microseconds, (used_at, expires_at, ends_at, started_at))
        packed = _ROW.pack(id_, user_id, since, generation, *moments, len(replaced_at))
        return hmac.digest(self._secret, b"rollcall session v2" + packed + replaced_at + client, hashlib.sha256)


def _microseconds(moment: datetime) -> int:
    """Of an instant in a DATETIME column."""
    return (moment - NAIVE_EPOCH) // _MICROSECOND
