"""What the driver raises when MySQL is away, told apart from every other fault."""

import asyncio
from types import TracebackType

from asyncmy import errors

from events.errors import DatabaseRefused, DatabaseUnavailable

# Errors of the server that mean "not now", beside the driver's own 2xxx: too many connections, shutting down,
# out of resources, deadlock, lock wait timeout, read-only (a failover), killed, and a query past its limit.
TRANSIENT = frozenset({1040, 1053, 1041, 1135, 1205, 1213, 1290, 1836, 1317, 1927, 3024, 3168, 4031})

# Access denied (to the schema, at sign-in, to a table, for want of SUPER), unknown schema, and a trigger that may not
# be made while binary logging is on.
REFUSED = frozenset({1044, 1045, 1049, 1142, 1227, 1419})


class translated:  # noqa: N801 - it reads as the verb that it is
    """Turn every way of losing MySQL into `DatabaseUnavailable`, and of being kept out into `DatabaseRefused`.

    A `Database` does so where a session is handed back. Who keeps one, and acts on its loss before, does it there.
    """

    def __enter__(self) -> None: ...

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        translate(error)


def translate(error: BaseException | None) -> None:
    """Raise what an error means to us, if it means something.

    Raises:
        DatabaseUnavailable: MySQL was lost.
        DatabaseRefused: it keeps us out.
    """
    if isinstance(error, errors.MySQLError):
        if _is_outage(error):
            raise DatabaseUnavailable(f"MySQL: {error}") from error
        if error.args and error.args[0] in REFUSED:
            raise DatabaseRefused(f"MySQL: {error}; see the rights that docs/operations.md lists") from error
    if isinstance(error, ConnectionError | asyncio.IncompleteReadError):
        raise DatabaseUnavailable(f"MySQL: {error!r}") from error


def _is_outage(error: errors.MySQLError) -> bool:
    code = error.args[0] if error.args else None
    client_side = isinstance(code, int) and 2000 <= code < 3000
    return client_side or code in TRANSIENT or isinstance(error, errors.InterfaceError)
