"""The application of docs/application.md, and the recipes, in real browsers and processes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from playwright.async_api import Page, expect

from tests.clients.hosts import ProcessHost, process
from tests.clients.package import FOLDER
from tests.clients.site import ESBUILD, ORIGIN, rename, served
from tests.pages.stack import ADMIN, Stack, no_faults
from tests.system.proxy import proxied
from tests.waiting import eventually

DOCUMENTS: Final = FOLDER / "examples" / "code-generator" / "gql" / "manifest.json"
VARIABLES: Final = {
    "ROLLCALL_ACCESS_TOKEN_SECONDS": "8",
    "ROLLCALL_ALLOWED_ORIGINS": ORIGIN,
    "ROLLCALL_SIGN_INS_PER_HOUR": "0",
    "ROLLCALL_TRUSTED_DOCUMENTS": str(DOCUMENTS),
    "ROLLCALL_TRUSTED_DOCUMENTS_MODE": "preferred",
}
URL: Final = "http://127.0.0.1:8000/graphql"


@pytest.fixture(scope="module", autouse=True)
def manifest(package: Path) -> None:
    """The documents of the package and of the code generator's example, which the server of this file trusts."""
    of_package = json.loads((package / "dist" / "generated" / "documents.json").read_text())
    of_example = json.loads(DOCUMENTS.with_name("persisted-documents.json").read_text())
    DOCUMENTS.write_text(json.dumps(of_package | of_example))


async def build(source: Path, into: Path, url: str) -> None:
    """Bundle an application of `examples` that uses the API at a URL."""
    text = source.read_text()
    assert URL in text
    await bundled(text.replace(URL, f"{url}/graphql"), into, "--loader=tsx", "--jsx=automatic")


async def bundled(text: str, into: Path, *options: str) -> None:
    """Bundle a program that imports what the package's folder has."""
    command = (ESBUILD, "--bundle", "--format=esm", *options, f"--outfile={into}")
    building = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await building.communicate(text.encode())
    assert building.returncode == 0, printed.decode()


