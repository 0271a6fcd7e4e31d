"""The clients that frontends use, graphql-ws and graphql-sse from npm: whatever happens to their connection, they come
back by themselves and are told of every change once, in order, unless the right to it is gone."""

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
    """Changes of a user; their positions."""
    return [(await site.log.commands.change(person.user.id, Update(name=name), NOBODY)).position for name in names]


@asynccontextmanager
async def listening(kind: str, site: Site, person: Person, url: str | None = None) -> AsyncIterator[Subscriber]:
    """A subscriber that has heard of nothing yet."""
    async with subscriber(kind, url or str(site.anyone.url)) as client:
        await client.use(person.client.authorization, await site.log.store.head())
        yield client


@KINDS
async def test_a_connection_that_is_cut_loses_and_repeats_nothing(site: Site, kind: str) -> None:
    """It is cut again and again, without a word, while changes go on."""
    person = await site.person()
    positions: list[int] = []
    url = str(site.anyone.url)
    async with proxied(url) as proxy, listening(kind, site, person, proxy.url(url)) as client:
        for number in range(4):
            positions += await changes(site, person, f"{number} before")
            await client.hears(positions)
            positions += await changes(site, person, *(f"{number}.{again}" for again in range(5)))
            proxy.cut()
            positions += await changes(site, person, f"{number} while away")
            proxy.connect(url)
        await client.hears(positions)


@KINDS
async def test_a_token_that_expires_is_replaced_and_nothing_is_missed(
    own_site: Site, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """4403, or the end of the stream: the client asks for a token anew, and until it has one it goes on trying."""
    person = await own_site.person()
    async with listening(kind, own_site, person) as client:
        positions = await changes(own_site, person, "One")
        await client.hears(positions)

        monkeypatch.setattr(own_site.clock, "ahead", timedelta(minutes=16))

        assert (await client.is_closed()).get("code", 4403) == 4403
        positions += await changes(own_site, person, "Two", "Three")
        assert (await client.is_closed()).get("code", 4403) == 4403
        assert client.heard == positions[:1]
        await client.use((await own_site.signed_in(person.user)).authorization)
        await client.hears(positions)


@KINDS
@pytest.mark.parametrize("cause", [log_out, change_role], ids=lambda cause: cause.__name__)
async def test_who_is_signed_out_hears_no_more_until_signed_in_again(
    site: Site, kind: str, cause: Callable[[Site, Person], Awaitable[None]]
) -> None:
    """Then it is told of all that happened to its record meanwhile."""
    person = await site.person()
    async with listening(kind, site, person) as client:
        positions = await changes(site, person, "One")
        await client.hears(positions)

        await cause(site, person)

        assert (await client.is_closed()).get("code", 4403) == 4403
        await changes(site, person, "Two")
        assert (await client.is_closed()).get("code", 4403) == 4403
        assert client.heard[-1] <= positions[0] + 2  # no more than what ended the session
        account = await site.log.commands.account(person.user.id)
        assert account.user is not None
        await client.use((await site.signed_in(account.user)).authorization)
        events = await site.log.store.read_all(after=positions[0], limit=1_000)
        positions += [event.position for event in events if event.stream_id == person.user.id]
        while client.heard[-1] < positions[-1]:
            await client.happened()
        assert client.heard == sorted(set(client.heard))
        assert set(positions) <= set(client.heard)  # staff hear of others besides


@KINDS
async def test_who_is_deleted_hears_no_more(site: Site, kind: str) -> None:
    """However often it tries."""
    person = await site.person()
    async with listening(kind, site, person) as client:
        positions = await changes(site, person, "One")
        await client.hears(positions)

        await delete(site, person)

        for _ in range(3):
            assert (await client.is_closed()).get("code", 4403) == 4403
        assert set(client.heard) <= {positions[0], positions[0] + 1}  # its own end, if it was quicker


async def test_a_server_that_starts_again_is_found_again(urls: tuple[str, str], tmp_path: Path) -> None:
    """`rollcall serve` is stopped and started: 1001 on the socket, and both clients miss nothing."""
    installation = own_servers(tmp_path, *urls)
    url = f"{installation.url}/graphql"
    async with subscriber("ws", url) as by_socket, subscriber("sse", url) as by_events:
        async with installation.running("serve"):
            await eventually(installation.ready)
            token = (await installation.ask(LOGIN, p=PASSWORD))["login"]["session"]["accessToken"]
            first = await _create(installation, token, "first")
            for client in (by_socket, by_events):
                await client.use(token, after=first - 1)
                await client.hears([first])
        assert (await by_socket.is_closed())["code"] == 1001
        await by_events.is_closed()

        async with installation.running("serve"):
            await eventually(installation.ready)
            second = await _create(installation, token, "second")
            await asyncio.gather(*(client.hears([first, second]) for client in (by_socket, by_events)))


async def _create(installation: Installation, token: str, name: str) -> int:
    answer: Any = (await installation.ask(CREATE.replace("a@example", f"{name}@example"), token, name=name))[
        "createUser"
    ]
    return int(answer["position"])
