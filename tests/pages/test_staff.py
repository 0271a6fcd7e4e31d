"""What staff do on their dashboards, in a real browser against a running installation."""

import asyncio
import re

from playwright.async_api import Route, expect

from tests.pages.stack import Stack, no_faults, sign_in


async def test_a_technical_worker_watches_a_rebuild_to_its_end(stack: Stack) -> None:
    """A new event, the progress and the end of a rebuild show without a reload."""
    worker = await stack.person("TECHNICAL_WORKER")
    async with stack.window() as page:
        await sign_in(page, worker.username, worker.password)
        status = page.get_by_role("region", name="Status of replication")
        await expect(status.get_by_role("row", name=re.compile("mysql_users"))).to_contain_text("Live")
        events = page.get_by_role("region", name="Table of the newest events")
        await expect(events.get_by_role("row").nth(1)).to_be_visible()

        customer = await stack.person()
        await expect(events).to_contain_text(customer.id)

        await page.get_by_role("button", name="Rebuild mongo_users").click()
        await page.get_by_role("dialog").get_by_role("button", name="Rebuild mongo_users").click()
        await expect(page.get_by_text("mongo_users is rebuilt, and live.")).to_be_visible()
        await page.reload()
        await expect(status.get_by_role("row", name=re.compile("mongo_users"))).to_contain_text("Live")
        no_faults(page)


async def test_newest_events_that_are_not_read_yet_are_not_said_to_be_missing(stack: Stack) -> None:
    """They are loading: the log has events."""
    person = await stack.person("TECHNICAL_WORKER")
    answered = asyncio.Event()

    async def hold(route: Route) -> None:
        if "events(" in (route.request.post_data or ""):
            await answered.wait()
        await route.continue_()

    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await page.route("**/graphql", hold)
        await page.goto("/dashboard")
        newest = page.get_by_role("region", name="Newest events")
        await expect(newest.get_by_text("Loading…")).to_be_visible()
        await expect(newest.get_by_text("The log has no event yet")).to_have_count(0)
        answered.set()
        await expect(newest.get_by_text("User registered").first).to_be_visible()
        no_faults(page)


async def test_an_administrator_has_both_dashboards_in_the_address(stack: Stack) -> None:
    """View and period survive a reload; each chart has its table and its file."""
    administrator = await stack.person("ADMIN")
    async with stack.window() as page:
        await sign_in(page, administrator.username, administrator.password)
        await expect(page.get_by_role("heading", level=1, name="Operations")).to_be_visible()
        await page.get_by_role("navigation", name="Dashboards").get_by_role("link", name="Statistics").click()
        await page.get_by_role("button", name="90 days").click()
        await expect(page).to_have_url(re.compile(r"\?view=statistics&days=90$"))

        await page.reload()
        await expect(page.get_by_role("button", name="90 days")).to_have_attribute("aria-pressed", "true")
        await expect(page.locator(".figures")).to_contain_text("Registrations")
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Download CSV: Users by role").click()
        path = await (await download.value).path()
        assert path.read_text().splitlines()[0] == "Role,Users,% of all users"
        await page.get_by_text("Table: users by role").click()
        table = page.get_by_role("region", name="Users by role: table")
        await expect(table.get_by_role("rowheader", name="Administrator")).to_be_visible()
        no_faults(page)


async def test_a_webhook_shows_its_secret_once_and_its_deliveries(stack: Stack) -> None:
    """An address that is refused is named at its field; a delivery that fails shows why, and can be sent again."""
    administrator = await stack.person("ADMIN")
    url = "http://127.0.0.1:9/staff"
    async with stack.window() as page:
        await sign_in(page, administrator.username, administrator.password)
        await page.get_by_role("link", name="Webhooks").click()
        await page.get_by_role("button", name="New webhook").click()
        await page.get_by_label("URL").fill("ftp://example.com")
        await page.get_by_role("button", name="Create webhook").click()
        await expect(page.get_by_label("URL")).to_have_attribute("aria-invalid", "true")
        await page.get_by_label("URL").fill(url)
        await page.get_by_role("button", name="Create webhook").click()
        await expect(page.get_by_role("dialog", name="Keep this secret now")).to_contain_text("whsec_")
        await page.get_by_role("button", name="I have kept it").click()
        await page.reload()
        webhook = page.get_by_role("article", name=url)
        await expect(webhook).to_be_visible()
        assert "whsec_" not in await page.content()

        await stack.person()
        await webhook.get_by_role("link", name="Show deliveries").click()
        deliveries = webhook.get_by_role("region", name="Table of deliveries")
        await expect(deliveries).to_contain_text("Repeated")
        async with page.expect_response(lambda answer: "mutation Redeliver" in (answer.request.post_data or "")):
            await deliveries.get_by_role("button", name=re.compile("Redeliver position")).first.click()
        await webhook.get_by_role("button", name="Disable").click()
        await expect(webhook.get_by_role("button", name="Enable")).to_be_visible()
        await webhook.get_by_role("button", name="Delete").click()
        await page.get_by_role("dialog").get_by_role("button", name="Delete webhook").click()
        await expect(webhook).to_have_count(0)
        no_faults(page)


async def test_a_customer_is_shown_no_page_of_staff(stack: Stack) -> None:
    """Neither by link nor by address, and the API refuses the data too."""
    customer = await stack.person()
    async with stack.window() as page:
        await sign_in(page, customer.username, customer.password)
        await expect(page.get_by_role("link", name="Webhooks")).to_have_count(0)
        for path in ("/users", "/audit", "/webhooks"):
            await page.goto(path)
            await expect(page.get_by_role("heading", level=1, name="There is no page here")).to_be_visible()
        no_faults(page)
