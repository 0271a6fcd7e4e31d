"""The frontend clients graphql-ws and graphql-sse resume by themselves.

After any loss of the connection they receive every permitted change once and in order.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from events.user import Update
from tests.graph.site import Person, Site
from tests.graph.test_watch import change_role, delete, log_out
from tests.log import NOBODY
from tests.npm.subscriber import Subscriber, subscriber
from tests.system.installation import Installation, own_servers
from tests.system.proxy import proxied
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("npm_packages")

KINDS = pytest.mark.parametrize("kind", ["ws", "sse"])
PASSWORD = "correct horse battery"
LOGIN = 'mutation($p: String!) { login(input: {login: "admin", password: $p}) { session { accessToken } } }'
CREATE = """
mutation Create($name: String!) {
  createUser(
    input: {username: $name, email: "a@example.com", name: $name, password: "correct horse battery", role: CUSTOMER}
  ) { position errors { code } }
}
"""


async def changes(site: Site, person: Person, *names: str) -> list[int]:
    """Rename a user several times; return the positions."""
    return [(await site.log.commands.change(person.user.id, Update(name=name), NOBODY)).position for name in names]


@asynccontextmanager
async def subscribed(kind: str, site: Site, person: Person, url: str | None = None) -> AsyncIterator[Subscriber]:
    """Run a subscriber that starts at the head."""
    async with subscriber(kind, url or str(site.anyone.url)) as client:
        await client.use(person.client.authorization, await site.log.store.head())
        yield client


@KINDS
async def test_a_cut_connection_loses_and_repeats_nothing(site: Site, kind: str) -> None:
    """The connection is aborted repeatedly while changes continue."""
    person = await site.person()
    positions: list[int] = []
    url = str(site.anyone.url)
    async with proxied(url) as proxy, subscribed(kind, site, person, proxy.url(url)) as client:
        for number in range(4):
            positions += await changes(site, person, f"{number} before")
            await client.receives(positions)
            positions += await changes(site, person, *(f"{number}.{again}" for again in range(5)))
            proxy.cut()
            positions += await changes(site, person, f"{number} while away")
            proxy.connect(url)
        await client.receives(positions)


@KINDS
async def test_an_expired_token_is_replaced_and_nothing_is_missed(
    own_site: Site, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The server closes with 4403 or ends the stream; the client retries until it has a new token."""
    person = await own_site.person()
    async with subscribed(kind, own_site, person) as client:
        positions = await changes(own_site, person, "One")
        await client.receives(positions)

        monkeypatch.setattr(own_site.clock, "ahead", timedelta(minutes=16))

        assert (await client.wait_closed()).get("code", 4403) == 4403
        positions += await changes(own_site, person, "Two", "Three")
        assert (await client.wait_closed()).get("code", 4403) == 4403
        assert client.received == positions[:1]
        await client.use((await own_site.signed_in(person.user)).authorization)
        await client.receives(positions)


@KINDS
@pytest.mark.parametrize("cause", [log_out, change_role], ids=lambda cause: cause.__name__)
async def test_a_signed_out_user_receives_nothing_until_signed_in_again(
    site: Site, kind: str, cause: Callable[[Site, Person], Awaitable[None]]
) -> None:
    """After the next sign-in the client receives all missed changes of the user's own record."""
    person = await site.person()
    async with subscribed(kind, site, person) as client:
        positions = await changes(site, person, "One")
        await client.receives(positions)

        await cause(site, person)

        assert (await client.wait_closed()).get("code", 4403) == 4403
        await changes(site, person, "Two")
        assert (await client.wait_closed()).get("code", 4403) == 4403
        assert client.received[-1] <= positions[0] + 2  # at most the change that ended the session
        account = await site.log.commands.account(person.user.id)
        assert account.user is not None
        await client.use((await site.signed_in(account.user)).authorization)
        events = await site.log.store.read_all(after=positions[0], limit=1_000)
        positions += [event.position for event in events if event.stream_id == person.user.id]
        while client.received[-1] < positions[-1]:
            await client.next_event()
        assert client.received == sorted(set(client.received))
        assert set(positions) <= set(client.received)  # staff also receive changes of others


@KINDS
async def test_a_deleted_user_receives_nothing_more(site: Site, kind: str) -> None:
    """Every retry is refused."""
    person = await site.person()
    async with subscribed(kind, site, person) as client:
        positions = await changes(site, person, "One")
        await client.receives(positions)

        await delete(site, person)

        for _ in range(3):
            assert (await client.wait_closed()).get("code", 4403) == 4403
        assert set(client.received) <= {positions[0], positions[0] + 1}  # its own deletion may arrive before the close


async def test_clients_reconnect_to_a_restarted_server(urls: tuple[str, str], tmp_path: Path) -> None:
    """A restart of `rollcall serve` closes the socket with 1001, and both clients miss nothing."""
    installation = own_servers(tmp_path, *urls)
    url = f"{installation.url}/graphql"
    async with subscriber("ws", url) as by_socket, subscriber("sse", url) as by_events:
        async with installation.running("serve"):
            await eventually(installation.ready)
            token = (await installation.ask(LOGIN, p=PASSWORD))["login"]["session"]["accessToken"]
            first = await _create(installation, token, "first")
            for client in (by_socket, by_events):
                await client.use(token, after=first - 1)
                await client.receives([first])
        assert (await by_socket.wait_closed())["code"] == 1001
        await by_events.wait_closed()

        async with installation.running("serve"):
            await eventually(installation.ready)
            second = await _create(installation, token, "second")
            await asyncio.gather(*(client.receives([first, second]) for client in (by_socket, by_events)))


async def _create(installation: Installation, token: str, name: str) -> int:
    answer: Any = (await installation.ask(CREATE.replace("a@example", f"{name}@example"), token, name=name))[
        "createUser"
    ]
    return int(answer["position"])
