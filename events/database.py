"""Connections to MySQL: where the schema is, and a pool of sessions.

An address may list several hosts. Every session is then one on their primary, and none survives a change of it
(`events/primary.py`).

What the pool adds to the driver's: taking a connection has a time limit; a connection returns to the pool only after
its work has ended in order, and is closed, so that the server rolls back, if its user failed or was cancelled; every
way of losing the server is `DatabaseUnavailable` (`events/mysql_errors.py`).
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Final, Protocol, Self, cast
from urllib.parse import unquote, urlsplit

from asyncmy.connection import Connection as DriverConnection
from asyncmy.connection import connect
from asyncmy.errors import InternalError, OperationalError
from asyncmy.pool import Pool

from events.errors import DatabaseUnavailable, EventsError, OutcomeUnknown, TlsRefused
from events.mysql_errors import tls_refusal, translate, translated
from events.primary import Host, HostState, Member, PrimaryWatch


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
    others: tuple[Host, ...] = ()
    """Further hosts of the same data, one of which may be the primary."""

    @property
    def hosts(self) -> tuple[Host, ...]:
        """All hosts, in the order of the URL."""
        return Host(self.host, self.port), *self.others

    def on(self, host: Host) -> "Address":
        """The same schema on one of the hosts."""
        return replace(self, host=host.name, port=host.port, others=())

    @classmethod
    def parse(cls, url: str, tls: ssl.SSLContext | None = None) -> Self:
        """Read `mysql://USER:PASSWORD@HOST:PORT/SCHEMA`, or with several hosts: `HOST:PORT,HOST:PORT`.

        Raises:
            ValueError: the URL is of another form; the message says what is missing, never the password.
        """
        scheme, _, rest = url.partition("://")
        signed_in, _, location = rest.rpartition("@")
        listed, _, path = location.partition("/")
        user, _, password = signed_in.partition(":")
        hosts = listed.split(",")
        database = path.strip("/")
        needed = {
            "the scheme mysql://": scheme == "mysql",
            "a host": all(hosts),
            "a user": user,
            "a schema name after the host": database,
        }
        missing = [what for what, there in needed.items() if not there]
        if missing or re.search(r"[/?#]", database):
            raise ValueError(
                "expected mysql://USER:PASSWORD@HOST:PORT/SCHEMA"
                + (f", missing: {', '.join(missing)}" if missing else ", and nothing after it")
            )
        first, *others = map(_host, hosts)
        if len({first, *others}) <= len(others):
            raise ValueError("expected each host once")
        return cls(first.name, first.port, unquote(user), unquote(password), database, tls, tuple(others))


def _host(text: str) -> Host:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path or parts.query or parts.fragment:
        raise ValueError(f"expected HOST:PORT, found {text}")
    return Host(parts.hostname, parts.port or 3306)


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

ANSWER_SECONDS: Final = 40.0
"""How long a statement that reads, or a packet of several, may take. The server ends queries after 30 s itself and
waits 10 s for a lock, so a longer wait is for a server that answers nothing, and the connection counts as lost."""

PRIMARY_CHANGED: Final = "MySQL has another primary since this connection was begun"

# Between two statements, in the middle of one, and in the middle of its answer.
PATIENCE = ", wait_timeout = {seconds}, net_read_timeout = {seconds}, net_write_timeout = {seconds}"


def placeholders(count: int) -> str:
    """The `%s` of several parameters, for an IN list or a row."""
    return ", ".join(["%s"] * count)


class Reads(Protocol):
    """Runs statements that only read."""

    async def fetch_all(self, sql: str, arguments: Arguments = ()) -> list[Row]: ...

    async def fetch_one(self, sql: str, arguments: Arguments = ()) -> Row | None: ...


class Source(Reads, Protocol):
    """Runs statements: a `Database` each on its own connection, a `Connection` in its transaction."""

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

    def __init__(self, address: Address, size: int, acquire_timeout: float, idle_seconds: int | None) -> None:
        self.address = address
        self._size = size
        self._acquire_timeout = acquire_timeout
        self._idle_seconds = idle_seconds
        self._pool = self._pool_on(address)
        self._dedicated: set[DriverConnection] = set()
        self._probes: dict[Host, DriverConnection] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._watch = PrimaryWatch(address.hosts, self._ask, self._follow) if address.others else None

    @classmethod
    def at(
        cls, address: Address, *, size: int = 10, acquire_timeout: float = 5.0, idle_seconds: int | None = None
    ) -> Self:
        """A pool of up to `size` connections, made as they are needed; waiting for one is limited, in seconds.

        With `idle_seconds` the server ends a session, and rolls its transaction back, after that long without a word
        from it, as from a process that was stopped or a machine that vanished. Without, the server's own limit of hours
        applies. The pool gives out no session that has been idle for so long that the server might be ending it.
        """
        return cls(address, size, acquire_timeout, idle_seconds)

    def _pool_on(self, address: Address) -> Pool:
        recycle = 600 if self._idle_seconds is None else self._idle_seconds - 1
        arguments = _driver_arguments(address, self._idle_seconds)
        return Pool(minsize=0, maxsize=self._size, pool_recycle=recycle, **arguments)

    def connection(self) -> "_Borrowed":
        """A session in autocommit mode, for the length of a block.

        Raises:
            DatabaseUnavailable: none could be had in time, or the session broke.
        """
        return _Borrowed(self._acquire)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A session inside BEGIN ... COMMIT; an error or a cancellation rolls it back.

        Raises:
            OutcomeUnknown: it was the COMMIT that broke.
            DatabaseUnavailable: as for `connection`; nothing was written.
        """
        async with self.own_transaction() as connection:
            await connection.execute("BEGIN")
            yield connection
            await connection.finish(())

    @asynccontextmanager
    async def own_transaction(self) -> AsyncIterator[Connection]:
        """A session whose block begins a transaction and commits it by `finish`: each shares a packet with other
        statements. An error or a cancellation rolls it back.

        Raises:
            OutcomeUnknown, DatabaseUnavailable: as for `transaction`.
        """
        async with self.connection() as connection:
            try:
                yield connection
            except DatabaseUnavailable:
                raise  # the session is closed
            except EventsError:
                await connection.execute("ROLLBACK")
                raise

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """A session that reads everything as of one moment, for a short time: the server keeps old rows meanwhile."""
        async with self.own_transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            yield connection
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
            address = self.address if self._watch is None else self.address.on(await self._primary(self._watch))
            pool = self._pool
            driver = await self._connecting(connect(**_driver_arguments(address, idle_seconds)))
            self._dedicated.add(driver)
            try:
                _heed(cancelled)
                if pool is not self._pool:
                    raise DatabaseUnavailable(PRIMARY_CHANGED)
                yield Connection(driver)
            finally:
                self._dedicated.discard(driver)
                driver.close()

    async def close(self) -> None:
        """Close every connection, also those in use."""
        if self._watch is not None:
            await self._watch.close()
        for driver in self._probes.values():
            driver.close()
        self._pool.terminate()
        await asyncio.gather(self._pool.wait_closed(), *self._ending)

    async def _acquire(self) -> tuple[Pool, DriverConnection]:
        if self._watch is not None:
            await self._primary(self._watch)
        pool = self._pool
        driver = await self._connecting(pool.acquire())
        if pool is not self._pool:
            driver.close()
            await pool.release(driver)
            raise DatabaseUnavailable(PRIMARY_CHANGED)
        return pool, driver

    async def _primary(self, watch: PrimaryWatch) -> Host:
        try:
            async with asyncio.timeout(self._acquire_timeout):
                return await watch.primary()
        except TimeoutError as error:
            raise DatabaseUnavailable(
                f"no MySQL connection within {self._acquire_timeout:g} s: {watch.trouble}"
            ) from error

    def _follow(self, primary: Host | None) -> None:
        """End every session; the next ones are on the new primary."""
        for driver in self._dedicated:
            driver.close()
        pool, self._pool = self._pool, self._pool_on(self.address if primary is None else self.address.on(primary))
        pool.terminate()
        ending = asyncio.create_task(pool.wait_closed())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _ask(self, host: Host) -> HostState:
        """What a host says about itself, through a session that is kept: a busy server may have no room for another."""
        with translated():
            driver = self._probes.pop(host, None)
            if driver is None:
                driver = await self._connecting(connect(**_driver_arguments(self.address.on(host), None)))
            try:
                state = await _host_state(Connection(driver))
            except BaseException:
                driver.close()
                raise
            self._probes[host] = driver
        return state

    async def _connecting(self, attempt: Awaitable[DriverConnection]) -> DriverConnection:
        cancelled = _cancellations()
        try:
            return await self._within_limit(attempt)
        except Exception:
            _heed(cancelled)
            raise

    async def _within_limit(self, attempt: Awaitable[DriverConnection]) -> DriverConnection:
        where = ",".join(map(str, self.address.hosts))
        try:
            async with asyncio.timeout(self._acquire_timeout):
                return await attempt
        except TimeoutError as error:
            raise DatabaseUnavailable(f"no MySQL connection to {where} within {self._acquire_timeout:g} s") from error
        except OperationalError as error:
            if reason := tls_refusal(error):
                raise TlsRefused(f"MySQL at {where}: {reason}") from error
            raise
        except (OSError, RuntimeError, InternalError) as error:
            # The driver's RuntimeError: the server hung up before the connection was set up. Its InternalError: the
            # server gave the connection up meanwhile (`connect_timeout`), as on a process that was stopped and goes on.
            raise DatabaseUnavailable(f"no MySQL connection to {where}: {error}") from error


class _Borrowed:
    """A session of the pool, returned in order or closed. A class, because a generator takes several times as long."""

    def __init__(self, acquire: Callable[[], Awaitable[tuple[Pool, DriverConnection]]]) -> None:
        self._acquire = acquire

    async def __aenter__(self) -> Connection:
        with translated():
            cancelled = _cancellations()
            self._pool, self._driver = await self._acquire()
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


HOST_STATE: Final = "SELECT @@server_uuid, @@GLOBAL.read_only OR @@GLOBAL.super_read_only, @@GLOBAL.offline_mode"
GROUP_NAME: Final = "SHOW GLOBAL VARIABLES LIKE 'group_replication_group_name'"
GROUP_MEMBERS: Final = """
SELECT member_id, member_state, member_role FROM performance_schema.replication_group_members
"""


async def _host_state(connection: Connection) -> HostState:
    [(server_id, read_only, offline)], group_name = await connection.run([HOST_STATE, GROUP_NAME])
    grouped = bool(group_name and group_name[0][1])
    members = await connection.fetch_all(GROUP_MEMBERS) if grouped else []
    return HostState(server_id, bool(read_only), bool(offline), grouped, [Member(*member) for member in members])


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
