"""A hundred subscribers of a real server, ten of them stopped: each receives every change once and in order."""

import signal
import time
from pathlib import Path

from benchmarks.fanout import findings, subscribers
from events.database import Address, Database
from events.user import Update
from tests.log import NOBODY, wire
from tests.system.installation import own_servers
from tests.waiting import eventually

LOGIN = 'mutation { login(input: {login: "admin", password: "correct horse battery"}) { session { accessToken } } }'
CHANGES = 200


async def test_stopped_subscribers_delay_no_one_and_miss_nothing(urls: tuple[str, str], tmp_path: Path) -> None:
    """Ten get SIGSTOP before the first change and SIGCONT after the others have received the last one."""
    installation = own_servers(tmp_path, *urls)
    async with installation.running("serve"):
        await eventually(installation.ready)
        token = (await installation.ask(LOGIN))["login"]["session"]["accessToken"]
        database = Database.at(Address.parse(urls[0]), size=4)
        async with (
            subscribers(installation.port, 90, [token]) as going,
            subscribers(installation.port, 10, [token]) as ten,
        ):
            ten.send_signal(signal.SIGSTOP)
            log, acknowledged = wire(database), dict[int, float]()
            user_id = (await log.register("ada")).user_id
            for number in range(CHANGES):
                done = await log.commands.change(user_id, Update(name=f"Name {number}"), NOBODY)
                acknowledged[done.position] = time.perf_counter()

            found = await findings(going, acknowledged)
            ten.send_signal(signal.SIGCONT)
            late = await findings(ten, acknowledged)
        await database.close()

    assert (found["whole"], found["in_order"], found["closed"]) == (90, True, [])
    assert (late["whole"], late["in_order"], late["closed"]) == (10, True, [])
