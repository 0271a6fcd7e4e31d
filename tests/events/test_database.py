"""Connections: none returns to the pool dirty, and every way of losing the server is one error. URLs of a schema."""

import asyncio
import re
from dataclasses import replace

import pytest
from asyncmy.errors import MySQLError

from events.database import Address, Database
from events.errors import DatabaseUnavailable, EventsError
from tests.log import Log
from tests.system.proxy import proxied
from tests.waiting import PATIENCE_SECONDS, eventually


async def test_a_cancelled_statement_never_answers_the_next_one(log: Log) -> None:
    """Cut off while the server works; the pool's next user gets the answer to its own query."""
    for number in range(10):
        slow = asyncio.create_task(log.database.fetch_one("SELECT SLEEP(0.2), 'late'"))
        await asyncio.wait({slow}, timeout=0.02)
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)

        assert await log.database.fetch_one("SELECT %s", (number,)) == (number,)


async def test_a_session_whose_user_failed_is_not_handed_on(log: Log) -> None:
    """What it left in it is nobody's: the next one has another session."""
    database = Database.at(log.database.address, size=1)
    for error in (ValueError("a bug"), asyncio.CancelledError(), DatabaseUnavailable("at rest")):
        with pytest.raises(type(error)):  # noqa: PT012
            async with database.connection() as connection:
                await connection.execute("SET @left = 7")
                raise error

        assert await database.fetch_one("SELECT @left") == (None,)
    await database.close()


async def test_a_refused_transaction_leaves_no_trace_and_no_lock(log: Log) -> None:
    """Whatever leaves the block rolls back: the row is unlocked and as it was."""
    for error in (EventsError("ours"), ValueError("a bug"), asyncio.CancelledError()):
        with pytest.raises(type(error)):  # noqa: PT012
            async with log.database.transaction() as connection:
                await connection.execute("UPDATE log_head SET position = 7")
                raise error

        async with asyncio.timeout(PATIENCE_SECONDS), log.database.transaction() as connection:
            assert await connection.fetch_one("SELECT position FROM log_head FOR UPDATE") == (0,)


