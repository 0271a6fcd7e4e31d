"""`subscriber.mjs`, as a test talks to it."""

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
    """A real client at work. It begins with its first token."""

    process: asyncio.subprocess.Process
    heard: list[int] = field(default_factory=list)
    """The positions of the changes that it was told of, as they came."""

    async def use(self, token: str | None, after: int = 0) -> None:
        """Use this token from now on; begin after a position."""
        assert self.process.stdin is not None
        line = {"token": (token or "").removeprefix("Bearer "), "after": str(after)}
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        await self.process.stdin.drain()

    async def happened(self) -> dict[str, Any]:
        """The next thing that happens to it."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await self.process.stdout.readline()
        assert line, "the client ended"
        try:
            happened: dict[str, Any] = json.loads(line)
        except ValueError:
            raise AssertionError(f"the client said: {line.decode()}") from None
        assert happened["happened"] in {"next", "closed"}, happened
        if happened["happened"] == "next":
            self.heard.append(int(happened["position"]))
        return happened

    async def hears(self, positions: list[int]) -> None:
        """Wait until it has heard of the last of these; all that it ever heard must be these, once and in order."""
        while not self.heard or self.heard[-1] < positions[-1]:
            await self.happened()
        assert self.heard == positions

    async def is_closed(self) -> dict[str, Any]:
        """Wait until its connection is closed; what it knows of that."""
        while (happened := await self.happened())["happened"] != "closed":
            pass
        return happened


@asynccontextmanager
async def subscriber(kind: str, url: str) -> AsyncIterator[Subscriber]:
    """A subscriber by `ws` or by `sse`."""
    async with node("subscriber.mjs", kind, url) as process:
        yield Subscriber(process)
