"""Rebuilds of logs of growing length: seconds and memory for each view, and the cost of an event.

    python -m benchmarks.long_rebuilds [EVENTS ...]

A log has ten events for each user. It is extended from one length to the next, in the directory that DATA_DIR names,
and a run that was interrupted goes on where it ended: ten million events take hours. Not a part of `make bench`.
"""

import asyncio
import logging
import os
import secrets
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.bench import MASTER_KEY, open_bench
from benchmarks.history import History
from benchmarks.rebuild import rebuilt_apart
from events.database import Database
from events.migrations import migrate
from events.vault import Vault

LENGTHS: Final = (10_000, 100_000, 1_000_000)
EVENTS_OF_A_USER: Final = 10
SCHEMA: Final = "long_rebuilds"


async def long_rebuilds(data_dir: Path, lengths: list[int]) -> None:
    """Print a row of a table for each length and view."""
    print("| events | users | view | seconds | us an event | MB at most |\n| --- | --- | --- | --- | --- | --- |")
    async with open_bench(data_dir) as bench:
        await bench.database.execute(f"CREATE DATABASE IF NOT EXISTS {SCHEMA}")
        database = Database.at(replace(bench.database.address, database=SCHEMA), size=5)
        try:
            await migrate(database, "events", "projections")
            history = History(Vault(MASTER_KEY, secrets.token_bytes), lengths[-1], lengths[-1] // EVENTS_OF_A_USER)
            await history.resume(database)
            for length in lengths:
                await history.write(database, length)
                for view in ("mysql", "mongo"):
                    seconds, megabytes = await rebuilt_apart(bench, view, SCHEMA)
                    cost = 1_000_000 * seconds / length
                    users = f"{length // EVENTS_OF_A_USER:,}"
                    print(
                        f"| {length:,} | {users} | {view} | {seconds:.1f} | {cost:.0f} | {megabytes:.0f} |", flush=True
                    )
        finally:
            await database.close()


def main() -> None:
    """Measure the lengths that the arguments name."""
    logging.getLogger("asyncmy").setLevel(logging.ERROR)
    lengths = sorted(map(int, sys.argv[1:])) or list(LENGTHS)
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(long_rebuilds(Path(os.environ.get("DATA_DIR", temporary)), lengths))


if __name__ == "__main__":
    main()
