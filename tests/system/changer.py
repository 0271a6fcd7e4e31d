"""A process that changes one user's password again and again: `python -m tests.system.changer URL USER NUMBER`.

The hashes are `hash NUMBER`, `hash NUMBER + 1`, ... Prints the number of each change that was acknowledged.
"""

import asyncio
import itertools
import sys
from uuid import UUID

from events.database import Address, Database
from events.user import ChangePassword
from tests.events.exports import opened
from tests.log import NOBODY


async def change(url: str, user_id: UUID, first: int) -> None:
    """Change the password until the process is killed."""
    log = await opened(Database.at(Address.parse(url), size=2))
    for number in itertools.count(first):
        version = (await log.commands.account(user_id)).password_version
        command = ChangePassword(password_hash=f"hash {number}", replaces=version)
        await log.commands.change(user_id, command, NOBODY)
        print(number, flush=True)  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    asyncio.run(change(sys.argv[1], UUID(sys.argv[2]), int(sys.argv[3])))
