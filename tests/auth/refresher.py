"""A process of its own that refreshes with one token many times at once: `URL TOKEN TIMES GRACE_SECONDS`.

Waits for a line on standard input before it begins. Prints the tokens that it got, as JSON; null for each refusal.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta

from auth.sessions import InvalidRefreshToken, Lifetimes, Sessions
from events.database import Address, Database
from events.ids import new_id


async def refreshed(sessions: Sessions, token: str) -> str | None:
    try:
        return (await sessions.refresh(token)).token.text
    except InvalidRefreshToken:
        return None


async def main(url: str, token: str, times: str, grace: str) -> None:
    database = Database.at(Address.parse(url), size=int(times))
    lifetimes = Lifetimes(grace=timedelta(seconds=float(grace)))
    sessions = Sessions(database, bytes(32), lifetimes, lambda: datetime.now(UTC), new_id)
    await asyncio.gather(*(database.fetch_one("SELECT SLEEP(0.05)") for _ in range(int(times))))  # connect first
    print("ready", flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.readline)
    found = await asyncio.gather(*(refreshed(sessions, token) for _ in range(int(times))))
    print(json.dumps(found))  # noqa: T201
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
