"""Registration as its settings make it: confirmed by mail, with a proof of work, closed, or without any page."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from playwright.async_api import Page, Request, expect

from events.database import Address, Database
from tests.pages.stack import PASSWORD, Stack, no_faults, sign_in
from tests.pages.test_mailed import follow
from tests.ports import free_port
from tests.waiting import eventually

VARIABLES: Final = {
    "ROLLCALL_REQUIRE_VERIFIED_EMAIL": "true",
    "ROLLCALL_PUBLIC_URL": "http://127.0.0.1",  # the tests follow the paths of links
    "ROLLCALL_REGISTRATION_PROOF_OF_WORK_BITS": "12",
}
"""Of the installation of this file (tests/pages/conftest.py)."""


@asynccontextmanager
async def another_api(stack: Stack, variables: Mapping[str, str]) -> AsyncIterator[str]:
    """The URL of one more API process of the installation, with settings of its own."""
    given = {name: value for name, value in stack.installation.variables.items() if name not in VARIABLES}
    api = replace(stack.installation, port=free_port(), variables={**given, **variables})
    async with api.running("serve"):
        await eventually(api.ready)
        yield api.url


async def fill(page: Page, username: str) -> None:
    """Fill in the form for a new user."""
    await page.goto("/sign-up")
    await page.get_by_label("Username").fill(username)
    await page.get_by_label("Email").fill(f"{username}@example.com")
    await page.get_by_label("Name", exact=True).fill("Grace Hopper")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)


async def test_a_sign_up_is_confirmed_by_mail_before_it_signs_in(stack: Stack) -> None:
    """The page says where to look; the sign-in is refused until then; the link works once."""
    async with stack.window() as page:
        await fill(page, "grace")
        await page.get_by_role("button", name="Sign up").click()
        await expect(page.get_by_role("heading", name="Look into your mail")).to_be_visible()
        await expect(page.get_by_text("grace@example.com")).to_be_visible()
        mail = await stack.mail("grace@example.com", "Confirm")

        await page.get_by_role("link", name="Back to sign-in").click()
        await page.get_by_label("Username or email").fill("grace")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_be_visible()

        await follow(page, mail["text"])
        await expect(page.get_by_text("is confirmed.")).to_be_visible()
        await follow(page, mail["text"])
        await expect(page.get_by_text("The link may have been used, or be too old")).to_be_visible()
        await sign_in(page, "grace", PASSWORD)
        no_faults(page)


async def test_the_mail_that_confirms_an_email_is_sent_again(stack: Stack) -> None:
    """The account offers it while the email is not confirmed."""
    person = await stack.person("ADMIN")  # whom the policy lets in
    address = f"{person.username}@example.com"
    await stack.mail(address, "Confirm your email")
    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await page.goto("/account")
        await expect(page.get_by_text("Email not confirmed")).to_be_visible()
        await page.get_by_role("button", name="Send the mail again").click()
        await expect(page.get_by_text(f"A mail is on its way to {address}")).to_be_visible()

        async def came_twice() -> bool:
            return len([mail for mail in await stack.mails(address) if "Confirm your email" in mail["subject"]]) == 2

        await eventually(came_twice)
        await follow(page, (await stack.mails(address))[0]["text"])
        await expect(page.get_by_text("is confirmed.")).to_be_visible()
        await page.get_by_role("link", name="Go to your account").click()
        await expect(page.get_by_text("Email confirmed")).to_be_visible()
        no_faults(page)


async def test_a_new_email_waits_for_its_mail(stack: Stack) -> None:
    """The profile keeps the former one and says where the mail went; its link makes the new one the user's."""
    async with stack.window() as page:
        await fill(page, "mover")
        await page.get_by_role("button", name="Sign up").click()
        await follow(page, (await stack.mail("mover@example.com", "Confirm"))["text"])
        await expect(page.get_by_text("is confirmed.")).to_be_visible()
        await sign_in(page, "mover", PASSWORD)
        await page.goto("/account")
        profile = page.get_by_role("region", name="Profile")
        await profile.get_by_label("Email").fill("moved@example.com")
        await profile.get_by_role("button", name="Save profile").click()
        await expect(profile.get_by_role("status")).to_contain_text("A mail is on its way to moved@example.com")
        await expect(profile.get_by_label("Email")).to_have_value("mover@example.com")

        other = await stack.tab(page.context)
        await follow(other, (await stack.mail("moved@example.com", "Confirm your new email"))["text"])
        await expect(other.get_by_text("moved@example.com is confirmed.")).to_be_visible()
        await expect(profile.get_by_label("Email")).to_have_value("moved@example.com")
        await expect(profile.get_by_role("status")).to_have_text("Your profile is saved.")
        no_faults(page)
        no_faults(other)


async def test_a_browser_computes_the_proof_of_work_that_a_flood_makes_necessary(stack: Stack) -> None:
    """The first request is refused with a challenge; the second has its proof, and is accepted."""
    proofs: list[bool] = []

    def watch(request: Request) -> None:
        if "register" in (request.post_data or ""):
            proofs.append("proofOfWork" in (request.post_data or "").partition('"variables"')[2])

    async with stack.window() as page:
        await fill(page, "before-the-flood")
        await page.get_by_role("button", name="Sign up").click()
        await expect(page.get_by_role("heading", name="Look into your mail")).to_be_visible()

        database = Database.at(Address.parse(stack.installation.variables["ROLLCALL_MYSQL_URL"]), size=1)
        await database.execute("UPDATE budgets SET full_at = UTC_TIMESTAMP(6) + INTERVAL 50 MINUTE")
        await database.close()
        page.on("request", watch)
        await fill(page, "in-the-flood")
        await page.get_by_role("button", name="Sign up").click()
        await expect(page.get_by_role("heading", name="Look into your mail")).to_be_visible()
        assert proofs == [False, True]
        no_faults(page)


async def test_a_closed_registration_says_whom_to_ask(stack: Stack) -> None:
    async with another_api(stack, {"ROLLCALL_REGISTRATION": "closed"}) as url, stack.window(base_url=url) as page:
        await fill(page, "too-late")
        await page.get_by_role("button", name="Sign up").click()
        await expect(page.get_by_text("Ask an administrator for an account")).to_be_visible()
        await expect(page.get_by_role("alert")).to_contain_text("registration is closed")
        no_faults(page)


async def test_without_pages_a_browser_finds_only_the_api(stack: Stack) -> None:
    """ROLLCALL_PAGES=off: no page, no program of one, and no /session."""
    async with another_api(stack, {"ROLLCALL_PAGES": "off"}) as url, stack.window(base_url=url) as page:
        for path in ("/sign-in", "/users", "/icon.svg", "/session"):
            answer = await page.goto(path)
            assert answer is not None
            assert answer.status == HTTPStatus.NOT_FOUND
        answer = await page.goto("/")
        assert answer is not None
        assert page.url.startswith(f"{url}/graphql")
