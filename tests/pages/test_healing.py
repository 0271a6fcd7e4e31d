"""A page comes back by itself, whatever has ended its connection, for as long as its user is signed in."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time

import pytest
from playwright.async_api import Page, Route, expect

from tests.pages.door import Door, door
from tests.pages.stack import Person, Stack, no_faults, sign_in
from tests.waiting import eventually

# The codes after which graphql-ws gives up, and some of those after which it does not (its client.ts); 4403 is what the
# server says when a session has ended, 1013 when it is overloaded.
CODES = (1000, 1001, 1002, 1008, 1009, 1011, 1013, 4004, 4005, 4400, 4401, 4403, 4406, 4408, 4409, 4429, 4500, 4999)
LOST, BACK = "Connection lost", "Connected again"


@asynccontextmanager
async def at_the_door(stack: Stack, *, own_clock: bool = False) -> AsyncIterator[tuple[Door, Page, Person]]:
    """A signed-in user whose page reaches the API through a door."""
    person = await stack.person()
    async with door(stack.installation.port) as opened, stack.window(base_url=opened.url) as page:
        if own_clock:
            await page.clock.install()
        await sign_in(page, person.username, person.password)
        await expect_live(stack, page, person, "Before")
        yield opened, page, person


async def expect_live(stack: Stack, page: Page, person: Person, name: str) -> None:
    """A change that is made now shows on the page, which proves that its subscription works."""
    await stack.installation.ask(
        "mutation($input: UpdateUserInput!) { updateUser(input: $input) { errors { message } } }",
        await stack.admin(),
        input={"id": person.id, "name": name},
    )
    await expect(page.get_by_role("banner").get_by_text(name)).to_be_visible()


async def test_nothing_is_missed_before_the_first_connection(stack: Stack) -> None:
    """A slow server: what the page has read is old when it begins to listen."""
    person = await stack.person()
    async with door(stack.installation.port) as opened, stack.window(base_url=opened.url) as page:
        opened.silent = True
        await sign_in(page, person.username, person.password)
        await expect(page.get_by_role("region", name="You").get_by_text(person.name)).to_be_visible()
        await stack.installation.ask(
            "mutation($input: UpdateUserInput!) { updateUser(input: $input) { errors { message } } }",
            await stack.admin(),
            input={"id": person.id, "name": "Early"},
        )
        opened.silent = False
        opened.cut()
        await expect(page.get_by_role("banner").get_by_text("Early")).to_be_visible()
        await expect(page.get_by_role("region", name="You").get_by_text("Early")).to_be_visible()
        no_faults(page)


@pytest.mark.parametrize("codes", [CODES[:9], CODES[9:]], ids=["1000 to 4005", "4400 to 4999"])
async def test_no_close_code_ends_the_subscriptions_for_ever(stack: Stack, codes: tuple[int, ...]) -> None:
    async with at_the_door(stack) as (opened, page, person):
        for code in codes:
            opened.refused = [code]
            opened.cut()
            await expect_live(stack, page, person, f"After {code}")
            assert opened.refused == []
        no_faults(page)


@pytest.mark.parametrize("how", ["silent", "deaf"])
async def test_an_attempt_that_the_server_never_answers_is_given_up(stack: Stack, how: str) -> None:
    """Opened and not acknowledged, or accepted and never opened: the next attempt comes all the same."""
    async with at_the_door(stack) as (opened, page, person):
        before = opened.attempts
        setattr(opened, how, True)
        opened.cut()
        await expect(page.get_by_text(LOST)).to_be_visible()
        await eventually(lambda: _reached(opened, before + 2))
        setattr(opened, how, False)
        await expect_live(stack, page, person, "Healed")
        no_faults(page)


async def _reached(opened: Door, attempts: int) -> bool:
    return opened.attempts >= attempts


async def test_a_server_that_stands_still_is_noticed_and_waited_for(stack: Stack) -> None:
    """It answers no ping; its connections stay open, as those of a machine that has lost its power."""
    person = await stack.person()
    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await expect_live(stack, page, person, "Before")
        stack.signal_api(signal.SIGSTOP)
        try:
            await expect(page.get_by_text(LOST)).to_be_visible()
        finally:
            stack.signal_api(signal.SIGCONT)
        await expect(page.get_by_text(BACK)).to_be_visible()
        await expect_live(stack, page, person, "Healed")
        no_faults(page)


async def test_a_token_that_cannot_be_renewed_now_is_asked_for_again(stack: Stack) -> None:
    """The access token has become old while the server was away: `/session` fails before it works again."""
    async with at_the_door(stack) as (opened, page, person):
        refused: list[str] = []

        async def refuse(route: Route) -> None:
            refused.append(route.request.method)
            await route.abort()

        await page.route("**/session", refuse)
        await page.clock.set_system_time(time() + 3600)
        opened.cut()
        await eventually(lambda: _has(refused, 3))
        await page.unroute("**/session")
        await expect(page.get_by_text(BACK)).to_be_visible()
        await expect_live(stack, page, person, "Healed")
        no_faults(page)


async def _has(found: list[str], count: int) -> bool:
    return len(found) >= count


@pytest.mark.parametrize(("target", "event"), [("window", "online"), ("document", "visibilitychange")])
async def test_a_page_that_becomes_online_or_visible_tries_at_once(stack: Stack, target: str, event: str) -> None:
    """The page's clock stands still, so no pause between two attempts ends by itself."""
    async with at_the_door(stack, own_clock=True) as (opened, page, person):
        opened.refused = [1013] * 1000
        opened.cut()
        await expect(page.get_by_text(LOST)).to_be_visible()
        await page.clock.pause_at(time() + 60)
        before = opened.attempts

        async def tried_again() -> bool:
            await page.evaluate(f"{target}.dispatchEvent(new Event('{event}'))")
            return opened.attempts > before + 2

        await eventually(tried_again)
        opened.refused = []
        await page.clock.resume()
        await expect_live(stack, page, person, "Healed")
        no_faults(page)


