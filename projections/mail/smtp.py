"""The SMTP server that mails are handed to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from enum import Enum, auto
from ipaddress import ip_address
from typing import Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import aiosmtplib

PORTS: Final = {"smtp": 587, "smtps": 465}
SECONDS: Final = 30.0
"""Longest wait for one answer of the server."""


class Encryption(Enum):
    """How the connection is encrypted."""

    STARTTLS = auto()
    """From the first command on that tells anything; a server that does not offer it gets no mail."""
    TLS = auto()
    OFF = auto()
    """On loopback only."""


@dataclass(frozen=True, slots=True)
class SMTPServer:
    """An SMTP server, and how to sign in to it."""

    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)
    encryption: Encryption

    @classmethod
    def parse(cls, url: str) -> Self:
        """The server of `smtp://USER:PASSWORD@HOST:PORT` or `smtps://…`.

        Raises:
            ValueError: the URL is not of this form, or asks for mail in clear to another machine.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or set(options) - {"starttls"}:
            raise ValueError("expected smtp://USER:PASSWORD@HOST:PORT or smtps://USER:PASSWORD@HOST:PORT")
        encryption = Encryption.TLS if parts.scheme == "smtps" else Encryption.STARTTLS
        if "starttls" in options:
            if options["starttls"] != "off" or parts.scheme != "smtp":
                raise ValueError("starttls can only be off, and only with smtp://")
            if not is_loopback(parts.hostname):
                raise ValueError("starttls=off is for a server on loopback only: mails have links that sign people in")
            encryption = Encryption.OFF
        user, password = (unquote(part) if part else None for part in (parts.username, parts.password))
        return cls(parts.hostname, parts.port or PORTS[parts.scheme], user, password, encryption)


def is_loopback(host: str) -> bool:
    """Whether a host name or an address is this machine's own."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Refused(Exception):
    """The server refuses this mail for good: another attempt would fail too. The text has no address."""


class TryLater(Exception):
    """The server refuses this mail for now. The text has no address."""


class ServerAway(Exception):
    """The server cannot be reached or refuses to serve: no mail can leave."""


class Outlet:
    """An open connection to the server."""

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self._client = client

    async def send(self, message: EmailMessage, sender: str, recipient: str) -> None:
        """Hand over one mail.

        Raises:
            Refused, TryLater: the server does not take this mail.
            ServerAway: the connection broke; the server may have the mail or not.
        """
        try:
            with _cancellable():
                await self._client.send_message(message, sender=sender, recipients=[recipient])
        except aiosmtplib.SMTPNotSupported:
            raise Refused("the server takes no address with other letters than ASCII (SMTPUTF8)") from None
        except aiosmtplib.SMTPRecipientsRefused as error:
            code = error.recipients[0].code
            raise _refusal(code, "recipient") from None
        except aiosmtplib.SMTPSenderRefused as error:
            raise ServerAway(f"the server refuses the sender {sender} with code {error.code}") from None
        except aiosmtplib.SMTPDataError as error:
            raise _refusal(error.code, "message") from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise ServerAway(f"{type(error).__name__}: {error}") from error


@contextmanager
def _cancellable() -> Iterator[None]:
    """Raise `CancelledError` if the task was cancelled in the block.

    aiosmtplib waits with `asyncio.wait_for`, which in Python 3.11 loses a cancellation that arrives in the same round
    of the event loop as the answer. The publisher would go on and never end.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


def _refusal(code: int, what: str) -> Exception:
    reason = f"the server refuses the {what} with code {code}"
    return Refused(reason) if code >= 500 else TryLater(reason)


@asynccontextmanager
async def connected(server: SMTPServer, tls: ssl.SSLContext) -> AsyncIterator[Outlet]:
    """A connection for a number of mails.

    Raises:
        ServerAway: there is no connection, or not one that is as secure as required.
    """
    client = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        username=server.user,
        password=server.password,
        use_tls=server.encryption is Encryption.TLS,
        start_tls=server.encryption is Encryption.STARTTLS,
        tls_context=None if server.encryption is Encryption.OFF else tls,
        timeout=SECONDS,
    )
    try:
        with _cancellable():
            await client.connect()
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        client.close()
        raise ServerAway(f"{server.host}:{server.port}: {type(error).__name__}: {error}") from error
    try:
        yield Outlet(client)
    finally:
        client.close()  # without QUIT: nothing waits for a slow server
