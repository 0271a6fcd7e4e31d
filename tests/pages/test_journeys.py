"""What people do on the pages, in a real browser against a running installation."""

import re

from playwright.async_api import expect

from tests.pages.stack import ADMIN, Stack, no_faults, sign_in
from tests.pages.test_healing import expect_live


async def test_a_customer_signs_up_and_lands_on_the_dashboard(stack: Stack) -> None:
    """Errors stand beside their fields; then the account exists, and a reload keeps the session."""
    async with stack.window() as page:
        await page.goto("/")
        await expect(page).to_have_url(re.compile("/sign-in$"))
        await page.get_by_role("link", name="Sign up").click()
        await page.get_by_label("Username").fill("admin")
        await page.get_by_label("Email").fill("grace@example.com")
        await page.get_by_label("Name", exact=True).fill("Grace Hopper")
        await page.get_by_label("Password", exact=True).fill("a long enough password 9")
        await page.get_by_role("button", name="Sign up").click()
        await expect(page.get_by_label("Username")).to_have_attribute("aria-invalid", "true")
        await page.get_by_label("Username").fill("grace")
        await page.get_by_role("button", name="Sign up").click()
        await expect(page.get_by_role("navigation", name="Main")).to_be_visible()
        await expect(page).to_have_url(re.compile("/dashboard$"))

        await page.reload()
        await expect(page.get_by_role("navigation", name="Main")).to_be_visible()
        no_faults(page)


async def test_the_administrator_signs_in_and_out(stack: Stack) -> None:
    """A wrong password is refused in the form; the page that was asked for comes after the sign-in."""
    async with stack.window() as page:
        await page.goto("/users")
        await page.get_by_label("Username or email").fill(ADMIN[0])
        await page.get_by_label("Password").fill("wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("password")
        await page.get_by_label("Password").fill(ADMIN[1])
        await page.get_by_role("button", name="Sign in").click()
        await expect(page).to_have_url(re.compile("/users$"))

        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        no_faults(page)


async def test_a_session_that_ends_elsewhere_falls_back_to_the_sign_in(stack: Stack) -> None:
    """The socket is closed, and the page says why."""
    person = await stack.person()
    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        token = await stack.installation.sign_in(person.username, person.password)
        await stack.installation.ask("mutation { logout(everywhere: true) { loggedOut } }", token)

        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await expect(page.get_by_text("Your session has ended")).to_be_visible()
        no_faults(page)


async def test_a_page_heals_when_the_server_has_restarted(stack: Stack) -> None:
    """The loss of the connection shows at the top, and goes without a reload."""
    person = await stack.person()
    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await expect(page.get_by_text("You have no data object yet")).to_be_visible()  # all of the page listens
        await expect_live(stack, page, person, "Before")
        stack.kill_api()
        await expect(page.get_by_text("Connection lost")).to_be_visible()
        await expect(page.get_by_text("Connected again")).to_be_visible()
        await expect_live(stack, page, person, "Healed")
        no_faults(page)


async def test_this_page_keeps_no_token_that_a_script_can_read(stack: Stack) -> None:
    """The refresh token is in a cookie that scripts cannot read; nothing lies in the browser's storage."""
    person = await stack.person()
    async with stack.window() as page:
        await sign_in(page, person.username, person.password, remember=True)
        (cookie,) = await page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/session")
        assert cookie["expires"] > 0
        kept = await page.evaluate("JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])")
        assert kept in ('["",{},{}]', '["",{"rollcall-theme":"system"},{}]')
        no_faults(page)


async def test_an_address_without_a_page_leads_home(stack: Stack) -> None:
    """Signed in or not, one learns that there is no page, and where to go on."""
    person = await stack.person("SENIOR_MANAGEMENT")
    async with stack.window() as page:
        await page.goto("/users/of/nobody")
        await expect(page.get_by_role("heading", name="There is no page here")).to_be_visible()
        await page.get_by_role("link", name="Go to the start page").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

        await sign_in(page, person.username, person.password)
        await page.goto("/users/of/nobody")
        await expect(page.get_by_role("heading", name="There is no page here")).to_be_visible()
        await page.get_by_role("link", name="Go to the start page").click()
        await expect(page).to_have_url(re.compile("/dashboard$"))
        no_faults(page)
