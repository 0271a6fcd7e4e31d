"""Where the client runs: Node.js, Deno, or a page of Chromium. Each executes JavaScript that a test gives it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from playwright.async_api import Page

from tests.clients.package import FOLDER
from tests.waiting import PATIENCE_SECONDS

HOST = Path(__file__).parent / "host.mjs"


class Refused(Exception):
    """What the JavaScript threw."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error.get('name')}: {error.get('message')}")
        self.name: str = error.get("name") or ""
        self.code: str | None = error.get("code")
        self.retry_after: float | None = error.get("retryAfter")


class Host(Protocol):
    """A place where the client runs."""

    async def run(self, code: str, **given: Any) -> Any:
        """The value of an async function with this body, which sees `library`, `state` and `given`."""


class ProcessHost:
    """A process of Node.js or Deno."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())

    async def run(self, code: str, **given: Any) -> Any:
        """Execute in the process."""
        assert self._process.stdin is not None
        number = len(self._waiting)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, "code": code, "given": given}).encode() + b"\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._waiting[number]

    async def _read(self) -> None:
        assert self._process.stdout is not None
        printed = b""
        while line := await self._process.stdout.readline():
            try:
                answer = json.loads(line)
            except ValueError:
                printed += line
                continue
            waiting = self._waiting[answer["id"]]
            if waiting.done():
                continue  # its test has given up
            if "error" in answer:
                waiting.set_exception(Refused(answer["error"]))
            else:
                waiting.set_result(answer["value"])
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(AssertionError(f"the process ended: {printed.decode()}"))

    async def end(self) -> None:
        """End the process."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading


@asynccontextmanager
async def process(*command: str | Path, modules: Sequence[Path]) -> AsyncIterator[ProcessHost]:
    """A process that runs `host.mjs` with these modules."""
    started = await asyncio.create_subprocess_exec(
        *map(str, command),
        str(HOST),
        *map(str, modules),
        cwd=FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=16 * 1024 * 1024,
    )
    host = ProcessHost(started)
    try:
        yield host
    finally:
        await host.end()


class PageHost:
    """A page of a browser that has loaded the client."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def run(self, code: str, **given: Any) -> Any:
        """Execute in the page."""
        answer = await self.page.evaluate(
            """async ([code, given]) => {
              try {
                const run = new ((async () => {}).constructor)("library", "state", "given", code);
                return { value: (await run(window.library, window.state ??= {}, given)) ?? null };
              } catch ({ name, message, code, retryAfter }) {
                return { error: { name, message, code, retryAfter } };
              }
            }""",
            [code, given],
        )
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["value"]
