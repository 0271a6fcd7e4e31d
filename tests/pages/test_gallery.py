"""Every page, in light and dark: no fault that axe-core finds, no scrolling sideways on a phone, and a picture of it.

`PICTURES=docs/pages` keeps the pictures, which docs/pages.md shows.
"""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.pages.stack import Person, Stack, no_faults, sign_in
from tests.waiting import eventually

ROOT: Final = Path(__file__).parents[2]
PICTURES: Final = os.environ.get("PICTURES")
RULES: Final = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
PHONE: Final = {"width": 320, "height": 700}
SCREEN: Final = {"width": 1000, "height": 700}

Colours = Literal["light", "dark"]
Role = Literal["CUSTOMER", "TECHNICAL_WORKER", "SENIOR_MANAGEMENT", "ADMIN"]

# Name of the picture, path, heading, and the role of who looks at it.
ANONYMOUS: Final = (
    ("sign-in", "/sign-in", "Sign in"),
    ("sign-up", "/sign-up", "Sign up"),
    ("forgot-password", "/forgot-password", "Forgot password"),
    ("reset-password", "/reset-password#token=none", "password"),
    ("verify-email", "/verify-email#token=none", "email"),
    ("accept-invitation", "/accept-invitation#token=none", "invitation"),
    ("not-found", "/users/of/nobody", "There is no page here"),
)
PAGES: Final[tuple[tuple[str, str, str, Role], ...]] = (
    ("account", "/account", "Account", "CUSTOMER"),
    ("dashboard-customer", "/dashboard", "", "CUSTOMER"),
    ("data", "/data", "Data", "CUSTOMER"),
    ("data-object", "/data/{number}", "Holiday plan", "CUSTOMER"),
    ("dashboard-technical-worker", "/dashboard", "", "TECHNICAL_WORKER"),
    ("audit", "/audit", "Audit", "TECHNICAL_WORKER"),
    ("dashboard-senior-management", "/dashboard", "", "SENIOR_MANAGEMENT"),
    ("users", "/users", "Users", "ADMIN"),
    ("user", "/users/{user}", "Ada Lovelace", "ADMIN"),
    ("webhooks", "/webhooks", "Webhooks", "ADMIN"),
)
CREATE_DATA: Final = """
mutation($name: String!, $content: JSON!) {
  createData(input: {name: $name, content: $content}) { data { number } errors { message } }
}
"""
CREATE_WEBHOOK: Final = 'mutation { createWebhook(input: {url: "http://127.0.0.1:9/hook"}) { errors { message } } }'


@pytest_asyncio.fixture(scope="module")
async def people(stack: Stack) -> dict[str, Any]:
    """One user of each role, with something to see."""
    people: dict[str, Any] = {
        role: await stack.person(role, address={"city": "Kuala Lumpur", "lines": ["1 Jalan Ampang"]}, locale="ms")
        for role in ("CUSTOMER", "TECHNICAL_WORKER", "SENIOR_MANAGEMENT", "ADMIN")
    }
    customer: Person = people["CUSTOMER"]
    token = await stack.installation.sign_in(customer.username, customer.password)
    for name in ("Shopping list", "Holiday plan"):
        made = await stack.installation.ask(CREATE_DATA, token, name=name, content={"days": 14, "where": ["Langkawi"]})
        people["number"] = made["createData"]["data"]["number"]
    await stack.installation.ask(CREATE_WEBHOOK, await stack.admin())
    return people


@asynccontextmanager
async def looking(stack: Stack, colours: Colours) -> AsyncIterator[Page]:
    async with stack.window(color_scheme=colours, viewport=SCREEN, reduced_motion="reduce") as page:
        yield page


async def inspect(page: Page, name: str, colours: Colours) -> None:
    """Take the picture, and look for faults on a screen and on a phone."""
    await expect(page.get_by_text("Loading…")).to_have_count(0)
    await page.wait_for_load_state("networkidle")
    if PICTURES:
        directory = ROOT / PICTURES
        directory.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=directory / f"{name}-{colours}.png")
    found = await Axe().run(page, options=RULES)
    assert found.violations_count == 0, f"{name}, {colours}:\n{found.generate_report()}"
    await page.set_viewport_size(PHONE)  # type: ignore[arg-type]

    async def fits() -> bool:
        return bool(await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"])

    await eventually(fits)  # charts take their new width a moment later
    await page.set_viewport_size(SCREEN)  # type: ignore[arg-type]
    no_faults(page)


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_pages_for_anyone_have_no_barrier(stack: Stack, colours: Colours) -> None:
    """What one sees before the sign-in."""
    async with looking(stack, colours) as page:
        for name, path, heading in ANONYMOUS:
            await page.goto("about:blank")
            await page.goto(path)
            await expect(page.get_by_role("heading", level=1, name=re.compile(heading, re.IGNORECASE))).to_be_visible()
            await inspect(page, name, colours)


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("role", ["CUSTOMER", "TECHNICAL_WORKER", "SENIOR_MANAGEMENT", "ADMIN"])
async def test_pages_of_each_role_have_no_barrier(
    stack: Stack, people: dict[str, Any], role: Role, colours: Colours
) -> None:
    """What a user of the role sees."""
    async with looking(stack, colours) as page:
        await sign_in(page, people[role].username, people[role].password)
        for name, path, heading, whose in PAGES:
            if whose == role:
                await page.goto(path.format(number=people["number"], user=people["CUSTOMER"].id))
                title = page.get_by_role("heading", level=1, name=re.compile(heading, re.IGNORECASE))
                await expect(title).to_be_visible()
                await inspect(page, name, colours)


def test_each_page_is_shown_in_the_documents() -> None:
    """docs/pages.md shows every page, light and dark, and each picture is there and small."""
    text = (ROOT / "docs/pages.md").read_text()

    for name in [*(page[0] for page in ANONYMOUS), *(page[0] for page in PAGES)]:
        for colours in ("light", "dark"):
            picture = f"pages/{name}-{colours}.png"
            assert picture in text
            assert (ROOT / "docs" / picture).stat().st_size < 150_000, picture
