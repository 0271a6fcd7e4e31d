"""Connections to MySQL: where the schema is, a pool of sessions, and the errors of a lost server.

What the pool adds to the driver's: taking a connection has a time limit; a connection returns to the pool only after
its work has ended in order, and is closed, so that the server rolls back, if its user failed or was cancelled; every
way of losing the server is `DatabaseUnavailable`.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Protocol, Self, cast
from urllib.parse import unquote, urlsplit

from asyncmy import errors
from asyncmy.connection import Connection as DriverConnection
from asyncmy.connection import connect
from asyncmy.errors import InternalError, OperationalError
from asyncmy.pool import Pool

from events.errors import DatabaseRefused, DatabaseUnavailable, EventsError, OutcomeUnknown, TlsRefused


@dataclass(frozen=True, slots=True)
class Address:
    """Where a MySQL schema is and how to sign in to it."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    tls: ssl.SSLContext | None = field(default=None, repr=False, compare=False)
    """If given, a connection is encrypted by it, or refused. None: plain text."""

    @classmethod
    def parse(cls, url: str, tls: ssl.SSLContext | None = None) -> Self:
        """Read `mysql://USER:PASSWORD@HOST:PORT/SCHEMA`.

        Raises:
            ValueError: the URL is of another form; the message says what is missing, never the password.
        """
        parts = urlsplit(url)
        database = parts.path.strip("/")
        needed = {
            "the scheme mysql://": parts.scheme == "mysql",
            "a host": parts.hostname,
            "a user": parts.username,
            "a schema name after the host": database,
        }
        missing = [what for what, there in needed.items() if not there]
        if missing or parts.query or "/" in database:
            raise ValueError(
                "expected mysql://USER:PASSWORD@HOST:PORT/SCHEMA"
                + (f", missing: {', '.join(missing)}" if missing else ", and nothing after it")
            )
        return cls(
            parts.hostname or "",
            parts.port or 3306,
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            database,
            tls,
        )


# Errors of the server after which a retry may succeed, besides the client's own 2xxx: too many connections, shutting
# down, out of resources, deadlock, lock wait timeout, read-only (a failover), killed, and a query past its limit.
TRANSIENT = frozenset({1040, 1053, 1041, 1135, 1205, 1213, 1290, 1836, 1317, 1927, 3024, 3168, 4031})

# Access denied (to the schema, at sign-in, to a table, for want of SUPER), unknown schema, and a trigger that may not
# be made while binary logging is on.
REFUSED = frozenset({1044, 1045, 1049, 1142, 1227, 1419})
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
            raise DatabaseRefused(f"MySQL: {error}; see the rights that docs/operations.md lists") from error
    if isinstance(error, ConnectionError | asyncio.IncompleteReadError):
        raise DatabaseUnavailable(f"MySQL: {error!r}") from error


Row = tuple[Any, ...]
Arguments = Sequence[object]

# READ COMMITTED: readers of the log need what is committed now, and without gap locks the claims of different users
# never wait for each other. The SQL mode is fixed because the driver escapes parameters on the client, which is only
# right without NO_BACKSLASH_ESCAPES.
SESSION = """
SET time_zone = '+00:00',
    sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO',
    transaction_isolation = 'READ-COMMITTED',
    innodb_lock_wait_timeout = 10,
    max_execution_time = 30000
"""

ANSWERS_WITHOUT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
"""What OpenSSL makes of an answer in plain text."""

ANSWER_SECONDS: Final = 40.0
"""How long a statement that reads, or a packet of several, may take. The server ends queries after 30 s itself and
waits 10 s for a lock, so a longer wait is for a server that answers nothing, and the connection counts as lost."""

# Between two statements, in the middle of one, and in the middle of its answer.
PATIENCE = ", wait_timeout = {seconds}, net_read_timeout = {seconds}, net_write_timeout = {seconds}"


def placeholders(count: int) -> str:
    """The `%s` of several parameters, for an IN list or a row."""
    return ", ".join(["%s"] * count)


class Source(Protocol):
    """Runs statements: a `Database` each on its own connection, a `Connection` in its transaction."""

    async def fetch_all(self, sql: str, arguments: Arguments = ()) -> list[Row]: ...

    async def fetch_one(self, sql: str, arguments: Arguments = ()) -> Row | None: ...

    async def execute(self, sql: str, arguments: Arguments = ()) -> int: ...


