"""TLS to MongoDB, and how to tell a server that disagrees on it from one that is away.

The driver reports both as a server that it cannot reach, and a server that gets what it does not speak only closes the
connection. So after such a failure the other way is tried, on the thread that watches the server. Nothing is tried
while all is well, and nothing is sent that way but a greeting.
"""

import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.monitoring import (
    ServerHeartbeatFailedEvent,
    ServerHeartbeatListener,
    ServerHeartbeatStartedEvent,
    ServerHeartbeatSucceededEvent,
)

TRY_SECONDS: Final = 1.0
# OpenSSL's reason and text. A connection that ends in the middle of the handshake is an outage.
FAILURE: Final = re.compile(r"\[SSL: (?!\w*EOF)\w+\] (?P<text>[^(\n]*[^(\n .])")
SERVER: Final = re.compile(r"<ServerDescription \('([^']*)', (\d+)\)")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with TLS to a server."""

    reason: str
    certain: bool = True
    """Not an outage: waiting does not help."""


NO_TLS: Final = Finding("it does not offer TLS, which is required")
TLS_ONLY: Final = Finding("it requires TLS, which is off")
HANGS_UP: Final = Finding(
    "it ends connections after the TLS handshake, as a server does that accepts no client without its certificate",
    certain=False,
)

_findings: Final[dict[tuple[str, int], Finding]] = {}
"""By address. Of the process, because the driver's errors name addresses and no client."""


@dataclass(frozen=True, slots=True)
class MongoTls:
    """TLS is required, and the server's certificate is verified."""

    authorities: Path | None = None
    """Certificates of the authorities that are trusted. None: those of the system."""
    certificate: Path | None = None
    """The client's certificate and its key, in one file."""
    check_host: bool = True
    """The certificate is one of the host that the address names."""

    @property
    def options(self) -> dict[str, Any]:
        """The driver's options."""
        return {
            "tls": True,
            "tlsCAFile": self.authorities and str(self.authorities),
            "tlsCertificateKeyFile": self.certificate and str(self.certificate),
            "tlsAllowInvalidHostnames": not self.check_host,
        }


class TransportListener(ServerHeartbeatListener):
    """Finds out, when a server cannot be reached, whether it would answer the other way."""

    def __init__(self, *, tls: bool) -> None:
        self._tls = tls

    def started(self, event: ServerHeartbeatStartedEvent) -> None: ...

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        _findings.pop(_address(event), None)

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        address = _address(event)
        if found := self._look(address, event.reply):
            _findings[address] = found
        else:
            _findings.pop(address, None)

    def _look(self, address: tuple[str, int], error: Exception) -> Finding | None:
        if failure := FAILURE.search(str(error)):
            return Finding(failure["text"])
        if isinstance(error.__cause__, ConnectionRefusedError | TimeoutError | socket.gaierror):
            return None
        if self._tls and _answers_plainly(address):
            return NO_TLS
        if _answers_with_tls(address):
            return HANGS_UP if self._tls else TLS_ONLY
        return None


def finding(error: PyMongoError) -> tuple[str, Finding] | None:
    """A server and what is wrong with TLS to it, if that is why none of the set can be reached.

    The error's text names the servers. Of the reasons it may hide one behind another: with `directConnection` and
    `replicaSet` it says that the server is in no set.
    """
    servers = [(host, int(port)) for host, port in SERVER.findall(str(error))]
    found = [(f"{server[0]}:{server[1]}", _findings[server]) for server in servers if server in _findings]
    return found[0] if servers and len(found) == len(servers) else None


def _address(
    event: ServerHeartbeatSucceededEvent | ServerHeartbeatFailedEvent,
) -> tuple[str, int]:
    host, port = event.connection_id
    return host, port or 0


def _answers_plainly(address: tuple[str, int]) -> bool:
    host, port = address
    try:
        with MongoClient[dict[str, Any]](
            host, port, directConnection=True, serverSelectionTimeoutMS=int(TRY_SECONDS * 1_000)
        ) as client:
            client.admin.command("hello")
    except PyMongoError:
        return False
    return True


def _answers_with_tls(address: tuple[str, int]) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only to see whether it speaks TLS
    try:
        with socket.create_connection(address, TRY_SECONDS) as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False
