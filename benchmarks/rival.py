"""The rival: the SQLAlchemy recorder of `eventsourcing` 9.5, the best known event store for Python, on the same server.

Only the recorder is measured. It writes an event's bytes without an aggregate, a transcoder or a cipher. It has no
sealing, hash chain or claims, and its positions become visible out of order.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import quote
from uuid import uuid4

from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import Environment
from eventsourcing_sqlalchemy.factory import SQLAlchemyFactory

from benchmarks.raw import PERSONAL_BYTES
from events.database import Address, Database

MOST_THREADS = 8
"""The recorder is fastest with about 8 threads; its pool has 15 connections."""
EVENTS = 400


async def rival(database: Database) -> Callable[[int], Awaitable[float]]:
    """A function that measures the rival's events a second at a number of callers, in a separate schema."""
    await database.execute("CREATE DATABASE IF NOT EXISTS rival")
    recorder = SQLAlchemyFactory(
        Environment(name="users", env={"SQLALCHEMY_URL": _url(replace(database.address, database="rival"))})
    ).application_recorder()
    return lambda callers: asyncio.to_thread(_rate, recorder.insert_events, min(callers, MOST_THREADS))


def _rate(insert: Callable[[list[StoredEvent]], object], callers: int) -> float:
    numbers = itertools.count(1)

    def one(_: int) -> None:
        insert([StoredEvent(uuid4(), next(numbers), "users:UserRegistered", secrets.token_bytes(PERSONAL_BYTES))])

    with ThreadPoolExecutor(callers) as threads:
        started = time.perf_counter()
        list(threads.map(one, range(EVENTS)))
        return EVENTS / (time.perf_counter() - started)


def _url(address: Address) -> str:
    password = quote(address.password, safe="")
    return f"mysql+pymysql://{address.user}:{password}@{address.host}:{address.port}/{address.database}"