class Connection:
    """One session. The driver escapes a statement's parameters and formats them into it, on the client."""

    def __init__(self, driver: DriverConnection) -> None:
        self._driver = driver

    async def fetch_all(self, sql: str, arguments: Arguments = ()) -> list[Row]:
        """Every row of the result."""
        async with self._driver.cursor() as cursor:
            await cursor.execute(sql, arguments or None)
            return list(await cursor.fetchall())

    async def fetch_one(self, sql: str, arguments: Arguments = ()) -> Row | None:
        """The first row of the result, or None."""
        rows = await self.fetch_all(sql, arguments)
        return rows[0] if rows else None

    async def execute(self, sql: str, arguments: Arguments = ()) -> int:
        """Run a statement; return how many rows it changed."""
        async with self._driver.cursor() as cursor:
            await cursor.execute(sql, arguments or None)
            return cast("int", cursor.rowcount)

    async def run(self, statements: Sequence[str]) -> list[list[Row]]:
        """Run several statements in one packet, so in one round trip; return the rows of each.

        The statements after one that fails are not run. They take no parameters: values are literals of
        `events/sql.py`.

        Raises:
            DatabaseUnavailable: there was no answer within `ANSWER_SECONDS`.
        """
        async with _answered(), self._driver.cursor() as cursor:
            await cursor.execute(";\n".join(statements), None)
            found = [list(await cursor.fetchall())]
            while await cursor.nextset():
                found.append(list(await cursor.fetchall()))
            return found

    async def finish(self, statements: Sequence[str]) -> None:
        """Run the last statements of a transaction and its COMMIT, in one packet.

        Raises:
            OutcomeUnknown: the connection broke, before the COMMIT or after it.
        """
        try:
            with translated():
                await self.run([*statements, "COMMIT"])
        except DatabaseUnavailable as error:
            raise OutcomeUnknown(f"the connection broke during a COMMIT: {error}") from error


class Database:
    """A pool of sessions on one schema."""

    def __init__(self, address: Address, pool: Pool, acquire_timeout: float) -> None:
        self.address = address
        self._pool = pool
        self._acquire_timeout = acquire_timeout

    @classmethod
    def at(
        cls, address: Address, *, size: int = 10, acquire_timeout: float = 5.0, idle_seconds: int | None = None
    ) -> Self:
        """A pool of up to `size` connections, made as they are needed; waiting for one is limited, in seconds.

        With `idle_seconds` the server ends a session, and rolls its transaction back, after that long without a word
        from it, as from a process that was stopped or a machine that vanished. Without, the server's own limit of hours
        applies. The pool gives out no session that has been idle for so long that the server might be ending it.
        """
        recycle = 600 if idle_seconds is None else idle_seconds - 1
        pool = Pool(minsize=0, maxsize=size, pool_recycle=recycle, **_driver_arguments(address, idle_seconds))
        return cls(address, pool, acquire_timeout)

    def connection(self) -> "_Borrowed":
        """A session in autocommit mode, for the length of a block.

        Raises:
            DatabaseUnavailable: none could be had in time, or the session broke.
        """
        return _Borrowed(self._pool, self._acquire)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A session inside BEGIN ... COMMIT; an error or a cancellation rolls it back.

        Raises:
            OutcomeUnknown: it was the COMMIT that broke.
            DatabaseUnavailable: as for `connection`; nothing was written.
        """
        async with self.connection() as connection:
            await connection.execute("BEGIN")
            try:
                yield connection
            except EventsError:
                await connection.execute("ROLLBACK")
                raise
            await connection.finish(())

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """A session that reads everything as of one moment, for a short time: the server keeps old rows meanwhile."""
        async with self.connection() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            try:
                yield connection
            except EventsError:
                await connection.execute("ROLLBACK")
                raise
            await connection.execute("COMMIT")

    async def fetch_all(self, sql: str, arguments: Arguments = ()) -> list[Row]:
        """Every row of one statement's result."""
        async with _answered(), self.connection() as connection:
            return await connection.fetch_all(sql, arguments)

    async def fetch_one(self, sql: str, arguments: Arguments = ()) -> Row | None:
        """The first row of one statement's result, or None."""
        async with _answered(), self.connection() as connection:
            return await connection.fetch_one(sql, arguments)

    async def execute(self, sql: str, arguments: Arguments = ()) -> int:
        """Run one statement by itself; return how many rows it changed."""
        async with self.connection() as connection:
            return await connection.execute(sql, arguments)

    async def sweep(self, sql: str, arguments: Arguments) -> int:
        """Repeat a DELETE with a LIMIT, which holds its locks briefly, until no row is left; return how many."""
        swept = 0
        while rows := await self.execute(sql, arguments):
            swept += rows
        return swept

    @asynccontextmanager
    async def dedicated(self, *, idle_seconds: int | None = None) -> AsyncIterator[Connection]:
        """A session outside the pool, for a named lock, which belongs to a session. `idle_seconds` is as in `at`."""
        with translated():
            cancelled = _cancellations()
            driver = await self._connecting(connect(**_driver_arguments(self.address, idle_seconds)))
            try:
                _heed(cancelled)
                yield Connection(driver)
            finally:
                driver.close()

    async def close(self) -> None:
        """Close every connection, also those in use."""
        self._pool.terminate()
        await self._pool.wait_closed()

    async def _acquire(self) -> DriverConnection:
        return await self._connecting(self._pool.acquire())

    async def _connecting(self, attempt: Awaitable[DriverConnection]) -> DriverConnection:
        cancelled = _cancellations()
        try:
            return await self._within_limit(attempt)
        except Exception:
            _heed(cancelled)
            raise

    async def _within_limit(self, attempt: Awaitable[DriverConnection]) -> DriverConnection:
        where = f"{self.address.host}:{self.address.port}"
        try:
            async with asyncio.timeout(self._acquire_timeout):
                return await attempt
        except TimeoutError as error:
            raise DatabaseUnavailable(f"no MySQL connection to {where} within {self._acquire_timeout:g} s") from error
        except OperationalError as error:
            if reason := _tls_refusal(error):
                raise TlsRefused(f"MySQL at {where}: {reason}") from error
            raise
        except (OSError, RuntimeError, InternalError) as error:
            # The driver's RuntimeError: the server hung up before the connection was set up. Its InternalError: the
            # server gave the connection up meanwhile (`connect_timeout`), as on a process that was stopped and goes on.
            raise DatabaseUnavailable(f"no MySQL connection to {where}: {error}") from error


