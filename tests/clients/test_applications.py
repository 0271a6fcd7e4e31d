"""The application of docs/application.md, and the recipes, in real browsers and processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import Page, expect

from tests.clients.package import FOLDER
from tests.clients.site import ESBUILD, ORIGIN, rename, served
from tests.pages.stack import ADMIN, Stack, no_faults
from tests.system.proxy import proxied
from tests.waiting import eventually

VARIABLES: Final = {
    "ROLLCALL_ACCESS_TOKEN_SECONDS": "8",
    "ROLLCALL_ALLOWED_ORIGINS": ORIGIN,
    "ROLLCALL_SIGN_INS_PER_HOUR": "0",
}
URL: Final = "http://127.0.0.1:8000/graphql"


async def build(source: Path, into: Path, url: str) -> None:
    """Bundle an application of `examples` that uses the API at a URL."""
    text = source.read_text()
    assert URL in text
    command = (ESBUILD, "--bundle", "--format=esm", "--jsx=automatic", "--loader=tsx", f"--outfile={into}")
    building = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await building.communicate(text.replace(URL, f"{url}/graphql").encode())
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
    assert len(source.read_text().splitlines()) == 20
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
