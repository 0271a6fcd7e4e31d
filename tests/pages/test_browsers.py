"""What a browser may lack, what its other windows do, and answers that are lost."""

import re
from time import time

import pytest
from playwright.async_api import Page, Request, Route, expect

from tests.pages.stack import ADMIN, PASSWORD, Person, Stack, no_faults, sign_in
from tests.pages.test_mailed import NEW_PASSWORD, follow

# As private windows, blocked cookies, plain http and the proxies of companies make them.
LACKING = {
    "storage": "for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name,"
    " { get() { throw new DOMException('denied', 'SecurityError'); } });",
    "turns": "LockManager.prototype.request = async () => { throw new DOMException('denied', 'SecurityError'); };",
    "other windows": "window.BroadcastChannel = class"
    " { constructor() { throw new DOMException('denied', 'SecurityError'); } };",
    "a secure context": "delete Navigator.prototype.locks; delete Crypto.prototype.randomUUID;"
    " delete Crypto.prototype.subtle;",
    "sockets": "delete window.WebSocket;",
}


@pytest.mark.parametrize("lacking", LACKING)
async def test_pages_work_in_a_browser_that_lacks(stack: Stack, lacking: str) -> None:
    """One signs up, has an old token renewed, and finds a choice of colours."""
    username = f"lacks-{lacking.replace(' ', '-')}"
    async with stack.window() as page:
        await page.add_init_script(LACKING[lacking])
        await page.goto("/sign-up")
        await page.get_by_label("Username").fill(username)
        await page.get_by_label("Email").fill(f"{username}@example.com")
        await page.get_by_label("Name", exact=True).fill("Grace Hopper")
        await page.get_by_label("Password", exact=True).fill(PASSWORD)
        await page.get_by_role("button", name="Sign up").click()
        await expect(page.get_by_role("heading", level=1, name="Dashboard")).to_be_visible()
        await page.clock.set_system_time(time() + 3600)
        await page.get_by_role("link", name="Account", exact=True).click()
        await expect(page.get_by_role("region", name="Profile").get_by_label("Name", exact=True)).to_have_value(
            "Grace Hopper"
        )
        await page.get_by_label("Colours").select_option("dark")
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        no_faults(page)


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_wrong_clock_costs_no_refresh(stack: Stack, hours: int) -> None:
    """A token is as old as the server's clock says."""
    person = await stack.person()
    refreshes: list[str] = []

    def watch(request: Request) -> None:
        if request.url.endswith("/session"):
            refreshes.append(request.method)

    async with stack.window() as page:
        await page.clock.install(time=time() + hours * 3600)
        await sign_in(page, person.username, person.password)
        page.on("request", watch)
        for name in ("Data", "Account", "Dashboard"):
            await page.get_by_role("navigation", name="Main").get_by_role("link", name=name).click()
            await expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
            await page.wait_for_load_state("networkidle")
        assert refreshes == []
        no_faults(page)


@pytest.mark.parametrize("status", [None, 503])
async def test_a_sign_out_that_the_server_has_not_done_is_not_claimed(stack: Stack, status: int | None) -> None:
    """The cookie is still there, and the next one at this machine would be signed in."""
    person = await stack.person()

    async def fail(route: Route) -> None:
        await (route.abort() if status is None else route.fulfill(status=status, body="{}"))

    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await page.route("**/session", fail)
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("alert")).to_contain_text("You are still signed in")
        await page.unroute("**/session")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        no_faults(page)


async def test_a_sign_in_that_the_server_does_not_finish_is_said(stack: Stack) -> None:
    """The password was right and the cookie could not be set: the next attempt does both."""
    person = await stack.person()
    async with stack.window() as page:
        await page.goto("/sign-in")
        await page.get_by_label("Username or email").fill(person.username)
        await page.route("**/session", lambda route: route.fulfill(status=503, body="{}"))
        await page.get_by_label("Password").fill(person.password)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("You are not signed in yet")
        await page.unroute("**/session")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("navigation", name="Main")).to_be_visible()
        no_faults(page)


async def sign_in_by_mail(stack: Stack, page: Page, person: Person) -> None:
    """Sign in by a mailed link, which works in a browser where somebody else is signed in."""
    request = "mutation($login: String!) { requestPasswordReset(login: $login) { accepted } }"
    await stack.installation.ask(request, login=person.username)
    mail = await stack.mail(f"{person.username}@example.com", "Set a new password")
    await follow(page, mail["text"])
    await page.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_role("banner").get_by_text(person.name)).to_be_visible()


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
async def test_a_window_never_acts_as_somebody_else_than_it_shows(stack: Stack, told: bool) -> None:
    """Another window of the browser signs somebody else in. This one follows, at once or with its next token."""
    person = await stack.person(name="Somebody Else")
    async with stack.window() as page:
        if not told:
            await page.add_init_script(LACKING["other windows"])
        await sign_in(page, *ADMIN)
        other = await stack.tab(page.context)
        await sign_in_by_mail(stack, other, person)
        if not told:
            await page.clock.set_system_time(time() + 3600)
            await page.get_by_role("link", name="Account", exact=True).click()
        await expect(page.get_by_role("banner").get_by_text("Somebody Else")).to_be_visible()
        await expect(page.get_by_role("link", name="Users")).to_have_count(0)
        no_faults(page)
        no_faults(other)


async def test_the_filters_of_a_page_survive_the_sign_in(stack: Stack) -> None:
    """The address that was asked for comes back whole."""
    async with stack.window() as page:
        await page.goto("/users?role=ADMIN&order=USERNAME")
        await page.get_by_label("Username or email").fill(ADMIN[0])
        await page.get_by_label("Password").fill(ADMIN[1])
        await page.get_by_role("button", name="Sign in").click()
        await expect(page).to_have_url(re.compile(r"/users\?role=ADMIN&order=USERNAME$"))
        await expect(page.get_by_role("button", name=re.compile("^Remove the filter Role"))).to_be_visible()
        no_faults(page)


async def test_a_form_whose_answer_was_lost_makes_one_object(stack: Stack) -> None:
    """The page says to try again, and the second request is known by its key."""
    person = await stack.person()

    async def lose(route: Route) -> None:
        if "createData" not in (route.request.post_data or ""):
            await route.continue_()
            return
        await route.fetch()
        await route.abort()

    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await page.goto("/data")
        await page.get_by_role("button", name="New data object").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Name").fill("Only one")
        await page.route("**/graphql", lose)
        await dialog.get_by_role("button", name="Create").click()
        await expect(dialog.get_by_text("The server cannot be reached")).to_be_visible()
        await page.unroute("**/graphql")
        await dialog.get_by_role("button", name="Create").click()
        await expect(page.get_by_role("heading", level=1, name="Only one")).to_be_visible()
        token = await stack.installation.sign_in(person.username, person.password)
        found = await stack.installation.ask("{ dataObjects { totalCount } }", token)
        assert found["dataObjects"] == {"totalCount": 1}
        no_faults(page)
