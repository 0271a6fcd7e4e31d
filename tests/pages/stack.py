"""A running installation with its people, for journeys through the pages in a real browser."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.system.installation import Installation
from tests.waiting import PATIENCE_SECONDS, eventually

PATIENCE_MS = PATIENCE_SECONDS * 1000
ADMIN = ("admin", "correct horse battery")
PASSWORD = "a long enough password 9"

CREATE = """
mutation($input: CreateUserInput!) { createUser(input: $input) { user { id version } errors { code message field } } }
"""

# What a page must not do: break the content security policy, or throw.
WATCH = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`violation of the content security policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


@dataclass(frozen=True)
class Person:
    """A user of the stack, who can sign in."""

    id: str
    username: str
    name: str
    password: str = PASSWORD


@dataclass(frozen=True)
class Stack:
    """An installation under `rollcall dev`, and the browser that looks at it."""

    installation: Installation
    browser: Browser
    dev: int
    """Process id of `rollcall dev`."""

    @property
    def url(self) -> str:
        return self.installation.url

    async def admin(self) -> str:
        """An access token of the administrator."""
        return await self.installation.sign_in(*ADMIN)

    async def person(self, role: str = "CUSTOMER", name: str = "Ada Lovelace", **attributes: Any) -> Person:
        """A new user with an unusual username."""
        username = f"u{uuid4().hex[:12]}"
        answer = await self.installation.ask(
            CREATE,
            await self.admin(),
            input={
                "username": username,
                "email": f"{username}@example.com",
                "name": name,
                "role": role,
                "password": PASSWORD,
                "attributes": attributes,
            },
        )
        assert answer["createUser"]["errors"] == []
        return Person(answer["createUser"]["user"]["id"], username, name)

    @asynccontextmanager
    async def window(self, **options: Any) -> AsyncIterator[Page]:
        """A page of its own browser context. At its end the page must have had no error."""
        settings = {"base_url": self.url, "locale": "en-GB", "timezone_id": "UTC", **options}
        context = await self.browser.new_context(**settings)
        try:
            yield await self.tab(context)
        finally:
            await context.close()

    async def tab(self, context: BrowserContext) -> Page:
        """A page in a context, whose faults are kept in `page.faults`."""
        context.set_default_timeout(PATIENCE_MS)
        page = await context.new_page()
        faults: list[str] = []
        page.on("console", lambda message: _fault(faults, message.type, message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        await page.add_init_script(WATCH)
        page.faults = faults  # type: ignore[attr-defined]
        return page

    async def mails(self, to: str) -> list[dict[str, Any]]:
        """The mails that were caught for an address, newest first."""
        async with aiohttp.ClientSession() as client, client.get(f"{self.url}/dev/mail.json") as answer:
            assert answer.status == 200
            return [mail for mail in await answer.json() if to in mail["to"]]

    async def mail(self, to: str, about: str) -> dict[str, Any]:
        """The newest mail for an address whose subject holds a text, once it has come."""
        found: list[dict[str, Any]] = []

        async def has_come() -> bool:
            found[:] = [mail for mail in await self.mails(to) if about in mail["subject"]]
            return bool(found)

        await eventually(has_come)
        return found[0]

    def kill_api(self) -> None:
        """Kill the API process; `rollcall dev` starts another."""
        self.signal_api(signal.SIGKILL)

    def signal_api(self, how: signal.Signals) -> None:
        """Send a signal to the API process."""
        self.signal("serve", how)

    def signal(self, command: str, how: signal.Signals) -> None:
        """Send a signal to the child processes that run a command."""
        parents: dict[int, int] = {}
        commands: dict[int, str] = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(process.name)] = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
                commands[int(process.name)] = (process / "comm").read_text().strip()
            except OSError:
                continue  # it has ended meanwhile
        found = [pid for pid, name in commands.items() if name == command and self.dev in ancestors(pid, parents)]
        assert found, f"rollcall dev has no process that runs {command}"
        for pid in found:
            os.kill(pid, how)


def ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    """The parent of a process, its parent, and so on."""
    while (parent := parents.get(pid, 0)) > 1:
        yield parent
        pid = parent


async def sign_in(page: Page, login: str, password: str, *, remember: bool = False) -> None:
    """Sign in through the form."""
    await page.goto("/sign-in")
    await page.get_by_label("Username or email").fill(login)
    await page.get_by_label("Password").fill(password)
    if remember:
        await page.get_by_label("Remember me on this device").check()
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("navigation", name="Main")).to_be_visible()


def no_faults(page: Page) -> None:
    """The page has thrown nothing, logged no error, and broken no rule of the content security policy."""
    assert page.faults == []  # type: ignore[attr-defined]


def _fault(faults: list[str], kind: str, text: str) -> None:
    # Chromium reports each answer of 400 or more, such as 401 of /session before the sign-in, and each socket that
    # could not be opened while the server is away.
    if kind == "error" and "Failed to load resource" not in text and "WebSocket connection to" not in text:
        faults.append(text)
