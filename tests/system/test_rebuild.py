"""Rebuilds of a running installation, through the command line and the API."""

import asyncio
import itertools
import random
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from benchmarks.history import History
from events.migrations import migrate
from projections.mongo.copies import MongoCopies
from projections.mysql.copies import MySQLCopies
from projections.view import Copies
from rollcall import exits
from tests.damage import alter_key, alter_newest
from tests.projections.views import mongo_view, mysql_view
from tests.system.installation import Installation, own_servers
from tests.system.proxy import proxied
from tests.system.test_faults import VAULT, Stores, both_views_are, open_stores, user_file
from tests.waiting import PATIENCE_SECONDS, eventually

READERS = 24
REST_SECONDS = 0.1
"""Pause of a reader between queries; it leaves CPU time to the rebuilds on a machine with two cores."""
USERS = 300
LIST = "{ users(first: 20) { totalCount edges { node { username email } } } }"
USER = "query($id: ID!) { user(id: $id) { id username email } }"
SEARCH = "query($t: String!) { searchUsers(text: $t) { totalCount edges { node { username email } } } }"


@dataclass
class Reader:
    """Send queries in sequence and keep the wrong answers."""

    installation: Installation
    client: aiohttp.ClientSession
    ids: dict[str, str]
    """Ids of users with a constant username, by username."""
    chance: random.Random
    answers: int = 0
    wrong: list[object] = field(default_factory=list)

    async def read(self, ended: asyncio.Event) -> None:
        """Query until `ended` is set."""
        queries = itertools.cycle([self._list, self._user, self._search])
        for _ in range(self.chance.randrange(3)):
            next(queries)
        while not ended.is_set():
            await next(queries)()
            self.answers += 1
            await asyncio.sleep(REST_SECONDS)

    async def _list(self) -> None:
        data = await self._ask(LIST)
        self._expect(data, lambda: data["users"]["totalCount"] == USERS + 1)
        self._expect(data, lambda: len(data["users"]["edges"]) == 20)

    async def _user(self) -> None:
        username = self.chance.choice(list(self.ids))
        data = await self._ask(USER, id=self.ids[username])
        self._expect(data, lambda: data["user"] == {**data["user"], "id": self.ids[username], "username": username})

    async def _search(self) -> None:
        username = self.chance.choice(list(self.ids))
        data = await self._ask(SEARCH, t=username)
        self._expect(data, lambda: data["searchUsers"]["totalCount"] == 1)
        self._expect(data, lambda: data["searchUsers"]["edges"][0]["node"]["username"] == username)

    def _expect(self, data: Any, holds: Callable[[], bool]) -> None:
        try:
            right = holds()
        except (KeyError, TypeError, IndexError):
            right = False
        if not right:
            self.wrong.append(data)

    async def _ask(self, query: str, **variables: object) -> Any:
        body = {"query": query, "variables": variables}
        try:
            async with self.client.post(f"{self.installation.url}/graphql", json=body) as answer:
                answered = await answer.json()
        except aiohttp.ClientError as error:
            self.wrong.append(repr(error))
            return None
        if "errors" in answered:
            self.wrong.append(answered["errors"])
        return answered.get("data")


async def test_readers_see_no_effect_of_rebuilds_and_swaps(urls: tuple[str, str], tmp_path: Path) -> None:
    """24 readers get right answers while both views are rebuilt, rolled back, rebuilt and finished.

    Users change during the rebuilds, so the staging copies have events to catch up with.
    """
    user_file(tmp_path / "users.json", USERS)
    installation = own_servers(tmp_path, *urls)
    async with installation.running("dev") as dev, open_stores(urls) as stores:
        await dev.line("ready")
        assert (await installation.run("import", "users.json")).code == 0
        await eventually(installation.live)
        token = await installation.sign_in("admin", "correct horse battery")
        ids = {
            user.username: str(user.id)
            for user in (await stores.log()).values()
            if user.username.startswith("customer")
        }
        ended = asyncio.Event()
        async with aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"}, connector=aiohttp.TCPConnector(limit=READERS)
        ) as client:
            readers = [Reader(installation, client, ids, random.Random(number)) for number in range(READERS)]
            reading = [asyncio.create_task(reader.read(ended)) for reader in readers]
            changing = asyncio.create_task(change(installation, token, list(ids.values()), ended))
            done = [
                await installation.run("rebuild", "all", *options)
                for options in ((), ("--rollback",), (), ("--finish",))
            ]
            meanwhile = sum(reader.answers for reader in readers)

            async def all_answered() -> bool:
                return all(reader.answers >= 5 or reader.wrong for reader in readers)

            await eventually(all_answered)
            ended.set()
            await asyncio.gather(*reading, changing)

        assert [(one.code, one.err[-300:]) for one in done if one.code] == []
        assert [reader.wrong[:3] for reader in readers if reader.wrong] == []
        assert meanwhile > 0
        await eventually(installation.live)
        assert await both_views_are(stores, await stores.log())


