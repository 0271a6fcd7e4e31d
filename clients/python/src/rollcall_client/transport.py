"""What `Client` and `AsyncClient` share of HTTP and WebSockets."""

import logging
import ssl
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.http11 import Request as Handshake

from rollcall_client.exchange import Lost
from rollcall_client.following import Closed

MESSAGE_BYTES: Final = 16 * 2**20
"""Size of the largest message of a subscription; a data object may have 1 MiB of content."""
CONNECT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 1.0
"""How long the close of a socket may wait for the server."""
NOT_OPEN: Final = (OSError, EOFError, WebSocketException)
"""Errors of a socket that could not be opened, or is closed."""
SOCKET_LOG: Final = logging.getLogger("rollcall_client.websockets")
"""Silent unless its level is set: what it calls an error is a lost connection, and its debug log has tokens."""
SOCKET_LOG.setLevel(logging.CRITICAL)
PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def checked(url: str) -> str:
    """The URL of an endpoint.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise ValueError("url: expected an endpoint such as https://users.example.com/graphql")
    return url


def socket_url(url: str) -> str:
    """The WebSocket URL of an endpoint."""
    parts = urlsplit(url)
    return parts._replace(scheme={"http": "ws", "https": "wss"}[parts.scheme]).geturl()


def patience(seconds: float) -> httpx.Timeout:
    """How long a request may take. The server's own limits are 10 s for a query and none for a mutation."""
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


def verification(url: str, tls: ssl.SSLContext | None) -> ssl.SSLContext | bool:
    """httpx's `verify`. Without TLS it need not load the certificates of all authorities, which takes 50 ms."""
    return (tls or True) if url.startswith("https:") else False


def lost(error: httpx.RequestError) -> Lost:
    """The reply to a request that failed with an error."""
    not_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return Lost(f"{type(error).__name__}: {error}", sent=not not_sent)


def closed(error: Exception) -> Closed:
    """Why a socket could not be opened, or is closed."""
    if isinstance(error, ConnectionClosed) and (frame := error.rcvd or error.sent) is not None:
        return Closed(frame.code, frame.reason)
    if isinstance(error, InvalidStatus):
        return Closed(error.response.status_code, error.response.reason_phrase)
    return Closed(0, f"{type(error).__name__}: {error}")


def elsewhere(handshake: Handshake | None, url: str) -> Closed | None:
    """Whether a redirect has led to another server, which must not receive the token."""
    expected = urlsplit(url)
    host = "" if handshake is None else handshake.headers["Host"]
    if _authority(urlsplit(f"{expected.scheme}://{host}")) == _authority(expected):
        return None
    return Closed(421, f"redirected to {host}, which is another server")


def _authority(parts: SplitResult) -> tuple[str | None, int]:
    return parts.hostname, parts.port or PORTS[parts.scheme]
