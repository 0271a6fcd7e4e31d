"""Rebuild one view from the log of one schema, and print the seconds and the peak memory in MB."""

import asyncio
import gc
import json
import logging
import secrets
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.bench import MASTER_KEY
from events.database import Address, Database
from events.store import EventStore
from events.vault import Vault
from projections.mongo.client import MongoClient
from projections.mongo.copies import MongoCopies
from projections.mysql.copies import MySQLCopies
from projections.rebuild import Rebuilder
from projections.view import Copies
from rollcall.wiring import COLLECT_SELDOM

MEMORY_BYTES: Final = 256 * 1024 * 1024
"""The default of ROLLCALL_REBUILD_MEMORY."""


async def rebuilt(view: str, schema: str, mysql_url: str, mongo_url: str) -> float:
    """Seconds of a rebuild, including comparison and swap."""
    database = Database.at(replace(Address.parse(mysql_url), database=schema), size=5)
    mongo = MongoClient(mongo_url)
    vault = Vault(MASTER_KEY, secrets.token_bytes)
    copies: Copies = MySQLCopies(database) if view == "mysql" else MongoCopies(mongo.documents)
    try:
        await copies.live.prepare()
        rebuilder = Rebuilder(copies, EventStore(database, vault), database, vault, MEMORY_BYTES, quarantine_limit=0)
        begun = time.perf_counter()
        await rebuilder.rebuild(lambda *_: None)
        return time.perf_counter() - begun
    finally:
        mongo.close()
        await database.close()


def most_megabytes() -> float:
    """Peak resident memory of this process. `getrusage` would include the peak of the parent process."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    gc.set_threshold(*COLLECT_SELDOM)
    logging.getLogger("asyncmy").setLevel(logging.ERROR)
    taken = asyncio.run(rebuilt(*sys.argv[1:3], *json.load(sys.stdin)))
    print(json.dumps([taken, most_megabytes()]))
