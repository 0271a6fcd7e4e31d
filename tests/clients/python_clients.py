"""Both Python clients behind one interface, so that each promise is tested once for both."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from rollcall_client import AsyncClient, Client, Credentials, UserChange
from tests.graph.site import PASSWORD, Person, Site
from tests.waiting import PATIENCE_SECONDS, eventually

THREADS = 24
KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


Caller = Any
"""An `AsyncClient`, or a `Threaded` client, which has the same methods."""


class Threaded:
    """The sync client; each call of it runs in a thread."""

    def __init__(self, client: Client, threads: ThreadPoolExecutor) -> None:
        self._client = client
        self._threads = threads

    @property
    def position(self) -> int | None:
        return self._client.position

    def include(self, position: int) -> None:
        self._client.include(position)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._client, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, partial(method, *arguments, **options))

        return call

    def user_changes(self, **options: Any) -> AsyncGenerator[Any, None]:
        return self._iterate(self._client.user_changes(**options))

    def all_users(self) -> AsyncGenerator[Any, None]:
        return self._iterate(self._client.all_users())

    async def _iterate(self, items: Iterator[Any]) -> AsyncGenerator[Any, None]:
        loop = asyncio.get_running_loop()
        while (item := await loop.run_in_executor(self._threads, next, items, None)) is not None:
            yield item


@asynccontextmanager
async def calling(kind: str, url: str, **options: Any) -> AsyncIterator[Caller]:
    """A client of a kind."""
    if kind == "async":
        async with AsyncClient(url, **options) as client:
            yield client
        return
    with ThreadPoolExecutor(THREADS) as threads:
        sync = Client(url, **options)
        try:
            yield Threaded(sync, threads)
        finally:
            await asyncio.to_thread(sync.close)


def credentials(person: Person) -> Credentials:
    """With what a person signs in."""
    return Credentials(person.username, PASSWORD)


def endpoint(site: Site) -> str:
    """The URL of the API."""
    return str(site.anyone.url)


class Consumer:
    """A task that keeps what `user_changes` yields."""

    def __init__(self, client: Caller, **options: Any) -> None:
        self.received: list[UserChange] = []
        self._task = asyncio.create_task(self._consume(client, options))

    async def _consume(self, client: Caller, options: Any) -> None:
        async for change in client.user_changes(**options):
            self.received.append(change)

    @property
    def positions(self) -> list[int]:
        return [change.position for change in self.received]

    async def receives(self, positions: list[int]) -> None:
        """Wait for the last of these positions; all that were received must be these, once and in order."""

        async def reached() -> bool:
            if self._task.done():
                self._task.result()
                raise AssertionError("the subscription has ended")
            return bool(self.received) and self.received[-1].position >= positions[-1]

        await eventually(reached)
        assert self.positions == positions

    async def error(self) -> BaseException | None:
        """Wait for the end; the error that ended it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.wait([self._task])
        return self._task.exception()

    async def cancel(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
