"""Control of a `subscriber.mjs` process."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.npm.node import node
from tests.waiting import PATIENCE_SECONDS


@dataclass
class Subscriber:
    """A real npm client. It subscribes when it gets its first token."""

    process: asyncio.subprocess.Process
    received: list[int] = field(default_factory=list)
    """Positions of the received changes, in order of arrival."""

    async def use(self, token: str | None, after: int = 0) -> None:
        """Use this token from now on; the first call subscribes after a position."""
        assert self.process.stdin is not None
        line = {"token": (token or "").removeprefix("Bearer "), "after": str(after)}
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        await self.process.stdin.drain()

    async def next_event(self) -> dict[str, Any]:
        """Wait for the next event of the client."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await self.process.stdout.readline()
        assert line, "the client ended"
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:
            raise AssertionError(f"unexpected output of the client: {line.decode()}") from None
        assert event["event"] in {"next", "closed"}, event
        if event["event"] == "next":
            self.received.append(int(event["position"]))
        return event

    async def receives(self, positions: list[int]) -> None:
        """Wait for the last of these positions; all received positions must be these, once and in order."""
        while not self.received or self.received[-1] < positions[-1]:
            await self.next_event()
        assert self.received == positions

    async def wait_closed(self) -> dict[str, Any]:
        """Wait until the connection is closed; return that event."""
        while (event := await self.next_event())["event"] != "closed":
            pass
        return event


@asynccontextmanager
async def subscriber(kind: str, url: str) -> AsyncIterator[Subscriber]:
    """Run a subscriber over `ws` or `sse`."""
    async with node("subscriber.mjs", kind, url) as process:
        yield Subscriber(process)
