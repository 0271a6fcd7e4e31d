"""A process that is killed while it changes a password leaves exactly one password that can be checked."""

import asyncio
import random
import sys
from pathlib import Path

from events.consistency import Inconsistency, verify_users
from events.database import Address, Database
from events.migrations import migrate
from tests.events.exports import opened
from tests.events.old_secrets import readable_hashes
from tests.events.tampering import silently

ROOT = Path(__file__).parent.parent.parent
KILLS = 12


async def test_a_process_killed_while_it_changes_a_password_leaves_one_password(urls: tuple[str, str]) -> None:
    """The last one that was acknowledged, or the one after it. With the master key no other hash can be opened."""
    chance, database = random.Random(20261129), Database.at(Address.parse(urls[0]), size=2)
    await migrate(database, "events")
    log = await opened(database)
    user_id = (await log.register("alice", password_hash="hash 0")).user_id
    number = 0
    for _ in range(KILLS):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.system.changer", urls[0], str(user_id), str(number + 1)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        lines = [await process.stdout.readline() for _ in range(chance.randint(1, 20))]
        await asyncio.sleep(chance.uniform(0, 0.01))
        process.kill()
        lines += (await process.stdout.read()).splitlines(keepends=True)
        await process.wait()
        async with database.transaction() as connection:  # what the process left behind has ended now
            await connection.fetch_one("SELECT 1 FROM log_head FOR UPDATE")

        found = (await log.commands.credential("alice")).password_hash
        assert found is not None
        assert await readable_hashes(log) == {user_id: {found}}
        wrong: list[Inconsistency] = []
        await verify_users(database, log.vault, log.keys, wrong.append, silently)
        assert wrong == []
        number = int(found.removeprefix("hash "))
        acknowledged = [int(line) for line in lines if line.endswith(b"\n")]
        assert number - acknowledged[-1] in {0, 1}
    await database.close()