async def change(installation: Installation, token: str, ids: list[str], ended: asyncio.Event) -> None:
    """Change names in sequence until `ended` is set."""
    for number in itertools.count():
        if ended.is_set():
            return
        await installation.ask(
            "mutation($id: ID!, $n: String!) { updateUser(input: {id: $id, name: $n}) { errors { code } } }",
            token,
            id=ids[number % len(ids)],
            n=f"Renamed {number}",
        )


async def partly_filled(stores: Stores, view: str) -> bool:
    """The staging copy has committed some users, but not all."""
    copy = await copies_of(stores, view).staging()
    filling = await copy.fill_state()
    return filling is not None and filling.next_id is not None and filling.next_id.int > 0


def copies_of(stores: Stores, view: str) -> Copies:
    """The copies of a view."""
    copies: dict[str, Copies] = {
        "mysql": MySQLCopies(stores.database),
        "mongo": MongoCopies(stores.mongo.documents),
    }
    return copies[view]


@pytest.mark.parametrize("view", ["mysql", "mongo"])
async def test_a_killed_rebuild_is_resumed(urls: tuple[str, str], tmp_path: Path, view: str) -> None:
    """SIGKILL during the fill leaves the live view unchanged, and the next rebuild completes the same staging copy."""
    installation = own_servers(tmp_path, *urls)
    installation = replace(installation, variables={**installation.variables, "ROLLCALL_REBUILD_MEMORY": "1"})
    async with open_stores(urls) as stores:
        await migrate(stores.database, "events", "projections")
        await History(VAULT, events=9_000, users=3_000).write(stores.database)
        assert (await installation.run("verify", "--log", "--without-keys")).code == 0
        await copies_of(stores, view).live.prepare()
        async with installation.running("rebuild", view) as rebuilding:
            await eventually(lambda: partly_filled(stores, view))
            await rebuilding.stop(signal.SIGKILL)
        assert await partly_filled(stores, view)
        assert (await copies_of(stores, view).live.checkpoint()).position == 0

        again = await installation.run("rebuild", view)

        assert again.code == 0, again.err
        expected = await stores.log()
        assert len(expected) > 2_900
        bench = mysql_view(stores.database) if view == "mysql" else mongo_view(stores.mongo.documents)
        same = await bench.users() == expected  # pytest takes minutes to explain a comparison of thousands
        assert same


PAGE_OF_LOG = re.compile(rb"FROM events FORCE INDEX \(PRIMARY\) WHERE position > (\d+) AND position <= (\d+)\s")


PARTS_IN_ONE_MIB = 2
"""Of the users of `test_rebuilding_all_views_reads_the_log_once`, with what `rebuild all` needs besides."""


@pytest.mark.parametrize("memory", ["256", "1"])
async def test_rebuilding_all_views_reads_the_log_once(urls: tuple[str, str], tmp_path: Path, memory: str) -> None:
    """MySQL is asked for each page of the log once. If the users do not fit into memory, the log is read for each part
    of them once, to fill both copies, and not again to compare them."""
    async with proxied(urls[0]) as mysql, open_stores(urls) as stores:
        installation = own_servers(tmp_path, mysql.url(urls[0]), urls[1])
        installation = replace(installation, variables={**installation.variables, "ROLLCALL_REBUILD_MEMORY": memory})
        await migrate(stores.database, "events", "projections", "auth")
        await History(VAULT, events=5_000, users=1_000).write(stores.database)
        mysql.recorded = bytearray()

        done = await installation.run("rebuild", "all")

        assert done.code == 0, done.err
        pages = [tuple(map(int, found)) for found in PAGE_OF_LOG.findall(mysql.recorded)]
        once = [(0, 2_000), (2_000, 4_000), (4_000, 5_000)]
        passes = len(pages) // len(once)
        assert pages == once * passes
        assert passes == (1 if memory == "256" else PARTS_IN_ONE_MIB)
        assert done.out.count("was rebuilt from 5000 events, equals the log, and serves now") == 2
        same = await both_views_are(stores, await stores.log())
        assert same


