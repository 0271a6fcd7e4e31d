"""Promise 2 when MySQL fails: callers wait or get a clear error, and every answer is true.

Clients register users through an API process while its MySQL server is paused, restarted and killed. Afterwards each
acknowledged registration is in the log once, at its position; no refused one is; and one with an unknown outcome took
effect once after it was sent again with its idempotency key.
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
from tests.events.exports import opened
from tests.log import NOBODY, registration
from tests.system.clients import Clients, check_log
from tests.system.installation import own_servers
from tests.system.servers import OwnServer, own_mysqld
from tests.waiting import eventually

STOPPED_SECONDS = 5.0


@pytest_asyncio.fixture(scope="module")
async def mysqld(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OwnServer]:
    """A MySQL server for this module."""
    mysqld = await own_mysqld(tmp_path_factory.mktemp("mysqld"))
    yield mysqld
    mysqld.resume()
    if not mysqld.child.ended():
        await mysqld.end(signal.SIGTERM)


async def test_every_answer_is_true_when_mysql_is_paused_restarted_and_killed(
    urls: tuple[str, str], mysqld: OwnServer, tmp_path: Path
) -> None:
    """After SIGSTOP for five seconds, SIGTERM and SIGKILL, clients succeed again and the log matches their answers."""
    installation = own_servers(tmp_path, mysqld.url, urls[1])
    async with installation.running("serve"):
        await eventually(installation.ready)
        clients = Clients(installation.url)
        async with clients.working():
            await clients.wait_for_success()
            mysqld.pause()
            await asyncio.sleep(STOPPED_SECONDS)
            mysqld.resume()
            await clients.wait_for_success()
            for how in (signal.SIGTERM, signal.SIGKILL):
                await mysqld.end(how)
                await clients.wait_for_refusal()
                await mysqld.start()
                await clients.wait_for_success()
    database = Database.at(Address.parse(mysqld.url), size=2)
    await check_log(await opened(database), clients)
    await database.close()


async def test_a_silent_mysql_server_times_out(mysqld: OwnServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer gets OutcomeUnknown, a reader DatabaseUnavailable; a command sent again takes effect once."""
    address = replace(Address.parse(mysqld.url), database="silent")
    server = Database.at(Address.parse(mysqld.url), size=1)
    await server.execute("CREATE DATABASE silent")
    await server.close()
    database = Database.at(address, size=4)
    await migrate(database, "events")
    log, once = await opened(database), Idempotency(None, "key", b"register late")
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

    repeated = await log.commands.register(registration("later"), NOBODY, once)
    assert repeated == replace(done, repeated=True)
    assert [event.position for event in await log.all()] == list(range(1, done.position + 1))
    await database.close()
