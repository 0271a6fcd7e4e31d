"""GraphQL requests a second of the API, compared with two other servers on the same log and views.

`stock` is Strawberry with its defaults and the same resolvers. `plain` has one aiohttp handler per query, which returns
the same JSON. Each server is a separate process, checks the same token and reads the same rows.
"""

import asyncio
import secrets
import statistics
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple

from benchmarks.bench import Bench
from benchmarks.callers import Taken
from benchmarks.load import answer, load, request
from benchmarks.measure import Measured
from benchmarks.processes import ADMIN_PASSWORD, running
from benchmarks.registrations import registration
from events.event_types import Origin
from projections.mysql.view import MySQLView
from rollcall.embedded.process import free_port

USERS: Final = 500
RUNS: Final = 5
FIELDS: Final = "id username email name role attributes version createdAt"
ONE: Final = f"query one($id: ID!) {{ user(id: $id) {{ {FIELDS} }} }}"
PAGE: Final = f"query page {{ users(first: 100) {{ edges {{ node {{ {FIELDS} }} }} }} }}"
UPDATE: Final = (
    f"mutation update($input: UpdateUserInput!) {{ updateUser(input: $input) {{ user {{ {FIELDS} }} position }} }}"
)
LOGIN: Final = "mutation login($input: LoginInput!) { login(input: $input) { session { accessToken } } }"
SERVERS: Final = {
    "ours": ("-m", "rollcall", "serve"),
    "stock": ("-m", "benchmarks.rivals", "stock"),
    "plain": ("-m", "benchmarks.rivals", "plain"),
}


class Question(NamedTuple):
    """A query with its variables, and how often to send it."""

    what: str
    query: str
    variables: list[dict[str, Any]]
    times: int


async def graphql(bench: Bench) -> list[Measured]:
    """Requests a second for one user, a page of users, and a change."""
    ids = await _fill(bench)
    questions = [
        Question("user(id)", ONE, [{"id": id_} for id_ in ids[:100]], 1_600),
        Question("users(first: 100)", PAGE, [{}], 320),
        Question("updateUser", UPDATE, [], 960),
    ]
    async with _servers(bench) as urls:
        token = await admin_token(urls["ours"])
        return [found for question in questions for found in await _measure(question, ids, urls, token)]


async def _measure(question: Question, ids: list[str], urls: dict[str, str], token: str) -> list[Measured]:
    taken: dict[str, list[Taken]] = {name: [] for name in urls}
    for _ in range(RUNS):
        for name, url in urls.items():
            variables = question.variables or [_change(id_) for id_ in ids]
            requests = [request(url, token, question.query, values) for values in variables]
            await _check(url, requests[0])
            taken[name].append(await load(url, requests, question.times))
    middle = sorted(taken["ours"], key=lambda one: one.rate)[RUNS // 2]
    return [
        Measured(
            f"{question.what} (p99 {middle.percentile(0.99):.0f} ms)",
            statistics.median(one.rate for one in taken["ours"]),
            {"stock": "stock Strawberry", "plain": "plain aiohttp, same JSON"}[rival],
            statistics.median(one.rate for one in taken[rival]),
            statistics.median(mine.rate / its.rate for mine, its in zip(taken["ours"], taken[rival], strict=True)),
        )
        for rival in ("stock", "plain")
    ]


def _change(user_id: str) -> dict[str, Any]:
    """Variables of a change with a new name each time."""
    return {"input": {"id": user_id, "name": f"Name {secrets.token_hex(4)}"}}


async def _check(url: str, sent: bytes) -> None:
    found = await answer(url, sent)
    if found.get("errors") or not found.get("data"):
        raise RuntimeError(f"expected an answer without errors, found {found}")


async def _fill(bench: Bench) -> list[str]:
    """Register users, apply them to the MySQL view, and return their ids."""
    done = [await bench.commands.register(registration(), Origin()) for _ in range(USERS)]
    view = MySQLView(bench.database)
    await view.prepare()
    while (page := await bench.store.read_after(await view.checkpoint(), limit=500)).events:
        await view.apply(page.events, after=page.after)
    return [str(one.user_id) for one in done]


@asynccontextmanager
async def _servers(bench: Bench) -> AsyncIterator[dict[str, str]]:
    """Run the three servers; yields their addresses."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(serving(bench, *command)) for name, command in SERVERS.items()}


@asynccontextmanager
async def serving(bench: Bench, *command: str, **variables: str) -> AsyncIterator[str]:
    """Run a server on a free port; yields its address once it listens."""
    port = free_port()
    arguments = command if command[1] == "rollcall" else (*command, str(port))
    async with running(bench, *arguments, ROLLCALL_PORT=str(port), **variables) as process:
        await _listens(port, process)
        yield f"http://127.0.0.1:{port}/graphql"


async def _listens(port: int, process: Process) -> None:
    async with asyncio.timeout(30):
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"a server ended with {process.returncode} before it listened")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return


async def admin_token(url: str) -> str:
    """An access token of the administrator that the server creates at its start."""
    asked = request(url, "", LOGIN, {"input": {"login": "admin", "password": ADMIN_PASSWORD}})
    asked = asked.replace(b"Authorization: Bearer \r\n", b"")
    async with asyncio.timeout(30):
        while True:
            try:
                found = await answer(url, asked)
            except RuntimeError:  # it is starting
                await asyncio.sleep(0.1)
                continue
            token: str = found["data"]["login"]["session"]["accessToken"]
            return token
