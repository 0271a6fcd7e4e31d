"""Installations as real processes, used through the command line and the API."""

import asyncio
import base64
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from events.database import Address, Database
from projections.status import State, read_status
from tests.ports import free_port
from tests.system.forkserver import ForkServer, Piped
from tests.waiting import PATIENCE_SECONDS, eventually

KEY = base64.b64encode(bytes(range(32))).decode()


@dataclass(frozen=True, slots=True)
class Finished:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


@dataclass
class Process:
    """A running `rollcall` command."""

    popen: asyncio.subprocess.Process | Piped
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)

    async def line(self, beginning: str) -> str:
        """Wait for a line of standard output with this beginning."""

        async def printed() -> bool:
            assert self.popen.returncode is None, f"ended with {self.popen.returncode}: {''.join(self.err[-20:])}"
            return any(line.startswith(beginning) for line in self.out)

        await eventually(printed)
        return next(line for line in self.out if line.startswith(beginning))

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit code."""
        if self.popen.returncode is None:
            self.popen.send_signal(how)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.popen.wait()


@dataclass(frozen=True)
class Installation:
    """The directory, port and environment of `rollcall` commands that share databases."""

    directory: Path
    port: int
    variables: Mapping[str, str]
    forked: bool = True
    """Fork processes from one that has imported the program, instead of starting new interpreters."""

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[Process]:
        """Run a `rollcall` command until the block ends."""
        popen = await self._start(*arguments)
        process = Process(popen)
        readers = asyncio.gather(_drain(popen.stdout, process.out), _drain(popen.stderr, process.err))
        try:
            yield process
        except BaseException as error:
            last = "".join(process.err[-20:])
            error.add_note(f"last output of rollcall {' '.join(arguments)} (exit code {popen.returncode}):\n{last}")
            raise
        finally:
            try:
                await process.stop()
            except TimeoutError:
                popen.kill()
                raise
            finally:
                await readers

    async def run(self, *arguments: str, stdin: str = "") -> Finished:
        """Run a `rollcall` command to its end."""
        popen = await self._start(*arguments)
        out, err = await popen.communicate(stdin.encode())
        return Finished(popen.returncode or 0, out.decode(), err.decode())

    async def ready(self) -> bool:
        """`/readyz` answers 200."""
        return (await self.readiness())[0] == 200

    async def readiness(self) -> tuple[int, Any]:
        """Status and body of `/readyz`; status 0 without a server."""
        try:
            async with aiohttp.ClientSession() as client, client.get(f"{self.url}/readyz") as answer:
                return answer.status, await answer.json()
        except aiohttp.ClientError:
            return 0, None

    async def ask(self, query: str, token: str | None = None, **variables: object) -> Any:
        """Execute an operation that must have no errors and return its `data`."""
        answered = await self.post({"query": query, "variables": variables}, token)
        assert "errors" not in answered, answered
        return answered["data"]

    async def post(self, body: object, token: str | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """Send one GraphQL request and return the decoded answer."""
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        async with (
            aiohttp.ClientSession(headers={**(headers or {}), **authorization}) as client,
            client.post(f"{self.url}/graphql", json=body) as answer,
        ):
            return await answer.json()

    @asynccontextmanager
    async def socket(self, token: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket and complete its handshake."""
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(f"{self.url}/graphql", protocols=["graphql-transport-ws"]) as socket,
        ):
            await socket.send_json({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
            assert await socket.receive_json() == {"type": "connection_ack"}
            yield socket

    async def sign_in(self, login: str, password: str) -> str:
        """Sign in and return the access token."""
        data = await self.ask(
            "mutation($l: String!, $p: String!) { login(input: {login: $l, password: $p}) "
            "{ session { accessToken } errors { code } } }",
            l=login,
            p=password,
        )
        assert data["login"]["errors"] == []
        token: str = data["login"]["session"]["accessToken"]
        return token

    async def status(self) -> dict[str, Any]:
        """The output of `rollcall status --json`, by view."""
        finished = await self.run("status", "--json")
        return {status["name"]: status for status in msgspec.json.decode(finished.out)}

    async def live(self) -> bool:
        """Both projections are LIVE without lag. Reads the database, as `rollcall status` would start a process."""
        database = Database.at(Address.parse(self.variables["ROLLCALL_MYSQL_URL"]), size=1)
        try:
            return all(one.state is State.LIVE and one.lag == 0 for one in await read_status(database))
        finally:
            await database.close()

    async def _start(self, *arguments: str) -> asyncio.subprocess.Process | Piped:
        environment = {**_inherited(), **self.variables, "ROLLCALL_PORT": str(self.port)}
        if self.forked:
            return await ForkServer.running().start(arguments, self.directory, environment)
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "rollcall",
            *arguments,
            cwd=self.directory,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


def own_servers(directory: Path, mysql_url: str, mongo_url: str) -> Installation:
    """An installation on existing databases."""
    return Installation(
        directory,
        free_port(),
        {
            "ROLLCALL_MYSQL_URL": mysql_url,
            "ROLLCALL_MONGO_URL": mongo_url,
            "ROLLCALL_MASTER_KEY": KEY,
            "ROLLCALL_SIGNING_KEY": KEY,
            "ROLLCALL_ADMIN_PASSWORD": "correct horse battery",
            "ROLLCALL_PASSWORD_PROFILE": "weak-for-tests",
            "ROLLCALL_REGISTRATIONS_PER_HOUR": "0",
            "ROLLCALL_DEADLINE_SECONDS": str(PATIENCE_SECONDS),  # a busy machine may need longer than the default
        },
    )


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ROLLCALL_")}


async def _drain(stream: asyncio.StreamReader | None, lines: list[str]) -> None:
    assert stream is not None
    while line := await stream.readline():
        lines.append(line.decode())