async def test_a_view_that_cannot_be_rebuilt_does_not_keep_the_other(urls: tuple[str, str], tmp_path: Path) -> None:
    """MongoDB goes away while both copies are filled. MySQL's is swapped in, and the command says what failed."""
    async with proxied(urls[1]) as mongodb, open_stores(urls) as stores:
        installation = own_servers(tmp_path, urls[0], mongodb.url(urls[1]))
        await migrate(stores.database, "events", "projections", "auth")
        await History(VAULT, events=9_000, users=3_000).write(stores.database)
        for view in ("mysql", "mongo"):
            await copies_of(stores, view).live.prepare()
        async with installation.running("rebuild", "all") as rebuilding:
            assert await mongodb.receives(re.compile(rb"insert.{1,20}users_1"), PATIENCE_SECONDS)
            mongodb.cut()
            code = await rebuilding.popen.wait()

        assert code == exits.UNAVAILABLE
        err = "".join(rebuilding.err)
        assert "mongo_users was not rebuilt" in err
        assert "error: MongoDB" in err
        assert "mysql_users was rebuilt from 9000 events" in "".join(rebuilding.out)
        expected = await stores.log()
        same = await mysql_view(stores.database).users() == expected
        assert same
        assert (await copies_of(stores, "mongo").live.checkpoint()).position == 0

        mongodb.connect(urls[1])
        again = await installation.run("rebuild", "mongo")

        assert again.code == 0, again.err
        same = await mongo_view(stores.mongo.documents).users() == expected
        assert same


async def test_views_are_rebuilt_past_damaged_users_beside_their_projectors(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    """Both rebuilds name the users, readers see everybody else, and after the repair a rebuild holds nobody."""
    user_file(tmp_path / "users.json", 40)
    installation = own_servers(tmp_path, *urls)
    async with installation.running("dev") as dev, open_stores(urls) as stores:
        await dev.line("ready")
        assert (await installation.run("import", "users.json")).code == 0
        await eventually(installation.live)
        token = await installation.sign_in("admin", "correct horse battery")
        users = await stores.log()
        altered, unreadable = [user.id for user in users.values() if user.username in ("customer3", "customer7")]
        await rename(installation, token, str(altered), "Altered")
        await alter_newest(stores.database, altered)
        await alter_key(stores.database, unreadable)

        done = [await installation.run("rebuild", view) for view in ("mysql", "mongo")]

        for view, finished in zip(("mysql_users", "mongo_users"), done, strict=True):
            assert finished.code == 1, finished.err
            for user_id in (altered, unreadable):
                assert f"{view}: user {user_id} is in quarantine at position" in finished.out
                assert "rebuild.quarantined" in finished.err
        other = next(user for user in users.values() if user.username == "customer5")
        await rename(installation, token, str(other.id), "Renamed")
        await eventually(lambda: both_show(installation, token, "customer5", "Renamed", 40))

        async def both_held() -> bool:
            """Each projector counts the quarantine once a second."""
            status = await installation.status()
            return [status[view]["quarantined"] for view in ("mysql_users", "mongo_users")] == [2, 2]

        await eventually(both_held)
        assert [await both_show(installation, token, name, shown, 40) for name, shown in SHOWN] == [True, True]
        assert (await installation.run("verify")).code == 0

        await alter_newest(stores.database, altered)
        await alter_key(stores.database, unreadable)
        mended = await installation.run("rebuild", "all")
        assert (mended.code, "quarantine" in mended.out) == (0, False), mended.err
        await eventually(installation.live)
        assert await both_views_are(stores, await stores.log())
        assert (await installation.run("quarantine", "list", "--json")).out.strip() == "[]"


SHOWN = (("customer3", "Customer 3"), ("customer9", "Customer 9"))
"""The first is as before the event that was altered."""


async def rename(installation: Installation, token: str, user_id: str, name: str) -> None:
    """Rename a user."""
    await installation.ask(
        "mutation($id: ID!, $n: String!) { updateUser(input: {id: $id, name: $n}) { errors { code } } }",
        token,
        id=user_id,
        n=name,
    )


async def both_show(installation: Installation, token: str, username: str, name: str, count: int) -> bool:
    """Whether the list of the MySQL view and the search of the MongoDB view have the user with this name."""
    data = await installation.ask(
        "query($t: String!) { searchUsers(text: $t) { edges { node { name } } } "
        "users(first: 100) { totalCount edges { node { username name } } } }",
        token,
        t=username,
    )
    listed = {edge["node"]["username"]: edge["node"]["name"] for edge in data["users"]["edges"]}
    found = [edge["node"]["name"] for edge in data["searchUsers"]["edges"]]
    return bool(data["users"]["totalCount"] == count and listed[username] == name and name in found)