async def test_waiting_for_a_connection_has_a_limit(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all connections are in use for too long, the caller gets an error instead of waiting for ever."""
    small = Database.at(log.database.address, size=1, acquire_timeout=PATIENCE_SECONDS)
    async with small.connection():
        monkeypatch.setattr(small, "_acquire_timeout", 0.1)  # from now on, since a busy server may take that to connect
        with pytest.raises(DatabaseUnavailable, match=r"within 0\.1 s"):
            await small.fetch_one("SELECT 1")
        monkeypatch.undo()
    assert await small.fetch_one("SELECT 1") == (1,)
    await small.close()


async def test_a_server_that_is_gone_is_one_error_and_comes_back_by_itself(log: Log) -> None:
    """Refused, cut off in a statement, cut off at rest: always DatabaseUnavailable, and then it works again."""
    address = log.database.address
    url = f"mysql://{address.user}:x@{address.host}:{address.port}/{address.database}"
    async with proxied(url) as proxy:
        database = Database.at(replace(address, port=proxy.port), size=3)
        assert await database.fetch_one("SELECT 1") == (1,)
        asking = asyncio.create_task(database.fetch_one("SELECT SLEEP(5)"))
        await asyncio.wait({asking}, timeout=0.1)
        proxy.cut()

        with pytest.raises(DatabaseUnavailable):
            await asking
        for _ in range(5):
            with pytest.raises(DatabaseUnavailable):
                await database.fetch_one("SELECT 1")
        with pytest.raises(DatabaseUnavailable):
            async with database.dedicated():
                pass

        proxy.connect(url)
        assert await database.fetch_one("SELECT 1") == (1,)
        await database.close()


async def test_who_is_cancelled_while_it_connects_ends_whenever_that_comes(log: Log) -> None:
    """Also in the one round of the event loop in which the connection is there, which the driver's waiting loses."""

    async def dedicated(database: Database) -> None:
        async with database.dedicated():
            pass

    async def pooled(database: Database) -> None:
        async with database.connection():
            pass

    for rounds in [*range(3, 12)] * 10:
        for connect in (pooled, dedicated):
            database = Database.at(log.database.address, size=1)
            task = asyncio.create_task(connect(database))
            for _ in range(rounds):
                await asyncio.sleep(0)
            ended = task.done()
            task.cancel()
            await asyncio.wait({task})
            assert ended or task.cancelled(), f"went on after {rounds} rounds"
            assert await database.fetch_one("SELECT 1") == (1,)  # by the pool's only session
            await database.close()


async def test_a_task_that_is_cancelled_while_its_handshake_fails_ends(log: Log) -> None:
    """A server that accepts a connection and drops it: the error of the handshake does not replace the cancellation."""
    server = await asyncio.start_server(lambda _, writer: writer.transport.abort(), "127.0.0.1", 0)
    address = replace(log.database.address, port=server.sockets[0].getsockname()[1])
    database = Database.at(address, size=1)

    async def dedicated() -> None:
        async with database.dedicated():
            pass

    async def pooled() -> None:
        await database.execute("DO 1")

    for rounds in [*range(1, 14)] * 3:
        for connect in (pooled, dedicated):
            task = asyncio.create_task(connect())
            for _ in range(rounds):
                await asyncio.sleep(0)
            ended = task.done()
            task.cancel()
            await asyncio.wait({task})
            assert ended or task.cancelled(), f"{task.exception()!r} after {rounds} rounds"
    await database.close()
    server.close()


async def test_a_server_that_has_given_up_on_a_slow_sign_in_is_an_outage(log: Log) -> None:
    """It hears nothing for its `connect_timeout`, as from a process that was stopped, and says so out of turn."""
    address = log.database.address
    url = f"mysql://{address.user}:x@{address.host}:{address.port}/{address.database}"
    [[patience]] = await log.database.fetch_all("SELECT @@GLOBAL.connect_timeout")
    given_up = await aborted_sign_ins(log)

    async def gave_up() -> bool:
        return await aborted_sign_ins(log) > given_up

    async with proxied(url) as proxy:
        database = Database.at(replace(address, port=proxy.port), size=1, acquire_timeout=30)
        await log.database.execute("SET GLOBAL connect_timeout = 2")  # the least it takes
        try:
            asking = asyncio.create_task(database.fetch_one("SELECT 1"))
            assert await proxy.hang_at(re.compile(address.user.encode()), within=PATIENCE_SECONDS)
            await eventually(gave_up)
        finally:
            await log.database.execute("SET GLOBAL connect_timeout = %s", (patience,))
        proxy.flow()

        with pytest.raises(DatabaseUnavailable):
            await asking
        assert await database.fetch_one("SELECT 1") == (1,)
        await database.close()


async def aborted_sign_ins(log: Log) -> int:
    """How often the server has given a connection up before it was set up."""
    [[_, count]] = await log.database.fetch_all("SHOW GLOBAL STATUS LIKE 'Aborted_connects'")
    return int(count)


async def test_an_error_of_the_statement_is_not_an_outage(log: Log) -> None:
    """A mistake is not waited for."""
    with pytest.raises(MySQLError, match="syntax"):
        await log.database.execute("SELEKT 1")


@pytest.mark.parametrize(
    "hostile", ["'; DROP TABLE events; --", "\\'; DROP TABLE events; --", '"\x00\x1a\n\\', "%s %d %(a)s", "\\", "😀'"]
)
async def test_hostile_text_stays_text(log: Log, hostile: str) -> None:
    """Whatever a parameter holds comes back as it went in, as text and as bytes."""
    row = await log.database.fetch_one("SELECT %s, %s", (hostile, hostile.encode()))

    assert row is not None
    assert row[0] == hostile
    assert row[1] in {hostile, hostile.encode()}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgres://u:p@h/d", "the scheme mysql://"),
        ("mysql://u:p@h", "a schema name"),
        ("mysql://h/d", "a user"),
        ("mysql://u:p@/d", "a host"),
        ("mysql://u:secret@h/d?x=1", "nothing after it"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_what_is_missing(url: str, message: str) -> None:
    """Without the password in the message."""
    with pytest.raises(ValueError, match=message) as refused:
        Address.parse(url)

    assert "secret" not in str(refused.value)


def test_a_password_in_a_url_is_decoded_and_never_printed() -> None:
    """Signs that a URL cannot hold are written with %."""
    address = Address.parse("mysql://root:p%40ss%2Fword@db:3307/users")

    assert address == Address("db", 3307, "root", "p@ss/word", "users")
    assert "p@ss" not in repr(address)
