"""What the errors of MySQL and of its driver mean to the log: the server was lost, or refuses access.

Every other error passes as it is: a statement that the server rejects is judged by its caller.
"""

import asyncio
import re
import ssl
from types import TracebackType
from typing import Final

from asyncmy import errors
from asyncmy.errors import OperationalError

from events.errors import DatabaseRefused, DatabaseUnavailable, TlsRefused

# Errors of the server after which a retry may succeed, besides the client's own 2xxx: too many connections, shutting
# down, out of resources, deadlock, lock wait timeout, read-only (a failover), killed, a query past its limit, offline
# mode, and Group Replication's: a transaction that its group did not accept, and one that waited for the group in vain.
TRANSIENT = frozenset(
    {1040, 1053, 1041, 1135, 1205, 1213, 1290, 1836, 1317, 1927, 3024, 3168, 4031}
    | {3032, 6400, 3100, 3101, 3796, 3797, 3798, 3799}
)

MISSING_RIGHT: Final = "grant the rights that docs/operations.md lists"
# Access denied (to the schema, at sign-in, to a table, for want of SUPER), unknown schema, and a trigger that may not
# be made while binary logging is on.
REFUSED: Final = {
    1044: f"create the schema that the URL names, and {MISSING_RIGHT}",
    1045: "check user and password in ROLLCALL_MYSQL_URL (or ROLLCALL_MYSQL_READ_URL)",
    1049: "create the schema, or correct ROLLCALL_MYSQL_URL (or ROLLCALL_MYSQL_READ_URL)",
    1142: MISSING_RIGHT,
    1227: MISSING_RIGHT,
    1419: "an administrator of MySQL runs SET GLOBAL log_bin_trust_function_creators = 1 before the first start",
}
"""Refusals of access, each with what to do."""
INSECURE_TRANSPORT = 3159


class translated:  # noqa: N801 - it reads as the verb that it is
    """Raise `DatabaseUnavailable` for every way of losing MySQL, and `DatabaseRefused` if it refuses access.

    A `Database` does so when a session is returned. Code that keeps a session and acts on its loss earlier uses this.
    """

    def __enter__(self) -> None: ...

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        translate(error)


def translate(error: BaseException | None) -> None:
    """Raise the error of the log that a driver's error means, if there is one.

    Raises:
        DatabaseUnavailable: MySQL was lost.
        DatabaseRefused: MySQL refuses access.
        TlsRefused: MySQL requires TLS.
    """
    if isinstance(error, errors.MySQLError):
        code = error.args[0] if error.args else None
        client_side = isinstance(code, int) and 2000 <= code < 3000
        if client_side or code in TRANSIENT or isinstance(error, errors.InterfaceError):
            raise DatabaseUnavailable(f"MySQL: {error}") from error
        if code == INSECURE_TRANSPORT:
            raise TlsRefused("MySQL requires TLS, which is off") from error
        if code in REFUSED:
            raise DatabaseRefused(f"MySQL: {error}; {REFUSED[code]}") from error
    if isinstance(error, ConnectionError | asyncio.IncompleteReadError):
        raise DatabaseUnavailable(f"MySQL: {error!r}") from error


ANSWERS_WITHOUT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
"""What OpenSSL makes of an answer in plain text."""


def tls_refusal(error: OperationalError) -> str | None:
    """Why the two sides do not agree on TLS; None if something else is the cause.

    The driver asks for TLS whatever the server's greeting says, so a server without it answers what is no TLS. In TLS
    1.3 the server judges the client's certificate after the handshake, and its alert arrives like an answer.
    """
    match error.__cause__:
        case ssl.SSLCertVerificationError() as cause:
            return f"its certificate is not accepted: {cause.verify_message}"
        case ssl.SSLError(reason=str(reason)) if reason in ANSWERS_WITHOUT_TLS:
            return "it does not offer TLS, which is required"
        case ssl.SSLError(reason=str(reason)) as cause if not isinstance(cause, ssl.SSLEOFError):
            return f"TLS failed: {reason}"
    if alert := re.search(r"\[SSL: (\w*ALERT\w*)\]", str(error)):
        return f"it refuses TLS with this client: {alert[1]}"
    return None
