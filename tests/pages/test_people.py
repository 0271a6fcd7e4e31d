"""Journeys through the pages for everybody: sign-up, account, data objects, the dashboard of customers."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from auth.password_policy import WeakPassword, check_password
from tests.pages.stack import PASSWORD, Stack, no_faults, sign_in

PASSWORDS = (
    "short",
    "seven77",
    "eight888",
    "password",
    "P@ssw0rd!",
    "dragon2024!",
    "dragon20242024",
    "princessdragon",
    "@dmin123",
    "acce55acce55",
    "rollcall",
    "r0llc@ll99",
    "12345678",
    "1q2w3e4r",
    "qwer1234",
    "asdfghjkl",
    "йцукенгш",
    "aaaaaaaa",
    "abababab",
    "ababababc",
    "correct horse battery",
    "LADY LOVELACE",
    "ladylovelace",
    "lady-lovelace1",
    "ada.byron",
    "ada_byron@example.com",
    "adabyron",
    "ＡＤＡｂｙｒｏｎ",
    "straße straße",
    "𝓹𝓪𝓼𝓼𝔀𝓸𝓻𝓭",
    "🙂🙂🙂🙂",
    "🙂🙃🙂🙃🙂🙃🙂🙃",
    "🙂 eight words",
    "½½½½½½½½",
    "drag\N{LATIN SMALL LETTER DOTLESS I}n2024",
    "adm\N{LATIN SMALL LETTER DOTLESS I}n123",
    "x" * 1025,
    "xy!" * 300,
)


async def test_the_strength_meter_agrees_with_the_rules(stack: Stack) -> None:
    """It refuses what `check_password` refuses, and nothing else."""
    own = {"username": "ada_byron", "email": "ada.byron@example.com", "name": "Lady Lovelace"}
    async with stack.window() as page:
        await page.goto("/sign-up")
        for label, value in own.items():
            await page.get_by_label(label.capitalize(), exact=True).fill(value)
        meter = page.get_by_role("meter", name="Strength")
        for password in PASSWORDS:
            await page.get_by_label("Password", exact=True).fill(password)
            try:
                check_password(password, **own)
                allowed = True
            except WeakPassword:
                allowed = False
            says = await meter.get_attribute("aria-valuetext")
            assert (says != "refused") == allowed, f"{password!r} is {says}"
        no_faults(page)


@pytest.mark.parametrize("path", ["reset-password", "accept-invitation", "verify-email"])
async def test_the_token_of_a_mail_leaves_the_address_at_once(stack: Stack, path: str) -> None:
    """Neither the address bar nor the history of the browser keeps it; a dead one says what to do."""
    async with stack.window() as page:
        await page.goto(f"/{path}#token=AAAA")
        await expect(page).to_have_url(re.compile(f"/{path}$"))
        if path != "verify-email":
            await page.get_by_label("password", exact=False).first.fill(PASSWORD)
            await page.get_by_role("button", name=re.compile("Set the password|Accept the invitation")).click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await expect(page.get_by_role("link", name="Go to sign-in")).to_be_visible()
        no_faults(page)


async def test_a_profile_keeps_attributes_that_its_form_does_not_know(stack: Stack) -> None:
    """A merge patch goes, so what another program has written stays."""
    person = await stack.person(address={"city": "Ipoh"}, accounts=[371138], phone="1")
    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await page.goto("/account")
        profile = page.get_by_role("region", name="Profile")
        await profile.get_by_label("Phone").fill("+60 3 1234")
        await profile.get_by_label("Language of mails").select_option("ms")
        await profile.get_by_role("button", name="Save profile").click()
        await expect(profile.get_by_text("version 2.")).to_be_visible()

        token = await stack.installation.sign_in(person.username, person.password)
        me = (await stack.installation.ask("{ me { attributes } }", token))["me"]
        assert me["attributes"] == {
            "address": {"city": "Ipoh"},
            "accounts": [371138],
            "phone": "+60 3 1234",
            "locale": "ms",
        }
        await expect(page.get_by_role("region", name="History").get_by_text("User updated")).to_be_visible()
        await expect(profile.get_by_text("Your profile is saved.")).to_be_visible()
        email = f"new-{person.username}@example.com"
        await profile.get_by_label("Email").fill(email)
        await expect(profile.get_by_text("Your profile is saved.")).to_have_count(0)
        await profile.get_by_role("button", name="Save profile").click()
        await expect(profile.get_by_text(f"Your profile is saved. Confirm {email} with the link")).to_be_visible()
        no_faults(page)


async def test_a_new_password_ends_the_other_sessions(stack: Stack) -> None:
    """The wrong one is refused at its field; the other session goes from the list."""
    person = await stack.person()
    await stack.installation.sign_in(person.username, person.password)
    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await page.goto("/account")
        ends = page.get_by_role("button", name=re.compile("^End the session"))
        await expect(ends).to_have_count(1)
        card = page.get_by_role("region", name="Password")
        for current in ("a wrong one", person.password):
            await card.get_by_label("Current password").fill(current)
            await card.get_by_label("New password").fill("another long one 7")
            await card.get_by_role("button", name="Change the password").click()
            if current != person.password:
                await expect(card.get_by_label("Current password")).to_have_attribute("aria-invalid", "true")
        await expect(card.get_by_text("Your password is changed")).to_be_visible()
        await expect(ends).to_have_count(0)
        no_faults(page)


async def test_a_session_is_ended_by_its_device(stack: Stack) -> None:
    """The other window falls back to the sign-in."""
    person = await stack.person()
    async with stack.window() as page, stack.window() as other:
        await sign_in(other, person.username, person.password)
        await sign_in(page, person.username, person.password)
        await page.goto("/account")
        await page.get_by_role("button", name=re.compile("^End the session")).click()

        await expect(other.get_by_text("Your session has ended")).to_be_visible()
        await expect(page.get_by_role("button", name=re.compile("^End the session"))).to_have_count(0)
        no_faults(page)


async def test_everything_about_oneself_comes_as_one_file(stack: Stack, tmp_path: Path) -> None:
    """All parts are in it: profile, sessions, history, and each data object, of which a part of the API has 100."""
    person = await stack.person(city="Ipoh")
    token = await stack.installation.sign_in(person.username, person.password)
    names = [f"object {number}" for number in range(101)]
    made = "mutation($name: String!) { createData(input: {name: $name, content: {a: 1}}) { errors { message } } }"
    await asyncio.gather(*(stack.installation.ask(made, token, name=name) for name in names))
    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await page.goto("/account")
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Download everything about me").click()
        path = tmp_path / "all.json"
        await (await download.value).save_as(path)
        everything = json.loads(path.read_text())
        assert everything["profile"]["username"] == person.username
        assert len(everything["sessions"]) == 2
        assert sorted(one["name"] for one in everything["data"]) == sorted(names)
        assert {event["type"] for event in everything["history"]} == {"USER_REGISTERED", "DATA_CREATED"}
        no_faults(page)


async def test_an_account_is_deleted_with_its_password_only(stack: Stack) -> None:
    """The wrong password deletes nothing."""
    person = await stack.person()
    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await page.goto("/account")
        await page.get_by_role("button", name="Delete my account…").click()
        dialog = page.get_by_role("dialog", name="Delete your account?")
        await expect(dialog.get_by_text("Erased, at once and for good")).to_be_visible()
        await dialog.get_by_label("Your password").fill("a wrong one")
        await dialog.get_by_role("button", name="Delete my account").click()
        await expect(dialog.get_by_text("The password is wrong")).to_be_visible()
        await dialog.get_by_label("Your password").fill(person.password)
        await dialog.get_by_role("button", name="Delete my account").click()
        await expect(page.get_by_text("Your account has been deleted")).to_be_visible()
        no_faults(page)


async def create(page: Page, name: str, content: str) -> None:
    await page.goto("/data")
    await page.get_by_role("button", name="New data object").click()
    dialog = page.get_by_role("dialog", name="New data object")
    await dialog.get_by_label("Name").fill(name)
    await dialog.get_by_label("Content as JSON").fill(content)
    await dialog.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()


async def test_two_editors_of_a_data_object_choose_place_by_place(stack: Stack) -> None:
    """Both values are shown; what only one has changed is chosen already, and nothing is lost."""
    person = await stack.person()
    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await create(page, "Holiday plan", '{"days": 14, "stars": 3, "where": ["Langkawi"]}')
        other = await stack.tab(page.context)
        await other.goto(page.url)
        for window, content in (
            (page, '{"days": 21, "stars": 3}'),
            (other, '{"days": 10, "stars": 5, "where": ["Langkawi"]}'),
        ):
            await window.get_by_role("button", name="Edit as JSON").click()
            await window.get_by_label("Content as JSON").fill(content)
        await other.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("changed elsewhere meanwhile")).to_be_visible()
        await page.get_by_role("button", name="Save").click()

        conflict = page.get_by_role("region", name="Conflict")
        days = conflict.get_by_role("group", name="content › days")
        await expect(days.get_by_role("radio", name="Yours")).to_be_checked()
        await expect(conflict.get_by_role("group", name="stars").get_by_role("radio", name="Theirs")).to_be_checked()
        await days.get_by_role("radio", name="Theirs").check()
        await conflict.get_by_role("button", name="Save the choice").click()
        await expect(conflict).to_have_count(0)

        token = await stack.installation.sign_in(person.username, person.password)
        found = await stack.installation.ask("{ dataObjects { edges { node { version content } } } }", token)
        assert found["dataObjects"]["edges"] == [{"node": {"version": 3, "content": {"days": 10, "stars": 5}}}]
        no_faults(page)
        no_faults(other)


async def test_rows_of_data_change_in_place_and_new_ones_wait(stack: Stack) -> None:
    """No row moves under one's eyes. A stored script shows as text."""
    person = await stack.person()
    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await create(page, "Alpha", "{}")
        list_ = await stack.tab(page.context)
        await list_.goto("/data")
        await expect(list_.get_by_role("link", name="Alpha")).to_be_visible()

        await page.get_by_role("button", name="Edit as JSON").click()
        await page.get_by_label("Name", exact=True).fill("<script>alert(1)</script>")
        await page.get_by_role("button", name="Save").click()
        await expect(list_.get_by_role("link", name="<script>alert(1)</script>")).to_be_visible()
        await create(page, "Beta", '{"island": "Langkawi"}')
        await expect(list_.get_by_role("button", name="1 new: show")).to_be_visible()
        await expect(list_.get_by_role("link", name="Beta")).to_have_count(0)
        await list_.get_by_role("button", name="1 new: show").click()
        await expect(list_.get_by_role("link", name="Beta")).to_be_visible()

        await list_.get_by_label("Words").fill("langkawi")
        await list_.get_by_role("button", name="Search").click()
        await expect(list_).to_have_url(re.compile(r"/data\?text=langkawi$"))
        await expect(list_.get_by_text("1 data object found")).to_be_visible()
        await list_.get_by_role("button", name="Remove the filter Words: langkawi").click()

        await page.get_by_role("button", name="Delete…").click()
        await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await expect(list_.get_by_role("row", name="Beta").get_by_text("Deleted")).to_be_visible()
        no_faults(page)
        no_faults(list_)


