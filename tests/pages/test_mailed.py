"""Journeys that go through a mail, and what each role is shown and refused."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.pages.stack import ADMIN, Stack, no_faults, sign_in

NEW_PASSWORD = "another long password 7"
HEADINGS = {"TECHNICAL_WORKER": "Operations", "SENIOR_MANAGEMENT": "Statistics", "CUSTOMER": "Dashboard"}
SCRIPT = "<script>document['title']='taken'</script>"


def link_in(text: str) -> str:
    """The path and the token of the link in a mail."""
    found = re.search(r"https?://[^/\s]+(/[a-z-]+#token=\S+)", text)
    assert found, text
    return found[1]


async def follow(page: Page, text: str) -> None:
    await page.goto("about:blank")
    await page.goto(link_in(text))


@pytest.mark.parametrize("role", ["TECHNICAL_WORKER", "SENIOR_MANAGEMENT"])
async def test_staff_are_invited_by_mail_and_land_on_their_dashboard(stack: Stack, role: str) -> None:
    """The administrator sends the invitation; its link sets the password and signs in, once."""
    username = f"invited-{role.lower()}"
    async with stack.window() as page:
        await sign_in(page, *ADMIN)
        await page.goto("/users")
        await page.get_by_role("button", name="Invite a user").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Username").fill(username)
        await dialog.get_by_label("Email").fill(f"{username}@example.com")
        await dialog.get_by_label("Name", exact=True).fill("Invited Person")
        await dialog.get_by_label("Role").select_option(role)
        await dialog.get_by_role("button", name="Send the invitation").click()
        await expect(dialog).to_be_hidden()
        no_faults(page)

    mail = await stack.mail(f"{username}@example.com", "You are invited")
    async with stack.window() as page:
        await follow(page, mail["text"])
        await page.get_by_label("Password", exact=True).fill(NEW_PASSWORD)
        await page.get_by_role("button", name="Accept the invitation").click()
        await expect(page.get_by_role("navigation", name="Main")).to_be_visible()
        await page.goto("/dashboard")
        await expect(page.get_by_role("heading", level=1, name=HEADINGS[role])).to_be_visible()

        await follow(page, mail["text"])
        await page.get_by_label("Password", exact=True).fill(NEW_PASSWORD)
        await page.get_by_role("button", name="Accept the invitation").click()
        await expect(page.get_by_text("no longer valid")).to_be_visible()
        no_faults(page)


async def test_a_forgotten_password_is_set_anew_by_mail(stack: Stack) -> None:
    """The answer is the same for an account that does not exist; the new password signs in."""
    person = await stack.person()
    async with stack.window() as page:
        answers = []
        for login in ("nobody-has-this-name", person.username):
            await page.goto("/forgot-password")
            await page.get_by_label("Username or email").fill(login)
            await page.get_by_role("button", name=re.compile("Send")).click()
            await expect(page.get_by_role("status")).to_be_visible()
            answers.append((await page.get_by_role("status").inner_text()).replace(login, "LOGIN"))
        assert answers[0] == answers[1]

        mail = await stack.mail(f"{person.username}@example.com", "Set a new password")
        await follow(page, mail["text"])
        await page.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
        await page.get_by_role("button", name="Set the password").click()
        await expect(page.get_by_role("navigation", name="Main")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await sign_in(page, person.username, NEW_PASSWORD)
        no_faults(page)


async def test_an_email_is_confirmed_by_mail(stack: Stack) -> None:
    """The account says so from then on."""
    person = await stack.person()
    mail = await stack.mail(f"{person.username}@example.com", "Confirm your email")
    async with stack.window() as page:
        await follow(page, mail["text"])
        await expect(page.get_by_text("is confirmed.")).to_be_visible()
        await sign_in(page, person.username, person.password)
        await page.goto("/account")
        await expect(page.get_by_text("Email confirmed")).to_be_visible()
        no_faults(page)


@pytest.mark.parametrize(
    ("role", "refused", "query"),
    [
        ("CUSTOMER", ("/users", "/audit", "/webhooks"), "{ users { totalCount } }"),
        ("TECHNICAL_WORKER", ("/webhooks",), "{ statistics { total } }"),
        ("SENIOR_MANAGEMENT", ("/webhooks",), "{ webhooks { id } }"),
    ],
)
async def test_each_role_has_its_dashboard_and_is_refused_the_pages_and_data_of_others(
    stack: Stack, role: str, refused: tuple[str, ...], query: str
) -> None:
    """A page that is not shown is not answered with data either: the API decides."""
    person = await stack.person(role)
    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await expect(page.get_by_role("heading", level=1, name=HEADINGS[role])).to_be_visible()
        for path in refused:
            await page.goto(path)
            await expect(page.get_by_role("heading", level=1, name="There is no page here")).to_be_visible()
        no_faults(page)
    token = await stack.installation.sign_in(person.username, person.password)
    answer = await stack.installation.post({"query": query}, token)
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"]


async def test_a_script_in_every_field_shows_as_text(stack: Stack) -> None:
    """In names, attributes, data objects and the addresses of webhooks, to the user and to staff."""
    person = await stack.person(name=SCRIPT, note=SCRIPT, nested=[SCRIPT, {SCRIPT: SCRIPT}])
    token = await stack.installation.sign_in(person.username, person.password)
    made = await stack.installation.ask(
        "mutation($name: String!, $content: JSON!) {"
        " createData(input: {name: $name, content: $content}) { data { number } errors { message } } }",
        token,
        name=SCRIPT,
        content={SCRIPT: SCRIPT},
    )
    number = made["createData"]["data"]["number"]
    async with stack.window() as page:
        await sign_in(page, *ADMIN)
        for path in (f"/users?username={person.username}", f"/users/{person.id}", "/data", f"/data/{number}", "/audit"):
            await page.goto(path)
            if path != "/audit":
                await expect(page.get_by_text(SCRIPT).first).to_be_visible()
            assert await page.title() != "taken"
        no_faults(page)
        await sign_out(page)
        await sign_in(page, person.username, person.password)
        for path in ("/dashboard", "/account"):
            await page.goto(path)
            await expect(page.get_by_text(SCRIPT).first).to_be_visible()
            assert await page.title() != "taken"
        no_faults(page)


async def sign_out(page: Page) -> None:
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_sign_in_search_and_edit_need_no_mouse(stack: Stack) -> None:
    """Tab, Enter and typing alone; the focus is always seen."""
    person = await stack.person(name="Keyboard Person")
    async with stack.window() as page:
        await page.goto("/sign-in")
        await expect(page.get_by_label("Username or email")).to_be_focused()
        await page.keyboard.type(ADMIN[0])
        await page.keyboard.press("Tab")
        await page.keyboard.type(ADMIN[1])
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("navigation", name="Main")).to_be_visible()

        await reach(page, "Users")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1, name="Users")).to_be_visible()
        await reach(page, "search")
        await page.keyboard.type(person.username)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("row")).to_have_count(2)
        await reach(page, person.username)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1, name="Keyboard Person")).to_be_visible()
        await reach(page, "Edit")
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_be_visible()
        await dialog.get_by_label("Name", exact=True).focus()
        await page.keyboard.press("Control+A")
        await page.keyboard.type("Typed Person")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1, name="Typed Person")).to_be_visible()
        no_faults(page)


async def reach(page: Page, wanted: str) -> None:
    """Press Tab until what has the focus is called so, or is a search field."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        name = await page.evaluate(
            "() => { const e = document.activeElement; return e.type === 'search' ? 'search' : e.textContent.trim(); }"
        )
        if name == wanted or (wanted not in {"search", "Users"} and name.startswith(wanted)):
            return
    raise AssertionError(f"no way by Tab to {wanted!r}")
