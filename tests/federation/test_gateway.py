"""Apollo's composition accepts the subgraph, and Apollo's gateway queries it together with another one."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from uuid import uuid4

import aiohttp
import pytest

from graph.schema import make_schema
from tests.graph.client import Json
from tests.graph.documents import CREATE, CREATE_DATA
from tests.npm.node import installed, node
from tests.system.installation import Installation, own_servers
from tests.waiting import PATIENCE_SECONDS, eventually

FOLDER: Final = Path(__file__).parent
PASSWORD: Final = "correct horse battery"
ORDERS: Final = """
{
  orders {
    edges { node { id buyer { username role orders { id } } attachment { name content } } }
    pageInfo { endCursor }
  }
}
"""
MINE: Final = "{ me { username orders { id attachment { number } } } }"


@pytest.fixture(scope="module")
def packages() -> Path:
    """Apollo's packages."""
    return installed(FOLDER)


async def composed(sdl: str) -> Json:
    """What Apollo's composition says to a subgraph beside the orders."""
    async with node("compose.mjs", folder=FOLDER) as process, asyncio.timeout(PATIENCE_SECONDS):
        printed, _ = await process.communicate(sdl.encode())
    return json.loads(printed)


@pytest.mark.usefixtures("packages")
async def test_the_subgraph_composes_with_another_one(tmp_path: Path) -> None:
    """What `rollcall schema --federation` prints; the plain schema, which has no keys, does not."""
    printed = await Installation(tmp_path, 1, {}).run("schema", "--federation")

    found = await composed(printed.out)

    assert printed.out == make_schema().subgraph + "\n"
    assert (found["errors"], found["hints"]) == ([], [])
    assert "type User implements Node" in found["supergraphSdl"]
    assert '@join__type(graph: ROLLCALL, key: "id")' in found["supergraphSdl"]
    assert {"usersByIds", "_entities", "_service"} <= set(found["built"])
    assert 'because type "DataObject" has no @key' in (await composed(make_schema().as_str()))["errors"][0]


@dataclass
class Gateway:
    """A running gateway, and the requests that it sent to Rollcall."""

    url: str
    sent: list[Json] = field(default_factory=list)

    async def ask(self, query: str, token: str | None, min_position: str | None = None) -> Json:
        """The answer to an operation of a caller."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {"Min-Position": min_position} if min_position else {}
        self.sent.clear()
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(self.url, json={"query": query}) as response,
        ):
            return await response.json()

    def has_sent(self, count: int) -> Callable[[], Awaitable[bool]]:
        """Whether the gateway has printed this number of requests."""

        async def printed() -> bool:
            return len(self.sent) >= count

        return printed


@asynccontextmanager
async def gateway(url: str, sdl: str, orders: Json) -> AsyncIterator[Gateway]:
    """Run `gateway.mjs`."""
    async with node("gateway.mjs", url, json.dumps(orders), folder=FOLDER) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(sdl.encode())
        process.stdin.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            first = (await process.stdout.readline()).decode()
        assert first.startswith("{"), first + (await process.stdout.read()).decode()
        running = Gateway(json.loads(first)["url"])

        async def follow(lines: asyncio.StreamReader) -> None:
            while line := await lines.readline():
                running.sent.append(json.loads(line))

        following = asyncio.create_task(follow(process.stdout))
        yield running
    await following


async def person(installation: Installation, token: str, name: str) -> str:
    """Create a customer; the id."""
    account = {"username": name, "email": f"{name}@example.com", "name": name, "password": PASSWORD, "role": "CUSTOMER"}
    created = (await installation.ask(CREATE, token, input=account))["createUser"]
    return str(created["user"]["id"])


def nodes(answer: Json) -> list[Json]:
    return [edge["node"] for edge in answer["data"]["orders"]["edges"]]


@pytest.mark.usefixtures("packages")
async def test_a_gateway_joins_users_with_orders(urls: tuple[str, str], tmp_path: Path) -> None:
    """A list of orders with their buyers and attachments: each caller's token decides what of them it sees."""
    servers = own_servers(tmp_path, *urls)
    servers = replace(servers, variables={**servers.variables, "ROLLCALL_FEDERATION": "on"})
    async with servers.running("serve"), servers.running("projector", "mysql"):
        await eventually(servers.ready)
        admin = await servers.sign_in("admin", PASSWORD)
        ann, bob = [await person(servers, admin, name) for name in ("ann", "bob")]
        signed_in = await servers.sign_in("ann", PASSWORD)
        created = await servers.ask(CREATE_DATA, signed_in, input={"name": "Invoice", "content": {"total": 7}})
        data = created["createData"]
        buyers = [ann, bob, ann, str(uuid4()), "legacy-7"]
        orders: list[Json] = [{"id": str(number), "buyer": {"id": one}} for number, one in enumerate(buyers)]
        orders[0]["attachment"] = {"id": data["data"]["id"]}
        sdl = (await servers.run("schema", "--federation")).out
        async with gateway(f"{servers.url}/graphql", sdl, orders) as running:
            to_all = await running.ask(ORDERS, admin, data["position"])
            await eventually(running.has_sent(2))
            batches = [one["representations"] for one in running.sent]
            to_ann = await running.ask(ORDERS, signed_in)
            own = await running.ask(MINE, signed_in)
            to_anyone = await running.ask(ORDERS, None)

    assert [one["buyer"] and one["buyer"]["username"] for one in nodes(to_all)] == ["ann", "bob", "ann", None, None]
    assert nodes(to_all)[0]["buyer"]["orders"] == [{"id": "0"}, {"id": "2"}]
    assert nodes(to_all)[0]["attachment"] == {"name": "Invoice", "content": {"total": 7}}
    assert sorted(batches) == [1, 5]  # one batch of users, which the gateway repeats, and one of data objects
    [error] = to_all["errors"]
    assert error["message"].endswith(".id: expected the id of a User, found 'legacy-7'")
    assert [one["buyer"] and one["buyer"]["username"] for one in nodes(to_ann)] == ["ann", None, "ann", None, None]
    assert own["data"]["me"] == {
        "username": "ann",
        "orders": [{"id": "0", "attachment": {"number": 1}}, {"id": "2", "attachment": None}],
    }
    assert {one["buyer"] for one in nodes(to_anyone)} == {None}
    assert {error["extensions"]["code"] for error in to_anyone["errors"]} == {"UNAUTHENTICATED"}
