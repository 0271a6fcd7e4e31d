"""A client of GraphQL over server-sent events: reads a stream event by event."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import ClientResponse

from tests.graph.client import Client, Json
from tests.waiting import PATIENCE_SECONDS

ACCEPT = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Event:
    """One event. A comment is an event of the kind `comment`, without data."""

    kind: str
    data: Json = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Events:
    """A stream of events."""

    response: ClientResponse

    async def any(self) -> Event | None:
        """The next event, or comment; None at the end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            block = (await self.response.content.readuntil(b"\n\n")).decode()
        if not block:
            return None
        if block == ":\n\n":
            return Event("comment")
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line)
        return Event(fields["event"], json.loads(fields["data"] or "null"), fields.get("id"))

    async def event(self) -> Event | None:
        """The next event; None at the end."""
        while (event := await self.any()) is not None and event.kind == "comment":
            pass
        return event

    async def next(self) -> Json:
        """The data of the next result, which must be without errors."""
        event = await self.event()
        assert event is not None
        assert event.kind == "next", event
        assert "errors" not in event.data, event
        return event.data["data"]

    async def rest(self) -> list[str]:
        """The kinds of all that is still to come, to the end of the stream."""
        kinds = []
        while event := await self.event():
            kinds.append(event.kind)
        return kinds


@asynccontextmanager
async def streaming(
    client: Client, document: str, /, headers: dict[str, str] | None = None, **variables: Json
) -> AsyncIterator[Events]:
    """A stream of events that is open."""
    body = {"query": document, "variables": variables}
    given = {**client.headers, "Accept": ACCEPT, **(headers or {})}
    async with client.session.post(client.url, json=body, headers=given) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == ACCEPT
        yield Events(response)