class Tab:
    """A tab of the application."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.followed = 0
        self.renewed = 0
        page.on("websocket", lambda socket: socket.on("framesent", lambda text: self._sent(str(text))))
        page.on("request", lambda request: self._sent(request.post_data or ""))

    def _sent(self, text: str) -> None:
        self.followed += "subscription UserChanges" in text
        self.renewed += "mutation RefreshSession" in text

    async def follows(self) -> None:
        """Wait until both subscriptions of the application have begun: the list's and the log's."""

        async def both() -> bool:
            return self.followed >= 2

        await eventually(both)

    async def shows(self, name: str, changes: list[str]) -> None:
        """The tab shows a user of this name, and these changes once and in order."""
        await expect(self.page.locator("#users").get_by_text(name, exact=True)).to_be_visible()
        await expect(self.page.locator("#changes li")).to_have_text(changes)
        no_faults(self.page)


@asynccontextmanager
async def two_tabs(stack: Stack) -> AsyncIterator[tuple[Tab, Tab]]:
    """Two tabs of one browser profile."""
    async with stack.window(base_url=ORIGIN) as first:
        yield Tab(first), Tab(await stack.tab(first.context))


async def all_show(tabs: tuple[Tab, Tab], name: str, changes: list[str]) -> None:
    """Each tab shows a user of this name, and these changes once and in order."""
    for tab in tabs:
        await tab.shows(name, changes)


async def all_renew(tabs: tuple[Tab, Tab]) -> None:
    """Wait until the session of the tabs was renewed twice, so that every token of before has expired."""
    before = sum(tab.renewed for tab in tabs)

    async def renewed_twice() -> bool:
        return sum(tab.renewed for tab in tabs) >= before + 2

    await eventually(renewed_twice)


async def test_twenty_lines_survive_whatever_happens(stack: Stack, package: Path, tmp_path: Path) -> None:
    """Two tabs show each change once while the network is cut, the server is killed and the token expires."""
    person = await stack.person()
    source = package / "examples" / "twenty-lines" / "app.tsx"
    async with proxied(stack.url) as proxy, served(tmp_path), two_tabs(stack) as tabs:
        await build(source, tmp_path / "client.js", proxy.url(stack.url))
        for tab in tabs:
            await tab.page.goto("/")
            if tab is tabs[0]:
                await tab.page.locator("[name=login]").fill(ADMIN[0])
                await tab.page.locator("[name=password]").fill(ADMIN[1])
                await tab.page.get_by_role("button", name="Sign in").click()
            await tab.follows()
        changes: list[str] = []

        async def change(*names: str) -> None:
            for name in names:
                [position] = await rename(stack, person, name)
                changes.append(f"{position} USER_UPDATED {name}")

        proxy.cut()
        await change("Before the first")
        proxy.connect(stack.url)
        await all_show(tabs, "Before the first", changes)

        await change("Seen at once")
        proxy.cut()
        await change("Away", "Still away")
        proxy.connect(stack.url)
        await all_show(tabs, "Still away", changes)

        stack.kill_api()
        await eventually(stack.installation.ready)
        await change("After the kill")
        await all_show(tabs, "After the kill", changes)

        await all_renew(tabs)
        await change("With another token")
        await all_show(tabs, "With another token", changes)

        await tabs[0].page.get_by_role("button", name="Sign out").click()
        for tab in tabs:
            await expect(tab.page.get_by_role("button", name="Sign in")).to_be_visible()


HOOKS: Final = """
import { createClient } from "@rollcall/client";
import { RollcallProvider, useMe, useSession, useUser, useUsers } from "@rollcall/client/react";
import { useConnection, useDataChanges } from "@rollcall/client/react";
import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const given = JSON.parse(decodeURIComponent(location.hash.slice(1)));
function One() {
  const { data, error } = useUser(given.id);
  return <p id="one">{error ? error.name : data === undefined ? "…" : data === null ? "nobody" : data.name}</p>;
}
function Several() {
  const { data } = useUsers({ filter: { name: { startsWith: given.prefix } }, orderBy: { field: "NAME" } });
  return <ul>{data?.users.map(({ id, name }) => <li key={id}>{name}</li>)}</ul>;
}
function Me() {
  const { data } = useMe();
  const connection = useConnection();
  const [named, name] = useState("");
  useDataChanges(data ? { ownerId: data.id, after: data.position } : null, (change) => name(change.data?.name ?? ""));
  return <p id="me">{data?.name} {connection} {named}</p>;
}
function App() {
  const { status, reason, signIn } = useSession();
  useEffect(() => {
    if (reason === "none") void signIn(given.login, given.password);
  }, [reason]);
  return status === "signed-in" ? <><Me /><One /><Several /></> : <p id="gone">{reason}</p>;
}
const client = createClient({ url: "http://127.0.0.1:8000/graphql" });
createRoot(document.body).render(
  <StrictMode><RollcallProvider client={client}><App /></RollcallProvider></StrictMode>,
);
"""


async def test_hooks_show_what_is(stack: Stack, package: Path, tmp_path: Path) -> None:
    """A user, and a list with a filter and an order, while users change, come and go, and the network is cut."""
    people = [await stack.person(name=f"Hook {letter}") for letter in "BD"]
    me = await stack.person("ADMIN", name="Me")
    (tmp_path / "hooks.tsx").write_text(HOOKS)
    async with proxied(stack.url) as proxy, served(tmp_path), stack.window(base_url=ORIGIN) as page:
        await build(tmp_path / "hooks.tsx", tmp_path / "client.js", proxy.url(stack.url))
        given = {"id": people[0].id, "prefix": "Hook", "login": me.username, "password": me.password}
        await page.goto(f"/#{quote(json.dumps(given))}")
        await expect(page.locator("#one")).to_have_text("Hook B")
        await expect(page.locator("li")).to_have_text(["Hook B", "Hook D"])

        await rename(stack, people[0], "Hook E")
        await expect(page.locator("#one")).to_have_text("Hook E")
        await expect(page.locator("li")).to_have_text(["Hook D", "Hook E"])

        proxy.cut()
        await rename(stack, people[1], "Out of the filter")
        await stack.person(name="Hook A")
        proxy.connect(stack.url)
        await expect(page.locator("li")).to_have_text(["Hook A", "Hook E"])

        await delete(stack, people[0].id)
        await expect(page.locator("#one")).to_have_text("nobody")
        await expect(page.locator("li")).to_have_text(["Hook A"])

        token = await stack.installation.sign_in(me.username, me.password)
        await stack.installation.ask(
            'mutation { createData(input: {name: "Mine", content: {}}) { errors { message } } }', token
        )
        await rename(stack, me, "Myself")
        await expect(page.locator("#me")).to_have_text("Myself open Mine")
        await delete(stack, me.id)
        await expect(page.locator("#gone")).to_have_text(re.compile("^(deleted|ended)$"))  # or the socket ends first
        no_faults(page)


@asynccontextmanager
async def recipe(name: str, into: Path) -> AsyncIterator[ProcessHost]:
    """A process of Node.js with a recipe of `examples` and the package."""
    files = (f"./examples/{name}.ts", "@rollcall/client", "@rollcall/client/operations")
    await bundled("".join(f'export * from "{file}";' for file in files), into / "recipe.mjs", "--platform=node")
    async with process("node", modules=[into / "recipe.mjs"]) as host:
        yield host


SIGN_IN: Final = """
  state.client = library.createClient({ url: given.url });
  const { login, password } = given;
  await state.client.mutate(library.LoginDocument, { input: { login, password } });
  const after = await state.client.here();
