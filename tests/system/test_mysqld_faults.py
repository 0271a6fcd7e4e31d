"""Promise 2 when MySQL itself fails under the program: callers wait or fail clearly, and none is told a lie.

Clients register users through the API of a whole process, all the time, while its server is stopped for a while,
restarted, and killed. What a client was told must be so: what was acknowledged is there once, where it was said; what
was refused for good is not there; what was left open took effect once when it was sent again with its key.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from events import commands
from events import database as database_module
from events.database import Address, Database
from events.errors import DatabaseUnavailable, OutcomeUnknown
from events.idempotency import Idempotency
from events.migrations import migrate
from tests.log import NOBODY, registration, wire
from tests.system.clients import Clients, check_log
from tests.system.installation import own_servers
from tests.system.servers import OwnServer, own_mysqld
from tests.waiting import eventually

STOPPED_SECONDS = 5.0


@pytest_asyncio.fixture(scope="module")
async def mysqld(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OwnServer]:
    """A private server of these tests."""
    mysqld = await own_mysqld(tmp_path_factory.mktemp("mysqld"))
    yield mysqld
    mysqld.resume()
    if not mysqld.child.ended():
        await mysqld.end(signal.SIGTERM)


async def test_no_caller_is_told_a_lie_when_mysql_is_stopped_restarted_and_killed(
    urls: tuple[str, str], mysqld: OwnServer, tmp_path: Path
) -> None:
    """SIGSTOP for five seconds, SIGTERM, and `kill -9`; each time work goes on within seconds."""
    installation = own_servers(tmp_path, mysqld.url, urls[1])
    async with installation.running("serve"):
        await eventually(installation.ready)
        clients = Clients(installation.url)
        async with clients.working():
            await clients.go_on()
            mysqld.pause()
            await asyncio.sleep(STOPPED_SECONDS)
            mysqld.resume()
            await clients.go_on()
            for how in (signal.SIGTERM, signal.SIGKILL):
                await mysqld.end(how)
                await clients.give_some_up()
                await mysqld.start()
                await clients.go_on()
    database = Database.at(Address.parse(mysqld.url), size=2)
    await check_log(wire(database), clients)
    await database.close()


async def test_a_server_that_answers_nothing_is_not_waited_for_without_end(
    mysqld: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller is told that the outcome is open, a reader that MySQL is away; what was sent again happened once."""
    address = replace(Address.parse(mysqld.url), database="silent")
    server = Database.at(Address.parse(mysqld.url), size=1)
    await server.execute("CREATE DATABASE silent")
    await server.close()
    database = Database.at(address, size=4)
    await migrate(database, "events")
    log, once = wire(database), Idempotency(None, "key", b"register late")
    await log.register("early")

    mysqld.pause()
    with monkeypatch.context() as patch:
        patch.setattr(commands, "ANSWER_SECONDS", 0.5)
        patch.setattr(database_module, "ANSWER_SECONDS", 0.5)
        with pytest.raises(OutcomeUnknown, match="it may yet be done"):
            await log.register("late")
        with pytest.raises(DatabaseUnavailable, match="not answered within"):
            await log.store.head()
    mysqld.resume()
    done = await log.commands.register(registration("later"), NOBODY, once)

    assert await log.commands.register(registration("later"), NOBODY, once) == done
    assert [event.position for event in await log.all()] == list(range(1, done.position + 1))
    await database.close()