async def test_the_dashboard_of_a_customer_is_live(stack: Stack) -> None:
    """What another window of the customer does shows without a reload."""
    person = await stack.person()
    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await expect(page.get_by_text("You have no data object yet")).to_be_visible()
        other = await stack.tab(page.context)
        await create(other, "Holiday plan", "{}")

        lately = page.get_by_role("region", name="What changed lately")
        await expect(lately.get_by_text("Data created")).to_be_visible()
        await expect(lately.get_by_role("link", name="Holiday plan")).to_be_visible()
        await page.get_by_role("button", name="1 new: show").click()
        table = page.get_by_role("region", name="Table of your data objects")
        await expect(table.get_by_role("link", name="Holiday plan")).to_be_visible()
        no_faults(page)


async def test_an_administrator_hands_a_data_object_over(stack: Stack) -> None:
    """The new owner is named by username; an unknown one is refused at the field."""
    former, new = await stack.person(), await stack.person()
    token = await stack.installation.sign_in(former.username, former.password)
    made = await stack.installation.ask(
        'mutation { createData(input: {name: "Deed", content: {}}) { data { number } } }', token
    )
    admin = await stack.person("ADMIN")
    async with stack.window() as page:
        await sign_in(page, admin.username, admin.password)
        await page.goto(f"/data/{made['createData']['data']['number']}")
        await page.get_by_role("button", name="Transfer…").click()
        dialog = page.get_by_role("dialog", name="Transfer Deed")
        field = dialog.get_by_label("Username or email of the new owner")
        await field.fill("nobody-at-all")
        await dialog.get_by_role("button", name="Transfer").click()
        await expect(field).to_have_attribute("aria-invalid", "true")
        await field.fill(new.username)
        await dialog.get_by_role("button", name="Transfer").click()
        await expect(page.get_by_role("link", name=new.username)).to_be_visible()
        no_faults(page)