async def test_the_notice_of_a_healed_connection_goes_away(stack: Stack) -> None:
    async with at_the_door(stack) as (opened, page, _):
        for _loss in range(2):
            opened.refused = [1013]
            opened.cut()
            await expect(page.get_by_text(BACK)).to_be_visible()
            await expect(page.get_by_text(BACK)).to_be_hidden()
        no_faults(page)


async def test_a_part_of_the_page_that_could_not_be_loaded_is_loaded_later(stack: Stack) -> None:
    """The server ends while a page's program is on its way: the frame stays, and the page comes."""
    person = await stack.person()
    async with stack.window() as page:
        away: list[str] = []

        async def refuse(route: Route) -> None:
            away.append(route.request.url)
            await route.abort()

        for name in ("**/CustomerDashboard*", "**/icon.svg"):
            await page.route(name, refuse)
        await sign_in(page, person.username, person.password)
        await eventually(lambda: _has(away, 3))
        await expect(page.get_by_role("navigation", name="Main")).to_be_visible()
        for name in ("**/CustomerDashboard*", "**/icon.svg"):
            await page.unroute(name)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        no_faults(page)


async def test_a_part_that_is_gone_is_said_and_loaded_with_the_page(stack: Stack) -> None:
    """Another version was installed since the page was opened: its files have other names."""
    person = await stack.person()
    async with stack.window() as page:
        await page.route("**/CustomerDashboard*", lambda route: route.fulfill(status=404))
        await sign_in(page, person.username, person.password)
        await expect(page.get_by_role("heading", name="This page cannot be shown")).to_be_visible()
        await page.unroute("**/CustomerDashboard*")
        await page.get_by_role("button", name="Load it again").click()
        await expect(page.get_by_role("button", name="Load it again")).to_be_hidden()
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