"""
APOLLO: Final = """
  state.apollo = library.createApollo(state.client);
  state.stop = library.followUsers(state.apollo, after);
  const names = (data) => data?.users?.edges?.map(({ node }) => node.name) ?? [];
  state.apollo.watchQuery({ query: library.USERS, variables: { first: 100 } }).subscribe(({ data }) => {
    state.shown = names(data);
  });
  state.rename = async (input) => (await state.apollo.mutate({ mutation: library.RENAME, variables: { input } })).data;
  state.refused = async () => {
    const variables = { first: 1000 };
    const { error } = await state.apollo.query({ query: library.USERS, variables, errorPolicy: "all" });
    return error.errors[0].extensions.code;
  };
"""
URQL: Final = """
  state.urql = library.createUrql(state.client);
  state.stop = library.followUsers(state.urql, after);
  const names = (data) => data?.users?.edges?.map(({ node }) => node.name) ?? [];
  state.urql.query(library.USERS, { first: 100 }).subscribe(({ data }) => {
    state.shown = names(data);
  });
  state.rename = async (input) => (await state.urql.mutation(library.RENAME, { input })).data;
  state.refused = async () => {
    const { error } = await state.urql.query(library.USERS, { first: 1000 });
    return error.graphQLErrors[0].extensions.code;
  };
"""


@pytest.mark.parametrize(("name", "start"), [("apollo", APOLLO), ("urql", URQL)])
async def test_a_list_in_a_normalised_cache_follows_the_log(
    stack: Stack, package: Path, tmp_path: Path, name: str, start: str
) -> None:
    """Users who change, come and go elsewhere, also while the network is cut; and one's own change."""
    person = await stack.person(name=f"{name} at first")

    async def shown(host: ProcessHost, wanted: str, unwanted: str) -> None:
        async def is_shown() -> bool:
            names = await host.run("return state.shown ?? []")
            return wanted in names and unwanted not in names

        await eventually(is_shown)

    async with proxied(stack.url) as proxy, recipe(f"{name}/recipe", tmp_path) as host:
        url = f"{proxy.url(stack.url)}/graphql"
        await host.run(SIGN_IN + start, url=url, login=ADMIN[0], password=ADMIN[1])
        await shown(host, f"{name} at first", "")
        await rename(stack, person, f"{name} then")
        await shown(host, f"{name} then", f"{name} at first")

        proxy.cut()
        await rename(stack, person, f"{name} while away")
        other = await stack.person(name=f"{name} has come")
        proxy.connect(stack.url)
        await shown(host, f"{name} while away", f"{name} then")
        await shown(host, f"{name} has come", f"{name} then")

        await delete(stack, other.id)
        await shown(host, f"{name} while away", f"{name} has come")
        answer = await host.run("return state.rename(given)", id=person.id, name=f"{name} itself")
        assert answer["updateUser"]["errors"] == []
        await shown(host, f"{name} itself", f"{name} while away")
        assert await host.run("return state.refused()") == "BAD_USER_INPUT"


async def delete(stack: Stack, id_: str) -> None:
    """Delete a user."""
    document = "mutation($input: DeleteUserInput!) { deleteUser(input: $input) { errors { message } } }"
    answer: Any = await stack.installation.ask(document, await stack.admin(), input={"id": id_})
    assert answer["deleteUser"]["errors"] == []


async def test_documents_of_the_code_generator_are_sent_by_their_hashes(
    stack: Stack, package: Path, tmp_path: Path
) -> None:
    """Neither a query nor a mutation nor a subscription is sent as a text; Code Generator's types fit the client."""
    person = await stack.person(name="Hashed")
    async with recipe("code-generator/application", tmp_path) as host:
        code = """
          const bodies = [];
          const { fetch } = globalThis;
          globalThis.fetch = (url, init) => (bodies.push(JSON.parse(init.body)), fetch(url, init));
          const client = await library.open(given.url, given.login, given.password);
          const after = await client.here();
          const next = library.nextName(client, after);
          const names = await library.names(client);
          await client.mutate(library.UpdateUserDocument, { input: { id: given.id, name: "Renamed" } });
          return { names, next: await next, bodies };
        """
        url = f"{stack.url}/graphql"
        answer = await host.run(code, url=url, login=ADMIN[0], password=ADMIN[1], id=person.id)

    assert answer["next"] == "Renamed"
    assert "Administrator (ADMIN)" in answer["names"]
    assert len(answer["bodies"]) == 5
    assert all("documentId" in body and "query" not in body for body in answer["bodies"])