class _Borrowed:
    """A session of the pool, returned in order or closed. A class, because a generator takes several times as long."""

    def __init__(self, pool: Pool, acquire: Callable[[], Awaitable[DriverConnection]]) -> None:
        self._pool = pool
        self._acquire = acquire

    async def __aenter__(self) -> Connection:
        with translated():
            cancelled = _cancellations()
            self._driver = await self._acquire()
        try:
            _heed(cancelled)
        except asyncio.CancelledError:
            await self._pool.release(self._driver)
            raise
        return Connection(self._driver)

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        # The log's own errors are raised between two statements, so the session is in order. After a failed or
        # cancelled statement it is not: an answer may still be on its way.
        if isinstance(error, DatabaseUnavailable) or not isinstance(error, EventsError | None):
            self._driver.close()
        await self._pool.release(self._driver)
        translate(error)


def _cancellations() -> int:
    """How many cancellations of the task are pending."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def _heed(cancelled: int) -> None:
    """Raise `CancelledError` if the task was cancelled since.

    The driver connects with `asyncio.wait_for`, which in Python 3.11 loses a cancellation that arrives in the same
    round of the event loop as the connection. The task would go on, with a session or with the error of a handshake
    that failed, and a loop that retries after an error would never end.
    """
    if _cancellations() > cancelled:
        raise asyncio.CancelledError


def _tls_refusal(error: OperationalError) -> str | None:
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


class _answered:  # noqa: N801 - it reads as the verb that it is
    """Raise `DatabaseUnavailable` if the answer does not come within `ANSWER_SECONDS`.

    Each statement passes here, so this and `translated` are classes: generators take several times as long.
    """

    async def __aenter__(self) -> None:
        self._limit = asyncio.timeout(ANSWER_SECONDS)
        await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._limit.__aexit__(kind, error, trace)
            if isinstance(error, TimeoutError):  # of the system, for a connection without an answer
                raise error
        except TimeoutError as expired:
            raise DatabaseUnavailable(f"MySQL has not answered within {ANSWER_SECONDS:g} s") from expired


def _driver_arguments(address: Address, idle_seconds: int | None) -> dict[str, Any]:
    patience = "" if idle_seconds is None else PATIENCE.format(seconds=int(idle_seconds))
    return {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "password": address.password,
        "database": address.database,
        "charset": "utf8mb4",
        "autocommit": True,
        "binary_prefix": True,
        "init_command": SESSION + patience,
        "ssl": address.tls,
        "connect_timeout": 5,
    }
